"""Columns that a user asks for: which tags can be one, what it holds, and how a run carries it."""

from __future__ import annotations

import io
import json
import random
import shutil
import struct
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from running import config_with
from test_dicom_walker import differences, mutant
from test_dicom_walker import image as bare_image

import cohort
from cohort import pipeline
from cohort.config import Config, config_from
from cohort.errors import ConfigError, OutputError, RejectedError
from cohort.phantom import PhantomTruth
from cohort.readers import dicom, extra_columns, read_header, without_warnings
from cohort.readers.base import HEAD_BYTES, Limits
from cohort.readers.dicom_walker import Fallback, walk_header
from cohort.report.safe import SafeRun
from cohort.schema import FILES, Column, Privacy

EXPLICIT = [ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
SYNTAXES = [*EXPLICIT, ImplicitVRLittleEndian]


@pytest.fixture(autouse=True)
def _lenient() -> Iterator[None]:
    """Writing what breaks the rules makes pydicom warn; reading it must not fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# -- which tags can be a column ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "kind", "source"),
    [
        ("PatientName", "PatientName", "string", "(0010,0010)"),
        ("0010,0010", "PatientName", "string", "(0010,0010)"),
        ("(0010,0010)", "PatientName", "string", "(0010,0010)"),
        (" 0010, 0010 ", "PatientName", "string", "(0010,0010)"),
        ("OperatorsName", "OperatorsName", "list<string>", "(0008,1070)"),
        ("StationName", "StationName", "string", "(0008,1010)"),
        ("RetrieveURL", "RetrieveURL", "string", "(0008,1190)"),
        ("FrameIncrementPointer", "FrameIncrementPointer", "list<string>", "(0028,0009)"),
        ("DimensionIndexPointer", "DimensionIndexPointer", "string", "(0020,9165)"),
        ("XRayTubeCurrentInuA", "XRayTubeCurrentInuA", "float64", "(0018,8151)"),
        ("Exposure", "Exposure", "int64", "(0018,1152)"),
        ("AcquisitionDuration", "AcquisitionDuration", "float64", "(0018,9073)"),
        ("AcquisitionMatrix", "AcquisitionMatrix", "list<int64>", "(0018,1310)"),
        ("PixelAspectRatio", "PixelAspectRatio", "list<int64>", "(0028,0034)"),
        ("TablePosition", "TablePosition", "float64", "(0018,9327)"),
        ("FileOffsetInContainer", "FileOffsetInContainer", "int64", "(0008,040C)"),
        ("SmallestImagePixelValue", "SmallestImagePixelValue", "int64", "(0028,0106)"),
        ("0019,100C", "tag_0019_100c", "list<string>", "(0019,100C)"),
        ("(0019,100c)", "tag_0019_100c", "list<string>", "(0019,100C)"),
        ("0019,0010", "tag_0019_0010", "list<string>", "(0019,0010)"),
        ("0018,9999", "tag_0018_9999", "list<string>", "(0018,9999)"),
        ("6000,0010", "tag_6000_0010", "int64", "(6000,0010)"),
        ("6002,0022", "tag_6002_0022", "string", "(6002,0022)"),
    ],
)
def test_a_tag_becomes_a_column_by_the_dictionary(text: str, name: str, kind: str, source: str) -> None:
    (column,) = extra_columns((text,))
    assert (column.name, column.type, column.source) == (name, kind, source)
    assert column.privacy is Privacy.PRIVATE
    assert column.description


WRONG = {
    "": "neither a DICOM keyword",
    "Colour": "neither a DICOM keyword",
    "patientname": "did you mean PatientName",
    "00100010": "neither a DICOM keyword",
    "0010;0010": "neither a DICOM keyword",
    "(0010,0010": "neither a DICOM keyword",
    "0010,001g": "neither a DICOM keyword",
    "OverlayRows": "neither a DICOM keyword",  # one keyword, many tags
    "Modality": "already the column `Modality`",
    "0008,0060": "already the column `Modality`",
    "0002,0010": "already the column `TransferSyntaxUID`",
    "0002,0003": "--all-headers",
    "Status": "outside the dataset",
    "0010,0000": "length of a group",
    "ReferencedStudySequence": "--all-headers",
    "0008,1115": "is a sequence",
    "LUTData": "bulk data",
    "0028,1201": "bulk data",
    "6000,3000": "bulk data",
    "7fe0,0001": "bulk data",
    "PixelData": "pixels",
    "7FE1,1001": "pixels",
    "fffa,fffa": "pixels",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_can_be_no_column_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        extra_columns(("StationName", text))
    assert f"`{text}`" in str(refusal.value)
    assert WRONG[text] in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_same_tag_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`0010,0010` is given twice.*PatientName"):
        extra_columns(("PatientName", "0010,0010"))


def test_no_keyword_of_the_dictionary_hides_a_column_of_the_table() -> None:
    """Neither by the same letters in another case: some readers of Parquet do not tell them apart."""
    from pydicom.datadict import keyword_dict

    known = {name.lower() for name in FILES.names}
    for keyword in keyword_dict:
        try:
            (column,) = extra_columns((keyword,))
        except ConfigError:
            continue
        assert column.name.lower() not in known


# -- what it holds -------------------------------------------------------------------------------------------


def image(**values: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Modality = "1.2", "1.2.3", "CT"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.PixelData = 2, 2, bytes(8)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def written(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = syntax, "1.2.3.4"
    meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta = meta
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def read(data: bytes, *tags: str) -> dict[str, Any]:
    with without_warnings():
        return read_header(
            io.BytesIO(data),
            len(data),
            "image",
            neighbour=lambda name, limit: None,
            gzip_limit=1 << 20,
            extra=extra_columns(tags),
        )


VALUES = {
    "PatientName": ("Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^太郎"),
    "OperatorsName": (["A^B", "C^D"], ["A^B", "C^D"]),
    "StationName": ("Größe", "Größe"),
    "StationAETitle": ("AE 1", "AE 1"),
    "OtherPatientIDs": (["a", "b"], ["a", "b"]),
    "DerivationDescription": ("one\\two", "one\\two"),
    "RetrieveURL": ("http://a.b/c", "http://a.b/c"),
    "InstanceCreationDate": ("20200131", "20200131"),
    "PatientSize": ("1.75", 1.75),
    "Exposure": ("12", 12),
    "AcquisitionDuration": (0.1, 0.1),
    "AcquisitionMatrix": ([0, 256, 128, 0], [0, 256, 128, 0]),
    "PixelAspectRatio": (["3", "4"], [3, 4]),
    "FrameIncrementPointer": (0x00181063, ["(0018,1063)"]),
    "SmallestImagePixelValue": (7, 7),
    "FileOffsetInContainer": (2**40, 2**40),
    "RedPaletteColorLookupTableDescriptor": ([256, 0, 16], [256, 0, 16]),
    "ReferencedSOPClassUID": ("1.2.840.1", "1.2.840.1"),
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_values_are_of_the_type_of_their_column(syntax: str) -> None:
    dataset = image(SpecificCharacterSet="ISO_IR 192", **{name: value for name, (value, _) in VALUES.items()})
    row = read(written(dataset, syntax), *VALUES)
    assert {name: row[name] for name in VALUES} == {name: expected for name, (_, expected) in VALUES.items()}
    assert (row["status"], row["empty_tags"], row["unparsed"]) == ("ok", None, None)
    for name, column in zip(VALUES, extra_columns(tuple(VALUES)), strict=True):
        scalar = {"int64": int, "float64": float, "string": str}[column.type.removeprefix("list<").rstrip(">")]
        items = row[name] if column.type.startswith("list<") else [row[name]]
        assert all(type(item) is scalar for item in items), name


PRIVATE = {
    0x00191001: ("DS", ["1.50", "2"], ["1.50", "2"]),
    0x00191002: ("IS", "07", ["07"]),
    0x00191003: ("FD", [0.1, 2.0], ["0.1", "2.0"]),
    0x00191004: ("US", 5, ["5"]),
    0x00191005: ("LO", "text", ["text"]),
    0x00191006: ("PN", "A^B", ["A^B"]),
    0x00191007: ("AT", 0x00181063, ["(0018,1063)"]),
    0x00191008: ("LT", "a\\b", ["a\\b"]),
}


@pytest.mark.parametrize("syntax", EXPLICIT)
def test_private_values_are_text_as_pydicom_gives_it(syntax: str) -> None:
    dataset = image()
    dataset.add_new(0x00190010, "LO", "NOBODY'S")
    for tag, (vr, value, _) in PRIVATE.items():
        dataset.add_new(tag, vr, value)
    names = {f"tag_0019_{tag & 0xFFFF:04x}": expected for tag, (_, _, expected) in PRIVATE.items()}
    row = read(written(dataset, syntax), "0019,0010", *(f"0019,{tag & 0xFFFF:04X}" for tag in PRIVATE))
    assert {name: row[name] for name in names} == names
    assert row["tag_0019_0010"] == ["NOBODY'S"]
    assert row["unparsed"] is None


def test_private_values_without_a_type_are_not_guessed() -> None:
    """Implicit VR: pydicom knows the type of vendors it lists, of others there are bytes alone."""
    dataset = image()
    dataset.add_new(0x00190010, "LO", "SIEMENS MR HEADER")
    dataset.add_new(0x0019100C, "IS", "1000")
    dataset.add_new(0x00210010, "LO", "NOBODY'S")
    dataset.add_new(0x0021100C, "IS", "1000")
    row = read(written(dataset, ImplicitVRLittleEndian), "0019,100c", "0021,100c", "0021,0010")
    assert row["tag_0019_100c"] == ["1000"]
    assert (row["tag_0021_0010"], row.get("tag_0021_100c")) == (["NOBODY'S"], None)
    assert row["unparsed"] == ["tag_0021_100c=1000"]


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_absent_empty_and_wrong_are_kept_apart(syntax: str) -> None:
    dataset = image(PatientName="", OperatorsName=None, PatientSize=None, PixelAspectRatio=None, StationName="")
    dataset.add_new(0x00181152, "IS", "12.5")
    dataset.add_new(0x00280106, "US", [1, 2])
    asked = ("PatientName", "OperatorsName", "PatientSize", "PixelAspectRatio", "StationName", "StationAETitle")
    row = read(written(dataset, syntax), *asked, "Exposure", "SmallestImagePixelValue", "AcquisitionDuration")
    assert (row["PatientName"], row["StationName"], row["OperatorsName"], row["PixelAspectRatio"]) == ("", "", [], [])
    assert row["PatientSize"] is None
    assert row["empty_tags"] == ["PatientSize"]
    assert (row.get("StationAETitle"), row.get("AcquisitionDuration")) == (None, None)
    assert (row.get("Exposure"), row.get("SmallestImagePixelValue")) == (None, None)
    assert sorted(text.split("=")[0] for text in row["unparsed"]) == ["Exposure", "SmallestImagePixelValue"]


@pytest.mark.parametrize("open_end", [True, False])
@pytest.mark.parametrize("syntax", EXPLICIT)
def test_bytes_and_sequences_under_a_private_tag_are_no_text(syntax: str, open_end: bool) -> None:
    inner = Dataset()
    inner.PatientID = "INNER"
    dataset = image()
    dataset.add_new(0x00190010, "LO", "NOBODY'S")
    dataset.add_new(0x00191001, "OB", b"\xff\x00")
    dataset.add_new(0x00191002, "SQ", [inner])
    dataset[0x00191002].is_undefined_length = open_end
    row = read(written(dataset, syntax), "0019,1001", "0019,1002")
    assert (row.get("tag_0019_1001"), row.get("tag_0019_1002")) == (None, None)
    assert [text.split("=")[0] for text in row["unparsed"]] == ["tag_0019_1001", "tag_0019_1002"]
    assert read(written(dataset, syntax), "0019,1002")["unparsed"][0].startswith("tag_0019_1002=")


def test_only_the_top_level_is_looked_at() -> None:
    inner = Dataset()
    inner.StationName = "INSIDE"
    row = read(written(image(ReferencedStudySequence=[inner])), "StationName")
    assert row.get("StationName") is None


def test_tags_before_the_character_set_do_not_hide_it() -> None:
    dataset = image(SpecificCharacterSet="ISO_IR 192", StationName="é", SeriesDescription="é", PatientName="é")
    dataset.add_new(0x00080001, "UL", 5)
    dataset.add_new(0x00041130, "CS", "SET")
    for syntax in SYNTAXES:
        row = read(written(dataset, syntax), "LengthToEnd", "FileSetID", "StationName", "PatientName")
        found = [row[name] for name in ("LengthToEnd", "FileSetID", "StationName", "PatientName", "SeriesDescription")]
        assert found == [5, "SET", "é", "é", "é"]


def test_a_number_that_no_column_holds_is_kept_as_text() -> None:
    dataset = image()
    dataset.add_new(0x0008040C, "UV", 2**64 - 1)
    row = read(written(dataset), "FileOffsetInContainer")
    assert row.get("FileOffsetInContainer") is None
    assert row["unparsed"][0].startswith("FileOffsetInContainer=")


def test_asking_changes_no_other_column(truth: PhantomTruth) -> None:
    files = sorted(path for path in truth.root.rglob("*.dcm"))[::7]
    assert len(files) > 50
    for path in files:
        data = path.read_bytes()
        plain, asked = read(data), read(data, "StationName", "PatientName", "0019,100C")
        about = ("parser", "fallback_reason", "unparsed", "empty_tags", "StationName", "PatientName", "tag_0019_100c")
        assert {k: v for k, v in plain.items() if k not in about} == {
            k: v for k, v in asked.items() if k not in about
        }, path


# -- both readers --------------------------------------------------------------------------------------------

ASKED = (
    "PatientName", "ReferringPhysicianName", "OperatorsName", "StationName", "StationAETitle", "InstitutionName",
    "AccessionNumber", "StudyID", "AdmittingDiagnosesDescription", "AcquisitionMatrix", "PercentSampling",
    "NumberOfAverages", "ImagingFrequency", "EchoTrainLength", "PixelBandwidth", "InPlanePhaseEncodingDirection",
    "SAR", "Exposure", "ExposureTime", "ReconstructionDiameter", "FilterType", "PixelAspectRatio",
    "FrameIncrementPointer", "SmallestImagePixelValue", "LargestImagePixelValue", "PatientComments", "ImageComments",
    "RedPaletteColorLookupTableDescriptor", "InstanceCreationDate", "InstanceCreatorUID", "PatientSize", "LengthToEnd",
    "FileSetID", "QuantifiedDefect", "NumberOfSlices", "0009,0010", "0009,1001", "0009,1027", "0019,0010",
    "0019,1002", "0019,100C", "0029,1008", "0029,1010", "0043,1027", "0043,1039", "0051,100F", "2001,1001",
    "2001,1003", "2001,101A", "2005,1020", "2005,1021", "2005,1022", "6000,0010",
)  # fmt: skip


TEXT = tuple(tag for tag in ASKED if tag not in ("0029,1010", "2005,1020", "2005,1022"))  # the others are bytes


def told_by_pydicom(path: Path, columns: tuple[Column, ...]) -> dict[str, Any] | None:
    """Values straight from pydicom, by rules written down here once more; None where it gives up."""
    from pydicom.multival import MultiValue
    from pydicom.sequence import Sequence

    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    except Exception:
        return None
    found: dict[str, Any] = {}
    for column in columns:
        tag = int(column.source[1:5] + column.source[6:10], 16)
        if tag not in dataset:
            continue
        many = column.type.startswith("list")
        convert = {"int64": int, "float64": float, "string": str}[column.type.removeprefix("list<").rstrip(">")]
        try:
            value = dataset[tag].value
            if isinstance(value, (bytes, Sequence)):
                continue
            items = list(value) if isinstance(value, (MultiValue, list)) else [value]
            if len(items) == 1 and (items[0] is None or str(items[0]) == ""):
                items = []
            converted = [convert(item) for item in items]
        except Exception:
            continue
        if many:
            found[column.name] = converted
        elif len(converted) < 2:
            found[column.name] = converted[0] if converted else "" if convert is str else None
    return {name: value for name, value in found.items() if value is not None}


def compare(files: list[Path]) -> int:
    """Hold the rows against pydicom's values; returns how many there were."""
    columns = extra_columns(ASKED)
    values = 0
    for path in files:
        with without_warnings():
            row = read(path.read_bytes(), *ASKED)
            if row["status"] not in ("ok",) or row["format"] != "dicom" or row["container"]:
                continue
            expected = told_by_pydicom(path, columns)
        assert expected is not None, path
        found = {c.name: row[c.name] for c in columns if row.get(c.name) is not None}
        assert found == expected, path
        values += len(found)
    return values


def walk(files: list[Path]) -> float:
    """Hold the rows of both readers against each other; returns the share that the fast one gave."""
    return sum(with_both(path.read_bytes(), TEXT) is not None for path in files) / len(files)


def with_both(data: bytes, tags: tuple[str, ...]) -> dict[str, Any] | None:
    """Row of the fast reader, the same as pydicom's; None where it leaves the object alone."""
    columns = extra_columns(tags)
    head = data[:HEAD_BYTES]
    with without_warnings():
        try:
            row = walk_header(io.BytesIO(data), len(data), head, columns)
        except Fallback:
            return None
        try:
            expected = dicom.read_header(
                io.BytesIO(data), len(data), head, Limits(1 << 20, 1 << 26, 150_000), extra=columns
            )
        except RejectedError:
            return None
    found = differences(row, expected)
    assert not found, {name: (row.get(name), expected.get(name)) for name in found}
    return row


def test_phantoms_hold_what_pydicom_reads(truth: PhantomTruth) -> None:
    files = sorted(path for path in truth.root.rglob("*.dcm"))
    assert compare(files) > 5 * len(files)
    assert walk(files) > 0.8


def test_bundled_files_hold_what_pydicom_reads() -> None:
    files = sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm"))
    assert compare(files) > 300
    assert walk(files) > 0.3


@pytest.mark.real
def test_real_files_hold_what_pydicom_reads(real_images: Path) -> None:
    files = [path for path in sorted((real_images / "dicom").rglob("*")) if path.is_file()]
    assert compare(files) > 10 * len(files)
    assert walk(files) > 0.7


_ANY_VR = (
    "US", "SS", "UL", "SL", "FD", "LO", "SH", "CS", "UI", "DA", "LT", "UT", "PN", "AE", "AT", "UN", "OB", "OW", "SQ",
)  # fmt: skip
_NAMES = [
    b"A^B",
    b"A^B=",
    b"A=B==",
    b"=",
    b"",
    b" A^B \0 ",
    b"A\\B",
    b"A^\xe9",
    b"\x1b$BA",
    b"A\0\0",
    b"\\",
    b"A=\\=",
    b"\xc3\xa9",
]
_DECIMALS = [b"1.50\\ 2 ", b"", b"  ", b" \0", b"1\\", b"x", b"1_0", b"nan", b"\xa01", b"1\0"]
_INTEGERS = [b"07", b"+7 ", b"1.0", b"1.5", b"", b" ", b"\\1", b"9" * 17, b"inf", b"\t7"]
_FLOATS = [struct.pack("<f", 0.1) * 2, struct.pack("<f", float("nan")), struct.pack("<f", -float("inf")), b"", b"\0"]
_WORDS = [b"\xff\xff", b"\xff\xff\0\0\x10\0", b"", b"\1"]
RAW = {
    ("PatientName", "PN"): _NAMES,
    ("OperatorsName", "PN"): _NAMES,
    ("StationAETitle", "AE"): [b" A ", b"A\0", b"  ", b"", b"A\\B", b"\xa0A", b"\x1cA\x85"],
    ("RetrieveURL", "UR"): [b"http://a ", b" a", b"a\\b", b"", b"a\0", b"a\xa0"],
    ("0019,1001", "DS"): _DECIMALS,
    ("0019,1001", "IS"): _INTEGERS,
    ("0019,1001", "FL"): _FLOATS,
    **{("0019,1001", vr): [b"", b"\1\2\3\4\5\6\7\x08", b"A\\B ", b"1.2\0", b"\xe9\\"] for vr in _ANY_VR},
    **{("0019,0010", vr): [b"ACME", b"A\\B", b""] for vr in ("LO", "UN", "SH")},
    **{("0018,9999", vr): [b"ACME", b""] for vr in ("LO", "US", "UN")},
    ("6000,0010", "US"): [b"\1\0", b"", b"\1\0\2\0"],
    ("SmallestImagePixelValue", "US"): _WORDS,
    ("SmallestImagePixelValue", "SS"): _WORDS,
    ("RedPaletteColorLookupTableDescriptor", "US"): _WORDS,
    ("RedPaletteColorLookupTableDescriptor", "SS"): _WORDS,
    **{("StationName", vr): [b"12", b"", b"A\\B "] for vr in ("US", "DS", "UN", "ST")},
    **{("Exposure", vr): [b"12", b"", b"1.5 "] for vr in ("IS", "DS", "US", "SL", "LO", "UN")},
    ("0029,1010", "SQ"): [b"", b"\xfe\xff\x00\xe0\0\0\0\0"],
    ("LengthToEnd", "UL"): [b"\1\0\0\0", b""],
}


@pytest.mark.parametrize("explicit", [True, False])
def test_one_value_reads_the_same_in_both_readers(explicit: bool) -> None:
    outcomes: Counter[bool] = Counter()
    values = [(text, vr, raw) for (text, vr), raws in RAW.items() for raw in raws]
    for charset in (b"", b"ISO_IR 192", b"ISO 2022 IR 87"):
        for text, vr, raw in values:
            (column,) = extra_columns((text,))
            tag = int(column.source[1:5] + column.source[6:10], 16)
            changes = {tag: (vr, raw)} | ({0x00080005: ("CS", charset)} if charset else {})
            data = bare_image(explicit=explicit, changes=changes)
            for _ in range(3):  # seen, learned, known
                outcomes[with_both(data, (text,)) is not None] += 1
    assert outcomes[True] > 0.25 * outcomes.total()


def test_mutants_read_the_same_in_both_readers(truth: PhantomTruth) -> None:
    folders = {path.parent: path for path in sorted(truth.root.rglob("*.dcm"))}
    originals = [path.read_bytes() for path in list(folders.values())[::4]]
    chance = random.Random(3)
    outcomes: Counter[bool] = Counter()
    for number in range(1200):
        outcomes[with_both(mutant(originals[number % len(originals)], chance), TEXT) is not None] += 1
    assert min(outcomes.values()) > 100


def test_runs_learned_for_other_tags_are_not_mixed_up() -> None:
    data = bare_image(explicit=True, changes={0x00081010: ("SH", b"S1"), 0x00080080: ("LO", b"I1")})
    for _ in range(4):
        for tags in ((), ("StationName",), ("InstitutionName",), ("InstitutionName", "StationName")):
            row = with_both(data, tags)
            assert row is not None
            asked = {name: row[name] for name in ("StationName", "InstitutionName") if name in row}
            assert asked == {tag: {"StationName": "S1", "InstitutionName": "I1"}[tag] for tag in tags}


# -- a run ---------------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path, truth: PhantomTruth) -> Path:
    folder = tmp_path / "images"
    shutil.copytree(truth.root / "traps" / "missing-slice", folder)
    (folder / "notes.txt").write_text("no image")
    return folder


def with_tags(*tags: str, **sections: Any) -> Config:
    config = config_with()
    return replace(config, scan=replace(config.scan, extra_tags=tags), **sections)


def test_a_run_carries_the_columns_and_says_what_they_are(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = {path: str(pydicom.dcmread(path).PatientName) for path in images.glob("*.dcm")}
    assert len(set(names.values())) == 1
    config = with_tags("PatientName", "0009,0010", "DeviceSerialNumber")
    pipeline.run([str(images)], out, replace(config, reduce=replace(config.reduce, group_by=("PatientName",))))
    opened = cohort.open(out)
    files = opened.files[["path", "PatientName", "tag_0009_0010", "DeviceSerialNumber"]].compute().set_index("path")
    for path, name in names.items():
        assert files.loc[path.name, "PatientName"] == name
    assert files["PatientName"].isna().sum() == 1  # the notes
    assert opened.run_folder.read("files", ["path", "PatientName"]).num_rows == len(files)
    assert opened.run_folder.read("files").column_names[-3:] == list(files.columns)
    field = pq.read_schema(opened.run_folder.parts("files")[0]).field("PatientName")
    assert field.metadata[b"privacy"] == b"private"
    assert b"Patient's Name" in field.metadata[b"description"]
    described = json.loads((out / "schema.json").read_text())["tables"]["files"]["columns"]
    assert [c["name"] for c in described] == opened.run_folder.read("files").column_names
    assert described[-1]["privacy"] == "private"
    (name,) = set(names.values())
    assert set(opened.histogram(by="PatientName")["PatientName"]) == {name}
    assert set(opened.spacing(by=["Modality", "PatientName"])["PatientName"]) == {name}
    with pytest.raises(ConfigError, match="StationName"):
        opened.histogram(by="StationName")
    stored = opened.run_folder.read("histograms", ["group_by", "group"]).to_pylist()
    assert {"group_by": "PatientName", "group": name} in stored


def test_the_report_can_read_no_such_column(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    canary = "CNRYZZ^NAME"
    for path in images.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.PatientName = canary
        dataset.save_as(path)
    pipeline.run([str(images)], out, with_tags("PatientName"))
    opened = cohort.open(out)
    assert canary in set(opened.files["PatientName"].compute())
    with pytest.raises(KeyError):
        SafeRun(opened.run_folder).read("files", ["PatientName"])
    for name in ("report.html", "report.json"):
        assert "CNRYZZ" not in (out / name).read_text()


def test_other_tags_on_a_begun_run_are_refused(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    pipeline.scan([str(images)], out, with_tags("StationName"))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for config in (config_with(), with_tags("PatientName")):
        with pytest.raises(OutputError, match=r"scan\.extra_tags"):
            pipeline.scan([str(images)], out, config)
    pipeline.scan([str(images)], out, with_tags("StationName"))
    after = {path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "run.json"}
    assert after == {path: data for path, data in before.items() if path.name != "run.json"}
    pipeline.scan([str(images)], out, with_tags("PatientName"), restart=True)
    assert "StationName" not in cohort.open(out).files.columns
    assert "PatientName" in cohort.open(out).files.columns


def test_a_wrong_tag_writes_nothing(images: Path, tmp_path: Path) -> None:
    for tag in ("Colour", "Rows", "PixelData"):
        with pytest.raises(ConfigError, match=tag):
            pipeline.run([str(images)], tmp_path / "out", with_tags(tag))
    assert not (tmp_path / "out").exists()


def test_the_command_takes_keywords_and_numbers(images: Path, tmp_path: Path, cohort_command: Any) -> None:
    out, yaml = tmp_path / "out", tmp_path / "options.yaml"
    scan = ["scan", str(images), "-o", str(out), "--scheduler", "sync"]
    done = cohort_command(*scan, "--extra-tag", "PatientName", "--extra-tag", "(0009,0010)")
    assert done.returncode == 0, done.stderr
    assert {"PatientName", "tag_0009_0010"} <= set(cohort.open(out).files.columns)
    yaml.write_text("scan:\n  extra_tags: [PatientName, '(0009,0010)']\n")
    assert cohort_command(*scan, "--config", str(yaml)).returncode == 0  # the same options: nothing to refuse
    done = cohort_command(*scan, "--extra-tag", "StationName")
    assert (done.returncode, "scan.extra_tags" in done.stderr) == (2, True)


def test_numbers_without_quotes_in_a_configuration_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scan\.extra_tags"):
        config_from({"scan": {"extra_tags": [8, 16]}})  # what YAML makes of [0010,0020]


def test_two_bytes_are_the_same_text_in_either_reader() -> None:
    """A value under explicit VR is read as that VR, whatever the dictionary says."""
    dataset = image()
    dataset.add_new(0x00081010, "US", 7)  # StationName
    data = written(dataset)
    assert struct.pack("<HH", 8, 0x1010) + b"US" in data
    assert read(data, "StationName")["StationName"] == "7"
