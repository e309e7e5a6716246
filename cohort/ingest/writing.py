"""One volume from its source frames into Zarr, counted on the way."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import counting
from cohort.errors import ConservationError, RejectedError
from cohort.ingest.frames import VolumeFrames
from cohort.ingest.layout import Layout, ome_attributes, zarr_path
from cohort.values import OUT_OF_TYPE, plan_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cohort.config import Config
    from cohort.store import PendingVolume
    from cohort.values import ValuePlan

Row = dict[str, Any]
Written = tuple[Row, list[counting.Counts]]


def write_volume(pending: PendingVolume, volume: Row, frames: list[Row], inputs: str, config: Config) -> Written:
    """Read, convert, write, hash and count a volume, slab by slab, and commit it.

    Where its values may need more bits than are stored but hardly ever do (CT of 16 bits with an intercept of -1024),
    the volume is written in as many bits as are stored, and anew in the wider type should a value not fit.

    Parameters
    ----------
    pending : PendingVolume
        Where it goes.
    volume : dict
        Its row of `volumes`.
    frames : list of dict
        Its rows of `frames`, in order of time and place.
    inputs : str
        Digest of what the stage was made from, for the commit record.
    config : Config
        Sections `scan` and `ingest` are used.

    Returns
    -------
    tuple
        Columns of `outcomes`, and the counts of each channel.

    Raises
    ------
    RejectedError
        If it cannot be used; QuarantinedError, OSError and whatever decoders throw come through.
    ConservationError
        If voxels do not add up.
    """
    with VolumeFrames(volume, frames, config) as stack:
        plan = plan_values(stack.first(), frames, volume)
        narrow = plan.narrowed()
        if narrow is None:
            return _write(pending, volume, stack, plan, inputs, config)
        try:
            return _write(pending, volume, stack, narrow, inputs, config)
        except RejectedError as rejection:
            if rejection.reason != OUT_OF_TYPE:
                raise
            pending.drop()
            stack.rewind()
            return _write(pending, volume, stack, plan, inputs, config)


def _write(
    pending: PendingVolume, volume: Row, stack: VolumeFrames, plan: ValuePlan, inputs: str, config: Config
) -> Written:
    shape = stack.shape
    options = config.ingest
    layout = Layout(shape, plan.dtype.itemsize, options.chunk_mib, options.shard_mib)
    attributes = ome_attributes(volume, layout, plan)
    codec = (options.compression, options.compression_level)
    array = pending.create(layout.shape, layout.chunks, plan.dtype.name, layout.axes, attributes, codec, layout.shards)
    content = hashlib.sha256(f"{plan.dtype.str} {shape}".encode())
    counts = [counting.empty(plan.kind) for _ in range(shape[1])]
    for t in range(shape[0]):
        for z in range(0, shape[2], layout.slab):
            values, padding = stack.slab(t, z, min(z + layout.slab, shape[2]), plan)
            array[layout.place(t, z, values.shape[1])] = layout.fit(values)
            content.update(_raw(values))
            for c in range(shape[1]):
                counts[c] = counting.merge([counts[c], counting.count_values(values[c], padding)])
    _check_voxels(counts, shape)
    stack.close()  # only now is known that the sources are whole
    digest = content.hexdigest()
    attributes["cohort"] |= {"decoder": stack.decoder, "content_sha256": digest}
    pending.update_attributes(attributes)
    pending.commit({
        "volume_id": volume["volume_id"], "shape": layout.shape, "dtype": plan.dtype.name,
        "chunks": layout.object_count, "content_sha256": digest, "inputs": inputs,
    })  # fmt: skip
    outcome = {
        "dtype": plan.dtype.name, "zarr_path": zarr_path(volume), "content_sha256": digest, "decoder": stack.decoder,
    }  # fmt: skip
    return outcome, counts


def _raw(values: NDArray[Any]) -> memoryview:
    """Return the bytes of a slab, slice by slice, channels together; not copied where there is one channel."""
    block: Any = np.ascontiguousarray(np.swapaxes(values, 0, 1))
    return memoryview(block).cast("B")


def _check_voxels(counts: list[counting.Counts], shape: tuple[int, ...]) -> None:
    voxels, counted = math.prod(shape), sum(c.seen for c in counts)
    if counted != voxels:
        raise ConservationError(f"{voxels} voxels were read, {counted} counted; please report this")
