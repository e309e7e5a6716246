"""Traps of images that are no stack of slices: radiographs, clips, angiograms, and nuclear medicine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from .clean import new_scan
from .clips import write_clip, write_ultrasound
from .dicom import CORONAL, Series, Stack, decimal, evenly, orientation, recipe_for, write_series
from .multiframe import item
from .protocols import SECONDARY_CAPTURE, Bits, Protocol, cr, mg, us
from .traps import COLUMNS, ROWS, Trap
from .truth import Written, merge

_NM_STORAGE = "1.2.840.10008.5.1.4.1.1.20"
_XA_STORAGE = "1.2.840.10008.5.1.4.1.1.12.1"
_DX_STORAGE = "1.2.840.10008.5.1.4.1.1.1.1"

# Attributes that a Frame Increment Pointer of nuclear medicine names (PS3.3 C.8.4.8).
_ENERGY_WINDOW, _DETECTOR, _PHASE, _ROTATION = 0x00540010, 0x00540020, 0x00540030, 0x00540050
_RR_INTERVAL, _TIME_SLOT, _SLICE, _ANGULAR_VIEW, _TIME_SLICE = (
    0x00540060,
    0x00540070,
    0x00540080,
    0x00540090,
    0x00540100,
)
_ANGLE_INCREMENT = 0x00181520  # Positioner Primary Angle Increment

_NM_SPACING = (4.8, 4.8)
_NM_SLICES, _NM_STEP, _NM_TIMES, _NM_VIEWS = 10, 4.0, 4, 16


def _flat(
    name: str, seed: int, protocol: Protocol, spacing: tuple[float, float] | None, frames: int = 1, **settings: Any
) -> Series:
    """Describe an image, or a clip, without a stack."""
    recipe = recipe_for(protocol, name, seed, (1, ROWS, COLUMNS), timepoints=frames, **settings.pop("recipe", {}))
    settings = {"folder": f"traps/{name}", **settings}
    return Series(
        name, scan=new_scan(protocol, seed, 0, name), stack=None, recipe=recipe, flat_spacing=spacing, **settings
    )


# -- projections -------------------------------------------------------------------------------------------


def _dx(**changes: Any) -> Protocol:
    acquisition = {**cr().acquisition, "PresentationIntentType": "FOR PRESENTATION", **changes}
    return Protocol("DX", _DX_STORAGE, "THORAX AP", "CHEST", "xr-fuji", "projection", Bits(), acquisition)


def detector_spacing(root: Path, name: str, seed: int) -> Written:
    """Give the spacing at the detector plane alone, in computed radiography and in mammography."""
    truth = {"spacing_source": "ImagerPixelSpacing"}
    images = (
        _flat(f"{name}-cr", seed, cr(), (0.2, 0.2), folder=f"traps/{name}/cr", truth=truth),
        _flat(f"{name}-mg", seed, mg(), (0.07, 0.07), folder=f"traps/{name}/mg", truth=truth),
    )
    return merge([write_series(root, image) for image in images])


def calibrated_spacing(root: Path, name: str, seed: int) -> Written:
    """Give a spacing in the patient, calibrated, beside that of the detector: 0.17 and 0.2 mm."""
    protocol = _dx(PixelSpacing=[0.17, 0.17], PixelSpacingCalibrationType="GEOMETRY")
    return write_series(root, _flat(name, seed, protocol, (0.17, 0.17), truth={"spacing_source": "PixelSpacing"}))


def scanned_spacing(root: Path, name: str, seed: int) -> Written:
    """Scan a film: what is known is the spacing on the film."""
    acquisition = {"ConversionType": "DF", "NominalScannedPixelSpacing": [0.175, 0.175]}
    protocol = Protocol("CR", SECONDARY_CAPTURE, "FILM", "CHEST", "screen", "projection", Bits(), acquisition)
    truth = {"spacing_source": "NominalScannedPixelSpacing"}
    return write_series(root, _flat(name, seed, protocol, (0.175, 0.175), truth=truth))


# -- clips -------------------------------------------------------------------------------------------------


def ultrasound_clip(root: Path, name: str, seed: int) -> Written:
    """Write a colour clip: its frames are moments, its spacing is in centimetres in a region."""
    truth = {"spacing_source": "ultrasound_region"}
    return write_ultrasound(root, _flat(name, seed, us(), (0.4, 0.3), 6, recipe={"channels": 3}, truth=truth))


def _xa(**changes: Any) -> Protocol:
    acquisition = {
        "ImageType": ["ORIGINAL", "PRIMARY", "SINGLE PLANE"],
        "PixelIntensityRelationship": "LIN",
        "DistanceSourceToDetector": 1200,
        "DistanceSourceToPatient": 800,
        "ImagerPixelSpacing": [0.3, 0.3],
        "PositionerMotion": "STATIC",
        **changes,
    }
    return Protocol("XA", _XA_STORAGE, "RUN", "HEAD", "ct-siemens", "projection", Bits(), acquisition)


def angiogram(root: Path, name: str, seed: int) -> Written:
    """Write an angiogram: its frames are moments."""
    truth = {"spacing_source": "ImagerPixelSpacing"}
    return write_clip(root, _flat(name, seed, _xa(FrameTime=250), (0.3, 0.3), 8, truth=truth))


def rotational_angiogram(root: Path, name: str, seed: int) -> Written:
    """Write a rotational angiogram: its frames are angles, which are no slices."""
    angles = [12.0 * frame for frame in range(_NM_VIEWS)]
    protocol = _xa(PositionerMotion="DYNAMIC", PositionerPrimaryAngleIncrement=angles)
    series = _flat(name, seed, protocol, (0.3, 0.3), _NM_VIEWS, truth={"spacing_source": "ImagerPixelSpacing"})
    return write_clip(root, series, _ANGLE_INCREMENT)


# -- nuclear medicine --------------------------------------------------------------------------------------


def _nm(*kind: str, **changes: Any) -> Protocol:
    acquisition = {"ImageType": [*kind, "EMISSION"], "CountsAccumulated": 100000, **changes}
    bits = Bits(stored=16)
    return Protocol("NM", _NM_STORAGE, "SPECT", "HEART", "pt-siemens", "pt", bits, acquisition)


def projections(root: Path, name: str, seed: int) -> Written:
    """Write the projections of a SPECT: its frames are angles."""
    rotation = item(
        StartAngle=0, AngularStep=22.5, RotationDirection="CW", ScanArc=360, ActualFrameDuration=20000,
        RadialPosition=[200.0], NumberOfFramesInRotation=_NM_VIEWS,
    )  # fmt: skip
    protocol = _nm("ORIGINAL", "PRIMARY", "TOMO")
    series = _flat(name, seed, protocol, _NM_SPACING, _NM_VIEWS, truth={"spacing_source": "PixelSpacing"})
    return write_clip(
        root, series, [_ENERGY_WINDOW, _DETECTOR, _ROTATION, _ANGULAR_VIEW],
        PixelSpacing=list(_NM_SPACING), RotationInformationSequence=Sequence([rotation]),
        AngularViewVector=list(range(1, _NM_VIEWS + 1)), DetectorVector=[1] * _NM_VIEWS,
    )  # fmt: skip


def dynamic_scan(root: Path, name: str, seed: int) -> Written:
    """Write a dynamic planar scan: its frames are moments."""
    protocol = _nm("ORIGINAL", "PRIMARY", "DYNAMIC")
    series = _flat(name, seed, protocol, _NM_SPACING, _NM_TIMES, truth={"spacing_source": "PixelSpacing"})
    pointer = [_ENERGY_WINDOW, _DETECTOR, _PHASE, _TIME_SLICE]
    return write_clip(
        root, series, pointer, PixelSpacing=list(_NM_SPACING), TimeSliceVector=list(range(1, _NM_TIMES + 1))
    )


def _detector(stack: Stack, index: int) -> Dataset:
    """Describe the detector: where the first frame lies."""
    return item(ImagePositionPatient=stack.position(index), ImageOrientationPatient=orientation(stack.axes))


def _reconstructed(name: str, seed: int, times: int, **stack: Any) -> tuple[Series, Mapping[str, Any]]:
    """Describe reconstructed slices; their distance is given by one number, their place by the first of them."""
    lies = Stack(evenly(_NM_SLICES, _NM_STEP), _NM_SPACING, thickness=4.8, **stack)
    protocol = _nm("ORIGINAL", "PRIMARY", "RECON TOMO" if times == 1 else "RECON GATED TOMO")
    recipe = recipe_for(protocol, name, seed, (_NM_SLICES, ROWS, COLUMNS), timepoints=times)
    truth = {"spacing_source": "PixelSpacing"}
    series = Series(name, f"traps/{name}", new_scan(protocol, seed, 0, name), lies, recipe, truth=truth)
    return series, {
        "NumberOfSlices": _NM_SLICES,
        "SliceVector": list(range(1, _NM_SLICES + 1)) * times,
        "SpacingBetweenSlices": decimal(_NM_STEP),
        "DetectorInformationSequence": Sequence([_detector(lies, 0)]),
    }


def reconstruction(root: Path, name: str, seed: int) -> Written:
    """Write reconstructed slices 4 mm apart: no frame has a position of its own."""
    series, elements = _reconstructed(name, seed, 1)
    return write_clip(root, series, _SLICE, **elements)


def reconstruction_backwards(root: Path, name: str, seed: int) -> Written:
    """Stack coronal slices in front of the first: SpacingBetweenSlices is negative (PS3.3 C.8.4.15)."""
    series, elements = _reconstructed(name, seed, 1, axes=CORONAL, origin=(-60.0, 10.0, 80.0))
    assert series.stack is not None
    last = Sequence([_detector(series.stack, _NM_SLICES - 1)])
    turned = {"SpacingBetweenSlices": decimal(-_NM_STEP), "DetectorInformationSequence": last}
    return write_clip(root, series, _SLICE, reverse=True, **{**elements, **turned})


def gated_reconstruction(root: Path, name: str, seed: int) -> Written:
    """Gate reconstructed slices: the frames run through the slices of one time slot after the other."""
    series, elements = _reconstructed(name, seed, _NM_TIMES)
    slots = [slot + 1 for slot in range(_NM_TIMES) for _ in range(_NM_SLICES)]
    pointer = [_RR_INTERVAL, _TIME_SLOT, _SLICE]
    return write_clip(root, series, pointer, TimeSlotVector=slots, RRIntervalVector=[1] * len(slots), **elements)


KIND_TRAPS: dict[str, Trap] = {
    "nm-dynamic": dynamic_scan,
    "nm-gated": gated_reconstruction,
    "nm-projections": projections,
    "nm-reconstruction": reconstruction,
    "nm-reconstruction-backwards": reconstruction_backwards,
    "spacing-calibrated": calibrated_spacing,
    "spacing-of-detector": detector_spacing,
    "spacing-of-film": scanned_spacing,
    "us-clip": ultrasound_clip,
    "xa-rotation": rotational_angiogram,
    "xa-run": angiogram,
}
