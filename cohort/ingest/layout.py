"""How a volume lies in Zarr: axes, chunks, and the attributes that describe it (OME-Zarr 0.5)."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.config import MIB

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cohort.values import ValuePlan

Row = dict[str, Any]


def zarr_path(volume: Row) -> str:
    """Return the folder of a volume below `volumes.zarr`: its Modality, cleaned, and its identity."""
    modality = re.sub(r"[^A-Z0-9_]", "_", (volume["Modality"] or "unknown").upper()) or "unknown"
    return f"{'unknown' if modality == 'UNKNOWN' else modality}/{volume['volume_id']}"


class Layout:
    """How an image of (time, channel, slice, row, column) lies in Zarr: axes of length 1 are left out.

    Chunks are whole slices, at most `chunk_mib` of them and all of nearly one size: Zarr fills up the last one, and
    what it is filled with would be compressed too. Shards are whole chunks, likewise. A slab is what is written at
    once: a shard, or where there are none a chunk.
    """

    def __init__(
        self, shape: tuple[int, ...], item_bytes: int, chunk_mib: float, shard_mib: float | None = None
    ) -> None:
        slice_bytes = max(1, shape[3] * shape[4] * item_bytes)
        depth = _evenly(shape[2], int(chunk_mib * MIB // slice_bytes))
        self.slab = depth
        if shard_mib is not None:
            self.slab *= _evenly(math.ceil(shape[2] / depth), int(shard_mib * MIB // (depth * slice_bytes)))
        self._full = shape
        self._kept = [i for i in range(5) if i >= 3 or shape[i] > 1]
        self.axes = tuple("tczyx"[i] for i in self._kept)
        self.shape = tuple(shape[i] for i in self._kept)
        self.chunks = tuple((1, 1, depth, shape[3], shape[4])[i] for i in self._kept)
        stored = tuple((1, 1, self.slab, shape[3], shape[4])[i] for i in self._kept)
        self.shards = None if shard_mib is None else stored
        self.object_count = math.prod(-(-length // part) for length, part in zip(self.shape, stored, strict=True))

    def place(self, t: int, z: int, slices: int) -> tuple[slice, ...]:
        """Return where a slab belongs."""
        full = (slice(t, t + 1), slice(None), slice(z, z + slices), slice(None), slice(None))
        return tuple(full[i] for i in self._kept)

    def fit(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a slab of (channel, slice, row, column) in the axes of the array."""
        return values[np.newaxis].reshape([(1, *values.shape)[i] for i in self._kept])

    def scale(self, volume: Row) -> list[float]:
        """Return the step along each axis: ms and mm, 1 where it is not known."""
        steps = (
            volume["timepoint_step_ms"],
            1.0,
            volume["spacing_slice_mm"],
            volume["spacing_row_mm"],
            volume["spacing_col_mm"],
        )
        return [float(steps[i] or 1.0) for i in self._kept]

    def translation(self, volume: Row) -> list[float]:
        """Return the place of the first voxel along each axis, mm; see `translation_of`."""
        origin = (0.0, 0.0, *translation_of(volume["affine_lps"]))
        return [origin[i] for i in self._kept]


def _evenly(total: int, most: int) -> int:
    """Return the size of parts of nearly one size, none above `most` (but 1)."""
    return math.ceil(total / math.ceil(total / max(1, most)))


def translation_of(affine: list[float] | None) -> tuple[float, float, float]:
    """Return where the first voxel lies along the axes of the image: slice, row, column, mm.

    OME-Zarr 0.5 knows scale and translation alone. Together they place the voxels in patient coordinates (LPS) turned
    into the axes of the image: rows, columns and their normal. For an image along the patient's axes these are the LPS
    coordinates themselves, up to sign; of one that is sheared they hold the true place along the normal.

    Parameters
    ----------
    affine : list of 16 floats or None
        `affine_lps`, row-major; None gives zeros.
    """
    if affine is None:
        return 0.0, 0.0, 0.0
    matrix = np.array(affine, dtype=np.float64).reshape(4, 4)[:3]
    across, down = (matrix[:, i] / np.linalg.norm(matrix[:, i]) for i in (0, 1))
    normal = np.cross(across, down)
    normal *= np.sign(normal @ matrix[:, 2]) / np.linalg.norm(normal)
    z, y, x = (float(axis @ matrix[:, 3]) + 0.0 for axis in (normal, down, across))
    return z, y, x


def ome_attributes(volume: Row, layout: Layout, plan: ValuePlan) -> Row:
    """Return the attributes of the group: OME-Zarr 0.5, and what OME has no words for."""
    known = volume["spacing_row_mm"] is not None
    kinds = {"t": "time", "c": "channel"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in layout.axes]
    for axis in axes:
        if axis["type"] == "space" and known:
            axis["unit"] = "millimeter"
        if axis["type"] == "time" and volume["timepoint_step_ms"] is not None:
            axis["unit"] = "millisecond"
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
