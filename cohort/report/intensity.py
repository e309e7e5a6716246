"""Intensities: exact histograms brought down to what a screen can show, without losing a voxel."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.report import names
from cohort.schema import PERCENTILES

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from cohort.report.safe import SafeRun

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

MOST_BARS = 300
MOST_CHARTS = 24
MOST_ENTRIES = 48
"""Histograms drawn, and histograms of which at least the median is told."""

CENTRAL = (0.1, 99.9)
"""Percentiles between which values are drawn; what lies outside is stated as a count."""

_FEW = 1.25  # draw everything where that widens the axis by no more than this factor


def histograms(run: SafeRun) -> list[dict[str, Any]]:
    """Return one entry per modality, unit and kind of values, most voxels first; bars for the first ones."""
    table = run.modality_histograms()
    keys = ["group", "value_unit", "kind"]
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    columns = [table[key].to_pylist() for key in keys]
    for row, key in enumerate(zip(*columns, strict=True)):
        groups[key].append(row)
    found = [_entry(key, table.take(rows)) for key, rows in groups.items()]
    found.sort(key=lambda entry: (-entry["count"], entry["label"], entry["unit"], entry["kind"]))
    for entry in found[MOST_CHARTS:]:
        entry["channels"] = []
    return found


def _entry(key: tuple[str, str, str], table: pa.Table) -> dict[str, Any]:
    label, unit, kind = key
    low, high = (np.asarray(table[name], np.float64) for name in ("value_low", "value_high"))
    # The last bin of float32 ends at infinity; for display its one finite edge stands for it.
    low, high = np.where(np.isfinite(low), low, high), np.where(np.isfinite(high), high, low)
    counts = np.asarray(table["count"], np.int64)
    channel = np.asarray(table["channel"], np.int64)
    values, pooled = _pooled(low, high, counts)
    grid = display_grid(values[:, 0], values[:, 1], pooled, kind == "integer")
    channels = []
    for number in sorted(set(channel.tolist())):
        of = channel == number
        channels.append({"channel": number, **merge(low[of], counts[of], grid)})
    return {
        "label": names.label(label),
        "unit": names.label(unit) if unit else "unknown",
        "kind": kind,
        "count": int(counts.sum()),
        "bin_width": grid["width"],
        "percentiles": percentiles(values[:, 0], values[:, 1], pooled),
        "channels": channels,
    }


def _pooled(low: Floats, high: Floats, counts: Ints) -> tuple[Floats, Ints]:
    """Return the different bins in order, channels pooled."""
    values, inverse = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    pooled = np.zeros(len(values), np.int64)
    np.add.at(pooled, inverse.ravel(), counts)
    return values, pooled


def _rank(counts: Ints, percent: float) -> int:
    """Return the bin where the inverted CDF reaches a percentile."""
    cumulated = np.cumsum(counts)
    return int(np.searchsorted(cumulated, max(1, math.ceil(percent / 100 * int(cumulated[-1])))))


def percentiles(low: Floats, high: Floats, counts: Ints) -> dict[str, float]:
    """Return percentiles of merged counts: exact for integers, the middle of the bin (or 0) for floats."""
    middle = np.where((low <= 0) & (high >= 0), 0.0, (low + high) / 2)
    return {name: float(middle[_rank(counts, p)]) for name, p in PERCENTILES.items()}


def display_grid(low: Floats, high: Floats, counts: Ints, integer: bool) -> dict[str, float]:
    """Return the grid of the bars: `first` edge, `width`, and the number of `bars`.

    Bars have one width, and every stored bin lies in one bar: integers by a width that is a multiple of
    their stride, floats because their bins are pieces of a power of two and so is the width.
    """
    first, last = _rank(counts, CENTRAL[0]), _rank(counts, CENTRAL[1])
    if high[-1] - low[0] <= _FEW * (high[last] - low[first]):
        first, last = 0, len(low) - 1
    span = float(high[last] - low[first])
    if integer:
        steps = np.diff(low[first : last + 1].astype(np.int64))
        stride = int(np.gcd.reduce(steps)) if len(steps) else 1
        width = float(stride * math.ceil((span / stride + 1) / (MOST_BARS - 1)))
        # Begin at a multiple of the width, and half a stride lower, so that no value lies on an edge.
        back = stride * ((low[first] % width) // stride)
        start = low[first] - back - stride / 2
    else:
        finest = float(np.max(high[first : last + 1] - low[first : last + 1]))
        # A bin without width (at the end of float32) still needs a bar that a number can tell from its edge.
        least = max(abs(float(low[first])), abs(float(low[last]))) * 2.0**-12
        width = 2.0 ** math.ceil(math.log2(max(finest, span / (MOST_BARS - 2), least, 2.0**-149)))
        start = math.floor(low[first] / width) * width
    bars = math.floor((float(low[last]) - start) / width) + 1
    return {"first": float(start), "width": width, "bars": float(bars)}


def merge(low: Floats, counts: Ints, grid: dict[str, float]) -> dict[str, Any]:
    """Return the counts per bar, and what lies below and above the bars; together all of `counts`."""
    bars = int(grid["bars"])
    place = np.floor((low - grid["first"]) / grid["width"])
    inside = (place >= 0) & (place < bars)
    sums = np.zeros(bars, np.int64)
    np.add.at(sums, place[inside].astype(np.int64), counts[inside])
    edges = [grid["first"] + i * grid["width"] for i in range(bars + 1)]
    return {
        "below": int(counts[place < 0].sum()),
        "above": int(counts[place >= bars].sum()),
        "bars": [{"low": edges[i], "high": edges[i + 1], "count": int(n)} for i, n in enumerate(sums) if n],
    }


def moments(run: SafeRun, modality_of: dict[int, str]) -> list[dict[str, Any]]:
    """Return per modality and unit the pooled moments of the volumes and what was left out of them."""
    names_ = ["value_unit", "count", "padding_count", "nan_count", "inf_count", "min", "max", "mean", "std"]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in run.read("statistics", names_, numbers=["volume_id"]).to_pylist():
        groups[modality_of.get(row["volume_id"], names.NOT_GIVEN), row["value_unit"] or "unknown"].append(row)
    found = [{"label": label, "unit": names.label(unit), **_moments(rows)} for (label, unit), rows in groups.items()]
    found.sort(key=lambda row: (-row["count"], row["label"], row["unit"]))
    return found[: 2 * MOST_CHARTS]


def _moments(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Merge moments of volumes; exact sums, so that their order does not matter."""
    sums = {key: sum(row[f"{key}_count"] or 0 for row in rows) for key in ("padding", "nan", "inf")}
    filled = [row for row in rows if row["count"]]
    count = sum(row["count"] for row in filled)
    if not count:
        return {"volumes": len(rows), "count": 0, **sums, "min": None, "max": None, "mean": None, "std": None}
    mean = math.fsum(row["count"] * row["mean"] for row in filled) / count
    squares = math.fsum(row["count"] * (row["std"] ** 2 + (row["mean"] - mean) ** 2) for row in filled)
    return {
        "volumes": len(rows),
        "count": count,
        **sums,
        "min": min(row["min"] for row in filled),
        "max": max(row["max"] for row in filled),
        "mean": mean,
        "std": math.sqrt(squares / count),
    }
