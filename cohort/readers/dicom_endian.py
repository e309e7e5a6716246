"""Headers in explicit big endian, turned to little endian in place: lengths and offsets stay, bytes change sides.

Explicit VR lays out both alike (PS3.5 section 7.1.2), so the walker reads the turned bytes as it reads others, and what
it says of places is true of the object. Anything odd is left to pydicom.
"""

from __future__ import annotations

from array import array
from struct import Struct
from typing import BinaryIO

from cohort.readers.dicom_convert import Fallback
from cohort.readers.dicom_elements import FIRST_PIXELS, ITEM, ITEM_END, LONG, SEQUENCE_END, SHORT, UNDEFINED

MAX_DEPTH = 16
MAX_HEADER = 1 << 18
MAX_ELEMENTS = 20_000
_BLOCK = 1 << 14

# Bytes that a number of a VR has; text and the bytes of OB stay as they are. An attribute tag is a pair of numbers.
_WIDTHS = {b"US": 2, b"SS": 2, b"AT": 2, b"OW": 2, b"UL": 4, b"SL": 4, b"FL": 4, b"OF": 4, b"OL": 4} | dict.fromkeys(
    (b"FD", b"SV", b"UV", b"OD", b"OV"), 8
)
_CODES = {array(code).itemsize: code for code in "HILQ"}

_tag_big, _tag_little = Struct(">HH"), Struct("<HH")
_short_big, _short_little = Struct(">H"), Struct("<H")
_long_big, _long_little = Struct(">I"), Struct("<I")


class TurnedFile:
    """An object whose header is in little endian now; what follows the header is as it was.

    Parameters
    ----------
    file : BinaryIO
        The object, in explicit big endian.
    size : int
        Its size in bytes.
    start : int
        Where the data set begins, behind the meta information.

    Raises
    ------
    Fallback
        If the header is not well-formed, or needs more than is done here.
    """

    def __init__(self, file: BinaryIO, size: int, start: int) -> None:
        self._file, self._size, self._elements = file, size, MAX_ELEMENTS
        file.seek(0)
        self._header = bytearray(file.read(max(start, _BLOCK)))
        self._turn_elements(start, size, depth=0)
        self._position = 0

    def seek(self, offset: int) -> int:
        """Move to a place, counted from the beginning."""
        self._position = offset
        return offset

    def read(self, size: int) -> bytes:
        """Return so many bytes, or what is left of them."""
        part = bytes(self._header[self._position : self._position + size])
        if len(part) < size:
            self._file.seek(self._position + len(part))
            part += self._file.read(size - len(part))
        self._position += len(part)
        return part

    # -- turning -------------------------------------------------------------------------------------------

    def _need(self, stop: int) -> None:
        """Hold the object up to `stop`."""
        if stop <= len(self._header):
            return
        if stop > min(self._size, MAX_HEADER):
            raise Fallback("transfer_syntax")
        self._file.seek(len(self._header))
        self._header += self._file.read(max(stop - len(self._header), _BLOCK))
        if stop > len(self._header):
            raise Fallback("transfer_syntax")

    def _turn_elements(self, pos: int, stop: int, depth: int) -> int:
        """Turn elements up to `stop`, the pixels, or the end of an item; return where they end."""
        while pos < stop:
            tag = self._turn_tag(pos)
            if tag == ITEM_END and depth and stop == self._size:
                self._turn_long(pos + 4)
                return pos + 8
            vr, length, value = self._turn_length(pos)
            if depth == 0 and tag >= FIRST_PIXELS:
                return value
            if vr == b"SQ":
                pos = self._turn_items(value, length, depth + 1)
                continue
            if vr == b"UN" or length == UNDEFINED:  # whose bytes nobody can tell
                raise Fallback("transfer_syntax")
            pos = value + length
            width = _WIDTHS.get(vr)
            if width is not None:
                self._turn_numbers(value, pos, width)
        if pos != stop:
            raise Fallback("transfer_syntax")
        return pos

    def _turn_items(self, pos: int, length: int, depth: int) -> int:
        """Turn the items of a sequence; return where it ends."""
        if depth > MAX_DEPTH:
            raise Fallback("transfer_syntax")
        stop = self._size if length == UNDEFINED else pos + length
        while pos < stop:
            tag = self._turn_tag(pos)
            size = self._turn_long(pos + 4)
            pos += 8
            if tag == SEQUENCE_END and length == UNDEFINED:
                return pos
            if tag != ITEM:
                raise Fallback("transfer_syntax")
            pos = self._turn_elements(pos, self._size if size == UNDEFINED else pos + size, depth)
        if pos != stop or length == UNDEFINED:
            raise Fallback("transfer_syntax")
        return pos

    def _turn_tag(self, pos: int) -> int:
        self._elements -= 1
        if self._elements < 0:
            raise Fallback("transfer_syntax")
        self._need(pos + 8)
        group, element = _tag_big.unpack_from(self._header, pos)
        _tag_little.pack_into(self._header, pos, group, element)
        tag: int = group << 16 | element
        return tag

    def _turn_length(self, pos: int) -> tuple[bytes, int, int]:
        """Turn the length of an element; return VR, length and where the value begins."""
        vr = bytes(self._header[pos + 4 : pos + 6])
        if vr in SHORT:
            (length,) = _short_big.unpack_from(self._header, pos + 6)
            _short_little.pack_into(self._header, pos + 6, length)
            return vr, length, pos + 8
        if vr not in LONG:
            raise Fallback("transfer_syntax")
        return vr, self._turn_long(pos + 8), pos + 12

    def _turn_long(self, pos: int) -> int:
        self._need(pos + 4)
        (length,) = _long_big.unpack_from(self._header, pos)
        _long_little.pack_into(self._header, pos, length)
        return int(length)

    def _turn_numbers(self, start: int, stop: int, width: int) -> None:
        self._need(stop)
        if (stop - start) % width:
            raise Fallback("transfer_syntax")
        numbers = array(_CODES[width], bytes(self._header[start:stop]))
        numbers.byteswap()
        self._header[start:stop] = numbers.tobytes()
