"""Stage `check`: from tables to findings, by small pure functions on rows."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cohort.checks import files, nifti, series, volumes
from cohort.cluster import Step, ignore
from cohort.schema import FINDINGS, Status
from cohort.store import inputs_of, table_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.store import RunFolder

Row = dict[str, Any]

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
    found: list[Row] = []
    steps = (_check_files, _check_series, _check_volumes, _check_nifti)
    progress(Step("check", 0, len(steps), "tables"))
    for number, step in enumerate(steps, 1):
        found += step(run, config)
        progress(Step("check", number, len(steps), "tables"))
    found.sort(key=lambda row: (_SEVERITIES.index(row["severity"]), row["code"], row["subject"], row["evidence"]))
    artefact = run.write_table("findings.parquet", table_of(found, FINDINGS.arrow()))
    counts = {
        "findings": len(found),
        "severity": dict(sorted(Counter(row["severity"] for row in found).items())),
        "codes": dict(sorted(Counter(row["code"] for row in found).items())),
    }
    return run.commit("check", inputs, [artefact], counts)


def _rows(run: RunFolder, table: str, columns: Sequence[str], *filters: tuple[str, str, Any]) -> Iterator[Row]:
    """Yield the rows of a table part by part: no more than one part is in memory."""
    import pyarrow.parquet as pq

    for part in run.parts(table):
        yield from pq.read_table(
            part, columns=list(columns), filters=list(filters) or None, partitioning=None
        ).to_pylist()


def _check_files(run: RunFolder, config: Config) -> Iterator[Row]:
    for row in _rows(run, "files", files.COLUMNS):
        yield from files.check_file(row)


def _check_series(run: RunFolder, config: Config) -> Iterator[Row]:
    rows = list(_rows(run, "series", series.COLUMNS))
    for row in rows:
        yield from series.check_series(row)
    yield from series.check_identity(rows)
    copies = _rows(run, "frames", ["series_key", "path_raw"], ("reason", "==", "same_instance"))
    yield from series.check_duplicates(Counter(key for key, _ in {(r["series_key"], r["path_raw"]) for r in copies}))


def _check_volumes(run: RunFolder, config: Config) -> Iterator[Row]:
    statistics, different = {}, {}
    if run.has("statistics"):
        statistics = {row["volume_id"]: row for row in _rows(run, "statistics", volumes.STATISTICS_COLUMNS)}
        different = _different_values(run)
    for row in _rows(run, "volumes", volumes.COLUMNS):
        key = row["volume_id"]
        yield from volumes.check_volume(row, statistics.get(key), config.check, different.get(key))


def _different_values(run: RunFolder) -> dict[str, int]:
    """Return how many different values the volumes of whole numbers and one channel have."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    found: dict[str, int] = {}
    for part in run.parts("partials"):
        table = pq.read_table(part, columns=["volume_id", "channel", "kind", "bins"], partitioning=None)
        table = table.filter(pc.equal(table["kind"], "integer"))
        lengths = pc.list_value_length(table["bins"]).to_pylist()
        channels = Counter(table["volume_id"].to_pylist())
        found |= {v: n for v, n in zip(table["volume_id"].to_pylist(), lengths, strict=True) if channels[v] == 1}
    return found


def _check_nifti(run: RunFolder, config: Config) -> Iterator[Row]:
    images = [("format", "==", "nifti"), ("is_image", "==", True), ("status", "==", str(Status.OK))]
    seen: set[str] = set()
    for row in _rows(run, "files", nifti.COLUMNS, *images):
        if row["instance_key"] not in seen:  # copies share their volume
            seen.add(row["instance_key"])
            yield from nifti.check_image(row, config.check)
