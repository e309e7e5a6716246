"""Stage `check`: from tables to findings, by small pure functions on rows."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from cohort.checks import files, headers, identity, labels, leakage, nifti, privacy, series, values, variants, volumes
from cohort.checks.finding import gathered
from cohort.checks.options import check_options
from cohort.checks.tables import distinct_rows, rows_of
from cohort.cluster import Step, alone, completed, ignore
from cohort.errors import ConservationError
from cohort.linking import masks_of
from cohort.schema import FILES, FINDINGS, Status
from cohort.store import batches_of, inputs_of, read_part, read_partials, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from cohort.checks.finding import Seen
    from cohort.cluster import Progress
    from cohort.config import CheckOptions, Config
    from cohort.store import Artefact, RunFolder

__all__ = ["CHECKS", "check", "check_options"]

Row = dict[str, Any]
Counts = Counter[tuple[str, str]]
"""Severity and code -> number of findings."""

_ROWS_AT_ONCE = 4096
_SEVERITIES = ("error", "warning", "info")


def check(run: RunFolder, config: Config, progress: Progress = ignore) -> dict[str, Any]:
    """Look at every table and write down what is worth knowing.

    Parameters
    ----------
    run : RunFolder
        All tables are read; `findings.parquet` is written.
    config : Config
        Section `check` is used.
    progress : Progress
        Told of every table.

    Returns
    -------
    dict
        The commit record; `counts` holds findings by severity and by code.
    """
    upstream = run.record("reduce") or run.committed("assemble")
    inputs = inputs_of(config.as_dict()["check"], upstream)
    if run.is_current("check", inputs):
        return run.committed("check")
    run.withdraw(("check", "report"))
    progress(Step("check", 0, len(CHECKS), "tables"))
    done: dict[int, Counts] = {}
    with run.scratch("check") as scratch:
        look = partial(_look, run=run, options=config.check, scratch=scratch)
        for number, found in completed(range(len(CHECKS)), look):
            done[number] = found
            progress(Step("check", len(done), len(CHECKS), "tables"))
        artefact = alone(partial(_joined, run, scratch))
    codes = sum((counts for _, counts in sorted(done.items())), Counter[tuple[str, str]]())
    severity: Counter[str] = Counter()
    for (level, _), number in codes.items():
        severity[level] += number
    counts = {
        "findings": codes.total(),
        "severity": dict(sorted(severity.items())),
        "codes": dict(sorted((code, number) for (_, code), number in codes.items())),
    }
    return run.commit("check", inputs, [artefact], counts)


def _look(number: int, *, run: RunFolder, options: CheckOptions, scratch: str) -> tuple[int, Counts]:
    """Make one of the checks; its findings go to the disk."""
    counts: Counts = Counter()
    run.write_tables(_name(scratch, number), FINDINGS.arrow(), _tables(CHECKS[number](run, options), counts))
    return number, counts


def _tables(found: Iterator[Row], counts: Counts) -> Iterator[pa.Table]:
    while rows := list(islice(found, _ROWS_AT_ONCE)):
        counts.update((row["severity"], row["code"]) for row in rows)
        yield table_of(rows, FINDINGS.arrow())


def _name(scratch: str, number: int) -> str:
    return f"{scratch}/findings-{number:02d}.parquet"


def _joined(run: RunFolder, scratch: str) -> Artefact:
    """Put the findings of all checks in order: the worst first."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [read_part(run.path / _name(scratch, number)) for number in range(len(CHECKS))]
    table = pa.concat_tables(parts)
    ranks = pc.index_in(table["severity"], pa.array(_SEVERITIES))
    keys = [(name, "ascending") for name in ("rank", "code", "subject", "evidence")]
    order = pc.sort_indices(table.select(["code", "subject", "evidence"]).append_column("rank", ranks), keys)
    return run.write_table("findings.parquet", table.take(order))


