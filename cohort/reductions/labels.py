"""Labels: what the image holds under each label of a mask, and how large the label is. Reads Zarr."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import counting
from cohort.linking import Link, links_of, voxel_ml
from cohort.reductions.grouping import groups_of, header_values
from cohort.reductions.histograms import Grouped, merge_grouped
from cohort.reductions.tree import reduce_parts
from cohort.reductions.voxels import frame_padding
from cohort.schema import LABELS
from cohort.store import open_part, read_part, table_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from cohort.store import Artefact, RunFolder

Row = dict[str, Any]
Segments = dict[str, dict[int, int]]
"""Volume of a binary segmentation -> slice -> number of the segment it shows."""

_SLAB_VOXELS = 1 << 24  # of the mask, read at once
_LINKS_PER_PART = 16
_BACKGROUND = 0


def label_statistics(run: RunFolder, groupings: Sequence[str], scratch: str) -> tuple[Artefact, dict[str, Grouped]]:
    """Count the values of images under the labels of their masks.

    Parameters
    ----------
    run : RunFolder
        Volumes in Zarr are read; `statistics/labels.parquet` is written.
    groupings : sequence of str
        Attributes of the image by which histograms are grouped.
    scratch : str
        Folder of the run for what is put together at the end.

    Returns
    -------
    tuple
        The table, and per grouping the counts, whose view is `label N`.
    """
    links = list(links_of(run))
    segments = _segments(run, links)
    images = sorted({link.image["volume_id"] for link in links if link.image is not None})
    groups = groups_of(run, groupings, images, header_values(run, groupings)) if images else {}
    parts = [
        (number, [(link, segments.get(link.mask["volume_id"]), _group(link, groups)) for link in batch])
        for number, batch in enumerate(_batches(links))
    ]
    counted: dict[str, Grouped] = {}
    if parts:
        load = partial(_count_part, run=run, groupings=tuple(groupings), scratch=scratch)
        counted = reduce_parts(load, _merge, parts)
    names = [_part_name(scratch, number) for number, _ in parts]
    tables = (read_part(run.path / name) for name in names)
    return run.write_tables("statistics/labels.parquet", LABELS.arrow(), tables), counted


def _batches(links: list[Link]) -> list[list[Link]]:
    return [links[i : i + _LINKS_PER_PART] for i in range(0, len(links), _LINKS_PER_PART)]


def _group(link: Link, groups: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    return () if link.image is None else groups[link.image["volume_id"]]


def _part_name(scratch: str, number: int) -> str:
    return f"{scratch}/labels-{number:05d}.parquet"


def _segments(run: RunFolder, links: list[Link]) -> Segments:
    """Return the number of the segment that each slice of a binary segmentation shows.

    Mostly it is one: segments at the same places are volumes of their own. Those that do not overlap may be one volume.
    """
    masks = [link.mask["volume_id"] for link in links if link.mask["stored_dtype"] == "uint1"]
    if not masks:
        return {}
    shown: dict[tuple[str, bytes], list[tuple[str, int, int]]] = {}
    wanted = [("volume_id", "in", masks), ("role", "==", "image")]
    names = ["source", "path_raw", "volume_id", "slice", "frame"]
    for part in run.parts("frames"):
        table = read_part(part, columns=names, filters=wanted)
        for source, path, *place in zip(*(table[name].to_pylist() for name in names), strict=True):
            volume, number, frame = place
            shown.setdefault((source, path), []).append((volume, number, frame or 0))
    found: dict[str, dict[int, int]] = {}
    columns = ["source", "path_raw", "frame_ReferencedSegmentNumber"]
    for part in run.parts("files"):
        table = open_part(part).read(columns=columns).drop_null()
        for source, path, numbers in zip(*(table[name].to_pylist() for name in columns), strict=True):
            for volume, number, frame in shown.get((source, path), ()):
                if frame < len(numbers):
                    found.setdefault(volume, {})[number] = numbers[frame]
    return found


Part = tuple[int, list[tuple[Link, "dict[int, int] | None", tuple[str, ...]]]]


def _count_part(part: Part, *, run: RunFolder, groupings: tuple[str, ...], scratch: str) -> dict[str, Grouped]:
    """Count the labels of some masks, write their rows, and return their counts by group."""
    number, links = part
    rows: list[Row] = []
    states: list[dict[str, Grouped]] = []
    for link, segments, group in links:
        identity = {"mask_volume_id": link.mask["volume_id"], "linked_by": link.linked_by, "reason": link.reason}
        if link.image is None:
            rows.append(identity)
            continue
        identity["image_volume_id"] = link.image["volume_id"]
        size = voxel_ml(link.mask)
        found = _count_labels(run, link, segments or {})
        if not found:
            rows.append(identity | {"reason": "empty_mask"})
        for label, (voxels, counts) in sorted(found.items()):
            volume = None if size is None else voxels * size
            rows.append(
                identity
                | {"label": label, "voxels": voxels, "volume_ml": volume, "value_unit": link.image["value_unit"]}
                | counting.summarise(counts, {"p5": 5.0, "p50": 50.0, "p95": 95.0})
            )
            key = (0, link.image["value_unit"], counts.kind, f"label {label}")
            states.append({name: {((group[i],), *key): counts} for i, name in enumerate(groupings)})
    run.write_table(_part_name(scratch, number), table_of(rows, LABELS.arrow()))
    return _merge(states)


def _merge(states: list[dict[str, Grouped]]) -> dict[str, Grouped]:
    names = dict.fromkeys(name for state in states for name in state)
    return {name: merge_grouped([state[name] for state in states if name in state]) for name in names}


def _count_labels(run: RunFolder, link: Link, segments: dict[int, int]) -> dict[int, tuple[int, counting.Counts]]:
    """Return per label of a mask its voxels, and the counts of the image there."""
    assert link.image is not None
    mask, image = (run.open_volume(row["zarr_path"]) for row in (link.mask, link.image))
    padding = frame_padding(run.volume_attributes(link.image["zarr_path"])["cohort"], link.image["slices"])
    rows, columns, slices = (link.mask[name] for name in ("rows", "columns", "slices"))
    step = max(1, _SLAB_VOXELS // (rows * columns))
    place, row, column = link.offset
    found: dict[int, list[tuple[int, counting.Counts]]] = {}
    for start in range(0, slices, step):
        stop = min(start + step, slices)
        labels = _block(mask, slice(start, stop), slice(0, rows), slice(0, columns))
        if segments:
            numbers = np.array([segments.get(z, 1) for z in range(start, stop)])
            labels = np.where(labels != _BACKGROUND, numbers[:, np.newaxis, np.newaxis], _BACKGROUND)
        here = slice(place + start, place + stop)
        values = _block(image, here, slice(row, row + rows), slice(column, column + columns))
        left_out = None
        if padding is not None:
            low, high = (padding[here, i, np.newaxis, np.newaxis] for i in (0, 1))
            left_out = (values >= low) & (values <= high)
        for value, part, hidden in _by_label(labels, values, left_out):
            found.setdefault(value, []).append((part.size, counting.count_values(part, hidden)))
    return {v: (sum(n for n, _ in many), counting.merge([counts for _, counts in many])) for v, many in found.items()}


def _block(array: Any, z: slice, y: slice, x: slice) -> NDArray[Any]:
    """Read slices, rows and columns of a volume whose axes of length 1 were left out."""
    values = np.asarray(array[(z, y, x)[-array.ndim :]])
    return values if values.ndim == 3 else values[np.newaxis]


def _by_label(
    labels: NDArray[Any], values: NDArray[Any], left_out: NDArray[np.bool_] | None
) -> list[tuple[int, NDArray[Any], NDArray[np.bool_] | None]]:
    """Part values by their labels; the background is left out."""
    inside = labels != _BACKGROUND
    marked, chosen = labels[inside], values[inside]
    hidden = None if left_out is None else left_out[inside]
    if marked.size == 0:
        return []
    order = np.argsort(marked, kind="stable")
    marked, chosen = marked[order], chosen[order]
    cuts = np.flatnonzero(marked[1:] != marked[:-1]) + 1
    starts = [0, *cuts.tolist()]
    pieces = np.split(chosen, cuts)
    masks = [None] * len(pieces) if hidden is None else np.split(hidden[order], cuts)
    return [(int(marked[start]), piece, mask) for start, piece, mask in zip(starts, pieces, masks, strict=True)]
