"""The plain program: loops over pydicom, nibabel and NumPy that know nothing of cohort."""

from __future__ import annotations

import gzip
import io
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator

if TYPE_CHECKING:
    from collections.abc import Iterable
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


# -- headers ---------------------------------------------------------------------------------------------------


PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)


@dataclass
class Header:
    """What pydicom reads of one object, by the names of columns."""

    values: dict[str, Any]
    """Of the attributes that are there; None where the type of the column cannot show that it is empty."""
    unparsed: set[str]
    """Attributes that are there, with a value that is none of the column's type."""
    frames: dict[str, list[Any]]
    """Values of the functional groups, one entry a frame; None where a frame has none."""
    common: dict[str, Any]
    """What the shared functional group, or else that of the first frame, says of all of them."""
    region: tuple[float, float] | None
    """Row and column spacing, in mm, of the first ultrasound region that has one."""
    pixels: tuple[int | None, int | None] | None
    """Offset and length (None: undefined, or in a compressed object) of the pixel values; None where there are none."""
    transfer_syntax: str | None


def header(data: bytes, columns: Iterable[tuple[str, str]]) -> Header:
    """Read a header with `dcmread` alone; `columns` are keywords and types. Raises whatever pydicom raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = io.BytesIO(data)
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        pixels = pixels_at(file, dataset)
        values, unparsed = {}, set()
        for name, kind in columns:
            if name not in dataset:
                continue
            try:
                values[name] = as_column(dataset[name], kind)
            except Exception:
                unparsed.add(name)
        syntax = dataset.file_meta.get("TransferSyntaxUID")
        own, shared = groups_of(dataset)
        frames = frame_values(own, shared, values.get("NumberOfFrames"))
        common = {name: group_value(shared + own[:1], [place], name) for name, place in COMMON_PLACES.items()}
        region = next(filter(None, map(region_spacing, items_of(dataset, "SequenceOfUltrasoundRegions"))), None)
        return Header(values, unparsed, frames, common, region, pixels, str(syntax) if syntax else None)


def pixels_at(file: io.BytesIO, dataset: pydicom.Dataset) -> tuple[int | None, int | None] | None:
    """Offset and length of the pixel values, before which pydicom stopped."""
    if dataset.file_meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian:
        whole = pydicom.dcmread(io.BytesIO(file.getvalue()))
        return (None, None) if any(tag in whole for tag in PIXELS) else None
    found = []

    def here(tag: int, vr: str | None, length: int) -> bool:
        if tag in PIXELS:
            found.append((file.tell(), None if length == 0xFFFFFFFF else length))
        return True

    list(data_element_generator(file, *dataset.original_encoding, stop_when=here))
    return found[0] if found else None


def as_column(element: pydicom.DataElement, kind: str) -> Any:
    """The value of an element as a column of that type holds it; raises where it is none."""
    if element.VR == "SQ":
        raise TypeError("items")
    value = element.value
    if isinstance(value, str | bytes | None) and not value:
        values = []
    else:
        values = list(value) if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
    if kind.startswith("list<"):
        return [one_value(item, kind[5:-1]) for item in values]
    if len(values) > 1:
        raise ValueError("several")
    if not values:
        return "" if kind == "string" else None
    return one_value(values[0], kind)


def one_value(value: Any, kind: str) -> Any:
    if kind == "float64":
        return float(value)
    if kind == "int64":
        whole = int(value)
        if float(value) != float(whole) or whole.bit_length() > 63:
            raise ValueError("no 64-bit integer")
        return whole
    if isinstance(value, bytes):
        raise TypeError("bytes")
    return str(value)


# Attribute of a frame -> sequences of its functional group that may hold it (PS3.3 C.7.6.16, C.8.13, C.8.15, C.8.20)
FRAME_PLACES = {
    "ImagePositionPatient": ["PlanePositionSequence"],
    "ImageOrientationPatient": ["PlaneOrientationSequence"],
    "PixelSpacing": ["PixelMeasuresSequence"],
    "SliceThickness": ["PixelMeasuresSequence"],
    "RescaleSlope": ["PixelValueTransformationSequence"],
    "RescaleIntercept": ["PixelValueTransformationSequence"],
    "StackID": ["FrameContentSequence"],
    "InStackPositionNumber": ["FrameContentSequence"],
    "TemporalPositionIndex": ["FrameContentSequence"],
    "FrameAcquisitionNumber": ["FrameContentSequence"],
    "EffectiveEchoTime": ["MREchoSequence"],
    "DiffusionBValue": ["MRDiffusionSequence"],
    "FrameType": [
        "MRImageFrameTypeSequence",
        "CTImageFrameTypeSequence",
        "PETFrameTypeSequence",
        "ParametricMapFrameTypeSequence",
    ],
    "NominalCardiacTriggerDelayTime": ["CardiacSynchronizationSequence"],
    "ReferencedSegmentNumber": ["SegmentIdentificationSequence"],
}
COMMON_PLACES = {"RescaleType": "PixelValueTransformationSequence", "SpacingBetweenSlices": "PixelMeasuresSequence"}
_MANY_FRAMES = 10_000


def items_of(dataset: pydicom.Dataset, name: str) -> list[pydicom.Dataset]:
    try:
        return list(dataset[name].value) if dataset[name].VR == "SQ" else []
    except Exception:  # not there, or not to be read
        return []


def groups_of(dataset: pydicom.Dataset) -> tuple[list[pydicom.Dataset], list[pydicom.Dataset]]:
    """Functional groups per frame, and the shared one."""
    shared = items_of(dataset, "SharedFunctionalGroupsSequence")
    return items_of(dataset, "PerFrameFunctionalGroupsSequence"), shared[:1]


def frame_values(own: list[pydicom.Dataset], shared: list[pydicom.Dataset], count: int | None) -> dict[str, list[Any]]:
    """Values of every frame: from its own functional group, else from the shared one."""
    frames = max(1, count or 1)
    if not (own or shared) or frames > _MANY_FRAMES:
        return {}
    found = {}
    for name, places in FRAME_PLACES.items():
        values = [group_value(own[i : i + 1], places, name) for i in range(frames)]
        common = group_value(shared, places, name)
        values = [common if value is None else value for value in values]
        if any(value is not None for value in values):
            found[name] = values
    return found


def group_value(groups: list[pydicom.Dataset], places: list[str], name: str) -> Any:
    """The first value there is in some functional groups."""
    for group in groups:
        for place in places:
            item = next(iter(items_of(group, place)), None)
            if item is None or name not in item:
                continue
            try:
                value = frame_value(item[name].value, name)
            except Exception:
                value = None
            if value is not None:
                return value
            break
    return None


def frame_value(value: Any, name: str) -> Any:
    if value is None or value == "":
        return None
    if name == "FrameType":
        return value if isinstance(value, str) else "\\".join(value)
    if name in ("StackID", "RescaleType"):
        return str(value)
    if name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        return [float(number) for number in value]
    if name in ("InStackPositionNumber", "TemporalPositionIndex", "FrameAcquisitionNumber", "ReferencedSegmentNumber"):
        return one_value(value, "int64")
    return float(value)


def region_spacing(region: pydicom.Dataset) -> tuple[float, float] | None:
    """Spacing of a two-dimensional region (1) measured in centimetres (3), PS3.3 C.8.5.5."""
    try:
        if int(region.RegionSpatialFormat) != 1 or int(region.PhysicalUnitsXDirection) != 3:
            return None
        if int(region.PhysicalUnitsYDirection) != 3:
            return None
        return abs(float(region.PhysicalDeltaY)) * 10, abs(float(region.PhysicalDeltaX)) * 10
    except Exception:
        return None
