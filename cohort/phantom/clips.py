"""Write multi-frame objects whose frames have no place of their own: they are moments, angles or views."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.sequence import Sequence

from .dicom import Series, series_header
from .encode import pixel_element
from .multiframe import item, write_object
from .truth import Written
from .voxels import stored_frame

FRAME_TIME = 0x00181063


def write_clip(
    root: Path, series: Series, pointer: int | list[int] = FRAME_TIME, *, reverse: bool = False, **elements: Any
) -> Written:
    """Write one object whose frames follow each other along what the Frame Increment Pointer names.

    Parameters
    ----------
    root : Path
        Root of the cohort.
    series : Series
        The clip; its frames are the time points of the recipe, or the planes where there are several.
    pointer : int or list of int
        Tags of the attributes that change from frame to frame.
    reverse : bool
        Store the frames from the last to the first.
    **elements
        Further elements of the header, by keyword.
    """
    recipe = series.recipe
    header = series_header(series)
    header.pop("ImageOrientationPatient", None)
    for keyword, value in elements.items():
        setattr(header, keyword, value)
    frames = [
        stored_frame(recipe, time, index) for time in range(recipe.timepoints) for index in range(len(recipe.planes))
    ]
    if reverse:
        frames.reverse()
    header.NumberOfFrames = len(frames)
    header.FrameIncrementPointer = pointer
    pixels = pixel_element(frames, series.scan.protocol.bits.stored, series.syntax)
    return write_object(root, series, header, {"InstanceNumber": 1, "PixelData": pixels})


def write_ultrasound(root: Path, series: Series) -> Written:
    """Write one colour clip: the frames are time, the spacing is in the ultrasound region, in cm."""
    recipe = series.recipe
    assert series.flat_spacing is not None
    region = item(
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
    return write_clip(root, series, SequenceOfUltrasoundRegions=Sequence([region]))
