"""Exact counts of values: chunk, combine, aggregate, and nothing else.

A statistic here is a merge of counts, so its law is that every split of the data gives the same answer.
Integers are counted per value. Floats are counted over the top 18 bits of the float32 in an order-preserving
form: bins at most 0.2 % wide that are the same for all data, so they merge exactly. NaN, infinity and padding
are left out and counted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

KEY_BITS = 18
"""Bits of a float32 that make its bin: sign, exponent and 9 bits of mantissa; 2**-9 is 0.2 %."""

_DROPPED = 32 - KEY_BITS
_BLOCK = 1 << 18  # values counted at once; keeps the table of counts in the cache
_DENSE = 1 << 22  # integers spread no wider than this are counted in a table


@dataclass(frozen=True)
class Counts:
    """Counts of one set of values; `merge` adds two sets.

    Parameters
    ----------
    kind : str
        `integer`: bins are the values; `float`: bins are keys.
    bins, counts : array of int64
        Bins that are not empty, ascending, and the values in each.
    padding, nan, inf : int
        Values left out.
    minimum, maximum : float
        Extremes of the values counted; NaN where there are none.
    blocks : tuple of (int, float, float)
        Count, mean and sum of squared deviations of each block of a pass; floats only: integers have them exact
        in their counts.
    """

    kind: str
    bins: Ints
    counts: Ints
    padding: int = 0
    nan: int = 0
    inf: int = 0
    minimum: float = math.nan
    maximum: float = math.nan
    blocks: tuple[tuple[int, float, float], ...] = ()

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    def as_row(self) -> dict[str, Any]:
        """Return plain data: the columns of `partials` that hold counts."""
        return {
            "kind": self.kind,
            "bins": self.bins,
            "counts": self.counts,
            "padding_count": self.padding,
            "nan_count": self.nan,
            "inf_count": self.inf,
            "min": None if math.isnan(self.minimum) else self.minimum,
            "max": None if math.isnan(self.maximum) else self.maximum,
            "block_count": [n for n, _, _ in self.blocks],
            "block_mean": [mean for _, mean, _ in self.blocks],
            "block_m2": [m2 for _, _, m2 in self.blocks],
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Counts:
        """Return the counts that `as_row` wrote down."""
        blocks = zip(row["block_count"], row["block_mean"], row["block_m2"], strict=True)
        return cls(
            kind=row["kind"],
            bins=np.asarray(row["bins"], np.int64),
            counts=np.asarray(row["counts"], np.int64),
            padding=row["padding_count"],
            nan=row["nan_count"],
            inf=row["inf_count"],
            minimum=math.nan if row["min"] is None else row["min"],
            maximum=math.nan if row["max"] is None else row["max"],
            blocks=tuple(blocks),
        )

    @property
    def seen(self) -> int:
        """Values seen: counted, padding, NaN and infinity."""
        return self.total + self.padding + self.nan + self.inf


def empty(kind: str) -> Counts:
    """Return the counts of no values."""
    return Counts(kind, *_none())


def count_values(values: NDArray[Any], padding: NDArray[np.bool_] | None = None) -> Counts:
    """Count one block of modality values (chunk).

    Parameters
    ----------
    values : array
        Integers, or floats that are counted as float32.
    padding : array of bool, optional
        True where a value is padding; same shape.
    """
    left_out = 0
    if padding is not None and padding.any():
        left_out = int(np.count_nonzero(padding))
        values = values[~padding]
    flat = values.ravel()
    if flat.dtype.kind in "iub":
        return _count_integers(flat, left_out)
    return _count_floats(flat, left_out)


def _count_integers(flat: NDArray[Any], padding: int) -> Counts:
    if flat.size == 0:
        return Counts("integer", *_none(), padding)
    low, high = int(flat.min()), int(flat.max())
    if high - low < _DENSE:
        table = np.zeros(high - low + 1, np.int64)
        for start in range(0, flat.size, _BLOCK):
            part = flat[start : start + _BLOCK].astype(np.int64) - low
            found = np.bincount(part)
            table[: found.size] += found
        offsets = np.flatnonzero(table)
        return Counts("integer", offsets + low, table[offsets], padding, 0, 0, float(low), float(high))
    bins, counts = np.unique(flat, return_counts=True)
    return Counts("integer", bins.astype(np.int64), counts.astype(np.int64), padding, 0, 0, float(low), float(high))


def _none() -> tuple[Ints, Ints]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64)


def _count_floats(flat: NDArray[Any], padding: int) -> Counts:
    flat = flat.astype(np.float32, copy=False)
    nan = int(np.count_nonzero(np.isnan(flat)))
    inf = int(np.count_nonzero(np.isinf(flat)))
    if nan or inf:
        flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return Counts("float", *_none(), padding, nan, inf)
    table = np.zeros(1 << KEY_BITS, np.int64)
    for start in range(0, flat.size, _BLOCK):
        table += np.bincount(float_keys(flat[start : start + _BLOCK]), minlength=1 << KEY_BITS)
    bins = np.flatnonzero(table)
    mean = float(np.mean(flat, dtype=np.float64))
    deviations = flat.astype(np.float64) - mean
    m2 = float(np.sum(deviations * deviations))  # not np.dot: BLAS adds in an order that depends on its threads
    blocks = ((flat.size, mean, m2),)
    low, high = float(flat.min()) + 0.0, float(flat.max()) + 0.0  # -0.0 and 0.0 are one value
    return Counts("float", bins, table[bins], padding, nan, inf, low, high, blocks)


def float_keys(values: NDArray[np.float32]) -> Ints:
    """Return the bin of each float32: larger values never have smaller keys."""
    bits = (values + np.float32(0)).view(np.uint32)  # -0 becomes +0
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> np.uint32(_DROPPED)).astype(np.int64)


def key_edges(keys: Ints) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges of float bins: a bin holds the values low <= v < high."""
    return _edge(keys), _edge(keys + 1)


