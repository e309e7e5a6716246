"""Columns read from the header of an image, DICOM and NIfTI."""

from __future__ import annotations

from cohort.schema.model import Column, Privacy

_C, _I, _T = Privacy.COARSE, Privacy.IDENTIFIER, Privacy.TEXT


def _tag(
    name: str,
    tag: str,
    type_: str,
    description: str,
    unit: str | None = None,
    privacy: Privacy = Privacy.SAFE,
) -> Column:
    return Column(name, type_, description, f"({tag})", unit, privacy)


def _frame(name: str, type_: str, description: str, tag: str, unit: str | None = None) -> Column:
    return Column(f"frame_{name}", f"list<{type_}>", f"Per frame: {description}", f"({tag})", unit)


def _nifti(name: str, type_: str, description: str, unit: str | None = None, privacy: Privacy = Privacy.SAFE) -> Column:
    return Column(f"nifti_{name}", type_, description, f"nifti:{name}", unit, privacy)


# Attributes of the DICOM header, by keyword. A list type where the value multiplicity may exceed 1.
DICOM_COLUMNS: tuple[Column, ...] = (
    _tag("SpecificCharacterSet", "0008,0005", "list<string>", "Character sets of the text"),
    _tag("ImageType", "0008,0008", "list<string>", "Pixel data and examination characteristics"),
    _tag("SOPClassUID", "0008,0016", "string", "Kind of object"),
    _tag("SOPInstanceUID", "0008,0018", "string", "Identity of the instance", privacy=_I),
    _tag("StudyDate", "0008,0020", "string", "Date of the study, YYYYMMDD", privacy=_C),
    _tag("SeriesDate", "0008,0021", "string", "Date of the series, YYYYMMDD", privacy=_C),
    _tag("AcquisitionDate", "0008,0022", "string", "Date of the acquisition, YYYYMMDD", privacy=_C),
    _tag("AcquisitionDateTime", "0008,002A", "string", "Date and time of the acquisition", privacy=_T),
    _tag("StudyTime", "0008,0030", "string", "Time of the study", privacy=_T),
    _tag("SeriesTime", "0008,0031", "string", "Time of the series", privacy=_T),
    _tag("AcquisitionTime", "0008,0032", "string", "Time of the acquisition", privacy=_T),
    _tag("ContentTime", "0008,0033", "string", "Time the pixel data were made", privacy=_T),
    _tag("Modality", "0008,0060", "string", "Kind of equipment; for NIfTI from BIDS suffix, sidecar or configuration"),
    _tag("Manufacturer", "0008,0070", "string", "Maker of the equipment"),
    _tag("StudyDescription", "0008,1030", "string", "Text by the institution", privacy=_T),
    _tag("SeriesDescription", "0008,103E", "string", "Text by the operator", privacy=_T),
    _tag("ManufacturerModelName", "0008,1090", "string", "Model of the equipment"),
    _tag("PatientID", "0010,0020", "string", "Identity of the patient", privacy=_I),
    _tag("PatientBirthDate", "0010,0030", "string", "Date of birth, YYYYMMDD", privacy=_T),
    _tag("PatientSex", "0010,0040", "string", "M, F or O"),
    _tag("PatientAge", "0010,1010", "string", "Age as nnnD, nnnW, nnnM or nnnY", privacy=_C),
    _tag("PatientWeight", "0010,1030", "float64", "Weight of the patient", "kg"),
    _tag("PatientIdentityRemoved", "0012,0062", "string", "YES where de-identification is claimed"),
    _tag("DeidentificationMethod", "0012,0063", "list<string>", "How de-identification was done", privacy=_T),
    _tag("ContrastBolusAgent", "0018,0010", "string", "Contrast agent", privacy=_T),
    _tag("BodyPartExamined", "0018,0015", "string", "Region of the body"),
    _tag("ScanningSequence", "0018,0020", "list<string>", "Type of MR sequence"),
    _tag("SequenceVariant", "0018,0021", "list<string>", "Variant of the MR sequence"),
    _tag("ScanOptions", "0018,0022", "list<string>", "Options of the scan"),
    _tag("MRAcquisitionType", "0018,0023", "string", "2D or 3D"),
    _tag("SliceThickness", "0018,0050", "float64", "Nominal thickness; never used as spacing", "mm"),
    _tag("KVP", "0018,0060", "float64", "Peak kilovoltage", "kV"),
    _tag("RepetitionTime", "0018,0080", "float64", "Repetition time", "ms"),
    _tag("EchoTime", "0018,0081", "float64", "Echo time", "ms"),
    _tag("InversionTime", "0018,0082", "float64", "Inversion time", "ms"),
    _tag("EchoNumbers", "0018,0086", "list<int64>", "Numbers of the echoes in this image"),
    _tag("MagneticFieldStrength", "0018,0087", "float64", "Field strength", "T"),
    _tag("SpacingBetweenSlices", "0018,0088", "float64", "Centre to centre by the scanner; never used as spacing", "mm"),
    _tag("SoftwareVersions", "0018,1020", "list<string>", "Versions of the scanner's software", privacy=_T),
    _tag("ProtocolName", "0018,1030", "string", "Protocol as named by the site", privacy=_T),
    _tag("TriggerTime", "0018,1060", "float64", "Time since the trigger", "ms"),
    _tag("NominalScannedPixelSpacing", "0018,2010", "list<float64>", "Row, column spacing of a scanned document", "mm"),
    _tag("GantryDetectorTilt", "0018,1120", "float64", "Tilt of the gantry by the scanner", "degrees"),
    _tag("XRayTubeCurrent", "0018,1151", "int64", "Tube current", "mA"),
    _tag("ImagerPixelSpacing", "0018,1164", "list<float64>", "Row, column spacing at the detector plane", "mm"),
    _tag("ConvolutionKernel", "0018,1210", "list<string>", "Reconstruction kernel"),
    _tag("ActualFrameDuration", "0018,1242", "int64", "Duration of the acquisition of a frame", "ms"),
    _tag("FlipAngle", "0018,1314", "float64", "Flip angle", "degrees"),
    _tag("PatientPosition", "0018,5100", "string", "Position of the patient in the scanner"),
    _tag("ViewPosition", "0018,5101", "string", "Radiographic view"),
    _tag("DiffusionBValue", "0018,9087", "float64", "Diffusion weighting", "s/mm2"),
    _tag("DiffusionGradientOrientation", "0018,9089", "list<float64>", "Direction of the diffusion gradient"),
    _tag("StudyInstanceUID", "0020,000D", "string", "Identity of the study", privacy=_I),
    _tag("SeriesInstanceUID", "0020,000E", "string", "Identity of the series", privacy=_I),
    _tag("SeriesNumber", "0020,0011", "int64", "Number of the series"),
    _tag("AcquisitionNumber", "0020,0012", "int64", "Number of the acquisition"),
    _tag("InstanceNumber", "0020,0013", "int64", "Number of the instance"),
    _tag("ImagePositionPatient", "0020,0032", "list<float64>", "Centre of the first voxel: x, y, z (LPS)", "mm"),
    _tag("ImageOrientationPatient", "0020,0037", "list<float64>", "Direction cosines of the rows and of the columns (LPS)"),
    _tag("FrameOfReferenceUID", "0020,0052", "string", "Identity of the coordinate system", privacy=_I),
    _tag("Laterality", "0020,0060", "string", "L or R, of the series"),
    _tag("ImageLaterality", "0020,0062", "string", "L, R, U or B, of the image"),
    _tag("TemporalPositionIdentifier", "0020,0100", "int64", "Order of the image in time"),
    _tag("NumberOfTemporalPositions", "0020,0105", "int64", "Time points of the series"),
    _tag("ImagesInAcquisition", "0020,1002", "int64", "Images the acquisition should have"),
    _tag("SliceLocation", "0020,1041", "float64", "Position by the scanner; never used", "mm"),
    _tag("StackID", "0020,9056", "string", "Stack the frame belongs to"),
    _tag("InStackPositionNumber", "0020,9057", "int64", "Place of the frame in its stack"),
    _tag("SamplesPerPixel", "0028,0002", "int64", "Channels"),
    _tag("PhotometricInterpretation", "0028,0004", "string", "Meaning of the pixel values"),
    _tag("PlanarConfiguration", "0028,0006", "int64", "0: colour by pixel, 1: colour by plane"),
    _tag("NumberOfFrames", "0028,0008", "int64", "Frames of the object"),
    _tag("Rows", "0028,0010", "int64", "Rows of a frame", "pixels"),
    _tag("Columns", "0028,0011", "int64", "Columns of a frame", "pixels"),
    _tag("PixelSpacing", "0028,0030", "list<float64>", "Distance between rows, between columns, in the patient", "mm"),
    _tag("CorrectedImage", "0028,0051", "list<string>", "Corrections applied to NM and PET values"),
    _tag("BitsAllocated", "0028,0100", "int64", "Bits per stored sample"),
    _tag("BitsStored", "0028,0101", "int64", "Bits used of a sample"),
    _tag("HighBit", "0028,0102", "int64", "Place of the highest used bit"),
    _tag("PixelRepresentation", "0028,0103", "int64", "0: unsigned, 1: two's complement"),
    _tag("PixelPaddingValue", "0028,0120", "int64", "Stored value outside the image"),
    _tag("PixelPaddingRangeLimit", "0028,0121", "int64", "Other end of the range of padding values"),
    _tag("BurnedInAnnotation", "0028,0301", "string", "YES where text is burned into the pixels; absent is not NO"),
    _tag("WindowCenter", "0028,1050", "list<float64>", "Centre of the display windows"),
    _tag("WindowWidth", "0028,1051", "list<float64>", "Width of the display windows"),
    _tag("RescaleIntercept", "0028,1052", "float64", "b in value = m * stored + b"),
    _tag("RescaleSlope", "0028,1053", "float64", "m in value = m * stored + b"),
    _tag("RescaleType", "0028,1054", "string", "Unit after rescale"),
    _tag("LossyImageCompression", "0028,2110", "string", "01 where pixels went through lossy compression"),
    _tag("LossyImageCompressionRatio", "0028,2112", "list<float64>", "Ratios of the lossy compressions"),
    _tag("TotalPixelMatrixColumns", "0048,0006", "int64", "Columns of the whole slide; a frame is a tile of it", "pixels"),
    _tag("TotalPixelMatrixRows", "0048,0007", "int64", "Rows of the whole slide", "pixels"),
    _tag("SliceVector", "0054,0080", "list<int64>", "Slice each frame of nuclear medicine shows, from 1"),
    _tag("Units", "0054,1001", "string", "Unit of PET values"),
    _tag("SUVType", "0054,1006", "string", "How PET values in g/mL or cm2/mL are normalised; absent is by body weight"),
    _tag("DecayCorrection", "0054,1102", "string", "Time the PET decay is corrected to"),
    _tag("FrameReferenceTime", "0054,1300", "float64", "Reference time of a PET frame", "ms"),
    _tag("DoseUnits", "3004,0002", "string", "Unit of dose values"),
    _tag("GridFrameOffsetVector", "3004,000C", "list<float64>", "Offsets of the dose planes along the normal", "mm"),
    _tag("DoseGridScaling", "3004,000E", "float64", "Dose per stored value"),
)  # fmt: skip

