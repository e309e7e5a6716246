"""From rows of `files` to frames: one place in space each, with the attributes that may tell volumes apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import geometry
from cohort.volumes import suv

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Row = dict[str, Any]

# Columns of `files` that assembling needs; all others stay on the disk.
COLUMNS = (
    "source", "path", "path_raw", "size", "Modality", "format", "container", "status", "is_image", "instance_key", "series_key",
    "TransferSyntaxUID", "pixel_offset", "pixel_length", "SOPClassUID", "SOPInstanceUID", "ImageType",
    "AcquisitionDateTime", "AcquisitionTime", "PatientID", "StudyInstanceUID", "SeriesInstanceUID",
    "EchoTime", "EchoNumbers", "TriggerTime", "FrameReferenceTime", "DiffusionBValue", "DiffusionGradientOrientation", "KVP", "ConvolutionKernel",
    "SpacingBetweenSlices", "SliceThickness", "NominalScannedPixelSpacing", "ImagerPixelSpacing", "PixelSpacing",
    "AcquisitionNumber", "InstanceNumber", "TemporalPositionIdentifier", "StackID", "ImagePositionPatient",
    "ImageOrientationPatient", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "RescaleType", "Units", "DoseUnits", "DoseGridScaling",
    "GridFrameOffsetVector", "TotalPixelMatrixColumns", "TotalPixelMatrixRows", "SliceVector", "us_spacing_row_mm", "us_spacing_col_mm",
    "frame_ImagePositionPatient", "frame_ImageOrientationPatient", "frame_PixelSpacing", "frame_SliceThickness",
    "frame_RescaleSlope", "frame_RescaleIntercept", "frame_StackID", "frame_InStackPositionNumber",
    "frame_TemporalPositionIndex", "frame_FrameAcquisitionNumber", "frame_EffectiveEchoTime", "frame_DiffusionBValue",
    "frame_DiffusionGradientOrientation", "frame_FrameType", "frame_ComplexImageComponent",
    "frame_NominalCardiacTriggerDelayTime", "frame_FrameReferenceTime", "frame_KVP", "frame_ConvolutionKernel",
    "frame_ReferencedSegmentNumber",
    "mosaic_slices", "mosaic_grid", "mosaic_positions", "mosaic_problem",
    "nifti_version", "nifti_magic", "nifti_big_endian", "nifti_dim", "nifti_pixdim", "nifti_datatype", "nifti_vox_offset",
    "nifti_scl_slope", "nifti_scl_inter", "nifti_xyzt_units", "nifti_qform_code", "nifti_sform_code", "nifti_quatern",
    "nifti_srow", "modality_source", "unparsed", "ModalityLUTType", "real_world_value_mapping",
    *(name for name in suv.COLUMNS if name not in ("AcquisitionTime", "FrameReferenceTime", "Units")),
)  # fmt: skip


# Columns of `frames` that assembling finds; all others are those of the object.
PLACED = ("volume_id", "role", "reason", "timepoint", "slice", "position_mm", "frame", "slope", "intercept")


@dataclass(slots=True, eq=False)
class Frame:
    """One frame of one instance. `number` is None where the instance is taken whole, in its own order."""

    row: Row
    number: int | None
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None
    slope: float | None
    intercept: float | None
    sort_key: tuple[Any, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Find the order that does not depend on how the files were listed, as far as headers go."""
        row, instance = self.row, self.row["InstanceNumber"]
        place = (row["instance_key"], self.number or 0, row["source"], row["path"])
        self.sort_key = (instance is None, instance or 0, *place)


def frames_of(row: Row) -> list[Frame]:
    """Return the frames of one DICOM image, the slices of a mosaic; other frames without positions stay together."""
    count = row["mosaic_slices"] or max(1, row["NumberOfFrames"] or 1)
    positions = _positions(row, count)
    if count > 1 and positions is None:
        return [Frame(row, None, None, None, _in_plane(row, 0)[0], *rescale_of(row, 0))]
    frames = []
    for i in range(count):
        position = None if positions is None else positions[i]
        orientation = _vector(row, "ImageOrientationPatient", i, 6)
        if position is None or orientation is None or not _is_placed(position, orientation):
            position = orientation = None
        frames.append(Frame(row, i, position, orientation, _in_plane(row, i)[0], *rescale_of(row, i)))
    return frames


def _is_placed(position: tuple[float, ...], orientation: tuple[float, ...]) -> bool:
    """Tell whether a position and cosines say where a frame is; what says nothing is as if it were not there."""
    return max(map(abs, position)) < geometry.LENGTHS_MM[1] and geometry.is_orientation(orientation)


