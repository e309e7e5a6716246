"""The kinds of findings: code, severity, scope, hint and cluster of data quality, once each."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    INFO = "info"  # worth knowing
    WARNING = "warning"  # look before you use the subject
    ERROR = "error"  # do not use the subject as it is


class Cluster(StrEnum):
    """Clusters of the METRIC framework (Schwabe et al. 2024, npj Digital Medicine 7:203)."""

    MEASUREMENT = "measurement process"
    TIMELINESS = "timeliness"
    REPRESENTATIVENESS = "representativeness"
    INFORMATIVENESS = "informativeness"
    CONSISTENCY = "consistency"


@dataclass(frozen=True)
class FindingKind:
    """One kind of finding; its code never changes its meaning."""

    code: str
    severity: Severity
    scope: str
    hint: str
    cluster: Cluster


_I, _W, _E = Severity.INFO, Severity.WARNING, Severity.ERROR
_MEASUREMENT, _INFORMATIVE, _CONSISTENT = Cluster.MEASUREMENT, Cluster.INFORMATIVENESS, Cluster.CONSISTENCY

KINDS: tuple[FindingKind, ...] = (
    FindingKind("FILE-NOT-IMAGING", _I, "file", "Neither DICOM nor NIfTI by content; left out", _INFORMATIVE),
    FindingKind("FILE-ARCHIVE", _W, "file", "An archive that was not looked into; unpack it, or name it .zip or .tar", _INFORMATIVE),
    FindingKind("FILE-UNREADABLE", _E, "file", "Check permissions and the disk, then run again", _INFORMATIVE),
    FindingKind("FILE-REJECTED", _W, "file", "Get the file again from where it came", _INFORMATIVE),
    FindingKind("FILE-TRUNCATED-HEADER", _E, "file", "The file ends inside its header; get it again", _MEASUREMENT),
    FindingKind("PIX-TRUNCATED", _E, "file", "The pixel values are cut short; get the file again", _MEASUREMENT),
    FindingKind("PIX-MISSING", _W, "file", "An image by its header, without pixels: stripped, or cut there", _MEASUREMENT),
    FindingKind("PIX-UNDECODABLE", _E, "volume", "The pixels could not be decoded; see the reason", _MEASUREMENT),
    FindingKind("PIX-NO-DECODER", _E, "volume", 'No decoder is installed for this compression; those of JPEG: pip install "cohort[fast]"', _MEASUREMENT),
    FindingKind("PIX-CONSTANT", _W, "volume", "All values are equal; the image carries nothing", _INFORMATIVE),
    FindingKind("PIX-NOT-FINITE", _W, "volume", "NaN or infinity among the values; left out of statistics", _MEASUREMENT),
    FindingKind("PIX-LIKE-LABELS", _I, "volume", "Few different whole values: perhaps a label map (a guess by the values)", _INFORMATIVE),
    FindingKind("PIX-NOT-HU", _W, "volume", "CT without a usable rescale: values are not Hounsfield units", _MEASUREMENT),
    FindingKind("PIX-LOSSY", _W, "series", "Lossy compression altered the values", _MEASUREMENT),
    FindingKind("GEO-MISSING-SLICE", _E, "volume", "Slices lack inside the stack; get the series again", _MEASUREMENT),
    FindingKind("GEO-DUPLICATE-SLICE", _W, "volume", "Copies of slices were set aside", _CONSISTENT),
    FindingKind("GEO-IRREGULAR", _W, "volume", "Not a regular grid; do not treat it as a 3-D array", _MEASUREMENT),
    FindingKind("GEO-TILT", _W, "volume", "Slices are sheared (gantry tilt); use the full affine", _MEASUREMENT),
    FindingKind("GEO-MOSAIC", _W, "volume", "Many slices in one frame; the private header that places them lacks", _MEASUREMENT),
    FindingKind("GEO-LOCALIZER", _I, "volume", "Frames of another orientation or size were set aside", _CONSISTENT),
    FindingKind("GEO-MIXED-SERIES", _I, "series", "The series holds several volumes; see split_reason", _CONSISTENT),
    FindingKind("GEO-SPACING-TAG-DISAGREES", _W, "volume", "SpacingBetweenSlices is not the measured spacing", _CONSISTENT),
    FindingKind("ID-DUPLICATE-SOP", _W, "series", "The same SOPInstanceUID occurs more than once", _CONSISTENT),
    FindingKind("ID-CONFLICTING-SOP", _W, "volume", "Other images carry the same SOPInstanceUIDs; all are kept", _CONSISTENT),
    FindingKind("ID-UID-REUSED-ACROSS-PATIENTS", _E, "series", "A series or study UID belongs to several patients", _CONSISTENT),
    FindingKind("HDR-MISSING", _W, "series", "An attribute that the kind of image requires is missing", _INFORMATIVE),
    FindingKind("HDR-UNPARSED", _W, "file", "A value could not be converted; its raw text is kept in `unparsed`", _CONSISTENT),
    FindingKind("NII-SFORM-QFORM", _W, "volume", "sform and qform disagree; tools will place the image differently", _CONSISTENT),
    FindingKind("NII-NO-ORIENTATION", _W, "volume", "Both form codes are 0: left and right are unknown", _MEASUREMENT),
    FindingKind("NII-UNITS-UNKNOWN", _I, "volume", "No unit of space; millimetres are assumed", _MEASUREMENT),
    FindingKind("NII-BAD-PIXDIM", _E, "volume", "A grid spacing is zero, negative or not finite", _MEASUREMENT),
    FindingKind("NII-BAD-QFAC", _W, "volume", "pixdim[0] is neither 1 nor -1; tools may mirror the slices", _CONSISTENT),
    FindingKind("NII-BAD-AFFINE", _E, "volume", "The form its code chooses is no grid: axes of no length, or NaN", _MEASUREMENT),
    FindingKind("NII-PIXDIM-DISAGREES", _W, "volume", "pixdim is not the spacing of the affine, which is used", _CONSISTENT),
    FindingKind("NII-UNITS-IMPLAUSIBLE", _W, "volume", "No unit, and no voxel of a body image in mm; ask for the unit", _MEASUREMENT),
    FindingKind("NII-TIME-STEP-UNKNOWN", _I, "volume", "Several time points, but no time step with a unit", _INFORMATIVE),
    FindingKind("NII-LABELS-SCALED", _W, "volume", "A label map with scl_slope or scl_inter: values may not be labels", _MEASUREMENT),
    FindingKind("NII-GZIP-CRC", _E, "volume", "The gzip stream is damaged or cut short; get the file again", _MEASUREMENT),
    FindingKind("NII-SLOPE-INVALID", _W, "volume", "scl_slope or scl_inter is not finite; values are unscaled", _MEASUREMENT),
    FindingKind("PHI-BURNED-IN-RISK", _I, "series", "This kind of image often has text burned into the pixels", _CONSISTENT),
)  # fmt: skip

BY_CODE: dict[str, FindingKind] = {kind.code: kind for kind in KINDS}
