"""Where the frames of encapsulated pixel data lie, from the tags of its items (PS3.5 section A.4).

Only the eight bytes before each fragment are read: the object itself stays where it is, however large.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cohort.errors import RejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_FRAGMENTS = 1 << 22  # some seconds of walking; a slide of 2**37 pixels has as many tiles

_ITEM, _END = 0xE000FFFE, 0xE0DDFFFE
_TAG = 8  # bytes: tag and length of an item
_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")  # SOI of JPEG and JPEG-LS, SOC of JPEG 2000
_EXTENDED = ((0x7FE0, 0x0001), (0x7FE0, 0x0002))


class Fragments:
    """The fragments of one object and the frames that they make.

    Parameters
    ----------
    file : BinaryIO
        The object.
    offset : int
        Where the value of PixelData begins.
    frames : int
        NumberOfFrames.

    Raises
    ------
    RejectedError
        `bad_encapsulation`: the items are no items, or do not make as many frames; `truncated_pixels`.
    """

    def __init__(self, file: BinaryIO, offset: int, frames: int) -> None:
        self._file = file
        table, self._starts, self._lengths = _walk(file, offset)
        count = len(self._starts)
        if not count:
            raise RejectedError("bad_encapsulation")
        self._limits: NDArray[Any] | None = None
        extended = _extended_table(file, offset, frames) if frames > 1 and not table.size else None
        if extended is not None:
            table, self._limits = extended
        found = self._by_table(table, frames)
        if found is None:
            self._limits = None
            found = self._by_content(frames, count)
        self._first, self._last = found

    def read(self, frame: int) -> bytes:
        """Return the encoded bytes of one frame."""
        if not 0 <= frame < len(self._first):
            raise RejectedError("bad_encapsulation")
        parts = []
        for number in range(int(self._first[frame]), int(self._last[frame])):
            self._file.seek(int(self._starts[number]))
            parts.append(self._file.read(int(self._lengths[number])))
            if len(parts[-1]) < self._lengths[number]:
                raise RejectedError("truncated_pixels")
        block = b"".join(parts)
        return block if self._limits is None else block[: int(self._limits[frame])]

    def _by_table(self, table: NDArray[Any], frames: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """Return first and last fragment of each frame by an offset table; None where it fits no items."""
        if table.size < frames:
            return None
        items = self._starts - self._starts[0]  # the table counts from the tag of the first fragment
        order = np.searchsorted(items, table)
        if (order >= len(items)).any() or (items[order] != table).any() or len(np.unique(table)) != table.size:
            return None
        starts = np.sort(order)
        ends = np.append(starts[1:], len(items))
        return order[:frames], ends[np.searchsorted(starts, order[:frames])]

    def _by_content(self, frames: int, count: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return first and last fragment of each frame: all, one each, or from a beginning of a stream to the next."""
        if count == frames:
            first = np.arange(frames)
        elif frames == 1:
            first = np.zeros(1, np.int64)
        elif count < frames:
            raise RejectedError("bad_encapsulation")
        else:
            first = np.array([number for number in range(count) if self._begins(number)], np.int64)
            if len(first) != frames or first[0] != 0:
                raise RejectedError("bad_encapsulation")
        return first, np.append(first[1:], count)

    def _begins(self, number: int) -> bool:
        self._file.seek(int(self._starts[number]))
        return self._file.read(4).startswith(_STARTS)


def _walk(file: BinaryIO, offset: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the basic offset table, and where the fragments begin and how long they are."""
    size = file.seek(0, io.SEEK_END)
    starts: list[int] = []
    lengths: list[int] = []
    table: NDArray[Any] | None = None
    position = offset
    while position + _TAG <= size:
        file.seek(position)
        tag, length = struct.unpack("<II", file.read(_TAG))
        position += _TAG
        if tag == _END:
            break
        if tag != _ITEM or len(starts) >= MAX_FRAGMENTS:
            raise RejectedError("bad_encapsulation")
        if position + length > size:  # of the length FFFFFFFF, too, which no fragment may have
            raise RejectedError("truncated_pixels")
        if table is None:
            table = np.frombuffer(file.read(length // 4 * 4), "<u4").astype(np.int64)
        else:
            starts.append(position)
            lengths.append(length)
        position += length
    if table is None:
        raise RejectedError("bad_encapsulation")
    return table, np.array(starts, np.int64), np.array(lengths, np.int64)


def _extended_table(file: BinaryIO, offset: int, frames: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Return offsets and lengths of the extended offset table, None where it does not stand before the pixels.

    Its two elements have eight bytes a frame and no other tag fits between them and PixelData (PS3.3 C.7.6.3.1.8),
    so that the header need not be read again.
    """
    count = 8 * frames
    start = offset - 12 - 2 * (12 + count)
    if start < 0:
        return None
    file.seek(start)
    block = file.read(2 * (12 + count))
    values = []
    for number, tag in enumerate(_EXTENDED):
        place = number * (12 + count)
        group, element, vr, length = struct.unpack_from("<HH2s2xI", block, place)
        if (group, element) != tag or vr != b"OV" or length != count:
            return None
        values.append(np.frombuffer(block, "<u8", frames, place + 12))
    if any((value >= 1 << 62).any() for value in values):
        return None
    return values[0].astype(np.int64), values[1].astype(np.int64)
