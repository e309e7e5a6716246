"""Stored values of frames that are not compressed, read in place by offset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from pydicom.uid import ExplicitVRBigEndian

from cohort.errors import RejectedError
from cohort.readers.dicom_layout import layout_of, to_rgb, unpacked, used_bits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_TAGS = {0x0008: 4, 0x0009: 8, 0x0010: None}  # element of group 7FE0 -> bytes of a float, None: integers
_GROUP = 0x7FE0
_HEADER = 12


class NativeFrames:
    """Frames that lie in the file as they are, in either byte order.

    Parameters
    ----------
    file : BinaryIO
        The object, or what it inflates to; closed by `close`.
    row : mapping
        A row of `frames`, with `pixel_offset` in `file`.

    Raises
    ------
    RejectedError
        If the header does not tell what the bytes mean.
    """

    decoder = "native"

    def __init__(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        self._file = file
        self._offset = int(row["pixel_offset"])
        order, floats, words = _element(file, self._offset, row["TransferSyntaxUID"])
        self._layout = layout = layout_of(row, integers=floats is None)
        if floats is None:
            self._dtype = np.dtype(f"{order}{'i' if layout.signed else 'u'}{max(8, layout.allocated) // 8}")
        else:
            self._dtype = np.dtype(f"{order}f{floats}")
        self._floats = floats is not None
        self._swapped = order == ">" and words and layout.allocated <= 8 and not self._floats
        self._subsampled = layout.photometric == "YBR_FULL_422" and layout.samples == 3
        length = row.get("pixel_length")
        if self._subsampled and length is not None and length >= layout.pixels * 3 * layout.frames:
            self._subsampled = False  # every pixel has its own chroma, whatever the header says

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one frame."""
        layout = self._layout
        if layout.allocated == 1:
            bits = layout.pixels * layout.samples
            first, skip = divmod(frame * bits, 8)
            return unpacked(self._bytes(first, (skip + bits + 7) // 8), layout, skip)
        samples = 2 if self._subsampled else layout.samples
        size = layout.pixels * samples * self._dtype.itemsize
        values: NDArray[Any] = np.frombuffer(self._bytes(frame * size, size), self._dtype)
        values = values.astype(self._dtype.newbyteorder("="), copy=False)
        if self._subsampled:
            values = _upsampled(values).reshape(layout.shape)
        elif layout.planar:
            values = np.moveaxis(values.reshape(layout.samples, layout.rows, layout.columns), 0, -1)
        else:
            values = values.reshape(layout.shape)
        return values if self._floats else to_rgb(used_bits(values, layout), layout.photometric)

    def _bytes(self, start: int, size: int) -> bytes:
        """Return bytes of the pixel values; those of big endian words of two bytes in their order."""
        shift = start % 2 if self._swapped else 0
        wanted = size + shift + ((size + shift) % 2 if self._swapped else 0)
        self._file.seek(self._offset + start - shift)
        block = self._file.read(wanted)
        if self._swapped and len(block) == wanted:
            block = np.frombuffer(block, np.uint16).byteswap().tobytes()
        block = block[shift : shift + size]
        if len(block) < size:
            raise RejectedError("truncated_pixels")
        return block

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _element(file: BinaryIO, offset: int, syntax: str | None) -> tuple[str, int | None, bool]:
    """Return byte order, the bytes of a float (None: integers) and whether the VR is OW, by the element header before.

    Where no transfer syntax is declared, the order of the tag is that of the values.
    """
    file.seek(max(0, offset - _HEADER))
    header = file.read(min(offset, _HEADER))
    orders = "<>" if syntax is None else (">" if syntax == ExplicitVRBigEndian else "<")
    for order in orders:
        for start in (0, 4):  # explicit VR with a length of four bytes; any other
            group, element = np.frombuffer(header[start : start + 4].ljust(4, b"\0"), f"{order}u2")
            if group == _GROUP and element in _TAGS:
                return order, _TAGS[int(element)], header[start + 4 : start + 6] == b"OW"
    raise RejectedError("unparsable_header: pixels")


def _upsampled(values: NDArray[Any]) -> NDArray[Any]:
    """Return pixels of three samples from Y, Y, Cb, Cr: two pixels share their chroma (PS3.3 C.7.6.3.1.2)."""
    pairs = values.reshape(-1, 4)
    pixels = np.empty((pairs.shape[0], 2, 3), values.dtype)
    pixels[..., 0] = pairs[:, :2]
    pixels[..., 1:] = pairs[:, np.newaxis, 2:]
    return pixels
