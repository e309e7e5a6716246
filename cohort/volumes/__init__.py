"""Stage `assemble`: which frames form one image, and is it a real grid.

Series are kept whole: rows are shuffled on the series key into buckets, each bucket is one task. Neither the
client nor the scheduler ever holds more than the table of volumes of one bucket.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from cohort.cluster import Step, completed, ignore
from cohort.errors import ConservationError
from cohort.schema import FRAMES, KEY_ATTRIBUTES, SERIES, VOLUMES, Status
from cohort.store import inputs_of, table_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.store import Artefact, RunFolder

Row = dict[str, Any]

_KEY_DIGITS = 8  # hex digits of the series key that choose its bucket


def assemble(run: RunFolder, config: Config, progress: Progress = ignore) -> dict[str, Any]:
    """Group images to series and volumes.

    Parameters
    ----------
    run : RunFolder
        `files/` is read; `frames/`, `series.parquet` and `volumes.parquet` are written.
    config : Config
        Section `assemble` is used.
    progress : Progress
        Told of every bucket.

    Returns
    -------
    dict
        The commit record; `counts` holds series, volumes by status, frames by role and regular volumes.

    Raises
    ------
    MissingStageError
        If `scan` has not been committed.
    ConservationError
        If an image is in no volume.
    """
    scanned = run.committed("scan")
    inputs = inputs_of(config.as_dict()["assemble"], scanned)
    if run.is_current("assemble", inputs):
        return run.committed("assemble")
    run.withdraw(("assemble", "ingest", "reduce", "check", "report"))
    rows = int(scanned["counts"]["objects"])
    buckets = max(1, math.ceil(rows / config.assemble.bucket_rows))
    with run.scratch("assemble") as scratch:
        parts = _shuffle(run, scratch, buckets, progress)
        done = _assemble_buckets(run, scratch, parts, inputs, rows, progress)
        artefacts = [frames for _, frames, _ in done]
        for table in (SERIES, VOLUMES):
            bucketed = (_read(run.path / scratch / f"{table.name}-{bucket:05d}.parquet") for bucket, _, _ in done)
            artefacts.append(run.write_tables(f"{table.name}.parquet", table.arrow(), bucketed))
    counts = _totals([counts for _, _, counts in done], int(scanned["counts"]["images"]))
    return run.commit("assemble", inputs, artefacts, counts)


# -- shuffle -----------------------------------------------------------------------------------------------


def _shuffle(run: RunFolder, scratch: str, buckets: int, progress: Progress) -> dict[int, list[Path]]:
    """Return the files that hold the rows of each bucket; one bucket needs no shuffle."""
    import dask.bag

    sources = run.parts("files")
    if buckets == 1:
        return {0: sources}
    bag = dask.bag.from_sequence(list(enumerate(sources)), npartitions=len(sources))
    written: dict[int, list[Path]] = {bucket: [] for bucket in range(buckets)}
    scattered = completed(bag.map_partitions(partial(_scatter, run=run, scratch=scratch, buckets=buckets)))
    for done, names in enumerate(scattered, 1):
        for bucket, name in names:
            written[bucket].append(run.path / name)
        progress(Step("shuffle", done, len(sources), "parts"))
    return {bucket: sorted(paths) for bucket, paths in written.items()}


def _scatter(
    parts: Iterable[tuple[int, Path]], *, run: RunFolder, scratch: str, buckets: int
) -> list[list[tuple[int, str]]]:
    import numpy as np

    results = []
    for number, path in parts:
        table = _read(path, _columns())
        keys = table["series_key"].to_pylist()
        chosen = np.array([-1 if key is None else int(key[:_KEY_DIGITS], 16) % buckets for key in keys])
        names = []
        for bucket in np.unique(chosen[chosen >= 0]).tolist():
            name = f"{scratch}/rows-{bucket:05d}-{number:05d}.parquet"
            run.write_table(name, table.take(np.flatnonzero(chosen == bucket)))
            names.append((bucket, name))
        results.append(names)
    return results


def _columns() -> list[str]:
    from cohort.volumes.frames import COLUMNS

    return list(dict.fromkeys((*COLUMNS, *KEY_ATTRIBUTES)))


def _read(path: Path, columns: list[str] | None = None) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=columns, partitioning=None)


# -- assemble ----------------------------------------------------------------------------------------------


def _assemble_buckets(
    run: RunFolder, scratch: str, parts: dict[int, list[Path]], inputs: str, rows: int, progress: Progress
) -> list[tuple[int, Artefact, Row]]:
    import dask.bag

    bag = dask.bag.from_sequence(list(parts.items()), npartitions=len(parts))
    task = partial(_assemble_partition, run=run, scratch=scratch, inputs=inputs)
    done, results = 0, []
    progress(Step("assemble", 0, rows, "files"))
    for result in completed(bag.map_partitions(task)):
        results.append(result)
        done += result[2]["rows"]
        progress(Step("assemble", min(done, rows), rows, "files"))
    return sorted(results, key=lambda result: result[0])


def _assemble_partition(
    buckets: Iterable[tuple[int, list[Path]]], *, run: RunFolder, scratch: str, inputs: str
) -> list[tuple[int, Artefact, Row]]:
    return [_assemble_bucket(bucket, paths, run, scratch, inputs) for bucket, paths in buckets]


def _assemble_bucket(
    bucket: int, paths: list[Path], run: RunFolder, scratch: str, inputs: str
) -> tuple[int, Artefact, Row]:
    rows = [row for path in paths for row in _rows(path)]
    by_series: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_series[row["series_key"]].append(row)
    series, volumes, frames = [], [], []
    for key in sorted(by_series):
        found, listed = _assemble_one([row for row in by_series[key] if row["is_image"] and row["status"] == Status.OK])
        series.append(_described(by_series[key], len(found)))
        volumes += sorted(found, key=lambda volume: volume["volume_id"])
        frames += sorted(listed, key=_frame_order)
    for volume in volumes:
        volume["frames_part"] = bucket
    for table, records in ((SERIES, series), (VOLUMES, volumes)):
        run.write_table(f"{scratch}/{table.name}-{bucket:05d}.parquet", table_of(records, table.arrow()))
    name = run.part_name("frames", bucket, [inputs, bucket])
    artefact = run.write_table(name, table_of(frames, FRAMES.arrow()))
    return bucket, artefact, _counts(rows, series, volumes, frames)


def _rows(path: Path) -> Iterator[Row]:
    table = _read(path, _columns())
    table = table.filter(table["series_key"].is_valid())
    names = table.column_names
    for values in zip(*(column.to_pylist() for column in table.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _assemble_one(images: list[Row]) -> tuple[list[Row], list[Row]]:
    """Assemble one series; one that cannot be becomes a rejected volume, never an error."""
    from cohort.volumes import dicom_volumes, nifti_volumes

    if not images:
        return [], []
    make = nifti_volumes.assemble_image if images[0]["format"] == "nifti" else dicom_volumes.assemble_series
    try:
        return make(images)
    except Exception as error:
        return _rejected(images, f"unassembled: {type(error).__name__}")


def _rejected(images: list[Row], reason: str) -> tuple[list[Row], list[Row]]:
    from cohort.readers import key_of

    first = images[0]
    names = ("series_key", "SeriesInstanceUID", "Modality", "format")
    volume = {name: first[name] for name in names} | {
        "volume_id": key_of(*sorted(image["instance_key"] for image in images)),
        "status": Status.REJECTED,
        "reason": reason,
        "excluded_instance_count": len(images),
        "n_files": len(images),
        "n_bytes": sum(image["size"] for image in images),
    }
    copied = set(FRAMES.names) & set(first)
    frames = [
        {name: image[name] for name in copied}
        | {"volume_id": volume["volume_id"], "role": "excluded", "reason": reason}
        for image in images
    ]
    return [volume], frames


def _described(rows: list[Row], n_volumes: int) -> Row:
    from cohort.volumes import series_table

    return series_table.describe(rows, n_volumes)


def _frame_order(frame: Row) -> tuple[Any, ...]:
    role = frame["role"] != "image"
    places = tuple(-1 if frame.get(name) is None else frame[name] for name in ("timepoint", "slice", "frame"))
    return (frame["volume_id"], role, *places, frame["source"], frame["path_raw"])


# -- counting ----------------------------------------------------------------------------------------------


def _counts(rows: list[Row], series: list[Row], volumes: list[Row], frames: list[Row]) -> Row:
    images = sum(bool(row["is_image"]) and row["status"] == Status.OK for row in rows)
    listed = len({(frame["source"], frame["path_raw"]) for frame in frames})
    if images != listed:
        raise ConservationError(f"{images} images went into a bucket, {listed} came out; please report this")
    if len({volume["volume_id"] for volume in volumes}) != len(volumes):
        raise ConservationError("two volumes share an identity; please report this")
    return {
        "rows": len(rows),
        "images": images,
        "series": len(series),
        "volumes": len(volumes),
        "status": dict(Counter(str(volume["status"]) for volume in volumes)),
        "roles": dict(Counter(frame["role"] for frame in frames)),
        "aside": dict(Counter(f"{f['role']}: {f['reason']}" for f in frames if f["role"] != "image")),
        "regular": sum(bool(volume.get("regularly_spaced_3d_volume")) for volume in volumes),
    }


def _totals(parts: list[Row], images: int) -> Row:
    totals: Row = {}
    for counts in parts:
        for key, value in counts.items():
            if isinstance(value, dict):
                totals[key] = totals.get(key, Counter()) + Counter(value)
            else:
                totals[key] = totals.get(key, 0) + value
    if totals["images"] != images:
        raise ConservationError(f"{images} images were scanned, {totals['images']} assembled; please report this")
    return {key: dict(sorted(value.items())) if isinstance(value, Counter) else value for key, value in totals.items()}
