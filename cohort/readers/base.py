"""What a reader is, and what all readers share."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from cohort.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

Row = dict[str, Any]
"""Columns of `files` that the bytes of one object tell; absent keys are null."""

Neighbour = Callable[[str, int], "bytes | None"]
"""Reads the object beside this one: name and how many bytes at most; None where there is no such object."""

HEAD_BYTES = 16 * 1024
"""The first read; it decides what an object is and holds most headers."""

_TAIL_BYTES = 4 * 1024
_STEP = 64  # bytes
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ARCHIVE_MAGIC = (b"PK\3\4", b"PK\5\6", b"PK\x07\x08", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")


class FrameReader(Protocol):
    """Reads the stored values of the frames of one object, one after the other."""

    decoder: str
    """What decodes, with its version."""

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one frame, (rows, columns) or (rows, columns, channels); raises RejectedError."""
        ...

    def close(self) -> None:
        """Release the object; checks what can be checked only at its end."""
        ...


def is_gzip(head: bytes) -> bool:
    """Tell whether bytes begin a gzip stream."""
    return head.startswith(_GZIP_MAGIC)


def is_archive(head: bytes) -> bool:
    """Tell whether bytes begin an archive that may hold images: zip, tar, 7z or RAR."""
    return head.startswith(_ARCHIVE_MAGIC) or head[257:262] == b"ustar"


def inflate_head(head: bytes, limit: int = HEAD_BYTES) -> bytes:
    """Inflate the beginning of a gzip stream, at most `limit` bytes, up to where it is damaged."""
    out, decompressor = b"", zlib.decompressobj(wbits=31)
    try:
        for start in range(0, len(head), _STEP):  # in steps: what came before the damage is kept
            step = head[start : start + _STEP]
            while step and len(out) < limit:
                if decompressor.eof:  # another member follows
                    decompressor = zlib.decompressobj(wbits=31)
                out += decompressor.decompress(step, limit - len(out))
                step = decompressor.unused_data if decompressor.eof else b""
    except zlib.error:
        pass
    return out


def inflate(file: BinaryIO, limit: int) -> io.BytesIO:
    """Inflate a whole gzip stream into memory; raises RejectedError above `limit` bytes or where it is damaged."""
    file.seek(0)
    decompressor = zlib.decompressobj(wbits=31)
    out = io.BytesIO()
    try:
        while block := file.read(1 << 20):
            while block:
                if decompressor.eof:  # another member follows, or padding
                    if not is_gzip(block):
                        break
                    decompressor = zlib.decompressobj(wbits=31)
                out.write(decompressor.decompress(block, limit + 1 - out.tell()))
                if out.tell() > limit:
                    raise RejectedError("gzip_too_large")
                block = decompressor.unused_data if decompressor.eof else decompressor.unconsumed_tail
        if not decompressor.eof:
            raise RejectedError("gzip_truncated")
    except zlib.error:
        raise RejectedError("gzip_damaged") from None
    out.seek(0)
    return out


def key_of(*parts: str) -> str:
    """Return the hex digest that stands for identifiers; 20 digits keep a billion apart."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:20]


def key_of_bytes(file: BinaryIO, size: int, head: bytes) -> str:
    """Return a digest of an object without an identifier: its size, its beginning and its end."""
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read(_TAIL_BYTES)
    return hashlib.sha256(b"%d\0%b\0%b" % (size, head, tail)).hexdigest()[:20]


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_saved: Any = None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep the libraries' warnings away: they quote header values.

    Filters are global to the process, so nested and concurrent uses are counted: the first one sets them,
    the last one restores what was there.
    """
    global _quiet_depth, _quiet_saved
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_saved = warnings.catch_warnings()
            _quiet_saved.__enter__()
            warnings.simplefilter("ignore")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0:
                _quiet_saved.__exit__(None, None, None)
