"""Images in Zarr against their commit records and `volumes.parquet`."""

from __future__ import annotations

import hashlib
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.store import METADATA, chunks_of, digest_of_file
from cohort.verify.problem import STRAY, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    import zarr

    from cohort.store import RunFolder

Row = dict[str, Any]

_AXES = ("timepoints", "channels", "slices", "rows", "columns")
_COLUMNS = ["volume_id", "zarr_path", "content_sha256", "dtype", *_AXES]


def check_volumes(run: RunFolder, *, deep: bool) -> Iterator[Problem]:
    """Yield what is wrong with the images in Zarr.

    Parameters
    ----------
    run : RunFolder
        Its `volumes.parquet` must be whole.
    deep : bool
        Read every chunk and compute the digest of the modality values again, on all cores.
    """
    rows = [row for row in run.read("volumes", _COLUMNS).to_pylist() if row["zarr_path"] is not None]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for row, what in zip(rows, pool.map(lambda row: _fault_of(run, row, deep=deep), rows), strict=True):
            if what is not None:
                yield Problem("ingest", f"volumes.zarr/{row['zarr_path']}", what)
    known = {row["zarr_path"] for row in rows}
    for name in run.volume_folders():
        if name not in known:
            yield Problem("ingest", f"volumes.zarr/{name}", "is an image of no volume", STRAY)


def _fault_of(run: RunFolder, row: Row, *, deep: bool) -> str | None:
    """Return what is wrong with one image, None where it is whole."""
    try:
        return _fault_on_disk(run, row) or (_fault_of_values(run, row) if deep else None)
    except Exception as error:  # whatever a damaged file makes of its reader
        return f"cannot be read: {type(error).__name__}"


def _fault_on_disk(run: RunFolder, row: Row) -> str | None:
    commit = run.volume_commit(row["zarr_path"])
    folder = run.path / "volumes.zarr" / row["zarr_path"]
    if commit is None:
        return "has no commit record, or a damaged one" if folder.exists() else "is missing"
    for name in ("volume_id", "content_sha256", "dtype"):
        if commit[name] != row[name]:
            return f"was committed with another {name} than volumes.parquet has"
    if list(commit["shape"]) != _shape_of(row):
        return "was committed with another shape than volumes.parquet has"
    chunks, size = chunks_of(folder)
    if (chunks, size) != (commit["chunks"], commit["chunk_bytes"]):
        return f"has {chunks} chunks of {size} bytes, {commit['chunks']} of {commit['chunk_bytes']} were committed"
    for name in METADATA:
        if digest_of_file(folder / name) != commit["metadata"][name]:
            return f"has another {name} than was committed"
    return None


def _shape_of(row: Row) -> list[int]:
    """Return the shape of the array: axes of time, channel and slice that have length 1 are left out."""
    full = [row[name] or 1 for name in _AXES]
    return [n for i, n in enumerate(full) if i >= 3 or n > 1]


def _fault_of_values(run: RunFolder, row: Row) -> str | None:
    array = run.open_volume(row["zarr_path"])
    if array.dtype.name != row["dtype"]:
        return f"holds {array.dtype.name}, {row['dtype']} was committed"
    return None if content_digest(array) == row["content_sha256"] else "has other values than were committed"


def content_digest(array: zarr.Array[Any]) -> str:
    """Return the SHA-256 of type, shape and values of an image, as `ingest` computes it: t, z, c, y, x.

    Parameters
    ----------
    array : zarr array
        With those of the axes t, c, z, y, x that it has, by name.
    """
    names = array.metadata.dimension_names or ()  # type: ignore[union-attr]
    lengths = {str(name): length for name, length in zip(names, array.shape, strict=True)}
    chunks = {str(name): length for name, length in zip(names, array.chunks, strict=True)}
    shape = tuple(lengths.get(name, 1) for name in "tczyx")
    content = hashlib.sha256(f"{array.dtype.str} {shape}".encode())
    slab = chunks.get("z", 1)
    for t in range(shape[0]):
        for z in range(0, shape[2], slab):
            place = {"t": slice(t, t + 1), "z": slice(z, z + slab)}
            values = np.asarray(array[tuple(place.get(str(name), slice(None)) for name in names)])
            if "c" in lengths and "z" in lengths:
                values = np.swapaxes(values, names.index("c"), names.index("z"))
            content.update(np.ascontiguousarray(values).tobytes())
    assert math.prod(array.shape) == math.prod(shape)
    return content.hexdigest()
