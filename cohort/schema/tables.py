"""The tables of the run folder."""

from __future__ import annotations

from cohort.schema.headers import DICOM_COLUMNS, FRAME_COLUMNS, HEADER_COLUMNS, ITEM_COLUMNS, NIFTI_COLUMNS
from cohort.schema.model import Column, Privacy, Table

_C, _I, _T, _P = Privacy.COARSE, Privacy.IDENTIFIER, Privacy.TEXT, Privacy.PATH

_OBJECT = (
    Column("source", "string", "Root the object was listed from: an absolute path or URL", privacy=_P),
    Column("path", "string", "Path below the root, /-separated, of a member archive.zip!/inner/name; bytes that are not UTF-8 backslash-escaped", privacy=_P),
    Column("path_raw", "binary", "Exact bytes of the path below the root", privacy=_P),
    Column("size", "int64", "Size when listed; of a member of an archive unpacked", unit="bytes"),
    Column("modified", "timestamp[ns]", "Time of the last change when listed; of a member that of its archive", privacy=_C),
)  # fmt: skip

_MODALITY_SOURCE = Column(
    "modality_source",
    "string",
    "What tells the Modality of a NIfTI image, best first: bids_suffix (a guess by its name), intent_code (of the header), sidecar, configuration",
)

MANIFEST = Table(
    "manifest",
    "One row per listed object, before anything was read",
    (
        *_OBJECT,
        Column(
            "problem",
            "string",
            "Why it is not opened: archive (its members follow), a reason such as not_regular_file, or the name of an errno",
        ),
        Column("shard", "int64", "Unit of work of the header scan this object belongs to"),
    ),
)

FILES = Table(
    "files",
    "One row per listed object, whatever became of it",
    (
        *_OBJECT,
        Column("format", "string", "dicom or nifti, by content; null for anything else"),
        Column("container", "string", "gzip where the bytes are compressed as a whole"),
        Column("status", "string", "ok, not_imaging, rejected, quarantined, unreadable, vanished or changed"),
        Column("reason", "string", "Why the status is not ok"),
        Column("is_image", "bool", "Whether the object holds pixels"),
        Column("parser", "string", "What read the header"),
        Column("fallback_reason", "string", "Why a slower parser was needed"),
        Column("instance_key", "string", "Digest that names the image wherever it lies", privacy=_I),
        Column("series_key", "string", "Digest of patient, study and series; of the image for NIfTI", privacy=_I),
        Column("TransferSyntaxUID", "string", "Encoding of header and pixels", "(0002,0010)"),
        Column("pixel_offset", "int64", "Where the pixel values begin; null where they cannot be read in place", unit="bytes"),
        Column("pixel_length", "int64", "Length of the pixel values; null where it is undefined", unit="bytes"),
        *DICOM_COLUMNS,
        Column("us_spacing_row_mm", "float64", "Row spacing of the first 2-D ultrasound region", "(0018,602E)", "mm"),
        Column("us_spacing_col_mm", "float64", "Column spacing of the first 2-D ultrasound region", "(0018,602C)", "mm"),
        *ITEM_COLUMNS,
        *FRAME_COLUMNS,
        Column("mosaic_slices", "int64", "Slices that lie side by side in the one frame of a mosaic", "(0029,1010)"),
        Column("mosaic_grid", "list<int64>", "Tiles down and across the mosaic; the last ones may be empty"),
        Column("mosaic_positions", "list<float64>", "Centre of the first voxel of each slice of the mosaic: x, y, z (LPS)", unit="mm"),
        Column("mosaic_problem", "string", "Why an image that calls itself a mosaic could not be taken apart"),
        *NIFTI_COLUMNS,
        _MODALITY_SOURCE,
        Column("names_filled", "string", "Keywords of attributes that name persons and are filled, joined by a backslash; not with the PatientID, nor a word for nobody"),
        Column("empty_tags", "list<string>", "Keywords present without a value, where the column cannot show it"),
        Column("unparsed", "list<string>", "Keyword=raw text of values that could not be converted", privacy=_T),
    ),
    optional=HEADER_COLUMNS,
)  # fmt: skip

KEY_ATTRIBUTES = (
    "Modality", "SOPClassUID", "BodyPartExamined", "Laterality", "PatientSex", "PatientAge", "StudyDate",
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions", "MagneticFieldStrength", "KVP",
    "ConvolutionKernel", "ContrastBolusAgent", "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle",
    "SeriesDescription", "ProtocolName", "SeriesNumber", "TransferSyntaxUID", "Rows", "Columns", "BitsStored",
    "PhotometricInterpretation", "RescaleType", "Units", "PixelSpacing", "SliceThickness",
    "SpacingBetweenSlices", "PatientPosition", "LossyImageCompression", "BurnedInAnnotation",
    "PatientIdentityRemoved", "FrameOfReferenceUID",
)  # fmt: skip
"""Attributes of which a series keeps the consensus, the distinct count and the missing count."""


