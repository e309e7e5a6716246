"""Realistic DICOM headers: who was scanned, where, and with what, in the words scanners use.

Every name, number and place is invented.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from .protocols import Protocol

_HEX_OF_UID = 32  # a UUID of 128 bits, as 2.25 UIDs are defined


def make_uid(*parts: object) -> str:
    """UID that depends on nothing but its parts."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()
    return f"2.25.{int(digest[:_HEX_OF_UID], 16)}"


def seed_of(*parts: object) -> int:
    """Seed of a noise stream, from a name."""
    return int(hashlib.sha256("/".join(str(part) for part in parts).encode()).hexdigest()[:8], 16)


@dataclass(frozen=True)
class Patient:
    """A patient who never lived."""

    name: str
    patient_id: str
    sex: str
    birth_date: str
    age: str
    weight_kg: float
    height_m: float
    charset: str = "ISO_IR 100"


_PEOPLE = (
    ("PHANTOM^ALPHA", "F", "19780304", "045Y", 64.0, 1.68, "ISO_IR 100"),
    ("PHANTOM^BETA", "M", "19310721", "092Y", 71.5, 1.74, "ISO_IR 100"),
    ("FANTÔME^ÉMILIE", "F", "20230820", "006M", 7.2, 0.66, "ISO_IR 192"),
    ("PHANTOM^DELTA", "O", "19620115", "062Y", 88.0, 1.81, "ISO_IR 100"),
)


def patient(number: int) -> Patient:
    """Give the patient of that number, counted from 0; after the named ones come numbered ones."""
    name, sex, birth, age, weight, height, charset = _PEOPLE[number % len(_PEOPLE)]
    if number >= len(_PEOPLE):
        name, charset = f"PHANTOM^N{number:05d}", "ISO_IR 100"
    return Patient(name, f"PHANTOM-{number + 1:05d}", sex, birth, age, weight, height, charset)


@dataclass(frozen=True)
class Scanner:
    """One machine."""

    manufacturer: str
    model: str
    station: str
    software: str
    serial: str
    institution: str


SCANNERS = {
    "ct-ge": Scanner("GE MEDICAL SYSTEMS", "Revolution CT", "CT01", "revo_ct_21b.40", "GE0001", "Hill Hospital"),
    "ct-siemens": Scanner("SIEMENS", "SOMATOM Force", "CTAWP7", "syngo CT VB20A", "66001", "Lake Clinic"),
    "mr-ge": Scanner("GE MEDICAL SYSTEMS", "SIGNA Artist", "MR02", "29\\LX\\MR Software", "GE0002", "Hill Hospital"),
    "mr-siemens": Scanner("Siemens Healthineers", "MAGNETOM Vida", "MRC4", "syngo MR XA31", "17600", "Lake Clinic"),
    "mr-philips": Scanner("Philips Medical Systems", "Ingenia", "MRPH1", "5.7.1\\5.7.1.2", "42001", "River Centre"),
    "mr-uih": Scanner("UIH", "uMR 770", "UIHMR", "R002", "12001", "River Centre"),
    "pt-siemens": Scanner("SIEMENS", "Biograph128_mCT", "PET1", "VG60A", "11001", "Lake Clinic"),
    "us-ge": Scanner("GE Vingmed Ultrasound", "Vivid E95", "VIVID1", "203.66.0", "VE0095", "Hill Hospital"),
    "xr-fuji": Scanner("FUJIFILM Corporation", "CR-IR 392", "CR03", "A18", "70115", "River Centre"),
    "mg-hologic": Scanner("HOLOGIC, Inc.", "Selenia Dimensions", "MG5", "1.8.3.63", "SDM0007", "River Centre"),
    "screen": Scanner("Phantom Works", "Screen Grabber", "PACS1", "3.2", "0", "Lake Clinic"),
}


@dataclass(frozen=True)
class Scan:
    """One series: who, where, what, and the UIDs that tie it together."""

    who: Patient
    scanner: Scanner
    protocol: Protocol
    number: int
    study_uid: str
    series_uid: str
    frame_of_reference_uid: str


