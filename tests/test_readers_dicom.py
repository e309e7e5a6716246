"""Any bytes at all become a row: the header of DICOM objects as it is, a reason for everything else."""

from __future__ import annotations

import gzip
import io
import struct
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)

from cohort.readers import Row, read_header
from cohort.schema import FILES, Status

NATIVE = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
SYNTAXES = [*NATIVE, DeflatedExplicitVRLittleEndian]
ROWS, COLUMNS = 6, 5
PIXELS = np.arange(ROWS * COLUMNS, dtype="<u2").tobytes()


@pytest.fixture(autouse=True)
def _lenient() -> Iterator[None]:
    """Writing what breaks the rules makes pydicom warn; reading it must not fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def image(**values: Any) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.StudyInstanceUID = "1.2"
    dataset.SeriesInstanceUID = "1.2.3"
    dataset.Modality = "CT"
    dataset.PatientID = "P1"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SliceThickness = "2.5"
    dataset.InstanceNumber = "7"
    dataset.ImagePositionPatient = [-10, -20.5, 30.25]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = ROWS, COLUMNS
    dataset.PixelSpacing = ["0.7", "0.8"]
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.RescaleSlope, dataset.RescaleIntercept = "1", "-1024"
    dataset.PixelData = PIXELS
    for name, value in values.items():
        setattr(dataset, name, value)
    return dataset


def written(dataset: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.file_meta = meta
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


def read(data: bytes, name: str = "image.dcm", gzip_limit: int = 1 << 24) -> Row:
    """Read, and check what must hold for any bytes: a row of known columns whose values the table can hold."""
    row = read_header(io.BytesIO(data), len(data), name, neighbour=lambda n, limit: None, gzip_limit=gzip_limit)
    assert set(row) <= set(FILES.names)
    assert isinstance(row["status"], Status)
    assert isinstance(row["is_image"], bool)
    assert (row["status"] == Status.OK) == (row.get("reason") is None)
    for name, value in row.items():
        kind = FILES.column(name).type
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str):
                item.encode("utf-8")
            elif isinstance(item, int):
                assert -(2**63) <= item < 2**63, name
        assert value is None or isinstance(value, list) == kind.startswith("list<"), name
    return row


def outcome(row: Row) -> tuple[str, str | None, bool]:
    return str(row["status"]), row.get("reason"), row["is_image"]


def patched(data: bytes, tag: tuple[int, int], vr: bytes, value: bytes) -> bytes:
    """Replace the value of one short element of an explicit little endian object, whatever it may say."""
    head = struct.pack("<HH", *tag)
    at = data.index(head + vr)
    old = struct.unpack_from("<H", data, at + 6)[0]
    return data[: at + 4] + vr + struct.pack("<H", len(value)) + value + data[at + 8 + old :]


# -- encodings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_header_is_the_same_in_every_encoding(syntax: str) -> None:
    dataset = image()
    dataset.PixelData = np.arange(ROWS * COLUMNS, dtype=">u2" if syntax == ExplicitVRBigEndian else "<u2").tobytes()
    row = read(written(dataset, syntax))
    assert outcome(row) == ("ok", None, True)
    assert row["format"] == "dicom"
    assert row["TransferSyntaxUID"] == syntax
    assert (row["Modality"], row["PatientID"], row["SOPInstanceUID"]) == ("CT", "P1", "1.2.3.4")
    assert row["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert row["ImagePositionPatient"] == [-10.0, -20.5, 30.25]
    assert row["PixelSpacing"] == [0.7, 0.8]
    assert (row["SliceThickness"], row["InstanceNumber"]) == (2.5, 7)
    assert (row["Rows"], row["Columns"], row["BitsStored"]) == (ROWS, COLUMNS, 12)
    assert (row["RescaleSlope"], row["RescaleIntercept"]) == (1.0, -1024.0)
    assert (row["empty_tags"], row["unparsed"], row["container"]) == (None, None, None)


@pytest.mark.parametrize("syntax", NATIVE)
def test_the_place_of_native_pixels_is_told(syntax: str) -> None:
    data = written(image(), syntax)
    row = read(data)
    assert row["pixel_length"] == len(PIXELS)
    assert data[row["pixel_offset"] : row["pixel_offset"] + row["pixel_length"]] == PIXELS


def test_the_place_of_pixels_inside_a_compressed_object_is_not_told() -> None:
    for row in (read(written(image(), DeflatedExplicitVRLittleEndian)), read(gzip.compress(written(image())))):
        assert outcome(row) == ("ok", None, True)
        assert (row.get("pixel_offset"), row.get("pixel_length")) == (None, None)


def test_encapsulated_pixels_have_no_length() -> None:
    dataset = image(PixelData=pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + b"\0" * 60]))
    row = read(written(dataset, JPEG2000Lossless))
    assert outcome(row) == ("ok", None, True)
    assert row["pixel_length"] is None
    assert row["pixel_offset"] > 0


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
def test_an_object_without_preamble_is_read(syntax: str) -> None:
    file = io.BytesIO()
    implicit = syntax == ImplicitVRLittleEndian
    pydicom.dcmwrite(file, image(), implicit_vr=implicit, little_endian=True, enforce_file_format=False)
    data = file.getvalue()
    assert data[128:132] != b"DICM"
    row = read(data)
    assert outcome(row) == ("ok", None, True)
    assert row["TransferSyntaxUID"] is None
    assert (row["Modality"], row["Rows"]) == ("CT", ROWS)


def test_the_name_tells_nothing() -> None:
    data = written(image())
    assert {outcome(read(data, name)) for name in ("a", "a.nii", "a.txt", "a.hdr", "a.img", "")} == {("ok", None, True)}


def test_gzip_around_an_object_is_opened_up_to_the_limit() -> None:
    data = written(image())
    packed = gzip.compress(data)
    row = read(packed, gzip_limit=len(data))
    assert outcome(row) == ("ok", None, True)
    assert (row["container"], row["Modality"]) == ("gzip", "CT")
    assert outcome(read(packed, gzip_limit=len(data) - 1)) == ("rejected", "gzip_too_large", False)
    bomb = gzip.compress(data[:400] + b"\0" * 50_000_000)
    started = time.monotonic()
    assert outcome(read(bomb, gzip_limit=1 << 16)) == ("rejected", "gzip_too_large", False)
    assert time.monotonic() - started < 5


def test_gzip_of_several_members_is_one_stream() -> None:
    data = written(image())
    for at in (100, 400):
        row = read(gzip.compress(data[:at]) + gzip.compress(data[at:]))
        assert outcome(row) == ("ok", None, True), at
        assert row["Rows"] == ROWS


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9])
def test_damaged_gzip_is_rejected(at: float) -> None:
    noise = np.random.default_rng(0).bytes(4000)
    packed = gzip.compress(written(image(PixelData=noise, Rows=50, Columns=40)))
    assert outcome(read(packed[: int(at * len(packed))])) == ("rejected", "gzip_truncated", False)
    flipped = bytearray(packed)
    flipped[-6] ^= 0xFF  # the CRC
    assert outcome(read(bytes(flipped))) == ("rejected", "gzip_damaged", False)


# -- what is no image --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("not_imaging", "empty_file", False)),
        (b"\0", ("not_imaging", "not_dicom_or_nifti", False)),
        (b"\0" * 5000, ("not_imaging", "not_dicom_or_nifti", False)),
        (b"patient list\n" * 100, ("not_imaging", "not_dicom_or_nifti", False)),
        (b"\x89PNG\r\n\x1a\n" + b"\1" * 500, ("not_imaging", "not_dicom_or_nifti", False)),
        (gzip.compress(b"just text" * 100, mtime=0), ("not_imaging", "not_dicom_or_nifti", False)),
        (b"\x1f\x8b\x08 no gzip at all", ("not_imaging", "not_dicom_or_nifti", False)),
        (b"DICM" + b"\0" * 400, ("rejected", "not_plausible_dicom", False)),
    ],
)
def test_other_files_are_told_apart(data: bytes, expected: tuple[str, str, bool]) -> None:
    assert outcome(read(data)) == expected


def test_garbage_behind_a_preamble_is_rejected() -> None:
    for data in (b"\0" * 128 + b"DICM", b"\0" * 128 + b"DICM" + b"\xff" * 400, b"\0" * 128 + b"DICM" + b"\0" * 400):
        row = read(data)
        assert (row["status"], row["is_image"], row["format"]) == (Status.REJECTED, False, "dicom"), data[132:140]


def test_an_object_without_pixels_is_ok_and_no_image() -> None:
    dataset = image()
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(dataset, name)
    dataset.Modality = "SR"
    assert outcome(read(written(dataset))) == ("ok", None, False)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=600), st.sampled_from([b"", b"\0" * 128 + b"DICM", b"\x08\0\x16\0UI", b"\x1f\x8b\x08"]))
def test_no_bytes_raise(data: bytes, start: bytes) -> None:
    read(start + data)


# -- damage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", NATIVE)
def test_an_object_cut_inside_its_pixels_is_rejected_with_its_header(syntax: str) -> None:
    data = written(image(), syntax)
    offset = read(data)["pixel_offset"]
    for length in range(offset, len(data)):
        row = read(data[:length])
        assert outcome(row) == ("rejected", "truncated_pixels", True), length
        assert (row["Modality"], row["Rows"]) == ("CT", ROWS)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_an_object_cut_anywhere_never_raises_and_is_never_an_image_that_is_ok(syntax: str) -> None:
    data = written(image(), syntax)
    for length in range(len(data) - 1):  # the last byte of a deflated object may be padding
        row = read(data[:length])
        assert (row["status"], row["is_image"]) != (Status.OK, True), length


def boundaries(data: bytes) -> set[int]:
    """Where an element begins: an object that ends there is a shorter object."""
    dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    return {element.value_tell + element.length for element in dataset.values()}  # type: ignore[union-attr]


def test_an_object_cut_inside_its_first_element_is_rejected() -> None:
    data = written(image())
    first = data.index(struct.pack("<HH", 8, 8))
    for length in range(first + 1, min(boundaries(data))):
        assert read(data[:length])["status"] == Status.REJECTED, length


def test_an_object_cut_inside_a_later_element_of_the_header_is_rejected() -> None:
    data = written(image())
    whole = boundaries(data)
    for length in range(min(whole), read(data)["pixel_offset"]):
        begun = data[max(end for end in whole if end <= length) : length]
        if begun.strip(b"\0\r\n "):  # what looks like padding may be padding
            assert read(data[:length])["status"] == Status.REJECTED, length


def test_an_object_cut_inside_its_meta_header_is_rejected() -> None:
    data = written(image())
    first = data.index(struct.pack("<HH", 8, 8))
    kept = {length for length in range(132, first + 1) if read(data[:length])["status"] == Status.OK}
    assert kept == set()


def test_an_image_without_its_pixels_keeps_the_header_that_says_so() -> None:
    """Stripped on purpose or cut: the bytes cannot tell, so the row is ok and a finding names it."""
    data = written(image())
    row = read(data[: read(data)["pixel_offset"] - 12])
    assert row["Rows"] == ROWS
    assert (row["status"], row["is_image"]) == (Status.OK, False)
    assert row["Rows"] is not None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_no_flipped_byte_raises(syntax: str) -> None:
    data = written(image(), syntax)
    random = np.random.default_rng(4)
    for _ in range(400):
        broken = bytearray(data)
        for place in random.integers(128, len(data), 3):
            broken[place] = random.integers(256)
        try:
            read(bytes(broken))
        except Exception as error:
            pytest.fail(f"{type(error).__name__}: {error}")


def test_pixels_shorter_than_the_header_promises_are_rejected_and_longer_ones_are_not() -> None:
    assert outcome(read(written(image(Rows=ROWS + 1))))[:2] == ("rejected", "truncated_pixels")
    assert outcome(read(written(image(NumberOfFrames=2))))[:2] == ("rejected", "truncated_pixels")
    assert outcome(read(written(image(PixelData=PIXELS + b"\0\0")))) == ("ok", None, True)
    assert outcome(read(written(image()) + b"\0" * 100)) == ("ok", None, True)


@pytest.mark.parametrize(
    ("bits", "samples", "photometric", "needed"),
    [(1, 1, "MONOCHROME2", 4), (8, 1, "MONOCHROME2", 30), (8, 3, "RGB", 90), (8, 3, "YBR_FULL_422", 60)],
)
def test_the_length_of_pixels_follows_their_layout(bits: int, samples: int, photometric: str, needed: int) -> None:
    def sized(length: int) -> Row:
        layout = {"BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1, "SamplesPerPixel": samples}
        return read(written(image(PixelData=b"\0" * length, PhotometricInterpretation=photometric, **layout)))

    assert outcome(sized(needed)) == ("ok", None, True)
    assert outcome(sized(needed - 2))[:2] == ("rejected", "truncated_pixels")


def nested(depth: int) -> bytes:
    open_ = struct.pack("<HH2sHI", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    close = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    data = written(image())
    at = data.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    return data[:at] + open_ * depth + close * depth + data[at:]


def test_sequences_nested_deeply_are_read_or_rejected() -> None:
    assert outcome(read(nested(20))) == ("ok", None, True)
    for depth in (1000, 5000):
        assert outcome(read(nested(depth))) == ("rejected", "too_deep", False)


def test_a_number_of_frames_that_the_object_cannot_hold_costs_nothing() -> None:
    dataset = image(NumberOfFrames=3_000_000)
    measures = Dataset()
    measures.PixelSpacing = [1, 1]
    groups = Dataset()
    groups.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [groups]
    started = time.monotonic()
    row = read(written(dataset))
    assert outcome(row)[:2] == ("rejected", "truncated_pixels")
    assert time.monotonic() - started < 1
    assert len(row.get("frame_PixelSpacing") or []) < 1_000_000


# -- values ------------------------------------------------------------------------------------------------


def test_what_is_absent_is_null() -> None:
    row = read(written(image()))
    for name in ("PatientSex", "KVP", "EchoNumbers", "WindowCenter", "SeriesNumber", "PixelPaddingValue"):
        assert row.get(name) is None, name


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_is_empty_is_kept_apart_from_what_is_absent(syntax: str) -> None:
    dataset = image(PatientSex="", PatientID="", ImageType=None, WindowCenter=None, EchoNumbers=None)
    dataset.KVP, dataset.SeriesNumber, dataset.PixelPaddingValue = "", None, None
    dataset.InstanceNumber = ""
    row = read(written(dataset, syntax))
    assert outcome(row) == ("ok", None, True)
    assert (row["PatientSex"], row["PatientID"]) == ("", "")
    assert (row["ImageType"], row["WindowCenter"], row["EchoNumbers"]) == ([], [], [])
    assert (row["KVP"], row["SeriesNumber"], row["InstanceNumber"], row["PixelPaddingValue"]) == (None,) * 4
    assert set(row["empty_tags"]) == {"KVP", "SeriesNumber", "InstanceNumber", "PixelPaddingValue"}


@pytest.mark.parametrize(
    ("name", "tag", "vr", "raw"),
    [
        ("SliceThickness", (0x18, 0x50), b"DS", b"thick "),
        ("SliceThickness", (0x18, 0x50), b"DS", b"2,5 "),
        ("SliceThickness", (0x18, 0x50), b"DS", b"1\\2 "),
        ("InstanceNumber", (0x20, 0x13), b"IS", b"7.5 "),
        ("InstanceNumber", (0x20, 0x13), b"IS", b"seven "),
        ("InstanceNumber", (0x20, 0x13), b"IS", b"1\\2 "),
        ("InstanceNumber", (0x20, 0x13), b"IS", b"9" * 30),
        ("PixelSpacing", (0x28, 0x30), b"DS", b"0.7\\x "),
        ("Rows", (0x28, 0x10), b"US", b"\1"),
        ("PatientID", (0x10, 0x20), b"LO", b"A\\B "),
    ],
)
def test_a_value_that_cannot_be_converted_is_null_and_kept_as_text(
    name: str, tag: tuple[int, int], vr: bytes, raw: bytes
) -> None:
    row = read(patched(written(image()), tag, vr, raw))
    assert row.get(name) is None
    (kept,) = row["unparsed"]
    assert kept.startswith(f"{name}={raw.decode().strip()}")
    assert row["Modality"] == "CT"


def test_raw_text_is_kept_short() -> None:
    row = read(patched(written(image()), (0x18, 0x50), b"DS", b"x" * 1000))
    assert len(row["unparsed"][0]) <= len("SliceThickness=") + 64


@pytest.mark.parametrize(
    ("raw", "value"), [(b" 2.50 ", 2.5), (b"+2.5", 2.5), (b"25e-1 ", 2.5), (b"2.5" + b"0" * 27, 2.5)]
)
def test_numbers_written_unusually_are_read(raw: bytes, value: float) -> None:
    row = read(patched(written(image()), (0x18, 0x50), b"DS", raw))
    assert (row["SliceThickness"], row["unparsed"]) == (value, None)


def test_whole_numbers_with_a_decimal_point_are_whole() -> None:
    assert read(patched(written(image()), (0x20, 0x13), b"IS", b"7.0 "))["InstanceNumber"] == 7


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize(("signed", "value"), [(1, -2000), (0, 63536)])
def test_the_padding_has_the_sign_of_the_pixels(syntax: str, signed: int, value: int) -> None:
    dataset = image(PixelRepresentation=signed)
    dataset.add_new(0x00280120, "SS" if signed else "US", value)
    assert read(written(dataset, syntax))["PixelPaddingValue"] == value


def test_text_in_other_character_sets_is_text() -> None:
    dataset = image(SpecificCharacterSet="ISO_IR 192", SeriesDescription="Größe 胸部")
    assert read(written(dataset))["SeriesDescription"] == "Größe 胸部"
    for raw in (b"\xff\xfe\xfd\xfc", b"\xc3\x28\xa0\xa1"):
        read(patched(written(image(PatientID="P1")), (0x10, 0x20), b"LO", raw))
    for charset in ("ISO_IR 192", "no such set", "ISO 2022 IR 87"):
        data = patched(written(image(SpecificCharacterSet="ISO_IR 100")), (0x08, 0x05), b"CS", charset.encode() + b" ")
        assert outcome(read(patched(data, (0x10, 0x20), b"LO", b"\xe4\xff\xfe\x80")))[0] == "ok"


# -- identity ----------------------------------------------------------------------------------------------


def test_an_instance_is_named_by_its_uid_and_a_series_by_patient_study_and_series() -> None:
    base = read(written(image()))
    assert read(written(image(RescaleSlope="2")))["instance_key"] == base["instance_key"]
    assert read(written(image(SOPInstanceUID="1.9")))["instance_key"] != base["instance_key"]
    assert read(gzip.compress(written(image())))["series_key"] == base["series_key"]
    for change in ({"PatientID": "P2"}, {"StudyInstanceUID": "1.9"}, {"SeriesInstanceUID": "1.9"}):
        assert read(written(image(**change)))["series_key"] != base["series_key"]


# -- functional groups -------------------------------------------------------------------------------------


def enhanced(frames: int = 3, **values: Any) -> Dataset:
    dataset = image(NumberOfFrames=frames, PixelData=PIXELS * frames, **values)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, name)
    del dataset.RescaleSlope
    del dataset.RescaleIntercept
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness, measures.SpacingBetweenSlices = [0.5, 0.6], 3, 4
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for i in range(frames):
        group, position, content, rescale = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [1, 2, 2.5 * i]
        content.StackID, content.InStackPositionNumber, content.TemporalPositionIndex = "A", i + 1, 1
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1 + i, -5, "US"
        group.PlanePositionSequence, group.FrameContentSequence = [position], [content]
        group.PixelValueTransformationSequence = [rescale]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    return dataset


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_frames_of_an_enhanced_object_have_their_own_values(syntax: str) -> None:
    row = read(written(enhanced(), syntax))
    assert outcome(row) == ("ok", None, True)
    assert row["frame_ImagePositionPatient"] == [1, 2, 0, 1, 2, 2.5, 1, 2, 5]
    assert row["frame_RescaleSlope"] == [1.0, 2.0, 3.0]
    assert row["frame_RescaleIntercept"] == [-5.0] * 3
    assert row["frame_InStackPositionNumber"] == [1, 2, 3]
    assert row["frame_PixelSpacing"] == [0.5, 0.6] * 3


def test_what_all_frames_share_fills_the_columns_the_top_level_lacks() -> None:
    row = read(written(enhanced()))
    assert (row["PixelSpacing"], row["ImageOrientationPatient"]) == ([0.5, 0.6], [1, 0, 0, 0, 1, 0])
    assert (row["SliceThickness"], row["SpacingBetweenSlices"], row["StackID"]) == (3.0, 4.0, "A")
    assert (row["RescaleIntercept"], row["RescaleType"]) == (-5.0, "US")
    assert (row.get("RescaleSlope"), row.get("ImagePositionPatient")) == (None, None)  # these differ
    kept = enhanced(StackID="top")
    assert read(written(kept))["StackID"] == "top"


def test_a_frame_that_lacks_a_value_has_a_mark_in_its_place() -> None:
    dataset = enhanced()
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence = []
    row = read(written(dataset))
    np.testing.assert_array_equal(row["frame_ImagePositionPatient"], [1, 2, 0] + [np.nan] * 6)
    shorter = enhanced()
    del shorter.PerFrameFunctionalGroupsSequence[2]
    np.testing.assert_array_equal(read(written(shorter))["frame_RescaleSlope"], [1, 2, np.nan])


def inside(group: Dataset, *sequences: str, **values: Any) -> None:
    """Set values in nested sequences of a group."""
    for sequence in sequences:
        if sequence not in group:
            setattr(group, sequence, [Dataset()])
        group = group[sequence].value[0]
    for name, value in values.items():
        setattr(group, name, value)


def test_what_tells_the_frames_of_one_object_apart_is_read_from_its_macros() -> None:
    dataset = enhanced()
    shared, groups = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
    inside(shared, "CTReconstructionSequence", ConvolutionKernel=["Br40", "3"])
    direction = ("MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    for i, group in enumerate(groups):
        inside(group, "CTXRayDetailsSequence", KVP=80.0 + 60 * (i % 2))
        inside(group, "MRImageFrameTypeSequence", ComplexImageComponent=("MAGNITUDE", "PHASE")[i % 2])
        inside(group, *direction[:1], DiffusionBValue=1000.0 * i)
    inside(groups[1], *direction, DiffusionGradientOrientation=[0.0, 0.6, 0.8])
    row = read(written(dataset))
    assert row["frame_KVP"] == [80.0, 140.0, 80.0]
    assert row["frame_ComplexImageComponent"] == ["MAGNITUDE", "PHASE", "MAGNITUDE"]
    assert row["frame_ConvolutionKernel"] == ["Br40\\3"] * 3
    assert row["frame_DiffusionBValue"] == [0.0, 1000.0, 2000.0]
    np.testing.assert_array_equal(
        row["frame_DiffusionGradientOrientation"], [np.nan] * 3 + [0.0, 0.6, 0.8] + [np.nan] * 3
    )


def test_what_a_converter_had_no_macro_for_is_read_from_the_unassigned_attributes() -> None:
    dataset = enhanced()
    shared, groups = dataset.SharedFunctionalGroupsSequence[0], dataset.PerFrameFunctionalGroupsSequence
    inside(shared, "UnassignedSharedConvertedAttributesSequence", Units="BQML", EchoTime="12", KVP="120")
    for i, group in enumerate(groups):
        inside(group, "UnassignedPerFrameConvertedAttributesSequence", TriggerTime=str(40 * i), AcquisitionNumber=i)
        if i == 1:
            inside(group, "UnassignedPerFrameConvertedAttributesSequence", EchoTime="98.5")
            inside(group, "MREchoSequence", EffectiveEchoTime=None)  # empty: no reason to look no further
    row = read(written(dataset))
    assert (row["Units"], row["KVP"]) == ("BQML", 120.0)
    assert row["frame_EffectiveEchoTime"] == [12.0, 98.5, 12.0]
    assert row["frame_NominalCardiacTriggerDelayTime"] == [0.0, 40.0, 80.0]
    assert row["frame_FrameAcquisitionNumber"] == [0, 1, 2]


def test_a_number_in_a_functional_group_that_no_table_can_hold_is_left_out() -> None:
    dataset = enhanced(1)
    content = Dataset()
    content.add_new(0x00209057, "IS", "9" * 30)
    dataset.PerFrameFunctionalGroupsSequence[0].FrameContentSequence = [content]
    assert read(written(dataset))["status"] == Status.OK


def test_ultrasound_spacing_comes_from_the_first_flat_region_in_centimetres() -> None:
    regions = []
    for spatial, unit, delta in ((1, 4, 9.0), (2, 3, 8.0), (1, 3, -0.02), (1, 3, 7.0)):
        region = Dataset()
        region.RegionSpatialFormat, region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = spatial, unit, unit
        region.PhysicalDeltaX, region.PhysicalDeltaY = 0.03, delta
        regions.append(region)
    row = read(written(image(Modality="US", SequenceOfUltrasoundRegions=regions)))
    assert row["us_spacing_row_mm"] == pytest.approx(0.2)
    assert row["us_spacing_col_mm"] == pytest.approx(0.3)


def test_the_detector_says_where_reconstructed_slices_lie_and_nothing_of_projections() -> None:
    detector = Dataset()
    detector.ImagePositionPatient, detector.ImageOrientationPatient = [-9, -8, 7.5], [1, 0, 0, 0, 0, -1]
    dataset = image(Modality="NM", NumberOfFrames=2, PixelData=PIXELS * 2, DetectorInformationSequence=[detector])
    del dataset.ImagePositionPatient
    del dataset.ImageOrientationPatient
    assert read(written(dataset)).get("ImagePositionPatient") is None
    dataset.SliceVector = [1, 2]
    row = read(written(dataset))
    assert (row["ImagePositionPatient"], row["ImageOrientationPatient"]) == ([-9, -8, 7.5], [1, 0, 0, 0, 0, -1])
    assert row["SliceVector"] == [1, 2]
    detector.ImagePositionPatient = [1, 2]  # one number short
    assert read(written(dataset)).get("ImagePositionPatient") is None


def test_a_file_on_disk_reads_like_its_bytes(tmp_path: Path) -> None:
    data = written(image())
    path = tmp_path / "image"
    path.write_bytes(data)
    with path.open("rb") as file:
        row = read_header(file, len(data), "image", neighbour=lambda n, limit: None, gzip_limit=1)
    assert row == read(data)
