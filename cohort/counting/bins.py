"""Bins that are the same for all data, and sparse counts over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

KEY_BITS = 18
"""Bits of a float32 that make its bin: sign, exponent and 9 bits of mantissa; 2**-9 is 0.2 %."""

DROPPED = 32 - KEY_BITS
"""Bits of a float32 that tell values of one bin apart."""

LINEAR_STEPS = 256
"""Bins of kind `linear` to a unit: bin k holds k / 256 <= v < (k + 1) / 256."""

DENSE = 1 << 22
"""Integers spread no wider than this are counted in a table."""


def no_bins() -> tuple[Ints, Ints]:
    """Return the bins and counts of no values."""
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


def float_keys(values: NDArray[np.float32]) -> Ints:
    """Return the bin of each float32: larger values never have smaller keys."""
    bits = (values + np.float32(0)).view(np.uint32)  # -0 becomes +0
    return ordered_keys((bits >> np.uint32(DROPPED)).astype(np.int64))


def ordered_keys(raw: Ints) -> Ints:
    """Return keys in the order of their floats, from the top bits as they are: negative floats come reversed."""
    half = 1 << (KEY_BITS - 1)
    keys: Ints = np.where(raw < half, raw + half, 2 * half - 1 - raw)
    return keys


def key_edges(keys: Ints) -> tuple[Floats, Floats]:
    """Return the edges of float bins: a bin holds the values low <= v < high."""
    return _edge(keys), _edge(keys + 1)


def _edge(keys: Ints) -> Floats:
    ordered = np.minimum(keys.astype(np.uint64) << np.uint64(DROPPED), np.uint64(0xFFFFFFFF)).astype(np.uint32)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    edges: Floats = bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return edges


def bin_edges(kind: str, bins: Ints) -> tuple[Floats, Floats]:
    """Return the edges of bins of any kind; those of an integer are both the value."""
    if kind == "float":
        return key_edges(bins)
    if kind == "linear":
        return bins / LINEAR_STEPS, (bins + 1) / LINEAR_STEPS
    values: Floats = bins.astype(np.float64)
    return values, values


def bin_values(kind: str, bins: Ints) -> Floats:
    """Return the value that stands for each bin: of an integer itself, else the middle; zero for the bin at zero."""
    low, high = bin_edges(kind, bins)
    return np.where((low <= 0) & (high > 0), 0.0, (low + high) / 2) if kind == "float" else (low + high) / 2


def add_bins(bins: list[Ints], counts: list[Ints]) -> tuple[Ints, Ints]:
    """Add sparse counts; returns ascending bins and their counts."""
    every = np.concatenate(bins)
    if every.size == 0:
        return no_bins()
    weights = np.concatenate(counts)
    low = int(every.min())
    if int(every.max()) - low < DENSE:
        # float64 weights of bincount are exact below 2**53 values in a bin
        table: NDArray[Any] = np.bincount(every - low, weights=weights).astype(np.int64)
        offsets = np.flatnonzero(table)
        return offsets + low, table[offsets]
    order = np.argsort(every, kind="stable")
    every, weights = every[order], weights[order]
    starts = np.flatnonzero(np.r_[True, every[1:] != every[:-1]])
    return every[starts], np.add.reduceat(weights, starts)
