"""One scan written three ways: as single frames, as an enhanced object, and as a converted one.

Whatever the encoding, the volumes are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .clean import new_scan
from .combined import MIXED, said, several, tilted_axes, turned_axes, without
from .dicom import SAGITTAL, Series, evenly, write_series
from .multiframe import write_enhanced
from .protocols import Bits, Protocol, mr, pt
from .traps import SLICES, Trap, plain_stack
from .truth import Written, merge

_RESCALED = Bits(slope=1.5, intercept=-10.0)
_TIMES = 3
Scan = Callable[[str, int], list[Series]]


def _split(reason: str, **truth: Any) -> dict[str, Any]:
    return {"truth": {"split_reason": reason, **MIXED, **truth}}


def _plain_ct(name: str, seed: int) -> list[Series]:
    """CT in Hounsfield units."""
    return several(name, seed, {})


def _varying_rescale(name: str, seed: int) -> list[Series]:
    """MR whose slope differs from slice to slice."""
    slopes = tuple(round(1.0 + 0.05 * index, 2) for index in range(SLICES))
    return several(name, seed, {"recipe": {"slopes": slopes}}, protocol=mr("T1", "mr-philips", _RESCALED))


def _unscaled(name: str, seed: int) -> list[Series]:
    """MR without rescale: the enhanced copy says 1 and 0."""
    return several(name, seed, {"stack": plain_stack(axes=turned_axes())}, protocol=mr("T2"))


def _tilt_hole(name: str, seed: int) -> list[Series]:
    """Tilted CT with a hole."""
    settings = without(4, **tilted_axes(20.0))
    settings["truth"] |= {"reason_not_regular": "consistent_in_plane_col, uniform_slice_spacing"}
    return several(name, seed, settings)


def _orientations(name: str, seed: int) -> list[Series]:
    """Two stacks across each other."""
    across = plain_stack(offsets=evenly(SLICES, 3.0), axes=SAGITTAL, origin=(-18.0, -60.0, 70.0))
    split = _split("ImageOrientationPatient")
    second = {"stack": across, "elements": said(StackID="2"), **split}
    return several(name, seed, {"elements": said(StackID="1"), **split}, second, protocol=mr("SURVEY", bits=_RESCALED))


def _phases(name: str, seed: int) -> list[Series]:
    """Contrast phases of a CT, told apart by AcquisitionNumber."""
    parts = ({"elements": said(AcquisitionNumber=number), **_split("AcquisitionNumber")} for number in (1, 2))
    return several(name, seed, *parts)


def _kernels(name: str, seed: int) -> list[Series]:
    """Two reconstructions of one CT."""
    parts = ({"elements": said(ConvolutionKernel=kernel), **_split("ConvolutionKernel")} for kernel in ("Br40", "Br64"))
    return several(name, seed, *parts)


def _energies(name: str, seed: int) -> list[Series]:
    """Dual-energy CT."""
    return several(name, seed, *({"elements": said(KVP=kv), **_split("KVP")} for kv in (80, 140)))


def _echoes(name: str, seed: int) -> list[Series]:
    """Two echoes; the second lacks a slice."""
    settings = without(7)
    settings["truth"] |= {"split_reason": "EchoTime"}
    first = {"elements": said(EchoTime="12", EchoNumbers=1), **_split("EchoTime")}
    second = {"elements": said(EchoTime="98.5", EchoNumbers=2), **settings}
    return several(name, seed, first, second, protocol=mr("DUAL ECHO", bits=_RESCALED))


def _echoes_in_time(name: str, seed: int) -> list[Series]:
    """Two echoes at three time points each."""

    def elements(echo: str, time: int, index: int) -> dict[str, Any]:
        return {"EchoTime": echo, "TemporalPositionIdentifier": time + 1}

    parts = (
        {"elements": partial(elements, echo), "recipe": {"timepoints": _TIMES}, **_split("EchoTime")}
        for echo in ("12", "40")
    )
    return several(name, seed, *parts, protocol=mr("MULTI ECHO", bits=_RESCALED))


def _diffusion(name: str, seed: int) -> list[Series]:
    """One image without diffusion weighting, and three directions at b = 1000."""
    directions = ([0.0, 0.6, 0.8], [0.6, 0.0, 0.8], [1.0, 0.0, 0.0])

    def elements(time: int, index: int) -> dict[str, Any]:
        return {"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": directions[time]}

    split = _split("DiffusionBValue")
    weighted = {"elements": elements, "recipe": {"timepoints": len(directions)}, **split}
    plain = {"elements": said(DiffusionBValue=0.0), **split}
    return several(name, seed, plain, weighted, protocol=mr("DWI", bits=_RESCALED))


def _cine(name: str, seed: int) -> list[Series]:
    """MR at three times after the trigger."""
    return _timed(name, seed, mr("CINE", bits=_RESCALED), "TriggerTime", ("0", "52.5", "105"))


def _dynamic(name: str, seed: int) -> list[Series]:
    """MR at three temporal positions."""
    return _timed(name, seed, mr("DYNAMIC", bits=_RESCALED), "TemporalPositionIdentifier", (1, 2, 3))


def _gates(name: str, seed: int) -> list[Series]:
    """PET in three gates."""
    return _timed(name, seed, pt(), "TriggerTime", ("0", "250", "500"))


def _timed(name: str, seed: int, protocol: Protocol, keyword: str, values: tuple[Any, ...]) -> list[Series]:
    """Describe one volume at time points that an attribute tells apart."""

    def elements(time: int, index: int) -> dict[str, Any]:
        return {keyword: values[time]}

    return several(name, seed, {"elements": elements, "recipe": {"timepoints": len(values)}}, protocol=protocol)


SCANS: dict[str, Scan] = {
    "acquisitions": _phases,
    "cine": _cine,
    "ct": _plain_ct,
    "diffusion": _diffusion,
    "dynamic": _dynamic,
    "echoes": _echoes,
    "echoes-in-time": _echoes_in_time,
    "energies": _energies,
    "kernels": _kernels,
    "orientations": _orientations,
    "pet-gates": _gates,
    "rescale-varies": _varying_rescale,
    "tilt-missing-slice": _tilt_hole,
    "unscaled": _unscaled,
}


def write_copies(root: Path, name: str, seed: int, *, scan: Scan) -> Written:
    """Write one scan in a folder per encoding; each copy is a series of its own with the same voxels."""
    written = []
    for number, way in enumerate(("classic", "enhanced", "converted"), 1):
        volumes = scan(name, seed)
        protocol = volumes[0].scan.protocol
        own = new_scan(protocol, seed, 0, f"{name}-{way}", number)
        # The unit of an enhanced PET is in a mapping to real-world values, which is not written here.
        unit = {"value_unit": "unknown"} if (way, protocol.modality) == ("enhanced", "PT") else {}
        copies = [
            replace(
                series,
                name=f"{way}-{series.name}",
                folder=f"traps/{name}/{way}",
                scan=own,
                truth={**series.truth, **unit},
            )
            for series in volumes
        ]
        if way == "classic":
            written += [write_series(root, series) for series in copies]
        else:
            written.append(write_enhanced(root, *copies, converted=way == "converted", order="ascending"))
    return merge(written)


COPIED_TRAPS: dict[str, Trap] = {f"copies-{label}": partial(write_copies, scan=scan) for label, scan in SCANS.items()}