# Attributes of the first item of a sequence; null where there is none, or its value cannot be converted.
ITEM_COLUMNS: tuple[Column, ...] = (
    _tag("RadiopharmaceuticalStartTime", "0018,1072", "string", "Time of the injection of the tracer", privacy=_T),
    _tag("RadiopharmaceuticalStartDateTime", "0018,1078", "string", "Date and time of the injection", privacy=_T),
    _tag("RadionuclideTotalDose", "0018,1074", "float64", "Activity of the tracer when it was injected", "Bq"),
    _tag("RadionuclideHalfLife", "0018,1075", "float64", "Half life of the tracer", "s"),
    _tag("ModalityLUTType", "0028,3004", "string", "Unit after the modality LUT; empty where there is a table that does not say"),
    Column("real_world_value_mapping", "bool", "Whether a real world value mapping is given too; it is not applied", "(0040,9096)"),
)  # fmt: skip

# What `--all-headers` adds: a header as a whole, in the DICOM JSON model.
HEADER_COLUMNS: tuple[Column, ...] = (
    Column("header_json", "string", "Header up to the pixels, file meta information included, as DICOM JSON (PS3.18 F) without bulk data", privacy=Privacy.PRIVATE),
    Column("header_json_omitted", "list<string>", "tag=reason of what is not in header_json: binary (above 1 KiB), pixels, too_large, too_deep, too_many_items or the type of an error; *=reason where it is null", privacy=Privacy.PRIVATE),
)  # fmt: skip

