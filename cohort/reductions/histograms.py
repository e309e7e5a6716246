"""Histograms per group: partials of volumes merged, by addition alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import counting
from cohort.reductions.grouping import Headers, buckets_of, groups_of, header_values
from cohort.reductions.tree import reduce_parts
from cohort.schema import HISTOGRAMS
from cohort.store import read_partials

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from cohort.places import Place
    from cohort.store import RunFolder

Row = dict[str, Any]
GroupKey = tuple[tuple[str, ...], int, str, str, str]
"""Values of the grouping attributes, channel, unit, kind, view: what may be pooled."""
Grouped = dict[GroupKey, counting.Counts]
Part = tuple["Place", int, Headers]
"""A part of the partials, its bucket, and what headers say of its series."""


EVERYTHING = counting.View(counting.ALL)
NORMALISED = counting.View(counting.NORMALISED)
UPTAKE = counting.View("suvbw")
UPTAKE_UNIT = "g/ml{SUVbw}"
"""The code of DICOM for standardised uptake values by body weight (PS3.16 CID 84)."""

_NORMALISED_MODALITY, _NORMALISED_UNIT = "MR", "arbitrary"  # values of which compare within a volume alone


def grouped_counts(
    run: RunFolder,
    by: Sequence[str],
    parts: list[Place] | None = None,
    views: Sequence[counting.View] = (EVERYTHING,),
) -> Grouped:
    """Merge the partials of all volumes per group.

    Parameters
    ----------
    run : RunFolder
        The run.
    by : sequence of str
        Grouping attributes.
    parts : list of Place, optional
        Parts of partials to merge; those of the run by default.
    views : sequence of View
        What is looked at: all values, or views of them.
    """
    paths = run.parts("partials") if parts is None else parts
    if not paths:
        return {}
    load = partial(_load, run=run, by=tuple(by), views=tuple(views))
    merged = reduce_parts(load, merge_grouped, _with_headers(run, by, paths))
    return dict(sorted(merged.items()))


def _with_headers(run: RunFolder, by: Sequence[str], paths: list[Place]) -> list[Part]:
    """Give each part its bucket and the headers of its own series that grouping needs; most often none."""
    of_files, buckets = header_values(run, by), buckets_of(run)
    if not of_files:
        return [(path, bucket, {}) for path, bucket in zip(paths, buckets, strict=True)]
    parts: list[Part] = []
    for path, bucket in zip(paths, buckets, strict=True):
        keys = run.read("series", ["series_key"], bucket=bucket)["series_key"].to_pylist()
        parts.append((path, bucket, {key: of_files[key] for key in keys if key in of_files}))
    return parts


def _load(part: Part, *, run: RunFolder, by: tuple[str, ...], views: tuple[counting.View, ...]) -> Grouped:
    path, bucket, of_files = part
    rows = list(read_partials(path))
    names = (*by, "Modality")
    volumes = sorted({row["volume_id"] for row in rows})
    groups = groups_of(run, names, volumes, of_files, bucket) if rows else {}
    factors = _uptake_factors(run, volumes, bucket) if UPTAKE in views else {}
    found: dict[GroupKey, list[counting.Counts]] = {}
    for row in rows:
        *group, modality = groups[row["volume_id"]]
        counts = counting.Counts.from_row(row)
        for view in views:
            if view == UPTAKE:
                factor = factors.get(row["volume_id"])
                unit, seen = UPTAKE_UNIT, None if factor is None else counting.scaled(counts, factor)
            else:
                unit, seen = _seen(counts, view, modality, row["value_unit"])
            if seen is not None:
                key = (tuple(group), row["channel"], unit, seen.kind, view.name)
                found.setdefault(key, []).append(seen)
    return {key: counting.merge(parts) for key, parts in found.items()}


def _uptake_factors(run: RunFolder, volumes: list[str], bucket: int) -> dict[str, float]:
    table = run.read("volumes", ["volume_id", "suvbw_factor"], volumes, bucket)
    pairs = zip(table["volume_id"].to_pylist(), table["suvbw_factor"].to_pylist(), strict=True)
    return {volume: factor for volume, factor in pairs if factor is not None}


def _seen(counts: counting.Counts, view: counting.View, modality: str, unit: str) -> tuple[str, counting.Counts | None]:
    """Return what a view shows of one volume and channel, and its unit."""
    if view == EVERYTHING:
        return unit, counts
    if view == NORMALISED:
        comparable = (modality, unit) != (_NORMALISED_MODALITY, _NORMALISED_UNIT)
        return view.name, None if comparable else counting.view_of(counts, view)
    return unit, counting.view_of(counts, view)


def merge_grouped(states: list[Grouped]) -> Grouped:
    """Add grouped counts (combine)."""
    found: dict[GroupKey, list[counting.Counts]] = {}
    for state in states:
        for key, counts in state.items():
            found.setdefault(key, []).append(counts)
    return {key: counting.merge(parts) for key, parts in found.items()}


def histogram_table(by: Sequence[str], grouped: Grouped) -> pa.Table:
    """Return the table `histograms` for grouped counts, groups in order."""
    import pyarrow as pa

    many = list(grouped.values())
    rows = pa.array(np.repeat(np.arange(len(many)), [len(counts.bins) for counts in many]))
    edges = [counting.bin_edges(counts.kind, counts.bins) for counts in many]
    of_keys = {
        "group_by": [", ".join(by)] * len(many),
        "group": [", ".join(group) for group, *_ in grouped],
        "channel": [channel for _, channel, *_ in grouped],
        "value_unit": [unit for _, _, unit, *_ in grouped],
        "kind": [kind for *_, kind, _ in grouped],
        "view": [view for *_, view in grouped],
    }
    layout = HISTOGRAMS.arrow()
    columns = {name: pa.array(values, layout.field(name).type).take(rows) for name, values in of_keys.items()}
    columns |= {
        "value_low": _joined([low for low, _ in edges], np.float64),
        "value_high": _joined([high for _, high in edges], np.float64),
        "count": _joined([counts.counts for counts in many], np.int64),
    }
    return pa.table(columns, schema=layout)


def _joined(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])


def pooled(grouped: Grouped) -> dict[tuple[tuple[str, ...], str], counting.Counts]:
    """Pool channels, and integers with floats over the same bins; never units. Views are left out."""
    found: dict[tuple[tuple[str, ...], str], list[counting.Counts]] = {}
    for (group, _, unit, _, view), counts in grouped.items():
        if view == EVERYTHING.name:
            found.setdefault((group, unit), []).append(counts)
    return {key: pool(many) for key, many in found.items()}


def pool(many: list[counting.Counts]) -> counting.Counts:
    """Add counts of any kind; integers stay exact where there are no floats."""
    mixed = len({counts.kind for counts in many}) > 1
    return counting.merge([counting.as_floats(counts) for counts in many] if mixed else many)
