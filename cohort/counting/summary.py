"""Moments and percentiles from counts (aggregate)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.counting.bins import bin_values

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cohort.counting.counts import Counts


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
        `std` is that of the population (ddof 0). Mean and variance are exact sums, rounded once.
    """
    found: dict[str, Any] = {
        "count": counts.total,
        "padding_count": counts.padding,
        "nan_count": counts.nan,
        "inf_count": counts.inf,
    }
    if counts.total == 0:
        return found | dict.fromkeys(("min", "max", "mean", "std", *percentiles))
    _, mean, variance = counts.moments()
    found |= {"min": counts.minimum, "max": counts.maximum, "mean": mean, "std": math.sqrt(variance)}
    return found | percentiles_of(counts, percentiles)


def percentiles_of(counts: Counts, percentiles: Mapping[str, float]) -> dict[str, float]:
    """Return percentiles of counts that hold at least one value; see `summarise`."""
    ranks, total = np.cumsum(counts.counts), counts.total
    found = {}
    for name, percent in percentiles.items():
        rank = max(0, math.ceil(total * (percent / 100) - 1))  # as numpy counts, from 0
        found[name] = _value_of(counts, int(np.searchsorted(ranks, rank, side="right")))
    return found


def _value_of(counts: Counts, place: int) -> float:
    value = float(bin_values(counts.kind, counts.bins[place : place + 1])[0])
    if counts.kind == "integer" or math.isnan(counts.minimum):
        return value
    return min(max(value, counts.minimum), counts.maximum)
