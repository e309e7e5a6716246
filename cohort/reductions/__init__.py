"""Stage `reduce`: exact statistics per volume and per group, from partials or from the voxels themselves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.cluster import Step, completed, ignore
from cohort.reductions.grouping import buckets_of, check_groupings
from cohort.reductions.histograms import (
    EVERYTHING,
    NORMALISED,
    UPTAKE,
    Grouped,
    grouped_counts,
    histogram_table,
    pool,
    pooled,
)
from cohort.reductions.labels import label_statistics
from cohort.reductions.spacing import spacing_columns, spacing_counts
from cohort.reductions.voxels import array_histogram, count_volumes
from cohort.schema import PARTIALS, PERCENTILES, SPACING, STATISTICS
from cohort.store import inputs_of, read_part, read_partials, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from cohort import counting
    from cohort.cluster import Progress
    from cohort.config import Config, ReduceOptions
    from cohort.places import Place
    from cohort.store import Artefact, RunFolder

__all__ = ["array_histogram", "check_groupings", "histogram", "pooled_counts", "reduce", "spacing", "views_of"]

Row = dict[str, Any]


def reduce(run: RunFolder, config: Config, progress: Progress = ignore, *, from_voxels: bool = False) -> dict[str, Any]:
    """Merge the partials of all volumes.

    Parameters
    ----------
    run : RunFolder
        `volumes.parquet`, `frames/` and the partials are read; `statistics/` is written.
    config : Config
        Section `reduce` is used.
    progress : Progress
        Told of every part.
    from_voxels : bool
        Count the voxels in Zarr again instead of reading the partials; the numbers are the same.

    Returns
    -------
    dict
        The commit record; `counts` holds volumes, values and groups.
    """
    upstream = run.record("ingest") or run.committed("assemble")
    inputs = inputs_of(config.as_dict()["reduce"], upstream)
    if run.is_current("reduce", inputs) and not from_voxels:
        return run.committed("reduce")
    run.withdraw(("reduce", "check", "report"))
    spacings = run.write_table("statistics/spacing.parquet", _spacing_table(run))
    if run.record("ingest") is None:
        return run.commit("reduce", inputs, [spacings], {"volumes": 0, "values": 0})
    with run.scratch("reduce") as scratch:
        parts = run.parts("partials")
        if from_voxels:
            parts = _recounted(run, scratch, parts, progress)
        statistics, counts = _volume_statistics(run, scratch, parts, progress)
        artefacts = [spacings, statistics]
        of_labels: dict[str, Grouped] = {}
        if config.reduce.labels:
            table, of_labels = label_statistics(run, _groupings(config.reduce), scratch)
            artefacts.append(table)
        artefacts += _group_statistics(run, config.reduce, parts, of_labels)
    return run.commit("reduce", inputs, artefacts, counts)


def _spacing_table(run: RunFolder) -> Any:
    import pyarrow as pa

    return pa.table(spacing_columns(spacing_counts(run, ["Modality"])), schema=SPACING.arrow())


# -- per volume --------------------------------------------------------------------------------------------


def _volume_statistics(
    run: RunFolder, scratch: str, parts: list[Place], progress: Progress
) -> tuple[Artefact, dict[str, Any]]:
    done: dict[int, tuple[str, int, int]] = {}
    progress(Step("reduce", 0, len(parts), "parts"))
    summarise = partial(_summarise, run=run, scratch=scratch)
    for number, name, volumes, values in completed(list(enumerate(parts)), summarise):
        done[number] = (name, volumes, values)
        progress(Step("reduce", len(done), len(parts), "parts"))
    tables = (read_part(run.path / done[number][0]) for number in sorted(done))
    artefact = run.write_tables("statistics/volumes.parquet", STATISTICS.arrow(), tables)
    counts = {"volumes": sum(v for _, v, _ in done.values()), "values": sum(n for *_, n in done.values())}
    return artefact, counts


def _summarise(part: tuple[int, Place], *, run: RunFolder, scratch: str) -> tuple[int, str, int, int]:
    from cohort import counting

    number, path = part
    by_volume: dict[str, list[counting.Counts]] = {}
    units = {}
    for row in read_partials(path):
        by_volume.setdefault(row["volume_id"], []).append(counting.Counts.from_row(row))
        units[row["volume_id"]] = row["value_unit"]
    rows = [
        {"volume_id": volume, "value_unit": units[volume]} | counting.summarise(pool(counts), PERCENTILES)
        for volume, counts in by_volume.items()
    ]
    name = f"{scratch}/statistics-{number:05d}.parquet"
    run.write_table(name, table_of(rows, STATISTICS.arrow()))
    return number, name, len(rows), sum(row["count"] for row in rows)


def _recounted(run: RunFolder, scratch: str, parts: list[Place], progress: Progress) -> list[Place]:
    """Count every volume from Zarr and return parts of partials in the order of the first pass."""
    numbered = [(number, *part) for number, part in enumerate(zip(parts, buckets_of(run), strict=True))]
    names: dict[int, str] = {}
    for number, name in completed(numbered, partial(_recount, run=run, scratch=scratch)):
        names[number] = name
        progress(Step("recount", len(names), len(parts), "parts"))
    return [run.path / names[number] for number in sorted(names)]


def _recount(part: tuple[int, Place, int], *, run: RunFolder, scratch: str) -> tuple[int, str]:
    number, path, bucket = part
    known = list(read_partials(path))
    units = {row["volume_id"]: row["value_unit"] for row in known}
    places = run.read("volumes", ["volume_id", "zarr_path"], list(units), bucket).to_pylist()
    counts_of = count_volumes(run, {row["volume_id"]: row["zarr_path"] for row in places})
    rows = []
    for volume, unit in units.items():
        counted = counts_of[volume]
        if counted is None:
            rows += [row for row in known if row["volume_id"] == volume]
            continue
        identity = {"volume_id": volume, "value_unit": unit}
        rows += [identity | {"channel": channel} | counts.as_row() for channel, counts in enumerate(counted)]
    name = f"{scratch}/partials-{number:05d}.parquet"
    run.write_table(name, table_of(rows, PARTIALS.arrow()))
    return number, name


# -- per group ---------------------------------------------------------------------------------------------


def views_of(options: ReduceOptions) -> list[counting.View]:
    """Return what the stored histograms show; raises ConfigError where an option makes no sense."""
    from cohort import counting

    ranges = [counting.range_view(text) for text in options.ranges]
    foregrounds = [counting.foreground_view(text) for text in options.foregrounds]
    return list(dict.fromkeys([EVERYTHING, NORMALISED, UPTAKE, *ranges, *foregrounds]))


def _groupings(options: ReduceOptions) -> list[str]:
    return list(dict.fromkeys(("Modality", *options.group_by)))


def _group_statistics(
    run: RunFolder, options: ReduceOptions, parts: list[Place], of_labels: dict[str, Grouped]
) -> list[Artefact]:
    import pyarrow as pa

    from cohort import counting

    tables, summary = [], {}
    for name in _groupings(options):
        grouped = grouped_counts(run, [name], parts, views_of(options))
        tables += [histogram_table([name], grouped), histogram_table([name], of_labels.get(name, {}))]
        summary[name] = [
            {"group": group[0], "value_unit": unit} | counting.summarise(counts, PERCENTILES)
            for (group, unit), counts in sorted(pooled(grouped).items())
        ]
    return [
        run.write_table("statistics/histograms.parquet", pa.concat_tables(tables)),
        run.write_json("statistics/summary.json", summary),
    ]


def histogram(run: RunFolder, by: str | Sequence[str] = "Modality", *, view: str = "all") -> pd.DataFrame:
    """Return exact histograms per group, merged from partials.

    Parameters
    ----------
    run : RunFolder
        The run.
    by : str or sequence of str
        Any columns of volumes, series or headers.
    view : str
        `all` values; those of a range (`LOW,HIGH`) or of the foreground (`otsu`, `>VALUE`) of each volume; or MR on the
        scale of each volume (`p1-p99`), where 0 and 1 are its 1st and 99th percentile; or PET as standardised uptake
        values (`suvbw`, g/mL), of the volumes that have a factor.

    Returns
    -------
    DataFrame
        The columns of `histograms`, and one column per grouping attribute. Units are never pooled.

    Raises
    ------
    ConfigError
        If there is no such column or view.
    """
    import pyarrow as pa

    names = [by] if isinstance(by, str) else list(by)
    check_groupings(names, run.layout("files").names)
    grouped = grouped_counts(run, names, views=[_named_view(view)])
    table = histogram_table(names, grouped)
    rows = pa.array(np.repeat(np.arange(len(grouped)), [len(counts.bins) for counts in grouped.values()]))
    for i, name in enumerate(names):
        table = table.append_column(name, pa.array([key[0][i] for key in grouped], pa.string()).take(rows))
    frame: pd.DataFrame = table.to_pandas()
    return frame


def _named_view(text: str) -> counting.View:
    from cohort import counting

    named = {view.name: view for view in (EVERYTHING, NORMALISED, UPTAKE)}
    if text in named:
        return named[text]
    return counting.range_view(text) if "," in text else counting.foreground_view(text)


def pooled_counts(run: RunFolder) -> dict[tuple[str, str], counting.Counts]:
    """Return the counts per Modality and unit, channels pooled."""
    return {
        (group[0], unit): counts for (group, unit), counts in sorted(pooled(grouped_counts(run, ["Modality"])).items())
    }


def spacing(run: RunFolder, by: str | Sequence[str] = "Modality") -> pd.DataFrame:
    """Return exact spacing distributions per group: the columns of `spacing`, and one per grouping attribute."""
    import pandas as pd

    names = [by] if isinstance(by, str) else list(by)
    check_groupings(names, run.layout("files").names)
    counts = spacing_counts(run, names)
    frame = pd.DataFrame(spacing_columns(counts))
    for i, name in enumerate(names):
        frame[name] = pd.Series([group[i] for group, _, _ in sorted(counts)], dtype="str")
    return frame
