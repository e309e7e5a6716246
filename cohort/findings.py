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
    """One kind of finding; its code never changes its meaning.

    Parameters
    ----------
    code : str
        Stable name.
    severity : Severity
        How bad it is.
    scope : str
        What its subject is: file, series, volume, patient or cohort.
    hint : str
        One line: what to do.
    cluster : Cluster
        Dimension of data quality.
    rule : str
        When it is raised, with the thresholds.
    """

    code: str
    severity: Severity
    scope: str
    hint: str
    cluster: Cluster
    rule: str


_I, _W, _E = Severity.INFO, Severity.WARNING, Severity.ERROR
_M, _T, _R, _F, _C = (
    Cluster.MEASUREMENT, Cluster.TIMELINESS, Cluster.REPRESENTATIVENESS, Cluster.INFORMATIVENESS, Cluster.CONSISTENCY,
)  # fmt: skip

KINDS: tuple[FindingKind, ...] = (
    FindingKind("FILE-NOT-IMAGING", _I, "file", "Neither DICOM nor NIfTI by content; left out", _F, "The content is neither; archives and their members apart"),
    FindingKind("FILE-ARCHIVE", _W, "file", "An archive that was not looked into; unpack it, or name it .zip or .tar", _F, "Bytes of an archive that the scan does not open"),
    FindingKind("FILE-UNREADABLE", _E, "file", "Check permissions and the disk, then run again", _F, "Opening or reading it failed; the evidence has the name of the errno"),
    FindingKind("FILE-QUARANTINED", _E, "file", "Look at the file by itself; a worker died on it", _F, "Its header cost a worker its life, its time or its memory"),
    FindingKind("FILE-CHANGED", _W, "file", "Let the source come to rest, then run again", _T, "It changed or vanished while it was scanned"),
    FindingKind("FILE-REJECTED", _W, "file", "Get the file again from where it came", _F, "DICOM or NIfTI by its first bytes, but no header can be made out"),
    FindingKind("FILE-TRUNCATED-HEADER", _E, "file", "The file ends inside its header; get it again", _M, "An element reaches beyond the end of the file"),
    FindingKind("PIX-TRUNCATED", _E, "file", "The pixel values are cut short; get the file again", _M, "Fewer bytes of pixels than Rows, Columns, frames, samples and bits demand (PS3.5 8.1.1)"),
    FindingKind("PIX-MISSING", _W, "file", "An image by its header, without pixels: stripped, or cut there", _M, "Rows, Columns and BitsAllocated without pixel data"),
    FindingKind("PIX-UNDECODABLE", _E, "volume", "The pixels could not be decoded; see the reason", _M, "Reading the pixels of the volume was refused or failed"),
    FindingKind("PIX-QUARANTINED", _E, "volume", "Look at the images by themselves; a decoder died on them", _M, "A decoder crashed, hung or took too much memory"),
    FindingKind("PIX-NO-DECODER", _E, "volume", 'No decoder is installed for this compression; those of JPEG: pip install "cohort[fast]"', _M, "The transfer syntax is known, its decoder lacks"),
    FindingKind("PIX-CONSTANT", _W, "volume", "All values are equal; the image carries nothing", _F, "Smallest and largest value are equal, in an image that is no label map"),
    FindingKind("PIX-ALL-PADDING", _W, "volume", "Nothing but padding, NaN or infinity; the image carries nothing", _F, "No value is left once padding, NaN and infinity are set aside"),
    FindingKind("PIX-NOT-FINITE", _W, "volume", "NaN or infinity among the values; left out of statistics", _M, "At least one such value"),
    FindingKind("PIX-LIKE-LABELS", _I, "volume", "Few different whole values: perhaps a label map (a guess by the values)", _F, "NIfTI: 2 to 128 different whole values, none negative, 100 voxels of each on average"),
    FindingKind("PIX-NOT-HU", _W, "volume", "CT whose values are not Hounsfield units: apply the rescale", _M, "No usable rescale; or nothing below -200, and a tenth of the values within 924 to 1174, where soft tissue is before the rescale"),
    FindingKind("PIX-HU-RANGE", _I, "volume", "Values beyond air and metal: padding without a padding value?", _M, "CT in HU: more than `hu_range_share` of the values outside `hu_range`"),
    FindingKind("PIX-CLIPPED", _W, "volume", "Values pile up at the upper end: the range was too small", _M, "One channel of 10 bits or more: at least `clipped_share` of the values are the largest that BitsStored can hold, after rescale"),
    FindingKind("PIX-LOSSY", _W, "series", "Lossy compression altered the values", _M, "LossyImageCompression is 01, or the transfer syntax is lossy"),
    FindingKind("PIX-LOSSY-CONTRADICTED", _W, "series", "The header denies a lossy compression; correct it", _C, "LossyImageCompression is 00, the transfer syntax is lossy"),
    FindingKind("PIX-MIXED-SYNTAXES", _I, "series", "Different transfer syntaxes in one series", _C, "More than one TransferSyntaxUID among its images"),
    FindingKind("PIX-MIXED-BITS", _I, "series", "Different BitsStored in one series: values may not compare", _C, "More than one BitsStored among its images"),
    FindingKind("PIX-MIXED-UNITS", _W, "series", "Different units in one series; do not pool its values", _C, "More than one RescaleType or Units among its images"),
    FindingKind("PIX-MIXED-DECODERS", _I, "series", "Volumes of one series were decoded by different libraries", _C, "More than one decoder among its volumes"),
    FindingKind("PIX-MIXED-POLARITY", _I, "cohort", "MONOCHROME1 and MONOCHROME2 both occur: invert one before pooling", _C, "Both, among the series of one modality; the subject is the modality"),
    FindingKind("PIX-NO-SUV", _I, "volume", "No factor to standardised uptake values; see the reason", _F, "PET whose header lacks what the factor needs"),
    FindingKind("GEO-MISSING-SLICE", _E, "volume", "Slices lack inside the stack; get the series again", _M, "A gap is a multiple of the median gap; label maps may leave out empty slices (PS3.3 A.51)"),
    FindingKind("GEO-DUPLICATE-SLICE", _W, "volume", "Copies of slices were set aside", _C, "Exact copies of frames"),
    FindingKind("GEO-IRREGULAR", _W, "volume", "Not a regular grid; do not treat it as a 3-D array", _M, "A geometry check fails that neither a missing slice nor a tilt explains"),
    FindingKind("GEO-TILT", _W, "volume", "Slices are sheared (gantry tilt); use the full affine", _M, "The line of the positions is not the normal"),
    FindingKind("GEO-MOSAIC", _W, "volume", "Many slices in one frame; the private header that places them lacks", _M, "A mosaic that could not be taken apart"),
    FindingKind("GEO-LOCALIZER", _I, "volume", "Frames of another orientation or size were set aside", _C, "Images of the series that fit no stack"),
    FindingKind("GEO-MIXED-SERIES", _I, "series", "The series holds several volumes; see split_reason", _C, "More than one volume"),
    FindingKind("GEO-SPACING-TAG-DISAGREES", _W, "volume", "SpacingBetweenSlices is not the measured spacing", _C, "They differ by more than `spacing_disagreement_mm`; the sign is a direction in NM alone (PS3.3 C.8.4.15); segmentations may leave out slices"),
    FindingKind("GEO-SPACING-UNKNOWN", _W, "volume", "No spacing in the plane: lengths cannot be measured", _M, "CT, MR or PET without it"),
    FindingKind("GEO-SLICES-OVERLAP", _I, "volume", "Slices are thicker than their distance", _M, "SliceThickness exceeds the measured spacing by more than 1 % and `spacing_disagreement_mm`"),
    FindingKind("GEO-SLICES-APART", _I, "volume", "Tissue between the slices was not imaged", _M, "The measured spacing exceeds SliceThickness by more than 1 % and `spacing_disagreement_mm`"),
    FindingKind("GEO-SINGLE-SLICE", _I, "volume", "One slice alone: no volume", _F, "CT, MR or PET of one slice and one time point"),
    FindingKind("GEO-OUTLIER", _I, "volume", "Unlike the others of its variant in size or spacing", _R, "More than `outlier_z` robust deviations, and more than a tenth, from the median of its modality and variant, of at least `outlier_group` volumes; OT, SC and XC apart"),
    FindingKind("ID-DUPLICATE-SOP", _W, "series", "The same SOPInstanceUID occurs more than once", _C, "Copies of images: one UID, the same pixels"),
    FindingKind("ID-CONFLICTING-SOP", _W, "volume", "Other images carry the same SOPInstanceUIDs; all are kept", _C, "One UID, different pixels"),
    FindingKind("ID-INSTANCE-IN-SEVERAL-SERIES", _W, "series", "Some of its images are in another series too", _C, "One SOPInstanceUID in several series"),
    FindingKind("ID-UID-REUSED-ACROSS-PATIENTS", _E, "series", "A series or study UID belongs to several patients", _C, "SeriesInstanceUID or StudyInstanceUID under several PatientIDs"),
    FindingKind("ID-SERIES-IN-SEVERAL-STUDIES", _W, "series", "One series UID in several studies of a patient", _C, "SeriesInstanceUID under several StudyInstanceUIDs of one PatientID"),
    FindingKind("ID-FRAME-OF-REFERENCE-REUSED", _W, "series", "A coordinate system belongs to several patients", _C, "FrameOfReferenceUID under several PatientIDs; the well-known atlases (PS3.6 A-2) apart"),
    FindingKind("ID-SAME-PIXELS", _W, "volume", "Other volumes have the same voxels: a copy or a re-export", _C, "Equal content_sha256 under different identities; constant volumes apart"),
    FindingKind("ID-PATIENT-MISSING", _W, "series", "No PatientID: patients cannot be told apart", _C, "DICOM images without a PatientID"),
    FindingKind("ID-PATIENT-CONTRADICTS", _W, "patient", "One PatientID with several sexes: two people, or a slip", _C, "More than one of M, F and O among the series of a PatientID"),
    FindingKind("ID-UID-INVALID", _I, "series", "A UID breaks the rules: other tools may refuse it", _C, "Not digits and dots, a component with a leading zero, or more than 64 characters (PS3.5 9.1)"),
    FindingKind("HDR-MISSING", _W, "series", "An attribute that the kind of image requires is missing", _F, "Images without Modality or Rows"),
    FindingKind("HDR-UNDESCRIBED", _I, "series", "Attributes that describe the cohort are missing", _F, "All images lack some of PatientSex, PatientAge, StudyDate, BodyPartExamined, Manufacturer"),
    FindingKind("HDR-UNPARSED", _W, "file", "A value could not be converted; its raw text is kept in `unparsed`", _C, "The value is none of its VR"),
    FindingKind("HDR-ODD-ENCODING", _I, "series", "The header is not encoded by the rules; it was read all the same", _C, "A value representation other than the standard's, or elements that do not ascend"),
    FindingKind("HDR-INCONSISTENT", _W, "series", "Attributes that are one per series differ within it", _C, "More than one Modality, Manufacturer, PatientPosition or FrameOfReferenceUID"),
    FindingKind("HDR-MODALITY-CONTRADICTED", _W, "series", "The SOP class is that of another modality", _C, "A storage class for one modality alone, and another Modality"),
    FindingKind("HDR-BITS-CONTRADICT", _W, "series", "BitsStored, HighBit and BitsAllocated contradict each other", _C, "BitsStored above BitsAllocated, or HighBit not BitsStored - 1 (PS3.5 8.1.1)"),
    FindingKind("HDR-IMPLAUSIBLE", _W, "series", "A value that no scanner has: a slip, or another unit", _C, "KVP outside 10-300, MagneticFieldStrength outside 0.01-25 T, FlipAngle beyond 360, or a negative time"),
    FindingKind("HDR-AGE-DISAGREES", _W, "series", "PatientAge is not the time from birth to study", _C, "They differ by more than `age_disagreement_years`"),
    FindingKind("HDR-AGE-INVALID", _W, "series", "PatientAge is no age: nnnD, nnnW, nnnM or nnnY", _C, "Another form (PS3.5 6.2), or more than 130 years"),
    FindingKind("HDR-SEX-INVALID", _I, "series", "PatientSex is none of M, F and O", _C, "Another value"),
    FindingKind("HDR-DATE-INVALID", _W, "series", "A date that is none", _T, "Neither YYYYMMDD nor the old YYYY.MM.DD, or no day of the calendar"),
    FindingKind("HDR-DATE-DUMMY", _I, "series", "Dates that stand for none: de-identification, or a clock that was not set", _T, "1900-01-01 and the like, or a birth on 1 January"),
    FindingKind("HDR-DATES-CONTRADICT", _W, "series", "Dates in an order that cannot be", _T, "Birth after the study, or a series or acquisition more than a day before its study"),
    FindingKind("HDR-CHARSET-MISSING", _W, "series", "Text beyond ASCII, and no character set: it may read wrong", _C, "SpecificCharacterSet is absent, a description has other characters"),
    FindingKind("HDR-CHARSET-UNKNOWN", _W, "series", "A character set that the standard does not know", _C, "None of the defined terms (PS3.3 C.12.1.1.2)"),
    FindingKind("HDR-MANUFACTURER-SPELLINGS", _I, "cohort", "One maker by several names: group by a cleaned name", _C, "More than one spelling of a Manufacturer; the subject is the cleaned name"),
    FindingKind("HDR-LATERALITY-MISSING", _I, "series", "Left or right is not told", _F, "Paired part of the body, and neither Laterality nor ImageLaterality"),
    FindingKind("NII-SFORM-QFORM", _W, "volume", "sform and qform disagree; tools will place the image differently", _C, "Both codes set, a corner of the image differs by more than `form_disagreement_mm`"),
    FindingKind("NII-NO-ORIENTATION", _W, "volume", "Both form codes are 0: left and right are unknown", _M, "qform_code and sform_code are 0"),
    FindingKind("NII-UNITS-UNKNOWN", _I, "volume", "No unit of space; millimetres are assumed", _M, "xyzt_units has no unit of space"),
    FindingKind("NII-BAD-PIXDIM", _E, "volume", "A grid spacing is zero, negative or not finite", _M, "pixdim[1..3]"),
    FindingKind("NII-BAD-QFAC", _W, "volume", "pixdim[0] is neither 1 nor -1; tools may mirror the slices", _C, "The qform is used, pixdim[0] is another number"),
    FindingKind("NII-BAD-AFFINE", _E, "volume", "The form its code chooses is no grid: axes of no length or in one plane, or NaN", _M, "An axis of the affine has no length, is not finite, or is a combination of the others; a quaternion longer than 1"),
    FindingKind("NII-PIXDIM-DISAGREES", _W, "volume", "pixdim is not the spacing of the affine, which is used", _C, "They differ by more than `spacing_disagreement_mm`"),
    FindingKind("NII-UNITS-IMPLAUSIBLE", _W, "volume", "No unit, and no voxel of a body image in mm; ask for the unit", _M, "No unit, and a voxel below 0.02 or above 20"),
    FindingKind("NII-TIME-STEP-UNKNOWN", _I, "volume", "Several time points, but no time step with a unit", _F, "pixdim[4] or its unit lacks"),
    FindingKind("NII-LABELS-SCALED", _W, "volume", "A label map with scl_slope or scl_inter: values may not be labels", _M, "Of a label map, not 1 and 0"),
    FindingKind("NII-GZIP-CRC", _E, "volume", "The gzip stream is damaged or cut short; get the file again", _M, "Its checksum or its end"),
    FindingKind("NII-SLOPE-INVALID", _W, "volume", "scl_slope or scl_inter is not finite; values are unscaled", _M, "NaN or infinity"),
    FindingKind("LBL-EMPTY", _W, "volume", "The label map marks nothing", _F, "No value but 0"),
    FindingKind("LBL-GEOMETRY-DISAGREES", _W, "volume", "The mask lies on no image's grid: resampled, moved, or its image is missing", _M, "Of the images of the mask's frame of reference (DICOM) or of its name (NIfTI) none has its voxels, wholly or in part, within 0.05 voxels, slices left out evenly allowed; none is said of a mask or an image with irregular slices"),
    FindingKind("LBL-NOT-INTEGER", _W, "volume", "Values between whole numbers: no labels, or resampled ones", _M, "NIfTI label map of floats with values that are no whole numbers"),
    FindingKind("LBL-MANY-VALUES", _I, "volume", "Very many labels", _F, "More than 256 different values"),
    FindingKind("PHI-ATTRIBUTES-FILLED", _I, "series", "Attributes that de-identification removes are filled", _C, "PatientBirthDate, StudyDescription, SeriesDescription or ProtocolName with a value (PS3.15 Table E.1-1)"),
    FindingKind("PHI-NAME-PRESENT", _I, "series", "Names of persons are in the headers: de-identify before sharing", _C, "An attribute that names the patient or a physician says more than a word for nobody (Anonymous, Test...), a code or the PatientID"),
    FindingKind("PHI-SIDECAR", _I, "volume", "The sidecar holds what de-identification removes; strip it before sharing", _C, "A key of the JSON sidecar is the keyword of an attribute in PS3.15 Table E.1-1 (or its BIDS name), with a text"),
    FindingKind("PHI-NIFTI-TEXT", _I, "volume", "Free text or extensions in a NIfTI header; read them (`cohort phi`)", _C, "descrip, aux_file, intent_name or db_name says more than the name of a program, or there is an extension"),
    FindingKind("PHI-DATES-PRESENT", _I, "series", "Full dates: shift them or keep the year before sharing", _T, "Dates of study, series, acquisition or birth"),
    FindingKind("PHI-AGE-ABOVE-89", _I, "series", "Ages above 89 identify: make them one group", _R, "PatientAge (HIPAA 164.514(b)(2)(i)(C))"),
    FindingKind("PHI-BURNED-IN-RISK", _I, "series", "This kind of image often has text burned into the pixels", _C, "US, XA, RF, XC, ES, OT or secondary capture where BurnedInAnnotation is not NO; any image where it is YES"),
    FindingKind("PHI-BURNED-IN-DECLARED", _W, "series", "Text is burned into the pixels: mask it before sharing", _C, "BurnedInAnnotation is YES"),
    FindingKind("PHI-FACE-RISK", _I, "series", "A face can be made out of thin slices of a head", _C, "CT or MR of head, skull, brain or face with SliceThickness up to 2 mm"),
    FindingKind("PHI-CLAIM-CONTRADICTED", _E, "series", "Identity is said to be removed, but is there: do not share", _C, "PatientIdentityRemoved is YES, and a name or address of the patient is filled, or a date of birth: no dummy, and not 1 January, which is a year alone"),
    FindingKind("PHI-CLAIM-UNEXPLAINED", _I, "series", "Identity is said to be removed, but not how", _C, "PatientIdentityRemoved is YES without DeidentificationMethod (PS3.3 C.7.1.1)"),
    FindingKind("LEAK-PATIENT", _E, "patient", "A patient in several splits: results will be too good", _R, "One PatientID in several splits; of runs that name `split_column` or `split_pattern`"),
    FindingKind("LEAK-STUDY", _E, "series", "A study in several splits", _R, "One StudyInstanceUID in several splits"),
    FindingKind("LEAK-PIXELS", _E, "volume", "The same voxels in several splits", _R, "Equal content_sha256 in several splits; constant volumes apart"),
    FindingKind("STAT-OUTLIER", _I, "volume", "Values unlike the others of its variant", _R, "Mean or standard deviation of the values more than `outlier_z` robust deviations from the median of its modality and variant, and more than a tenth of the median standard deviation; of at least `outlier_group` volumes; OT, SC and XC apart"),
    FindingKind("ACQ-VARIANT", _I, "cohort", "A set of acquisition parameters, and how often it occurs", _R, "Each set per modality and body part; numbers within the tolerance of `variant_fields` are one"),
    FindingKind("ACQ-RARE-VARIANT", _I, "series", "Acquired unlike most of its modality and body part", _R, "Its variant has at most `rare_variant_share` of at least 20 series"),
)  # fmt: skip