def _positions(row: Row, count: int) -> list[tuple[float, ...] | None] | None:
    """Return the position of every frame, None where the object has none."""
    if row["mosaic_positions"] is not None:
        return [tuple(row["mosaic_positions"][3 * i : 3 * i + 3]) for i in range(count)]
    if row["frame_ImagePositionPatient"] is not None:
        if len(row["frame_ImagePositionPatient"]) < 3 * count:  # NumberOfFrames promises more than there are groups for
            return None
        found = [_vector(row, "ImagePositionPatient", i, 3) for i in range(count)]
        return found if any(p is not None for p in found) else None
    first, cosines = _vector(row, "ImagePositionPatient", 0, 3), _vector(row, "ImageOrientationPatient", 0, 6)
    if count == 1:
        return [first]
    if first is None or cosines is None:
        return None
    offsets, slices, step = row["GridFrameOffsetVector"], row["SliceVector"], row["SpacingBetweenSlices"]
    normal = geometry.slice_normal(cosines)
    if offsets is not None and len(offsets) == count:
        return _dose_planes(first, offsets, normal)
    if slices is not None and len(slices) == count and step:
        # The only place a reconstructed slice of nuclear medicine has; the sign tells the way (PS3.3 C.8.4.15).
        return [tuple(np.asarray(first) + normal * (step * (number - 1))) for number in slices]
    return None


def _dose_planes(
    first: tuple[float, ...], offsets: list[float], normal: NDArray[np.float64]
) -> list[tuple[float, ...] | None]:
    """Return the positions of dose planes: offsets along the normal, or the patient z of each (PS3.3 C.8.8.3.2)."""
    transverse = abs(normal[2]) > 1 - geometry.SAME_DIRECTION
    if transverse and offsets[0] != 0 and abs(offsets[0] - first[2]) < geometry.SAME_PLACE_MM:
        return [(first[0], first[1], z) for z in offsets]
    return [tuple(np.asarray(first) + normal * (offset - offsets[0])) for offset in offsets]


def _vector(row: Row, name: str, frame: int, width: int) -> tuple[float, ...] | None:
    per_frame, common = row[f"frame_{name}"], row[name]
    values = common if per_frame is None else per_frame[frame * width : (frame + 1) * width]
    if values is None or len(values) != width or not all(math.isfinite(v) for v in values):
        return None
    return tuple(values)


def _in_plane(row: Row, frame: int) -> tuple[tuple[float, float] | None, str | None]:
    """Return row and column spacing in mm, and where they come from."""
    candidates = [
        (
            "functional_groups",
            _vector(row, "PixelSpacing", frame, 2) if row["frame_PixelSpacing"] is not None else None,
        ),
        ("PixelSpacing", row["PixelSpacing"]),
        ("ultrasound_region", [row["us_spacing_row_mm"], row["us_spacing_col_mm"]]),
        ("ImagerPixelSpacing", row["ImagerPixelSpacing"]),
        ("NominalScannedPixelSpacing", row["NominalScannedPixelSpacing"]),
    ]
    for source, values in candidates:
        if values is not None and len(values) == 2 and all(v is not None and geometry.is_length(v) for v in values):
            return (float(values[0]), float(values[1])), source
    return None, None


def size_of(row: Row) -> tuple[int | None, int | None]:
    """Return the rows and columns of a frame: of a tile, where the object is a mosaic."""
    rows, columns = row["Rows"], row["Columns"]
    if row["mosaic_grid"] is None:
        return rows, columns
    down, across = row["mosaic_grid"]
    return rows // down, columns // across


def spacing_source(frame: Frame) -> str | None:
    """Return where the in-plane spacing of a frame comes from."""
    return _in_plane(frame.row, frame.number or 0)[1]


def rescale_of(row: Row, frame: int) -> tuple[float | None, float | None]:
    """Return slope and intercept of a frame (PS3.3 C.11.1.1.2); None, None where there is none that can be used."""
    slopes, intercepts = row["frame_RescaleSlope"], row["frame_RescaleIntercept"]
    if row["ModalityLUTType"] is not None:  # a table and a rescale exclude each other (PS3.3 C.11.1)
        return None, None
    if slopes is None and _is_unparsed(row):
        return None, None
    slope = row["RescaleSlope"] if slopes is None else _at(slopes, frame)
    intercept = row["RescaleIntercept"] if intercepts is None else _at(intercepts, frame)
    if slope is None and intercept is None:
        slope = row["DoseGridScaling"]
    if slope is None and intercept is None:
        return None, None
    slope, intercept = 1.0 if slope is None else slope, 0.0 if intercept is None else intercept
    if not math.isfinite(slope) or slope == 0 or not math.isfinite(intercept):
        return None, None
    return slope, intercept


