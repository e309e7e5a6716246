"""Series that trip a naive reader: one folder each, with the truth it must arrive at.

The true stack is 12 axial slices of 32 x 24 pixels, 2.0 mm apart, unless the trap says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from .clean import new_scan
from .dicom import (
    CORONAL,
    SAGITTAL,
    Series,
    Stack,
    Vector,
    evenly,
    instance_bytes,
    orientation,
    recipe_for,
    series_header,
    write_series,
)
from .encode import EncodedHeader
from .headers import Scan
from .multiframe import write_enhanced
from .protocols import Bits, Protocol, ct, mr
from .truth import PhantomFile, Written, merge

SLICES, ROWS, COLUMNS, STEP_MM = 12, 32, 24, 2.0
SIZE = (SLICES, ROWS, COLUMNS)
UNEVEN: dict[str, Any] = {"regular": False, "reason_not_regular": "uniform_slice_spacing"}
Trap = Callable[[Path, str, int], Written]


def plain_stack(**changes: Any) -> Stack:
    """Give the true stack, or one that differs in what is named."""
    return Stack(**{"offsets": evenly(SLICES, STEP_MM), **changes})


def plain_series(
    name: str,
    seed: int,
    *,
    stack: Stack | None = None,
    protocol: Protocol | None = None,
    recipe: Mapping[str, Any] | None = None,
    scan: Scan | None = None,
    **settings: Any,
) -> Series:
    """Describe a CT of the true stack in the folder of its trap."""
    protocol = protocol or ct()
    return Series(
        name,
        settings.pop("folder", f"traps/{name}"),
        scan or new_scan(protocol, seed, 0, name),
        stack or plain_stack(),
        recipe_for(protocol, name, seed, SIZE, **(recipe or {})),
        **settings,
    )


def missing_slice(root: Path, name: str, seed: int) -> Written:
    """Leave out one of 12 slices; InstanceNumber skips it as well."""
    kept = tuple(index for index in range(SLICES) if index != 5)
    truth = {**UNEVEN, "missing_slice_count": 1, "findings": ("GEO-MISSING-SLICE",)}
    series = plain_series(
        name,
        seed,
        stack=plain_stack(offsets=tuple(STEP_MM * index for index in kept)),
        recipe={"planes": kept, "field_planes": SLICES},
        elements=lambda time, index: {"InstanceNumber": kept[index] + 1},
        truth=truth,
    )
    return write_series(root, series)


def gantry_tilt(root: Path, name: str, seed: int) -> Written:
    """Tilt the gantry by 20 degrees, with table steps of 5 mm: 4.698463 mm along the normal, sheared."""
    angle = math.radians(20.0)
    axes: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, math.cos(angle), math.sin(angle)))
    stack = plain_stack(offsets=evenly(SLICES, 5.0), axes=axes, advance=(0.0, 0.0, 1.0))
    truth = {"regular": False, "reason_not_regular": "consistent_in_plane_col", "findings": ("GEO-TILT",)}
    return write_series(root, plain_series(name, seed, stack=stack, protocol=ct(GantryDetectorTilt=20), truth=truth))


def exact_duplicates(root: Path, name: str, seed: int) -> Written:
    """Copy two files, byte for byte, under another name."""
    truth = {
        "duplicate_slice_count": 2,
        "n_files": SLICES + 2,
        "findings": ("GEO-DUPLICATE-SLICE", "ID-DUPLICATE-SOP"),
    }
    series = plain_series(name, seed, truth=truth)
    written = write_series(root, series)
    copies = []
    for number in (3, 8):
        copy = f"{series.folder}/IM{number:04d} (copy).dcm"
        (root / copy).write_bytes((root / series.folder / f"IM{number:04d}.dcm").read_bytes())
        copies.append(PhantomFile(copy, "dicom", "ok", None, True))
    return merge([written, Written(files=tuple(copies))])


def two_acquisitions(root: Path, name: str, seed: int) -> Written:
    """Put two acquisitions at the same positions into one series."""
    return _acquisitions(root, name, seed, shift_mm=0.0)


def offset_acquisitions(root: Path, name: str, seed: int) -> Written:
    """Put two acquisitions into one series, the second 0.7 mm further along."""
    return _acquisitions(root, name, seed, shift_mm=0.7)


def _acquisitions(root: Path, name: str, seed: int, shift_mm: float) -> Written:
    scan = new_scan(ct(), seed, 0, name)
    x, y, z = plain_stack().origin
    parts = []
    for acquisition in (1, 2):
        series = plain_series(
            f"{name}-{acquisition}",
            seed,
            scan=scan,
            folder=f"traps/{name}",
            stack=plain_stack(origin=(x, y, z + shift_mm * (acquisition - 1))),
            first_number=SLICES * (acquisition - 1) + 1,
            elements=lambda time, index, number=acquisition: {"AcquisitionNumber": number},
            truth={"split_reason": "AcquisitionNumber", "findings": ("GEO-MIXED-SERIES",)},
        )
        parts.append(write_series(root, series))
    return merge(parts)


def localizer_in_series(root: Path, name: str, seed: int) -> Written:
    """Add a sagittal localizer of another size to the series."""
    truth = {"excluded_instance_count": 1, "n_files": SLICES + 1, "findings": ("GEO-LOCALIZER",)}
    series = plain_series(name, seed, first_number=2, truth=truth)
    return merge([write_series(root, series), write_localizer(root, series, seed)])


def write_localizer(root: Path, series: Series, seed: int) -> Written:
    """Write a sagittal image of another size before the first of a series; it is no volume."""
    name = f"{series.name}-localizer"
    localizer = replace(
        series,
        name=name,
        stack=Stack((0.0,), (2.0, 2.0), SAGITTAL, origin=(0.0, -60.0, 40.0), thickness=5.0),
        recipe=recipe_for(series.scan.protocol, name, seed, (1, 48, 40)),
        first_number=series.first_number - 1,
        elements=lambda time, index: {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        truth={},
    )
    return Written(files=write_series(root, localizer).files)


def padding(root: Path, name: str, seed: int) -> Written:
    """Pad outside the field of view with -2000, which rescales to -3024."""
    return write_series(root, plain_series(name, seed, recipe={"padding_value": -2000}))


def varying_rescale(root: Path, name: str, seed: int) -> Written:
    """Change slope and intercept from slice to slice; both stay integers."""
    slopes = tuple(float(1 + index % 3) for index in range(SLICES))
    intercepts = tuple(-1024.0 - 8.0 * (index % 2) for index in range(SLICES))
    return write_series(root, plain_series(name, seed, recipe={"slopes": slopes, "intercepts": intercepts}))


def variable_spacing(root: Path, name: str, seed: int) -> Written:
    """Lay the first eight slices 2 mm apart, the others 5 mm."""
    offsets = tuple([2.0 * index for index in range(8)] + [14.0 + 5.0 * index for index in range(1, 5)])
    truth = {**UNEVEN, "findings": ("GEO-IRREGULAR",)}
    return write_series(root, plain_series(name, seed, stack=plain_stack(offsets=offsets), truth=truth))


def lying_spacing_tag(root: Path, name: str, seed: int) -> Written:
    """Write 5 mm as SpacingBetweenSlices; the slices are 2 mm apart."""
    return write_series(
        root,
        plain_series(
            name,
            seed,
            protocol=ct(SpacingBetweenSlices=5),
            truth={"findings": ("GEO-SPACING-TAG-DISAGREES",)},
        ),
    )


def shuffled_numbers(root: Path, name: str, seed: int) -> Written:
    """Shuffle InstanceNumber, and with it the file names."""
    order = np.random.default_rng([seed, 77]).permutation(SLICES)
    numbers = [int(number) + 1 for number in order]
    return write_series(root, plain_series(name, seed, **_numbered(numbers)))


def reversed_order(root: Path, name: str, seed: int) -> Written:
    """Let InstanceNumber rise as the slices descend."""
    return write_series(root, plain_series(name, seed, **_numbered(list(range(SLICES, 0, -1)))))


def _numbered(numbers: list[int]) -> dict[str, Any]:
    """Give the settings of a series whose slices are numbered otherwise than in space."""
    return {
        "elements": lambda time, index: {"InstanceNumber": numbers[index]},
        "file_name": lambda number: f"IM{numbers[number - 1]:04d}.dcm",
    }


def missing_numbers(root: Path, name: str, seed: int) -> Written:
    """Leave out InstanceNumber in half of the files and empty it in the others."""
    return write_series(
        root,
        plain_series(name, seed, elements=lambda time, index: {"InstanceNumber": "" if index % 2 else None}),
    )


def coronal(root: Path, name: str, seed: int) -> Written:
    """Write coronal slices: the position changes along y."""
    return write_series(root, plain_series(name, seed, stack=plain_stack(axes=CORONAL, origin=(-60.0, 10.0, 80.0))))


def oblique(root: Path, name: str, seed: int) -> Written:
    """Turn the slices about two axes: no patient axis is the normal."""
    a, b = math.radians(25.0), math.radians(-15.0)
    row = (math.cos(a), math.sin(a), 0.0)
    column = (-math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b))
    return write_series(root, plain_series(name, seed, stack=plain_stack(axes=(row, column))))


def orientation_jitter(root: Path, name: str, seed: int) -> Written:
    """Let the direction cosines differ by up to 1e-5 from slice to slice."""
    jitter = np.random.default_rng([seed, 78]).uniform(-1e-5, 1e-5, (SLICES, 6))
    true_axes = np.array(plain_stack().axes)

    def elements(time: int, index: int) -> dict[str, Any]:
        row, column = true_axes + jitter[index].reshape(2, 3)
        return {"ImageOrientationPatient": orientation((tuple(row), tuple(column)))}

    return write_series(root, plain_series(name, seed, elements=elements))


def single_slice(root: Path, name: str, seed: int) -> Written:
    """Write one slice alone: its spacing is unknown, whatever the thickness."""
    recipe = {"planes": (6,), "field_planes": SLICES}
    return write_series(root, plain_series(name, seed, stack=plain_stack(offsets=(0.0,)), recipe=recipe))


def uid_reused(root: Path, name: str, seed: int) -> Written:
    """Give two patients the same SeriesInstanceUID, as bad de-identification leaves it."""
    parts = []
    shared = new_scan(ct(), seed, 0, name)
    for person, letter in ((0, "a"), (1, "b")):
        own = new_scan(ct(), seed, person, name)
        series = plain_series(
            f"{name}-{letter}",
            seed,
            folder=f"traps/{name}/{letter}",
            scan=replace(own, series_uid=shared.series_uid),
            truth={"findings": ("ID-UID-REUSED-ACROSS-PATIENTS",)},
        )
        parts.append(write_series(root, series))
    return merge(parts)


def enhanced_copy(root: Path, name: str, seed: int) -> Written:
    """Write the same MR as single frames and as one enhanced object; the voxels are equal."""
    protocol = mr("AX T1 COPY", "mr-philips", Bits(slope=1.5, intercept=-10.0))
    classic = plain_series(f"{name}-classic", seed, protocol=protocol, folder=f"traps/{name}/classic")
    enhanced = replace(
        classic,
        name=f"{name}-multiframe",
        folder=f"traps/{name}/multiframe",
        scan=new_scan(protocol, seed, 0, f"{name}-multiframe", 2),
    )
    return merge([write_series(root, classic), write_enhanced(root, enhanced)])


def slope_zero(root: Path, name: str, seed: int) -> Written:
    """Write 0 as RescaleSlope: the values are the stored values, their unit is unknown."""
    return write_series(
        root,
        plain_series(
            name,
            seed,
            recipe={"slopes": (1.0,), "intercepts": (0.0,)},
            elements=lambda time, index: {"RescaleSlope": 0, "RescaleIntercept": 0},
            truth={"value_unit": "unknown", "findings": ("PIX-NOT-HU",)},
        ),
    )


def text_in_number(root: Path, name: str, seed: int) -> Written:
    """Write letters into SliceThickness; the rest of the header is sound."""
    thickness = RawDataElement(Tag("SliceThickness"), "DS", 4, b"abc ", 0, False, True)
    series = plain_series(
        name,
        seed,
        protocol=mr("AX T1 ODD", "mr-siemens"),
        elements=lambda time, index: {"SliceThickness": thickness},
        truth={"findings": ("HDR-UNPARSED",)},
    )
    written = write_series(root, series)
    # The rows stay ok; each of them tells of the value it could not read.
    files = tuple(replace(file, findings=("HDR-UNPARSED",)) for file in written.files)
    return Written(written.volumes, files)


def one_instance(name: str, seed: int) -> tuple[Series, bytes]:
    """Describe and encode a single CT slice, for traps that are about the file and not the stack."""
    recipe = {"planes": (6,), "field_planes": SLICES}
    series = plain_series(name, seed, stack=plain_stack(offsets=(0.0,)), recipe=recipe)
    return series, instance_bytes(EncodedHeader(series_header(series), series.syntax), series, 0, 0)


SERIES_TRAPS: dict[str, Trap] = {
    "coronal": coronal,
    "enhanced-copy": enhanced_copy,
    "exact-duplicates": exact_duplicates,
    "gantry-tilt": gantry_tilt,
    "instance-number-missing": missing_numbers,
    "instance-number-shuffled": shuffled_numbers,
    "localizer-in-series": localizer_in_series,
    "missing-slice": missing_slice,
    "oblique": oblique,
    "orientation-jitter": orientation_jitter,
    "padding": padding,
    "rescale-varies": varying_rescale,
    "reversed-order": reversed_order,
    "single-slice": single_slice,
    "slope-zero": slope_zero,
    "spacing-tag-lies": lying_spacing_tag,
    "text-in-number": text_in_number,
    "two-acquisitions": two_acquisitions,
    "two-acquisitions-offset": offset_acquisitions,
    "uid-reused-across-patients": uid_reused,
    "variable-spacing": variable_spacing,
}
