"""The plain program: loops over pydicom, nibabel and NumPy that know nothing of cohort."""

from __future__ import annotations

import gzip
import io
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PERCENTS = {"p0_5": 0.5, "p1": 1, "p5": 5, "p25": 25, "p50": 50, "p75": 75, "p95": 95, "p99": 99, "p99_5": 99.5}


def modality_values(path: Path, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Values after rescale of one DICOM frame, and which of them are padding."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    stored = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        stored = stored[frame]
    elif {"MOSAIC", "VFRAME"} & set(dataset.get("ImageType") or ()):
        stored = tile(dataset, stored, frame)
    padding = np.zeros(stored.shape[:2], bool)
    if dataset.get("PixelPaddingValue") is not None and stored.ndim == 2:
        padding = stored == np.array(dataset.PixelPaddingValue).astype(stored.dtype)
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    if "PerFrameFunctionalGroupsSequence" in dataset:
        groups = [dataset.PerFrameFunctionalGroupsSequence[frame]]
        groups += list(dataset.get("SharedFunctionalGroupsSequence") or [])
        for group in groups:
            if "PixelValueTransformationSequence" in group:
                item = group.PixelValueTransformationSequence[0]
                slope, intercept = item.RescaleSlope, item.RescaleIntercept
                break
    if slope is None and intercept is None:
        return stored, padding
    try:
        slope, intercept = float(1 if slope is None else slope), float(intercept or 0)
    except ValueError:  # text where a number should be
        return stored, padding
    if slope == 0:
        return stored, padding
    return stored.astype(np.float64) * slope + intercept, padding


def tile(dataset: pydicom.Dataset, mosaic: np.ndarray, number: int) -> np.ndarray:
    """One slice of a mosaic; the whole where nothing tells how many there are, or they do not fit."""
    from nibabel.nicom import csareader

    if "VFRAME" in dataset.ImageType:
        slices = int(dataset.private_block(0x0065, "Image Private Header")[0x50].value)
    else:
        slices = csareader.get_n_mosaic(csareader.get_csa_header(dataset, "image") or {"tags": {}})
    if not slices:
        return mosaic
    across = int(np.ceil(np.sqrt(slices)))
    down = int(np.ceil(slices / across)) if "VFRAME" in dataset.ImageType else across
    if mosaic.shape[0] % down or mosaic.shape[1] % across:
        return mosaic
    bands = np.split(mosaic, down, axis=0)
    return np.split(bands[number // across], across, axis=1)[number % across]


def same_image(values: np.ndarray, affine: np.ndarray, other: np.ndarray, other_affine: np.ndarray) -> bool:
    """Whether two images (x, y, z, time) have equal values at equal places; axes may be turned and reversed."""
    if values.size != other.size:
        return False
    turned = np.linalg.inv(other_affine) @ affine  # index -> index of the other
    steps, start = np.round(turned[:3, :3]), np.round(turned[:3, 3])
    if not np.allclose(turned[:3], np.column_stack([steps, start]), atol=0.01):
        return False
    index = np.indices(values.shape[:3]).reshape(3, -1)
    x, y, z = (steps @ index + start[:, None]).astype(int)
    limits = np.array(other.shape[:3])[:, None]
    if np.any(np.array([x, y, z]) < 0) or np.any(np.array([x, y, z]) >= limits):
        return False
    return bool(np.array_equal(other[x, y, z].reshape(values.shape), values))


def statistics(values: Iterable[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Counts per value, moments and percentiles of all values that are not padding."""
    kept, padded = [], 0
    for block, padding in values:
        kept.append(block[~padding].ravel())
        padded += int(padding.sum())
    flat = np.concatenate(kept)
    found: dict[str, Any] = {"count": flat.size, "padding_count": padded}
    if flat.size:
        found |= {"min": flat.min(), "max": flat.max(), "mean": flat.astype(np.float64).sum() / flat.size}
        found |= {name: np.percentile(flat, p, method="inverted_cdf") for name, p in PERCENTS.items()}
        found["std"] = flat.astype(np.float64).std()
        found["histogram"] = Counter(dict(zip(*(a.tolist() for a in np.unique(flat, return_counts=True)), strict=True)))
    return found


def said(header: Dataset, frame: int, *path: str) -> Any:
    """What the groups of a frame say, or those all frames share, or the top level."""
    owners = [header]
    for name, index in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        if name in header:
            owners.insert(0, header[name].value[index])
    for owner in owners:
        item = owner
        for sequence in path[:-1] if owner is not header else ():
            item = item[sequence].value[0] if sequence in item else Dataset()
        if path[-1] in item:
            return item[path[-1]].value
    return None


def place(header: Dataset, frame: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Position and normal of a frame, as its kind of object gives them."""
    cosines = said(header, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = said(header, frame, "PlanePositionSequence", "ImagePositionPatient")
    if header.Modality == "NM" and "SliceVector" in header:
        detector = header.DetectorInformationSequence[0]
        cosines, position = detector.ImageOrientationPatient, detector.ImagePositionPatient
    if cosines is None or position is None:
        return None
    axes, at = np.array(cosines, float), np.array(position, float)
    normal = np.cross(axes[:3], axes[3:])
    if header.Modality == "NM":
        at = at + normal * float(header.SpacingBetweenSlices) * (header.SliceVector[frame] - 1)
    if "GridFrameOffsetVector" in header:
        offsets = np.array(header.GridFrameOffsetVector, float)
        at = np.array([at[0], at[1], offsets[frame]]) if offsets[0] == at[2] else at + normal * offsets[frame]
    return at, normal


def frames_of(path: Path) -> Iterator[tuple[bytes, tuple[np.ndarray, np.ndarray] | None]]:
    """Modality values of every frame of a file, and its place."""
    header = pydicom.dcmread(path)
    if not {"PixelData", "FloatPixelData"} & set(header.dir()):
        return
    count = int(header.get("NumberOfFrames", 1))
    stored = header.pixel_array.astype(float)
    shape = (count, header.Rows, header.Columns, header.SamplesPerPixel)
    for frame, values in enumerate(np.moveaxis(stored.reshape(shape), -1, 1)):
        slope = said(header, frame, "PixelValueTransformationSequence", "RescaleSlope") or header.get("DoseGridScaling")
        intercept = said(header, frame, "PixelValueTransformationSequence", "RescaleIntercept")
        values = values * float(slope or 1) + float(intercept or 0)
        yield values.tobytes(), place(header, frame)
