"""The file that pydicom reads a header from: it refuses what would cost too much.

pydicom reads what lengths and delimiters say. A few bytes can say a million items, or a value that takes minutes to
split. It asks its file for every element, so the file is where this is counted.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from cohort.errors import RejectedError
from cohort.readers.base import Limits

_HEADER = 8  # bytes: every element and item begins with a read of so many
_CHARSETS = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_ITEM_COST = 3  # elements, beside itself
_META = b"\x02\x00"
# Values of these are converted unasked; what makes sense is far shorter.
_LONGEST_CHARSET = 1 << 10
_LONGEST_META = 1 << 16
_BYTES_PER_TERM = 2


class Deflated(Exception):  # noqa: N818 - a request to the caller, not an error
    """pydicom would inflate what follows, without a limit.

    Parameters
    ----------
    start : int
        Where in the file the deflated data set begins.
    """

    def __init__(self, start: int) -> None:
        super().__init__(start)
        self.start = start


@dataclass
class _Budget:
    """What reading may still cost."""

    elements: int
    bytes: int
    refused: str | None = None


class Guard:
    """An object as pydicom sees it while it reads the header.

    Parameters
    ----------
    file : BinaryIO
        The object, or its beginning.
    size : int
        Size of the whole object in bytes.
    limits : Limits
        What reading may cost.
    origin : int
        Where the object begins for pydicom, which counts from there.
    """

    def __init__(self, file: BinaryIO, size: int, limits: Limits, origin: int = 0) -> None:
        self._file, self._size, self._origin = file, size, origin
        self._keep = limits.header
        self._budget = _Budget(limits.elements, limits.header)
        self._held = file.seek(0, io.SEEK_END)
        self._header = b""
        self.seek(0)

    @property
    def refused(self) -> str | None:
        """Why reading was refused."""
        return self._budget.refused

    def within(self, value: bytes) -> Guard:
        """Return the bytes of one value as pydicom may read what it holds; they cost the same budget."""
        inner = Guard(io.BytesIO(value), len(value), Limits(0, 0, 0))
        inner._budget = self._budget
        return inner

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes, as many as there are; raises RejectedError where they are too many."""
        if count < 0:  # only what is deflated is read in one go
            raise Deflated(self._file.tell())
        if count > _HEADER:
            count = self._allowed(count)
        self.spend(1)
        data = self._file.read(count)
        if count == _HEADER:
            self._header = data
            if data[:4] in _ITEMS:
                self.spend(_ITEM_COST)
        self._budget.bytes -= len(data)
        if self._budget.bytes < 0:
            self._refuse("header_too_large")
        return data

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        """Move, as files do."""
        if whence == io.SEEK_SET:
            position += self._origin
        return self._file.seek(position, whence) - self._origin

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell() - self._origin

    def spend(self, cost: int) -> None:
        """Count what costs as much as reading so many elements; raises RejectedError where too few are left."""
        self._budget.elements -= cost
        if self._budget.elements < 0:
            self._refuse("too_many_elements")

    def affords(self, cost: int) -> bool:
        """Count the same, where enough are left, and tell whether they were."""
        if cost > self._budget.elements:
            return False
        self._budget.elements -= cost
        return True

    def at_end(self) -> bool:
        """Tell whether nothing follows."""
        return self._file.tell() >= self._held

    def check_end(self) -> None:
        """Raise RejectedError if pydicom came to the end of what is kept, and took it for the end of the object."""
        if self._keep <= self._held < self._size and self.at_end():
            self._refuse("header_too_large")

    def _allowed(self, count: int) -> int:
        """Return how many bytes of a value there are; raises RejectedError where they must not be read."""
        if self._header[:4] in _CHARSETS:
            if count > _LONGEST_CHARSET:
                self._refuse("long_value")
            self.spend(count // _BYTES_PER_TERM)
        elif self._header[:2] == _META and count > _LONGEST_META:
            self._refuse("long_value")
        return min(count, max(0, self._held - self._file.tell()))

    def _refuse(self, reason: str) -> NoReturn:
        self._budget.refused = self._budget.refused or reason
        raise RejectedError(self._budget.refused)
