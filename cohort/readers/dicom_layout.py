"""How the pixels of one object are laid out, by its header, and what becomes of a frame once its samples are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.pixels.processing import convert_color_space

from cohort.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_FULL = ("YBR_FULL", "YBR_FULL_422")
_SIGNS = _PLANES = (None, 0, 1)  # what an attribute of the header may say; of anything else the values are unknown
_RETIRED = ("YBR_PARTIAL_422", "YBR_PARTIAL_420")  # reduced range; retired before JPEG was added


@dataclass(frozen=True)
class PixelLayout:
    """The image pixel attributes of one object (PS3.3 section C.7.6.3).

    Parameters
    ----------
    rows, columns, samples, frames : int
        Size of a frame, samples a pixel, number of frames.
    allocated, stored, high : int
        BitsAllocated, BitsStored and HighBit.
    signed : bool
        Whether stored values are two's complement.
    photometric : str
        PhotometricInterpretation; MONOCHROME2 where there is none and one sample a pixel.
    planar : bool
        Whether the samples lie plane by plane.
    """

    rows: int
    columns: int
    samples: int
    frames: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows, columns, and channels where there are several."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    @property
    def pixels(self) -> int:
        """Pixels of a frame."""
        return self.rows * self.columns


def layout_of(row: Mapping[str, Any], *, integers: bool = True) -> PixelLayout:
    """Return the layout that a row of `frames` tells.

    Parameters
    ----------
    row : mapping
        A row of `frames`.
    integers : bool
        Whether stored values are integers, which must have PixelRepresentation.

    Raises
    ------
    RejectedError
        `missing_attribute`, `bad_dimensions`, `bad_bits` or `unsupported_colour`.
    """
    needed = ("Rows", "Columns", "BitsAllocated", *(("PixelRepresentation",) if integers else ()))
    for name in needed:
        if row.get(name) is None:
            raise RejectedError(f"missing_attribute: {name}")
    rows, columns, allocated = int(row["Rows"]), int(row["Columns"]), int(row["BitsAllocated"])
    samples = int(row.get("SamplesPerPixel") or 1)
    if rows < 1 or columns < 1 or samples < 1:
        raise RejectedError("bad_dimensions")
    stored = allocated if row.get("BitsStored") is None else int(row["BitsStored"])
    told = row.get("HighBit")
    high = stored - 1 if told is None else int(told)
    if not stored - 1 <= high < allocated:
        high = stored - 1  # it cannot be: the values would not fit, or lie outside their bits
    if (
        allocated not in (1, 8, 16, 32, 64)
        or not 0 < stored <= allocated
        or row.get("PixelRepresentation") not in _SIGNS
    ):
        raise RejectedError("bad_bits")
    photometric = str(row.get("PhotometricInterpretation") or ("MONOCHROME2" if samples == 1 else "RGB"))
    if photometric in _RETIRED or (samples > 1 and row.get("PlanarConfiguration") not in _PLANES):
        raise RejectedError("unsupported_colour")
    return PixelLayout(
        rows,
        columns,
        samples,
        max(1, int(row.get("NumberOfFrames") or 1)),
        allocated,
        stored,
        high,
        bool(row.get("PixelRepresentation")),
        photometric,
        row.get("PlanarConfiguration") == 1 and samples > 1,
    )


def used_bits(values: NDArray[Any], layout: PixelLayout) -> NDArray[Any]:
    """Return values without what stands in bits not used, e.g. an overlay; the sign extended (PS3.5 section 8.1.1)."""
    left, right = layout.allocated - 1 - layout.high, layout.allocated - layout.stored
    if not right:
        return values
    shifted = values << left
    shifted >>= right
    return np.asarray(shifted)


def to_rgb(values: NDArray[Any], photometric: str) -> NDArray[Any]:
    """Return a colour frame as RGB; any other as it is (PS3.3 section C.7.6.3.1.2)."""
    if photometric in _FULL and values.ndim == 3 and values.shape[2] == 3:
        return np.asarray(convert_color_space(values, photometric, "RGB"))
    return values


def unpacked(block: bytes, layout: PixelLayout, skip: int = 0) -> NDArray[np.uint8]:
    """Return the values of a frame of single bits, the first bits being the least significant (PS3.5 section 8.1.1).

    `skip` bits of the block belong to the frame before.
    """
    count = layout.pixels * layout.samples
    bits = np.unpackbits(np.frombuffer(block, np.uint8), count=skip + count, bitorder="little")
    if bits.size < skip + count:
        raise RejectedError("truncated_pixels")
    return bits[skip:].reshape(layout.shape)
