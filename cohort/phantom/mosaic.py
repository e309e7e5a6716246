"""Write mosaics: MR images that hold a whole stack in one frame, as Siemens and UIH write them, and their traps."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from .clean import new_scan
from .dicom import (
    Series,
    Stack,
    decimal,
    evenly,
    expected_volume,
    instance_uid,
    recipe_for,
    series_header,
    write_series,
)
from .encode import EncodedHeader, pixel_element
from .protocols import mr
from .traps import Trap, plain_stack
from .truth import PhantomFile, Written
from .voxels import VoxelRecipe, stored_frame

STEP_MM = 3.6
_TAG = struct.Struct("<64si4s3i")
_LEAST_ITEMS = 6


def write_siemens_mosaic(root: Path, series: Series, *, upwards: bool = True) -> Written:
    """Write one Siemens mosaic per time point.

    Parameters
    ----------
    root : Path
        Where the cohort lies.
    series : Series
        The volume; its recipe has the size of one slice.
    upwards : bool
        Whether the tiles follow the normal, rows x columns; else the last slice is the first tile.
    """
    stack, slices = _stack(series), len(series.recipe.planes)
    side = math.isqrt(slices - 1) + 1
    order = list(range(slices)) if upwards else list(range(slices))[::-1]
    header = _sheet_header(series, (side, side))
    header.ImagePositionPatient = _sheet_position(stack, order[0], series.recipe, side)
    normal = stack.normal if upwards else -stack.normal
    csa = csa_header({
        "EchoLinePosition": ("IS", ["32"]),
        "ICE_Dims": ("LO", ["X_1_1_1_1_1_1_1_1_1_1_1_38"]),
        "ProtocolSliceNumber": ("IS", ["0"]),
        "AcquisitionMatrixText": ("SH", [f"{series.recipe.rows}*{series.recipe.columns}"]),
        "MosaicRefAcqTimes": ("FD", [f"{2.5 * index:.8f}" for index in range(slices)]),
        "NumberOfImagesInMosaic": ("US", [str(slices)]),
        "SliceNormalVector": ("FD", [f"{component:.8f}" for component in normal]),
    })  # fmt: skip
    header.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", csa)
    return _write_mosaics(root, series, header, (side, side), order)


def write_uih_mosaic(root: Path, series: Series) -> Written:
    """Write one UIH mosaic per time point: a grid of as few rows as will do, and a sequence of positions."""
    stack, slices = _stack(series), len(series.recipe.planes)
    across = math.isqrt(slices - 1) + 1
    grid = (-(-slices // across), across)
    header = _sheet_header(series, grid)
    header.pop("AcquisitionNumber")
    block = header.private_block(0x0065, "Image Private Header", create=True)
    block.add_new(0x50, "DS", str(slices))
    frames = []
    for index in range(slices):
        frame = Dataset()
        frame.ImagePositionPatient = stack.position(index)
        frame.AcquisitionTime = f"1020{index:02d}.000000"
        frames.append(frame)
    block.add_new(0x51, "SQ", Items(frames))
    return _write_mosaics(root, series, header, grid, list(range(slices)))


def csa_header(tags: Mapping[str, tuple[str, Sequence[str]]]) -> bytes:
    """Encode a CSA header of the second version: tags of a name, a VR and texts."""
    parts = [b"SV10\x04\x03\x02\x01", struct.pack("<2I", len(tags), 77)]
    for name, (vr, values) in tags.items():
        items = max(_LEAST_ITEMS, len(values))
        parts.append(_TAG.pack(name.encode(), len(values), vr.encode(), 6, items, 77))
        for index in range(items):
            text = values[index].encode() + b"\0" if index < len(values) else b""
            parts.append(struct.pack("<4i", len(text), len(text), 77, len(text)))
            parts.append(text + b"\0" * (-len(text) % 4))
    return b"".join(parts)


def _stack(series: Series) -> Stack:
    assert series.stack is not None
    return series.stack


def _sheet_header(series: Series, grid: tuple[int, int]) -> Dataset:
    header = series_header(series)
    header.Rows, header.Columns = grid[0] * series.recipe.rows, grid[1] * series.recipe.columns
    header.SpacingBetweenSlices = decimal(STEP_MM)
    return header


def _sheet_position(stack: Stack, index: int, recipe: VoxelRecipe, side: int) -> list[str]:
    """Give the position that a slice as large as the mosaic would have around the centre of one slice."""
    row, column = np.array(stack.axes)
    rows, columns = (side - 1) * recipe.rows / 2, (side - 1) * recipe.columns / 2
    first = np.array([float(value) for value in stack.position(index)])
    return [decimal(value) for value in first - column * rows * stack.spacing[0] - row * columns * stack.spacing[1]]


def _write_mosaics(root: Path, series: Series, header: Dataset, grid: tuple[int, int], order: list[int]) -> Written:
    protocol, recipe = series.scan.protocol, series.recipe
    encoder = EncodedHeader(header, series.syntax)
    folder = root / series.folder
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for time in range(recipe.timepoints):
        sheet = _sheet(recipe, time, grid, order)
        elements: dict[str, Any] = {
            "InstanceNumber": time + 1,
            "AcquisitionTime": f"1020{3 * time:02d}.000000",
            "PixelData": pixel_element([sheet], protocol.bits.stored, series.syntax),
        }
        name = series.file_name(time + 1)
        (folder / name).write_bytes(encoder.file_bytes(protocol.sop_class, instance_uid(series, time, 0), elements))
        files.append(PhantomFile(f"{series.folder}/{name}", "dicom", "ok", None, True))
    return Written((expected_volume(series, len(files)),), tuple(files))


def _sheet(recipe: VoxelRecipe, time: int, grid: tuple[int, int], order: list[int]) -> npt.NDArray[np.generic]:
    sheet = np.zeros((1, grid[0] * recipe.rows, grid[1] * recipe.columns), recipe.dtype)
    for tile, index in enumerate(order):
        top, left = tile // grid[1] * recipe.rows, tile % grid[1] * recipe.columns
        sheet[:, top : top + recipe.rows, left : left + recipe.columns] = stored_frame(recipe, time, index)
    return sheet


# -- traps -------------------------------------------------------------------------------------------------


def _series(name: str, seed: int, slices: int, scanner: str, word: str, syntax: UID, **truth: Any) -> Series:
    """Describe an oblique EPI series of two time points."""
    a, b = math.radians(12.0), math.radians(-8.0)
    row = (math.cos(a), math.sin(a), 0.0)
    column = (-math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b))
    protocol = mr("EP2D BOLD", scanner, ImageType=["ORIGINAL", "PRIMARY", "M", "ND", word], ScanningSequence="EP")
    stack = plain_stack(offsets=evenly(slices, STEP_MM), axes=(row, column), spacing=(3.25, 3.0))
    recipe = recipe_for(protocol, name, seed, (slices, 20, 16), timepoints=2)
    scan = new_scan(protocol, seed, 0, name)
    truth = {"tiles": slices, **truth}
    return Series(name, f"traps/{name}", scan, stack, recipe, syntax=syntax, truth=truth)


def siemens_mosaic(root: Path, name: str, seed: int) -> Written:
    """Write mosaics of 7 slices, so that two of the 3 x 3 tiles are empty."""
    return write_siemens_mosaic(root, _series(name, seed, 7, "mr-siemens", "MOSAIC", ExplicitVRLittleEndian))


def reversed_mosaic(root: Path, name: str, seed: int) -> Written:
    """Write mosaics whose slices run against rows x columns, in implicit VR."""
    series = _series(name, seed, 9, "mr-siemens", "MOSAIC", ImplicitVRLittleEndian)
    return write_siemens_mosaic(root, series, upwards=False)


def uih_mosaic(root: Path, name: str, seed: int) -> Written:
    """Write mosaics of 6 slices on a grid of 2 x 3."""
    return write_uih_mosaic(root, _series(name, seed, 6, "mr-uih", "VFRAME", ExplicitVRLittleEndian))


def stripped_mosaic(root: Path, name: str, seed: int) -> Written:
    """Write mosaics without the private header: nothing says what lies where in them."""
    lacking = {"regular": False, "findings": ("GEO-MOSAIC",), "tiles": 1}
    series = _series(name, seed, 1, "mr-ge", "MOSAIC", ExplicitVRLittleEndian, **lacking)
    in_time = replace(series, elements=lambda time, index: {"TemporalPositionIdentifier": time + 1})
    return write_series(root, in_time)


MOSAIC_TRAPS: dict[str, Trap] = {
    "mosaic-reversed": reversed_mosaic,
    "mosaic-siemens": siemens_mosaic,
    "mosaic-stripped": stripped_mosaic,
    "mosaic-uih": uih_mosaic,
}
