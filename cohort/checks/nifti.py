"""Findings on NIfTI headers: orientation, units, spacing, scaling, texts."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any

from cohort import geometry
from cohort.checks.finding import finding
from cohort.schema.annex_e import action_of_keyword

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.config import CheckOptions

Row = dict[str, Any]

COLUMNS = (
    "instance_key", "Modality", "nifti_dim", "nifti_pixdim", "nifti_xyzt_units", "nifti_qform_code", "nifti_sform_code",
    "nifti_quatern", "nifti_srow", "nifti_scl_slope", "nifti_scl_inter", "nifti_descrip", "nifti_aux_file",
    "nifti_intent_name", "nifti_db_name", "nifti_extension_codes", "names_filled", "sidecar_texts",
)  # fmt: skip

_FREE_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
_TOOLS = re.compile(
    r"none|\d+(\.\d+)+(:\w+)?|\?TR:[\d.]+ TE:[\d.]*|(FSL|SPM|AFNI|ITK|FreeSurfer|nibabel)[ \w.-]*", re.IGNORECASE
)
"""What programs write of themselves, and of the protocol."""

_DICOM_KEYWORDS = {  # keys of BIDS sidecars that have another name there
    "ManufacturersModelName": "ManufacturerModelName",
    "BodyPart": "BodyPartExamined",
    "ProcedureStepDescription": "PerformedProcedureStepDescription",
}

_LONGEST_QUATERNION = 1.001  # of b, c and d, squared
_PLAUSIBLE_MM = (0.02, 20.0)
"""Voxels of body images lie in between: a grid without unit beyond it was meant in metres or micrometres."""


def check_image(row: Row, options: CheckOptions) -> Iterator[Row]:
    """Yield the findings on the header of one NIfTI image; its key is that of its volume."""
    yield from _forms(row, options)
    yield from _scaling(row)
    yield from _texts(row)
    units, pixdim = row["nifti_xyzt_units"], row["nifti_pixdim"]
    grid = pixdim[1 : min(3, row["nifti_dim"][0]) + 1]
    bad = [i for i, step in enumerate(grid, 1) if not _is_length(step)]
    if bad:
        yield finding("NII-BAD-PIXDIM", row["instance_key"], axes=bad, values=[str(pixdim[i]) for i in bad])
    if units & 7 == 0:
        yield finding("NII-UNITS-UNKNOWN", row["instance_key"], xyzt_units=units)
        least, most = _PLAUSIBLE_MM
        odd = [step for step in grid if _is_length(step) and not least <= step <= most]
        if odd:
            yield finding("NII-UNITS-IMPLAUSIBLE", row["instance_key"], spacing=odd)


def _forms(row: Row, options: CheckOptions) -> Iterator[Row]:
    """Yield what is wrong with the forms that place the image, and with how their codes choose."""
    subject, pixdim = row["instance_key"], row["nifti_pixdim"]
    qform, sform = row["nifti_qform_code"], row["nifti_sform_code"]
    if qform <= 0 and sform <= 0:
        yield finding("NII-NO-ORIENTATION", subject, qform_code=qform, sform_code=sform)
        return
    if qform > 0 and pixdim[0] not in (-1.0, 1.0):
        yield finding("NII-BAD-QFAC", subject, qfac=str(pixdim[0]))
    if sform > 0:
        affine = geometry.nifti_sform(row["nifti_srow"])
    else:
        affine = geometry.nifti_qform(row["nifti_quatern"], pixdim)
    dimensions = min(3, row["nifti_dim"][0])
    lengths = geometry.column_lengths(affine)[:dimensions]
    if not geometry.spans_grid(affine, dimensions) or (sform <= 0 and _is_long(row["nifti_quatern"])):
        yield finding("NII-BAD-AFFINE", subject, form="sform" if sform > 0 else "qform")
        return
    factor = geometry.MM_PER_UNIT.get(row["nifti_xyzt_units"] & 7) or 1.0
    given = [(length, step) for length, step in zip(lengths, pixdim[1:], strict=False) if _is_length(step)]
    if any(abs(length - step) * factor > options.spacing_disagreement_mm for length, step in given):
        measured, declared = ([number * factor for number in numbers] for numbers in zip(*given, strict=True))
        yield finding("NII-PIXDIM-DISAGREES", subject, affine_mm=measured, pixdim_mm=declared)


def _is_long(quatern: list[float]) -> bool:
    """Tell whether a quaternion is longer than 1 by more than float32 rounds: it is no rotation."""
    return sum(part * part for part in quatern[:3]) > _LONGEST_QUATERNION


def _is_length(step: float) -> bool:
    return geometry.is_length(step)


def _texts(row: Row) -> Iterator[Row]:
    """Yield what the texts of header and sidecar may tell of a patient: which they are, not what they say."""
    subject = row["instance_key"]
    if row["names_filled"]:
        yield finding("PHI-NAME-PRESENT", subject, attributes=row["names_filled"].split("\\"))
    keys = {key.rpartition(" > ")[2] for key in json.loads(row["sidecar_texts"] or "{}")}
    removed = sorted(key for key in keys if action_of_keyword(_DICOM_KEYWORDS.get(key, key)) is not None)
    if removed:
        yield finding("PHI-SIDECAR", subject, attributes=removed)
    fields = [name for name in _FREE_FIELDS if not _TOOLS.fullmatch(row[f"nifti_{name}"] or "none")]
    codes = sorted(set(row["nifti_extension_codes"] or ()))
    if fields or codes:
        yield finding("PHI-NIFTI-TEXT", subject, fields=fields, extension_codes=codes)


def _scaling(row: Row) -> Iterator[Row]:
    slope, inter = row["nifti_scl_slope"], row["nifti_scl_inter"]
    if not math.isfinite(slope) or not math.isfinite(inter):
        yield finding("NII-SLOPE-INVALID", row["instance_key"], scl_slope=str(slope), scl_inter=str(inter))
    elif row["Modality"] == "SEG" and slope != 0 and (slope, inter) != (1.0, 0.0):
        yield finding("NII-LABELS-SCALED", row["instance_key"], scl_slope=slope, scl_inter=inter)
