"""Memory of a worker while voxels pass through it.

Dask starts workers with `MALLOC_TRIM_THRESHOLD_` at 64 KiB (its `distributed.nanny.pre-spawn-environ`): glibc then
hands every block of some size back to the system as it is freed, and the next slab of voxels begins with pages that
the kernel has to clear again. Ingest took 2.4 times the CPU time on a worker that it took elsewhere.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cohort.config import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_KEPT = 256 * MIB  # free memory that is not handed back meanwhile
_LARGEST = 32 * MIB  # glibc allows no more; larger blocks are mapped, each on its own
_USUAL = 128 * 1024  # both thresholds where nobody set them

_lock = threading.Lock()
_inside = 0


@contextmanager
def kept_heap() -> Iterator[None]:
    """Keep freed memory in the process meanwhile, and hand it back at the end.

    Nothing changes where nobody asked for freed memory to be handed back at once, and where the C library is not glibc.
    """
    asked = _asked()
    libc = None if asked is None else _libc()
    if libc is None or asked is None:
        yield
        return
    _enter(libc)
    try:
        yield
    finally:
        _leave(libc, asked)


def _asked() -> int | None:
    """Return the threshold that the environment asked for, None where there is none below ours.

    That is the environment this process began with, as glibc saw it: Dask enters in `os.environ` of a client what its
    workers begin with.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            began = file.read().split(b"\0")
    except OSError:
        return None
    for entry in began:
        name, _, text = entry.partition(b"=")
        if name == b"MALLOC_TRIM_THRESHOLD_" and text.isdigit() and int(text) < _KEPT:
            return int(text)
    return None


def _libc() -> Any:
    """Return the C library of this process, None where it is not glibc."""
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def _enter(libc: Any) -> None:
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:  # of the threads of a worker the first comes here, and the last leaves
            libc.mallopt(_MMAP_THRESHOLD, _LARGEST)
            libc.mallopt(_TRIM_THRESHOLD, _KEPT)


def _leave(libc: Any, asked: int) -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            libc.mallopt(_TRIM_THRESHOLD, asked)
            libc.mallopt(_MMAP_THRESHOLD, _USUAL)
            libc.malloc_trim(0)