def _consensus_columns() -> list[Column]:
    columns = []
    for name in KEY_ATTRIBUTES:
        origin = FILES.column(name)
        columns += [
            Column(
                name,
                origin.type,
                f"Most frequent: {origin.description}",
                origin.source,
                origin.unit,
                origin.privacy,
            ),
            Column(f"{name}_distinct", "int64", f"Number of different values of {name}"),
            Column(f"{name}_missing", "int64", f"Images without {name}; objects, in a series without images"),
        ]
    return columns


SERIES = Table(
    "series",
    "One row per DICOM series or NIfTI image",
    (
        Column("series_key", "string", "Digest of patient, study and series; of the image for NIfTI", privacy=_I),
        Column("format", "string", "dicom or nifti"),
        Column("PatientID", "string", "Identity of the patient", "(0010,0020)", privacy=_I),
        Column("StudyInstanceUID", "string", "Identity of the study", "(0020,000D)", privacy=_I),
        Column("SeriesInstanceUID", "string", "Identity of the series", "(0020,000E)", privacy=_I),
        Column("n_files", "int64", "Objects of the series"),
        Column("n_images", "int64", "Objects of the series that hold pixels and are ok"),
        Column("n_bytes", "int64", "Size of the objects", unit="bytes"),
        Column("n_volumes", "int64", "Volumes the series holds"),
        *_consensus_columns(),
    ),
)

# The eight checks and the verdict carry the names of the Imaging Data Commons, so that SQL written for it runs here.
VOLUMES = Table(
    "volumes",
    "One row per volume: frames that form one image on one grid",
    (
        Column("volume_id", "string", "Digest of the images of the volume; names its folder in volumes.zarr", privacy=_I),
        Column("series_key", "string", "Series the volume belongs to", privacy=_I),
        Column("SeriesInstanceUID", "string", "Identity of the series", "(0020,000E)", privacy=_I),
        Column("Modality", "string", "Kind of equipment", "(0008,0060)"),
        _MODALITY_SOURCE,
        Column("format", "string", "dicom or nifti"),
        Column("status", "string", "ok, or what became of the volume"),
        Column("reason", "string", "Why the status is not ok"),
        Column("split_reason", "string", "Attribute that tells this volume from others of its series"),
        Column("rows", "int64", "Rows", unit="pixels"),
        Column("columns", "int64", "Columns", unit="pixels"),
        Column("slices", "int64", "Frames present along the normal"),
        Column("timepoints", "int64", "Points in time"),
        Column("channels", "int64", "Samples per voxel"),
        Column("timepoint_step_ms", "float64", "Time from one time point to the next, where a NIfTI header says", "nifti:pixdim", "ms"),
        Column("dtype", "string", "Type of the modality values in Zarr"),
        Column("value_unit", "string", "Unit of the modality values; arbitrary or unknown where there is none"),
        Column("value_source", "string", "What makes modality values of stored ones: stored (nothing), rescale or modality_lut"),
        Column("real_world_value_mapping", "bool", "Whether a real world value mapping is given too; it is not applied", "(0040,9096)"),
        Column("suvbw_factor", "float64", "Of PET: factor to standardised uptake values by body weight", unit="g/mL per unit of the values"),
        Column("suvbw_reason", "string", "Of PET: why there is no such factor"),
        Column("spacing_row_mm", "float64", "Distance between rows", unit="mm"),
        Column("spacing_col_mm", "float64", "Distance between columns", unit="mm"),
        Column("spacing_slice_mm", "float64", "Median gap of the positions along the normal; null for one slice", unit="mm"),
        Column("spacing_source", "string", "Where the in-plane spacing comes from"),
        Column("slice_thickness_mm", "float64", "Nominal thickness", "(0018,0050)", "mm"),
        Column("spacing_between_slices_mm", "float64", "What the scanner says; beside the measured spacing", "(0018,0088)", "mm"),
        Column("affine_lps", "list<float64>", "4x4, row-major: (column, row, slice, 1) to LPS", unit="mm"),
        Column("single_orientation", "bool", "All frames have one orientation"),
        Column("orthogonal_orientation", "bool", "Row and column directions are orthonormal"),
        Column("unique_slice_positions", "bool", "No two frames of one time point share a position"),
        Column("consistent_in_plane_row", "bool", "Frames do not drift along the rows"),
        Column("consistent_in_plane_col", "bool", "Frames do not drift along the columns"),
        Column("consistent_pixel_spacing", "bool", "All frames have one pixel spacing"),
        Column("consistent_image_dimensions", "bool", "All frames have one size"),
        Column("uniform_slice_spacing", "bool", "All gaps along the normal are equal"),
        Column("obliquity_degrees", "float64", "Angle of the normal to the nearest patient axis", unit="degrees"),
        Column("regularly_spaced_3d_volume", "bool", "The verdict: all of the above hold for a stack"),
        Column("reason_not_regular", "string", "The checks that fail, comma-separated"),
        Column("missing_slice_count", "int64", "Slices lacking inside the stack"),
        Column("duplicate_slice_count", "int64", "Frames set aside as copies"),
        Column("min_slice_gap_mm", "float64", "Smallest gap along the normal", unit="mm"),
        Column("max_slice_gap_mm", "float64", "Largest gap along the normal", unit="mm"),
        Column("in_plane_drift_mm", "float64", "Largest in-plane offset between two frames of one time point", unit="mm"),
        Column("tilt_degrees", "float64", "Angle between the line of the positions and the normal", unit="degrees"),
        Column("form_disagreement_mm", "float64", "How far apart sform and qform place a corner of the image, where both have a code", unit="mm"),
        Column("form_disagreement_degrees", "float64", "Largest angle between the same axis of sform and qform", unit="degrees"),
        Column("excluded_instance_count", "int64", "Frames of the series set aside with a reason"),
        Column("n_files", "int64", "Objects the volume is made of"),
        Column("n_bytes", "int64", "Size of the objects", unit="bytes"),
        Column("stored_dtype", "string", "Type of the stored values"),
        Column("frames_part", "int64", "Part of frames/ that lists the source frames"),
        Column("zarr_path", "string", "Folder of the image below volumes.zarr", privacy=_P),
        Column("content_sha256", "string", "SHA-256 of type, shape and modality values", privacy=_I),
        Column("decoder", "string", "What decoded the pixels, with its version"),
    ),
)  # fmt: skip

