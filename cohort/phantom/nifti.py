"""Write NIfTI images byte by byte from a header, clean ones and traps, and say what is true of them."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header

from .headers import seed_of
from .truth import PhantomFile, PhantomVolume, Written
from .voxels import VoxelRecipe, stored_frame

Affine = npt.NDArray[np.float64]

_HEADERS = {"single": Nifti1Header, "pair": Nifti1PairHeader, "nifti2": Nifti2Header}
_SPACING = (1.5, 1.25, 2.0)  # of x, y and z in mm, unless the image says otherwise


def scaled_axes(spacing: tuple[float, ...], degrees: float = 0.0) -> Affine:
    """Affine (RAS) of that spacing, turned about z."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) * np.array(spacing[:3])
    affine[:3, 3] = (-40.0, -50.0, -30.0)
    return affine


@dataclass(frozen=True)
class Nifti:
    """One NIfTI image to write.

    Parameters
    ----------
    name, path : str
        Name of the volume, and its file relative to the root; ``.gz`` at the end compresses.
    recipe : VoxelRecipe
        The voxels; columns, rows and planes are x, y and z.
    modality : str
        Expected modality.
    spacing : tuple of float
        Spacing of x, y and z as the header writes it.
    affine : array or None
        Affine of both forms; by default the one of the spacing, unturned.
    codes : tuple of int
        Codes of sform and qform.
    units : tuple of str
        Units of space and time.
    variant : str
        ``single``, ``pair`` or ``nifti2``.
    endian : str
        ``<`` or ``>``.
    fields : mapping
        Header fields set last, as a broken writer would.
    truth : mapping
        Fields of the expected volume that differ from what the header says.
    """

    name: str
    path: str
    recipe: VoxelRecipe
    modality: str = "unknown"
    spacing: tuple[float, ...] = _SPACING
    affine: Affine | None = None
    codes: tuple[int, int] = (1, 1)
    units: tuple[str, str] = ("mm", "sec")
    variant: str = "single"
    endian: Literal["<", ">"] = "<"
    fields: Mapping[str, Any] = field(default_factory=dict)
    truth: Mapping[str, Any] = field(default_factory=dict)


def nifti_recipe(name: str, seed: int, size: tuple[int, int, int] = (20, 24, 28), **changes: Any) -> VoxelRecipe:
    """Recipe of (z, y, x) voxels."""
    settings: dict[str, Any] = {
        "kind": "mr",
        "seed": seed_of(seed, name),
        "rows": size[1],
        "columns": size[2],
        "planes": tuple(range(size[0])),
        "field_planes": size[0],
    }
    return VoxelRecipe(**{**settings, **changes})


def nifti_bytes(image: Nifti) -> tuple[bytes, bytes]:
    """Header and data; they are one file or two."""
    recipe = image.recipe
    header = _HEADERS[image.variant](endianness=image.endian)
    shape = [recipe.columns, recipe.rows, len(recipe.planes)]
    shape += [recipe.timepoints] if recipe.timepoints > 1 else []
    header.set_data_dtype(np.dtype(recipe.dtype).newbyteorder(image.endian))
    header.set_data_shape(shape)
    header.set_zooms(image.spacing[: len(shape)])
    header.set_xyzt_units(*image.units)
    affine = scaled_axes(image.spacing) if image.affine is None else image.affine
    header.set_qform(affine, image.codes[1])
    header.set_sform(affine, image.codes[0])
    header["scl_slope"], header["scl_inter"] = recipe.slope(0, 0), recipe.intercept(0, 0)
    header["descrip"] = b"phantom"
    for name, value in image.fields.items():
        header[name] = value
    if image.variant != "pair":
        header["vox_offset"] = len(header.binaryblock) + 4
    # Four zero bytes after the header: no extension follows.
    return header.binaryblock + bytes(4), _data(image)


def _data(image: Nifti) -> bytes:
    recipe = image.recipe
    order = np.dtype(recipe.dtype).newbyteorder(image.endian)
    frames = [
        stored_frame(recipe, time, index).astype(order)
        for time in range(recipe.timepoints)
        for index in range(len(recipe.planes))
    ]
    return b"".join(frame.tobytes() for frame in frames)


