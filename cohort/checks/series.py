"""Findings on series: identity, mixtures, missing attributes, compression, burned-in text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.checks.finding import finding

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]

COLUMNS = (
    "series_key", "format", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "n_images", "n_volumes", "Modality",
    "Modality_missing", "SOPClassUID", "TransferSyntaxUID", "LossyImageCompression", "BurnedInAnnotation",
    "Rows_missing",
)  # fmt: skip

# Transfer syntaxes that alter values (PS3.5 annex A.4): JPEG baseline and extended, near-lossless JPEG-LS.
_LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")

# Kinds of images that often show text: ultrasound, secondary capture, angiography, fluoroscopy, photographs.
_TEXT_MODALITIES = ("US", "XA", "RF", "XC", "ES", "OT")


def check_series(row: Row) -> Iterator[Row]:
    """Yield the findings on one row of `series`."""
    subject = row["series_key"]
    if not row["n_images"] or row["format"] != "dicom":
        return
    if row["n_volumes"] > 1:
        yield finding("GEO-MIXED-SERIES", subject, volumes=row["n_volumes"])
    missing = {name: count for name in ("Modality", "Rows") if (count := row[f"{name}_missing"])}
    if missing:
        yield finding("HDR-MISSING", subject, images=row["n_images"], **missing)
    if row["LossyImageCompression"] == "01" or row["TransferSyntaxUID"] in _LOSSY_SYNTAXES:
        yield finding("PIX-LOSSY", subject, transfer_syntax=row["TransferSyntaxUID"])
    if row["BurnedInAnnotation"] == "YES" or (
        row["Modality"] in _TEXT_MODALITIES and row["BurnedInAnnotation"] != "NO"
    ):
        yield finding("PHI-BURNED-IN-RISK", subject, modality=row["Modality"], declared=row["BurnedInAnnotation"])


def check_identity(rows: list[Row]) -> Iterator[Row]:
    """Yield the findings on series whose own UID, or that of their study, belongs to several patients."""
    names = ("SeriesInstanceUID", "StudyInstanceUID")
    patients: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        for name in names:
            if row[name]:
                patients.setdefault((name, row[name]), set()).add(row["PatientID"] or "")
    for row in rows:
        reused = {name: n for name in names if (n := len(patients.get((name, row[name]), ()))) > 1}
        if reused:
            yield finding(
                "ID-UID-REUSED-ACROSS-PATIENTS", row["series_key"], patients=max(reused.values()), uids=sorted(reused)
            )


def check_duplicates(copies: dict[str, int]) -> Iterator[Row]:
    """Yield the findings on copies of instances: series key -> number of copies."""
    for series, count in sorted(copies.items()):
        yield finding("ID-DUPLICATE-SOP", series, copies=count)
