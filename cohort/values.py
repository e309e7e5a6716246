"""From stored values to modality values: rescale, type and padding.

value = slope * stored + intercept (PS3.3 C.11.1.1.2; NIfTI scl_slope, scl_inter), in the smallest exact type:
integers where slope and intercept are whole and fit, else float32. Padding is compared before the rescale
(PS3.3 C.7.5.1.1.2). MONOCHROME1 is a matter of display and is not inverted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cohort.errors import RejectedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Row = dict[str, Any]

OUT_OF_TYPE = "values_exceed_bits_stored"
"""Reason of a volume whose values do not fit in the type that its header makes one expect."""

_LARGEST_ENTRY = (1 << 16) - 1  # of a modality LUT
_INT64_MAX = np.iinfo(np.int64).max
_INTEGERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")


class Table(Protocol):
    """A modality LUT: entries of at most 16 bits, none of them negative."""

    def apply(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return the modality values of stored ones."""
        ...


@dataclass(frozen=True)
class ValuePlan:
    """How the stored values of one volume become its modality values.

    Parameters
    ----------
    dtype : numpy.dtype
        Type of the modality values.
    stored : numpy.dtype
        Type of the stored values.
    rescales : tuple of (float, float) or None
        Slope and intercept of each frame, None where the values are as stored; one entry where all are alike.
    paddings : tuple of (int, int) or None
        Lowest and highest stored value of the padding of each frame; one entry where all are alike.
    tables : bool
        Some frames have a modality LUT instead of a rescale.
    """

    dtype: np.dtype[Any]
    stored: np.dtype[Any]
    rescales: tuple[tuple[float, float] | None, ...]
    paddings: tuple[tuple[int, int] | None, ...]
    tables: bool = False

    @property
    def kind(self) -> str:
        """`integer` or `float`, as the values are counted."""
        return "integer" if self.dtype.kind in "iu" else "float"

    def narrowed(self) -> ValuePlan | None:
        """Return the same plan with values of as many bits as are stored, None where that is it already.

        Slope and intercept may carry the values out of 16 bits, but of images they hardly ever do.
        """
        if self.stored.kind not in "iu" or self.stored.itemsize != 2 or self.dtype not in (np.int32, np.uint32):
            return None
        return replace(self, dtype=np.dtype(np.int16))

    def convert(
        self, stored: NDArray[Any], row: Row, out: NDArray[Any] | None = None, table: Table | None = None
    ) -> NDArray[Any]:
        """Return the modality values of one frame, in `out` where it is given; by a table where its object has one.

        Integers are computed in their own type, modulo 2**bits: the ends of the frame tell before that all will fit.
        """
        if out is None:
            out = np.empty(stored.shape, self.dtype)
        if table is not None:
            found = table.apply(stored)
            if self.kind == "integer":
                self._check_ends(found, 1, 0)
            np.copyto(out, found, casting="unsafe")
            return out
        if row["slope"] is None and stored.dtype == self.dtype:
            out[...] = stored
            return out
        slope, intercept = (1.0, 0.0) if row["slope"] is None else (row["slope"], row["intercept"])
        if self.kind == "float":
            _to_floats(stored, slope, intercept, out)
            return out
        self._check_ends(stored, int(slope), int(intercept))
        np.copyto(out, stored, casting="unsafe")
        if slope != 1:
            out *= self._wrapped(int(slope))
        if intercept != 0:
            out += self._wrapped(int(intercept))
        return out

    def _check_ends(self, stored: NDArray[Any], slope: int, intercept: int) -> None:
        if not stored.size:
            return
        low, high = int(stored.min()), int(stored.max())
        if high > _INT64_MAX:
            raise RejectedError("values_exceed_int64")
        ends, limits = (slope * low + intercept, slope * high + intercept), np.iinfo(self.dtype)
        if min(ends) < limits.min or max(ends) > limits.max:
            raise RejectedError(OUT_OF_TYPE)

    def _wrapped(self, number: int) -> Any:
        """Return a whole number modulo 2**bits in the type of the values."""
        bits = np.iinfo(self.dtype).bits
        return np.array(number % (1 << bits), f"uint{bits}").view(self.dtype)

    def padding(self, stored: NDArray[Any], row: Row) -> NDArray[np.bool_] | None:
        """Return where one frame holds padding, None where it has none."""
        limits = padding_of(row)
        if limits is None or stored.ndim != 2:
            return None
        low, high = limits
        return np.asarray((stored >= low) & (stored <= high))

    def provenance(self) -> dict[str, Any]:
        """Return plain data for the attributes of the volume."""
        tables = {"modality_lut": True} if self.tables else {}
        return tables | {
            "stored_dtype": self.stored.name,
            "rescale": [list(r) if r else None for r in self.rescales],
            "padding": [list(p) if p else None for p in self.paddings],
        }