# Values of the per-frame functional groups (PS3.3 C.7.6.16), one entry per frame, flattened; a frame without
# the value has NaN, 0 or "". Null where no frame has it.
FRAME_COLUMNS: tuple[Column, ...] = (
    _frame("ImagePositionPatient", "float64", "centre of the first voxel, 3 numbers (LPS)", "0020,0032", "mm"),
    _frame("ImageOrientationPatient", "float64", "direction cosines, 6 numbers (LPS)", "0020,0037"),
    _frame("PixelSpacing", "float64", "distance between rows, between columns, 2 numbers", "0028,0030", "mm"),
    _frame("SliceThickness", "float64", "nominal thickness", "0018,0050", "mm"),
    _frame("RescaleSlope", "float64", "m in value = m * stored + b", "0028,1053"),
    _frame("RescaleIntercept", "float64", "b in value = m * stored + b", "0028,1052"),
    _frame("StackID", "string", "stack the frame belongs to", "0020,9056"),
    _frame("InStackPositionNumber", "int64", "place in the stack", "0020,9057"),
    _frame("TemporalPositionIndex", "int64", "order in time", "0020,9128"),
    _frame("FrameAcquisitionNumber", "int64", "number of the acquisition", "0020,9156"),
    _frame("EffectiveEchoTime", "float64", "echo time", "0018,9082", "ms"),
    _frame("DiffusionBValue", "float64", "diffusion weighting", "0018,9087", "s/mm2"),
    _frame("DiffusionGradientOrientation", "float64", "direction of the diffusion gradient, 3 numbers", "0018,9089"),
    _frame("FrameType", "string", "frame type, joined by a backslash", "0008,9007"),
    _frame("ComplexImageComponent", "string", "MAGNITUDE, PHASE, REAL, IMAGINARY or MIXED", "0008,9208"),
    _frame("NominalCardiacTriggerDelayTime", "float64", "time since the R peak", "0020,9153", "ms"),
    _frame("FrameReferenceTime", "float64", "reference time of a PET frame", "0054,1300", "ms"),
    _frame("KVP", "float64", "peak kilovoltage", "0018,0060", "kV"),
    _frame("ConvolutionKernel", "string", "reconstruction kernel, joined by a backslash", "0018,1210"),
    _frame("ReferencedSegmentNumber", "int64", "segment the frame shows", "0062,000B"),
)  # fmt: skip

