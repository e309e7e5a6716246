"""Stage `assemble`: which frames form one image, and is it a real grid.

Series are kept whole: rows are shuffled on the series key into buckets, each bucket is one task. Neither the
client nor the scheduler ever holds more than the volumes of one bucket.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from cohort.cluster import Step, completed, ignore
from cohort.errors import ConservationError
from cohort.schema import FRAMES, SERIES, VOLUMES, Status
from cohort.store import inputs_of, read_part, table_of
from cohort.volumes.frames import PLACED

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.store import Artefact, RunFolder

Row = dict[str, Any]

_OBJECT = ("source", "path_raw")  # names one object of the run


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
    from cohort.volumes import shuffle

    scanned = run.committed("scan")
    inputs = inputs_of(config.as_dict()["assemble"], scanned)
    if run.is_current("assemble", inputs):
        return run.committed("assemble")
    run.withdraw(("assemble", "ingest", "reduce", "check", "report"))
    images = int(scanned["counts"]["images"])
    buckets = shuffle.count_buckets(run, config.assemble.bucket_rows)
    with run.scratch("assemble") as scratch:
        files = shuffle.scatter(run, scratch, buckets, progress)
        task = partial(_assemble_bucket, run=run, scratch=scratch, files=files, inputs=inputs)
        done = _assemble_buckets(buckets, task, images, progress)
        artefacts = [frames for _, frames, _ in done]
        for table in (SERIES, VOLUMES):
            names = (f"{scratch}/{table.name}-{bucket:05d}.parquet" for bucket, _, _ in done)
            bucketed = (read_part(run.path / name) for name in names)
            artefacts.append(run.write_tables(f"{table.name}.parquet", table.arrow(), bucketed))
    counts = _totals([counts for _, _, counts in done], images)
    return run.commit("assemble", inputs, artefacts, counts)


# -- assemble ----------------------------------------------------------------------------------------------


def _assemble_buckets(
    buckets: int, task: Callable[..., Any], images: int, progress: Progress
) -> list[tuple[int, Artefact, Row]]:
    results, done = [], 0
    progress(Step("assemble", 0, images, "images"))
    for result in completed(range(buckets), task):
        results.append(result)
        done += result[2]["images"]
        progress(Step("assemble", done, images, "images"))
    return sorted(results, key=lambda result: result[0])


def _assemble_bucket(
    bucket: int, *, run: RunFolder, scratch: str, files: int, inputs: str
) -> tuple[int, Artefact, Row]:
    """Assemble the series of one bucket and write what they are made of."""
    from cohort.volumes import series_table, shuffle

    table = shuffle.gather(run, scratch, files, bucket)
    series, volumes, frames, images = [], [], [], 0
    for rows in shuffle.rows_by_series(table):
        chosen = [row for row in rows if row["is_image"] and row["status"] == Status.OK]
        found, listed = _assemble_one(chosen)
        series.append(series_table.describe(rows, len(found)))
        volumes += sorted(found, key=lambda volume: volume["volume_id"])
        frames += sorted(listed, key=_frame_order)
        images += len(chosen)
    for volume in volumes:
        volume["frames_part"] = bucket
    for layout, records in ((SERIES, series), (VOLUMES, volumes)):
        run.write_table(f"{scratch}/{layout.name}-{bucket:05d}.parquet", table_of(records, layout.arrow()))
    name = run.part_name("frames", bucket, [inputs, bucket])
    artefact = run.write_table(name, _frames_table(table, frames))
    counts = _counts(volumes, frames, images)
    return bucket, artefact, counts | {"rows": table.num_rows, "series": len(series)}


def _frames_table(table: pa.Table, frames: list[Row]) -> pa.Table:
    """Return the rows of `frames`: the place of each, with the columns of `files` that reading its pixels needs."""
    import pyarrow as pa

    layout = FRAMES.arrow()
    places = {place: i for i, place in enumerate(zip(*(table[name].to_pylist() for name in _OBJECT), strict=True))}
    rows = pa.array([places[frame["source"], frame["path_raw"]] for frame in frames], pa.int64())
    objects = table.select([name for name in layout.names if name not in PLACED]).take(rows)
    columns = {n: [f.get(n) for f in frames] if n in PLACED else objects[n] for n in layout.names}
    return pa.table(columns, schema=layout)


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
        "volume_id": key_of(first["series_key"], *sorted(image["instance_key"] for image in images)),
        "status": Status.REJECTED,
        "reason": reason,
        "excluded_instance_count": len(images),
        "n_files": len(images),
        "n_bytes": sum(image["size"] for image in images),
    }
    aside = {"volume_id": volume["volume_id"], "role": "excluded", "reason": reason}
    return [volume], [{name: image[name] for name in _OBJECT} | aside for image in images]


def _frame_order(frame: Row) -> tuple[Any, ...]:
    role = frame["role"] != "image"
    places = tuple(-1 if frame.get(name) is None else frame[name] for name in ("timepoint", "slice", "frame"))
    return (frame["volume_id"], role, *places, frame["source"], frame["path_raw"])


# -- counting ----------------------------------------------------------------------------------------------


def _counts(volumes: list[Row], frames: list[Row], images: int) -> Row:
    listed = len({(frame["source"], frame["path_raw"]) for frame in frames})
    if images != listed:
        raise ConservationError(f"{images} images went into a bucket, {listed} came out; please report this")
    if len({volume["volume_id"] for volume in volumes}) != len(volumes):
        raise ConservationError("two volumes share an identity; please report this")
    return {
        "images": images,
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
