"""What a reader is, and what all readers share."""

from __future__ import annotations

import hashlib
import io
import threading
import warnings
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, Protocol

from isal import igzip_lib

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
_BLOCK = 1 << 20  # bytes inflated at a time
_GZIP_MAGIC = b"\x1f\x8b\x08"
_ARCHIVE_MAGIC = (b"PK\3\4", b"PK\5\6", b"PK\x07\x08", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07")


class Limits(NamedTuple):
    """What reading one DICOM header may cost: see `ScanOptions`."""

    inflated: int
    """Bytes to which an object is inflated."""
    header: int
    """Bytes of it that are held in memory."""
    elements: int
    """Elements and items that are parsed."""


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


class Stream(NamedTuple):
    """A way to compress: what its reasons are called, and the flag by which it is inflated."""

    name: str
    flag: int


GZIP = Stream("gzip", igzip_lib.DECOMP_GZIP)
DEFLATE = Stream("deflate", igzip_lib.DECOMP_DEFLATE)  # without a wrapper, and so without a checksum


def inflate(file: BinaryIO, limit: int) -> io.BytesIO:
    """Inflate a whole gzip stream into memory; raises RejectedError above `limit` bytes or where it is damaged."""
    return inflate_beginning(file, GZIP, limit, limit)[0]


def inflate_beginning(
    file: BinaryIO, stream: Stream, keep: int, limit: int, start: int = 0, prefix: bytes = b""
) -> tuple[io.BytesIO, int]:
    """Inflate a stream to its end, to know that it is whole, and keep its beginning.

    Parameters
    ----------
    file : BinaryIO
        Where the stream is.
    stream : Stream
        How it is compressed. Gzip may have several members.
    keep : int
        Bytes kept in memory.
    limit : int
        Largest size in bytes; no more is inflated.
    start : int
        Where the stream begins.
    prefix : bytes
        What is put before it.

    Returns
    -------
    tuple of BytesIO and int
        What is kept, and the size of all; both with the prefix.

    Raises
    ------
    RejectedError
        `*_too_large`, `*_truncated` or `*_damaged`.
    """
    kept, size = io.BytesIO(), 0
    kept.write(prefix)
    for data in inflated_blocks(file, stream, limit, start):
        size += len(data)
        kept.write(data[: max(0, keep + len(prefix) - kept.tell())])
    kept.seek(0)
    return kept, size + len(prefix)


def inflated_blocks(file: BinaryIO, stream: Stream, limit: int, start: int = 0) -> Iterator[bytes]:
    """Yield what a stream inflates to, in blocks, to its end; see `inflate_beginning`."""
    file.seek(start)
    size = 0
    decompressor = igzip_lib.IgzipDecompressor(flag=stream.flag)
    try:
        while True:
            block = b""
            if decompressor.eof:
                block = decompressor.unused_data or file.read(_BLOCK)
                if stream is not GZIP or not is_gzip(block):  # padding, or nothing
                    break
                decompressor = igzip_lib.IgzipDecompressor(flag=stream.flag)
            elif decompressor.needs_input:
                block = file.read(_BLOCK)
                if not block:
                    raise RejectedError(f"{stream.name}_truncated")
            data = decompressor.decompress(block, _BLOCK)
            size += len(data)
            if size > limit:
                raise RejectedError(f"{stream.name}_too_large")
            yield data
    except igzip_lib.IsalError:  # type: ignore[misc]  # its stub takes the class for an instance
        raise RejectedError(f"{stream.name}_damaged") from None


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