NIFTI_COLUMNS: tuple[Column, ...] = (
    _nifti("version", "int64", "1 or 2"),
    _nifti("magic", "string", "n+1, ni1, n+2 or ni2"),
    _nifti("big_endian", "bool", "Whether the header is big endian"),
    _nifti("dim", "list<int64>", "Number of dimensions, then their sizes"),
    _nifti("pixdim", "list<float64>", "qfac, then grid spacings, in the units of xyzt_units"),
    _nifti("datatype", "int64", "Code of the stored type"),
    _nifti("bitpix", "int64", "Bits per stored value"),
    _nifti("vox_offset", "float64", "Where the values begin", "bytes"),
    _nifti("scl_slope", "float64", "m in value = m * stored + b; 0 or not finite means unscaled"),
    _nifti("scl_inter", "float64", "b in value = m * stored + b"),
    _nifti("xyzt_units", "int64", "Codes of the units of space and time"),
    _nifti("qform_code", "int64", "Coordinate system of the quaternion; 0 is none"),
    _nifti("sform_code", "int64", "Coordinate system of the affine; 0 is none"),
    _nifti("quatern", "list<float64>", "quatern_b, c, d and qoffset_x, y, z"),
    _nifti("srow", "list<float64>", "srow_x, srow_y, srow_z: 12 numbers, row-major"),
    _nifti("intent_code", "int64", "Meaning of the values"),
    _nifti(
        "descrip",
        "string",
        "Free text: what wrote the image, often with times of the acquisition",
        privacy=Privacy.PRIVATE,
    ),
    _nifti("aux_file", "string", "Name of an auxiliary file", privacy=Privacy.PRIVATE),
    _nifti("intent_name", "string", "Free text: name of the values", privacy=Privacy.PRIVATE),
    _nifti("db_name", "string", "Free text of NIfTI-1; not used, some write names there", privacy=Privacy.PRIVATE),
    _nifti("extension_codes", "list<int64>", "Codes of the header extensions: 2 is DICOM, 4 AFNI, 6 a comment"),
    _nifti(
        "extension_texts",
        "list<string>",
        "Extensions that are text, the first 4,096 characters of each",
        privacy=Privacy.PRIVATE,
    ),
    Column("sidecar_texts", "string", "Texts of the JSON sidecar by their keys, as JSON", privacy=Privacy.PRIVATE),
)

PATIENT_NAMES = (
    "PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "PatientAddress",
    "PatientTelephoneNumbers",
)  # fmt: skip
"""Attributes that name the patient; whether they are filled is told, what they say is not kept."""

PERSONS = (*PATIENT_NAMES, "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "RequestingPhysician")
"""Attributes that name a person."""
