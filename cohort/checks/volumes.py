"""Findings on volumes: geometry, pixels, values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.checks.finding import finding
from cohort.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cohort.config import CheckOptions

Row = dict[str, Any]

COLUMNS = (
    "volume_id", "series_key", "Modality", "format", "status", "reason", "split_reason", "slices", "channels",
    "value_unit", "spacing_row_mm", "spacing_slice_mm", "spacing_between_slices_mm", "slice_thickness_mm",
    "regularly_spaced_3d_volume", "reason_not_regular", "missing_slice_count", "duplicate_slice_count",
    "min_slice_gap_mm", "max_slice_gap_mm", "in_plane_drift_mm", "tilt_degrees", "excluded_instance_count",
    "timepoints", "timepoint_step_ms", "form_disagreement_mm", "form_disagreement_degrees", "suvbw_reason",
    "content_sha256", "decoder",
)  # fmt: skip

_STACKS = ("CT", "MR", "PT")
"""Modalities whose images are slices of a body, with a place and a size."""

_PART_OF_THICKNESS = 0.01
"""Spacing and thickness of one protocol differ by rounding, up to this part of the thickness."""


def check_volume(row: Row, options: CheckOptions) -> Iterator[Row]:
    """Yield the findings on one row of `volumes`: what its header and geometry tell, and what became of its pixels.

    Parameters
    ----------
    row : dict
        The volume.
    options : CheckOptions
        When an observation becomes a finding.
    """
    yield from _geometry(row, options)
    yield from _sampling(row, options)
    if row["format"] == "nifti":
        yield from _nifti(row, options)
    subject = row["volume_id"]
    if row["status"] != Status.OK:
        yield finding(_failure(row), subject, status=row["status"], reason=row["reason"])
    if row["Modality"] == "CT" and row["format"] == "dicom" and row["channels"] == 1 and row["value_unit"] == "unknown":
        yield finding("PIX-NOT-HU", subject)
    if row["suvbw_reason"] is not None:
        yield finding("PIX-NO-SUV", subject, reason=row["suvbw_reason"])


def _failure(row: Row) -> str:
    """Return the code for what became of the pixels of a volume."""
    if row["status"] == Status.QUARANTINED:
        return "PIX-QUARANTINED"
    codes = {"gzip_": "NII-GZIP-CRC", "no_decoder": "PIX-NO-DECODER"}
    reason = row["reason"] or ""
    return next((code for start, code in codes.items() if reason.startswith(start)), "PIX-UNDECODABLE")


def _sampling(row: Row, options: CheckOptions) -> Iterator[Row]:
    """Yield what is worth knowing of spacing and thickness."""
    subject = row["volume_id"]
    if row["Modality"] not in _STACKS:
        return
    if row["spacing_row_mm"] is None and row["format"] == "dicom":
        yield finding("GEO-SPACING-UNKNOWN", subject)
    if row["slices"] == 1 and row["timepoints"] == 1:
        yield finding("GEO-SINGLE-SLICE", subject)
    thickness, spacing = row["slice_thickness_mm"], row["spacing_slice_mm"]
    if not thickness or not spacing or row["format"] != "dicom":
        return
    tolerance = max(options.spacing_disagreement_mm, _PART_OF_THICKNESS * thickness)
    if abs(thickness - spacing) > tolerance:
        code = "GEO-SLICES-OVERLAP" if thickness > spacing else "GEO-SLICES-APART"
        yield finding(code, subject, thickness_mm=thickness, spacing_mm=spacing)


def _nifti(row: Row, options: CheckOptions) -> Iterator[Row]:
    distance = row["form_disagreement_mm"]
    if distance is not None and distance > options.form_disagreement_mm:
        yield finding(
            "NII-SFORM-QFORM", row["volume_id"], corner_distance_mm=distance,
            angle_degrees=row["form_disagreement_degrees"],
        )  # fmt: skip
    if row["timepoints"] is not None and row["timepoints"] > 1 and row["timepoint_step_ms"] is None:
        yield finding("NII-TIME-STEP-UNKNOWN", row["volume_id"], timepoints=row["timepoints"])


def _geometry(row: Row, options: CheckOptions) -> Iterator[Row]:
    subject = row["volume_id"]
    sparse = row["Modality"] == "SEG"  # frames where the segment is empty may be left out (PS3.3 A.51)
    if row["missing_slice_count"] and not sparse:
        yield finding(
            "GEO-MISSING-SLICE", subject, missing=row["missing_slice_count"], slices=row["slices"],
            spacing_mm=row["spacing_slice_mm"], max_gap_mm=row["max_slice_gap_mm"],
        )  # fmt: skip
    if row["duplicate_slice_count"]:
        yield finding("GEO-DUPLICATE-SLICE", subject, duplicates=row["duplicate_slice_count"])
    if row["excluded_instance_count"] and row["status"] == Status.OK:
        yield finding("GEO-LOCALIZER", subject, excluded=row["excluded_instance_count"])
    if row["tilt_degrees"]:
        yield finding("GEO-TILT", subject, tilt_degrees=row["tilt_degrees"], in_plane_drift_mm=row["in_plane_drift_mm"])
    mosaic = (row["reason_not_regular"] or "").startswith("mosaic_not_unpacked")
    if mosaic:
        yield finding("GEO-MOSAIC", subject, reason=row["reason_not_regular"])
    explained = row["missing_slice_count"] or row["tilt_degrees"] or mosaic
    if row["regularly_spaced_3d_volume"] is False and not explained:
        yield finding(
            "GEO-IRREGULAR", subject, failing=row["reason_not_regular"], spacing_mm=row["spacing_slice_mm"],
            min_gap_mm=row["min_slice_gap_mm"], max_gap_mm=row["max_slice_gap_mm"],
        )  # fmt: skip
    if "conflicting_instance" in (row["split_reason"] or ""):
        yield finding("ID-CONFLICTING-SOP", subject, slices=row["slices"])
    declared, measured = row["spacing_between_slices_mm"], row["spacing_slice_mm"]
    if declared is not None and row["Modality"] == "NM":
        declared = abs(declared)  # there its sign is a direction (PS3.3 C.8.4.15)
    told = declared is not None and measured is not None and not sparse
    if told and abs(declared - measured) > options.spacing_disagreement_mm:
        yield finding("GEO-SPACING-TAG-DISAGREES", subject, declared_mm=declared, measured_mm=measured)


def check_decoders(rows: Iterable[Row]) -> Iterator[Row]:
    """Yield the findings on series of which several libraries decoded the volumes; rows of `volumes`."""
    decoders: dict[str, set[str]] = {}
    for row in rows:
        if row["decoder"]:
            decoders.setdefault(row["series_key"], set()).add(row["decoder"])
    for key, names in decoders.items():
        if len(names) > 1:
            yield finding("PIX-MIXED-DECODERS", key, decoders=sorted(names))
