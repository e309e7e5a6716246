"""Cohorts of tiny DICOM series whose distributions and patients are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SIDE, SLICES = 16, 3


@dataclass(frozen=True)
class Changes:
    """What sets a cohort apart from the others: HU added, tube voltage, spacing of slices, age of all."""

    shift: int = 0
    kvp: float = 120.0
    spacing: float = 2.0
    manufacturer: str = "SIEMENS"
    age: str | None = None


def values_of(patient: int, shift: int = 0) -> np.ndarray:
    """Stored values of a patient: HU + 1024, one distribution for all, another draw for each."""
    random = np.random.default_rng(1000 + patient)
    return (random.normal(1064, 200, (SLICES, SIDE, SIDE)) + shift).round().clip(0, 4095).astype(np.uint16)


def write_patient(root: Path, patient: int, changes: Changes = Changes(), identity: str | None = None) -> None:
    """Write one CT series; `identity` replaces the patient's own in the identifiers alone."""
    name = identity or f"PAT{patient:03d}"
    number = patient if identity is None else int.from_bytes(name.encode()[:3], "big")
    header = Dataset()
    header.PatientID, header.PatientName, header.PatientSex = name, f"NAME^{name}", "FM"[patient % 2]
    header.StudyInstanceUID, header.SeriesInstanceUID = f"1.2.3.{number}", f"1.2.3.{number}.1"
    header.SOPClassUID, header.Modality, header.Manufacturer = CTImageStorage, "CT", changes.manufacturer
    header.PatientAge, header.KVP = changes.age or f"{30 + patient % 40:03d}Y", changes.kvp
    header.Rows = header.Columns = SIDE
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 12, 11, 0
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.RescaleSlope, header.RescaleIntercept = 1, -1024
    header.PixelSpacing, header.SliceThickness = [0.7, 0.7], 2
    header.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = CTImageStorage
    folder = root / name
    folder.mkdir(parents=True)
    for index, plane in enumerate(values_of(patient, changes.shift)):
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}.1.{index}"
        header.InstanceNumber, header.ImagePositionPatient = index, [0, 0, changes.spacing * index]
        header.PixelData = plane.tobytes()
        pydicom.dcmwrite(folder / f"{index}.dcm", header, enforce_file_format=True)


def write_cohort(root: Path, patients: Iterable[int], changes: Changes = Changes()) -> Path:
    """Write one series of each patient."""
    for patient in patients:
        write_patient(root, patient, changes)
    return root
