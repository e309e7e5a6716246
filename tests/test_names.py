"""Whether headers name persons is told, and who they are is not."""

from __future__ import annotations

import io
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cohort.readers import read_header, without_warnings
from cohort.readers.dicom_names import is_name
from cohort.schema import PERSONS

Row = dict[str, Any]
NAME = "Garcia^Lorca"


def header(**values: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", "1.2.3.1", "CT"
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def read(dataset: Dataset, syntax: str = ExplicitVRLittleEndian, **options: Any) -> Row:
    dataset.file_meta = FileMetaDataset()
    uid = dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    file = io.BytesIO()
    with without_warnings():
        pydicom.dcmwrite(
            file, dataset, implicit_vr=uid.is_implicit_VR, little_endian=uid.is_little_endian, enforce_file_format=True
        )
        size = file.tell()
        file.seek(0)
        return read_header(file, size, "a", neighbour=lambda _name, _limit: None, gzip_limit=1 << 20, **options)


@pytest.mark.parametrize(
    "text", ["Garcia^Lorca", "Smith", "Wang^XiaoDong=王^小东", "やまだ^たろう", "\x1b$B;3ED", "Test^Marie"]
)
def test_names_are_told(text: str) -> None:
    assert is_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "^^^^",
        "***",
        "Anonymous",
        "ANON^A^B",
        "Anon_001",
        "Test^Patient",
        "Last Name^First Name",
        "2e2884fea560",
        "----",
    ],
)
def test_words_for_nobody_and_codes_are_no_names(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("keyword", PERSONS)
def test_what_is_filled_is_told_and_not_who(keyword: str, syntax: str) -> None:
    row = read(header(**{keyword: NAME}), syntax)
    assert row["parser"].startswith("walker")
    assert row["names_filled"] == keyword
    assert "Garcia" not in str(row)


def test_pydicom_tells_the_same() -> None:
    values = dict.fromkeys(PERSONS, NAME)
    walked, parsed = read(header(**values)), read(header(**values | {"Modality": ""}))
    assert parsed["fallback_reason"] == "missing_key"
    assert walked["names_filled"] == parsed["names_filled"] == "\\".join(PERSONS)
    assert "Garcia" not in str(parsed)


@pytest.mark.parametrize("modality", ["CT", ""])
def test_a_pseudonym_is_no_name(modality: str) -> None:
    assert read(header(PatientName="LUNG-A", PatientID="LUNG-A", Modality=modality))["names_filled"] is None
    assert read(header(PatientName="LUNG-A", PatientID="7", Modality=modality))["names_filled"] == "PatientName"


def test_a_column_asked_for_keeps_its_value() -> None:
    from cohort.readers import extra_columns

    row = read(header(PatientName=NAME), extra=extra_columns(("PatientName",)))
    assert (row["names_filled"], row["PatientName"]) == ("PatientName", NAME)
