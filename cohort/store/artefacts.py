"""What the store writes: files described by size and digest, and the digest of what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cohort import schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import pyarrow as pa

    from cohort.places import Place

TEMPORARY = ".tmp-"
"""Prefix of what is not yet committed; swept at the start of a run."""


@dataclass(frozen=True)
class Artefact:
    """One committed file: its path below OUT, size in bytes, SHA-256 and rows (tables only)."""

    path: str
    size: int
    sha256: str
    rows: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"path": self.path, "size": self.size, "sha256": self.sha256, "rows": self.rows}


def digest(value: Any) -> str:
    """Return the SHA-256 of plain data in canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def table_of(records: Iterable[Mapping[str, Any]], layout: pa.Schema) -> pa.Table:
    """Return rows as an Arrow table; what a row lacks is null."""
    import pyarrow as pa

    rows = list(records)
    return pa.table({name: [row.get(name) for row in rows] for name in layout.names}, schema=layout)


def inputs_of(*values: Any) -> str:
    """Return the digest of what a stage or part is made from, this version of cohort among it."""
    return digest([schema.FORMAT_VERSION, schema.VERSION, *values])


def digest_of_file(path: Place) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flush a file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
