"""What is true of a phantom cohort: its volumes, and what must become of each file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .voxels import VoxelRecipe, modality_values, padding_mask


@dataclass(frozen=True)
class PhantomVolume:
    """One volume that an assembler must find.

    Parameters
    ----------
    name : str
        Unique name within the cohort.
    format : str
        ``dicom`` or ``nifti``.
    modality : str
        Expected modality; ``unknown`` where nothing tells.
    series_uid : str or None
        SeriesInstanceUID; none for NIfTI.
    path : str
        Folder (DICOM) or file (NIfTI), relative to the root.
    rows, columns, slices, timepoints, channels : int
        Size; for NIfTI the columns, rows and slices are the array's x, y and z.
    spacing_row_mm, spacing_col_mm, spacing_slice_mm : float or None
        Distance between rows, columns and slices; none where it is unknown or there is one slice only.
    regular : bool or None
        Expected verdict on the 3-D grid; none where there is no such grid.
    missing_slice_count, duplicate_slice_count, excluded_instance_count : int
        Gaps, exact copies, and files of the series that are no part of the stack.
    tilt_degrees : float
        Angle between the normal and the direction in which the slices advance.
    value_unit : str
        Unit of the modality values.
    n_files : int
        Files that belong to it, copies and excluded ones included.
    padding_value : int or None
        Stored value of padding.
    findings : tuple of str
        Codes that this volume must raise.
    recipe : VoxelRecipe
        How to make the voxels again.
    tiles : int
        Slices that share a file: above 1 in mosaics.
    split_reason : str or None
        Attribute that tells it from the other volumes of its series.
    reason_not_regular : str or None
        The geometry checks that fail; given where ``regular`` is false.
    spacing_source : str or None
        Where the in-plane spacing comes from; none where the truth does not say.
    reason : str or None
        Why its pixels are not read.
    """

    name: str
    format: str
    modality: str
    series_uid: str | None
    path: str
    rows: int
    columns: int
    slices: int
    timepoints: int
    channels: int
    spacing_row_mm: float | None
    spacing_col_mm: float | None
    spacing_slice_mm: float | None
    regular: bool | None
    missing_slice_count: int
    duplicate_slice_count: int
    excluded_instance_count: int
    tilt_degrees: float
    value_unit: str
    n_files: int
    padding_value: int | None
    findings: tuple[str, ...]
    recipe: VoxelRecipe = field(repr=False)
    tiles: int = 1
    split_reason: str | None = None
    reason_not_regular: str | None = None
    spacing_source: str | None = None
    reason: str | None = None

    def voxels(self) -> npt.NDArray[np.float64]:
        """Modality values, shape (timepoints, channels, slices, rows, columns), slices along the normal."""
        return modality_values(self.recipe)

    def padding_mask(self) -> npt.NDArray[np.bool_]:
        """Where the voxels are padding, in the shape of ``voxels``."""
        return padding_mask(self.recipe)


@dataclass(frozen=True, slots=True)
class PhantomFile:
    """One file of the tree and what must become of it.

    Parameters
    ----------
    path : str
        Relative to the root, ``/``-separated.
    format : str or None
        ``dicom``, ``nifti`` or none.
    status : str
        ``ok``, ``not_imaging`` or ``rejected``.
    reason : str or None
        Reason code; none where any reason will do.
    is_image : bool
        Whether the file holds an image, whole or not.
    findings : tuple of str
        Codes that this file must raise.
    """

    path: str
    format: str | None
    status: str
    reason: str | None
    is_image: bool
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class PhantomTruth:
    """All that is true of one cohort.

    Parameters
    ----------
    root : Path
        Folder of the images.
    seed : int
        Seed it was made from.
    volumes : tuple of PhantomVolume
        Sorted by name.
    files : tuple of PhantomFile
        Every file under the root, sorted by path.
    """

    root: Path
    seed: int
    volumes: tuple[PhantomVolume, ...]
    files: tuple[PhantomFile, ...]

    def save(self, path: Path) -> None:
        """Write the truth as JSON; never inside the image root, where it would be one more file."""
        path = Path(path)
        if path.resolve().is_relative_to(Path(self.root).resolve()):
            raise ValueError("the truth belongs beside the images: choose a path outside the image root")
        record = {
            "seed": self.seed,
            "volumes": [dataclasses.asdict(volume) for volume in self.volumes],
            "files": [dataclasses.asdict(file) for file in self.files],
        }
        path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Written:
    """What one writer added to the tree."""

    volumes: tuple[PhantomVolume, ...] = ()
    files: tuple[PhantomFile, ...] = ()


def merge(parts: Iterable[Written]) -> Written:
    """Put the parts of a cohort together, in an order that does not depend on who wrote first."""
    every = tuple(parts)
    volumes = sorted((volume for part in every for volume in part.volumes), key=lambda volume: volume.name)
    files = sorted((file for part in every for file in part.files), key=lambda file: file.path)
    return Written(tuple(volumes), tuple(files))
