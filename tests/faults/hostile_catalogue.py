"""The whole catalogue of hostile objects: what one run is made over, and the page that lists it."""

from __future__ import annotations

from collections.abc import Callable

import hostile_headers
import hostile_nifti
import hostile_values
from bombs import Bomb, bombs
from hostile_case import Case, Cases, Files, only, unique
from hostile_pixels import Hostile, hostile

_ENCODINGS = ("implicit", "big", "deflated")  # bombs are made in each; one of them is enough for the run

# Bombs and what they stand for, by the beginning of their names.
_BOMBS = {
    "million": "row 5, finding 3 (1 M items: 78 s)", "600,000": "row 5, finding 3 (500 k elements: 11 s)",
    "depth": "row 3, pydicom #2330, fo-dicom #2114", "2,000 items": "row 4", "4 GB": "row 1, CVE-2026-3650 (GDCM #214)",
    "sequence": "row 4", "20 MB": "row 4", "2 billion": "row 9", "15 M": "row 6", "many values": "row 6",
    "IS": "row 13", "DS": "row 13", "Rows": "row 13, Orthanc CVE-2026-5437..5445 (UL in place of US)",
    "deflated": "row 7, finding 3, fo-dicom #2165", "deflate": "row 8", "gzip": "row 7, CVE-2026-5437..5445 (bombs)",
    "64 MB": "row 16 (force=True: > 8 s)", "DICM": "row 16", "meta": "row 1, row 5", "no preamble": "row 16, row 5",
    "a million": "row 5", ".nii with dims": "row 18, nifti_clib #196", ".nii with vox": "row 19",
    ".nii with ext": "row 21", ".nii.gz with dims": "row 18", ".nii.gz with vox": "row 19",
    ".nii.gz with ext": "row 21", ".nii.gz of": "row 22, row 23", ".nii with n": "row 18", ".nii.gz with n": "row 18",
}  # fmt: skip


def catalogue() -> dict[str, Case]:
    """All of them, by name."""
    found: dict[str, Case] = {}
    for group in (hostile_headers.cases, hostile_values.cases, hostile_nifti.cases, _from_bombs, _from_pixels):
        for name, case in group():
            assert name not in found, name
            found[name] = case
    return found


def is_bomb(name: str) -> bool:
    """Tell whether a case is one of the bombs of `bombs`."""
    return name.startswith(("bomb: ", "NIfTI: .nii"))


def is_nifti(name: str) -> bool:
    """Tell whether a case is a NIfTI image."""
    return name.startswith("NIfTI: ")


def _from_bombs() -> Cases:
    for name, bomb in bombs().items():
        what, _, encoding = name.rpartition(", ")
        if encoding in _ENCODINGS or name == ".nii.gz of 4 GB in 4 MB":  # a valid image, whose pixels take a minute
            continue
        title = "NIfTI: " + name if name.startswith(".nii") else "bomb: " + (what if encoding == "explicit" else name)
        stands = next(stands for start, stands in _BOMBS.items() if name.startswith(start))
        yield title, Case(_written(bomb), stands, bomb.outcome, _volume_of(title, bomb.outcome))


def _written(bomb: Bomb) -> Callable[[int], Files]:
    return only(lambda number: unique(bomb.make(), number), bomb.file_name)


def _volume_of(title: str, row: str) -> str | None:
    if title == "NIfTI: .nii.gz of 4 GB after the values":
        return "rejected: gzip_too_large"
    if title == "bomb: Rows of 4 bytes":
        return "rejected: missing_attribute: Rows"
    return "ok" if row == "ok" else None


def _from_pixels() -> Cases:
    for name, case in hostile().items():
        yield f"pixels: {name}", _of_pixels(case)


def _of_pixels(case: Hostile) -> Case:
    return Case(only(lambda number: case.make(10_000 + number)), case.stands_for, "ok", case.outcome)
