"""Histograms per group: partials of volumes merged, by addition alone."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from cohort import counting
from cohort.reductions.grouping import Headers, groups_of, header_values
from cohort.reductions.tree import reduce_parts
from cohort.schema import PARTIALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cohort.store import RunFolder

Row = dict[str, Any]
GroupKey = tuple[tuple[str, ...], int, str, str]
"""Values of the grouping attributes, channel, unit, kind: what may be pooled."""
Grouped = dict[GroupKey, counting.Counts]


def read_partials(path: Path) -> Iterator[Row]:
    """Yield the rows of one part of `partials`, bins and counts as arrays."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=PARTIALS.names, partitioning=None)
    plain = table.drop_columns(["bins", "counts"]).to_pylist()
    for row, bins, counts in zip(plain, table["bins"], table["counts"], strict=True):
        yield row | {"bins": bins.values.to_numpy(), "counts": counts.values.to_numpy()}


def grouped_counts(run: RunFolder, by: Sequence[str], parts: list[Path] | None = None) -> Grouped:
    """Merge the partials of all volumes per group.

    Parameters
    ----------
    run : RunFolder
        The run.
    by : sequence of str
        Grouping attributes.
    parts : list of Path, optional
        Parts of partials to merge; those of the run by default.
    """
    paths = run.parts("partials") if parts is None else parts
    if not paths:
        return {}
    merged = reduce_parts(partial(_load, run=run, by=tuple(by)), merge_grouped, _with_headers(run, by, paths))
    return dict(sorted(merged.items()))


def _with_headers(run: RunFolder, by: Sequence[str], paths: list[Path]) -> list[tuple[Path, Headers]]:
    """Give each part the headers of its own series that grouping needs; most often none."""
    import pyarrow.parquet as pq

    of_files = header_values(run, by)
    if not of_files:
        return [(path, {}) for path in paths]
    known = run.read("volumes", ["volume_id", "series_key"])
    series_of = dict(zip(known["volume_id"].to_pylist(), known["series_key"].to_pylist(), strict=True))
    parts = []
    for path in paths:
        volumes = pq.ParquetFile(path).read(columns=["volume_id"])["volume_id"].to_pylist()
        keys = {series_of[volume] for volume in volumes}
        parts.append((path, {key: of_files[key] for key in keys if key in of_files}))
    return parts


def _load(part: tuple[Path, Headers], *, run: RunFolder, by: tuple[str, ...]) -> Grouped:
    path, of_files = part
    rows = list(read_partials(path))
    groups = groups_of(run, by, sorted({row["volume_id"] for row in rows}), of_files) if rows else {}
    found: dict[GroupKey, list[counting.Counts]] = {}
    for row in rows:
        key = (groups[row["volume_id"]], row["channel"], row["value_unit"], row["kind"])
        found.setdefault(key, []).append(counting.Counts.from_row(row))
    return {key: counting.merge(parts) for key, parts in found.items()}


def merge_grouped(states: list[Grouped]) -> Grouped:
    """Add grouped counts (combine)."""
    found: dict[GroupKey, list[counting.Counts]] = {}
    for state in states:
        for key, counts in state.items():
            found.setdefault(key, []).append(counts)
    return {key: counting.merge(parts) for key, parts in found.items()}


def histogram_columns(by: Sequence[str], grouped: Grouped) -> dict[str, list[Any]]:
    """Return the columns of `histograms` for grouped counts, groups in order."""
    columns: dict[str, list[Any]] = {name: [] for name in ("group_by", "group", "channel", "value_unit", "kind")}
    columns |= {"value_low": [], "value_high": [], "count": []}
    for (group, channel, unit, kind), counts in grouped.items():
        low, high = counting.key_edges(counts.bins) if kind == "float" else (counts.bins.astype(float),) * 2
        n = len(counts.bins)
        fixed = {
            "group_by": ", ".join(by),
            "group": ", ".join(group),
            "channel": channel,
            "value_unit": unit,
            "kind": kind,
        }
        for name, value in fixed.items():
            columns[name] += [value] * n
        columns["value_low"] += low.tolist()
        columns["value_high"] += high.tolist()
        columns["count"] += counts.counts.tolist()
    return columns


def pooled(grouped: Grouped) -> dict[tuple[tuple[str, ...], str], counting.Counts]:
    """Pool channels, and integers with floats over the same bins; never units."""
    found: dict[tuple[tuple[str, ...], str], list[counting.Counts]] = {}
    for (group, _, unit, _), counts in grouped.items():
        found.setdefault((group, unit), []).append(counts)
    return {key: pool(many) for key, many in found.items()}


def pool(many: list[counting.Counts]) -> counting.Counts:
    """Add counts of any kind; integers stay exact where there are no floats."""
    mixed = len({counts.kind for counts in many}) > 1
    return counting.merge([counting.as_floats(counts) for counts in many] if mixed else many)
