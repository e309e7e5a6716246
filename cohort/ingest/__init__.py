"""Stage `ingest`: pixels of every volume into Zarr, counted in the same pass.

What is stored is what is counted: each source pixel is read and decoded once. One task owns a batch of whole
volumes, balanced by bytes; a volume is visible once it is committed.
"""

from __future__ import annotations

import errno
import math
import os
import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from cohort import counting
from cohort.cluster import Step, completed, ignore
from cohort.config import MIB
from cohort.errors import ConservationError, QuarantinedError, RejectedError, RunError
from cohort.ingest.layout import zarr_path
from cohort.ingest.writing import write_volume
from cohort.isolation import close_idle
from cohort.readers import without_warnings
from cohort.schema import OUTCOMES, PARTIALS, VOLUMES, Status
from cohort.store import inputs_of, open_part, read_part, table_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.store import Artefact, RunFolder

Row = dict[str, Any]
Batch = tuple[int, int, int, int]  # number, bucket, first and last row of the bucket's volumes

_OPENING_BYTES = MIB  # what making one Zarr image costs, in pixels that could be written in that time
_VANISHED = (errno.ENOENT, errno.ENOTDIR)
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)  # of OUT: sources are only read


def ingest(
    run: RunFolder, config: Config, progress: Progress = ignore, *, retry_quarantined: bool = False
) -> dict[str, Any]:
    """Write every volume to Zarr and count its values.

    Parameters
    ----------
    run : RunFolder
        `volumes.parquet`, `frames/` and the source are read; `volumes.zarr/`, `statistics/partials/` and
        `statistics/outcomes/` are written, and what became of each volume is entered in `volumes.parquet`.
    config : Config
        Section `ingest` is used.
    progress : Progress
        Told of every batch.
    retry_quarantined : bool
        Try again the volumes that an earlier run quarantined.

    Returns
    -------
    dict
        The commit record; `counts` holds volumes by status and reason, voxels and bytes.

    Raises
    ------
    ConservationError
        If a volume has no outcome, or voxels do not add up.
    """
    assembled = run.committed("assemble")
    inputs = inputs_of(config.as_dict()["ingest"], config.scan.gzip_limit_mib, assembled)
    if run.is_current("ingest", inputs):
        record = run.committed("ingest")
        if not (retry_quarantined and record["counts"]["status"].get(Status.QUARANTINED)):
            return record
    run.withdraw(("ingest", "reduce", "check", "report"))
    batches = list(_batches(run, config))
    work = partial(_ingest_batch, run=run, inputs=inputs, config=config, retry=retry_quarantined)
    done = _run_batches(batches, work, progress)
    close_idle()
    counts = _totals([counts for *_, counts in done], sum(last - first for _, _, first, last in batches))
    outcomes = [outcome for _, outcome, _, _ in done]
    artefacts = [*outcomes, *(partials for _, _, partials, _ in done), _enter_outcomes(run, outcomes)]
    artefacts += run.keep_volumes({path for path in run.read_files(outcomes, "zarr_path") if path is not None})
    return run.commit("ingest", inputs, artefacts, counts)


# -- plan --------------------------------------------------------------------------------------------------


def _batches(run: RunFolder, config: Config) -> Iterator[Batch]:
    """Cut the volumes of every bucket into batches of about `batch_mib` of pixels; depends on the volumes alone."""
    names = ["rows", "columns", "slices", "timepoints", "channels", "stored_dtype"]
    file = open_part(run.parts("volumes")[0])
    number = 0
    for bucket in range(file.num_row_groups):
        rows = file.read_row_group(bucket, columns=names).to_pylist()
        first, size = 0, 0.0
        for i, row in enumerate(rows):
            size += _pixel_bytes(row) + _OPENING_BYTES
            if size >= config.ingest.batch_mib * MIB or i == len(rows) - 1:
                yield number, bucket, first, i + 1
                number, first, size = number + 1, i + 1, 0.0