def write_nifti(root: Path, image: Nifti) -> Written:
    """Write one image, as one file or as a pair that counts once."""
    header, data = nifti_bytes(image)
    path = root / image.path
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [PhantomFile(image.path, "nifti", "ok", None, True)]
    if image.variant == "pair":
        path.write_bytes(header)
        path.with_suffix(".img").write_bytes(data)
        files.append(PhantomFile(image.path.removesuffix(".hdr") + ".img", "nifti", "ok", None, False))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(header + data, mtime=0))
    else:
        path.write_bytes(header + data)
    return Written((_expected(image),), tuple(files))


def _expected(image: Nifti) -> PhantomVolume:
    recipe = image.recipe
    settings: dict[str, Any] = {
        "name": image.name,
        "format": "nifti",
        "modality": image.modality,
        "series_uid": None,
        "path": image.path,
        "rows": recipe.rows,
        "columns": recipe.columns,
        "slices": len(recipe.planes),
        "timepoints": recipe.timepoints,
        "channels": 1,
        "spacing_row_mm": image.spacing[1],
        "spacing_col_mm": image.spacing[0],
        "spacing_slice_mm": image.spacing[2],
        "regular": True,
        "missing_slice_count": 0,
        "duplicate_slice_count": 0,
        "excluded_instance_count": 0,
        "tilt_degrees": 0.0,
        "value_unit": "label" if image.modality == "SEG" else "unknown",
        "n_files": 1,
        "padding_value": None,
        "findings": (),
        "recipe": recipe,
    }
    return PhantomVolume(**{**settings, **image.truth})


def write_clean_nifti(root: Path, seed: int) -> list[Written]:
    """Write a small BIDS tree, an image that says nothing of itself, and a pair."""
    anat, func = "clean/bids/sub-01/anat/sub-01", "clean/bids/sub-01/func/sub-01"
    slope, inter = float(np.float32(0.037)), -12.5  # NIfTI keeps them as float32
    turned = scaled_axes((1.0, 1.0, 1.5), degrees=12.0)
    # Stored with x running from front to back, as a sagittal scan would be.
    swapped = turned[:, [1, 0, 2, 3]]
    bold = nifti_recipe("bold", seed, (10, 24, 28), timepoints=6, slopes=(slope,), intercepts=(inter,))
    images = [
        Nifti("bids-t1w", f"{anat}_T1w.nii.gz", nifti_recipe("t1w", seed), "MR", (1.0, 1.0, 1.5), turned),
        Nifti("bids-bold", f"{func}_task-rest_bold.nii.gz", bold, "MR", (3.0, 3.0, 3.5, 2.0)),
        Nifti(
            "bids-t2w-float",
            f"{anat}_T2w.nii",
            nifti_recipe("t2w", seed, dtype="float32"),
            "MR",
            (1.0, 1.0, 1.5),
            swapped,
        ),
        Nifti(
            "bids-mask",
            f"{anat}_desc-brain_mask.nii.gz",
            nifti_recipe("mask", seed, dtype="uint8", kind="labels", low=0, high=255),
            "SEG",
            (1.0, 1.0, 1.5),
            turned,
        ),
        Nifti("plain", "clean/plain/brain.nii", nifti_recipe("plain", seed)),
        Nifti("pair", "clean/pair/atlas.hdr", nifti_recipe("pair", seed), variant="pair"),
    ]
    return [*(write_nifti(root, image) for image in images), _bids_companions(root, anat, func)]


def _bids_companions(root: Path, anat: str, func: str) -> Written:
    """Text files of a BIDS tree: sidecars with times in seconds, and the description of the whole."""
    scanner = {"Modality": "MR", "Manufacturer": "Siemens", "MagneticFieldStrength": 3}
    texts: dict[str, dict[str, Any]] = {
        f"{anat}_T1w.json": {**scanner, "EchoTime": 0.00298, "RepetitionTime": 2.3, "FlipAngle": 9},
        f"{func}_task-rest_bold.json": {
            **scanner,
            "EchoTime": 0.03,
            "RepetitionTime": 2.0,
            "TaskName": "rest",
        },
        "clean/bids/dataset_description.json": {"Name": "Phantom", "BIDSVersion": "1.9.0"},
    }
    for path, content in texts.items():
        (root / path).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    (root / "clean/bids/participants.tsv").write_text("participant_id\tage\tsex\nsub-01\t45\tF\n", encoding="utf-8")
    paths = (*texts, "clean/bids/participants.tsv")
    return Written(files=tuple(PhantomFile(path, None, "not_imaging", "not_dicom_or_nifti", False) for path in paths))


