"""Write multi-frame objects: enhanced MR with functional groups, and ultrasound clips."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from .dicom import (
    Series,
    Stack,
    add_pixel_description,
    decimal,
    expected_volume,
    instance_uid,
    orientation,
    series_header,
)
from .encode import EncodedHeader, pixel_element
from .headers import base_header, make_uid
from .protocols import ENHANCED_MR_STORAGE
from .truth import PhantomFile, Written
from .voxels import stored_frame

# The functional groups say these; the top level of an enhanced object does not.
_SAID_BY_GROUPS = (
    "AcquisitionNumber",
    "EchoTime",
    "EchoNumbers",
    "FlipAngle",
    "RepetitionTime",
    "PositionReferenceIndicator",
    "ScanningSequence",
    "SequenceVariant",
    "WindowCenter",
    "WindowWidth",
    "RescaleType",
)


def write_enhanced_mr(root: Path, series: Series) -> Written:
    """Write one enhanced MR object; its frames are stored in an order of their own.

    Geometry, rescale and echo time are in the functional groups only: the top level lacks them.
    """
    stack, recipe = series.stack, series.recipe
    assert stack is not None
    bits = series.scan.protocol.bits
    header = base_header(series.scan)
    for keyword in _SAID_BY_GROUPS:
        header.pop(keyword, None)
    add_pixel_description(header, recipe, bits)
    header.SOPClassUID = ENHANCED_MR_STORAGE
    header.AcquisitionContrast, header.ContentQualification = "T1", "RESEARCH"
    header.VolumetricProperties, header.ComplexImageComponent = "VOLUME", "MAGNITUDE"
    # Interleaved, even slices first: the order of the frames is not the order in space.
    order = [*range(0, len(recipe.planes), 2), *range(1, len(recipe.planes), 2)]
    header.NumberOfFrames = len(order)
    _dimensions(header, series)
    header.SharedFunctionalGroupsSequence = Sequence([_shared_groups(series, stack)])
    header.PerFrameFunctionalGroupsSequence = Sequence([_frame_groups(series, stack, index) for index in order])
    frames = [stored_frame(recipe, 0, index) for index in order]
    elements: dict[str, Any] = {
        "InstanceNumber": 1,
        "PixelData": pixel_element(frames, bits.stored, series.syntax),
    }
    return _write_object(root, series, header, elements, ENHANCED_MR_STORAGE)


def _dimensions(header: Dataset, series: Series) -> None:
    """Add the dimension organization: stack, then position in the stack."""
    organization = make_uid(series.scan.series_uid, "dimensions")
    header.DimensionOrganizationSequence = Sequence([_item(DimensionOrganizationUID=organization)])
    # Tags: Stack ID, In-Stack Position Number, and the Frame Content Sequence that holds both.
    header.DimensionIndexSequence = Sequence(
        [
            _item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=tag,
                FunctionalGroupPointer=0x00209111,
            )
            for tag in (0x00209056, 0x00209057)
        ]
    )


def _shared_groups(series: Series, stack: Stack) -> Dataset:
    """Functional groups that hold for all frames: orientation, spacing and timing."""
    measures = _item(PixelSpacing=[decimal(value) for value in stack.spacing], SliceThickness=decimal(stack.thickness))
    timing = _item(RepetitionTime=600, FlipAngle=90, EchoTrainLength=1)
    averages = _item(NumberOfAverages=1)
    return _item(
        PlaneOrientationSequence=Sequence([_item(ImageOrientationPatient=orientation(stack.axes))]),
        PixelMeasuresSequence=Sequence([measures]),
        MRTimingAndRelatedParametersSequence=Sequence([timing]),
        MREchoSequence=Sequence([_item(EffectiveEchoTime=12.0)]),
        MRAveragesSequence=Sequence([averages]),
    )


def _frame_groups(series: Series, stack: Stack, index: int) -> Dataset:
    """Functional groups of one frame: its place, its rescale, its indices."""
    content = _item(
        StackID="1",
        InStackPositionNumber=index + 1,
        DimensionIndexValues=[1, index + 1],
        FrameAcquisitionNumber=1,
        FrameAcquisitionDateTime=f"202403011020{index % 60:02d}",
    )
    rescale = _item(
        RescaleIntercept=decimal(series.recipe.intercept(0, index)),
        RescaleSlope=decimal(series.recipe.slope(0, index)),
        RescaleType="US",
    )
    window = _item(WindowCenter=400, WindowWidth=800)
    return _item(
        FrameContentSequence=Sequence([content]),
        PlanePositionSequence=Sequence([_item(ImagePositionPatient=stack.position(index))]),
        PixelValueTransformationSequence=Sequence([rescale]),
        FrameVOILUTSequence=Sequence([window]),
    )


def write_ultrasound(root: Path, series: Series) -> Written:
    """Write one colour clip: the frames are time, the spacing is in the ultrasound region, in cm."""
    recipe = series.recipe
    assert series.flat_spacing is not None
    header = series_header(series)
    header.NumberOfFrames = recipe.timepoints
    header.FrameIncrementPointer = 0x00181063  # Frame Time
    region = _item(
        RegionSpatialFormat=1,
        RegionDataType=1,
        RegionFlags=2,
        RegionLocationMinX0=0,
        RegionLocationMinY0=0,
        RegionLocationMaxX1=recipe.columns - 1,
        RegionLocationMaxY1=recipe.rows - 1,
        ReferencePixelX0=0,
        ReferencePixelY0=0,
        PhysicalUnitsXDirection=3,
        PhysicalUnitsYDirection=3,
        PhysicalDeltaX=series.flat_spacing[1] / 10.0,
        PhysicalDeltaY=series.flat_spacing[0] / 10.0,
    )
    header.SequenceOfUltrasoundRegions = Sequence([region])
    frames = [stored_frame(recipe, time, 0) for time in range(recipe.timepoints)]
    elements: dict[str, Any] = {
        "InstanceNumber": 1,
        "PixelData": pixel_element(frames, series.scan.protocol.bits.stored, series.syntax),
    }
    return _write_object(root, series, header, elements, series.scan.protocol.sop_class)


def _write_object(root: Path, series: Series, header: Dataset, elements: dict[str, Any], sop_class: str) -> Written:
    """Write a series that is one file."""
    # Optional, and of little use for many frames at once.
    elements |= {"SmallestImagePixelValue": None, "LargestImagePixelValue": None}
    encoder = EncodedHeader(header, ExplicitVRLittleEndian)
    folder = root / series.folder
    folder.mkdir(parents=True, exist_ok=True)
    name = series.file_name(series.first_number)
    data = encoder.file_bytes(sop_class, instance_uid(series, 0, 0), elements)
    (folder / name).write_bytes(data)
    file = PhantomFile(f"{series.folder}/{name}", "dicom", "ok", None, True)
    return Written((expected_volume(series, 1),), (file,))


def _item(**elements: Any) -> Dataset:
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item