FRAMES = Table(
    "frames",
    "One row per frame of an image: the volume it belongs to and its place there, or why it was set aside",
    (
        Column("volume_id", "string", "Volume the frame belongs to or was set aside from", privacy=_I),
        Column("role", "string", "image, duplicate or excluded"),
        Column("reason", "string", "Why the frame was set aside"),
        Column("timepoint", "int64", "Place in time"),
        Column("slice", "int64", "Place along the normal"),
        Column("position_mm", "float64", "Position along the normal", unit="mm"),
        Column("frame", "int64", "Frame of the object, from 0"),
        Column("series_key", "string", "Series of the object", privacy=_I),
        Column("instance_key", "string", "Digest that names the image", privacy=_I),
        Column("source", "string", "Root of the object", privacy=_P),
        Column("path_raw", "binary", "Exact bytes of the path below the root", privacy=_P),
        Column("size", "int64", "Size of the object", unit="bytes"),
        Column("format", "string", "dicom or nifti"),
        Column("container", "string", "gzip where the bytes are compressed as a whole"),
        *(FILES.column(name) for name in (
            "TransferSyntaxUID", "pixel_offset", "pixel_length", "Modality", "PhotometricInterpretation",
            "SamplesPerPixel", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
            "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit",
            "ModalityLUTType", "mosaic_grid", "nifti_dim", "nifti_datatype", "nifti_vox_offset", "nifti_big_endian", "nifti_magic",
        )),
        Column("slope", "float64", "m in value = m * stored + b, of this frame; null where there is none"),
        Column("intercept", "float64", "b in value = m * stored + b, of this frame"),
    ),
)  # fmt: skip

_PERCENTILES = ("p0_5", "p1", "p5", "p25", "p50", "p75", "p95", "p99", "p99_5")
PERCENTILES = {name: float(name[1:].replace("_", ".")) for name in _PERCENTILES}
"""Percentiles stored, by column name."""

_MOMENTS = (
    Column("count", "int64", "Values that enter the statistics"),
    Column("padding_count", "int64", "Padding values left out"),
    Column("nan_count", "int64", "NaN left out"),
    Column("inf_count", "int64", "Infinities left out"),
    Column("min", "float64", "Smallest value"),
    Column("max", "float64", "Largest value"),
    Column("mean", "float64", "Mean"),
    Column("std", "float64", "Standard deviation of the population (ddof 0)"),
)

