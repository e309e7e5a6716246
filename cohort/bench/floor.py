"""What no program can beat on this machine: reading the bytes, and one pass that counts them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_HEAD = 16 * 1024
_VOXELS = 1 << 25
_ROUNDS = 3


def read_once(images: Path) -> int:
    """Read every file to its end; returns the bytes."""
    return sum(len(path.read_bytes()) for path in _files(images))


def machine_floor(images: Path) -> dict[str, Any]:
    """Measure, in one process and the best of three rounds.

    Returns
    -------
    dict
        `read_mb_per_s` (whole files), `head_files_per_s` (open, read 16 KiB, close), `count_voxels_per_s`
        (one `numpy.bincount` over 16-bit integers, in blocks that stay in the cache).
    """
    files = _files(images)
    n_bytes = read_once(images)
    values = np.random.default_rng(0).integers(0, 4096, _VOXELS, dtype=np.uint16)
    return {
        "read_mb_per_s": n_bytes / _best(lambda: read_once(images)) / 1e6,
        "head_files_per_s": len(files) / _best(lambda: _read_heads(files)),
        "count_voxels_per_s": _VOXELS / _best(lambda: _count(values)),
    }


def _files(images: Path) -> list[Path]:
    return [images] if images.is_file() else sorted(path for path in images.rglob("*") if path.is_file())


def _read_heads(files: list[Path]) -> None:
    for path in files:
        with open(path, "rb", buffering=0) as file:
            file.read(_HEAD)


def _count(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    table = np.zeros(4096, np.int64)
    for start in range(0, values.size, 1 << 18):
        table += np.bincount(values[start : start + (1 << 18)], minlength=4096)
    return table


def _best(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