def _one(name: str, seed: int, file: str = "image.nii", **settings: Any) -> Nifti:
    """Describe a small image in the folder of its trap."""
    return Nifti(name, f"traps/{name}/{file}", nifti_recipe(name, seed, (8, 12, 10)), **settings)


def no_orientation(root: Path, name: str, seed: int) -> Written:
    """Write 0 for both form codes: the voxel size is known, the orientation is not."""
    truth = {"findings": ("NII-NO-ORIENTATION",)}
    return write_nifti(root, _one(name, seed, codes=(0, 0), truth=truth))


def forms_disagree(root: Path, name: str, seed: int) -> Written:
    """Write an sform that is turned by 15 degrees against the qform, both with a code."""
    turned = scaled_axes(_SPACING, degrees=15.0)
    rows = {f"srow_{axis}": turned[number] for number, axis in enumerate("xyz")}
    return write_nifti(root, _one(name, seed, fields=rows, truth={"findings": ("NII-SFORM-QFORM",)}))


def zero_pixdim(root: Path, name: str, seed: int) -> Written:
    """Write 0 as the voxel size in z; the sform holds the true one."""
    pixdim = [1.0, *_SPACING[:2], 0.0, 0.0, 0.0, 0.0, 0.0]
    truth = {"findings": ("NII-BAD-PIXDIM",)}
    return write_nifti(root, _one(name, seed, codes=(1, 0), fields={"pixdim": pixdim}, truth=truth))


def nan_pixdim(root: Path, name: str, seed: int) -> Written:
    """Write NaN as the voxel size in z, and no form that says better: the slice spacing is unknown."""
    pixdim = [1.0, *_SPACING[:2], math.nan, 0.0, 0.0, 0.0, 0.0]
    truth = {
        "spacing_slice_mm": None,
        "regular": None,
        "findings": ("NII-BAD-PIXDIM", "NII-NO-ORIENTATION"),
    }
    return write_nifti(root, _one(name, seed, codes=(0, 0), fields={"pixdim": pixdim}, truth=truth))


def unknown_units(root: Path, name: str, seed: int) -> Written:
    """Leave out the unit of length; millimetres are meant."""
    truth = {"findings": ("NII-UNITS-UNKNOWN",)}
    return write_nifti(root, _one(name, seed, units=("unknown", "unknown"), truth=truth))


def micron_units(root: Path, name: str, seed: int) -> Written:
    """Write lengths in micrometres: 2000 is 2 mm."""
    keys = ("spacing_col_mm", "spacing_row_mm", "spacing_slice_mm")
    spacing = tuple(1000.0 * value for value in _SPACING)
    truth = dict(zip(keys, _SPACING, strict=True))
    return write_nifti(root, _one(name, seed, spacing=spacing, units=("micron", "sec"), truth=truth))


def big_endian(root: Path, name: str, seed: int) -> Written:
    """Write header and voxels big-endian."""
    return write_nifti(root, _one(name, seed, endian=">"))


def nifti2(root: Path, name: str, seed: int) -> Written:
    """Write NIfTI-2, whose header has 540 bytes."""
    return write_nifti(root, _one(name, seed, variant="nifti2"))


def nan_slope(root: Path, name: str, seed: int) -> Written:
    """Write NaN as scl_slope: the stored values stand."""
    truth = {"findings": ("NII-SLOPE-INVALID",)}
    return write_nifti(root, _one(name, seed, fields={"scl_slope": math.nan}, truth=truth))


def truncated(root: Path, name: str, seed: int) -> Written:
    """Leave out the last third of the voxels."""
    image = _one(name, seed)
    header, data = nifti_bytes(image)
    path = root / image.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + data[: len(data) * 2 // 3])
    file = PhantomFile(image.path, "nifti", "rejected", "truncated_pixels", True, ("PIX-TRUNCATED",))
    return Written(files=(file,))


NIFTI_TRAPS: dict[str, Callable[[Path, str, int], Written]] = {
    "nifti-big-endian": big_endian,
    "nifti-forms-disagree": forms_disagree,
    "nifti-micron": micron_units,
    "nifti-no-orientation": no_orientation,
    "nifti-pixdim-nan": nan_pixdim,
    "nifti-pixdim-zero": zero_pixdim,
    "nifti-slope-nan": nan_slope,
    "nifti-truncated": truncated,
    "nifti-units-unknown": unknown_units,
    "nifti-version-2": nifti2,
}
