"""Stage `ingest`: pixels of every volume into Zarr, counted in the same pass.

What is stored is what is counted: each source pixel is read and decoded once. One task owns a batch of whole
volumes, balanced by bytes; a volume is visible once it is committed.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import counting
from cohort.cluster import Step, completed, ignore
from cohort.errors import ConservationError, RejectedError
from cohort.readers import nifti_pair_names, open_frames, without_warnings
from cohort.schema import OUTCOMES, PARTIALS, VOLUMES, Status
from cohort.sources import open_source
from cohort.store import inputs_of
from cohort.values import ValuePlan, plan_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa
    from numpy.typing import NDArray

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.readers import FrameReader
    from cohort.store import Artefact, PendingVolume, RunFolder

Row = dict[str, Any]
Batch = tuple[int, int, int, int]  # number, bucket, first and last row of the bucket's volumes

_MIB = 1 << 20
_OPENING_BYTES = _MIB  # what making one Zarr image costs, in pixels that could be written in that time
_VANISHED = (2, 20)  # ENOENT, ENOTDIR


def ingest(run: RunFolder, config: Config, progress: Progress = ignore) -> dict[str, Any]:
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
        return run.committed("ingest")
    run.withdraw(("ingest", "reduce", "check", "report"))
    batches = list(_batches(run, config))
    done = _run_batches(run, batches, inputs, config, progress)
    counts = _totals([counts for *_, counts in done], sum(last - first for _, _, first, last in batches))
    outcomes = [outcome for _, outcome, _, _ in done]
    artefacts = [*outcomes, *(partials for _, _, partials, _ in done), _enter_outcomes(run, outcomes)]
    run.keep_volumes({path for path in run.read_files(outcomes, "zarr_path") if path is not None})
    return run.commit("ingest", inputs, artefacts, counts)


# -- plan --------------------------------------------------------------------------------------------------


def _batches(run: RunFolder, config: Config) -> Iterator[Batch]:
    """Cut the volumes of every bucket into batches of about `batch_mib` of pixels; depends on the volumes alone."""
    import pyarrow.parquet as pq

    names = ["rows", "columns", "slices", "timepoints", "channels", "stored_dtype"]
    file = pq.ParquetFile(run.parts("volumes")[0])
    number = 0
    for bucket in range(file.num_row_groups):
        rows = file.read_row_group(bucket, columns=names).to_pylist()
        first, size = 0, 0.0
        for i, row in enumerate(rows):
            size += _pixel_bytes(row) + _OPENING_BYTES
            if size >= config.ingest.batch_mib * _MIB or i == len(rows) - 1:
                yield number, bucket, first, i + 1
                number, first, size = number + 1, i + 1, 0.0


def _pixel_bytes(row: Row) -> int:
    shape = [row[name] or 1 for name in ("rows", "columns", "slices", "timepoints", "channels")]
    return math.prod(shape) * _item_bytes(row["stored_dtype"])


def _item_bytes(dtype: str | None) -> int:
    digits = re.sub(r"\D", "", dtype or "") or "16"
    return max(1, int(digits) // 8)


def _run_batches(
    run: RunFolder, batches: list[Batch], inputs: str, config: Config, progress: Progress
) -> list[tuple[int, Artefact, Artefact, Row]]:
    import dask.bag

    if not batches:
        return []
    bag = dask.bag.from_sequence(batches, npartitions=len(batches))
    total = sum(last - first for _, _, first, last in batches)
    done = n_bytes = 0
    results = []
    progress(Step("ingest", 0, total, "volumes"))
    for result in completed(bag.map_partitions(partial(_ingest_partition, run=run, inputs=inputs, config=config))):
        results.append(result)
        done, n_bytes = done + result[3]["volumes"], n_bytes + result[3]["bytes"]
        progress(Step("ingest", done, total, "volumes", n_bytes))
    return sorted(results, key=lambda result: result[0])


# -- one batch ---------------------------------------------------------------------------------------------


def _ingest_partition(
    batches: Iterable[Batch], *, run: RunFolder, inputs: str, config: Config
) -> list[tuple[int, Artefact, Artefact, Row]]:
    return [_ingest_batch(batch, run, inputs, config) for batch in batches]


def _ingest_batch(batch: Batch, run: RunFolder, inputs: str, config: Config) -> tuple[int, Artefact, Artefact, Row]:
    """Ingest the volumes of one batch, unless an earlier run did: the name of the part tells."""
    import pyarrow.parquet as pq

    number = batch[0]
    names = [run.part_name(table, number, [inputs, batch]) for table in ("outcomes", "partials")]
    before = [run.existing_part(name) for name in names]
    if before[0] is not None and before[1] is not None:
        outcomes = pq.read_table(run.path / names[0]).to_pylist()
        return number, before[0], before[1], _counts(outcomes, 0, 0)
    outcomes, partials, voxels, n_bytes = [], [], 0, 0
    with without_warnings():
        for volume, frames in _volumes_of(run, batch):
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
    partial_part = run.write_table(names[1], _table(partials, PARTIALS.arrow()), delta=("bins", "counts"))
    outcome_part = run.write_table(names[0], _table(outcomes, OUTCOMES.arrow()))
    return number, outcome_part, partial_part, _counts(outcomes, voxels, n_bytes)


def _volumes_of(run: RunFolder, batch: Batch) -> Iterator[tuple[Row, list[Row]]]:
    """Yield the volumes of a batch with their frames, in order of time and place."""
    import pyarrow.parquet as pq

    _, bucket, first, last = batch
    volumes = pq.ParquetFile(run.parts("volumes")[0]).read_row_group(bucket).slice(first, last - first).to_pylist()
    part = run.parts("frames")[bucket]
    wanted = [volume["volume_id"] for volume in volumes]
    table = pq.read_table(part, filters=[("volume_id", "in", wanted), ("role", "==", "image")], partitioning=None)
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
        written, counts = _write_volume(pending, volume, frames, inputs, config)
        return outcome | written, counts
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except RejectedError as rejection:
        return outcome | {"status": Status.REJECTED, "reason": rejection.reason}, []
    except OSError as error:
        if error.errno in _VANISHED:
            return outcome | {"status": Status.VANISHED, "reason": "vanished"}, []
        return outcome | {"status": Status.UNREADABLE, "reason": os.strerror(error.errno or 5)}, []
    except BaseException as error:  # a decoder's panic is no Exception
        return outcome | {"status": Status.REJECTED, "reason": f"undecodable: {type(error).__name__}"}, []
    finally:
        pending.drop()


def zarr_path(volume: Row) -> str:
    """Return the folder of a volume below `volumes.zarr`: its Modality, cleaned, and its identity."""
    modality = re.sub(r"[^A-Z0-9_]", "_", (volume["Modality"] or "unknown").upper()) or "unknown"
    return f"{'unknown' if modality == 'UNKNOWN' else modality}/{volume['volume_id']}"


# -- one volume --------------------------------------------------------------------------------------------


def _write_volume(
    pending: PendingVolume, volume: Row, frames: list[Row], inputs: str, config: Config
) -> tuple[Row, list[counting.Counts]]:
    """Read frame by frame, convert, write slab by slab, count."""
    import hashlib

    with _Frames(volume, frames, config.scan.gzip_limit_mib << 20) as stack:
        plan = plan_values(stack.first(), frames, volume)
        shape = stack.shape
        layout = _Layout(shape, plan.dtype.itemsize, config.ingest.chunk_mib)
        attributes = _attributes(volume, layout, plan)
        array = pending.create(
            layout.shape,
            layout.chunks,
            plan.dtype.name,
            layout.axes,
            attributes,
            config.ingest.compression_level,
        )
        content = hashlib.sha256(f"{plan.dtype.str} {shape}".encode())
        counts = [counting.empty(plan.kind) for _ in range(shape[1])]
        for t in range(shape[0]):
            for z in range(0, shape[2], layout.slab):
                values, padding = stack.slab(t, z, min(z + layout.slab, shape[2]), plan)
                array[layout.place(t, z, values.shape[1])] = layout.fit(values)
                content.update(np.ascontiguousarray(np.swapaxes(values, 0, 1)).tobytes())
                for c in range(shape[1]):
                    counts[c] = counting.merge([counts[c], counting.count_values(values[c], padding)])
    _check_voxels(counts, shape)
    attributes["cohort"] |= {"decoder": stack.decoder, "content_sha256": content.hexdigest()}
    pending.update_attributes(attributes)
    pending.commit({
        "volume_id": volume["volume_id"], "shape": layout.shape, "dtype": plan.dtype.name,
        "chunks": layout.chunk_count, "content_sha256": content.hexdigest(), "inputs": inputs,
    })  # fmt: skip
    outcome = {
        "dtype": plan.dtype.name, "zarr_path": zarr_path(volume),
        "content_sha256": content.hexdigest(), "decoder": stack.decoder,
    }  # fmt: skip
    return outcome, counts


def _check_voxels(counts: list[counting.Counts], shape: tuple[int, ...]) -> None:
    voxels = math.prod(shape)
    if sum(c.seen for c in counts) != voxels:
        raise ConservationError(f"{voxels} voxels were read, {sum(c.seen for c in counts)} counted; please report this")


class _Layout:
    """How an image of (time, channel, slice, row, column) lies in Zarr: axes of length 1 are left out."""

    def __init__(self, shape: tuple[int, ...], item_bytes: int, chunk_mib: float) -> None:
        slice_bytes = shape[3] * shape[4] * item_bytes
        self.slab = int(min(shape[2], max(1, chunk_mib * _MIB // max(1, slice_bytes))))
        self._full = shape
        self._kept = [i for i in range(5) if i >= 3 or shape[i] > 1]
        self.axes = tuple("tczyx"[i] for i in self._kept)
        self.shape = tuple(shape[i] for i in self._kept)
        self.chunks = tuple((1, 1, self.slab, shape[3], shape[4])[i] for i in self._kept)

    @property
    def chunk_count(self) -> int:
        """Chunks the array has."""
        return math.prod(-(-length // chunk) for length, chunk in zip(self.shape, self.chunks, strict=True))

    def place(self, t: int, z: int, slices: int) -> tuple[slice, ...]:
        """Return where a slab belongs."""
        full = (slice(t, t + 1), slice(None), slice(z, z + slices), slice(None), slice(None))
        return tuple(full[i] for i in self._kept)

    def fit(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a slab of (channel, slice, row, column) in the axes of the array."""
        return values[np.newaxis].reshape([(1, *values.shape)[i] for i in self._kept])

    def scale(self, volume: Row) -> list[float]:
        """Return the step along each axis: mm, 1 where it is not known."""
        steps = (1.0, 1.0, volume["spacing_slice_mm"], volume["spacing_row_mm"], volume["spacing_col_mm"])
        return [float(steps[i] or 1.0) for i in self._kept]

    def translation(self, volume: Row) -> list[float]:
        """Return the place of the first voxel along each axis, mm (LPS)."""
        affine = volume["affine_lps"]
        origin = (0.0, 0.0, affine[11], affine[7], affine[3]) if affine else (0.0,) * 5
        return [float(origin[i]) for i in self._kept]


