"""Bytes of archives and of their members, read at any place: as they are stored, or inflated on the way."""

from __future__ import annotations

import bz2
import lzma
import os
import threading
import weakref
import zlib
from bisect import bisect_right
from collections import deque
from operator import attrgetter
from typing import Any, Protocol

from cohort.sources.base import open_regular

MAGIC = {"gzip": b"\x1f\x8b\x08", "bz2": b"BZh", "xz": b"\xfd7zXZ\0"}
"""Codec -> how its streams begin; several may follow each other."""

_INPUT = 32 * 1024  # bytes of a compressed stream that are read at once
_PIECE = 256 * 1024  # most that is inflated in one step
_RUNS = 4  # decompressors that wait where the last readers left them
_MARKS, _RECENT = 256, 32  # places to which there is a way back; one takes about 70 KB
_FIRST_STEP = 4 << 20  # between them, doubled whenever there are too many
_FINE = 16  # marks left between one of them and a place that was gone back to
_XZ_MEMORY = 256 << 20  # `xz -9` needs 65 MiB; a header may claim 4 GiB

_position = attrgetter("position")


class DamagedError(Exception):
    """Bytes that contradict themselves: a checksum, a length or a structure that cannot be."""


class Bytes(Protocol):
    """What can be read at any place."""

    def read_at(self, position: int, count: int) -> bytes:
        """Return at most `count` bytes, fewer only at the end; raises DamagedError."""
        ...


class FileBytes:
    """A file on a disk; closed when nothing refers to it any more.

    Parameters
    ----------
    path : bytes
        Absolute path.
    """

    def __init__(self, path: bytes) -> None:
        self._descriptor = open_regular(path)
        weakref.finalize(self, os.close, self._descriptor)
        self.size = os.fstat(self._descriptor).st_size
        self.sound = self.cut_at = self.size

    def read_at(self, position: int, count: int) -> bytes:
        """Return at most `count` bytes."""
        if position >= self.size:  # an archive may name any number, also one that the system cannot take
            return b""
        return os.pread(self._descriptor, count, position)


# -- inflating ---------------------------------------------------------------------------------------------


