"""Counting the voxels of volumes in Zarr again, by the same three functions: `--from-voxels`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import counting
from cohort.reductions.tree import reduce_array

if TYPE_CHECKING:
    import dask.array as da
    from numpy.typing import NDArray

    from cohort.store import RunFolder

Row = dict[str, Any]


def count_array(array: da.Array) -> counting.Counts:
    """Count the values of a dask array of any shape; every chunking gives the same counts.

    Parameters
    ----------
    array : dask array
        Integers or floats; NaN and infinity are left out and counted.
    """
    counts: counting.Counts = reduce_array(array, counting.count_values, counting.merge).compute().item()
    return counts


def count_volume(run: RunFolder, zarr_path: str) -> list[counting.Counts] | None:
    """Count the voxels of one volume in Zarr, one result a channel, padding left out as in the first pass.

    None where voxels do not tell padding: where a modality LUT may give the same value to padding and to image.
    """
    import dask
    import dask.array as da

    stored = run.open_volume(zarr_path)
    attributes = run.volume_attributes(zarr_path)["cohort"]
    if attributes.get("modality_lut") and any(attributes["padding"]):
        return None
    padding = _padding_values(attributes)
    array = da.from_array(stored, chunks=stored.chunks, name=False)
    names = stored.metadata.dimension_names or ()  # type: ignore[union-attr]
    channels = [array]
    if "c" in names:
        axis = names.index("c")
        channels = [da.take(array, [c], axis=axis) for c in range(array.shape[axis])]
    with dask.config.set(scheduler="synchronous"):  # one task owns a volume
        if padding is None or len(channels) > 1:
            return [count_array(channel) for channel in channels]
        return [_count_padded(channels[0], padding, names)]


def _count_padded(array: da.Array, padding: NDArray[Any], names: tuple[str | None, ...]) -> counting.Counts:
    """Count one channel block by block, each with the padding of its frames."""
    import dask.array as da

    slices = array.shape[names.index("z")] if "z" in names else 1
    timepoints = array.shape[names.index("t")] if "t" in names else 1
    frames = np.broadcast_to(padding, (timepoints * slices, 2))
    shape = tuple(array.shape[i] if name in ("t", "z") else 1 for i, name in enumerate(names))
    low, high = (da.from_array(frames[:, i].reshape(shape), chunks=_like(array, shape)) for i in (0, 1))
    masked = da.map_blocks(_boxed_pair, array, low, high, dtype=object, chunks=tuple((1,) * n for n in array.numblocks))
    counts: counting.Counts = reduce_array(masked, _count_pair, counting.merge).compute().item()
    return counts


def _like(array: da.Array, shape: tuple[int, ...]) -> tuple[Any, ...]:
    return tuple(chunks if length > 1 else (1,) for chunks, length in zip(array.chunks, shape, strict=True))


def _boxed_pair(values: NDArray[Any], low: NDArray[Any], high: NDArray[Any]) -> NDArray[Any]:
    box = np.empty((1,) * values.ndim, dtype=object)
    box[(0,) * values.ndim] = (values, (values >= low) & (values <= high))
    return box


def _count_pair(box: NDArray[Any]) -> counting.Counts:
    values, padding = box.ravel()[0]
    return counting.count_values(values, padding)


def _padding_values(attributes: Row) -> NDArray[Any] | None:
    """Return the range of padding as modality values, one row a frame (or one for all); None where there is none."""
    paddings, rescales = attributes["padding"], attributes["rescale"]
    if all(padding is None for padding in paddings):
        return None
    count = max(len(paddings), len(rescales))
    rows = []
    for i in range(count):
        padding, rescale = paddings[min(i, len(paddings) - 1)], rescales[min(i, len(rescales) - 1)]
        rows.append(_rescaled(padding, rescale))
    return np.array(rows)


def frame_padding(attributes: Row, slices: int) -> NDArray[np.float64] | None:
    """Return the range of padding as modality values, one row a slice; None where there is none.

    Of a volume with modality LUTs padding is not told from its values.
    """
    if attributes.get("modality_lut"):
        return None
    padding = _padding_values(attributes)
    return None if padding is None else np.broadcast_to(padding, (slices, 2)).astype(np.float64)


def _rescaled(padding: list[int] | None, rescale: list[float] | None) -> tuple[float, float]:
    if padding is None:
        return np.inf, -np.inf  # no value lies between
    slope, intercept = rescale or (1.0, 0.0)
    ends = sorted(end * slope + intercept for end in padding)
    if slope.is_integer() and float(intercept).is_integer():
        return ends[0], ends[1]
    return float(np.float32(ends[0])), float(np.float32(ends[1]))