def _attributes(volume: Row, layout: _Layout, plan: ValuePlan) -> Row:
    """Return the attributes of the group: OME-Zarr 0.5, and what OME has no words for."""
    known = volume["spacing_row_mm"] is not None
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in layout.axes]
    for axis in axes:
        if axis["type"] == "space" and known:
            axis["unit"] = "millimeter"
    transformations = [
        {"type": "scale", "scale": layout.scale(volume)},
        {"type": "translation", "translation": layout.translation(volume)},
    ]
    datasets = [{"path": "0", "coordinateTransformations": transformations}]
    multiscale = {"name": volume["volume_id"], "axes": axes, "datasets": datasets}
    return {
        "ome": {"version": "0.5", "multiscales": [multiscale]},
        "cohort": {
            "affine_lps": volume["affine_lps"],
            "spacing_source": volume["spacing_source"],
            "regularly_spaced_3d_volume": volume["regularly_spaced_3d_volume"],
            "value_unit": volume["value_unit"],
            "source_count": volume["n_files"],
            **plan.provenance(),
        },
    }


class _Frames:
    """The source frames of one volume, read in order; one object is open at a time."""

    def __init__(self, volume: Row, frames: list[Row], gzip_limit: int) -> None:
        if not frames:
            raise RejectedError("no_frames")
        self._frames = frames
        self._gzip_limit = gzip_limit
        self._slices, self._timepoints = volume["slices"], volume["timepoints"]
        self._whole = frames[0]["frame"] is None
        self._nifti = volume["format"] == "nifti"
        self._open: tuple[Any, FrameReader] | None = None
        self._first: NDArray[Any] | None = None
        self._vectors = self._vector_length()
        self.decoder = ""

    def __enter__(self) -> _Frames:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        if self._open is not None:
            reader, self._open = self._open[1], None
            try:
                reader.close()
            except RejectedError:
                if kind is None:  # what went wrong first is the reason
                    raise

    def _vector_length(self) -> int:
        """Return the length of the fifth dimension of NIfTI."""
        dim = self._frames[0]["nifti_dim"]
        return int(dim[5]) if self._nifti and dim[0] >= 5 else 1

    def first(self) -> NDArray[Any]:
        """Return the stored values of the first frame."""
        if self._first is None:
            self._first = self._read(0, 0)
        return self._first

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Time, channel, slice, row, column."""
        first = self.first()
        channels = first.shape[2] if first.ndim == 3 else 1
        return self._timepoints, channels, self._slices, first.shape[0], first.shape[1]

    def slab(self, t: int, start: int, stop: int, plan: ValuePlan) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return modality values (channel, slice, row, column) and the padding mask (slice, row, column)."""
        frames, masks = [], []
        for z in range(start, stop):
            stored = self.first() if (t, z) == (0, 0) else self._read(t, z)
            if stored.shape != self.first().shape:
                raise RejectedError("frames_differ_in_size")
            row = self._row(t, z)
            masks.append(plan.padding(stored, row))
            frames.append(plan.convert(stored, row))
        values = np.stack(frames)
        values = values[np.newaxis] if values.ndim == 3 else np.moveaxis(values, -1, 0)
        masked = any(mask is not None for mask in masks)
        none = np.zeros(values.shape[2:], bool)
        return values, np.stack([none if mask is None else mask for mask in masks]) if masked else None

    def _row(self, t: int, z: int) -> Row:
        return self._frames[0] if self._whole else self._frames[t * self._slices + z]

    def _read(self, t: int, z: int) -> NDArray[Any]:
        row = self._row(t, z)
        reader = self._reader(row)
        if not self._whole:
            return np.asarray(reader.read(row["frame"]))
        if self._vectors == 1:
            return np.asarray(reader.read(t * self._slices + z))
        every = self._timepoints * self._slices
        parts = [np.asarray(reader.read(v * every + t * self._slices + z)) for v in range(self._vectors)]
        return np.concatenate([part if part.ndim == 3 else part[..., np.newaxis] for part in parts], axis=-1)

    def _reader(self, row: Row) -> FrameReader:
        key = (row["source"], row["path_raw"])
        if self._open is not None and self._open[0] == key:
            return self._open[1]
        if self._open is not None:
            previous, self._open = self._open[1], None
            previous.close()
        reader = open_frames(_open_pixels(row), row, gzip_limit=self._gzip_limit)
        self._open = (key, reader)
        names = [*filter(None, self.decoder.split("; ")), reader.decoder]
        self.decoder = "; ".join(sorted(set(names)))
        return reader


