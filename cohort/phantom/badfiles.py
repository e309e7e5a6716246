"""Files that are broken, disguised, or no images at all, and what must become of each."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from .clean import new_scan
from .dicom import expected_volume, instance_elements, instance_uid, series_header
from .encode import PREAMBLE, EncodedHeader
from .headers import base_header, make_uid
from .protocols import CT_STORAGE, Protocol
from .traps import one_instance
from .truth import PhantomFile, Written

_POSITION_TAG = b"\x20\x00\x32\x00DS"  # ImagePositionPatient, as explicit little endian writes it
_BASIC_TEXT_SR = "1.2.840.10008.5.1.4.1.1.88.11"
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


def _put(root: Path, name: str, file: str, data: bytes, status: str, **about: Any) -> Written:
    """Write one file that holds no volume."""
    path = f"traps/{name}/{file}"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)
    row = {"format": None, "reason": None, "is_image": False, "findings": (), **about}
    return Written(files=(PhantomFile(path=path, status=status, **row),))


def _not_imaging(root: Path, name: str, file: str, data: bytes, reason: str = "not_dicom_or_nifti") -> Written:
    return _put(root, name, file, data, "not_imaging", reason=reason, findings=("FILE-NOT-IMAGING",))


def _noise(name: str, seed: int, size: int) -> bytes:
    """Bytes without meaning; they never begin like a DICOM group or a NIfTI header."""
    return b"\xfe\xed\xfa\xce" + np.random.default_rng([seed, len(name)]).bytes(size)


def _image(root: Path, name: str, seed: int, file: str, change: Callable[[bytes], bytes]) -> Written:
    """Write a sound single slice whose file looks unusual: it is one volume."""
    series, data = one_instance(name, seed)
    written = _put(root, name, file, change(data), "ok", format="dicom", is_image=True)
    return Written((expected_volume(series, 1),), written.files)


def truncated_header(root: Path, name: str, seed: int) -> Written:
    """End the file within ImagePositionPatient."""
    _, data = one_instance(name, seed)
    end = data.index(_POSITION_TAG) + len(_POSITION_TAG) + 6
    about = {"format": "dicom", "reason": "truncated_header", "findings": ("FILE-TRUNCATED-HEADER",)}
    return _put(root, name, "broken.dcm", data[:end], "rejected", **about)


def truncated_pixels(root: Path, name: str, seed: int) -> Written:
    """Leave out the last 500 bytes of the pixels."""
    _, data = one_instance(name, seed)
    about = {"reason": "truncated_pixels", "is_image": True, "findings": ("PIX-TRUNCATED",)}
    return _put(root, name, "broken.dcm", data[:-500], "rejected", format="dicom", **about)


def garbage_after_magic(root: Path, name: str, seed: int) -> Written:
    """Write preamble and DICM, with no data set after them."""
    data = PREAMBLE + _noise(name, seed, 3000)
    return _put(root, name, "broken.dcm", data, "rejected", format="dicom", findings=("FILE-REJECTED",))


def garbage(root: Path, name: str, seed: int) -> Written:
    """Write random bytes, named like a DICOM file."""
    return _not_imaging(root, name, "noise.dcm", _noise(name, seed, 5000))


def empty(root: Path, name: str, seed: int) -> Written:
    """Write a file of no bytes."""
    return _not_imaging(root, name, "empty.dcm", b"", "empty_file")


def readme(root: Path, name: str, seed: int) -> Written:
    """Write a text beside the images."""
    return _not_imaging(root, name, "README.txt", b"These images were invented.\n")


def table(root: Path, name: str, seed: int) -> Written:
    """Write a table beside the images."""
    return _not_imaging(root, name, "labels.csv", b"patient,label\nPHANTOM-00001,0\nPHANTOM-00002,1\n")


def hidden(root: Path, name: str, seed: int) -> Written:
    """Write a hidden file, as a desktop leaves it behind."""
    return _not_imaging(root, name, ".DS_Store", b"\x00\x00\x00\x01Bud1" + bytes(2000))


def no_preamble(root: Path, name: str, seed: int) -> Written:
    """Begin the file with the file meta information."""
    return _image(root, name, seed, "slice.dcm", lambda data: data[len(PREAMBLE) :])


def no_suffix(root: Path, name: str, seed: int) -> Written:
    """Give the file no suffix."""
    return _image(root, name, seed, "I0000001", lambda data: data)


def named_nifti(root: Path, name: str, seed: int) -> Written:
    """Name a DICOM file like a NIfTI image."""
    return _image(root, name, seed, "scan.nii", lambda data: data)


def gzipped(root: Path, name: str, seed: int) -> Written:
    """Put a DICOM file inside gzip."""
    return _image(root, name, seed, "slice.dcm.gz", lambda data: gzip.compress(data, mtime=0))


def bare_dataset(root: Path, name: str, seed: int) -> Written:
    """Write an implicit little endian data set alone, without preamble and file meta information."""
    series, _ = one_instance(name, seed)
    encoder = EncodedHeader(series_header(series), ImplicitVRLittleEndian)
    elements = {"SOPInstanceUID": instance_uid(series, 0, 0), **instance_elements(series, 0, 0)}
    data = encoder.dataset_bytes(elements)
    return _image(root, name, seed, "slice.dcm", lambda _: data)


def structured_report(root: Path, name: str, seed: int) -> Written:
    """Write a report: a sound DICOM object without pixels."""
    template = one_instance(name, seed)[0].scan.protocol
    protocol = Protocol("SR", _BASIC_TEXT_SR, "REPORT", "CHEST", "screen", "ct", template.bits, {})
    header = base_header(new_scan(protocol, seed, 0, name, 99))
    finding = Dataset()
    finding.RelationshipType, finding.ValueType = "CONTAINS", "TEXT"
    finding.ConceptNameCodeSequence = Sequence([_coded("121071", "DCM", "Finding")])
    finding.TextValue = "No finding, no patient."
    header.ValueType, header.ContinuityOfContent = "CONTAINER", "SEPARATE"
    header.CompletionFlag, header.VerificationFlag = "COMPLETE", "UNVERIFIED"
    header.ConceptNameCodeSequence = Sequence([_coded("126000", "DCM", "Imaging Measurement Report")])
    header.ContentSequence = Sequence([finding])
    data = EncodedHeader(header).file_bytes(_BASIC_TEXT_SR, make_uid(seed, name), {"InstanceNumber": 1})
    return _put(root, name, "report.dcm", data, "ok", format="dicom")


def _coded(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def media_directory(root: Path, name: str, seed: int) -> Written:
    """Write the directory of a medium: it lists images and holds none."""
    header = Dataset()
    header.FileSetID = "PHANTOM"
    header.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity = 0
    header.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity = 0
    header.FileSetConsistencyFlag = 0
    header.DirectoryRecordSequence = Sequence([_record("PATIENT"), _record("STUDY"), _record("IMAGE")])
    encoder = EncodedHeader(header, ExplicitVRLittleEndian)
    # A directory is no composite instance: it has no SOPInstanceUID in its data set.
    data = encoder.file_bytes(_MEDIA_DIRECTORY, make_uid(seed, name), {"SOPInstanceUID": None})
    return _put(root, name, "DICOMDIR", data, "ok", format="dicom")


def _record(kind: str) -> Dataset:
    record = Dataset()
    record.OffsetOfTheNextDirectoryRecord, record.RecordInUseFlag = 0, 0xFFFF
    record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
    record.DirectoryRecordType = kind
    if kind == "PATIENT":
        record.PatientName, record.PatientID = "PHANTOM^ALPHA", "PHANTOM-00001"
    if kind == "IMAGE":
        record.ReferencedFileID = ["IMAGES", "IM0001"]
        record.ReferencedSOPClassUIDInFile = CT_STORAGE
    return record


FILE_TRAPS: dict[str, Callable[[Path, str, int], Written]] = {
    "dicom-bare-dataset": bare_dataset,
    "dicom-garbage-after-magic": garbage_after_magic,
    "dicom-gzipped": gzipped,
    "dicom-named-nifti": named_nifti,
    "dicom-no-preamble": no_preamble,
    "dicom-no-suffix": no_suffix,
    "dicom-truncated-header": truncated_header,
    "dicom-truncated-pixels": truncated_pixels,
    "dicomdir": media_directory,
    "empty-file": empty,
    "garbage": garbage,
    "hidden-file": hidden,
    "structured-report": structured_report,
    "table": table,
    "text-file": readme,
}
