"""The part of a DICOM object that is in memory while its header is walked."""

from __future__ import annotations

from typing import Protocol

from cohort.readers.dicom_convert import Fallback
from cohort.readers.dicom_elements import Value

MAX_NESTED = 500_000  # items and elements in sequences
MAX_VALUE = 1 << 20
BLOCK, MAX_BLOCK = 1 << 14, 1 << 17
PADDING = bytes(16)  # lets a header be unpacked at the very end of an object


class Readable(Protocol):
    """What a window needs of a file."""

    def seek(self, offset: int, /) -> int:
        """Move."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return so many bytes, or what is left."""
        ...


class Window:
    """The part of an object that is in memory.

    Parameters
    ----------
    file : Readable
        The object.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes.
    """

    __slots__ = ("_block", "_file", "base", "budget", "data", "end", "nested", "safe", "size")

    def __init__(self, file: Readable, size: int, head: bytes) -> None:
        if len(head) > size:
            raise Fallback("size_changed")
        self._file = file
        self._block = BLOCK
        self.size = size
        self.budget = MAX_NESTED
        self.nested: dict[str, Value] = {}  # sequences read
        self._hold(0, head)

    def _hold(self, base: int, data: bytes) -> None:
        self.base, self.end = base, len(data)
        at_end = base + self.end == self.size
        self.data = data + PADDING if at_end else data
        self.safe = len(self.data) - len(PADDING)  # up to here a header can be unpacked

    def move(self, position: int) -> None:
        """Hold what follows `position`: more and more of it as long as nothing is skipped."""
        if position > self.size:
            raise Fallback("length_beyond_end")
        skipped = position > self.base + self.end
        self._block = BLOCK if skipped else min(2 * self._block, MAX_BLOCK)
        self._hold(position, self.read(position, min(position + self._block, self.size)))

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes of the object, in the window or not."""
        if start >= self.base and stop <= self.base + self.end:
            return self.data[start - self.base : stop - self.base]
        if stop - start > MAX_VALUE:
            raise Fallback("long_value")
        self._file.seek(start)
        data = self._file.read(stop - start)
        if len(data) < stop - start:
            raise Fallback("truncated")
        return data

    def advance(self, stop: int) -> int:
        """Hold what follows `stop`, which counts from the start of the window; return its new place."""
        if stop <= self.safe:
            return stop
        self.check(stop)
        self.move(self.base + stop)
        return 0

    def check(self, stop: int) -> None:
        """Refuse a value that ends behind the end of the object; `stop` counts from the start of the window."""
        if self.base + stop > self.size:
            raise Fallback("length_beyond_end")

    def finish(self, pos: int) -> None:
        """Make sure that the object ends here."""
        if self.base + pos != self.size:
            raise Fallback("tag_order")
        self._file.seek(self.size)
        if self._file.read(1):
            raise Fallback("size_changed")
