"""Write a scan as one multi-frame object with functional groups: enhanced, or converted from classic images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from .dicom import Series, add_pixel_description, decimal, expected_volume, instance_uid, orientation
from .encode import EncodedHeader, pixel_element
from .headers import base_header, make_uid
from .truth import PhantomFile, Written
from .voxels import stored_frame

# Modality: SOP class of the enhanced object, of the converted one, and the macro of the frame type.
_KINDS = {
    "CT": ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2", "CTImageFrameTypeSequence"),
    "MR": ("1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4", "MRImageFrameTypeSequence"),
    "PT": ("1.2.840.10008.5.1.4.1.1.130", "1.2.840.10008.5.1.4.1.1.128.1", "PETFrameTypeSequence"),
}

# Where an enhanced object has what a classic image says at the top level (PS3.3 C.7.6.16.2, C.8.13, C.8.15, C.8.22).
_MACROS: dict[str, tuple[str, ...]] = {
    "AcquisitionNumber": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "TemporalPositionIdentifier": ("FrameContentSequence", "TemporalPositionIndex"),
    "StackID": ("FrameContentSequence", "StackID"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "DiffusionBValue": ("MRDiffusionSequence", "DiffusionBValue"),
    "DiffusionGradientOrientation": (
        "MRDiffusionSequence",
        "DiffusionGradientDirectionSequence",
        "DiffusionGradientOrientation",
    ),
    "TriggerTime": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
    "ConvolutionKernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "ComplexImageComponent": ("MRImageFrameTypeSequence", "ComplexImageComponent"),
}

# The top level of a multi-frame object says none of these.
_SAID_BY_GROUPS = (
    *_MACROS,
    "EchoNumbers",
    "FrameReferenceTime",
    "PositionReferenceIndicator",
    "ScanningSequence",
    "SequenceVariant",
    "Units",
    "WindowCenter",
    "WindowWidth",
)


FrameOrder = Literal["ascending", "descending", "interleaved"]


@dataclass(frozen=True)
class _Frame:
    """One frame of the object: which of the volumes it belongs to, and where."""

    series: Series
    time: int
    index: int


def write_enhanced(
    root: Path,
    *volumes: Series,
    converted: bool = False,
    per_frame: bool = False,
    order: FrameOrder = "interleaved",
    times: tuple[int, ...] | None = None,
) -> Written:
    """Write the volumes of one scan as one object.

    Geometry, rescale and what tells the volumes apart are in the functional groups only: the top level lacks them.

    Parameters
    ----------
    root : Path
        Root of the cohort.
    *volumes : Series
        Volumes that share a scan; what their ``elements`` say goes into the groups.
    converted : bool
        Write a legacy converted object: what has no group of its own lies in the unassigned attributes.
    per_frame : bool
        Repeat for every frame what could be shared.
    order : str
        How the frames of one time point are stored: ``interleaved`` is even slices first, then the odd ones.
    times : tuple of int or None
        Time points to write; by default all.
    """
    first = volumes[0]
    frames = [
        _Frame(series, time, index)
        for series in volumes
        for time in (range(series.recipe.timepoints) if times is None else times)
        for index in _stored_order(len(series.recipe.planes), order)
    ]
    header, taken = _top_level(first, converted)
    said = [_said(frame, taken, converted) for frame in frames]
    _index(header, first, said)
    shared, groups = ({}, said) if per_frame else _parted(said)
    header.NumberOfFrames = len(frames)
    header.SharedFunctionalGroupsSequence = Sequence([_nested(shared)])
    header.PerFrameFunctionalGroupsSequence = Sequence([_nested(group) for group in groups])
    stored = [stored_frame(frame.series.recipe, frame.time, frame.index) for frame in frames]
    elements: dict[str, Any] = {
        "InstanceNumber": first.first_number,
        "PixelData": pixel_element(stored, first.scan.protocol.bits.stored, first.syntax),
    }
    written = write_object(root, first, header, elements)
    return Written(tuple(expected_volume(series, 1) for series in volumes), written.files)


def _stored_order(count: int, order: FrameOrder) -> list[int]:
    if order == "interleaved":
        return [*range(0, count, 2), *range(1, count, 2)]
    return list(range(count)) if order == "ascending" else list(range(count))[::-1]


def _top_level(series: Series, converted: bool) -> tuple[Dataset, Dataset]:
    """Return the header, and what was taken out of it for the groups."""
    header, taken = base_header(series.scan), Dataset()
    for keyword in _SAID_BY_GROUPS:
        if keyword in header:
            taken[keyword] = header[keyword]
            del header[keyword]
    bits = series.scan.protocol.bits
    add_pixel_description(header, series.recipe, bits)
    header.pop("RescaleType", None)
    header.SOPClassUID = _KINDS[series.scan.protocol.modality][1 if converted else 0]
    header.AcquisitionContrast, header.ContentQualification = "T1", "RESEARCH"
    header.VolumetricProperties, header.ComplexImageComponent = "VOLUME", "MAGNITUDE"
    return header, taken


Said = dict[tuple[str, ...], Any]


def _said(frame: _Frame, taken: Dataset, converted: bool) -> Said:
    """Return what the groups say of one frame: path of sequences and attribute -> value."""
    series, stack, recipe = frame.series, frame.series.stack, frame.series.recipe
    assert stack is not None
    protocol = series.scan.protocol
    content, own = "FrameContentSequence", dict(series.elements(frame.time, frame.index))
    said: Said = {
        ("PlanePositionSequence", "ImagePositionPatient"): stack.position(frame.index),
        ("PlaneOrientationSequence", "ImageOrientationPatient"): orientation(stack.axes),
        ("PixelMeasuresSequence", "PixelSpacing"): [decimal(value) for value in stack.spacing],
        ("PixelMeasuresSequence", "SliceThickness"): decimal(stack.thickness),
        ("FrameVOILUTSequence", "WindowCenter"): 400,
        ("FrameVOILUTSequence", "WindowWidth"): 800,
        (_KINDS[protocol.modality][2], "FrameType"): own.pop("ImageType", list(protocol.acquisition["ImageType"])),
        (content, "StackID"): "1",
        (content, "InStackPositionNumber"): frame.index + 1,
        (content, "FrameAcquisitionDateTime"): f"202403011020{frame.index % 60:02d}",
    }
    if protocol.bits.slope is not None or not converted:
        transformation = "PixelValueTransformationSequence"
        said[transformation, "RescaleIntercept"] = decimal(recipe.intercept(frame.time, frame.index))
        said[transformation, "RescaleSlope"] = decimal(recipe.slope(frame.time, frame.index))
        said[transformation, "RescaleType"] = protocol.bits.rescale_type or "US"
    if stack.slice_spacing_mm is not None and not converted:
        said["PixelMeasuresSequence", "SpacingBetweenSlices"] = decimal(stack.slice_spacing_mm)
    classic: Mapping[str, Any] = {element.keyword: element.value for element in taken}
    return said | (_unassigned(classic, own) if converted else _assigned({**classic, **own}))


def _assigned(elements: Mapping[str, Any]) -> Said:
    """Put elements of a classic image where an enhanced object has them; what has no place there is left out."""
    said = {_MACROS[keyword]: value for keyword, value in elements.items() if keyword in _MACROS}
    return {path: _typed(path[-1], value) for path, value in said.items()}


def _unassigned(classic: Mapping[str, Any], own: Mapping[str, Any]) -> Said:
    """Put elements of a classic image into the unassigned attributes, as a converter does that knows no better."""
    shared, single = "UnassignedSharedConvertedAttributesSequence", "UnassignedPerFrameConvertedAttributesSequence"
    common = {(shared, keyword): value for keyword, value in classic.items() if keyword not in own}
    return common | {(single, keyword): value for keyword, value in own.items()}


def _typed(keyword: str, value: Any) -> Any:
    """Give a value the type of its VR: a classic image writes as text what a group has as a number."""
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    kind = {"FD": float, "US": int, "UL": int}.get(dictionary_VR(tag))
    if kind is None:
        return value
    return [kind(one) for one in value] if isinstance(value, list) else kind(value)


def _index(header: Dataset, series: Series, said: list[Said]) -> None:
    """Declare the dimensions, and index every frame: stack, what differs in time or contrast, place in the stack."""
    candidates = [path for path in _MACROS.values() if path[-1] != "StackID"]
    differing = [path for path in candidates if len({str(one.get(path)) for one in said}) > 1]
    content = "FrameContentSequence"
    dimensions = [(content, "StackID"), *differing, (content, "InStackPositionNumber")]
    organization = make_uid(series.scan.series_uid, "dimensions")
    header.DimensionOrganizationSequence = Sequence([item(DimensionOrganizationUID=organization)])
    header.DimensionIndexSequence = Sequence([
        item(
            DimensionOrganizationUID=organization,
            DimensionIndexPointer=tag_for_keyword(path[-1]),
            FunctionalGroupPointer=tag_for_keyword(path[0]),
        )
        for path in dimensions
    ])  # fmt: skip
    places = [list(dict.fromkeys(str(one.get(path)) for one in said)) for path in dimensions[:-1]]
    for one in said:
        ranks = [known.index(str(one.get(path))) + 1 for path, known in zip(dimensions, places, strict=False)]
        one[content, "DimensionIndexValues"] = [*ranks, one[dimensions[-1]]]


def _parted(said: list[Said]) -> tuple[Said, list[Said]]:
    """Part what all frames say from what they do not; a macro is shared whole or not at all (PS3.3 C.7.6.16.1.1)."""
    differs = {
        path[0]
        for path in {path for one in said for path in one}
        if any(path not in one or one[path] != said[0][path] for one in said)
    }
    differs.add("FrameContentSequence")  # never shared
    shared = {path: value for path, value in said[0].items() if path[0] not in differs}
    return shared, [{path: value for path, value in one.items() if path[0] in differs} for one in said]


def _nested(said: Said) -> Dataset:
    """Make the item of one functional groups sequence."""
    group = Dataset()
    for path, value in said.items():
        inner = group
        for sequence in path[:-1]:
            if sequence not in inner:
                setattr(inner, sequence, Sequence([Dataset()]))
            inner = inner[sequence].value[0]
        setattr(inner, path[-1], value)
    return group


def write_object(root: Path, series: Series, header: Dataset, elements: dict[str, Any]) -> Written:
    """Write a series that is one file; its class is that of the header."""
    # Optional, and of little use for many frames at once.
    elements |= {"SmallestImagePixelValue": None, "LargestImagePixelValue": None}
    encoder = EncodedHeader(header, ExplicitVRLittleEndian)
    folder = root / series.folder
    folder.mkdir(parents=True, exist_ok=True)
    name = series.file_name(series.first_number)
    data = encoder.file_bytes(header.SOPClassUID, instance_uid(series, 0, 0), elements)
    (folder / name).write_bytes(data)
    file = PhantomFile(f"{series.folder}/{name}", "dicom", "ok", None, True)
    return Written((expected_volume(series, 1),), (file,))


def item(**elements: Any) -> Dataset:
    """Make an item of a sequence."""
    made = Dataset()
    for keyword, value in elements.items():
        setattr(made, keyword, value)
    return made