def _files(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    for row in rows_of(run, "files", files.COLUMNS):
        yield from files.check_file(row)


def _headers(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    columns = tuple(dict.fromkeys(("series_key", *headers.COLUMNS, *privacy.COLUMNS)))
    return gathered(_seen(run, columns, options))


def _seen(run: RunFolder, columns: tuple[str, ...], options: CheckOptions) -> Iterator[tuple[str, int, Seen]]:
    for row in distinct_rows(run, "files", columns, _images("dicom")):
        for look in (*headers.HEADER_CHECKS, *privacy.PRIVACY_CHECKS):
            for seen in look(row, options):
                yield row["series_key"], row["images"], seen


def _images(kind: str) -> Any:
    import pyarrow.compute as pc

    return (pc.field("format") == kind) & pc.field("is_image") & (pc.field("status") == str(Status.OK))


def _series(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    import pyarrow.compute as pc

    for row in rows_of(run, "series", series.COLUMNS):
        yield from series.check_series(row)
    copies = rows_of(run, "frames", ["series_key", "path_raw"], pc.field("reason") == "same_instance")
    yield from series.check_duplicates(Counter(key for key, _ in {(r["series_key"], r["path_raw"]) for r in copies}))


def _identity(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    import pyarrow.compute as pc

    rows = list(rows_of(run, "series", identity.SERIES_COLUMNS, pc.field("format") == "dicom"))
    for look in (identity.check_identity, identity.check_patients, identity.check_vocabulary):
        yield from look(rows)
    yield from identity.check_instances(_shared_instances(run))


def _shared_instances(run: RunFolder) -> list[Row]:
    """Return the images whose SOPInstanceUID is in several series."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = ["series_key", "SOPInstanceUID"]
    batches = batches_of(run.parts("files"), columns, _images("dicom"))
    table = pa.Table.from_batches(batches, FILES.arrow(columns))
    table = table.filter(pc.fill_null(pc.not_equal(table["SOPInstanceUID"], ""), False))
    repeated = table.group_by("SOPInstanceUID").aggregate([([], "count_all")])  # few, and cheaper than the next
    table = _among(table, repeated.filter(pc.greater(repeated["count_all"], 1))["SOPInstanceUID"])
    series_of = table.group_by("SOPInstanceUID").aggregate([("series_key", "count_distinct")])
    shared = _among(table, series_of.filter(pc.greater(series_of["series_key_count_distinct"], 1))["SOPInstanceUID"])
    found: list[Row] = shared.group_by(columns).aggregate([]).to_pylist()
    return found


def _among(table: pa.Table, instances: pa.ChunkedArray) -> pa.Table:
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["SOPInstanceUID"], value_set=instances.combine_chunks()))


def _volumes(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    for row in rows_of(run, "volumes", volumes.COLUMNS):
        yield from volumes.check_volume(row, options)
    yield from volumes.check_decoders(rows_of(run, "volumes", ["series_key", "decoder"]))


def _masks(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    return labels.check_masks(masks_of(run))


def _nifti(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    seen: set[str] = set()
    for row in rows_of(run, "files", nifti.COLUMNS, _images("nifti")):
        if row["instance_key"] not in seen:  # copies share their volume
            seen.add(row["instance_key"])
            yield from nifti.check_image(row, options)


def _values(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    if not run.has("statistics"):
        return
    counted, suspects = _counted(run, options), []
    upcoming = next(counted, None)
    for row in rows_of(run, "volumes", volumes.COLUMNS):
        if upcoming is None or upcoming[0]["volume_id"] != row["volume_id"]:
            continue  # its pixels were not read
        statistics, shape = upcoming
        yield from values.check_values(row, statistics, shape, options)
        if shape is not None and values.may_be_clipped(row, shape, options):
            suspects.append((row, statistics, shape))
        upcoming = next(counted, None)
    if upcoming is not None:
        raise ConservationError("statistics are not in the order of their volumes; please report this")
    encodings = _encodings(run, {row["volume_id"] for row, *_ in suspects})
    for row, statistics, shape in suspects:
        yield from values.check_clipped(row, encodings[row["volume_id"]], shape, statistics)


def _counted(run: RunFolder, options: CheckOptions) -> Iterator[tuple[Row, values.Shape | None]]:
    """Yield the statistics of each volume and what its histogram tells, in the order of the volumes."""
    partials = chain.from_iterable(read_partials(part) for part in run.parts("partials"))
    shapes = values.shapes_of(partials, options.hu_range)
    for row, (volume, shape) in zip(rows_of(run, "statistics", values.STATISTICS_COLUMNS), shapes, strict=True):
        if row["volume_id"] != volume:
            raise ConservationError("statistics are not in the order of the counts; please report this")
        yield row, shape


def _encodings(run: RunFolder, keys: set[str]) -> dict[str, list[Row]]:
    """Return how the frames of some volumes hold their values, each way once."""
    import pyarrow.compute as pc

    columns = ("BitsStored", "PixelRepresentation", "slope", "intercept")
    wanted = pc.field("volume_id").isin(sorted(keys)) & (pc.field("role") == "image")
    found: dict[str, list[Row]] = {key: [] for key in keys}
    for row in distinct_rows(run, "frames", ("volume_id", *columns), wanted) if keys else ():
        encoding = {name: row[name] for name in columns}
        if encoding not in found[row["volume_id"]]:
            found[row["volume_id"]].append(encoding)
    return found


def _contents(run: RunFolder) -> list[Row]:
    """Return the digests of the voxels, where they say that two volumes are the same: not of one value alone."""
    import pyarrow.compute as pc

    if not run.has("statistics"):
        return []
    constant = pc.field("min") == pc.field("max")
    alike = {row["volume_id"] for row in rows_of(run, "statistics", ["volume_id"], constant | (pc.field("count") == 0))}
    columns = ["series_key", "volume_id", "content_sha256"]
    rows = rows_of(run, "volumes", columns, pc.field("content_sha256").is_valid())
    return [row for row in rows if row["volume_id"] not in alike]


def _same_voxels(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    return identity.check_pixels(_contents(run))


def _leakage(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    if not options.split_column and not options.split_pattern:
        return
    contents: dict[str, list[tuple[str, str]]] = {}
    for row in _contents(run):
        contents.setdefault(row["series_key"], []).append((row["volume_id"], row["content_sha256"]))
    rows = rows_of(run, "files", leakage.columns_of(options), _images("dicom") | _images("nifti"))
    yield from leakage.check_leakage(leakage.splits_of(rows, options), contents)


def _acquisition(run: RunFolder, options: CheckOptions) -> Iterator[Row]:
    rows = list(rows_of(run, "series", variants.series_columns(options)))
    known = variants.variants_of(rows, options.variant_fields)
    yield from variants.check_variants(known, options)
    sized = list(rows_of(run, "volumes", ("volume_id", "series_key", "value_unit", "split_reason", *variants.SIZES)))
    yield from variants.check_outliers("GEO-OUTLIER", sized, variants.SIZES, known, options)
    if run.has("statistics"):
        measured = {row["volume_id"]: row for row in rows_of(run, "statistics", ("volume_id", *variants.MOMENTS))}
        rows = [row | measured[row["volume_id"]] for row in sized if row["volume_id"] in measured]
        yield from variants.check_outliers("STAT-OUTLIER", rows, variants.MOMENTS, known, options)


CHECKS: tuple[Callable[[RunFolder, CheckOptions], Iterator[Row]], ...] = (
    _files,
    _headers,
    _series,
    _identity,
    _volumes,
    _masks,
    _nifti,
    _values,
    _same_voxels,
    _leakage,
    _acquisition,
)
