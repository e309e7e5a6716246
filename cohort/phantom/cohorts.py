"""Put whole cohorts together: the clean studies, the traps, and the large plain series of benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .badfiles import FILE_TRAPS
from .clean import new_scan, write_patient
from .combined import COMBINED_TRAPS
from .copies import COPIED_TRAPS, SCANS
from .derived import DERIVED_TRAPS
from .dicom import Series, Stack, evenly, recipe_for, write_series
from .kinds import KIND_TRAPS
from .mosaic import MOSAIC_TRAPS
from .nifti import NIFTI_TRAPS, write_clean_nifti
from .protocols import Protocol, ct, ct_unsigned, mr, pt
from .repeats import REPEATED_TRAPS
from .traps import SERIES_TRAPS
from .truth import PhantomTruth, Written, merge

_TRAPS = {**SERIES_TRAPS, **MOSAIC_TRAPS, **NIFTI_TRAPS, **FILE_TRAPS}
_ALL_SERIES_TRAPS = {
    **SERIES_TRAPS,
    **COMBINED_TRAPS,
    **REPEATED_TRAPS,
    **COPIED_TRAPS,
    **KIND_TRAPS,
    **DERIVED_TRAPS,
}
_SLICES_PER_SERIES = 100
_SERIES_PER_PATIENT = 4


def trap_names() -> tuple[str, ...]:
    """Names of all traps, sorted; each is a folder below ``traps/``."""
    return tuple(sorted(_TRAPS))


def make_cohort(root: Path, *, seed: int = 0, patients: int = 4, traps: bool = True) -> PhantomTruth:
    """Write a small cohort: studies of ``patients`` patients, a BIDS tree, and every trap once.

    Four kinds of study take turns; with fewer than four patients some kinds of series are missing.
    The same arguments give the same bytes.

    Parameters
    ----------
    root : Path
        New or empty folder for the images.
    seed : int
        Seed of the noise and of all UIDs.
    patients : int
        Number of patients in the clean part.
    traps : bool
        Whether to add the traps.
    """
    root = _empty_folder(root)
    parts = write_clean_nifti(root, seed)
    for person in range(patients):
        parts += write_patient(root, seed, person)
    if traps:
        parts += [write(root, name, seed) for name, write in _TRAPS.items()]
    return _truth(root, seed, parts)


def series_trap_names() -> tuple[str, ...]:
    """Names of the traps that `make_traps` knows, sorted; a cohort holds the simple ones of them."""
    return tuple(sorted(_ALL_SERIES_TRAPS))


def describe_traps() -> dict[str, str]:
    """Say in one sentence what each of `series_trap_names` is."""
    scans = {f"copies-{label}": scan for label, scan in SCANS.items()}
    told = {name: _first_line(trap) for name, trap in _ALL_SERIES_TRAPS.items() if name not in scans}
    told |= {name: f"Write three ways: {_first_line(scan)}" for name, scan in scans.items()}
    return dict(sorted(told.items()))


def _first_line(function: Callable[..., Any]) -> str:
    return (function.__doc__ or "").splitlines()[0]


def make_traps(root: Path, *, seed: int = 0, names: Iterable[str] | None = None) -> PhantomTruth:
    """Write series that trip a naive reader, each in a folder of its own below ``traps/``.

    Parameters
    ----------
    root : Path
        New or empty folder for the images.
    seed : int
        Seed of the noise and of all UIDs.
    names : iterable of str or None
        Which of `series_trap_names`; by default all.
    """
    chosen = series_trap_names() if names is None else tuple(names)
    unknown = sorted(set(chosen) - set(_ALL_SERIES_TRAPS))
    if unknown:
        raise ValueError(f"no trap named {', '.join(unknown)}: see series_trap_names()")
    root = _empty_folder(root)
    return _truth(root, seed, [_ALL_SERIES_TRAPS[name](root, name, seed) for name in chosen])


def make_series(
    root: Path, *, seed: int = 0, modality: str = "CT", files: int = 100, rows: int = 64, columns: int = 64
) -> PhantomTruth:
    """Write many single-frame files with headers of full size, in series of about 100 slices.

    Parameters
    ----------
    root : Path
        New or empty folder for the images.
    seed : int
        Seed of the noise and of all UIDs.
    modality : str
        ``CT``, ``MR`` or ``PT``.
    files : int
        Number of files.
    rows, columns : int
        Size of a slice.
    """
    root = _empty_folder(root)
    size = (rows, columns)
    return _truth(root, seed, [write_series(root, one) for one in _plain_series(seed, modality, files, size)])


def _plain_series(seed: int, modality: str, files: int, size: tuple[int, int]) -> Iterator[Series]:
    protocols = _protocols(modality)
    for number, start in enumerate(range(0, files, _SLICES_PER_SERIES)):
        protocol = protocols[number % len(protocols)]
        slices = min(_SLICES_PER_SERIES, files - start)
        person = number // _SERIES_PER_PATIENT
        name = f"{modality.lower()}-{number + 1:05d}"
        recipe = recipe_for(protocol, name, seed, (slices, *size))
        if modality == "PT":
            recipe = replace(recipe, slopes=tuple(round(0.7 + 0.013 * index, 3) for index in range(slices)))
        scan = new_scan(protocol, seed, person, name, number % _SERIES_PER_PATIENT + 1)
        # Spread over patients, so that no folder grows without bound.
        folder = f"patient-{person + 1:05d}/{name}"
        yield Series(name, folder, scan, Stack(evenly(slices, 1.0 + number % 3)), recipe)


def _protocols(modality: str) -> tuple[Protocol, ...]:
    every = {
        "CT": (ct(), ct_unsigned()),
        "MR": (mr("AX T1", "mr-ge"), mr("AX T2", "mr-siemens"), mr("AX FLAIR", "mr-philips")),
        "PT": (pt(),),
    }
    if modality not in every:
        raise ValueError(f"no series of modality {modality!r}: choose one of {', '.join(sorted(every))}")
    return every[modality]


def _empty_folder(root: Path) -> Path:
    """Make the folder, and refuse one that holds something: the truth would not be whole."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    if any(root.iterdir()):
        raise FileExistsError("the folder for the phantom is not empty: choose a new one")
    return root


def _truth(root: Path, seed: int, parts: list[Written]) -> PhantomTruth:
    whole = merge(parts)
    return PhantomTruth(root, seed, whole.volumes, whole.files)
