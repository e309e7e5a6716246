"""Which image a mask belongs to: one frame of reference or one name, and the same grid."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cohort.store import batches_of, read_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cohort.store import RunFolder

Row = dict[str, Any]

_MASK = "SEG"
_SEGMENTATION_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
_SAME_VOXEL = 0.05  # voxels: headers round positions and cosines
_VOLUME = (
    "volume_id", "series_key", "Modality", "format", "zarr_path", "rows", "columns", "slices", "timepoints", "channels",
    "dtype", "stored_dtype", "value_unit", "affine_lps", "regularly_spaced_3d_volume", "slice_thickness_mm",
)  # fmt: skip

# What names add to tell a mask from its image: BIDS suffixes, and words of common data sets (case_0000, case_seg).
_ADDED = re.compile(r"[-_. ](seg|dseg|probseg|segmentation|mask|label|labels|lesion|roi|gt|\d{4})$", re.IGNORECASE)
_FOLDERS = re.compile(r"(images?|labels?|masks?|segmentations?)(tr|ts|val)?", re.IGNORECASE)
_ENDINGS = re.compile(r"(\.nii\.gz|\.hdr\.gz|\.nii|\.hdr)$", re.IGNORECASE)
_SUBJECT = re.compile(r"^(sub-[0-9A-Za-z]+)(?:_(ses-[0-9A-Za-z]+))?_")


@dataclass(frozen=True)
class Link:
    """A mask, and the image it belongs to or the reason why there is none.

    Parameters
    ----------
    mask, image : dict
        Rows of `volumes`.
    linked_by : str or None
        `frame_of_reference` or `name`.
    offset : tuple of int
        Slice, row and column of the image at which the mask begins.
    reason : str or None
        Why the labels cannot be counted.
    """

    mask: Row
    image: Row | None = None
    linked_by: str | None = None
    offset: tuple[int, int, int] = (0, 0, 0)
    reason: str | None = None


def links_of(run: RunFolder) -> Iterator[Link]:
    """Yield every mask in Zarr with each image there on whose grid it lies, or with the reason why there is none."""
    storage = dict(zip(*_columns(run, "series", ["series_key", "SOPClassUID"]), strict=True))
    for mask, related in masks_of(run):
        if mask["zarr_path"] is None:
            continue
        reason = _unusable(mask, storage[mask["series_key"]])
        if reason:
            yield Link(mask, reason=reason)
            continue
        images = [image for image in related if image["zarr_path"] is not None]
        by = "name" if mask["format"] == "nifti" else "frame_of_reference"
        found = [(image, offset) for image in images if (offset := offset_in(mask, image)) is not None]
        if not found:
            yield Link(mask, reason="geometry_differs" if images else "no_image")
        for image, offset in found:
            yield Link(mask, image, by, offset)


def masks_of(run: RunFolder) -> Iterator[tuple[Row, list[Row]]]:
    """Yield every mask with the images it may belong to: of its frame of reference, or named as it is.

    Both are rows of `volumes`, in the order of `volume_id`. Only images that some mask may belong to are in memory.
    """
    masks = _volumes(run, pc.field("Modality") == _MASK)
    if not masks:
        return
    frames = dict(zip(*_columns(run, "series", ["series_key", "FrameOfReferenceUID"]), strict=True))
    names = _names(run) if any(row["format"] == "nifti" for row in masks) else {}
    keys = {row["volume_id"]: _key(row, frames, names) for row in masks}
    wanted = {key for key in keys.values() if key is not None}
    of_series = [series for series, frame in frames.items() if frame in wanted]
    of_names = [volume for volume, name in names.items() if name in wanted]
    may_belong = _is_in("series_key", of_series) | _is_in("volume_id", of_names)
    single = (pc.field("channels") == 1) & (pc.field("timepoints") == 1)
    images: dict[Any, list[Row]] = {}
    no_mask = (pc.field("Modality") != _MASK) | pc.field("Modality").is_null()
    for row in _volumes(run, may_belong & single & no_mask):
        images.setdefault(_key(row, frames, names), []).append(row)
    for mask in masks:
        key = keys[mask["volume_id"]]
        yield mask, [] if key is None else images.get(key, [])


def _volumes(run: RunFolder, wanted: pc.Expression) -> list[Row]:
    rows = [row for batch in batches_of(run.parts("volumes"), _VOLUME, wanted) for row in batch.to_pylist()]
    return sorted(rows, key=lambda row: str(row["volume_id"]))


def _is_in(column: str, wanted: list[str]) -> pc.Expression:
    return pc.field(column).isin(pa.array(wanted, pa.string()))


def _columns(run: RunFolder, table: str, names: list[str]) -> list[list[Any]]:
    found = run.read(table, names)
    return [found[name].to_pylist() for name in names]


def _unusable(mask: Row, storage: str | None) -> str | None:
    if np.dtype(mask["dtype"]).kind not in "iu":
        return "labels_not_whole"
    if storage == _SEGMENTATION_STORAGE and mask["stored_dtype"] != "uint1":
        return "fractional"
    if mask["channels"] != 1 or mask["timepoints"] != 1:
        return "mask_not_3d"
    return None


def _key(row: Row, frames: dict[str, str | None], names: dict[str, Any]) -> Any:
    """Return what a mask and its images have in common; None where nothing is told."""
    if row["format"] == "nifti":
        return names.get(row["volume_id"])
    return frames[row["series_key"]] or None


def _names(run: RunFolder) -> dict[str, Any]:
    """Return the name that tells what each NIfTI image is of."""
    found = {}
    wanted = [("format", "==", "nifti"), ("role", "==", "image")]
    for part in run.parts("frames"):
        table = read_part(part, columns=["volume_id", "source", "path_raw"], filters=wanted)
        for volume, source, path in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
            found[volume] = (source, *subject_of(os.fsdecode(path)))
    return found


def subject_of(path: str) -> tuple[str, str]:
    """Return the data set and the subject that a path of NIfTI tells of.

    Parameters
    ----------
    path : str
        Path below the root, `/`-separated.

    Returns
    -------
    tuple of str
        Of a BIDS name the folder that holds `sub-*` or `derivatives`, and subject with session; of any other the folder
        (that above `imagesTr`, `labelsTr` and the like) and the name without what tells masks and channels.
    """
    *folders, name = path.split("/")
    stem = _ENDINGS.sub("", name)
    subject = _SUBJECT.match(stem)
    if subject is not None:
        ends = (i for i, folder in enumerate(folders) if folder == "derivatives" or folder.startswith("sub-"))
        return "/".join(folders[: next(ends, len(folders))]), "_".join(filter(None, subject.groups()))
    if folders and _FOLDERS.fullmatch(folders[-1]):
        folders.pop()
    while _ADDED.search(stem):
        stem = _ADDED.sub("", stem)
    return "/".join(folders), stem


def offset_in(mask: Row, image: Row) -> tuple[int, int, int] | None:
    """Return slice, row and column of the image at which the mask begins; None where it is on another grid.

    The mask may leave out slices at the ends, rows and columns at the edges; nothing is resampled or turned.
    """
    if not (has_grid(mask) and has_grid(image)):
        return None
    from_image, from_mask = _affine(image), _affine(mask)
    turned = np.linalg.solve(from_image, from_mask)
    extent = np.array([mask["columns"], mask["rows"], mask["slices"]])
    corner = np.where(extent > 1, extent - 1, 0)
    begin, end = turned[:3, 3], turned[:3] @ np.append(corner, 1)
    steps = turned[:3, :3] * corner  # how far each axis of the mask leads, in voxels of the image
    offset = np.round(begin)
    size = np.array([image["columns"], image["rows"], image["slices"]])
    same = (
        np.abs(begin - offset).max() <= _SAME_VOXEL
        and np.abs(end - (offset + corner)).max() <= _SAME_VOXEL
        and np.abs(steps - np.diag(corner)).max() <= _SAME_VOXEL
    )
    if not same or np.any(offset < 0) or np.any(offset + extent > size):
        return None
    column, row, place = (int(number) for number in offset)
    return place, row, column


def lies_in(mask: Row, image: Row) -> bool:
    """Whether the voxels of a mask are voxels of the image; a mask may leave out slices in between, evenly."""
    if offset_in(mask, image) is not None:
        return True
    if mask["slices"] == 1 or not (has_grid(mask) and has_grid(image)):
        return False
    along = np.linalg.solve(_affine(image)[:3, :3], _affine(mask)[:3, 2])
    step = int(np.round(along[2]))
    if step < 2:
        return False
    filled = _affine(mask)
    filled[:3, 2] /= step
    whole = mask | {"affine_lps": filled.ravel().tolist(), "slices": (mask["slices"] - 1) * step + 1}
    return offset_in(whole, image) is not None


def has_grid(row: Row) -> bool:
    """Whether one affine tells where every voxel of a volume lies."""
    return row["affine_lps"] is not None and bool(row["slices"] == 1 or row["regularly_spaced_3d_volume"] is not False)


def _affine(row: Row) -> NDArray[np.float64]:
    return np.array(row["affine_lps"], np.float64).reshape(4, 4)


def voxel_ml(mask: Row) -> float | None:
    """Return the volume of a voxel in mL; None where a single slice has no thickness."""
    if mask["slices"] == 1 and mask["format"] == "dicom" and mask["slice_thickness_mm"] is None:
        return None
    return float(abs(np.linalg.det(_affine(mask)[:3, :3]))) / 1000.0
