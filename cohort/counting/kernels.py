"""The loops over voxels: tables filled block by block, NumPy alone.

Floats are counted over their top 18 bits as they are; the order of negative ones is mended on the counts, not on the
voxels. The 14 bits below are summed per bin, and so are their squares: with the counts they make the exact sum and sum
of squares of all values (in units of 2**-149 and 2**-298), which no split of the data can change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cohort.counting.bins import DENSE, DROPPED, KEY_BITS, no_bins, ordered_keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

_BLOCK = 1 << 18  # integers counted at once: what NumPy makes of them stays in the cache
_FLOAT_BLOCK = 1 << 15
_STRETCH = 1 << 24  # floats whose sums per bin are exact as float64: 2**24 squares of 14 bits are below 2**53
_LOW = np.uint32((1 << DROPPED) - 1)
_FRACTION_BITS = 23 - DROPPED  # bits of the fraction of a float32 that its key holds


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
    for start in range(0, flat.size, _BLOCK):
        found = np.bincount(flat[start : start + _BLOCK].view(f"u{flat.dtype.itemsize}"))
        table[: found.size] += found
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


class _Tables:
    """Per bin, in the order of the bits: counts, sums of the low bits, sums of their squares."""

    def __init__(self) -> None:
        self.counts = np.zeros(1 << KEY_BITS, np.int64)
        self.low: Floats = np.zeros(1 << KEY_BITS)
        self.squares: Floats = np.zeros(1 << KEY_BITS)

    def add(self, block: NDArray[np.float32]) -> None:
        """Count one block of finite floats."""
        bits = (block + np.float32(0)).view(np.uint32)  # -0 becomes +0
        keys = (bits >> np.uint32(DROPPED)).astype(np.int64)
        low = (bits & _LOW).astype(np.float64)
        first = int(keys.min())
        keys -= first
        found = np.bincount(keys)
        here = slice(first, first + found.size)
        self.counts[here] += found
        self.low[here] += np.bincount(keys, low)
        low *= low
        self.squares[here] += np.bincount(keys, low)


def count_floats(flat: NDArray[np.float32]) -> FloatCount:
    """Count floats; NaN and infinity are left out and counted."""
    nan = inf = total = squares = 0
    low, high = np.inf, -np.inf
    every = np.zeros(1 << KEY_BITS, np.int64)
    for start in range(0, flat.size, _STRETCH):
        stretch, tables = flat[start : start + _STRETCH], _Tables()
        for begin in range(0, stretch.size, _FLOAT_BLOCK):
            block = stretch[begin : begin + _FLOAT_BLOCK]
            finite = np.isfinite(block)
            if not finite.all():
                missing = int(np.count_nonzero(np.isnan(block)))
                nan, inf = nan + missing, inf + int(np.count_nonzero(~finite)) - missing
                block = block[finite]
            if block.size:
                tables.add(block)
                low, high = min(low, float(block.min())), max(high, float(block.max()))
        more = _exact_sums(tables)
        total, squares = total + more[0], squares + more[1]
        every += tables.counts
    raw = np.flatnonzero(every)
    keys = ordered_keys(raw)
    order = np.argsort(keys)
    extremes = (low + 0.0, high + 0.0) if raw.size else (np.nan, np.nan)  # -0.0 and 0.0 are one value
    return FloatCount(keys[order], every[raw[order]], nan, inf, *extremes, (total, squares))


def _exact_sums(tables: _Tables) -> tuple[int, int]:
    """Return the sum of the values, in units of 2**-149, and of their squares, in units of 2**-298.

    A finite float32 is m * 2**(e - 1) units, where m is a whole number: the key gives e and the upper part of m, the
    low bits give the rest. All sums per exponent stay below 2**63.
    """
    raw = np.flatnonzero(tables.counts)
    if raw.size == 0:
        return 0, 0
    counts, low, low_squares = tables.counts[raw], tables.low[raw].astype(np.int64), tables.squares[raw]
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
        per_head(low_squares.astype(np.int64)),
        strict=True,
    )
    for head, upper_sum, low_sum, upper_squares, mixed, low_square_sum in parts:
        shift = max(head & 0xFF, 1) - 1
        sign = -1 if head >> 8 else 1
        total += sign * ((upper_sum << DROPPED) + low_sum) << shift
        squares += ((upper_squares << 2 * DROPPED) + (mixed << DROPPED + 1) + low_square_sum) << 2 * shift
    return total, squares
