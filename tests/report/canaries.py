"""A small source full of canaries: strings that must never leave the private tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

if TYPE_CHECKING:
    from pathlib import Path

MARK = "CNRY"
"""Begins every canary of letters."""
DIGITS = "73911937"
"""Stands in every canary of digits, which UIDs and dates are."""

# Names, identifiers, descriptions, comments; then codes that the report shows where they are known words.
TEXTS = (
    "PatientName", "PatientID", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
    "PatientAddress", "PatientTelephoneNumbers", "PatientComments", "AdditionalPatientHistory", "Occupation",
    "EthnicGroup", "MedicalRecordLocator", "IssuerOfPatientID", "InstitutionName", "InstitutionAddress",
    "InstitutionalDepartmentName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName",
    "RequestingPhysician", "StationName", "DeviceSerialNumber", "AccessionNumber", "StudyID", "StudyDescription",
    "SeriesDescription", "ProtocolName", "ImageComments", "DerivationDescription", "RequestedProcedureDescription",
    "PerformedProcedureStepDescription", "SoftwareVersions", "ContrastBolusAgent", "DeidentificationMethod",
)  # fmt: skip
CODES = (
    "Manufacturer", "ManufacturerModelName", "BodyPartExamined", "ConvolutionKernel", "RescaleType", "PatientSex",
    "Laterality", "PatientPosition", "ScanOptions", "ImageType", "BurnedInAnnotation", "PatientIdentityRemoved",
    "FilterType", "ScanningSequence", "SequenceVariant", "MRAcquisitionType", "Units", "DecayCorrection",
)  # fmt: skip
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
PATIENTS = 4  # fewer than `--min-cell`, so that no value is shared by many


class Planted:
    """Hands out canaries and remembers them."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def word(self) -> str:
        self.all.append(f"{MARK}{len(self.all):04d}")
        return self.all[-1]

    def digits(self) -> str:
        self.all.append(f"{DIGITS}{len(self.all):04d}")
        return self.all[-1]


def plant(root: Path) -> list[str]:
    """Write DICOM and NIfTI files below `root`; return the canaries in them."""
    planted = Planted()
    for patient in range(PATIENTS):
        _dicom(root, planted, patient)
    _nifti(root, planted)
    _troubled(root, planted)
    return planted.all


def _header(planted: Planted, patient: int) -> Dataset:
    header = Dataset()
    for keyword in (*TEXTS, *CODES):
        setattr(header, keyword, planted.word())
    for keyword in UIDS:
        setattr(header, keyword, f"1.2.{planted.digits()}")
    header.PatientBirthDate = "19370213"
    header.StudyDate, header.PatientAge = "20240229", "093Y"
    header.SOPClassUID = pydicom.uid.CTImageStorage
    # The modality decides how much is read of the rest, so that one file plants it there as well.
    header.Modality = planted.word() if patient == PATIENTS - 1 else "CT"
    header.Rows = header.Columns = 8
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.RescaleSlope, header.RescaleIntercept = 1, 0
    header.PixelSpacing, header.SliceThickness = [1, 1], 1
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.add_new(0x00090010, "LO", planted.word())
    header.add_new(0x00091001, "LT", planted.word())
    header.add_new(0x00091002, "UN", planted.word().encode())
    request = Dataset()
    request.RequestedProcedureID, request.ReasonForTheRequestedProcedure = planted.word(), planted.word()
    header.RequestAttributesSequence = [request]
    return header


def _dicom(root: Path, planted: Planted, patient: int) -> None:
    header = _header(planted, patient)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.SourceApplicationEntityTitle = planted.word()
    folder = root / planted.word() / f"{planted.word()}^DOE"
    folder.mkdir(parents=True)
    for number in range(3):
        header.SOPInstanceUID = f"{header.SeriesInstanceUID}.{number}"
        header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
        header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
        # A gap of two slices, so that there is something to find.
        header.InstanceNumber, header.ImagePositionPatient = number, [0, 0, number + (number == 2)]
        header.PixelData = np.full((8, 8), 100 * number + patient, np.uint16).tobytes()
        header.save_as(folder / f"{planted.word()}.dcm", enforce_file_format=True)


def _nifti(root: Path, planted: Planted) -> None:
    for _ in range(2):
        image = nibabel.Nifti1Image(np.arange(512, dtype=np.int16).reshape(8, 8, 8), np.eye(4))
        for field in ("descrip", "aux_file", "db_name", "intent_name"):
            image.header[field] = planted.word().encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", planted.word().encode()))
        folder = root / f"sub-{planted.word()}"
        folder.mkdir()
        name = f"sub-{planted.word()}_T1w"
        nibabel.save(image, folder / f"{name}.nii.gz")
        keys = ("Manufacturer", "ManufacturersModelName", "BodyPartExamined", "SeriesDescription", "ProtocolName",
                "PatientSex", "PatientPosition", "PatientName", "InstitutionName", "ConvolutionKernel")  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps({key: planted.word() for key in keys}))


def _troubled(root: Path, planted: Planted) -> None:
    """Write what makes a run talk: errors and warnings are where names escape."""
    whole = next(root.rglob("*.dcm")).read_bytes()
    (root / f"{planted.word()}-cut.dcm").write_bytes(whole[: len(whole) // 2])
    (root / f"{planted.word()}-short.dcm").write_bytes(whole[:-40])
    (root / f"{planted.word()}.nii.gz").write_bytes(b"\x1f\x8b" + planted.word().encode() * 40)
    (root / f"{planted.word()}.txt").write_text(planted.word() * 20)
    (root / f"{planted.word()}.dcm").write_bytes(bytes(128) + b"DICM" + planted.word().encode() * 9)
    (root / f"{planted.word()}.link").symlink_to(f"/nowhere/{planted.word()}")
