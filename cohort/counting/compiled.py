"""The loops of `cohort.counting.loops` as machine code, by Numba (extra "fast").

They let go of the interpreter lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from cohort.counting import loops
from cohort.counting.bins import DROPPED, KEY_BITS
from cohort.counting.loops import Seen

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TABLES = 4  # neighbours are often equal: one table would wait for its own last sum
_EXPONENT, _FRACTION = np.uint32(0x7F800000), np.uint32(0x007FFFFF)
_MINUS_ZERO, _ZERO = np.uint32(0x80000000), np.uint32(0)
_SHIFT, _LOW = np.uint32(DROPPED), np.uint32((1 << DROPPED) - 1)


def _fill(flat: Any, tables: Any) -> None:
    whole = flat.size // 4 * 4
    for i in range(0, whole, 4):
        tables[0, flat[i]] += 1
        tables[1, flat[i + 1]] += 1
        tables[2, flat[i + 2]] += 1
        tables[3, flat[i + 3]] += 1
    for i in range(whole, flat.size):
        tables[0, flat[i]] += 1


def _fill_floats(flat: Any, bits: Any, table: Any) -> Any:
    nan = inf = 0
    low, high = np.float32(np.inf), np.float32(-np.inf)
    for i in range(flat.size):
        raw = bits[i]
        if raw & _EXPONENT == _EXPONENT:
            if raw & _FRACTION:
                nan += 1
            else:
                inf += 1
            continue
        if raw == _MINUS_ZERO:
            raw = _ZERO
        low, high = min(low, flat[i]), max(high, flat[i])
        key, rest = raw >> _SHIFT, np.int64(raw & _LOW)
        table[key, 0] += 1
        table[key, 1] += rest
        table[key, 2] += rest * rest
    return nan, inf, low, high


_filled = njit(nogil=True, cache=True)(_fill)
_filled_floats = njit(nogil=True, cache=True)(_fill_floats)


def tally_integers(flat: NDArray[Any], table: NDArray[np.int64]) -> None:
    """Add to a table how often each unsigned integer occurs; see `loops`."""
    if flat.size < table.size:  # more to clear than to count
        loops.tally_integers(flat, table)
        return
    tables = np.zeros((_TABLES, table.size), np.int64)
    _filled(flat, tables)
    table += tables.sum(axis=0)


def tally_floats(flat: NDArray[np.float32], table: NDArray[np.int64]) -> Seen:
    """Add floats to a table by their top bits; see `loops`."""
    nan, inf, low, high = _filled_floats(flat, flat.view(np.uint32), table)
    return Seen(nan, inf, float(low), float(high))


def load() -> None:
    """Compile, or load from the cache of an earlier process, whatever `tally_integers` and `tally_floats` may need."""
    for kind in (np.uint8, np.uint16):
        size = 1 << 8 * np.dtype(kind).itemsize
        tally_integers(np.zeros(size, kind), np.zeros(size, np.int64))
    tally_floats(np.zeros(1, np.float32), np.zeros((1 << KEY_BITS, 3), np.int64))
