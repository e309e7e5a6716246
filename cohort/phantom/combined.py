"""Traps that meet in one series: a tilt with a hole, echoes with a localizer, copies in one of two acquisitions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .clean import new_scan
from .dicom import AXIAL, CORONAL, SAGITTAL, Elements, Series, Vector, evenly, instance_uid, orientation, write_series
from .protocols import Protocol, ct, mr
from .traps import SLICES, STEP_MM, UNEVEN, Trap, plain_series, plain_stack, write_localizer
from .truth import PhantomFile, Written, merge

MIXED: dict[str, Any] = {"findings": ("GEO-MIXED-SERIES",)}
_HOLE = 5  # the slice that is left out where one is


def said(**elements: Any) -> Elements:
    """Say the same of every image of a volume."""
    return lambda time, index: elements


def several(
    name: str, seed: int, *parts: Mapping[str, Any], protocol: Protocol | None = None, folder: str | None = None
) -> list[Series]:
    """Describe volumes that share one series; each part holds the settings of one of them."""
    protocol = protocol or ct()
    scan = new_scan(protocol, seed, 0, name)
    volumes: list[Series] = []
    number = 1
    for label, part in enumerate(parts, 1):
        settings = {"folder": folder or f"traps/{name}", "first_number": number, **part}
        volumes.append(plain_series(f"{name}-{label}", seed, scan=scan, protocol=protocol, **settings))
        number += len(volumes[-1].recipe.planes) * volumes[-1].recipe.timepoints
    return volumes


def write_all(root: Path, volumes: list[Series]) -> Written:
    """Write volumes as single-frame files."""
    return merge([write_series(root, series) for series in volumes])


def without(*holes: int, **stack: Any) -> dict[str, Any]:
    """Give the settings of a stack that lacks slices."""
    kept = tuple(index for index in range(SLICES) if index not in holes)
    return {
        "stack": plain_stack(offsets=tuple(STEP_MM * index for index in kept), **stack),
        "recipe": {"planes": kept, "field_planes": SLICES},
        "truth": {**UNEVEN, "missing_slice_count": len(holes), "findings": ("GEO-MISSING-SLICE",)},
    }


def tilted_axes(degrees: float) -> dict[str, Any]:
    """Give axes and advance of a gantry tilted by an angle."""
    angle = math.radians(degrees)
    axes: tuple[Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, math.cos(angle), math.sin(angle)))
    return {"axes": axes, "advance": (0.0, 0.0, 1.0)}


def turned_axes() -> tuple[Vector, Vector]:
    """Give axes turned about two patient axes."""
    a, b = math.radians(-35.0), math.radians(20.0)
    return (math.cos(a), math.sin(a), 0.0), (-math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b))


# -- the stack --------------------------------------------------------------------------------------------


def sagittal(root: Path, name: str, seed: int) -> Written:
    """Write sagittal slices 1.5 mm apart: no position changes along z."""
    stack = plain_stack(offsets=evenly(SLICES, 1.5), axes=SAGITTAL, origin=(9.0, -60.0, 70.0))
    return write_series(root, plain_series(name, seed, stack=stack))


def sagittal_holes(root: Path, name: str, seed: int) -> Written:
    """Leave out two neighbouring sagittal slices: one gap, two slices."""
    settings = without(6, 7, axes=SAGITTAL, origin=(9.0, -60.0, 70.0))
    return write_series(root, plain_series(name, seed, **settings))


def coronal_reversed(root: Path, name: str, seed: int) -> Written:
    """Write coronal slices numbered against their order, and leave one out."""
    settings = without(_HOLE, axes=CORONAL, origin=(-60.0, 10.0, 80.0))
    elements = _numbered_down(SLICES - 1)
    return write_series(root, plain_series(name, seed, elements=elements, **settings))


def _numbered_down(count: int) -> Elements:
    return lambda time, index: {"InstanceNumber": count - index}


def oblique_jitter_hole(root: Path, name: str, seed: int) -> Written:
    """Turn the slices about two axes, let the cosines jitter by 1e-5, and leave one out."""
    settings = without(_HOLE, axes=turned_axes())
    jitter = np.random.default_rng([seed, 79]).uniform(-1e-5, 1e-5, (SLICES, 2, 3))

    def elements(time: int, index: int) -> dict[str, Any]:
        row, column = np.array(turned_axes()) + jitter[index]
        return {"ImageOrientationPatient": orientation((tuple(row), tuple(column)))}

    return write_series(root, plain_series(name, seed, elements=elements, **settings))


def tilt_hole(root: Path, name: str, seed: int) -> Written:
    """Tilt the gantry by 20 degrees and leave one slice out: 2 mm of table are 1.879385 mm along the normal."""
    settings = without(_HOLE, **tilted_axes(20.0))
    settings["truth"] |= {
        "reason_not_regular": "consistent_in_plane_col, uniform_slice_spacing",
        "findings": ("GEO-MISSING-SLICE", "GEO-TILT"),
    }
    return write_series(root, plain_series(name, seed, protocol=ct(GantryDetectorTilt=20), **settings))


def tilt_unsaid(root: Path, name: str, seed: int) -> Written:
    """Tilt the gantry by -12 degrees while the tag says 0."""
    truth = {"regular": False, "reason_not_regular": "consistent_in_plane_col", "findings": ("GEO-TILT",)}
    stack = plain_stack(**tilted_axes(-12.0))
    return write_series(root, plain_series(name, seed, stack=stack, truth=truth))


def ends_missing(root: Path, name: str, seed: int) -> Written:
    """Leave out the first and the last slice: no gap shows it, what is there is a regular stack."""
    settings = without(0, SLICES - 1)
    return write_series(root, plain_series(name, seed, stack=settings["stack"], recipe=settings["recipe"]))


def overlapping(root: Path, name: str, seed: int) -> Written:
    """Lay slices of 5 mm thickness 2 mm apart, and write the negative of the distance as SpacingBetweenSlices."""
    protocol = ct(SpacingBetweenSlices=-2)
    truth = {"findings": ("GEO-SPACING-TAG-DISAGREES",)}
    return write_series(
        root, plain_series(name, seed, protocol=protocol, stack=plain_stack(thickness=5.0), truth=truth)
    )


def numbers_shuffled_and_missing(root: Path, name: str, seed: int) -> Written:
    """Shuffle InstanceNumber in half of the files and leave it out in the others; one slice lacks."""
    numbers = np.random.default_rng([seed, 80]).permutation(SLICES) + 1
    series = plain_series(
        name, seed, **without(_HOLE), elements=lambda t, i: {"InstanceNumber": int(numbers[i]) if i % 2 else None}
    )
    return write_series(root, series)


# -- copies and strangers in the series -------------------------------------------------------------------


def echoes_localizer(root: Path, name: str, seed: int) -> Written:
    """Put two echoes and a localizer into one series; the localizer is counted with the first echo."""
    first, second = several(
        name, seed,
        {"elements": said(EchoTime="12", EchoNumbers=1), "first_number": 2,
         "truth": {"split_reason": "EchoTime", "excluded_instance_count": 1, "n_files": SLICES + 1,
                   "findings": ("GEO-MIXED-SERIES", "GEO-LOCALIZER")}},
        {"elements": said(EchoTime="98.5", EchoNumbers=2), "first_number": SLICES + 2,
         "truth": {"split_reason": "EchoTime", **MIXED}},
        protocol=mr("AX DUAL ECHO", EchoTrainLength=2),
    )  # fmt: skip
    return merge([write_all(root, [first, second]), write_localizer(root, first, seed)])


def echoes_hole(root: Path, name: str, seed: int) -> Written:
    """Leave one slice out of the second of two echoes."""
    settings = without(_HOLE)
    settings["truth"] |= {"split_reason": "EchoTime"}
    return write_all(root, several(
        name, seed,
        {"elements": said(EchoTime="12"), "truth": {"split_reason": "EchoTime", **MIXED}},
        {"elements": said(EchoTime="98.5"), **settings},
        protocol=mr("AX DUAL ECHO", EchoTrainLength=2),
    ))  # fmt: skip


def acquisitions_copies(root: Path, name: str, seed: int) -> Written:
    """Copy two files of the second of two acquisitions."""
    volumes = several(
        name, seed,
        {"elements": said(AcquisitionNumber=1), "truth": {"split_reason": "AcquisitionNumber", **MIXED}},
        {"elements": said(AcquisitionNumber=2),
         "truth": {"split_reason": "AcquisitionNumber", "duplicate_slice_count": 2, "n_files": SLICES + 2,
                   "findings": ("GEO-MIXED-SERIES", "GEO-DUPLICATE-SLICE", "ID-DUPLICATE-SOP")}},
    )  # fmt: skip
    written = write_all(root, volumes)
    copies = []
    for number in (SLICES + 3, SLICES + 8):
        original, copy = (f"{volumes[1].folder}/IM{number:04d}{suffix}.dcm" for suffix in ("", " (copy)"))
        (root / copy).write_bytes((root / original).read_bytes())
        copies.append(PhantomFile(copy, "dicom", "ok", None, True))
    return merge([written, Written(files=tuple(copies))])


def acquisitions_offset_hole(root: Path, name: str, seed: int) -> Written:
    """Put two acquisitions 0.7 mm apart into one series, and leave one slice out of the second."""
    x, y, z = plain_stack().origin
    settings = without(_HOLE, origin=(x, y, z + 0.7))
    settings["truth"] |= {"split_reason": "AcquisitionNumber"}
    return write_all(root, several(
        name, seed,
        {"elements": said(AcquisitionNumber=1), "truth": {"split_reason": "AcquisitionNumber", **MIXED}},
        {"elements": said(AcquisitionNumber=2), **settings},
    ))  # fmt: skip


def exported_again(root: Path, name: str, seed: int) -> Written:
    """Write two slices again under other identities, as an export that makes new UIDs does."""
    truth = {
        "regular": False,
        "reason_not_regular": "unique_slice_positions",
        "duplicate_slice_count": 2,
        "n_files": SLICES + 2,
        "findings": ("GEO-DUPLICATE-SLICE",),
    }
    series = plain_series(name, seed, truth=truth)
    again = replace(
        series,
        name=f"{name}-again",
        stack=plain_stack(offsets=(6.0, 16.0)),
        recipe=replace(series.recipe, planes=(3, 8)),
        elements=said(InstanceNumber=None),
        first_number=SLICES + 1,
    )
    return merge([write_series(root, series), Written(files=write_series(root, again).files)])


def identities_reused(root: Path, name: str, seed: int) -> Written:
    """Give the second of two echoes the UIDs and numbers of the first, as bad de-identification does."""
    first, second = several(
        name, seed,
        {"elements": said(EchoTime="12")},
        {"truth": {"split_reason": "conflicting_instance", "findings": ("GEO-MIXED-SERIES", "ID-CONFLICTING-SOP")}},
        protocol=mr("AX DUAL ECHO", EchoTrainLength=2),
    )  # fmt: skip

    def elements(time: int, index: int) -> dict[str, Any]:
        return {"EchoTime": "98.5", "InstanceNumber": index + 1, "SOPInstanceUID": instance_uid(first, time, index)}

    return write_all(root, [first, replace(second, elements=elements)])


def three_localizers(root: Path, name: str, seed: int) -> Written:
    """Write a survey of one axial, one coronal and one sagittal image: three images, no stack."""
    places = ((AXIAL, (-60.0, -60.0, 0.0)), (CORONAL, (-60.0, 0.0, 60.0)), (SAGITTAL, (0.0, -60.0, 60.0)))
    parts = [
        {
            "stack": plain_stack(offsets=(0.0,), axes=axes, origin=origin),
            "recipe": {"planes": (0,), "field_planes": 1},
            "truth": {"split_reason": "ImageOrientationPatient", **MIXED},
        }
        for axes, origin in places
    ]
    return write_all(root, several(name, seed, *parts, protocol=mr("SURVEY")))


COMBINED_TRAPS: dict[str, Trap] = {
    "coronal-reversed-missing-slice": coronal_reversed,
    "echoes-localizer": echoes_localizer,
    "echoes-missing-slice": echoes_hole,
    "ends-missing": ends_missing,
    "exported-again": exported_again,
    "identities-reused": identities_reused,
    "instance-number-shuffled-and-missing": numbers_shuffled_and_missing,
    "oblique-jitter-missing-slice": oblique_jitter_hole,
    "overlapping-slices": overlapping,
    "sagittal": sagittal,
    "sagittal-missing-slices": sagittal_holes,
    "three-localizers": three_localizers,
    "tilt-missing-slice": tilt_hole,
    "tilt-unsaid": tilt_unsaid,
    "two-acquisitions-duplicates": acquisitions_copies,
    "two-acquisitions-offset-missing-slice": acquisitions_offset_hole,
}