def _open_pixels(row: Row) -> Any:
    """Open the object that holds the pixels: the `.img` of a NIfTI pair, else the object itself."""
    source, path = open_source(row["source"]), row["path_raw"]
    if row["format"] == "nifti" and row["nifti_magic"].startswith("ni"):
        folder, name = os.path.split(path)
        for candidate in nifti_pair_names(os.fsdecode(name)):
            try:
                return source.open(os.path.join(folder, os.fsencode(candidate)))
            except FileNotFoundError:
                continue
        raise RejectedError("missing_img")
    file = source.open(path)
    if os.fstat(file.fileno()).st_size != row["size"]:
        file.close()
        raise RejectedError("changed")
    return file


# -- tables and counts -------------------------------------------------------------------------------------


def _table(records: list[Row], layout: pa.Schema) -> pa.Table:
    import pyarrow as pa

    return pa.table({name: [record.get(name) for record in records] for name in layout.names}, schema=layout)


def _enter_outcomes(run: RunFolder, outcomes: list[Artefact]) -> Artefact:
    """Enter in `volumes.parquet` what became of each volume; rows and their order stay as they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    layout = VOLUMES.arrow()
    entered = [name for name in OUTCOMES.names if name != "volume_id"]
    file = pq.ParquetFile(run.parts("volumes")[0])
    parts = iter(outcomes)

    def buckets() -> Iterator[pa.Table]:
        for bucket in range(file.num_row_groups):
            table = file.read_row_group(bucket)
            found: list[pa.Table] = []
            while sum(part.num_rows for part in found) < table.num_rows:
                found.append(pq.read_table(run.path / next(parts).path, partitioning=None))
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
