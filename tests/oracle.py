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
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator

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
    try:
        stored = dataset.pixel_array
    except RuntimeError:  # pydicom has no decoder of JPEG lossless
        return values_by_simpleitk(path, dataset, frame)
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


def values_by_simpleitk(path: Path, dataset: pydicom.Dataset, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """The same of a frame that GDCM decodes and rescales; padding is known by its value after rescale."""
    import SimpleITK

    values = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[frame]
    padding = np.zeros(values.shape[:2], bool)
    if dataset.get("PixelPaddingValue") is not None:
        slope, intercept = dataset.get("RescaleSlope", 1), dataset.get("RescaleIntercept", 0)
        padding = values == float(dataset.PixelPaddingValue) * float(slope) + float(intercept)
    return values, padding


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
    detector: dict[str, Any]
    """Position and orientation of the first detector of nuclear medicine."""
    region: tuple[float, float] | None
    """Row and column spacing, in mm, of the first ultrasound region that has one."""
    items: dict[str, Any]
    """Attributes of the first item of some sequences of the top level."""
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
        common = {name: group_value(shared + own[:1], places, name) for name, places in COMMON_PLACES.items()}
        region = next(filter(None, map(region_spacing, items_of(dataset, "SequenceOfUltrasoundRegions"))), None)
        places = ("ImagePositionPatient", "ImageOrientationPatient")
        detectors = items_of(dataset, "DetectorInformationSequence")[:1]
        detector = {name: group_value(detectors, [(name,)], name) for name in places}
        return Header(
            values, unparsed, frames, common, detector, region, first_items(dataset), pixels,
            str(syntax) if syntax else None,
        )  # fmt: skip


def first_items(dataset: pydicom.Dataset) -> dict[str, Any]:
    """What is told of the tracer, of the modality LUT, and whether there is a real world value mapping."""
    kinds = {"RadionuclideTotalDose": "float64", "RadionuclideHalfLife": "float64"}
    kinds |= dict.fromkeys(("RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime"), "string")
    found: dict[str, Any] = {}
    for sequence, names in (
        ("RadiopharmaceuticalInformationSequence", kinds),
        ("ModalityLUTSequence", {"ModalityLUTType": "string"}),
    ):
        for item in items_of(dataset, sequence)[:1]:
            for name, kind in names.items():
                try:
                    found[name] = as_column(item[name], kind) if name in item else None
                except Exception:
                    found[name] = None
                found[name] = None if found[name] == "" else found[name]
    if items_of(dataset, "ModalityLUTSequence"):
        found["ModalityLUTType"] = found["ModalityLUTType"] or ""
    if items_of(dataset, "RealWorldValueMappingSequence"):
        found["real_world_value_mapping"] = True
    return found


EXPLICIT = (b"OB\0\0", b"OW\0\0", b"OF\0\0", b"OD\0\0")
"""VRs of pixels: taken for a length they would be odd, which none is (PS3.5 section 7.1.1)."""


def pixels_at(file: io.BytesIO, dataset: pydicom.Dataset) -> tuple[int | None, int | None] | None:
    """Offset and length of the pixel values, before which pydicom stopped."""
    if dataset.file_meta.get("TransferSyntaxUID") == pydicom.uid.DeflatedExplicitVRLittleEndian:
        whole = pydicom.dcmread(io.BytesIO(file.getvalue()))
        return (None, None) if any(tag in whole for tag in PIXELS) else None
    found = []

    def here(tag: int, vr: str | None, length: int) -> bool:
        if tag in PIXELS:
            place = file.tell()
            if vr is None and length.to_bytes(4, "little") in EXPLICIT:  # of this one element the VR is given
                length, place = int.from_bytes(file.read(4), "little"), place + 4
            found.append((place, None if length == 0xFFFFFFFF else length))
        return True

    list(data_element_generator(file, *dataset.original_encoding, stop_when=here))
    return found[0] if found else None


def as_column(element: pydicom.DataElement, kind: str) -> Any:
    """The value of an element as a column of that type holds it; raises where it is none."""
    if element.VR == "SQ":
        raise TypeError("items")
    value = element.value
    if isinstance(value, str | bytes | pydicom.valuerep.PersonName | None) and not value:
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


def converted(name: str) -> list[tuple[str, ...]]:
    """Where a legacy converter puts what has no functional group of its own (PS3.3 C.7.6.16.2.25 and .26)."""
    return [(f"Unassigned{whose}ConvertedAttributesSequence", name) for whose in ("PerFrame", "Shared")]


# Attribute of a frame -> paths within its functional group that may lead to it (PS3.3 C.7.6.16, C.8.13, C.8.15, C.8.20)
FRAME_PLACES: dict[str, list[tuple[str, ...]]] = {
    "ImagePositionPatient": [("PlanePositionSequence", "ImagePositionPatient")],
    "ImageOrientationPatient": [("PlaneOrientationSequence", "ImageOrientationPatient")],
    "PixelSpacing": [("PixelMeasuresSequence", "PixelSpacing")],
    "SliceThickness": [("PixelMeasuresSequence", "SliceThickness")],
    "RescaleSlope": [("PixelValueTransformationSequence", "RescaleSlope")],
    "RescaleIntercept": [("PixelValueTransformationSequence", "RescaleIntercept")],
    "StackID": [("FrameContentSequence", "StackID")],
    "InStackPositionNumber": [("FrameContentSequence", "InStackPositionNumber")],
    "TemporalPositionIndex": [
        ("FrameContentSequence", "TemporalPositionIndex"), *converted("TemporalPositionIdentifier")
    ],
    "FrameAcquisitionNumber": [("FrameContentSequence", "FrameAcquisitionNumber"), *converted("AcquisitionNumber")],
    "EffectiveEchoTime": [("MREchoSequence", "EffectiveEchoTime"), *converted("EchoTime")],
    "DiffusionBValue": [("MRDiffusionSequence", "DiffusionBValue"), *converted("DiffusionBValue")],
    "DiffusionGradientOrientation": [
        ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
        *converted("DiffusionGradientOrientation"),
    ],
    "FrameType": [
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
        ("PETFrameTypeSequence", "FrameType"),
        ("ParametricMapFrameTypeSequence", "FrameType"),
    ],
    "ComplexImageComponent": [("MRImageFrameTypeSequence", "ComplexImageComponent")],
    "NominalCardiacTriggerDelayTime": [
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"), *converted("TriggerTime")
    ],
    "FrameReferenceTime": converted("FrameReferenceTime"),
    "KVP": [("CTXRayDetailsSequence", "KVP"), *converted("KVP")],
    "ConvolutionKernel": [("CTReconstructionSequence", "ConvolutionKernel"), *converted("ConvolutionKernel")],
    "ReferencedSegmentNumber": [("SegmentIdentificationSequence", "ReferencedSegmentNumber")],
}  # fmt: skip
COMMON_PLACES: dict[str, list[tuple[str, ...]]] = {
    "RescaleType": [("PixelValueTransformationSequence", "RescaleType")],
    "SpacingBetweenSlices": [("PixelMeasuresSequence", "SpacingBetweenSlices"), *converted("SpacingBetweenSlices")],
    "Units": converted("Units"),
}
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


def group_value(groups: list[pydicom.Dataset], places: list[tuple[str, ...]], name: str) -> Any:
    """The first value there is in some functional groups."""
    for group in groups:
        for *path, attribute in places:
            item = group
            for sequence in path:
                item = next(iter(items_of(item, sequence)), None) if item is not None else None
            if item is None or attribute not in item:
                continue
            try:
                value = frame_value(item[attribute].value, name)
            except Exception:
                continue
            if value is not None:
                return value
    return None


def frame_value(value: Any, name: str) -> Any:
    if value is None or value == "":
        return None
    if name in ("FrameType", "ConvolutionKernel"):
        return value if isinstance(value, str) else "\\".join(value)
    if name in ("StackID", "RescaleType", "Units", "ComplexImageComponent"):
        return str(value)
    if name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "DiffusionGradientOrientation"):
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
