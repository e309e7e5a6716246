"""Other views of counts: part of the values, or the values on another scale; no voxel is read again.

A view is made per volume and channel, from its counts, and merged like any counts. It has bins and nothing else:
moments, and what was left out, are those of all values. Of floats a bin belongs to a part as a whole, by its middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cohort.counting.bins import LINEAR_STEPS, add_bins, bin_values, float_keys
from cohort.counting.counts import Counts
from cohort.counting.summary import percentiles_of
from cohort.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALL, NORMALISED, OTSU = "all", "p1-p99", "otsu"
_ENDS = {"low": 1.0, "high": 99.0}
_FAR = 2.0**40  # steps; farther values count as that far


@dataclass(frozen=True)
class View:
    """A way to look at counts: its name as the tables have it, and the values that belong to it.

    Parameters
    ----------
    name : str
        `p1-p99`, `otsu`, `>VALUE` or `LOW..HIGH`.
    low, high : float
        Values that belong to it, both included.
    """

    name: str
    low: float = -math.inf
    high: float = math.inf


def range_view(text: str) -> View:
    """Return the view of the values of a range, given as `LOW,HIGH`, both included."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = math.nan, math.nan
    if not low <= high:
        raise ConfigError(f"a range of values is LOW,HIGH, such as -200,300; not {text!r}")
    return View(f"{low:.12g}..{high:.12g}", low, high)


def foreground_view(text: str) -> View:
    """Return the view of the foreground: above Otsu's threshold (`otsu`), or above a value (`>VALUE`)."""
    if text == OTSU:
        return View(OTSU)
    try:
        limit = float(text.removeprefix(">")) if text.startswith(">") else math.nan
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ConfigError(f"a foreground is otsu or >VALUE, such as '>-500'; not {text!r}")
    return View(f">{limit:.12g}", math.nextafter(limit, math.inf))


def view_of(counts: Counts, view: View) -> Counts | None:
    """Return what a view shows of the counts of one volume and channel, None where it shows nothing.

    Parameters
    ----------
    counts : Counts
        Counts of the values.
    view : View
        How to look at them.
    """
    if counts.total == 0:
        return None
    if view.name == NORMALISED:
        return _normalised(counts)
    values = bin_values(counts.kind, counts.bins)
    low = math.nextafter(_otsu(values, counts.counts), math.inf) if view.name == OTSU else view.low
    inside = (values >= low) & (values <= view.high)
    if not inside.any():
        return None
    return Counts(counts.kind, counts.bins[inside], counts.counts[inside], sums=None)


def _normalised(counts: Counts) -> Counts | None:
    """Return counts over v' = (v - p1) / (p99 - p1), the scale of the volume itself; None where it has no extent."""
    ends = percentiles_of(counts, _ENDS)
    extent = ends["high"] - ends["low"]
    if extent <= 0:
        return None
    steps = np.floor((bin_values(counts.kind, counts.bins) - ends["low"]) * LINEAR_STEPS / extent)
    places = np.clip(steps, -_FAR, _FAR).astype(np.int64)
    return Counts("linear", *add_bins([places], [counts.counts]), sums=None)


def scaled(counts: Counts, factor: float) -> Counts | None:
    """Return counts of the values times a factor, as floats: off by at most one bin where floats were counted."""
    if counts.total == 0:
        return None
    values = (bin_values(counts.kind, counts.bins) * factor).astype(np.float32)
    return Counts("float", *add_bins([float_keys(values)], [counts.counts]), sums=None)


def _otsu(values: NDArray[np.float64], counts: NDArray[np.int64]) -> float:
    """Return the value that parts the counts best (Otsu 1979): above it is foreground."""
    below = np.cumsum(counts)[:-1].astype(np.float64)
    if below.size == 0:
        return -math.inf  # one value: there is nothing to part
    total = float(counts.sum())
    sums = np.cumsum(values * counts)
    apart = sums[-1] * below / total - sums[:-1]
    return float(values[int(np.argmax(apart * apart / (below * (total - below))))])