def _to_floats(stored: NDArray[Any], slope: float, intercept: float, out: NDArray[Any]) -> None:
    """Write modality values as float32; raises RejectedError where a finite one would become infinity."""
    try:
        with np.errstate(over="raise"):
            values = stored.astype(np.float64)
            values *= slope
            values += intercept
            out[...] = values
    except FloatingPointError:
        raise RejectedError("values_exceed_float32") from None


def plan_values(first: NDArray[Any], frames: list[Row], volume: Row) -> ValuePlan:
    """Choose the type of the modality values of one volume.

    Parameters
    ----------
    first : array
        Stored values of its first frame.
    frames : list of dict
        Its rows of `frames`.
    volume : dict
        Its row of `volumes`.
    """
    rescales = [None if row["slope"] is None else (row["slope"], row["intercept"]) for row in frames]
    paddings = [padding_of(row) for row in frames]
    stored = first.dtype if first.dtype.kind != "b" else np.dtype(np.uint8)
    dtype = _modality_type(stored, frames, rescales)
    return ValuePlan(dtype, stored, _folded(rescales), _folded(paddings), any(_has_table(row) for row in frames))


def _has_table(row: Row) -> bool:
    return bool(row["format"] == "dicom" and row["ModalityLUTType"] is not None)


def _modality_type(
    stored: np.dtype[Any], frames: list[Row], rescales: list[tuple[float, float] | None]
) -> np.dtype[Any]:
    if stored.kind == "f":
        return np.dtype(np.float32)
    tables = [_has_table(row) for row in frames]
    if all(rescale is None for rescale in rescales) and not any(tables):
        return np.dtype(np.int64) if stored == np.uint64 else stored
    given = [rescale or (1.0, 0.0) for rescale, table in zip(rescales, tables, strict=True) if not table]
    if not all(float(number).is_integer() for rescale in given for number in rescale):
        return np.dtype(np.float32)
    low, high = _stored_range(stored, frames)
    ends = [int(slope) * end + int(intercept) for slope, intercept in set(given) for end in (low, high)]
    ends += [0, _LARGEST_ENTRY] if any(tables) else []
    for name in _INTEGERS:
        limits = np.iinfo(name)
        if limits.min <= min(ends) and max(ends) <= limits.max:
            return np.dtype(name)
    return np.dtype(np.float32)


def _stored_range(stored: np.dtype[Any], frames: list[Row]) -> tuple[int, int]:
    """Return the range of the stored values: by BitsStored, widened by padding, which may lie outside it."""
    limits = np.iinfo(stored)
    bits = max((row["BitsStored"] or 0 for row in frames), default=0)
    if not 0 < bits < limits.bits:
        return int(limits.min), int(limits.max)
    signed = limits.min < 0
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    ends = [end for row in frames if (padding := padding_of(row)) for end in padding]
    return min(low, *ends, high), max(high, *ends, low)


def padding_of(row: Row) -> tuple[int, int] | None:
    """Return the lowest and highest stored value that is padding, None where there is none.

    PixelPaddingValue has the bits and the sign of the pixels, whatever its VR says (63536 is -2000 in signed bits).
    """
    value = row["PixelPaddingValue"]
    if value is None or row["format"] == "nifti":
        return None
    limit = row["PixelPaddingRangeLimit"]
    bits, signed = row["BitsStored"] or row["BitsAllocated"] or 16, bool(row["PixelRepresentation"])
    ends = [_as_stored(v, bits, signed) for v in (value, value if limit is None else limit)]
    if value and not any(ends):
        return None  # nothing of it is left in the bits used; a real 0 must not count as padding
    return min(ends), max(ends)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def _folded(values: list[Any]) -> tuple[Any, ...]:
    return (values[0],) if len(set(values)) == 1 else tuple(values)
