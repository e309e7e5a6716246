"""Findings on NIfTI headers: orientation, units, spacing, scaling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from cohort import geometry
from cohort.checks.finding import finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.config import CheckOptions

Row = dict[str, Any]

COLUMNS = (
    "instance_key", "nifti_dim", "nifti_pixdim", "nifti_xyzt_units", "nifti_qform_code", "nifti_sform_code",
    "nifti_quatern", "nifti_srow", "nifti_scl_slope", "nifti_scl_inter",
)  # fmt: skip


def check_image(row: Row, options: CheckOptions) -> Iterator[Row]:
    """Yield the findings on the header of one NIfTI image; its key is that of its volume."""
    subject = row["instance_key"]
    qform, sform, pixdim = row["nifti_qform_code"], row["nifti_sform_code"], row["nifti_pixdim"]
    if qform <= 0 and sform <= 0:
        yield finding("NII-NO-ORIENTATION", subject, qform_code=qform, sform_code=sform)
    if row["nifti_xyzt_units"] & 7 == 0:
        yield finding("NII-UNITS-UNKNOWN", subject, xyzt_units=row["nifti_xyzt_units"])
    dimensions = min(3, row["nifti_dim"][0])
    bad = [i for i in range(1, dimensions + 1) if not math.isfinite(pixdim[i]) or pixdim[i] <= 0]
    if bad:
        yield finding("NII-BAD-PIXDIM", subject, axes=bad, values=[str(pixdim[i]) for i in bad])
    slope, inter = row["nifti_scl_slope"], row["nifti_scl_inter"]
    if not math.isfinite(slope) or not math.isfinite(inter):
        yield finding("NII-SLOPE-INVALID", subject, scl_slope=str(slope), scl_inter=str(inter))
    if qform > 0 and sform > 0 and not bad:
        distance = _disagreement_mm(row)
        if math.isfinite(distance) and distance > options.form_disagreement_mm:
            yield finding("NII-SFORM-QFORM", subject, corner_distance_mm=distance)


def _disagreement_mm(row: Row) -> float:
    factor = geometry.MM_PER_UNIT.get(row["nifti_xyzt_units"] & 7) or 1.0
    shape = [max(1, n) for n in (*row["nifti_dim"][1 : row["nifti_dim"][0] + 1], 1, 1, 1)[:3]]
    sform = geometry.nifti_sform(row["nifti_srow"])
    qform = geometry.nifti_qform(row["nifti_quatern"], row["nifti_pixdim"])
    return geometry.corner_distance(sform, qform, shape) * factor
