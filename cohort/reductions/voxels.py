"""Counting the voxels of volumes in Zarr again, by the same three functions: `--from-voxels`."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import counting
from cohort.reductions.tree import reduce_array, reduce_parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import dask.array as da
    import pandas as pd
    from numpy.typing import NDArray

    from cohort.store import RunFolder

Row = dict[str, Any]
Channel = tuple[str, int]  # a volume, and which of its channels
Chunk = tuple[Channel, tuple[slice, ...]]


def array_histogram(array: da.Array) -> pd.DataFrame:
    """Return the exact histogram of a dask array of any shape, on the ambient scheduler; no range is asked for.

    Parameters
    ----------
    array : dask array
        Integers; or floats, counted as float32. Every chunking gives the same counts.

    Returns
    -------
    DataFrame
        `value_low`, `value_high` (of an integer both are the value; floats: low <= v < high, 0.2 % apart) and `count`.
        `attrs` holds `nan_count` and `inf_count`: with them the counts add up to the size of the array.
    """
    import pandas as pd

    counts: counting.Counts = reduce_array(array, counting.count_values, counting.merge).compute().item()
    low, high = counting.bin_edges(counts.kind, counts.bins)
    frame = pd.DataFrame({"value_low": low, "value_high": high, "count": counts.counts})
    frame.attrs = {"nan_count": counts.nan, "inf_count": counts.inf}
    return frame


def count_volumes(run: RunFolder, zarr_paths: Mapping[str, str]) -> dict[str, list[counting.Counts] | None]:
    """Count the voxels of volumes in Zarr, one result a channel, padding left out as in the first pass.

    Parameters
    ----------
    run : RunFolder
        Their images are read, chunk by chunk.
    zarr_paths : mapping
        `zarr_path` of each volume, by its `volume_id`.

    Returns
    -------
    dict
        By `volume_id`; None where voxels do not tell padding: where a modality LUT may give the same value to padding
        and to image.
    """
    import dask

    images = {volume: _Image(run, path) for volume, path in zarr_paths.items()}
    chunks = [((volume, c), place) for volume, image in images.items() for c, place in image.chunks()]

    def load(chunk: Chunk) -> dict[Channel, counting.Counts]:
        channel, place = chunk
        return {channel: images[channel[0]].count(place)}

    found: dict[Channel, counting.Counts] = {}
    if chunks:
        with dask.config.set(scheduler="synchronous"):  # one task owns these volumes
            found = reduce_parts(load, _merge, chunks)
    return {
        volume: [found[volume, c] for c in range(image.channels)] if image.tells_padding else None
        for volume, image in images.items()
    }


def _merge(states: list[dict[Channel, counting.Counts]]) -> dict[Channel, counting.Counts]:
    channels = dict.fromkeys(channel for state in states for channel in state)
    return {channel: counting.merge([state[channel] for state in states if channel in state]) for channel in channels}


class _Image:
    """The image of one volume, chunk by chunk."""

    def __init__(self, run: RunFolder, zarr_path: str) -> None:
        self._stored = run.open_volume(zarr_path)
        self._names = self._stored.metadata.dimension_names or ()  # type: ignore[union-attr]
        attributes = run.volume_attributes(zarr_path)["cohort"]
        self.tells_padding = not (attributes.get("modality_lut") and any(attributes["padding"]))
        self.channels = self._length("c")
        self._low = self._high = None
        padding = _padding_values(attributes) if self.tells_padding and self.channels == 1 else None
        if padding is not None:
            shape = [self._length(name) if name in ("t", "z") else 1 for name in self._names]
            frames = np.broadcast_to(padding, (self._length("t") * self._length("z"), 2))
            self._low, self._high = (frames[:, i].reshape(shape) for i in (0, 1))

    def _length(self, name: str) -> int:
        return int(self._stored.shape[self._names.index(name)]) if name in self._names else 1

    def chunks(self) -> Iterator[tuple[int, tuple[slice, ...]]]:
        """Yield the channel of every chunk and where it lies; none where they would not tell padding."""
        steps = zip(self._stored.shape, self._stored.chunks, strict=True)
        edges = [[slice(i, min(i + step, length)) for i in range(0, length, step)] for length, step in steps]
        channel = self._names.index("c") if "c" in self._names else None
        for place in product(*edges) if self.tells_padding else ():
            yield (0 if channel is None else place[channel].start), place

    def count(self, place: tuple[slice, ...]) -> counting.Counts:
        """Count one chunk, which is of one channel."""
        values = np.asarray(self._stored[place])
        if self._low is None or self._high is None:
            return counting.count_values(values)
        frames = tuple(
            part if name in ("t", "z") else slice(None) for name, part in zip(self._names, place, strict=True)
        )
        return counting.count_values(values, (values >= self._low[frames]) & (values <= self._high[frames]))


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
