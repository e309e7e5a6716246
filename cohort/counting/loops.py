"""The loops over voxels, by NumPy alone: tables filled block by block.

`cohort.counting.compiled` has the same two functions as machine code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cohort.counting.bins import DROPPED

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 1 << 18  # integers counted at once: what NumPy makes of them stays in the cache
_FLOAT_BLOCK = 1 << 16
_LOW = np.uint32((1 << DROPPED) - 1)


class Seen(NamedTuple):
    """What a loop over floats saw beside what it counted; extremes are infinite where nothing was counted."""

    nan: int
    inf: int
    low: float
    high: float


def tally_integers(flat: NDArray[Any], table: NDArray[np.int64]) -> None:
    """Add to a table how often each unsigned integer occurs.

    Parameters
    ----------
    flat : array of uint8 or uint16
        The values, in the byte order of the machine.
    table : array of int64, (256,) or (65536,)
        Added to.
    """
    for start in range(0, flat.size, _BLOCK):
        found = np.bincount(flat[start : start + _BLOCK])
        table[: found.size] += found


def tally_floats(flat: NDArray[np.float32], table: NDArray[np.int64]) -> Seen:
    """Add floats to a table by their top bits; NaN and infinity are left out.

    Parameters
    ----------
    flat : array of float32
        At most 2**24 values, so that sums within a block are exact as float64.
    table : array of int64, (2**18, 3)
        Added to: counts, sums of the low bits, sums of their squares.
    """
    nan = inf = 0
    low, high = np.inf, -np.inf
    for start in range(0, flat.size, _FLOAT_BLOCK):
        block = flat[start : start + _FLOAT_BLOCK]
        finite = np.isfinite(block)
        if not finite.all():
            missing = int(np.count_nonzero(np.isnan(block)))
            nan, inf = nan + missing, inf + int(np.count_nonzero(~finite)) - missing
            block = block[finite]
        if block.size:
            _tally_block(block, table)
            low, high = min(low, float(block.min())), max(high, float(block.max()))
    return Seen(nan, inf, low, high)


def _tally_block(block: NDArray[np.float32], table: NDArray[np.int64]) -> None:
    bits = (block + np.float32(0)).view(np.uint32)  # -0 becomes +0
    keys = (bits >> np.uint32(DROPPED)).astype(np.int64)
    low = (bits & _LOW).astype(np.float64)
    first = int(keys.min())
    keys -= first
    found = np.bincount(keys)
    here = slice(first, first + found.size)
    table[here, 0] += found
    table[here, 1] += np.bincount(keys, low).astype(np.int64)
    low *= low
    table[here, 2] += np.bincount(keys, low).astype(np.int64)
