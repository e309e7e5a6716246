"""Findings on identities: what is called one and is several, or the other way round."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from cohort.checks.finding import finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]

SERIES_COLUMNS = (
    "series_key", "format", "PatientID", "PatientSex", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "Manufacturer", "Modality", "PhotometricInterpretation", "n_images",
)  # fmt: skip

_WELL_KNOWN = "1.2.840.10008.1.4."
"""Frames of reference of atlases (PS3.6 A-2): one for all patients."""

_COMPANY = (
    " medical systems",
    " healthineers",
    " healthcare",
    " medical",
    " systems",
    " inc",
    " ag",
    " ltd",
    " corporation",
)


def check_identity(rows: list[Row]) -> Iterator[Row]:
    """Yield the findings on series whose own UID, or that of their study, belongs to several patients.

    Parameters
    ----------
    rows : list of dict
        All rows of `series`, with `SERIES_COLUMNS`.
    """
    names = ("SeriesInstanceUID", "StudyInstanceUID")
    patients = {name: _distinct(rows, name, "PatientID") for name in (*names, "FrameOfReferenceUID")}
    for row in rows:
        reused = {name: n for name in names if row[name] and (n := len(patients[name][row[name]])) > 1}
        if reused:
            yield finding(
                "ID-UID-REUSED-ACROSS-PATIENTS", row["series_key"], patients=max(reused.values()), uids=sorted(reused)
            )
        frame = row["FrameOfReferenceUID"]
        shared = len(patients["FrameOfReferenceUID"][frame]) if frame else 0
        if shared > 1 and not frame.startswith(_WELL_KNOWN):
            yield finding("ID-FRAME-OF-REFERENCE-REUSED", row["series_key"], patients=shared)


def _distinct(rows: Iterable[Row], of: str, what: str) -> dict[Any, set[Any]]:
    """Return what belongs to each value: DICOM series with an image alone."""
    found: dict[Any, set[Any]] = defaultdict(set)
    for row in rows:
        if row[of]:
            found[row[of]].add(row[what] or "")
    return found


def check_patients(rows: list[Row]) -> Iterator[Row]:
    """Yield the findings on series of one patient in several studies, and on patients of several sexes."""
    studies: dict[Any, set[Any]] = defaultdict(set)
    sexes: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        patient = row["PatientID"] or ""
        studies[patient, row["SeriesInstanceUID"]].add(row["StudyInstanceUID"])
        if patient and row["PatientSex"] in ("M", "F", "O"):
            sexes[patient].add(row["PatientSex"])
    for row in rows:
        several = len(studies[row["PatientID"] or "", row["SeriesInstanceUID"]]) if row["SeriesInstanceUID"] else 0
        if several > 1:
            yield finding("ID-SERIES-IN-SEVERAL-STUDIES", row["series_key"], studies=several)
    for patient, found in sorted(sexes.items()):
        if len(found) > 1:
            yield finding("ID-PATIENT-CONTRADICTS", patient, sexes=sorted(found))


def check_vocabulary(rows: list[Row]) -> Iterator[Row]:
    """Yield the findings on the cohort: makers by several names, images of both polarities."""
    spellings: dict[str, set[str]] = defaultdict(set)
    polarities: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        if row["Manufacturer"]:
            spellings[cleaned_maker(row["Manufacturer"])].add(row["Manufacturer"])
        if (row["PhotometricInterpretation"] or "").startswith("MONOCHROME") and row["n_images"]:
            polarities[row["Modality"] or ""][row["PhotometricInterpretation"]] += 1
    for maker, names in sorted(spellings.items()):
        if len(names) > 1:
            yield finding("HDR-MANUFACTURER-SPELLINGS", maker, spellings=sorted(names))
    for modality, counts in sorted(polarities.items()):
        if len(counts) > 1:
            yield finding("PIX-MIXED-POLARITY", modality, **dict(counts))


def cleaned_maker(name: str) -> str:
    """Return the name of a maker as one writes it once: small letters, without the words of a company."""
    found = " ".join("".join(letter if letter.isalnum() else " " for letter in name.casefold()).split())
    while True:
        shorter = next((found.removesuffix(word) for word in _COMPANY if found.endswith(word)), found)
        if shorter == found:
            return found
        found = shorter


def check_instances(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the findings on series that share images by their SOPInstanceUID.

    Parameters
    ----------
    rows : iterable of dict
        `series_key` and `SOPInstanceUID` of the images that are in several series.
    """
    shared: dict[str, int] = defaultdict(int)
    for row in rows:
        shared[row["series_key"]] += 1
    for series, images in sorted(shared.items()):
        yield finding("ID-INSTANCE-IN-SEVERAL-SERIES", series, images=images)


def check_pixels(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the findings on volumes with the voxels of another; rows have `volume_id` and `content_sha256`."""
    owners: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        owners[row["content_sha256"]].append(row["volume_id"])
    for volumes in owners.values():
        if len(volumes) > 1:
            for volume in volumes:
                yield finding("ID-SAME-PIXELS", volume, volumes=len(volumes))
