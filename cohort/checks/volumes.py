"""Findings on volumes: geometry, pixels, values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.checks.finding import finding
from cohort.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.config import CheckOptions

Row = dict[str, Any]

COLUMNS = (
    "volume_id", "Modality", "format", "status", "reason", "split_reason", "slices", "channels", "value_unit",
    "spacing_slice_mm", "spacing_between_slices_mm", "regularly_spaced_3d_volume", "reason_not_regular",
    "missing_slice_count", "duplicate_slice_count", "min_slice_gap_mm", "max_slice_gap_mm", "in_plane_drift_mm",
    "tilt_degrees", "excluded_instance_count", "timepoints", "timepoint_step_ms", "form_disagreement_mm",
    "form_disagreement_degrees",
)  # fmt: skip
_MOST_LABELS, _LEAST_VOXELS = 128, 100
"""A scan has more different values, and few voxels of each: at most so many labels, of so many voxels on average."""

STATISTICS_COLUMNS = ("volume_id", "count", "nan_count", "inf_count", "min", "max")


def check_volume(
    row: Row, statistics: Row | None, options: CheckOptions, different: int | None = None
) -> Iterator[Row]:
    """Yield the findings on one row of `volumes`.

    Parameters
    ----------
    row : dict
        The volume.
    statistics : dict or None
        Its row of `statistics`, where there is one.
    options : CheckOptions
        When an observation becomes a finding.
    different : int, optional
        How many different values it has, where they are whole numbers of one channel.
    """
    yield from _geometry(row, options)
    if row["format"] == "nifti":
        yield from _nifti(row, options)
    subject = row["volume_id"]
    if row["status"] != Status.OK:
        codes = {"gzip_": "NII-GZIP-CRC", "no_decoder": "PIX-NO-DECODER"}
        reason = row["reason"] or ""
        code = next((code for start, code in codes.items() if reason.startswith(start)), "PIX-UNDECODABLE")
        yield finding(code, subject, status=row["status"], reason=row["reason"])
    if row["Modality"] == "CT" and row["format"] == "dicom" and row["channels"] == 1 and row["value_unit"] == "unknown":
        yield finding("PIX-NOT-HU", subject)
    if statistics is None:
        return
    if statistics["count"] and statistics["min"] == statistics["max"]:
        yield finding("PIX-CONSTANT", subject, value=statistics["min"], count=statistics["count"])
    if row["format"] == "nifti" and row["Modality"] != "SEG" and _like_labels(statistics, different):
        yield finding("PIX-LIKE-LABELS", subject, values=different, count=statistics["count"])
    if statistics["nan_count"] or statistics["inf_count"]:
        yield finding("PIX-NOT-FINITE", subject, nan=statistics["nan_count"], inf=statistics["inf_count"])


def _like_labels(statistics: Row, different: int | None) -> bool:
    few = different is not None and 1 < different <= _MOST_LABELS
    return few and statistics["min"] >= 0 and statistics["count"] >= _LEAST_VOXELS * (different or 1)


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
    if declared is not None and measured is not None and abs(declared - measured) > options.spacing_disagreement_mm:
        yield finding("GEO-SPACING-TAG-DISAGREES", subject, declared_mm=declared, measured_mm=measured)