def _pixel_bytes(row: Row) -> int:
    shape = [row[name] or 1 for name in ("rows", "columns", "slices", "timepoints", "channels")]
    return math.prod(shape) * _item_bytes(row["stored_dtype"])


def _item_bytes(dtype: str | None) -> int:
    digits = re.sub(r"\D", "", dtype or "") or "16"
    return max(1, int(digits) // 8)


def _run_batches(
    batches: list[Batch], work: Callable[..., Any], progress: Progress
) -> list[tuple[int, Artefact, Artefact, Row]]:
    total = sum(last - first for _, _, first, last in batches)
    done = n_bytes = 0
    results = []
    progress(Step("ingest", 0, total, "volumes"))
    for result in completed(batches, work):
        results.append(result)
        done, n_bytes = done + result[3]["volumes"], n_bytes + result[3]["bytes"]
        progress(Step("ingest", done, total, "volumes", n_bytes))
    return sorted(results, key=lambda result: result[0])


# -- one batch ---------------------------------------------------------------------------------------------


def _ingest_batch(
    batch: Batch, *, run: RunFolder, inputs: str, config: Config, retry: bool
) -> tuple[int, Artefact, Artefact, Row]:
    """Ingest the volumes of one batch, unless an earlier run did: the name of the part tells."""
    number = batch[0]
    names = [run.part_name(table, number, [inputs, batch]) for table in ("outcomes", "partials")]
    before = [run.existing_part(name) for name in names]
    if before[0] is not None and before[1] is not None:
        outcomes = read_part(run.path / names[0]).to_pylist()
        if not (retry and any(outcome["status"] == Status.QUARANTINED for outcome in outcomes)):
            return number, before[0], before[1], _counts(outcomes, 0, 0)
        (run.path / names[0]).unlink()  # first: the two parts must tell of the same attempt
    outcomes, partials, voxels, n_bytes = [], [], 0, 0
    with without_warnings():
        for volume, frames in _volumes_of(run, batch):
            if volume["status"] == Status.QUARANTINED:  # an earlier attempt entered that
                volume |= {"status": Status.OK, "reason": None}
            outcome, counted = _ingest_volume(run, volume, frames, inputs, config)
            outcomes.append(outcome)
            for channel, counts in enumerate(counted):
                identity = {
                    "volume_id": volume["volume_id"],
                    "channel": channel,
                    "value_unit": volume["value_unit"],
                }
                partials.append(identity | counts.as_row())
                voxels += counts.seen
            n_bytes += volume["n_bytes"] or 0
    partial_part = run.write_table(names[1], table_of(partials, PARTIALS.arrow()), delta=("bins", "counts"))
    outcome_part = run.write_table(names[0], table_of(outcomes, OUTCOMES.arrow()))
    return number, outcome_part, partial_part, _counts(outcomes, voxels, n_bytes)


def _volumes_of(run: RunFolder, batch: Batch) -> Iterator[tuple[Row, list[Row]]]:
    """Yield the volumes of a batch with their frames, in order of time and place."""
    _, bucket, first, last = batch
    volumes = open_part(run.parts("volumes")[0]).read_row_group(bucket).slice(first, last - first).to_pylist()
    part = run.parts("frames")[bucket]
    wanted = [volume["volume_id"] for volume in volumes]
    table = read_part(part, filters=[("volume_id", "in", wanted), ("role", "==", "image")])
    frames: dict[str, list[Row]] = {name: [] for name in wanted}
    for row in table.to_pylist():
        frames[row["volume_id"]].append(row)
    for volume in volumes:
        yield volume, frames[volume["volume_id"]]


def _ingest_volume(
    run: RunFolder, volume: Row, frames: list[Row], inputs: str, config: Config
) -> tuple[Row, list[counting.Counts]]:
    """Ingest one volume; whatever happens becomes its status."""
    outcome: Row = {"volume_id": volume["volume_id"], "status": volume["status"], "reason": volume["reason"]}
    if volume["status"] != Status.OK or volume["reason"] is not None:
        return outcome, []
    pending = run.new_volume(zarr_path(volume))
    try:
        if _pixel_bytes(volume) > config.ingest.volume_limit_mib * MIB:
            raise RejectedError("volume_too_large")
        written, counts = write_volume(pending, volume, frames, inputs, config)
        return outcome | written, counts
    except (KeyboardInterrupt, SystemExit, GeneratorExit, RunError):
        raise  # counts that do not add up are no fault of the volume
    except QuarantinedError as poison:
        return outcome | {"status": Status.QUARANTINED, "reason": poison.reason}, []
    except RejectedError as rejection:
        status = Status.CHANGED if rejection.reason == "changed" else Status.REJECTED
        return outcome | {"status": status, "reason": rejection.reason}, []
    except OSError as error:
        if error.errno in _CANNOT_WRITE:
            raise RunError(
                f"cannot write the results: {error.strerror}; make room and run the same command again"
            ) from None
        if error.errno in _VANISHED:
            return outcome | {"status": Status.VANISHED, "reason": "vanished"}, []
        return outcome | {"status": Status.UNREADABLE, "reason": os.strerror(error.errno or 5)}, []
    except BaseException as error:  # a decoder's panic is no Exception
        return outcome | {"status": Status.REJECTED, "reason": f"undecodable: {type(error).__name__}"}, []
    finally:
        pending.drop()


# -- tables and counts -------------------------------------------------------------------------------------


def _enter_outcomes(run: RunFolder, outcomes: list[Artefact]) -> Artefact:
    """Enter in `volumes.parquet` what became of each volume; rows and their order stay as they are."""
    import pyarrow as pa

    layout = VOLUMES.arrow()
    entered = [name for name in OUTCOMES.names if name != "volume_id"]
    file = open_part(run.parts("volumes")[0])
    parts = iter(outcomes)

    def buckets() -> Iterator[pa.Table]:
        for bucket in range(file.num_row_groups):
            table = file.read_row_group(bucket)
            found: list[pa.Table] = []
            while sum(part.num_rows for part in found) < table.num_rows:
                found.append(read_part(run.path / next(parts).path))
            joined = pa.concat_tables(found) if found else OUTCOMES.arrow().empty_table()
            if joined["volume_id"].to_pylist() != table["volume_id"].to_pylist():
                raise ConservationError("volumes and their outcomes do not match; please report this")
            for name in entered:
                table = table.set_column(
                    layout.get_field_index(name), layout.field(name), joined[name].combine_chunks()
                )
            yield table

    return run.write_tables("volumes.parquet", layout, buckets())


def _counts(outcomes: list[Row], voxels: int, n_bytes: int) -> Row:
    dropped = [o for o in outcomes if o["status"] != Status.OK or o["reason"] is not None]
    return {
        "volumes": len(outcomes),
        "status": dict(Counter(str(o["status"]) for o in outcomes)),
        "reasons": dict(Counter(f"{o['status']}: {o['reason']}" for o in dropped)),
        "stored": sum(o.get("zarr_path") is not None for o in outcomes),
        "voxels": voxels,
        "bytes": n_bytes,
    }


def _totals(parts: list[Row], planned: int) -> Row:
    totals: Row = {"volumes": 0, "status": Counter(), "reasons": Counter(), "stored": 0}
    for counts in parts:
        for key in totals:
            totals[key] += Counter(counts[key]) if isinstance(counts[key], dict) else counts[key]
    if totals["volumes"] != planned:
        raise ConservationError(
            f"{planned} volumes were planned, {totals['volumes']} have an outcome; please report this"
        )
    return {key: dict(sorted(value.items())) if isinstance(value, Counter) else value for key, value in totals.items()}
