"""The bytes of a run, to compare what a folder and a bucket hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOCK = ".lock"
VARIES = "run.json"  # times and processes


def in_folder(out: Path) -> dict[str, bytes]:
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def without(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in found.items() if name != VARIES}


def lock_of(host: str, pid: int) -> bytes:
    return (json.dumps({"host": host, "pid": pid, "born": None, "started": "", "token": "0"}) + "\n").encode()