def _edge(keys: Ints) -> NDArray[np.float64]:
    ordered = np.minimum(keys.astype(np.uint64) << np.uint64(_DROPPED), np.uint64(0xFFFFFFFF)).astype(np.uint32)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    edges: NDArray[np.float64] = bits.astype(np.uint32).view(np.float32).astype(np.float64)
    return edges


def merge(parts: Iterable[Counts]) -> Counts:
    """Add counts (combine): the same answer for any grouping and order."""
    many = list(parts)
    if len(many) == 1:
        return many[0]
    kinds = {part.kind for part in many}
    if len(kinds) != 1:
        raise ValueError(f"counts of different kinds do not add up: {sorted(kinds)}")
    bins, counts = add_bins([part.bins for part in many], [part.counts for part in many])
    return Counts(
        kinds.pop(),
        bins,
        counts,
        sum(part.padding for part in many),
        sum(part.nan for part in many),
        sum(part.inf for part in many),
        min((part.minimum for part in many if part.total), default=math.nan),
        max((part.maximum for part in many if part.total), default=math.nan),
        tuple(sorted(block for part in many for block in part.blocks)),
    )


def add_bins(bins: list[Ints], counts: list[Ints]) -> tuple[Ints, Ints]:
    """Add sparse counts; returns ascending bins and their counts."""
    every = np.concatenate(bins)
    if every.size == 0:
        return _none()
    weights = np.concatenate(counts)
    low = int(every.min())
    if int(every.max()) - low < _DENSE:
        # float64 weights of bincount are exact below 2**53 values in a bin
        table = np.bincount(every - low, weights=weights).astype(np.int64)
        offsets = np.flatnonzero(table)
        return offsets + low, table[offsets]
    order = np.argsort(every, kind="stable")
    every, weights = every[order], weights[order]
    starts = np.flatnonzero(np.r_[True, every[1:] != every[:-1]])
    return every[starts], np.add.reduceat(weights, starts)


def as_floats(counts: Counts) -> Counts:
    """Return integer counts as counts over float keys, so that they can be added to those of floats."""
    if counts.kind == "float":
        return counts
    values = counts.bins.astype(np.float32)
    bins, merged = add_bins([float_keys(values)], [counts.counts])
    block = _integer_moments(counts)
    blocks = ((block[0], block[1], block[2]),) if block[0] else ()
    return Counts("float", bins, merged, counts.padding, 0, 0, counts.minimum, counts.maximum, blocks)


def summarise(counts: Counts, percentiles: Mapping[str, float]) -> dict[str, Any]:
    """Return moments and percentiles (aggregate).

    Parameters
    ----------
    counts : Counts
        The counts.
    percentiles : mapping of str to float
        Name -> percent. A percentile is the smallest value v with at least that share of the values <= v
        (`numpy.percentile(method="inverted_cdf")`): exact for integers, the middle of its bin for floats.

    Returns
    -------
    dict
        `count padding_count nan_count inf_count min max mean std` and the percentiles; null without values.
        `std` is that of the population (ddof 0).
    """
    found: dict[str, Any] = {
        "count": counts.total,
        "padding_count": counts.padding,
        "nan_count": counts.nan,
        "inf_count": counts.inf,
    }
    if counts.total == 0:
        return found | dict.fromkeys(("min", "max", "mean", "std", *percentiles))
    count, mean, m2 = _integer_moments(counts) if counts.kind == "integer" else _block_moments(counts.blocks)
    found |= {"min": counts.minimum, "max": counts.maximum, "mean": mean, "std": math.sqrt(m2 / count)}
    ranks = np.cumsum(counts.counts)
    for name, percent in percentiles.items():
        rank = max(0, math.ceil(count * (percent / 100) - 1))  # as numpy counts, from 0
        found[name] = _value_of(counts, int(np.searchsorted(ranks, rank, side="right")))
    return found


def _value_of(counts: Counts, place: int) -> float:
    key = counts.bins[place : place + 1]
    if counts.kind == "integer":
        return float(key[0])
    low, high = key_edges(key)
    middle = 0.0 if low[0] <= 0 < high[0] else (low[0] + high[0]) / 2  # zero has a bin nearly of its own
    return float(min(max(middle, counts.minimum), counts.maximum))


def _integer_moments(counts: Counts) -> tuple[int, float, float]:
    """Return count, mean and sum of squared deviations from exact integer sums."""
    values, times = counts.bins.tolist(), counts.counts.tolist()
    count = sum(times)
    if count == 0:
        return 0, math.nan, math.nan
    total = sum(v * t for v, t in zip(values, times, strict=True))
    squares = sum(v * v * t for v, t in zip(values, times, strict=True))
    return count, total / count, (count * squares - total * total) / count


def _block_moments(blocks: Iterable[tuple[int, float, float]]) -> tuple[int, float, float]:
    """Merge moments of blocks (Chan et al. 1979) with exact sums, so that their order does not matter."""
    many = list(blocks)
    count = sum(n for n, _, _ in many)
    mean = math.fsum(n * m for n, m, _ in many) / count
    return count, mean, math.fsum([m2 + n * (m - mean) ** 2 for n, m, m2 in many])
