"""Traps of what is made from images: segmentations, doses, parametric maps, slides, and objects without pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

from .clean import new_scan
from .combined import MIXED, several
from .dicom import (
    AXIAL,
    Series,
    Stack,
    Vector,
    add_pixel_description,
    decimal,
    evenly,
    expected_volume,
    orientation,
    recipe_for,
    series_header,
)
from .encode import EncodedHeader, pixel_element
from .headers import base_header, make_uid
from .multiframe import item, write_object
from .protocols import Bits, Protocol
from .traps import COLUMNS, ROWS, SLICES, STEP_MM, UNEVEN, Trap, plain_stack
from .truth import PhantomFile, PhantomVolume, Written
from .voxels import stored_frame

_SEG_STORAGE = "1.2.840.10008.5.1.4.1.1.66.4"
_MAP_STORAGE = "1.2.840.10008.5.1.4.1.1.30"
_DOSE_STORAGE = "1.2.840.10008.5.1.4.1.1.481.2"
_SLIDE_STORAGE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_GROUPS = "functional_groups"
_GRID_FRAME_OFFSET_VECTOR = 0x3004000C

# Objects that hold no pixels: Modality and class of structures, plan, report, key images, presentation, document.
_WITHOUT_PIXELS = {
    "structures": ("RTSTRUCT", "1.2.840.10008.5.1.4.1.1.481.3"),
    "plan": ("RTPLAN", "1.2.840.10008.5.1.4.1.1.481.5"),
    "report": ("SR", "1.2.840.10008.5.1.4.1.1.88.33"),
    "key-images": ("KO", "1.2.840.10008.5.1.4.1.1.88.59"),
    "presentation": ("PR", "1.2.840.10008.5.1.4.1.1.11.1"),
    "document": ("DOC", "1.2.840.10008.5.1.4.1.1.104.1"),
}


def _derived(modality: str, sop_class: str, kind: str, bits: Bits, **acquisition: Any) -> Protocol:
    said = {"ImageType": ["DERIVED", "PRIMARY"], **acquisition}
    return Protocol(modality, sop_class, kind.upper(), "CHEST", "screen", kind, bits, said)


def _placed(series: Series, index: int, **more: Any) -> Dataset:
    """Per-frame groups of a slice: its place, and what else is said of it."""
    assert series.stack is not None
    position = item(ImagePositionPatient=series.stack.position(index))
    return item(PlanePositionSequence=Sequence([position]), **{name: Sequence([value]) for name, value in more.items()})


def _measured(stack: Stack) -> Dataset:
    """Shared groups of a stack: its orientation and spacing."""
    measures = item(PixelSpacing=[decimal(value) for value in stack.spacing], SliceThickness=decimal(stack.thickness))
    axes = item(ImageOrientationPatient=orientation(stack.axes))
    return item(PixelMeasuresSequence=Sequence([measures]), PlaneOrientationSequence=Sequence([axes]))


# -- segmentation ------------------------------------------------------------------------------------------


def segmentation(root: Path, name: str, seed: int) -> Written:
    """Segment the body and, in five slices, the lungs: frames where a segment is empty are left out."""
    bits = Bits(allocated=1, stored=1, unit="label")
    protocol = _derived("SEG", _SEG_STORAGE, "body", bits, SegmentationType="BINARY", MaximumFractionalValue=1)
    lungs = (3, 4, 7, 8, 9)
    split = {"split_reason": "ReferencedSegmentNumber", "spacing_source": _GROUPS, **MIXED}
    stored = {"dtype": "uint8", "low": 0.0, "high": 1.0}
    volumes = several(
        name, seed,
        {"recipe": stored, "truth": split},
        {"recipe": {**stored, "kind": "lungs", "planes": lungs},
         "stack": plain_stack(offsets=tuple(STEP_MM * plane for plane in lungs)),
         "truth": {**split, **UNEVEN, "missing_slice_count": 2}},
        protocol=protocol,
    )  # fmt: skip
    first = volumes[0]
    header = base_header(first.scan)
    add_pixel_description(header, first.recipe, bits)
    frames = [(number, one, index) for number, one in enumerate(volumes, 1) for index in range(len(one.recipe.planes))]
    header.NumberOfFrames = len(frames)
    header.SegmentSequence = Sequence(
        [item(SegmentNumber=1, SegmentLabel="A"), item(SegmentNumber=2, SegmentLabel="B")]
    )
    assert first.stack is not None
    header.SharedFunctionalGroupsSequence = Sequence([_measured(first.stack)])
    header.PerFrameFunctionalGroupsSequence = Sequence([
        _placed(one, index, SegmentIdentificationSequence=item(ReferencedSegmentNumber=number))
        for number, one, index in frames
    ])  # fmt: skip
    packed = pack_bits(np.stack([stored_frame(one.recipe, 0, index)[0] for _, one, index in frames]))
    pixels = DataElement("PixelData", "OB", packed)
    written = write_object(root, first, header, {"InstanceNumber": 1, "PixelData": pixels})
    return Written(tuple(expected_volume(one, 1) for one in volumes), written.files)


# -- dose --------------------------------------------------------------------------------------------------


def _dose(root: Path, name: str, seed: int, *, absolute: bool = False, axes: tuple[Vector, Vector] = AXIAL) -> Written:
    """Write a dose grid of planes 3 mm apart, with offsets from the first plane or with patient coordinates."""
    bits = Bits(stored=16, unit="GY")
    protocol = _derived("RTDOSE", _DOSE_STORAGE, "dose", bits, DoseUnits="GY", DoseType="PHYSICAL")
    upwards = float(np.cross(*axes)[2]) > 0
    origin = (-60.0, -55.0 if upwards else 55.0, -100.0)
    stack = Stack(evenly(SLICES, 3.0), (2.5, 2.5), axes, origin)
    recipe = recipe_for(protocol, name, seed, (SLICES, ROWS, COLUMNS), slopes=(0.001,))
    truth = {"spacing_source": "PixelSpacing"}
    series = Series(name, f"traps/{name}", new_scan(protocol, seed, 0, name), stack, recipe, truth=truth)
    offsets = [float(stack.position(index)[2]) if absolute else stack.offsets[index] for index in range(SLICES)]
    header = series_header(series)
    header.NumberOfFrames, header.FrameIncrementPointer = SLICES, _GRID_FRAME_OFFSET_VECTOR
    header.ImagePositionPatient = stack.position(0)
    header.GridFrameOffsetVector = [decimal(offset) for offset in offsets]
    header.DoseGridScaling = decimal(recipe.slope(0, 0))
    frames = [stored_frame(recipe, 0, index) for index in range(SLICES)]
    pixels = pixel_element(frames, bits.stored, series.syntax)
    return write_object(root, series, header, {"InstanceNumber": 1, "PixelData": pixels})


def dose(root: Path, name: str, seed: int) -> Written:
    """Give the planes of a dose by their distance from the first."""
    return _dose(root, name, seed)


def dose_absolute(root: Path, name: str, seed: int) -> Written:
    """Give the planes of a dose by their patient z, the second form of PS3.3 C.8.8.3.2."""
    return _dose(root, name, seed, absolute=True)


def dose_absolute_downwards(root: Path, name: str, seed: int) -> Written:
    """Give the planes of a dose by their patient z where the normal points to the feet."""
    return _dose(root, name, seed, absolute=True, axes=((1.0, 0.0, 0.0), (0.0, -1.0, 0.0)))


# -- maps and slides ---------------------------------------------------------------------------------------


def parametric_map(root: Path, name: str, seed: int) -> Written:
    """Write a parametric map in floating point; its frames are slices."""
    bits = Bits(allocated=32, stored=32)
    protocol = _derived("MR", _MAP_STORAGE, "mr", bits)
    recipe = recipe_for(protocol, name, seed, (SLICES, ROWS, COLUMNS), dtype="float32")
    stack, truth = plain_stack(), {"spacing_source": _GROUPS}
    series = Series(name, f"traps/{name}", new_scan(protocol, seed, 0, name), stack, recipe, truth=truth)
    header = base_header(series.scan)
    add_pixel_description(header, recipe, bits)
    for keyword in ("BitsStored", "HighBit", "PixelRepresentation"):  # meaningless for floats
        del header[keyword]
    header.NumberOfFrames = SLICES
    header.SharedFunctionalGroupsSequence = Sequence([_measured(stack)])
    header.PerFrameFunctionalGroupsSequence = Sequence([_placed(series, index) for index in range(SLICES)])
    values = b"".join(stored_frame(recipe, 0, index).astype("<f4").tobytes() for index in range(SLICES))
    pixels = DataElement("FloatPixelData", "OF", values)
    return write_object(root, series, header, {"InstanceNumber": 1, "FloatPixelData": pixels})


def slide(root: Path, name: str, seed: int) -> Written:
    """Write a whole slide as a pyramid of three levels: its frames are tiles, and its pixels are left alone."""
    bits = Bits(allocated=8, stored=8, photometric="RGB")
    protocol = _derived("SM", _SLIDE_STORAGE, "screen", bits, LossyImageCompression="00")
    scan = new_scan(protocol, seed, 0, name)
    volumes: list[PhantomVolume] = []
    files: list[PhantomFile] = []
    for level, tiles in enumerate(((4, 3), (2, 2), (1, 1))):
        spacing, size = 0.0005 * 2**level, (96 >> level, 72 >> level)
        across = {"rows": size[0], "columns": size[1], "timepoints": 1, "reason": "whole_slide"}
        truth = {**across, "split_reason": "no_geometry", "spacing_source": _GROUPS, **MIXED}
        recipe = recipe_for(protocol, f"{name}-{level}", seed, (1, 24, 24), channels=3, timepoints=tiles[0] * tiles[1])
        series = Series(
            f"{name}-{level}", f"traps/{name}", scan, None, recipe,
            first_number=level + 1, flat_spacing=(spacing, spacing), truth=truth,
        )  # fmt: skip
        frames = [stored_frame(recipe, tile, 0) for tile in range(recipe.timepoints)]
        pixels = pixel_element(frames, bits.stored, series.syntax)
        elements = {"InstanceNumber": level + 1, "PixelData": pixels}
        written = write_object(root, series, _slide_header(series, size), elements)
        volumes += written.volumes
        files += written.files
    return Written(tuple(volumes), tuple(files))


def _slide_header(series: Series, size: tuple[int, int]) -> Dataset:
    header = series_header(series)
    assert series.flat_spacing is not None
    header.NumberOfFrames = series.recipe.timepoints
    header.DimensionOrganizationType = "TILED_FULL"
    header.TotalPixelMatrixRows, header.TotalPixelMatrixColumns = size
    header.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = item(XOffsetInSlideCoordinateSystem=20.0, YOffsetInSlideCoordinateSystem=40.0)
    header.TotalPixelMatrixOriginSequence = Sequence([origin])
    measures = item(PixelSpacing=[decimal(value) for value in series.flat_spacing], SliceThickness="0.001")
    header.SharedFunctionalGroupsSequence = Sequence([item(PixelMeasuresSequence=Sequence([measures]))])
    return header


# -- no pixels ---------------------------------------------------------------------------------------------


def without_pixels(root: Path, name: str, seed: int) -> Written:
    """Write structures, a plan, a report, key images, a presentation and a document: they are rows, no volumes."""
    files = []
    for kind, (modality, sop_class) in _WITHOUT_PIXELS.items():
        protocol = Protocol(modality, sop_class, kind.upper(), "CHEST", "screen", "screen", Bits(), {})
        header = base_header(new_scan(protocol, seed, 0, f"{name}-{kind}"))
        path = root / "traps" / name / f"{kind}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        encoder = EncodedHeader(header, ExplicitVRLittleEndian)
        path.write_bytes(encoder.file_bytes(sop_class, make_uid(seed, name, kind), {"InstanceNumber": 1}))
        files.append(PhantomFile(f"traps/{name}/{kind}.dcm", "dicom", "ok", None, False))
    return Written(files=tuple(files))


DERIVED_TRAPS: dict[str, Trap] = {
    "no-pixels": without_pixels,
    "parametric-map": parametric_map,
    "rtdose": dose,
    "rtdose-absolute": dose_absolute,
    "rtdose-absolute-downwards": dose_absolute_downwards,
    "segmentation-sparse": segmentation,
    "slide-pyramid": slide,
}
