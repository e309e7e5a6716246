"""Counts of one set of values, and their addition."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.counting.bins import add_bins, float_keys, no_bins
from cohort.counting.kernels import count_floats, count_integers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

UNIT_BITS = 149
"""Exact sums of floats are whole numbers of 2**-149, the smallest float32; sums of squares of 2**-298."""


@dataclass(frozen=True)
class Counts:
    """Counts of one set of values; `merge` adds two sets.

    Parameters
    ----------
    kind : str
        `integer`: bins are the values; `float`: bins are keys; `linear`: bins are steps of 1/256.
    bins, counts : array of int64
        Bins that are not empty, ascending, and the values in each.
    padding, nan, inf : int
        Values left out.
    minimum, maximum : float
        Extremes of the values counted; NaN where there are none.
    sums : tuple of (int, int) or None
        Exact sum of the values in units of 2**-149, and of their squares in units of 2**-298; floats only: integers
        have them in their counts. None where the values themselves were never seen.
    """

    kind: str
    bins: Ints
    counts: Ints
    padding: int = 0
    nan: int = 0
    inf: int = 0
    minimum: float = math.nan
    maximum: float = math.nan
    sums: tuple[int, int] | None = (0, 0)

    @property
    def total(self) -> int:
        """Values counted."""
        return int(self.counts.sum())

    @property
    def seen(self) -> int:
        """Values seen: counted, padding, NaN and infinity."""
        return self.total + self.padding + self.nan + self.inf

    def as_row(self) -> dict[str, Any]:
        """Return plain data: the columns of `partials` that hold counts."""
        total, squares = self.sums if self.kind == "float" and self.sums else (None, None)
        return {
            "kind": self.kind,
            "bins": self.bins,
            "counts": self.counts,
            "padding_count": self.padding,
            "nan_count": self.nan,
            "inf_count": self.inf,
            "min": None if math.isnan(self.minimum) else self.minimum,
            "max": None if math.isnan(self.maximum) else self.maximum,
            "exact_sum": None if total is None else f"{total:x}",
            "exact_sum_of_squares": None if squares is None else f"{squares:x}",
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Counts:
        """Return the counts that `as_row` wrote down."""
        given = row["exact_sum"] is not None
        return cls(
            kind=row["kind"],
            bins=np.asarray(row["bins"], np.int64),
            counts=np.asarray(row["counts"], np.int64),
            padding=row["padding_count"],
            nan=row["nan_count"],
            inf=row["inf_count"],
            minimum=math.nan if row["min"] is None else row["min"],
            maximum=math.nan if row["max"] is None else row["max"],
            sums=(int(row["exact_sum"], 16), int(row["exact_sum_of_squares"], 16)) if given else (0, 0),
        )

    def moments(self) -> tuple[int, float, float]:
        """Return count, mean and variance of the population, each rounded once; NaN without values.

        Raises
        ------
        ValueError
            If the values themselves were never seen, only bins of them.
        """
        if self.sums is None:
            raise ValueError("bins alone have no exact moments")
        count = self.total
        if count == 0:
            return 0, math.nan, math.nan
        total, squares = self.sums if self.kind == "float" else integer_sums(self)
        bits = UNIT_BITS if self.kind == "float" else 0
        return count, total / (count << bits), (count * squares - total * total) / (count * count << 2 * bits)


def integer_sums(counts: Counts) -> tuple[int, int]:
    """Return the exact sum of integers, and of their squares."""
    pairs = list(zip(counts.bins.tolist(), counts.counts.tolist(), strict=True))
    return sum(v * n for v, n in pairs), sum(v * v * n for v, n in pairs)


def empty(kind: str) -> Counts:
    """Return the counts of no values."""
    return Counts(kind, *no_bins())


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
    if flat.dtype.kind not in "iub":
        found = count_floats(flat.astype(np.float32, copy=False))
        return Counts("float", found.bins, found.counts, left_out, *found[2:])
    bins, counts = count_integers(flat)
    extremes = (float(bins[0]), float(bins[-1])) if bins.size else (math.nan, math.nan)
    return Counts("integer", bins, counts, left_out, 0, 0, *extremes)


def merge(parts: Iterable[Counts]) -> Counts:
    """Add counts (combine): the same answer for any grouping and order."""
    many = list(parts)
    if len(many) == 1:
        return many[0]
    kinds = {part.kind for part in many}
    if len(kinds) != 1:
        raise ValueError(f"counts of different kinds do not add up: {sorted(kinds)}")
    bins, counts = add_bins([part.bins for part in many], [part.counts for part in many])
    sums = [part.sums for part in many if part.sums is not None]
    return Counts(
        kinds.pop(),
        bins,
        counts,
        sum(part.padding for part in many),
        sum(part.nan for part in many),
        sum(part.inf for part in many),
        min((part.minimum for part in many if part.total), default=math.nan),
        max((part.maximum for part in many if part.total), default=math.nan),
        (sum(s for s, _ in sums), sum(s for _, s in sums)) if len(sums) == len(many) else None,
    )


def as_floats(counts: Counts) -> Counts:
    """Return integer counts as counts over float keys, so that they can be added to those of floats."""
    if counts.kind != "integer":
        return counts
    bins, merged = add_bins([float_keys(counts.bins.astype(np.float32))], [counts.counts])
    total, squares = integer_sums(counts)
    sums = None if counts.sums is None else (total << UNIT_BITS, squares << 2 * UNIT_BITS)
    return Counts("float", bins, merged, counts.padding, 0, 0, counts.minimum, counts.maximum, sums)
