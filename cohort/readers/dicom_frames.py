"""What differs from frame to frame in one DICOM object: functional groups and ultrasound regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.readers.base import Row
from cohort.schema import FRAME_COLUMNS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

# Where a value lies in a functional group (PS3.3 C.7.6.16.2): macro sequences to try, then the attribute.
PLACES: dict[str, tuple[str, ...]] = {
    "ImagePositionPatient": ("PlanePositionSequence",),
    "ImageOrientationPatient": ("PlaneOrientationSequence",),
    "PixelSpacing": ("PixelMeasuresSequence",),
    "SliceThickness": ("PixelMeasuresSequence",),
    "RescaleSlope": ("PixelValueTransformationSequence",),
    "RescaleIntercept": ("PixelValueTransformationSequence",),
    "StackID": ("FrameContentSequence",),
    "InStackPositionNumber": ("FrameContentSequence",),
    "TemporalPositionIndex": ("FrameContentSequence",),
    "FrameAcquisitionNumber": ("FrameContentSequence",),
    "EffectiveEchoTime": ("MREchoSequence",),
    "DiffusionBValue": ("MRDiffusionSequence",),
    "FrameType": (
        "MRImageFrameTypeSequence",
        "CTImageFrameTypeSequence",
        "PETFrameTypeSequence",
        "ParametricMapFrameTypeSequence",
    ),
    "NominalCardiacTriggerDelayTime": ("CardiacSynchronizationSequence",),
    "ReferencedSegmentNumber": ("SegmentIdentificationSequence",),
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
}
WIDTHS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
_FILL: dict[str, Any] = {"list<float64>": float("nan"), "list<int64>": 0, "list<string>": ""}
_MOST_FRAMES = 1 << 16  # more than there are items for are a lie in the header
_INT64 = 1 << 63
EXTRA_SHARED = {
    "RescaleType": "PixelValueTransformationSequence",
    "SpacingBetweenSlices": "PixelMeasuresSequence",
}

_MACROS = sorted({macro for macros in PLACES.values() for macro in macros} | set(EXTRA_SHARED.values()))


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
    groups = [shared, *per_frame[:frames]]
    items = {macro: [_first(group, macro) for group in groups] for macro in _MACROS}
    found: Row = {}
    for column in FRAME_COLUMNS:
        name = column.name.removeprefix("frame_")
        values = _per_frame(name, items, frames)
        if values is None:
            continue
        found[column.name] = _flattened(name, column.type, values)
        top = _TOP_LEVEL.get(name)
        if top and row.get(top) is None and all(value == values[0] for value in values):
            found[top] = values[0]
    for name, macro in EXTRA_SHARED.items():
        if row.get(name) is None:
            found[name] = next((value for value in _plain_values(name, items[macro][:2]) if value is not None), None)
    return found


def _per_frame(name: str, items: dict[str, list[Dataset | None]], frames: int) -> list[Any] | None:
    """Return the value of each frame, its own or the shared one; None where no frame has any."""
    values: list[Any] = []
    for macro in PLACES[name]:
        found = _plain_values(name, items[macro])
        values = [f if v is None else v for v, f in zip(values, found, strict=True)] if values else found
    common, *own = values
    if common is None and own.count(None) == len(own):
        return None
    own += [None] * (frames - len(own))
    return [common if value is None else value for value in own]


def _plain_values(name: str, items: list[Dataset | None]) -> list[Any]:
    """Return the values of one attribute in macros; those of a macro that many frames share are made once."""
    seen: dict[int, Any] = {}
    values = []
    for item in items:
        key = id(item)
        if key not in seen:
            seen[key] = _plain_value(name, item)
        values.append(seen[key])
    return values


def _plain_value(name: str, item: Dataset | None) -> Any:
    if item is None or name not in item:
        return None
    try:
        return _plain(item[name].value, name)
    except Exception:
        return None


def _flattened(name: str, kind: str, values: list[Any]) -> list[Any]:
    fill, width = _FILL[kind], WIDTHS.get(name)
    if width is None:
        return [fill if value is None else value for value in values]
    flat: list[Any] = []
    for value in values:
        flat += value if value is not None and len(value) == width else [fill] * width
    return flat


def _plain(value: Any, name: str) -> Any:
    if value is None or value == "":
        return None
    if name == "FrameType":
        return "\\".join(str(part) for part in value) if not isinstance(value, str) else value
    if name in ("StackID", "RescaleType"):
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