PARTIALS = Table(
    "partials",
    "One row per volume and channel: what merging needs, and no more",
    (
        Column("volume_id", "string", "Volume", privacy=_I),
        Column("channel", "int64", "Channel, from 0"),
        Column("value_unit", "string", "Unit of the values"),
        Column("kind", "string", "integer (bins are the values) or float (bins are order-preserving keys)"),
        Column("bins", "list<int64>", "Bins that are not empty, ascending"),
        Column("counts", "list<int64>", "Values in each bin"),
        Column("padding_count", "int64", "Padding values left out"),
        Column("nan_count", "int64", "NaN left out"),
        Column("inf_count", "int64", "Infinities left out"),
        Column("min", "float64", "Smallest value"),
        Column("max", "float64", "Largest value"),
        Column("exact_sum", "string", "Sum of the values as a hexadecimal whole number of 2**-149 (float only)"),
        Column("exact_sum_of_squares", "string", "Sum of their squares, likewise of 2**-298 (float only)"),
    ),
)

OUTCOMES = Table(
    "outcomes",
    "One row per volume ingested: what became of it",
    tuple(
        VOLUMES.column(name)
        for name in ("volume_id", "status", "reason", "dtype", "zarr_path", "content_sha256", "decoder")
    ),
)

STATISTICS = Table(
    "statistics",
    "One row per volume: exact statistics of its modality values, channels pooled",
    (
        Column("volume_id", "string", "Volume", privacy=_I),
        Column("value_unit", "string", "Unit of the values"),
        *_MOMENTS,
        *(Column(name, "float64", f"Percentile {value:g}") for name, value in PERCENTILES.items()),
    ),
)

HISTOGRAMS = Table(
    "histograms",
    "One row per bin that is not empty: exact counts of the modality values per group",
    (
        Column("group_by", "string", "Attribute of the grouping"),
        Column("group", "string", "Value of the attribute; as private as the attribute itself"),
        Column("channel", "int64", "Channel, from 0"),
        Column("value_unit", "string", "Unit of the values; different units are never pooled"),
        Column("kind", "string", "integer: the bin is the value; float, linear: the bin is [value_low, value_high)"),
        Column(
            "view",
            "string",
            "all values; >VALUE, otsu, LOW..HIGH or label N: part of them; p1-p99: MR on the scale of each volume; suvbw: PET as standardised uptake values",
        ),
        Column("value_low", "float64", "Lower edge"),
        Column("value_high", "float64", "Upper edge"),
        Column("count", "int64", "Values in the bin"),
    ),
)

LABELS = Table(
    "labels",
    "One row per label of a mask and image it lies on, or per mask whose labels cannot be counted; `cohort reduce --labels`",
    (
        Column("mask_volume_id", "string", "Volume that holds the labels", privacy=_I),
        Column("image_volume_id", "string", "Volume whose values are counted", privacy=_I),
        Column("linked_by", "string", "What links them: frame_of_reference, or name (NIfTI)"),
        Column("reason", "string", "Why there is no label: no_image, geometry_differs, empty_mask, fractional, labels_not_whole or mask_not_3d"),
        Column("label", "int64", "Value in the mask; of a binary DICOM segmentation the number of the segment"),
        Column("voxels", "int64", "Voxels of the label"),
        Column("volume_ml", "float64", "Their volume; null where a single slice has no thickness", unit="mL"),
        Column("value_unit", "string", "Unit of the values of the image"),
        *_MOMENTS,
        *(Column(f"p{value}", "float64", f"Percentile {value}") for value in (5, 50, 95)),
    ),
)  # fmt: skip

SPACING = Table(
    "spacing",
    "One row per distinct spacing of a group, exact to 1e-6 mm; counts are volumes, gaps for the axis gap",
    (
        Column("group", "string", "Modality"),
        Column("axis", "string", "row, col, slice, thickness or gap"),
        Column("value_low_mm", "float64", "Value", unit="mm"),
        Column("value_high_mm", "float64", "Value", unit="mm"),
        Column("count", "int64", "Number of volumes or gaps"),
    ),
)

FINDINGS = Table(
    "findings",
    "One row per observation on one subject",
    (
        Column("code", "string", "Stable code of the kind of finding"),
        Column("severity", "string", "info, warning or error"),
        Column("scope", "string", "file, series, volume, patient or cohort"),
        Column("subject", "string", "Key of the subject in its table", privacy=_I),
        Column("evidence", "string", "Numbers behind the finding, as JSON"),
        Column("hint", "string", "What to do about it"),
        Column("cluster", "string", "Cluster of data quality (METRIC, Schwabe et al. 2024)"),
    ),
)

TABLES: tuple[Table, ...] = (
    MANIFEST, FILES, SERIES, VOLUMES, FRAMES, OUTCOMES, PARTIALS, STATISTICS, HISTOGRAMS, LABELS, SPACING, FINDINGS,
)  # fmt: skip
