"""How each kind of image is acquired: SOP class, acquisition elements, bits and field of view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
MR_STORAGE = "1.2.840.10008.5.1.4.1.1.4"
PT_STORAGE = "1.2.840.10008.5.1.4.1.1.128"
US_MULTIFRAME_STORAGE = "1.2.840.10008.5.1.4.1.1.3.1"
CR_STORAGE = "1.2.840.10008.5.1.4.1.1.1"
MG_STORAGE = "1.2.840.10008.5.1.4.1.1.1.2"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Bits:
    """How a pixel is stored, and the numbers that turn it into a modality value."""

    allocated: int = 16
    stored: int = 12
    signed: bool = False
    photometric: str = "MONOCHROME2"
    slope: float | None = None
    intercept: float | None = None
    rescale_type: str | None = None
    unit: str = "arbitrary"

    @property
    def dtype(self) -> str:
        """NumPy type of the stored values."""
        return f"{'int' if self.signed else 'uint'}{self.allocated}"

    @property
    def low(self) -> float:
        """Least stored value."""
        return -float(2 ** (self.stored - 1)) if self.signed else 0.0

    @property
    def high(self) -> float:
        """Greatest stored value."""
        return float(2 ** (self.stored - 1) - 1) if self.signed else float(2**self.stored - 1)


@dataclass(frozen=True)
class Protocol:
    """One kind of series.

    Parameters
    ----------
    modality, sop_class, description, body_part : str
        As written in the header.
    scanner : str
        Key of ``headers.SCANNERS``.
    field : str
        Voxel field, a key of ``voxels.FIELDS``.
    bits : Bits
        Pixel description.
    acquisition : mapping
        Elements of the acquisition, by keyword.
    """

    modality: str
    sop_class: str
    description: str
    body_part: str
    scanner: str
    field: str
    bits: Bits
    acquisition: Mapping[str, Any]


_CT_ACQUISITION: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "ScanOptions": "HELICAL MODE",
    "PatientPosition": "HFS",
    "KVP": 120,
    "DataCollectionDiameter": 500,
    "ReconstructionDiameter": 350,
    "DistanceSourceToDetector": 1099,
    "DistanceSourceToPatient": 625,
    "GantryDetectorTilt": 0,
    "TableHeight": 152.5,
    "RotationDirection": "CW",
    "ExposureTime": 500,
    "XRayTubeCurrent": 310,
    "Exposure": 155,
    "FilterType": "BODY FILTER",
    "GeneratorPower": 36000,
    "FocalSpots": 1.2,
    "SingleCollimationWidth": 0.625,
    "TotalCollimationWidth": 40.0,
    "TableSpeed": 78.75,
    "TableFeedPerRotation": 39.375,
    "SpiralPitchFactor": 0.984,
    "RevolutionTime": 0.5,
    "ExposureModulationType": "XYZ_EC",
    "CTDIvol": 8.41,
    "DataCollectionCenterPatient": [0.0, 0.0, -100.0],
    "ReconstructionTargetCenterPatient": [0.0, 0.0, -100.0],
    "ContrastBolusAgent": "OMNIPAQUE",
    "ContrastBolusRoute": "IV",
    "ContrastBolusVolume": 80,
    "ContrastBolusTotalDose": 80,
    "WindowCenter": [40, -500],
    "WindowWidth": [400, 1500],
    "WindowCenterWidthExplanation": ["SOFT", "LUNG"],
}

_MR_ACQUISITION: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"],
    "ScanningSequence": "SE",
    "SequenceVariant": "SK",
    "ScanOptions": "FAST_GEMS",
    "MRAcquisitionType": "2D",
    "SequenceName": "*se2d1",
    "AngioFlag": "N",
    "PatientPosition": "HFS",
    "EchoTime": 12,
    "RepetitionTime": 600,
    "NumberOfAverages": 1,
    "ImagingFrequency": 63.86,
    "ImagedNucleus": "1H",
    "EchoNumbers": 1,
    "MagneticFieldStrength": 1.5,
    "NumberOfPhaseEncodingSteps": 256,
    "EchoTrainLength": 1,
    "PercentSampling": 100,
    "PercentPhaseFieldOfView": 100,
    "PixelBandwidth": 122.07,
    "ReceiveCoilName": "HEAD 24",
    "TransmitCoilName": "BODY",
    "AcquisitionMatrix": [0, 256, 256, 0],
    "InPlanePhaseEncodingDirection": "ROW",
    "FlipAngle": 90,
    "VariableFlipAngleFlag": "N",
    "SAR": 0.41,
    "dBdt": 0.0,
    "HeartRate": 0,
    "CardiacNumberOfImages": 0,
    "TriggerWindow": 0,
    "WindowCenter": 400,
    "WindowWidth": 800,
}

_PT_ACQUISITION: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "PatientPosition": "HFS",
    "Units": "BQML",
    "CountsSource": "EMISSION",
    "SeriesType": ["WHOLE BODY", "IMAGE"],
    "ReprojectionMethod": "",
    "RandomsCorrectionMethod": "DLYD",
    "AttenuationCorrectionMethod": "measured,AC_CT",
    "ScatterCorrectionMethod": "Model-based",
    "DecayCorrection": "START",
    "ReconstructionMethod": "PSF+TOF 2i21s",
    "ConvolutionKernel": "XYZ Gauss2.00",
    "CorrectedImage": ["NORM", "DTIM", "ATTN", "SCAT", "DECY", "RADL"],
    "AxialAcceptance": 38,
    "CollimatorType": "NONE",
    "ActualFrameDuration": 120000,
    "FrameReferenceTime": 59000,
    "DecayFactor": 1.00631,
    "DoseCalibrationFactor": 22341000,
    "ScatterFractionFactor": 0.333,
    "SliceSensitivityFactor": 1.0,
    "WindowCenter": 12000,
    "WindowWidth": 24000,
}

_XRAY_ACQUISITION: dict[str, Any] = {
    "ImageType": ["DERIVED", "PRIMARY"],
    "ViewPosition": "PA",
    "KVP": 110,
    "DistanceSourceToDetector": 1800,
    "ExposureTime": 8,
    "XRayTubeCurrent": 250,
    "Exposure": 2,
    "ImagerPixelSpacing": [0.2, 0.2],
    "RelativeXRayExposure": 350,
    "PlateType": "ST-VI",
    "PresentationLUTShape": "INVERSE",
    "CassetteOrientation": "PORTRAIT",
    "Grid": "NONE",
    "Sensitivity": 200,
    "PatientOrientation": ["L", "F"],
    "WindowCenter": 2048,
    "WindowWidth": 4096,
}

_MG_ACQUISITION: dict[str, Any] = {
    **_XRAY_ACQUISITION,
    "ImageType": ["DERIVED", "PRIMARY", "POST_CONTRAST"],
    "ViewPosition": "MLO",
    "ImageLaterality": "L",
    "PresentationLUTShape": "IDENTITY",
    "ImagerPixelSpacing": [0.07, 0.07],
    "PositionerType": "MAMMOGRAPHIC",
    "PresentationIntentType": "FOR PRESENTATION",
    "CompressionForce": 90,
    "BodyPartThickness": 54,
    "PixelIntensityRelationship": "LOG",
    "PixelIntensityRelationshipSign": 1,
    "BreastImplantPresent": "NO",
    "KVP": 29,
}

_US_ACQUISITION: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY", "ABDOMINAL"],
    "TransducerType": "SECTOR_PHASED",
    "TransducerData": ["4C-D", "3.0", "OFF"],
    "MechanicalIndex": 1.1,
    "SoftTissueThermalIndex": 0.7,
    "DepthOfScanField": 160,
    "FrameTime": 33.333,
    "CineRate": 30,
    "HeartRate": 72,
    "StartTrim": 1,
    "UltrasoundColorDataPresent": 1,
    "PatientOrientation": "",
}

_SCREEN_ACQUISITION: dict[str, Any] = {
    "ImageType": ["DERIVED", "SECONDARY"],
    "ConversionType": "WSD",
    "DateOfSecondaryCapture": "20240301",
    "TimeOfSecondaryCapture": "110000",
    "SecondaryCaptureDeviceManufacturer": "Phantom Works",
    "SecondaryCaptureDeviceSoftwareVersions": "3.2",
    "DerivationDescription": "Screen of a workstation",
    "PatientOrientation": "",
}

_HOUNSFIELD = Bits(slope=1.0, intercept=-1024.0, rescale_type="HU", unit="HU")


def ct(kernel: str = "STANDARD", **changes: Any) -> Protocol:
    """CT of the GE kind: signed 16 bit."""
    acquisition = {**_CT_ACQUISITION, "ConvolutionKernel": kernel, **changes}
    bits = replace(_HOUNSFIELD, stored=16, signed=True)
    return Protocol("CT", CT_STORAGE, "CHEST 2.0", "CHEST", "ct-ge", "ct", bits, acquisition)


def ct_unsigned(kernel: str = "Br40f", **changes: Any) -> Protocol:
    """CT of the Siemens kind: 12 bits of 16, unsigned."""
    acquisition = {**_CT_ACQUISITION, "ConvolutionKernel": kernel, "ScanOptions": "", **changes}
    return Protocol("CT", CT_STORAGE, "Abdomen 3.0 Br40", "ABDOMEN", "ct-siemens", "ct", _HOUNSFIELD, acquisition)


def mr(description: str, scanner: str = "mr-ge", bits: Bits | None = None, **changes: Any) -> Protocol:
    """MR magnitude image, 12 bits unsigned unless told."""
    acquisition = {**_MR_ACQUISITION, **changes}
    return Protocol("MR", MR_STORAGE, description, "HEAD", scanner, "mr", bits or Bits(), acquisition)


def pt() -> Protocol:
    """PET in Bq/ml; the slope of each slice is given by the series."""
    bits = Bits(stored=16, signed=True, slope=1.0, intercept=0.0, unit="BQML")
    tracer = Dataset()
    tracer.Radiopharmaceutical = "Fluorodeoxyglucose"
    tracer.RadiopharmaceuticalStartTime = "091500.000000"
    tracer.RadionuclideTotalDose = 310000000
    tracer.RadionuclideHalfLife = 6586.2
    tracer.RadionuclidePositronFraction = 0.967
    acquisition = {**_PT_ACQUISITION, "RadiopharmaceuticalInformationSequence": Sequence([tracer])}
    return Protocol("PT", PT_STORAGE, "PET WB", "WHOLEBODY", "pt-siemens", "pt", bits, acquisition)


def cr() -> Protocol:
    """Radiograph from an imaging plate, where bright is low: MONOCHROME1."""
    bits = Bits(stored=12, photometric="MONOCHROME1")
    return Protocol("CR", CR_STORAGE, "THORAX PA", "CHEST", "xr-fuji", "projection", bits, _XRAY_ACQUISITION)


def mg() -> Protocol:
    """Digital mammography for presentation."""
    bits = Bits(stored=12, slope=1.0, intercept=0.0, rescale_type="US")
    return Protocol("MG", MG_STORAGE, "L MLO", "BREAST", "mg-hologic", "projection", bits, _MG_ACQUISITION)


def us() -> Protocol:
    """Colour ultrasound clip."""
    bits = Bits(allocated=8, stored=8, photometric="RGB")
    return Protocol("US", US_MULTIFRAME_STORAGE, "LIVER CINE", "ABDOMEN", "us-ge", "us", bits, _US_ACQUISITION)


def screen() -> Protocol:
    """Secondary capture in colour."""
    bits = Bits(allocated=8, stored=8, photometric="RGB")
    return Protocol("OT", SECONDARY_CAPTURE, "SCREEN SAVE", "HEAD", "screen", "screen", bits, _SCREEN_ACQUISITION)
