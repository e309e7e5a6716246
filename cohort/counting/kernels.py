"""Counts of a block of voxels: tables filled by a loop, and what is in them taken out.

Floats are counted over their top 18 bits as they are; the order of negative ones is mended on the counts, not on the
voxels. The 14 bits below are summed per bin, and so are their squares: with the counts they make the exact sum and sum
of squares of all values (in units of 2**-149 and 2**-298), which no split of the data can change.

The loops are NumPy's until they have taken as long as loading compiled ones takes; then they are those of Numba, where
it is installed: small cohorts do not pay for it, of large ones counting is no part of the time. Both give the same.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cohort.counting import loops
from cohort.counting.bins import DENSE, DROPPED, KEY_BITS, no_bins, ordered_keys

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_LOADING_SECONDS = 0.5  # importing Numba, and both loops from its cache
_BLOCK = 1 << 18  # wide integers counted at once
_STRETCH = 1 << 24  # floats counted into one table
_FRACTION_BITS = 23 - DROPPED  # bits of the fraction of a float32 that its key holds


class _Loops:
    """The loops that count in this process."""

    def __init__(self) -> None:
        self._module: ModuleType = loops
        self._left = _LOADING_SECONDS  # that NumPy may take before the others are loaded

    def tally(self, kind: str, flat: NDArray[Any], table: Ints) -> Any:
        """Call `tally_integers` or `tally_floats`."""
        if self._left < 0:
            self._left = math.inf
            self._module = _compiled() or loops
        start = time.perf_counter()
        found = getattr(self._module, f"tally_{kind}")(flat, table)
        self._left -= time.perf_counter() - start
        return found


def _compiled() -> ModuleType | None:
    """Return the compiled loops, None where there is no Numba, or none that works here."""
    try:
        from cohort.counting import compiled

        compiled.load()
    except Exception:  # an extra that is broken must not be worse than one that is missing
        return None
    return compiled


_loops = _Loops()


def count_integers(flat: NDArray[Any]) -> tuple[Ints, Ints]:
    """Return ascending values and how often each occurs."""
    if flat.size == 0:
        return no_bins()
    if flat.dtype.itemsize <= 2:
        return _count_short(flat)
    low, high = int(flat.min()), int(flat.max())
    if high - low >= DENSE:
        bins, counts = np.unique(flat, return_counts=True)
        return bins.astype(np.int64), counts.astype(np.int64)
    table = np.zeros(high - low + 1, np.int64)
    for start in range(0, flat.size, _BLOCK):
        found = np.bincount(flat[start : start + _BLOCK].astype(np.int64) - low)
        table[: found.size] += found
    offsets = np.flatnonzero(table)
    return offsets + low, table[offsets]


def _count_short(flat: NDArray[Any]) -> tuple[Ints, Ints]:
    """Count integers of 8 or 16 bits: as unsigned ones, for those index the table as they are."""
    flat = flat.astype(flat.dtype.newbyteorder("="), copy=False)  # values of big endian objects come as they are
    size = 1 << (8 * flat.dtype.itemsize)
    table = np.zeros(size, np.int64)
    _loops.tally("integers", flat.view(f"u{flat.dtype.itemsize}"), table)
    if flat.dtype.kind != "i":
        bins = np.flatnonzero(table)
        return bins, table[bins]
    table = np.roll(table, size // 2)  # negative values are the upper half
    places = np.flatnonzero(table)
    return places - size // 2, table[places]


class FloatCount(NamedTuple):
    """Counts of floats over keys, what was left out, the extremes and the exact sums."""

    bins: Ints
    counts: Ints
    nan: int
    inf: int
    minimum: float
    maximum: float
    sums: tuple[int, int]


def count_floats(flat: NDArray[np.float32]) -> FloatCount:
    """Count floats; NaN and infinity are left out and counted."""
    nan = inf = total = squares = 0
    low, high = np.inf, -np.inf
    every = np.zeros(1 << KEY_BITS, np.int64)
    for start in range(0, flat.size, _STRETCH):
        table = np.zeros((1 << KEY_BITS, 3), np.int64)
        seen = _loops.tally("floats", flat[start : start + _STRETCH], table)
        nan, inf, low, high = nan + seen.nan, inf + seen.inf, min(low, seen.low), max(high, seen.high)
        more = _exact_sums(table)
        total, squares = total + more[0], squares + more[1]
        every += table[:, 0]
    raw = np.flatnonzero(every)
    keys = ordered_keys(raw)
    order = np.argsort(keys)
    extremes = (low + 0.0, high + 0.0) if raw.size else (np.nan, np.nan)  # -0.0 and 0.0 are one value
    return FloatCount(keys[order], every[raw[order]], nan, inf, *extremes, (total, squares))


def _exact_sums(table: Ints) -> tuple[int, int]:
    """Return the sum of the values, in units of 2**-149, and of their squares, in units of 2**-298.

    A finite float32 is m * 2**(e - 1) units, where m is a whole number: the key gives e and the upper part of m, the
    low bits give the rest. All sums per exponent stay below 2**63.
    """
    raw = np.flatnonzero(table[:, 0])
    if raw.size == 0:
        return 0, 0
    counts, low, low_squares = table[raw].T
    heads = raw >> _FRACTION_BITS  # sign and exponent
    exponents = heads & 0xFF
    upper = (raw & ((1 << _FRACTION_BITS) - 1)) + np.where(exponents > 0, 1 << _FRACTION_BITS, 0)
    starts = np.flatnonzero(np.r_[True, heads[1:] != heads[:-1]])

    def per_head(numbers: Ints) -> list[int]:
        return [int(number) for number in np.add.reduceat(numbers, starts)]

    total = squares = 0
    parts = zip(
        heads[starts].tolist(),
        per_head(counts * upper),
        per_head(low),
        per_head(counts * upper * upper),
        per_head(upper * low),
        per_head(low_squares),
        strict=True,
    )
    for head, upper_sum, low_sum, upper_squares, mixed, low_square_sum in parts:
        shift = max(head & 0xFF, 1) - 1
        sign = -1 if head >> 8 else 1
        total += sign * ((upper_sum << DROPPED) + low_sum) << shift
        squares += ((upper_squares << 2 * DROPPED) + (mixed << DROPPED + 1) + low_square_sum) << 2 * shift
    return total, squares
