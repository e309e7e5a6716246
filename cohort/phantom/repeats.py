"""Traps of four dimensions and of objects with functional groups: phases, gates, directions, stacks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .combined import MIXED, said, several, without, write_all
from .dicom import Elements, Vector, evenly, expected_volume, instance_uid, write_series
from .multiframe import write_enhanced
from .protocols import Bits, mr, pt
from .traps import SLICES, STEP_MM, Trap, plain_series, plain_stack
from .truth import Written, merge

_RESCALED = Bits(slope=1.5, intercept=-10.0)
_TIMES = 3
_REPEATED = {"timepoints": _TIMES}


# -- single frames -----------------------------------------------------------------------------------------


def ct_phases(root: Path, name: str, seed: int) -> Written:
    """Repeat a CT at three cardiac phases; InstanceNumber runs through the phases of a slice first."""

    def elements(time: int, index: int) -> dict[str, Any]:
        return {"TriggerTime": 250 * time, "InstanceNumber": index * _TIMES + time + 1}

    return write_series(root, plain_series(name, seed, recipe=_REPEATED, elements=elements))


def gates_without_numbers(root: Path, name: str, seed: int) -> Written:
    """Gate a PET by TriggerTime, and leave InstanceNumber out."""

    def elements(time: int, index: int) -> dict[str, Any]:
        return {**_pet_image("GATED", time, index), "TriggerTime": 300 * time, "InstanceNumber": None}

    slopes = tuple(round(0.7 + 0.01 * i, 2) for i in range(_TIMES * SLICES))
    recipe = {**_REPEATED, "slopes": slopes}
    return write_series(root, plain_series(name, seed, protocol=pt(), recipe=recipe, elements=elements))


def pet_frames(root: Path, name: str, seed: int) -> Written:
    """Repeat a PET over time; only FrameReferenceTime tells when, and InstanceNumber is shuffled."""
    numbers = np.random.default_rng([seed, 81]).permutation(_TIMES * SLICES) + 1

    def elements(time: int, index: int) -> dict[str, Any]:
        number = int(numbers[time * SLICES + index])
        said = {"FrameReferenceTime": 60000 * time + 30000, "InstanceNumber": number}
        return {**_pet_image("DYNAMIC", time, index), **said}

    return write_series(root, plain_series(name, seed, protocol=pt(), recipe=_REPEATED, elements=elements))


def _pet_image(kind: str, time: int, index: int) -> dict[str, Any]:
    """Give what PS3.3 C.8.9.1 and C.8.9.4 ask of every image of a PET that is repeated."""
    return {
        "SeriesType": [kind, "IMAGE"],
        "NumberOfSlices": SLICES,
        "NumberOfTimeSlots" if kind == "GATED" else "NumberOfTimeSlices": _TIMES,
        "ImageIndex": time * SLICES + index + 1,
    }


def repetitions(root: Path, name: str, seed: int) -> Written:
    """Repeat an MR; nothing but InstanceNumber orders the repetitions."""
    return write_series(root, plain_series(name, seed, protocol=mr("BOLD"), recipe=_REPEATED))


def cut_short(root: Path, name: str, seed: int) -> Written:
    """End the scan within the third repetition: five slices are a volume of their own."""
    first, rest = several(
        name, seed,
        {"recipe": {"timepoints": 2}, "elements": _temporal_position(0),
         "truth": {"split_reason": "TemporalPosition", **MIXED}},
        {"stack": plain_stack(offsets=evenly(5, STEP_MM)), "recipe": {"planes": tuple(range(5))},
         "elements": _temporal_position(2), "truth": {"split_reason": "TemporalPosition", **MIXED}},
        protocol=mr("DYNAMIC"),
    )  # fmt: skip
    return write_all(root, [first, rest])


def _temporal_position(before: int) -> Elements:
    return lambda time, index: {"TemporalPositionIdentifier": before + time + 1}


def diffusion(root: Path, name: str, seed: int) -> Written:
    """Mix one b = 0 image with three directions at b = 1000; InstanceNumber runs through all of them slice by slice."""
    directions = ([0.0, 0.6, 0.8], [0.6, 0.0, 0.8], [1.0, 0.0, 0.0])

    def weighted(time: int, index: int) -> dict[str, Any]:
        number = index * (len(directions) + 1) + time + 2
        return {
            "DiffusionBValue": 1000.0,
            "DiffusionGradientOrientation": directions[time],
            "InstanceNumber": number,
        }

    def plain(time: int, index: int) -> dict[str, Any]:
        return {"DiffusionBValue": 0.0, "InstanceNumber": index * (len(directions) + 1) + 1}

    split = {"truth": {"split_reason": "DiffusionBValue", **MIXED}}
    parts = {"elements": plain, **split}, {"elements": weighted, "recipe": _REPEATED, **split}
    return write_all(root, several(name, seed, *parts, protocol=mr("DWI")))


def magnitude_and_phase(root: Path, name: str, seed: int) -> Written:
    """Put magnitude and phase images at the same places into one series."""
    parts = (
        {
            "elements": said(ImageType=["ORIGINAL", "PRIMARY", kind, "ND"]),
            "truth": {"split_reason": "ImageType", **MIXED},
        }
        for kind in "MP"
    )
    return write_all(root, several(name, seed, *parts, protocol=mr("FIELD MAP")))


# -- functional groups -------------------------------------------------------------------------------------


def everything_per_frame(root: Path, name: str, seed: int) -> Written:
    """Repeat in every frame what could be shared, with a rescale of its own, and store the last slice first."""
    slopes = tuple(round(1.0 + 0.05 * index, 2) for index in range(SLICES))
    series = plain_series(name, seed, protocol=mr("T1", "mr-philips", _RESCALED), recipe={"slopes": slopes})
    return write_enhanced(root, series, per_frame=True, order="descending")


def stacks(root: Path, name: str, seed: int) -> Written:
    """Put two parallel stacks, one behind the other, into one object; StackID tells them apart."""
    split = {"split_reason": "StackID", **MIXED}
    volumes = several(
        name, seed,
        {"elements": said(StackID="1"), "truth": split},
        {"elements": said(StackID="2"), "truth": split, "stack": plain_stack(origin=_origin(61.0))},
        protocol=mr("LEVELS", bits=_RESCALED),
    )  # fmt: skip
    return write_enhanced(root, *volumes, order="ascending")


def interleaved(root: Path, name: str, seed: int) -> Written:
    """Store the even slices first, then the odd ones, as an interleaved scan may."""
    return write_enhanced(root, plain_series(name, seed, protocol=mr("T2", bits=_RESCALED)), order="interleaved")


def frames_missing(root: Path, name: str, seed: int) -> Written:
    """Leave two frames out of an enhanced CT."""
    return write_enhanced(root, plain_series(name, seed, **without(3, 8)), order="ascending")


def components(root: Path, name: str, seed: int) -> Written:
    """Put magnitude and phase into one enhanced object; ComplexImageComponent tells them apart."""
    parts = (
        {
            "elements": said(ComplexImageComponent=kind),
            "truth": {"split_reason": "ComplexImageComponent", **MIXED},
        }
        for kind in ("MAGNITUDE", "PHASE")
    )
    volumes = several(name, seed, *parts, protocol=mr("FIELD MAP", bits=_RESCALED))
    return write_enhanced(root, *volumes, order="ascending")


def object_per_slice(root: Path, name: str, seed: int) -> Written:
    """Write every slice as an enhanced object of one frame."""
    whole = plain_series(name, seed, protocol=mr("T1", bits=_RESCALED))
    objects = [
        replace(
            whole,
            name=f"{name}-{index}",
            stack=plain_stack(offsets=(0.0,), origin=_origin(STEP_MM * index)),
            recipe=replace(whole.recipe, planes=(index,)),
            first_number=index + 1,
        )
        for index in range(SLICES)
    ]
    files = tuple(file for one in objects for file in write_enhanced(root, one).files)
    return Written((expected_volume(whole, SLICES),), files)


def object_per_time(root: Path, name: str, seed: int) -> Written:
    """Write every time point as an enhanced object; they are one volume."""
    whole = plain_series(
        name, seed, protocol=mr("BOLD", bits=_RESCALED), recipe=_REPEATED, elements=_temporal_position(0)
    )
    objects = [replace(whole, name=f"{name}-{time}", first_number=time + 1) for time in range(_TIMES)]
    files = tuple(
        file for t, one in enumerate(objects) for file in write_enhanced(root, one, times=(t,), order="ascending").files
    )
    return Written((expected_volume(whole, _TIMES),), files)


def identity_shared(root: Path, name: str, seed: int) -> Written:
    """Give a single frame and an enhanced object after it the same SOPInstanceUID: both are kept whole."""
    single, whole = several(
        name, seed,
        {"stack": plain_stack(offsets=(0.0,)), "recipe": {"planes": (0,)}, "truth": MIXED},
        {"truth": {"split_reason": "conflicting_instance", "findings": ("GEO-MIXED-SERIES", "ID-CONFLICTING-SOP")}},
        protocol=mr("T1", bits=_RESCALED),
    )  # fmt: skip
    single = replace(single, elements=said(SOPInstanceUID=instance_uid(whole, 0, 0)))
    return merge([write_series(root, single), write_enhanced(root, whole)])


def _origin(offset: float) -> Vector:
    x, y, z = plain_stack().origin
    return x, y, z + offset


REPEATED_TRAPS: dict[str, Trap] = {
    "ct-cardiac-phases": ct_phases,
    "diffusion-slice-by-slice": diffusion,
    "dynamic-cut-short": cut_short,
    "enhanced-components": components,
    "enhanced-everything-per-frame": everything_per_frame,
    "enhanced-frames-missing": frames_missing,
    "enhanced-identity-shared": identity_shared,
    "enhanced-interleaved": interleaved,
    "enhanced-object-per-slice": object_per_slice,
    "enhanced-object-per-time": object_per_time,
    "enhanced-stacks": stacks,
    "magnitude-and-phase": magnitude_and_phase,
    "pet-frames-shuffled": pet_frames,
    "pet-gates-without-numbers": gates_without_numbers,
    "repetitions": repetitions,
}