def _at(values: list[Any], frame: int) -> Any:
    """Return the value of a frame; None where there are fewer values than NumberOfFrames says."""
    return values[frame] if frame < len(values) else None


def has_bad_rescale(row: Row) -> bool:
    """Tell whether the header gives a rescale that cannot be used."""
    if row["ModalityLUTType"] is not None:
        return False
    given = row["RescaleSlope"] is not None or row["RescaleIntercept"] is not None or _is_unparsed(row)
    return given and row["frame_RescaleSlope"] is None and rescale_of(row, 0) == (None, None)


def _is_unparsed(row: Row) -> bool:
    """Tell whether slope or intercept stand there, but are no numbers: half a rescale would be worse than none."""
    return any(text.startswith(("RescaleSlope=", "RescaleIntercept=")) for text in row["unparsed"] or ())


def positions_of(frames: list[Frame]) -> NDArray[np.float64]:
    """Return the positions of frames, (n, 3)."""
    return np.array([frame.position for frame in frames], dtype=np.float64)


def orientation_of(frames: list[Frame]) -> NDArray[np.float64]:
    """Return the common orientation of frames: the median of each cosine, so that jitter and order do not matter."""
    return np.asarray(np.median([frame.orientation for frame in frames], axis=0), dtype=np.float64)


def measured(frames: list[Frame], orientation: NDArray[np.float64] | None = None) -> geometry.Stack:
    """Measure the stack that frames of one kind make; the finest pixel gives the scale."""
    pixels = [min(frame.spacing) for frame in frames if frame.spacing is not None]
    common = orientation_of(frames) if orientation is None else orientation
    return geometry.measure_stack(positions_of(frames), common, min(pixels, default=None))


# -- attributes that tell volumes apart --------------------------------------------------------------------


def _per_frame(name: str, fallback: str | None) -> Callable[[Frame], Any]:
    def value(frame: Frame) -> Any:
        values = frame.row[f"frame_{name}"]
        if values is None:
            found = None if fallback is None else frame.row[fallback]
        else:
            found = _at(values, frame.number or 0)
        if isinstance(found, list):
            return tuple(found)
        return None if found != found else found  # NaN: the frame has none

    return value


def _listed(name: str) -> Callable[[Frame], Any]:
    def value(frame: Frame) -> Any:
        values = frame.row[name]
        return None if values is None else tuple(values)

    return value


ATTRIBUTES: dict[str, Callable[[Frame], Any]] = {
    "EchoTime": _per_frame("EffectiveEchoTime", "EchoTime"),
    "EchoNumbers": _listed("EchoNumbers"),
    "DiffusionBValue": _per_frame("DiffusionBValue", "DiffusionBValue"),
    "ImageType": _per_frame("FrameType", "ImageType"),
    "ComplexImageComponent": _per_frame("ComplexImageComponent", None),
    "StackID": _per_frame("StackID", "StackID"),
    "ReferencedSegmentNumber": _per_frame("ReferencedSegmentNumber", None),
    "KVP": _per_frame("KVP", "KVP"),
    "ConvolutionKernel": _per_frame("ConvolutionKernel", "ConvolutionKernel"),
    "TemporalPosition": _per_frame("TemporalPositionIndex", "TemporalPositionIdentifier"),
    "TriggerTime": _per_frame("NominalCardiacTriggerDelayTime", "TriggerTime"),
    "FrameReferenceTime": _per_frame("FrameReferenceTime", "FrameReferenceTime"),
    "AcquisitionNumber": _per_frame("FrameAcquisitionNumber", "AcquisitionNumber"),
    "AcquisitionTime": lambda frame: frame.row["AcquisitionDateTime"] or frame.row["AcquisitionTime"],
    "DiffusionGradientOrientation": lambda frame: _vector(
        frame.row, "DiffusionGradientOrientation", frame.number or 0, 3
    ),
}
"""Values by which a series may be split, in order of preference."""

CONTRAST = (
    "EchoTime",
    "EchoNumbers",
    "DiffusionBValue",
    "ImageType",
    "ComplexImageComponent",
    "StackID",
    "ReferencedSegmentNumber",
    "KVP",
    "ConvolutionKernel",
)
"""What changes the contrast makes volumes of their own."""

TIME = (
    "TemporalPosition",
    "TriggerTime",
    "FrameReferenceTime",
    "AcquisitionNumber",
    "AcquisitionTime",
    "DiffusionGradientOrientation",
)
"""What repeats the same image makes time points of one volume."""