def base_header(scan: Scan) -> Dataset:
    """All elements that the instances of a series share, pixel description and geometry aside."""
    header = Dataset()
    modules = (_patient, _study, _series, _equipment, _procedure, _references)
    for module in modules:
        for keyword, value in module(scan).items():
            setattr(header, keyword, value)
    for keyword, value in scan.protocol.acquisition.items():
        setattr(header, keyword, value)
    _private_groups(header, scan)
    return header


def _patient(scan: Scan) -> dict[str, Any]:
    who = scan.who
    return {
        "SpecificCharacterSet": who.charset,
        "PatientName": who.name,
        "PatientID": who.patient_id,
        "IssuerOfPatientID": "PHANTOM HOSPITAL",
        "PatientBirthDate": who.birth_date,
        "PatientSex": who.sex,
        "PatientAge": who.age,
        "PatientWeight": who.weight_kg,
        "PatientSize": who.height_m,
        "EthnicGroup": "",
        "Occupation": "BAKER",
        "SmokingStatus": "UNKNOWN",
        "PregnancyStatus": 4,
        "MedicalAlerts": "",
        "Allergies": "NONE KNOWN",
        "AdditionalPatientHistory": "Invented history for a phantom",
        "PatientComments": "This person does not exist",
        "PatientIdentityRemoved": "NO",
    }


def _study(scan: Scan) -> dict[str, Any]:
    times = {f"{event}Date": "20240301" for event in ("Study", "Series", "Acquisition", "Content")}
    times["StudyTime"] = "101500"
    times |= {f"{event}Time": f"10{15 + scan.number % 40:02d}12.340000" for event in ("Series", "Acquisition")}
    return {
        **times,
        "InstanceCreationDate": "20240301",
        "StudyInstanceUID": scan.study_uid,
        "StudyID": "1",
        "AccessionNumber": f"ACC{scan.who.patient_id[-5:]}",
        "StudyDescription": "PHANTOM STUDY",
        "ReferringPhysicianName": "REFERRER^ANY",
        "PhysiciansOfRecord": "RECORD^ANY",
        "NameOfPhysiciansReadingStudy": "READER^ANY",
        "AdmittingDiagnosesDescription": "NONE",
        "RequestingPhysician": "REQUESTER^ANY",
        "RequestingService": "RADIOLOGY",
        "RequestedProcedureDescription": f"{scan.protocol.modality} {scan.protocol.body_part}",
        "CurrentPatientLocation": "WARD 3",
        "AdmissionID": "ADM1",
    }


def _series(scan: Scan) -> dict[str, Any]:
    protocol = scan.protocol
    return {
        "SOPClassUID": protocol.sop_class,
        "SeriesInstanceUID": scan.series_uid,
        "SeriesNumber": scan.number,
        "SeriesDescription": protocol.description,
        "ProtocolName": f"{protocol.description} PROTOCOL 4.2",
        "Modality": protocol.modality,
        "BodyPartExamined": protocol.body_part,
        "FrameOfReferenceUID": scan.frame_of_reference_uid,
        "PositionReferenceIndicator": "",
        "AcquisitionNumber": 1,
        "ImageComments": "",
        "BurnedInAnnotation": "NO",
        "LossyImageCompression": "00",
        "PresentationLUTShape": "IDENTITY",
    }


def _equipment(scan: Scan) -> dict[str, Any]:
    machine = scan.scanner
    return {
        "Manufacturer": machine.manufacturer,
        "ManufacturerModelName": machine.model,
        "StationName": machine.station,
        "SoftwareVersions": machine.software.split("\\"),
        "DeviceSerialNumber": machine.serial,
        "DeviceUID": make_uid("device", machine.serial),
        "InstitutionName": machine.institution,
        "InstitutionAddress": "1 Phantom Street, Nowhere",
        "InstitutionalDepartmentName": "RADIOLOGY",
        "OperatorsName": "OPERATOR^ANY",
        "PerformingPhysicianName": "PERFORMER^ANY",
        "DateOfLastCalibration": "20240229",
        "TimeOfLastCalibration": "063000",
        "InstanceCreatorUID": make_uid("creator", machine.serial),
        "TimezoneOffsetFromUTC": "+0100",
    }


