"""What differs from frame to frame in one DICOM object: functional groups, ultrasound regions, NM detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydicom.multival import MultiValue

from cohort.readers.base import Row
from cohort.schema import FRAME_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydicom.dataset import Dataset

Place = tuple[str, ...]  # sequences, then the attribute

# What a legacy converter had no group for (PS3.3 C.7.6.16.2.25 and .26): attributes of the classic images.
_CONVERTED = ("UnassignedPerFrameConvertedAttributesSequence", "UnassignedSharedConvertedAttributesSequence")


def _converted(attribute: str) -> tuple[Place, ...]:
    return tuple((sequence, attribute) for sequence in _CONVERTED)


# Where a value lies in a functional group (PS3.3 C.7.6.16.2): paths to try.
PLACES: dict[str, tuple[Place, ...]] = {
    "ImagePositionPatient": (("PlanePositionSequence", "ImagePositionPatient"),),
    "ImageOrientationPatient": (("PlaneOrientationSequence", "ImageOrientationPatient"),),
    "PixelSpacing": (("PixelMeasuresSequence", "PixelSpacing"),),
    "SliceThickness": (("PixelMeasuresSequence", "SliceThickness"),),
    "RescaleSlope": (("PixelValueTransformationSequence", "RescaleSlope"),),
    "RescaleIntercept": (("PixelValueTransformationSequence", "RescaleIntercept"),),
    "StackID": (("FrameContentSequence", "StackID"),),
    "InStackPositionNumber": (("FrameContentSequence", "InStackPositionNumber"),),
    "TemporalPositionIndex": (
        ("FrameContentSequence", "TemporalPositionIndex"),
        *_converted("TemporalPositionIdentifier"),
    ),
    "FrameAcquisitionNumber": (("FrameContentSequence", "FrameAcquisitionNumber"), *_converted("AcquisitionNumber")),
    "EffectiveEchoTime": (("MREchoSequence", "EffectiveEchoTime"), *_converted("EchoTime")),
    "DiffusionBValue": (("MRDiffusionSequence", "DiffusionBValue"), *_converted("DiffusionBValue")),
    "DiffusionGradientOrientation": (
        ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
        *_converted("DiffusionGradientOrientation"),
    ),
    "FrameType": (
        ("MRImageFrameTypeSequence", "FrameType"),
        ("CTImageFrameTypeSequence", "FrameType"),
        ("PETFrameTypeSequence", "FrameType"),
        ("ParametricMapFrameTypeSequence", "FrameType"),
    ),
    "ComplexImageComponent": (("MRImageFrameTypeSequence", "ComplexImageComponent"),),
    "NominalCardiacTriggerDelayTime": (
        ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
        *_converted("TriggerTime"),
    ),
    "FrameReferenceTime": _converted("FrameReferenceTime"),
    "KVP": (("CTXRayDetailsSequence", "KVP"), *_converted("KVP")),
    "ConvolutionKernel": (("CTReconstructionSequence", "ConvolutionKernel"), *_converted("ConvolutionKernel")),
    "ReferencedSegmentNumber": (("SegmentIdentificationSequence", "ReferencedSegmentNumber"),),
}

# Top-level column that a functional group fills where the top level lacks it and all frames agree.
_TOP_LEVEL = {
    "ImagePositionPatient": "ImagePositionPatient",
    "ImageOrientationPatient": "ImageOrientationPatient",
    "PixelSpacing": "PixelSpacing",
    "SliceThickness": "SliceThickness",
    "RescaleSlope": "RescaleSlope",
    "RescaleIntercept": "RescaleIntercept",
    "StackID": "StackID",
    "InStackPositionNumber": "InStackPositionNumber",
    "FrameAcquisitionNumber": "AcquisitionNumber",
    "EffectiveEchoTime": "EchoTime",
    "DiffusionBValue": "DiffusionBValue",
    "DiffusionGradientOrientation": "DiffusionGradientOrientation",
    "NominalCardiacTriggerDelayTime": "TriggerTime",
    "FrameReferenceTime": "FrameReferenceTime",
    "KVP": "KVP",
}
WIDTHS = {
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
    "PixelSpacing": 2,
    "DiffusionGradientOrientation": 3,
}
LISTED = ("FrameType", "ConvolutionKernel")
"""Attributes of several texts, which a frame has joined by a backslash."""

_FILL: dict[str, Any] = {"list<float64>": float("nan"), "list<int64>": 0, "list<string>": ""}
_MOST_FRAMES = 1 << 16  # more than there are items for are a lie in the header
_INT64 = 1 << 63
EXTRA_SHARED: dict[str, tuple[Place, ...]] = {
    "RescaleType": (("PixelValueTransformationSequence", "RescaleType"),),
    "SpacingBetweenSlices": (("PixelMeasuresSequence", "SpacingBetweenSlices"), *_converted("SpacingBetweenSlices")),
    "Units": _converted("Units"),
}


# Sequences of the top level, of whose first item these attributes are columns; of the last one only that it is there.
ITEM_PLACES: dict[str, tuple[str, ...]] = {
    "RadiopharmaceuticalInformationSequence": (
        "RadiopharmaceuticalStartTime",
        "RadiopharmaceuticalStartDateTime",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
    ),
    "ModalityLUTSequence": ("ModalityLUTType",),
    "RealWorldValueMappingSequence": (),
}
_NUMBERS = ("RadionuclideTotalDose", "RadionuclideHalfLife")


def first_items(dataset: Dataset) -> Row:
    """Return the columns that the first items of sequences fill (PS3.3 C.8.9.2, C.11.1, C.7.6.16.2.11)."""
    found: Row = {}
    for sequence, names in ITEM_PLACES.items():
        item = _first(dataset, sequence)
        if item is not None:
            found |= {name: value for name in names if (value := _item_value(item, name)) is not None}
    if _first(dataset, "ModalityLUTSequence") is not None:
        found.setdefault("ModalityLUTType", "")
    if _first(dataset, "RealWorldValueMappingSequence") is not None:
        found["real_world_value_mapping"] = True
    return found


def _item_value(item: Dataset, name: str) -> Any:
    """Return one value of an item, None where there is none, or more than one, or it cannot be converted."""
    try:
        value = item[name].value if name in item else None
        if value is None or value == "" or isinstance(value, (list, MultiValue)):
            return None
        return float(value) if name in _NUMBERS else str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    except Exception:
        return None


def functional_groups(dataset: Dataset, row: Row) -> Row:
    """Read shared and per-frame functional groups.

    Parameters
    ----------
    dataset : Dataset
        The header.
    row : Row
        What the top level told.

    Returns
    -------
    Row
        The `frame_*` columns, and top-level columns the groups fill.
    """
    shared = _first(dataset, "SharedFunctionalGroupsSequence")
    per_frame = _items(dataset, "PerFrameFunctionalGroupsSequence")
    if shared is None and not per_frame:
        return {}
    frames = max(1, row.get("NumberOfFrames") or 1)
    if frames > _MOST_FRAMES:
        frames = len(per_frame)
    found: Row = {}
    groups = _Groups([shared, *per_frame[:frames]])
    for column in FRAME_COLUMNS:
        name = column.name.removeprefix("frame_")
        if not groups.have(PLACES[name]):
            continue
        common, *own = groups.values(name, PLACES[name])
        if common is None and own.count(None) == len(own):
            continue
        own += [None] * (frames - len(own))
        values = [common if value is None else value for value in own]
        if not values:
            continue
        found[column.name] = _flattened(name, column.type, values)
        top = _TOP_LEVEL.get(name)
        if top and row.get(top) is None and all(value == values[0] for value in values):
            found[top] = values[0]
    for name, places in EXTRA_SHARED.items():
        if row.get(name) is None:
            first_two = groups.values(name, places)[:2]
            found[name] = next((value for value in first_two if value is not None), None)
    return found


class _Groups:
    """Functional groups, the shared one first; what groups have in common is looked at once."""

    def __init__(self, groups: list[Dataset | None]) -> None:
        self._groups = groups
        self._names = frozenset().union(*(group for group in groups if group is not None))
        self._macros: dict[str, tuple[list[Dataset | None], list[int]]] = {}

    def have(self, places: tuple[Place, ...]) -> bool:
        """Tell whether any group has one of the macros that places lie in."""
        return any(place[0] in self._names for place in places)

    def values(self, name: str, places: tuple[Place, ...]) -> list[Any]:
        """Return the value of each group, None for one without."""
        values: list[Any] = [None] * len(self._groups)
        for macro, *path in places:
            if macro not in self._names:
                continue
            items, places_of = self._items(macro)
            own = [_lookup(item, path, name) for item in items]
            if any(value is not None for value in own):
                values = [own[number] if v is None else v for v, number in zip(values, places_of, strict=True)]
        return values

    def _items(self, macro: str) -> tuple[list[Dataset | None], list[int]]:
        """Return the different items that groups have of a macro, and which of them each group has."""
        if macro not in self._macros:
            items: dict[int, tuple[int, Dataset | None]] = {}  # many frames share one item
            firsts = [_first(group, macro) for group in self._groups]
            places = [items.setdefault(id(item), (len(items), item))[0] for item in firsts]
            self._macros[macro] = [item for _, item in items.values()], places
        return self._macros[macro]


def _flattened(name: str, kind: str, values: list[Any]) -> list[Any]:
    fill, width = _FILL[kind], WIDTHS.get(name)
    if width is None:
        return [fill if value is None else value for value in values]
    flat: list[Any] = []
    for value in values:
        flat += value if value is not None and len(value) == width else [fill] * width
    return flat


def _lookup(item: Dataset | None, path: Sequence[str], name: str) -> Any:
    """Return the value to which a path leads, None where it does not, or where the value cannot be read."""
    *sequences, attribute = path
    for sequence in sequences:
        item = _first(item, sequence)
    if item is None or attribute not in item:
        return None
    try:
        return _plain(item[attribute].value, name)
    except Exception:
        return None


def _plain(value: Any, name: str) -> Any:
    if value is None or value == "":
        return None
    if name in LISTED:
        return "\\".join(str(part) for part in value) if not isinstance(value, str) else value
    if name in ("StackID", "RescaleType", "Units", "ComplexImageComponent"):
        return str(value)
    if name in (
        "InStackPositionNumber",
        "TemporalPositionIndex",
        "FrameAcquisitionNumber",
        "ReferencedSegmentNumber",
    ):
        return int(value) if -_INT64 <= int(value) < _INT64 else None
    if name in WIDTHS:
        return [float(number) for number in value]
    return float(value)


def _items(dataset: Dataset | None, keyword: str) -> list[Dataset]:
    if dataset is None or keyword not in dataset:
        return []
    try:
        return list(dataset[keyword].value or [])
    except Exception:
        return []


def _first(dataset: Dataset | None, keyword: str) -> Dataset | None:
    if dataset is None or keyword not in dataset:
        return None
    try:
        return next(iter(dataset[keyword].value or ()), None)
    except Exception:
        return None


_TWO_DIMENSIONAL = 1  # RegionSpatialFormat, PS3.3 C.8.5.5.1.1
_CENTIMETRES = 3  # PhysicalUnitsXDirection, PS3.3 C.8.5.5.1.15
_MM_PER_CM = 10.0


def ultrasound_spacing(dataset: Dataset) -> Row:
    """Return the spacing of the first 2-D region measured in centimetres (PS3.3 C.8.5.5)."""
    for region in _items(dataset, "SequenceOfUltrasoundRegions"):
        try:
            flat = int(region.RegionSpatialFormat) == _TWO_DIMENSIONAL
            metric = int(region.PhysicalUnitsXDirection) == int(region.PhysicalUnitsYDirection) == _CENTIMETRES
            if flat and metric:
                return {
                    "us_spacing_row_mm": abs(float(region.PhysicalDeltaY)) * _MM_PER_CM,
                    "us_spacing_col_mm": abs(float(region.PhysicalDeltaX)) * _MM_PER_CM,
                }
        except (AttributeError, TypeError, ValueError):
            continue
    return {}


def detector_place(dataset: Dataset, row: Row) -> Row:
    """Return where the first reconstructed slice of nuclear medicine lies: its detector says it (PS3.3 C.8.4.11)."""
    if not row.get("SliceVector"):
        return {}
    detector = _first(dataset, "DetectorInformationSequence")
    found: Row = {}
    for name in ("ImagePositionPatient", "ImageOrientationPatient"):
        value = _lookup(detector, (name,), name)
        if row.get(name) is None and value is not None and len(value) == WIDTHS[name]:
            found[name] = value
    return found