class _Zlib:
    """zlib in the manner of bz2 and lzma."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    @property
    def eof(self) -> bool:
        return bool(self._engine.eof)

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return bytes(self._engine.unused_data)

    def decompress(self, data: bytes, limit: int) -> bytes:
        return bytes(self._engine.decompress(self._engine.unconsumed_tail + data, limit))

    def copy(self) -> _Zlib:
        return _Zlib(self._engine.copy())


def _new_engine(codec: str) -> Any:
    if codec == "bz2":
        return bz2.BZ2Decompressor()
    if codec == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    return _Zlib(zlib.decompressobj(wbits=31 if codec == "gzip" else -15))


class _Run:
    """A decompressor on its way through a stream."""

    __slots__ = ("_engine", "_raw", "crc", "position", "sound")

    def __init__(self, stream: InflatedBytes) -> None:
        self._engine = _new_engine(stream.codec)
        self._raw = stream.start
        self.position = self.crc = self.sound = 0

    def copy(self) -> _Run:
        """Return another one at the same place."""
        twin = object.__new__(_Run)
        twin._raw, twin._engine = self._raw, self._engine.copy()
        twin.position, twin.crc, twin.sound = self.position, self.crc, self.sound
        return twin

    def step(self, stream: InflatedBytes, limit: int) -> bytes:
        """Return the next bytes of its stream, at most `limit`; nothing at the end."""
        while True:
            if self._engine.eof:
                self.sound = self.position
                if not self._follow(stream):
                    return b""
            data, more = b"", bool(self._engine.needs_input)
            if more:
                data = stream.file.read_at(self._raw, min(_INPUT, stream.stop - self._raw))
                self._raw += len(data)
            try:
                out: bytes = self._engine.decompress(data, limit)
            except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError):
                raise DamagedError from None
            if out:
                self.position += len(out)
                self.crc = zlib.crc32(out, self.crc)
                return out
            if more and not data and not self._engine.eof:
                return b""

    @property
    def ended(self) -> bool:
        """Whether the stream was read to its own end, checksum included."""
        return bool(self._engine.eof)

    def _follow(self, stream: InflatedBytes) -> bool:
        """Go on to a stream that follows the one that ended."""
        magic = MAGIC.get(stream.codec)
        if magic is None:
            return False
        place = self._raw - len(self._engine.unused_data)
        if stream.file.read_at(place, len(magic)) != magic:
            return False
        self._raw, self._engine = place, _new_engine(stream.codec)
        return True


class InflatedBytes:
    """A compressed stream, read at any place.

    Reading on costs nothing twice: decompressors wait where readers left them. The way back leads to the nearest
    mark, a copy of a decompressor; bz2 and xz cannot be copied, so there it leads to the beginning.

    Parameters
    ----------
    file : FileBytes
        Where the compressed bytes are.
    start, stop : int
        From where to where.
    codec : str
        deflate, gzip, bz2 or xz.
    size, crc : int or None
        What it must inflate to and its CRC-32; no more is ever inflated. None: nothing is known.
    """

    def __init__(
        self, file: FileBytes, start: int, stop: int, codec: str, *, size: int | None = None, crc: int | None = None
    ) -> None:
        self.file, self.start, self.stop, self.codec = file, start, stop, codec
        self._size, self._crc = size, crc
        self._lock = threading.Lock()
        self._idle: list[_Run] = []
        self._marks: list[_Run] = []
        self._recent: deque[_Run] = deque(maxlen=_RECENT)
        self._spacing = _FIRST_STEP
        self._reached = 0
        self._checked = size == 0
        self.sound = 0  # up to here checksums have been compared
        self.cut_at: int | None = None  # where the stream ends though it should not

    def read_at(self, position: int, count: int) -> bytes:
        """Return at most `count` inflated bytes, fewer only at the end."""
        run = self._take(position)
        back = position < self._reached
        step, last = max(_PIECE, (position - run.position) // _FINE), run.position
        while run.position < position and self._advance(run, min(_PIECE, position - run.position)):
            if back and run.position - last >= step:
                last = run.position
                with self._lock:
                    self._recent.append(run.copy())
        pieces, left = [], count if run.position == position else 0
        while left > 0 and (piece := self._advance(run, min(_PIECE, left))):
            pieces.append(piece)
            left -= len(piece)
        with self._lock:
            self._idle = [*self._idle[1 - _RUNS :], run]
        return b"".join(pieces)

    def finish(self) -> None:
        """Inflate to the end unless that was done: only there are size and checksum compared."""
        if not self._checked and self._size:
            self.read_at(self._size - 1, 1)

    @property
    def _copies(self) -> bool:
        return self.codec in ("deflate", "gzip")

    def _take(self, position: int) -> _Run:
        """Return the decompressor with the shortest way to a place."""
        with self._lock:
            run = max((idle for idle in self._idle if idle.position <= position), key=_position, default=None)
            if run is None or position - run.position > _PIECE:
                marks = [*self._marks[: bisect_right(self._marks, position, key=_position)][-1:], *self._recent]
                mark = max((m for m in marks if m.position <= position), key=_position, default=None)
                if mark is not None and (run is None or mark.position > run.position):
                    return mark.copy()
            if run is None:
                return _Run(self)
            self._idle.remove(run)
            return run

    def _advance(self, run: _Run, limit: int) -> bytes:
        """Inflate the next bytes; nothing at the end."""
        if self._size is not None:
            limit = min(limit, self._size - run.position)
            if limit <= 0:
                return b""
        out = run.step(self, limit)
        if self._size is None:
            self._note(run, ended=not out)
        elif not out or (run.position == self._size and not self._fits(run)):
            raise DamagedError
        if out and self._copies:
            self._mark(run)
        return out

    def _fits(self, run: _Run) -> bool:
        """Tell whether a stream ends where it should, with the checksum it should have."""
        crc = run.crc
        self._checked = not run.step(self, 1) and crc == self._crc
        return self._checked

    def _note(self, run: _Run, *, ended: bool) -> None:
        self.sound = max(self.sound, run.sound)
        if ended and not run.ended:
            self.cut_at = run.position

    def _mark(self, run: _Run) -> None:
        with self._lock:
            self._reached = max(self._reached, run.position)
            if run.position - (self._marks[-1].position if self._marks else 0) >= self._spacing:
                self._marks.append(run.copy())
            if len(self._marks) > _MARKS:
                self._marks, self._spacing = self._marks[1::2], 2 * self._spacing
