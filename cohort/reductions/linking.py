"""Which image a mask belongs to: one frame of reference or one name, and the same grid."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

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
    """Yield every mask with each image on whose grid it lies, or with the reason why there is none."""
    volumes = [row for row in run.read("volumes", list(_VOLUME)).to_pylist() if row["zarr_path"] is not None]
    series = run.read("series", ["series_key", "FrameOfReferenceUID", "SOPClassUID"]).to_pylist()
    of_series = {row["series_key"]: row for row in series}
    names = _names(run)
    images: dict[Any, list[Row]] = {}
    for row in volumes:
        if row["Modality"] != _MASK and row["channels"] == 1 and row["timepoints"] == 1:
            images.setdefault(_key(row, of_series, names), []).append(row)
    for mask in sorted((row for row in volumes if row["Modality"] == _MASK), key=lambda row: row["volume_id"]):
        reason = _unusable(mask, of_series)
        if reason:
            yield Link(mask, reason=reason)
            continue
        key = _key(mask, of_series, names)
        candidates = images.get(key, []) if key is not None else []
        by = "name" if mask["format"] == "nifti" else "frame_of_reference"
        found = [(image, offset) for image in candidates if (offset := offset_in(mask, image)) is not None]
        if not found:
            yield Link(mask, reason="geometry_differs" if candidates else "no_image")
        for image, offset in sorted(found, key=lambda pair: pair[0]["volume_id"]):
            yield Link(mask, image, by, offset)


def _unusable(mask: Row, of_series: dict[str, Row]) -> str | None:
    if np.dtype(mask["dtype"]).kind not in "iu":
        return "labels_not_whole"
    storage = of_series[mask["series_key"]]["SOPClassUID"]
    if storage == _SEGMENTATION_STORAGE and mask["stored_dtype"] != "uint1":
        return "fractional"
    if mask["channels"] != 1 or mask["timepoints"] != 1:
        return "mask_not_3d"
    return None


def _key(row: Row, of_series: dict[str, Row], names: dict[str, Any]) -> Any:
    """Return what a mask and its images have in common; None where nothing is told."""
    if row["format"] == "nifti":
        return names.get(row["volume_id"])
    return of_series[row["series_key"]]["FrameOfReferenceUID"] or None


def _names(run: RunFolder) -> dict[str, Any]:
    """Return the name that tells what each NIfTI image is of."""
    import pyarrow.parquet as pq

    found = {}
    wanted = [("format", "==", "nifti"), ("role", "==", "image")]
    for part in run.parts("frames"):
        table = pq.read_table(part, columns=["volume_id", "source", "path_raw"], filters=wanted, partitioning=None)
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
    if mask["affine_lps"] is None or image["affine_lps"] is None or not (_is_regular(mask) and _is_regular(image)):
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


def _is_regular(row: Row) -> bool:
    return bool(row["slices"] == 1 or row["regularly_spaced_3d_volume"] is not False)


def _affine(row: Row) -> NDArray[np.float64]:
    return np.array(row["affine_lps"], np.float64).reshape(4, 4)


def voxel_ml(mask: Row) -> float | None:
    """Return the volume of a voxel in mL; None where a single slice has no thickness."""
    if mask["slices"] == 1 and mask["format"] == "dicom" and mask["slice_thickness_mm"] is None:
        return None
    return float(abs(np.linalg.det(_affine(mask)[:3, :3]))) / 1000.0
