"""Findings on what identifies patients: headers that are filled, claims, text and faces in the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.checks.dates import day_of, is_dummy, stands_for_year, years_of
from cohort.checks.finding import Seen
from cohort.schema import PATIENT_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cohort.config import CheckOptions

Row = dict[str, Any]

_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "PatientBirthDate")
_REMOVED = ("PatientBirthDate", "StudyDescription", "SeriesDescription", "ProtocolName")
"""Attributes of PS3.15 Table E.1-1 that the basic profile removes or empties, as far as the tables have them."""

COLUMNS = (
    *dict.fromkeys((*_DATES, *_REMOVED)), "Modality", "SOPClassUID", "PatientAge", "BurnedInAnnotation",
    "BodyPartExamined", "SliceThickness", "PatientIdentityRemoved", "DeidentificationMethod", "names_filled",
)  # fmt: skip

# Kinds of images that often show text: ultrasound, angiography, fluoroscopy, photographs, endoscopy, other.
_TEXT_MODALITIES = ("US", "XA", "RF", "XC", "ES", "OT")
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

_FACES = ("HEAD", "BRAIN", "SKULL", "FACE", "HEADNECK")
_THIN_MM = 2.0
_OLD_YEARS = 90.0


def _filled(row: Row, options: CheckOptions) -> Iterator[Seen]:
    filled = [name for name in _REMOVED if (row[name] or "").strip(" \0") and not _no_day(name, row[name])]
    if filled:
        yield Seen("PHI-ATTRIBUTES-FILLED", {"attributes": filled})
    names = row["names_filled"].split("\\") if row["names_filled"] else []
    if names:
        yield Seen("PHI-NAME-PRESENT", {"attributes": names})
    dates = [name for name in _DATES if (day := day_of(row[name] or "")) is not None and not is_dummy(day)]
    if dates:
        yield Seen("PHI-DATES-PRESENT", {"attributes": dates})
    age = years_of(row["PatientAge"] or "")
    if age is not None and age[0] >= _OLD_YEARS:
        yield Seen("PHI-AGE-ABOVE-89", {})
    if (row["PatientIdentityRemoved"] or "").strip() == "YES":
        birth = day_of(row["PatientBirthDate"] or "")
        there = ["PatientBirthDate"] if birth and not is_dummy(birth) and not stands_for_year(birth) else []
        there += [name for name in names if name in PATIENT_NAMES]
        if there:
            yield Seen("PHI-CLAIM-CONTRADICTED", {"attributes": there})
        if not (row["DeidentificationMethod"] or "").strip("\\ "):
            yield Seen("PHI-CLAIM-UNEXPLAINED", {})


def _no_day(name: str, text: str) -> bool:
    day = day_of(text) if name in _DATES else None
    return day is not None and is_dummy(day)


def _pixels(row: Row, options: CheckOptions) -> Iterator[Seen]:
    declared, modality = (row["BurnedInAnnotation"] or "").strip(), row["Modality"]
    captured = f"{row['SOPClassUID'] or ''}.".startswith(f"{_SECONDARY_CAPTURE}.")
    if declared == "YES":
        yield Seen("PHI-BURNED-IN-DECLARED", {"modality": modality})
    if declared == "YES" or (declared != "NO" and (modality in _TEXT_MODALITIES or captured)):
        evidence = {"modality": modality, "secondary_capture": captured, "declared": declared or None}
        yield Seen("PHI-BURNED-IN-RISK", evidence)
    thickness, part = row["SliceThickness"], (row["BodyPartExamined"] or "").strip().upper()
    if modality in ("CT", "MR") and part in _FACES and thickness is not None and 0 < thickness <= _THIN_MM:
        yield Seen("PHI-FACE-RISK", {"body_part": part, "slice_thickness_mm": thickness})


PRIVACY_CHECKS: tuple[Callable[[Row, CheckOptions], Iterator[Seen]], ...] = (_filled, _pixels)
