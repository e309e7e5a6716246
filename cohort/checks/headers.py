"""Findings on headers of DICOM images: contradictions, values that cannot be, encodings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cohort.checks.dates import DAYS_PER_YEAR, day_of, is_dummy, stands_for_year, years_of
from cohort.checks.finding import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date

    from cohort.config import CheckOptions

Row = dict[str, Any]

DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "PatientBirthDate")
_TEXTS = ("StudyDescription", "SeriesDescription", "ProtocolName")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID")

COLUMNS = (
    *DATES, *_TEXTS, *_UIDS, "PatientAge", "PatientSex", "Modality", "BitsAllocated", "BitsStored", "HighBit", "KVP",
    "MagneticFieldStrength", "FlipAngle", "RepetitionTime", "EchoTime", "InversionTime", "SpecificCharacterSet",
    "BodyPartExamined", "Laterality", "ImageLaterality", "fallback_reason",
)  # fmt: skip

# Storage classes of one modality alone (PS3.3 A): classic, enhanced and converted objects.
_IMAGES = "1.2.840.10008.5.1.4.1.1."
_MODALITY_OF = {
    _IMAGES + suffix: modalities
    for suffixes, modalities in (
        (("2", "2.1", "2.2"), ("CT",)),
        (("4", "4.1", "4.3", "4.4"), ("MR",)),
        (("128", "128.1", "130"), ("PT",)),
        (("20",), ("NM",)),
        (("3.1", "6.1", "6.2"), ("US", "IVUS")),
        (("1.2", "1.2.1", "13.1.3"), ("MG",)),
        (("12.1", "12.1.1"), ("XA",)),
        (("66.4",), ("SEG",)),
        (("481.2",), ("RTDOSE",)),
    )
    for suffix in suffixes
}

# Plausible values, both ends included: no scanner of patients has others.
_PLAUSIBLE = {
    "KVP": (10.0, 300.0),  # mammography to industrial tubes, kV
    "MagneticFieldStrength": (0.01, 25.0),  # T; some write gauss
    "FlipAngle": (-360.0, 360.0),
    "RepetitionTime": (0.0, 1e6),
    "EchoTime": (0.0, 1e5),
    "InversionTime": (0.0, 1e6),
}

_PAIRED = frozenset((
    "BREAST", "SHOULDER", "CLAVICLE", "HUMERUS", "ARM", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER", "THUMB", "HIP",
    "FEMUR", "THIGH", "LEG", "KNEE", "CALF", "TIBIA", "ANKLE", "FOOT", "TOE", "CALCANEUS", "SCAPULA", "EYE", "EAR",
))  # fmt: skip

# Defined terms of SpecificCharacterSet (PS3.3 C.12.1.1.2); the first of several may be empty.
_CHARACTER_SETS = frozenset((
    "", "ISO_IR 6", "ISO_IR 192", "GB18030", "GBK",
    *(f"ISO 2022 IR {number}" for number in (6, 58, 87, 149, 159)),
    *(f"{name} {number}" for name in ("ISO_IR", "ISO 2022 IR")
      for number in (13, 100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 203)),
))  # fmt: skip

_ODD = ("value_representation", "tag_order", "stray_delimiter", "item_expected")
"""Reasons of the fast parser to leave a header to pydicom that are faults of the header."""

UID = r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*"
_UID = re.compile(UID)
LONGEST_UID = 64


def _uids(row: Row, options: CheckOptions) -> Iterator[Seen]:
    bad = [name for name in _UIDS if row[name] and not (len(row[name]) <= LONGEST_UID and _UID.fullmatch(row[name]))]
    if bad:
        yield Seen("ID-UID-INVALID", {"attributes": bad})


def _encoding(row: Row, options: CheckOptions) -> Iterator[Seen]:
    if row["fallback_reason"] in _ODD:
        yield Seen("HDR-ODD-ENCODING", {"reason": row["fallback_reason"]})
    sets = row["SpecificCharacterSet"]
    if any(ord(letter) > 127 for name in _TEXTS for letter in row[name] or "") and not (sets or "").strip("\\ "):
        yield Seen("HDR-CHARSET-MISSING", {"attributes": [n for n in _TEXTS if not (row[n] or "").isascii()]})
    unknown = [name for name in (sets or "").split("\\") if name.strip() not in _CHARACTER_SETS]
    if unknown:
        yield Seen("HDR-CHARSET-UNKNOWN", {"unknown": len(unknown)})  # not which: a header may say anything


def _values(row: Row, options: CheckOptions) -> Iterator[Seen]:
    modalities = _MODALITY_OF.get(row["SOPClassUID"] or "")
    if modalities and row["Modality"] and row["Modality"] not in modalities:
        yield Seen("HDR-MODALITY-CONTRADICTED", {"modality": row["Modality"], "of_sop_class": modalities[0]})
    allocated, stored, high = row["BitsAllocated"], row["BitsStored"], row["HighBit"]
    if stored is not None and (
        (allocated is not None and stored > allocated) or (high is not None and high != stored - 1)
    ):
        yield Seen("HDR-BITS-CONTRADICT", {"bits_allocated": allocated, "bits_stored": stored, "high_bit": high})
    odd = {
        name: row[name]
        for name, (least, most) in _PLAUSIBLE.items()
        if row[name] is not None and not least <= row[name] <= most
    }
    if row["KVP"] == 0:  # written where there is no tube: it says nothing
        odd.pop("KVP", None)
    if odd:
        yield Seen("HDR-IMPLAUSIBLE", {name: str(value) for name, value in odd.items()})


def _anatomy(row: Row, options: CheckOptions) -> Iterator[Seen]:
    part = (row["BodyPartExamined"] or "").strip().upper()
    if part in _PAIRED and not row["Laterality"] and not row["ImageLaterality"]:
        yield Seen("HDR-LATERALITY-MISSING", {"body_part": part})


def _person(row: Row, options: CheckOptions) -> Iterator[Seen]:
    sex, age = (row["PatientSex"] or "").strip(), (row["PatientAge"] or "").strip()
    if sex and sex not in ("M", "F", "O"):
        yield Seen("HDR-SEX-INVALID", {})
    if not age:
        return
    known = years_of(age)
    if known is None:
        yield Seen("HDR-AGE-INVALID", {})
        return
    birth, study = (day_of(row[name] or "") for name in ("PatientBirthDate", "StudyDate"))
    if birth is None or study is None or is_dummy(birth) or is_dummy(study) or birth > study:
        return
    years, unit = known
    exact = (study - birth).days / DAYS_PER_YEAR
    off = max(years - exact, exact - (years + unit), 0.0)
    if off > options.age_disagreement_years:
        yield Seen("HDR-AGE-DISAGREES", {"off_by_years": round(off, 1)})


def _dates(row: Row, options: CheckOptions) -> Iterator[Seen]:
    given = {name: row[name] for name in DATES if (row[name] or "").strip()}
    days = {name: day for name, text in given.items() if (day := day_of(text)) is not None}
    invalid = sorted(given.keys() - days.keys())
    if invalid:
        yield Seen("HDR-DATE-INVALID", {"attributes": invalid})
    dummies = sorted(name for name, day in days.items() if _stands_for_none(name, day))
    if dummies:
        yield Seen("HDR-DATE-DUMMY", {"attributes": dummies})
    real = {name: day for name, day in days.items() if not is_dummy(day)}
    study, birth = real.get("StudyDate"), real.get("PatientBirthDate")
    if study is None:
        return
    early: list[str] = sorted(n for n in ("SeriesDate", "AcquisitionDate") if n in real and (study - real[n]).days > 1)
    if birth is not None and birth > study:
        early.insert(0, "PatientBirthDate")
    if early:
        yield Seen("HDR-DATES-CONTRADICT", {"attributes": early})


def _stands_for_none(name: str, day: date) -> bool:
    return is_dummy(day) or (name == "PatientBirthDate" and stands_for_year(day))


HEADER_CHECKS: tuple[Callable[[Row, CheckOptions], Iterator[Seen]], ...] = (
    _uids,
    _encoding,
    _values,
    _anatomy,
    _person,
    _dates,
)
