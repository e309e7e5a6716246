"""Findings on series: mixtures, missing attributes, compression."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.checks.finding import finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Row = dict[str, Any]

_REQUIRED = ("Modality", "Rows")
_DESCRIBING = ("PatientSex", "PatientAge", "StudyDate", "BodyPartExamined", "Manufacturer")
_ONE_PER_SERIES = ("Modality", "Manufacturer", "PatientPosition", "FrameOfReferenceUID")
_UNITS = ("RescaleType", "Units")

COLUMNS = (
    "series_key", "format", "PatientID", "n_images", "n_volumes", "TransferSyntaxUID", "TransferSyntaxUID_distinct",
    "LossyImageCompression", "BitsStored_distinct", *(f"{name}_missing" for name in (*_REQUIRED, *_DESCRIBING)),
    *(f"{name}_distinct" for name in (*_ONE_PER_SERIES, *_UNITS)),
)  # fmt: skip

# Transfer syntaxes that alter values (PS3.5 annex A.4): JPEG baseline and extended, near-lossless JPEG-LS.
_LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")


def check_series(row: Row) -> Iterator[Row]:
    """Yield the findings on one row of `series`: of DICOM with images."""
    if row["n_images"] and row["format"] == "dicom":
        for check in SERIES_CHECKS:
            yield from check(row)


def _contents(row: Row) -> Iterator[Row]:
    subject, images = row["series_key"], row["n_images"]
    if row["n_volumes"] > 1:
        yield finding("GEO-MIXED-SERIES", subject, volumes=row["n_volumes"])
    if not (row["PatientID"] or "").strip():
        yield finding("ID-PATIENT-MISSING", subject, images=images)
    missing = {name: count for name in _REQUIRED if (count := row[f"{name}_missing"])}
    if missing:
        yield finding("HDR-MISSING", subject, images=images, **missing)
    lacking = [name for name in _DESCRIBING if row[f"{name}_missing"] == images]
    if lacking:
        yield finding("HDR-UNDESCRIBED", subject, images=images, attributes=lacking)


def _mixtures(row: Row) -> Iterator[Row]:
    subject = row["series_key"]
    for code, names in (
        ("HDR-INCONSISTENT", _ONE_PER_SERIES), ("PIX-MIXED-SYNTAXES", ("TransferSyntaxUID",)),
        ("PIX-MIXED-BITS", ("BitsStored",)), ("PIX-MIXED-UNITS", _UNITS),
    ):  # fmt: skip
        several = {name: count for name in names if (count := row[f"{name}_distinct"]) > 1}
        if several:
            yield finding(code, subject, images=row["n_images"], **several)


def _compression(row: Row) -> Iterator[Row]:
    lossy, declared = row["TransferSyntaxUID"] in _LOSSY_SYNTAXES, row["LossyImageCompression"]
    if declared == "01" or lossy:
        yield finding("PIX-LOSSY", row["series_key"], transfer_syntax=row["TransferSyntaxUID"])
    if lossy and declared == "00":
        yield finding("PIX-LOSSY-CONTRADICTED", row["series_key"], transfer_syntax=row["TransferSyntaxUID"])


SERIES_CHECKS: tuple[Callable[[Row], Iterator[Row]], ...] = (_contents, _mixtures, _compression)


def check_duplicates(copies: dict[str, int]) -> Iterator[Row]:
    """Yield the findings on copies of instances: series key -> number of copies."""
    for series, count in sorted(copies.items()):
        yield finding("ID-DUPLICATE-SOP", series, copies=count)
