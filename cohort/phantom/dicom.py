"""Write series of single-frame DICOM images, and say what is true of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from .encode import EncodedHeader, pixel_element
from .headers import Scan, base_header, make_uid, seed_of
from .protocols import Bits, Protocol
from .truth import PhantomFile, PhantomVolume, Written
from .voxels import VoxelRecipe, stored_frame

Vector = tuple[float, float, float]
Elements = Callable[[int, int], Mapping[str, Any]]

AXIAL: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
CORONAL: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0))
SAGITTAL: tuple[Vector, Vector] = ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


@dataclass(frozen=True)
class Stack:
    """Where the slices of a series lie.

    Parameters
    ----------
    offsets : tuple of float
        Distance of each slice from the first along ``advance``, in mm, ascending.
    spacing : tuple of float
        Distance between rows and between columns, in mm.
    axes : tuple of vectors
        Direction of a row and of a column in patient coordinates.
    origin : vector
        Position of the first pixel of the first slice.
    advance : vector or None
        Direction in which the slices advance; the normal unless the gantry is tilted.
    thickness : float
        Slice thickness, which is not the distance of the slices.
    """

    offsets: tuple[float, ...]
    spacing: tuple[float, float] = (1.5, 1.25)
    axes: tuple[Vector, Vector] = AXIAL
    origin: Vector = (-60.0, -55.0, -120.0)
    advance: Vector | None = None
    thickness: float = 2.5

    @property
    def normal(self) -> npt.NDArray[np.float64]:
        """Normal of the slices: row direction cross column direction."""
        return np.cross(self.axes[0], self.axes[1])

    @property
    def direction(self) -> npt.NDArray[np.float64]:
        """Direction in which the slices advance."""
        return self.normal if self.advance is None else np.array(self.advance)

    @property
    def tilt_degrees(self) -> float:
        """Angle between the normal and the advance."""
        return 0.0 if self.advance is None else round(math.degrees(math.acos(self._along_normal)), 6)

    @property
    def _along_normal(self) -> float:
        return 1.0 if self.advance is None else min(1.0, float(self.normal @ self.direction))

    @property
    def slice_spacing_mm(self) -> float | None:
        """Median distance of neighbouring slices along the normal; none for one slice."""
        if len(self.offsets) < 2:
            return None
        return round(float(np.median(np.diff(self.offsets))) * self._along_normal, 6)

    def position(self, index: int) -> list[str]:
        """ImagePositionPatient of one slice."""
        return [decimal(value) for value in np.array(self.origin) + self.offsets[index] * self.direction]


def decimal(value: float) -> str:
    """Write a number as a DICOM decimal string of at most 16 characters."""
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def orientation(axes: tuple[Vector, Vector]) -> list[str]:
    """ImageOrientationPatient; ten decimals, so that tilted axes stay unit vectors."""
    return [f"{value:.10f}".rstrip("0").rstrip(".") for axis in axes for value in axis]


def evenly(count: int, step: float) -> tuple[float, ...]:
    """Offsets of evenly spaced slices."""
    return tuple(round(index * step, 6) for index in range(count))


def _no_elements(time: int, index: int) -> Mapping[str, Any]:
    return {}


def _file_name(number: int) -> str:
    return f"IM{number:04d}.dcm"


@dataclass(frozen=True)
class Series:
    """One volume to write as single-frame files.

    Parameters
    ----------
    name : str
        Name of the volume in the truth.
    folder : str
        Where to write, relative to the root.
    scan : Scan
        Who, where and what. Two volumes of one series share it.
    stack : Stack or None
        Where the slices lie; none for images without a place in the patient.
    recipe : VoxelRecipe
        The voxels.
    syntax : UID
        Transfer syntax.
    first_number : int
        InstanceNumber of the first file.
    elements : callable
        Further elements of the file at (time, index); they win over all others, None takes one out.
    file_name : callable
        Name of the file from its running number.
    flat_spacing : tuple of float or None
        Distance of rows and columns of an image that has no stack.
    truth : mapping
        Fields of the expected volume that differ from what the stack says.
    """

    name: str
    folder: str
    scan: Scan
    stack: Stack | None
    recipe: VoxelRecipe
    syntax: UID = ExplicitVRLittleEndian
    first_number: int = 1
    elements: Elements = _no_elements
    file_name: Callable[[int], str] = _file_name
    flat_spacing: tuple[float, float] | None = None
    truth: Mapping[str, Any] = field(default_factory=dict)


def recipe_for(protocol: Protocol, name: str, seed: int, size: tuple[int, int, int], **changes: Any) -> VoxelRecipe:
    """Recipe of a volume of (slices, rows, columns) as the protocol stores it."""
    bits = protocol.bits
    settings: dict[str, Any] = {
        "kind": protocol.field,
        "seed": seed_of(seed, name),
        "rows": size[1],
        "columns": size[2],
        "planes": tuple(range(size[0])),
        "field_planes": size[0],
        "dtype": bits.dtype,
        "low": bits.low,
        "high": bits.high,
        "slopes": (1.0 if bits.slope is None else bits.slope,),
        "intercepts": (bits.intercept or 0.0,),
    }
    return VoxelRecipe(**{**settings, **changes})


def write_series(root: Path, series: Series) -> Written:
    """Write the files of one volume."""
    encoder = EncodedHeader(series_header(series), series.syntax)
    folder = root / series.folder
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    count = len(series.recipe.planes)
    for time in range(series.recipe.timepoints):
        for index in range(count):
            number = series.first_number + time * count + index
            name = series.file_name(number)
            (folder / name).write_bytes(instance_bytes(encoder, series, time, index))
            files.append(PhantomFile(f"{series.folder}/{name}", "dicom", "ok", None, True))
    return Written((expected_volume(series, len(files)),), tuple(files))


def instance_uid(series: Series, time: int, index: int) -> str:
    """SOPInstanceUID of one file."""
    return make_uid(series.scan.series_uid, series.name, time, index)


def instance_bytes(encoder: EncodedHeader, series: Series, time: int, index: int) -> bytes:
    """Bytes of one file of the series."""
    return encoder.file_bytes(
        series.scan.protocol.sop_class,
        instance_uid(series, time, index),
        instance_elements(series, time, index),
    )


def instance_elements(series: Series, time: int, index: int) -> dict[str, Any]:
    """Elements that differ from slice to slice."""
    recipe, stack = series.recipe, series.stack
    frame = stored_frame(recipe, time, index)
    number = series.first_number + time * len(recipe.planes) + index
    clock = f"10{number // 60 % 60:02d}{number % 60:02d}.{number * 137 % 1000:03d}000"
    elements: dict[str, Any] = {
        "InstanceNumber": number,
        "InstanceCreationTime": clock,
        "ContentTime": clock,
        "SmallestImagePixelValue": int(frame.min()),
        "LargestImagePixelValue": int(frame.max()),
        "PixelData": pixel_element([frame], series.scan.protocol.bits.stored, series.syntax),
    }
    if stack is not None:
        elements["ImagePositionPatient"] = stack.position(index)
        elements["SliceLocation"] = decimal(stack.offsets[index])
    if series.scan.protocol.bits.slope is not None:
        elements["RescaleSlope"] = decimal(recipe.slope(time, index))
        elements["RescaleIntercept"] = decimal(recipe.intercept(time, index))
    elements.update(series.elements(time, index))
    return elements


def series_header(series: Series) -> Dataset:
    """Elements that the files of the series share."""
    header = base_header(series.scan)
    add_pixel_description(header, series.recipe, series.scan.protocol.bits)
    stack = series.stack
    if stack is None:
        del header.FrameOfReferenceUID, header.PositionReferenceIndicator
        return header
    header.PixelSpacing = [decimal(value) for value in stack.spacing]
    header.ImageOrientationPatient = orientation(stack.axes)
    header.SliceThickness = decimal(stack.thickness)
    return header


def add_pixel_description(header: Dataset, recipe: VoxelRecipe, bits: Bits) -> None:
    """Add the elements that say how a pixel is stored."""
    header.SamplesPerPixel = recipe.channels
    header.PhotometricInterpretation = bits.photometric
    if recipe.channels > 1:
        header.PlanarConfiguration = 0
    header.Rows, header.Columns = recipe.rows, recipe.columns
    header.BitsAllocated, header.BitsStored, header.HighBit = bits.allocated, bits.stored, bits.stored - 1
    header.PixelRepresentation = int(bits.signed)
    vr = "SS" if bits.signed else "US"
    header.add_new("SmallestImagePixelValue", vr, 0)
    header.add_new("LargestImagePixelValue", vr, 0)
    if recipe.padding_value is not None:
        header.add_new("PixelPaddingValue", vr, recipe.padding_value)
    if bits.rescale_type is not None:
        header.RescaleType = bits.rescale_type


def expected_volume(series: Series, n_files: int) -> PhantomVolume:
    """Give the truth of the volume as the stack implies it, with what the series says otherwise."""
    recipe, stack = series.recipe, series.stack
    spacing = series.flat_spacing if stack is None else stack.spacing
    slices = len(recipe.planes)
    settings: dict[str, Any] = {
        "name": series.name,
        "format": "dicom",
        "modality": series.scan.protocol.modality,
        "series_uid": series.scan.series_uid,
        "path": series.folder,
        "rows": recipe.rows,
        "columns": recipe.columns,
        "slices": slices,
        "timepoints": recipe.timepoints,
        "channels": recipe.channels,
        "spacing_row_mm": None if spacing is None else spacing[0],
        "spacing_col_mm": None if spacing is None else spacing[1],
        "spacing_slice_mm": None if stack is None else stack.slice_spacing_mm,
        "regular": True if slices > 1 else None,
        "missing_slice_count": 0,
        "duplicate_slice_count": 0,
        "excluded_instance_count": 0,
        "tilt_degrees": 0.0 if stack is None else stack.tilt_degrees,
        "value_unit": series.scan.protocol.bits.unit,
        "n_files": n_files,
        "padding_value": recipe.padding_value,
        "findings": (),
        "recipe": recipe,
    }
    return PhantomVolume(**{**settings, **series.truth})