BY_CODE: dict[str, FindingKind] = {kind.code: kind for kind in KINDS}

_PAGE = """# Findings

What `cohort check` looks for: {count} kinds of findings. `findings.parquet` has one row per observation with the columns
`code severity scope subject evidence hint cluster`: `subject` is the key of the subject in its table (of a file its
path), `evidence` the numbers behind it as JSON, `cluster` the dimension of data quality of the METRIC framework
(Schwabe et al. 2024, npj Digital Medicine 7:203). Severities: **info**, worth knowing; **warning**, look before you use
the subject; **error**, do not use it as it is. Names in `code` are options of the section `check` of the configuration,
where each has its default and the reason for it. Codes never change their meaning.

{tables}
"""

_GROUPS = {
    "FILE": "Files", "ID": "Identity", "GEO": "Geometry", "PIX": "Pixels", "HDR": "Headers", "NII": "NIfTI",
    "LBL": "Labels", "PHI": "De-identification", "LEAK": "Leakage", "STAT": "Statistics", "ACQ": "Acquisition",
}  # fmt: skip


def as_markdown() -> str:
    """Return the catalogue as the page docs/findings.md."""
    tables = []
    for prefix, title in _GROUPS.items():
        rows = [kind for kind in KINDS if kind.code.startswith(f"{prefix}-")]
        lines = [f"| {k.code} | {k.severity} | {k.scope} | {k.rule} | {k.hint} | {k.cluster} |" for k in rows]
        head = ["| code | severity | scope | raised when | what to do | cluster |", "|---|---|---|---|---|---|"]
        tables.append("\n".join([f"## {title}", "", *head, *lines]))
    return _PAGE.format(count=len(KINDS), tables="\n\n".join(tables))
