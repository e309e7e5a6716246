"""The clean part of a cohort: what an ordinary study holds, one patient at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from .clips import write_ultrasound
from .dicom import SAGITTAL, Elements, Series, Stack, evenly, recipe_for, write_series
from .headers import SCANNERS, Scan, make_uid, patient
from .multiframe import write_enhanced
from .protocols import Bits, Protocol, cr, ct, ct_unsigned, mg, mr, pt, screen, us
from .truth import Written


def new_scan(protocol: Protocol, seed: int, person: int, name: str, number: int = 1) -> Scan:
    """Scan of a patient; series of one patient share the study and, per modality, the frame of reference."""
    study = make_uid(seed, "study", person)
    return Scan(
        who=patient(person),
        scanner=SCANNERS[protocol.scanner],
        protocol=protocol,
        number=number,
        study_uid=study,
        series_uid=make_uid(seed, "series", person, name),
        frame_of_reference_uid=make_uid(study, "frame", protocol.modality),
    )


def write_patient(root: Path, seed: int, person: int) -> list[Written]:
    """Write the study of one patient: CT, T1 and T2 for everyone, and one of four sets of further series."""
    study = _Study(root, seed, person)
    further = (_first_set, _second_set, _third_set, _fourth_set)
    return [*_everyone(study), *further[person % len(further)](study)]


class _Study:
    """The series of one patient; numbers them and names their folders."""

    def __init__(self, root: Path, seed: int, person: int) -> None:
        self.root, self.seed, self.person = root, seed, person
        self.number = 0

    def series(
        self, label: str, protocol: Protocol, size: tuple[int, int, int], stack: Stack | None, **settings: Any
    ) -> Series:
        """Describe one series of (slices, rows, columns); ``recipe`` holds what the voxels do differently."""
        self.number += 1
        patient_folder = f"patient-{self.person + 1:04d}"
        name = f"{patient_folder}-{label}"
        recipe = recipe_for(protocol, name, self.seed, size, **settings.pop("recipe", {}))
        scan = new_scan(protocol, self.seed, self.person, name, self.number)
        folder = f"clean/{patient_folder}/{self.number:02d}-{label}"
        return Series(name, folder, scan, stack, recipe, **settings)


def _everyone(study: _Study) -> list[Written]:
    """Write CT, T1 and T2; which scanner depends on the patient."""
    if study.person % 2 == 0:
        stack = Stack(evenly(30, 2.0), (0.9, 0.9))
        chest = study.series("ct-chest", ct(), (30, 96, 96), stack)
    else:
        stack = Stack(evenly(24, 3.0), (0.75, 0.75), thickness=3.0)
        chest = study.series("ct-abdomen", ct_unsigned(), (24, 80, 96), stack)
    vendor = ("mr-ge", "mr-siemens", "mr-philips")[study.person % 3]
    tesla = {"mr-ge": 1.5, "mr-siemens": 3, "mr-philips": 1.5}[vendor]
    philips = vendor == "mr-philips"
    bits = Bits(slope=1.25, intercept=0.0, rescale_type="normalized") if philips else Bits()
    syntax = ImplicitVRLittleEndian if philips else ExplicitVRLittleEndian
    t1 = mr("AX T1 SE", vendor, bits, MagneticFieldStrength=tesla)
    t2 = mr("AX T2 TSE", vendor, bits, MagneticFieldStrength=tesla, EchoTime=98, RepetitionTime=4200)
    t1_stack, t2_stack = Stack(evenly(20, 3.3), (0.9, 0.9), thickness=3.0), Stack(evenly(16, 4.4), (0.8, 0.7))
    series = (
        chest,
        study.series("mr-t1", t1, (20, 64, 64), t1_stack, syntax=syntax),
        study.series("mr-t2", t2, (16, 72, 64), t2_stack, syntax=syntax),
    )
    return [write_series(study.root, one) for one in series]


def _first_set(study: _Study) -> list[Written]:
    """Write a sagittal MR, an enhanced MR with a slope per frame, and an RLE-compressed MR."""
    sagittal = Stack(evenly(24, 1.5), (1.0, 1.0), SAGITTAL, origin=(-18.0, -60.0, 70.0), thickness=1.5)
    slopes = tuple(round(1.0 + 0.05 * index, 2) for index in range(18))
    scaled = Bits(slope=1.0, intercept=0.0)
    series = study.series("mr-sagittal", mr("SAG T1 MPRAGE", "mr-siemens"), (24, 64, 64), sagittal)
    enhanced = study.series(
        "mr-enhanced",
        mr("AX T1 ENHANCED", "mr-philips", scaled),
        (18, 64, 48),
        Stack(evenly(18, 2.2), (1.1, 1.1), thickness=2.0),
        recipe={"slopes": slopes, "intercepts": (0.0,)},
    )
    rle = study.series("mr-rle", mr("AX FLAIR", "mr-ge"), (16, 64, 64), Stack(evenly(16, 5.0)), syntax=RLELossless)
    return [
        write_series(study.root, series),
        write_enhanced(study.root, enhanced),
        write_series(study.root, rle),
    ]


def _second_set(study: _Study) -> list[Written]:
    """Write a JPEG 2000-compressed MR, and an MR of three timepoints in one series."""
    j2k = study.series(
        "mr-j2k", mr("AX PD", "mr-siemens"), (16, 64, 64), Stack(evenly(16, 4.0)), syntax=JPEG2000Lossless
    )
    dynamic = study.series(
        "mr-dynamic",
        mr("AX DYN CE", "mr-siemens", NumberOfTemporalPositions=3, TemporalResolution=8000),
        (10, 64, 64),
        Stack(evenly(10, 4.0)),
        recipe={"timepoints": 3},
        elements=lambda time, index: {
            "TemporalPositionIdentifier": time + 1,
            "AcquisitionTime": f"1020{8 * time:02d}.000000",
        },
    )
    return [write_series(study.root, j2k), write_series(study.root, dynamic)]


def _third_set(study: _Study) -> list[Written]:
    """Write an MR of two echoes in one series, which are two volumes, and a PET with a slope per slice."""
    protocol = mr("AX DUAL ECHO", "mr-ge", EchoTrainLength=2)
    stack = Stack(evenly(12, 5.0), (0.9375, 0.9375))
    first = study.series("mr-echo-1", protocol, (12, 64, 64), stack)
    written = []
    for echo, milliseconds in ((1, "12"), (2, "98.5")):
        name = first.name[:-1] + str(echo)
        series = Series(
            name,
            first.folder[:-2],
            first.scan,
            stack,
            recipe_for(protocol, name, study.seed, (12, 64, 64)),
            first_number=12 * (echo - 1) + 1,
            truth={"split_reason": "EchoTime", "findings": ("GEO-MIXED-SERIES",)},
            elements=_echo(echo, milliseconds),
        )
        written.append(write_series(study.root, series))
    slopes = tuple(round(0.731 + 0.017 * index, 3) for index in range(24))
    whole_body = Stack(evenly(24, 3.27), (4.07, 4.07), thickness=3.27)
    pet = study.series("pt-wb", pt(), (24, 48, 48), whole_body, recipe={"slopes": slopes}, elements=_tracer)
    return [*written, write_series(study.root, pet)]


def _echo(number: int, milliseconds: str) -> Elements:
    return lambda time, index: {"EchoNumbers": number, "EchoTime": milliseconds}


def _tracer(time: int, index: int) -> dict[str, Any]:
    return {"ImageIndex": index + 1, "NumberOfSlices": 24}


def _fourth_set(study: _Study) -> list[Written]:
    """Write images without a stack: an ultrasound clip, a radiograph, a mammogram and a screen capture."""
    clip = study.series(
        "us-cine", us(), (1, 48, 64), None, flat_spacing=(0.4, 0.3), recipe={"timepoints": 10, "channels": 3}
    )
    radiograph = study.series("cr-thorax", cr(), (1, 128, 112), None, flat_spacing=(0.2, 0.2))
    breast = study.series("mg-mlo", mg(), (1, 128, 96), None, flat_spacing=(0.07, 0.07))
    capture = study.series("screen", screen(), (1, 60, 80), None, recipe={"channels": 3})
    flat = (radiograph, breast, capture)
    return [write_ultrasound(study.root, clip), *(write_series(study.root, one) for one in flat)]