def _procedure(scan: Scan) -> dict[str, Any]:
    step = _items(
        RequestedProcedureID="RP1",
        ScheduledProcedureStepID="SPS1",
        ScheduledProcedureStepDescription=f"{scan.protocol.modality} {scan.protocol.body_part}",
        ScheduledProtocolCodeSequence=_code("PH-1", "99PHANTOM", "Phantom protocol"),
    )
    return {
        "RequestAttributesSequence": step,
        "ProcedureCodeSequence": _code("PH-2", "99PHANTOM", "Phantom procedure"),
        "PerformedProtocolCodeSequence": _code("PH-3", "99PHANTOM", "Phantom performed"),
        "RequestedProcedureID": "RP1",
        "PerformedProcedureStepID": "PPS1",
        "PerformedProcedureStepStartDate": "20240301",
        "PerformedProcedureStepStartTime": "101400",
        "PerformedProcedureStepEndDate": "20240301",
        "PerformedProcedureStepEndTime": "105900",
        "PerformedProcedureStepDescription": "PHANTOM STEP",
        "PerformedStationAETitle": scan.scanner.station,
        "CommentsOnThePerformedProcedureStep": "",
        "ConfidentialityConstraintOnPatientDataDescription": "",
    }


def _references(scan: Scan) -> dict[str, Any]:
    # The nested SeriesInstanceUID is not the series of this image: readers that search deep are caught here.
    referenced = _items(
        ReferencedSOPClassUID=scan.protocol.sop_class,
        ReferencedSOPInstanceUID=make_uid(scan.series_uid, "planned on"),
    )
    series = _items(SeriesInstanceUID=make_uid(scan.series_uid, "other"), ReferencedSOPSequence=referenced)
    return {
        "ReferencedImageSequence": referenced,
        "ReferencedSeriesSequence": series,
        "ReferencedStudySequence": _items(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1", ReferencedSOPInstanceUID=scan.study_uid
        ),
        "ReferencedPerformedProcedureStepSequence": _items(
            ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.3",
            ReferencedSOPInstanceUID=make_uid(scan.study_uid, "step"),
        ),
    }


def _items(**elements: Any) -> Sequence:
    """Sequence of one item."""
    item = Dataset()
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return Sequence([item])


def _code(value: str, scheme: str, meaning: str) -> Sequence:
    return _items(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)


def _private_groups(header: Dataset, scan: Scan) -> None:
    """Add vendor elements: creators, numbers, text, an opaque block and a private sequence."""
    maker = scan.scanner.manufacturer.upper()
    inner = Dataset()
    inner.private_block(0x2005, "PHANTOM PRIVATE SQ", create=True).add_new(0x10, "LO", "inner text")
    inner.private_block(0x2005, "PHANTOM PRIVATE SQ", create=True).add_new(0x11, "DS", "1.5")
    if maker.startswith("GE"):
        ident = header.private_block(0x0009, "GEMS_IDEN_01", create=True)
        ident.add_new(0x01, "LO", "GE_GENESIS_FF")
        ident.add_new(0x27, "SL", 1709284512)
        acquisition = header.private_block(0x0019, "GEMS_ACQU_01", create=True)
        for offset, value in ((0x02, 912), (0x0F, 395), (0x23, 27), (0x39, 16)):
            acquisition.add_new(offset, "DS", str(value))
        header.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x27, "SH", "/1.0:1")
    elif maker.startswith("SIEMENS"):
        csa = header.private_block(0x0029, "SIEMENS CSA HEADER", create=True)
        csa.add_new(0x08, "CS", "IMAGE NUM 4")
        csa.add_new(0x09, "LO", "20240301")
        # Real CSA headers are several kilobytes that a header reader must step over.
        csa.add_new(0x10, "OB", hashlib.shake_256(scan.series_uid.encode()).digest(4096))
        header.private_block(0x0051, "SIEMENS MR HEADER", create=True).add_new(0x0F, "LO", "HEA;HEP")
    elif maker.startswith("PHILIPS"):
        imaging = header.private_block(0x2001, "Philips Imaging DD 001", create=True)
        imaging.add_new(0x01, "FL", 0.0)
        imaging.add_new(0x0A, "IS", 1)
        imaging.add_new(0x1A, "FL", [0.0, 0.0, 0.0])
    other = header.private_block(0x2005, "PHANTOM PRIVATE SQ", create=True)
    other.add_new(0x20, "SQ", Sequence([inner]))
    other.add_new(0x21, "LO", "invented")
    other.add_new(0x22, "UN", b"\x01\x02\x03\x04")
