"""Mosaics: one frame that holds a whole stack of MR slices, a tile a slice.

Siemens writes them with MOSAIC in ImageType and says in the CSA header how many slices there are and which way
they follow each other; UIH writes VFRAME and a private sequence with the position of every slice. Only objects
whose ImageType says so are looked at a second time.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pydicom
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from cohort import geometry
from cohort.errors import RejectedError
from cohort.readers.base import Row, inflate
from cohort.readers.dicom_convert import Fallback
from cohort.readers.dicom_elements import (
    ITEM,
    ITEM_END,
    LONG,
    SEQUENCE_END,
    SHORT,
    UNDEFINED,
    unpack_implicit,
    unpack_length,
)
from cohort.readers.dicom_items import check_open, skip_sequence
from cohort.readers.dicom_layouts import Layout
from cohort.readers.dicom_window import PADDING, Window
from cohort.readers.siemens_csa import read_csa

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cohort.readers.base import FrameReader

MAX_SLICES = 1024
MAX_ELEMENTS = 20_000  # up to the private ones

_SIEMENS, _UIH = "MOSAIC", "VFRAME"
_CSA = (0x0029, "SIEMENS CSA HEADER", 0x10)
_GRID_COUNT = (0x0065, "Image Private Header", 0x50)
_GRID_FRAMES = (0x0065, "Image Private Header", 0x51)
_CREATORS = range(0x10, 0x100)  # PS3.5 section 7.8.1
_FAR_FROM_NORMAL = 0.01  # of the cosine between two normals that should be one

_POSITION = 0x00200032
_IN_ITEM = {implicit: Layout(implicit, (_POSITION,)) for implicit in (False, True)}
_MOST_BYTES = 1 << 20  # of a sequence whose length is not given

Private = tuple[int, str, int]


class _Candidates(NamedTuple):
    """Tags that are looked at one by one to find a private element: its creators, and those it may have."""

    group: int
    offset: int

    def __contains__(self, tag: object) -> bool:
        return (
            isinstance(tag, int)
            and tag >> 16 == self.group
            and (tag & 0xFFFF < _CREATORS.stop or tag & 0xFF == self.offset)
        )


_TOWARDS = {
    (private, implicit): Layout(implicit, _Candidates(private[0], private[2]))
    for private in (_CSA, _GRID_COUNT, _GRID_FRAMES)
    for implicit in (False, True)
}


def is_mosaic(row: Row) -> bool:
    """Tell whether ImageType calls an image a mosaic; what was cut into frames since keeps the word, but is none."""
    kinds = row.get("ImageType") or ()
    single = (row.get("NumberOfFrames") or 1) <= 1 and row.get("frame_ImagePositionPatient") is None
    return bool(row.get("is_image")) and single and (_SIEMENS in kinds or _UIH in kinds)


def mosaic_facts(file: BinaryIO, size: int, head: bytes, row: Row, *, gzip_limit: int | None = None) -> Row:
    """Read what the private elements of a mosaic say.

    Parameters
    ----------
    file : BinaryIO
        The object; left open, at any position.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes.
    row : Row
        What its header told.
    gzip_limit : int, optional
        Largest size, in bytes, to which it is inflated; None where it is no gzip stream.

    Returns
    -------
    Row
        The columns `mosaic_*`: slices, tiles down and across and the position of each slice; or the problem.
    """
    elements = _Elements(file, size, head, row, gzip_limit)
    try:
        return (_siemens if _SIEMENS in row["ImageType"] else _uih)(elements, row)
    except RejectedError as rejection:
        return {"mosaic_problem": rejection.reason}


def _siemens(elements: _Elements, row: Row) -> Row:
    """Place the tiles: along the normal of the slices, on the side to which the CSA header points.

    ImagePositionPatient is that of a single slice as large as the mosaic around the same centre; the distance of
    the slices is SpacingBetweenSlices (nibabel, doc/source/dicom/dicom_mosaic.rst).
    """
    csa = read_csa(elements.value(_CSA), ("NumberOfImagesInMosaic", "SliceNormalVector"))
    slices = _count(csa.get("NumberOfImagesInMosaic", [""])[0:1])
    side = math.isqrt(slices - 1) + 1
    _check_grid(row, side, side)
    step = row.get("SpacingBetweenSlices")
    if step is None or not math.isfinite(step) or step <= 0:
        raise RejectedError("no_slice_spacing")
    position, cosines = _numbers(row, "ImagePositionPatient", 3), _numbers(row, "ImageOrientationPatient", 6)
    normal = geometry.slice_normal(cosines)
    along = float(normal @ _floats(csa.get("SliceNormalVector", []), 3, "no_slice_normal"))
    if not abs(abs(along) - 1) <= _FAR_FROM_NORMAL:
        raise RejectedError("no_slice_normal")
    corner = geometry.mosaic_corner(
        position, cosines, _numbers(row, "PixelSpacing", 2), (row["Rows"], row["Columns"]), (side, side)
    )
    places = corner + np.outer(np.arange(slices), math.copysign(step, along) * normal)
    return _facts(slices, side, side, places)


def _uih(elements: _Elements, row: Row) -> Row:
    """Take the positions of the tiles from the frames of the virtual object; its grid need not be square."""
    slices = _count([elements.value(_GRID_COUNT).decode("latin-1")])
    across = math.isqrt(slices - 1) + 1
    down = -(-slices // across)
    _check_grid(row, down, across)
    places = elements.positions(_GRID_FRAMES)
    if len(places) != slices:
        raise RejectedError("no_position")
    if any(len(place) != 3 for place in places):
        raise RejectedError("no_position")
    return _facts(
        slices, down, across, _floats([value for place in places for value in place], 3 * slices, "no_position")
    )


def _facts(slices: int, down: int, across: int, places: NDArray[np.float64]) -> Row:
    return {"mosaic_slices": slices, "mosaic_grid": [down, across], "mosaic_positions": places.ravel().tolist()}


def _count(texts: Sequence[str]) -> int:
    numbers = _floats(texts, 1, "no_slice_count")
    if not 1 <= numbers[0] <= MAX_SLICES or numbers[0] != int(numbers[0]):
        raise RejectedError("no_slice_count")
    return int(numbers[0])


def _check_grid(row: Row, down: int, across: int) -> None:
    rows, columns = row.get("Rows") or 0, row.get("Columns") or 0
    if rows < 1 or columns < 1 or rows % down or columns % across:
        raise RejectedError("grid_mismatch")


def _numbers(row: Row, name: str, count: int) -> NDArray[np.float64]:
    return _floats(row.get(name) or (), count, f"no_{name}")


def _floats(values: Sequence[Any], count: int, reason: str) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(value) for value in values])
    except (TypeError, ValueError):
        raise RejectedError(reason) from None
    if len(numbers) != count or not np.isfinite(numbers).all():
        raise RejectedError(reason)
    return numbers


# -- private elements --------------------------------------------------------------------------------------


class _Elements:
    """Private elements of one object, walked to; what the walker leaves alone is read by pydicom."""

    def __init__(self, file: BinaryIO, size: int, head: bytes, row: Row, gzip_limit: int | None) -> None:
        self._file, self._size, self._head, self._gzip_limit = file, size, head, gzip_limit
        self._walked = row.get("fallback_reason") is None and row["TransferSyntaxUID"] != ExplicitVRBigEndian
        self._implicit = row["TransferSyntaxUID"] == ImplicitVRLittleEndian
        self._dataset: pydicom.Dataset | None = None

    def value(self, private: Private) -> bytes:
        """Return the bytes of an element."""
        try:
            window = self._window()
            place, length = self._find(window, private)
            return window.read(place, place + length)
        except Fallback:
            value = self._parsed(private).value
            return value if isinstance(value, bytes) else str(value).encode("latin-1", "replace")

    def positions(self, private: Private) -> list[Sequence[Any]]:
        """Return ImagePositionPatient of every item of a sequence."""
        try:
            window = self._window()
            place, length = self._find(window, private)
            end = place + (_MOST_BYTES if length == UNDEFINED else length)
            return _item_positions(window.read(place, min(end, self._size)), length, implicit=self._implicit)
        except Fallback:
            value = self._parsed(private).value
            items = value if isinstance(value, pydicom.Sequence) else []
            return [item.get("ImagePositionPatient", ()) for item in items]

    def _window(self) -> Window:
        if not self._walked:
            raise Fallback("not_walked")
        return Window(self._file, self._size, self._head)

    def _find(self, window: Window, private: Private) -> tuple[int, int]:
        """Return place and length of a private element by walking the data set (PS3.5 section 7.8.1)."""
        wanted_group, creator, offset = private
        position = 144 + unpack_length(window.data, 140)[0]  # behind the meta header
        wanted = -1
        layout = _TOWARDS[private, self._implicit]
        for _ in range(MAX_ELEMENTS):
            pos = position - window.base
            if not 0 <= pos <= window.safe:
                window.move(position)
                pos = 0
            pos, _ = layout.skip_known(window.data, pos, window.safe)
            position = window.base + pos
            group, element, length = unpack_implicit(window.data, pos)
            if group > wanted_group:
                break
            position, vr = position + 8, b""
            if not self._implicit:
                position, vr, length = _explicit(window.data, pos, position, length)
            if group == wanted_group and element == wanted:
                return position, length
            if length == UNDEFINED:
                check_open(window, position, group << 16 | element, vr)
                position = skip_sequence(window, position, implicit=self._implicit)
                continue
            if group == wanted_group and element in _CREATORS:
                name = window.read(position, position + length).rstrip(b" \0")
                wanted = element << 8 | offset if name == creator.encode() else wanted
            position += length
        raise RejectedError("no_private_header")

    def _parsed(self, private: Private) -> pydicom.DataElement:
        group, creator, offset = private
        try:
            if self._dataset is None:
                self._file.seek(0)
                whole = self._file if self._gzip_limit is None else inflate(self._file, self._gzip_limit)
                self._dataset = pydicom.dcmread(whole, stop_before_pixels=True, force=True)
            return self._dataset.private_block(group, creator)[offset]
        except KeyError:
            raise RejectedError("no_private_header") from None
        except Exception as error:  # pydicom raises whatever the bytes lead it to
            raise RejectedError(f"private_header: {type(error).__name__}") from None


def _explicit(data: bytes, pos: int, position: int, length: int) -> tuple[int, bytes, int]:
    """Return where the value is, VR and length; `length` is what would be it if VR were implicit."""
    vr = data[pos + 4 : pos + 6]
    if vr in SHORT:
        return position, vr, length >> 16
    if vr in LONG:
        return position + 4, vr, unpack_length(data, pos + 8)[0]
    raise Fallback("value_representation")


def _item_positions(data: bytes, length: int, *, implicit: bool) -> list[Sequence[str]]:
    """Return ImagePositionPatient of every item of a sequence; sequences inside are left to pydicom."""
    positions: list[Sequence[str]] = []
    pos, end, data = 0, len(data), data + PADDING
    while length == UNDEFINED or pos < length:
        if pos >= end:
            raise Fallback("item_length")
        group, element, size = unpack_implicit(data, pos)
        tag, pos = group << 16 | element, pos + 8
        if tag == SEQUENCE_END and length == UNDEFINED:
            break
        if tag != ITEM:
            raise Fallback("item_expected")
        position, pos = _position(data, pos, None if size == UNDEFINED else pos + size, end, implicit=implicit)
        positions.append(position)
    return positions


def _position(data: bytes, pos: int, stop: int | None, end: int, *, implicit: bool) -> tuple[Sequence[str], int]:
    """Return the value within one item, and where the item ends: at `stop`, or at its delimiter."""
    found: Sequence[str] = ()
    layout, safe = _IN_ITEM[implicit], end if stop is None else min(stop, end)
    while True:
        pos, _ = layout.skip_known(data, pos, safe)
        if stop is not None and pos >= stop:
            return found, pos
        if pos >= end:
            raise Fallback("item_length")
        group, element, length = unpack_implicit(data, pos)
        tag, value = group << 16 | element, pos + 8
        if tag == ITEM_END and stop is None:
            return found, value
        if not implicit:
            value, _, length = _explicit(data, pos, value, length)
        if length == UNDEFINED or value + length > end:
            raise Fallback("undefined_length")
        if tag == _POSITION:
            found = data[value : value + length].decode("latin-1").strip(" \0").split("\\")
        pos = value + length


# -- pixels ------------------------------------------------------------------------------------------------


class MosaicFrames:
    """Slices of one mosaic, which is decoded once."""

    def __init__(self, mosaic: FrameReader, grid: Sequence[int]) -> None:
        self._mosaic = mosaic
        self._down, self._across = grid
        self._values: NDArray[np.generic] | None = None
        self.decoder = mosaic.decoder

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one tile; they follow each other by rows."""
        if self._values is None:
            self._values = self._mosaic.read(0)
        rows, columns = self._values.shape[0] // self._down, self._values.shape[1] // self._across
        top, left = frame // self._across * rows, frame % self._across * columns
        return self._values[top : top + rows, left : left + columns]

    def close(self) -> None:
        """Close the mosaic."""
        self._mosaic.close()
