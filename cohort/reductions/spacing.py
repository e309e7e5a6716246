"""Spacing distributions: exact counts of millimetre values, rounded to 1e-6 mm."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.reductions.grouping import Headers, groups_of, header_values
from cohort.reductions.tree import reduce_parts
from cohort.store import open_part, read_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cohort.store import RunFolder

AXES = {
    "row": "spacing_row_mm",
    "col": "spacing_col_mm",
    "slice": "spacing_slice_mm",
    "thickness": "slice_thickness_mm",
}
_DECIMALS = 6  # a millionth of a millimetre: below it is rounding of DS values

SpacingCounts = Counter[tuple[tuple[str, ...], str, float]]
"""(group, axis, mm) -> volumes; for the axis gap, gaps."""


def spacing_counts(run: RunFolder, by: Sequence[str]) -> SpacingCounts:
    """Count the spacings of all volumes per group, as a reduction over the buckets of the volume table."""
    buckets = open_part(run.parts("volumes")[0]).num_row_groups
    if buckets == 0:
        return Counter()
    of_files, series = header_values(run, by), open_part(run.parts("series")[0])
    parts: list[tuple[int, Headers]] = []
    for bucket in range(buckets):  # the same row group of both tables; each is given the headers of its own series
        keys = series.read_row_group(bucket, columns=["series_key"])["series_key"].to_pylist() if of_files else ()
        parts.append((bucket, {key: of_files[key] for key in keys if key in of_files}))
    return reduce_parts(partial(_load, run=run, by=tuple(by)), _merge, parts)


def _load(part: tuple[int, Headers], *, run: RunFolder, by: tuple[str, ...]) -> SpacingCounts:

    bucket, of_files = part
    names = ["volume_id", "format", "slices", "spacing_slice_mm", *AXES.values()]
    rows = open_part(run.parts("volumes")[0]).read_row_group(bucket, columns=list(dict.fromkeys(names))).to_pylist()
    groups = groups_of(run, by, [row["volume_id"] for row in rows], of_files, bucket) if rows else {}
    found: SpacingCounts = Counter()
    for row in rows:
        group = groups[row["volume_id"]]
        for axis, column in AXES.items():
            if row[column] is not None and np.isfinite(row[column]):
                found[group, axis, _rounded(row[column])] += 1
        if row["format"] == "nifti" and row["spacing_slice_mm"] is not None:
            found[group, "gap", _rounded(row["spacing_slice_mm"])] += row["slices"] - 1
    for volume, gap, count in _gaps(run, bucket):
        found[groups[volume], "gap", gap] += count
    return found


def _gaps(run: RunFolder, bucket: int) -> list[tuple[str, float, int]]:
    """Return the gaps between neighbouring slices of the first time point of each DICOM volume."""
    wanted = [("role", "==", "image"), ("timepoint", "==", 0)]
    table = read_part(
        run.parts("frames")[bucket], columns=["volume_id", "slice", "position_mm"], filters=wanted
    ).drop_null()
    positions: dict[str, list[tuple[int, float]]] = {}
    for volume, place, position in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        positions.setdefault(volume, []).append((place, position))
    found: list[tuple[str, float, int]] = []
    for volume, places in positions.items():
        gaps = np.round(np.diff([position for _, position in sorted(places)]), _DECIMALS)
        values, counts = np.unique(gaps[gaps > 0], return_counts=True)
        found += [(volume, float(v), int(c)) for v, c in zip(values, counts, strict=True)]
    return found


def _merge(states: list[SpacingCounts]) -> SpacingCounts:
    merged: SpacingCounts = Counter()
    for state in states:
        merged.update(state)
    return merged


def _rounded(value: float) -> float:
    return float(np.round(value, _DECIMALS))


def spacing_columns(counts: SpacingCounts) -> dict[str, list[Any]]:
    """Return the columns of `spacing`, in order."""
    items = sorted(counts.items())
    values = [value for (_, _, value), _ in items]
    return {
        "group": [", ".join(group) for (group, _, _), _ in items],
        "axis": [axis for (_, axis, _), _ in items],
        "value_low_mm": values,
        "value_high_mm": values,
        "count": [count for _, count in items],
    }
