"""Whole headers as DICOM JSON: they say what pydicom says, are JSON, are bounded, and change nothing else."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
import struct
import time
import tracemalloc
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pydicom
import pytest
from pydicom.dataset import Dataset
from running import config_with
from test_extra_tags import SYNTAXES, image, written

import cohort
from cohort import pipeline
from cohort.errors import OutputError
from cohort.headers import reading
from cohort.phantom import PhantomTruth
from cohort.readers import dicom_json, read_header, without_warnings
from cohort.report.safe import PrivacyError, SafeRun
from cohort.schema import HEADER_COLUMNS, Privacy

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _lenient() -> Iterator[None]:
    """Writing what breaks the rules makes pydicom warn; reading it must not fail."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read(data: bytes, *, all_headers: bool = True) -> Row:
    with without_warnings():
        return read_header(
            io.BytesIO(data),
            len(data),
            "image",
            neighbour=lambda name, limit: None,
            gzip_limit=1 << 26,
            all_headers=all_headers,
        )


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def parsed(row: Row) -> dict[str, Any]:
    """The JSON, checked: valid, in canonical form, UTF-8."""
    text = row["header_json"]
    found = json.loads(text, parse_constant=refuse)
    text.encode("utf-8")
    assert text == json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return found  # type: ignore[no-any-return]


# -- what pydicom says ---------------------------------------------------------------------------------------


def told_by_pydicom(path: Path) -> dict[str, Any]:
    """File meta information and dataset by pydicom's own writer; what it cannot write is left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = path.read_bytes()  # where the preamble is cut off, pydicom needs the rest without its prefix
        whole = io.BytesIO(data.removeprefix(b"DICM") if data[128:132] != b"DICM" else data)
        dataset = pydicom.dcmread(whole, stop_before_pixels=True, force=True)
        found = {}
        for part in (getattr(dataset, "file_meta", Dataset()), dataset):
            for tag in list(part.keys()):
                try:
                    one = Dataset()
                    one[tag] = part[tag]
                    found |= one.to_json_dict()
                except Exception:
                    continue
    return found


def without_bulk(model: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a model: no group lengths, no pixels, no binary value above 1 KiB, no bare NaN."""
    kept: dict[str, Any] = {}
    for tag, element in model.items():
        if tag.endswith("0000") or tag in ("7FE00008", "7FE00009", "7FE00010"):
            continue
        if len(base64.b64decode(element.get("InlineBinary", ""))) > 1024:
            continue
        copy = dict(element)
        if element["vr"] == "SQ":
            copy["Value"] = [without_bulk(item) for item in element["Value"]]
        elif "Value" in element:
            copy["Value"] = [finite(value) for value in element["Value"]]
        kept[tag] = copy
    return kept


def finite(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value


def differences(found: dict[str, Any], expected: dict[str, Any], lacking: set[str], place: str = "") -> list[str]:
    """Places where two models differ; what is known to be left out may be in the expected one alone."""
    wrong = []
    for tag in found.keys() | expected.keys():
        here = f"{place}{tag}"
        if tag not in found:
            wrong += [here] if here not in lacking else []
        elif tag not in expected:
            # pydicom drops a whole sequence where one element in it cannot be written
            wrong += [here] if found[tag]["vr"] != "SQ" else []
        elif found[tag]["vr"] == expected[tag]["vr"] == "SQ":
            items = list(zip(found[tag]["Value"], expected[tag]["Value"], strict=True))
            wrong += [w for one, other in items for w in differences(one, other, lacking, f"{here}.")]
        elif found[tag] != expected[tag]:
            wrong.append(here)
    return wrong


def compare(files: list[Path]) -> tuple[int, int]:
    """Hold headers against pydicom's; returns how many there were and how many elements at their top."""
    compared = elements = 0
    for path in files:
        data = path.read_bytes()
        row = read(data)
        if row.get("format") != "dicom" or row["container"] or "header_json" not in row:
            assert row["status"] != "ok" or row["container"] or row.get("format") != "dicom", path
            continue
        found = parsed(row)
        lacking = {text.split("=")[0] for text in row["header_json_omitted"] or ()}
        assert differences(found, without_bulk(told_by_pydicom(path)), lacking) == [], path
        compared, elements = compared + 1, elements + len(found)
    return compared, elements


def test_phantom_headers_are_what_pydicom_writes(truth: PhantomTruth) -> None:
    compared, elements = compare(sorted(truth.root.rglob("*.dcm"))[::5])
    assert compared > 80
    assert elements > 60 * compared


def test_bundled_headers_are_what_pydicom_writes() -> None:
    compared, _ = compare(sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")))
    assert compared > 60


@pytest.mark.real
def test_real_headers_are_what_pydicom_writes(real_images: Path) -> None:
    files = [path for path in sorted(real_images.rglob("*")) if path.is_file()]
    compared, elements = compare(files)
    assert compared > 1500
    assert elements > 50 * compared


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_header_is_the_same_in_every_encoding(syntax: str) -> None:
    inner = Dataset()
    inner.ReferencedSOPInstanceUID = "1.2.3"
    dataset = image(SpecificCharacterSet="ISO_IR 192", PatientName="A^B=山", SliceThickness="1.50")
    dataset.ReferencedImageSequence, dataset.PatientSex, dataset.ExposureTime = [inner], "", "12"
    row = read(written(dataset, syntax))
    found = parsed(row)
    assert row["header_json_omitted"] is None
    assert found["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山"}]}
    assert found["00180050"] == {"vr": "DS", "Value": [1.5]}
    assert found["00181150"] == {"vr": "IS", "Value": [12]}
    assert found["00081140"] == {"vr": "SQ", "Value": [{"00081155": {"vr": "UI", "Value": ["1.2.3"]}}]}
    assert found["00100040"] == {"vr": "CS"}
    assert found["00280010"] == {"vr": "US", "Value": [2]}
    assert found["00020010"]["Value"] == [syntax]
    assert "00020000" not in found
    assert "7FE00010" not in found


def test_values_that_json_has_not_are_texts() -> None:
    dataset = image(AcquisitionDuration=float("nan"), DiffusionGradientOrientation=[float("inf"), -float("inf"), 0.5])
    found = parsed(read(written(dataset)))
    assert found["00189073"]["Value"] == ["NaN"]
    assert found["00189089"]["Value"] == ["Infinity", "-Infinity", 0.5]
    assert [float(value) for value in found["00189089"]["Value"]] == [float("inf"), -float("inf"), 0.5]


def test_halves_of_surrogate_pairs_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydicom.dataelem.DataElement, "to_json_dict", lambda *_: {"vr": "LO", "Value": ["a\udc80"]})
    row = read(written(image()))
    row["header_json"].encode("utf-8")
    assert parsed(row)["00080060"]["Value"] == ["a\\udc80"]


# -- what is left out ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_binary_values_are_kept_up_to_a_kibibyte(syntax: str) -> None:
    icon = Dataset()
    icon.Rows, icon.PixelData = 1, b"\1\2"
    icon["PixelData"].VR = "OW"
    dataset = image(IconImageSequence=[icon, icon])
    dataset.add_new(0x00281201, "OW", bytes(range(256)) * 4)
    dataset.add_new(0x00281202, "OW", bytes(1026))
    row = read(written(dataset, syntax))
    found = parsed(row)
    assert base64.b64decode(found["00281201"]["InlineBinary"]) == bytes(range(256)) * 4
    assert found["00880200"]["Value"] == [{"00280010": {"vr": "US", "Value": [1]}}] * 2
    assert "00281202" not in found
    assert row["header_json_omitted"] == ["00281202=binary", "00880200.7FE00010=pixels x2"]


def test_an_element_that_cannot_be_written_costs_itself_alone() -> None:
    inner = Dataset()
    inner.add_new(0x00181150, "IS", "1")
    inner.PatientID = "kept"
    dataset = image(ReferencedImageSequence=[inner], SliceThickness="2.5", KVP="120")
    data = written(dataset).replace(b"\x50\x11IS\x02\x00" + b"1 ", b"\x50\x11IS\x02\x00" + b"x ")
    row = read(data.replace(b"DS\x04\x002.5 ", b"DS\x04\x00thin"))
    found = parsed(row)
    assert found["00081140"]["Value"] == [{"00100020": {"vr": "LO", "Value": ["kept"]}}]
    assert found["00180060"] == {"vr": "DS", "Value": [120.0]}
    assert row["header_json_omitted"] == ["00081140.00181150=ValueError", "00180050=ValueError"]
    assert row["unparsed"] == ["SliceThickness=thin"]  # as without: the other columns have their own account


def test_a_header_too_large_is_left_out_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(image(ImageComments="ü" * 4000, SpecificCharacterSet="ISO_IR 192"))
    size = len(read(data)["header_json"].encode())
    monkeypatch.setattr(dicom_json, "MAX_JSON", size)
    assert read(data)["header_json_omitted"] is None
    monkeypatch.setattr(dicom_json, "MAX_JSON", size - 1)
    row = read(data)
    assert (row["header_json"], row["header_json_omitted"]) == (None, ["*=too_large"])
    assert row["status"] == "ok"


def test_headers_of_many_bytes_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(image())
    end = read(data)["pixel_offset"]
    for limit, reason in ((end, None), (end - 1, ["*=too_large"])):
        monkeypatch.setattr(dicom_json, "MAX_HEADER", limit)
        assert read(data)["header_json_omitted"] == reason


# -- bombs ---------------------------------------------------------------------------------------------------


def with_element(raw: bytes) -> bytes:
    """An image with further bytes in front of its pixels."""
    data = written(image())
    at = data.index(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    return data[:at] + raw + data[at:]


def sequence(content: bytes) -> bytes:
    return struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, len(content)) + content


def nested(depth: int) -> bytes:
    """Sequences of known length within each other: those who do not look inside never notice."""
    content = b""
    for _ in range(depth):
        content = sequence(struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)
    return with_element(content)


def test_depth_is_limited() -> None:
    kept = read(nested(64))
    assert kept["header_json_omitted"] is None
    assert kept["header_json"].count('"00400275"') == 64
    row = read(nested(65))
    assert row["header_json_omitted"] == [".".join(["00400275"] * 65) + "=too_deep"]
    assert parsed(row)["00080060"]["Value"] == ["CT"]
    assert read(nested(3000))["header_json_omitted"][0].endswith("=too_deep")


@pytest.mark.parametrize("number", [dicom_json.MAX_ITEMS, dicom_json.MAX_ITEMS + 1])
def test_the_number_of_items_is_limited(number: int) -> None:
    data = with_element(sequence(struct.pack("<HHI", 0xFFFE, 0xE000, 0) * number))
    row = read(data)
    if number > dicom_json.MAX_ITEMS:
        assert row["header_json_omitted"] == ["00400275=too_many_items"]
    else:
        assert row["header_json_omitted"] is None
        assert len(parsed(row)["00400275"]["Value"]) == number


def test_items_inside_a_sequence_of_open_length_count_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_json, "MAX_ITEMS", 5)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    for number, reason in ((5, None), (6, ["00400275.00400275=too_many_items"])):
        inner = sequence(struct.pack("<HHI", 0xFFFE, 0xE000, 0) * number)
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        data = with_element(struct.pack("<HH2sHI", 0x0040, 0x0275, b"SQ", 0, 0xFFFFFFFF) + item + end)
        assert read(data)["header_json_omitted"] == reason


def test_the_length_of_a_sequence_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 2) + b"a "
    data = with_element(sequence(struct.pack("<HHI", 0xFFFE, 0xE000, len(leaf)) + leaf))
    for limit, reason in ((len(leaf) + 8, None), (len(leaf) + 7, ["00400275=too_large"])):
        monkeypatch.setattr(dicom_json, "MAX_SEQUENCE", limit)
        assert read(data)["header_json_omitted"] == reason


def test_the_number_of_elements_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(image())
    number = len(parsed(read(data)))
    for limit, reason in ((number, None), (number - 1, ["*=too_many_elements"])):
        monkeypatch.setattr(dicom_json, "MAX_ELEMENTS", limit)
        assert read(data)["header_json_omitted"] == reason


def test_a_bomb_costs_little() -> None:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0)
    bombs = [with_element(sequence(item * 1_000_000)), with_element(sequence(item * 4_000_000))]
    tracemalloc.start()
    start = time.perf_counter()
    for bomb in bombs:
        assert read(bomb)["header_json_omitted"] in (["00400275=too_many_items"], ["00400275=too_large"])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - start < 10
    assert peak < 8 * sum(map(len, bombs))


def test_what_the_walker_refuses_is_not_given_to_pydicom(monkeypatch: pytest.MonkeyPatch) -> None:
    open_ = struct.pack("<HH2sHI", 0x40, 0x275, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    close = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    deep = with_element(open_ * 100 + close * 100)
    empty = b"".join(struct.pack("<HH2sH", group, 0x10, b"LO", 0) for group in range(0x29, 0x7FDF, 2))
    many = with_element(b"".join(empty.replace(b"\x10\x00LO", struct.pack("<H", n) + b"LO") for n in (0x10,)))
    assert read(many)["status"] == "ok"
    monkeypatch.setattr(pydicom, "dcmread", lambda *_, **__: pytest.fail("pydicom was called"))
    row = read(deep)
    assert (row["status"], row["reason"], row.get("header_json")) == ("rejected", "too_deep", None)
    monkeypatch.setattr("cohort.readers.dicom_walker.MAX_ELEMENTS", 1000)
    row = read(many)
    assert (row["status"], row["reason"], row.get("header_json")) == ("rejected", "too_many_elements", None)


# -- objects of all kinds ------------------------------------------------------------------------------------


def test_no_other_column_changes(truth: PhantomTruth) -> None:
    files = sorted(path for path in truth.root.rglob("*") if path.is_file())[::3]
    names = {column.name for column in HEADER_COLUMNS}
    formats = set()
    for path in files:
        data = path.read_bytes()
        row = read(data)
        plain = {name: value for name, value in row.items() if name not in names}
        assert repr(plain) == repr(read(data, all_headers=False)), path
        formats.add(row.get("format"))
        if row.get("format") != "dicom":
            assert not names & row.keys()
    assert formats == {"dicom", "nifti", None}


def test_gzipped_damaged_and_bare_objects_have_their_header() -> None:
    data = written(image())
    whole = parsed(read(data))
    assert parsed(read(gzip.compress(data))) == whole
    cut = read(data[:-4])
    assert (cut["status"], parsed(cut)) == ("rejected", whole)
    file = io.BytesIO()
    pydicom.dcmwrite(file, image(), implicit_vr=True, little_endian=True, enforce_file_format=False)
    bare = parsed(read(file.getvalue()))
    assert bare == {tag: element for tag, element in whole.items() if not tag.startswith("0002")}


@pytest.mark.parametrize("seed", range(3))
def test_no_flipped_byte_raises_or_changes_another_column(seed: int) -> None:
    import random

    data, chance = written(image(ReferencedImageSequence=[image()])), random.Random(seed)
    names = {column.name for column in HEADER_COLUMNS}
    for _ in range(150):
        broken = bytearray(data)
        for _ in range(3):
            broken[chance.randrange(128, len(data))] = chance.randrange(256)
        row = read(bytes(broken))
        plain = {name: value for name, value in row.items() if name not in names}
        assert repr(plain) == repr(read(bytes(broken), all_headers=False))
        if row.get("header_json") is not None:
            json.loads(row["header_json"], parse_constant=refuse)


# -- a run ---------------------------------------------------------------------------------------------------


def test_a_scan_keeps_headers_and_nothing_else_changes(
    truth: PhantomTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "images"
    shutil.copytree(truth.root / "traps" / "missing-slice", images)
    plain, whole, pieces = (tmp_path / name for name in ("plain", "whole", "pieces"))
    config = config_with()
    asked = replace(config, scan=replace(config.scan, all_headers=True))
    pipeline.scan([str(images)], plain, config)
    record = pipeline.scan([str(images)], whole, asked)
    monkeypatch.setattr(reading, "_MOST_CHARACTERS", 10_000)
    again = pipeline.scan([str(images)], pieces, asked)
    tables = [cohort.open(out).run_folder.read("files") for out in (plain, whole, pieces)]
    names = [column.name for column in HEADER_COLUMNS]
    assert tables[1].column_names == [*tables[0].column_names, *names]
    assert tables[1].drop_columns(names).equals(tables[0])
    assert tables[2].equals(tables[1])
    parts = [cohort.open(out).run_folder.parts("files")[0] for out in (whole, pieces)]
    assert [pq.read_metadata(part).num_row_groups > 1 for part in parts] == [False, True]  # written as they come
    assert again["stages"]["scan"]["counts"] == record["stages"]["scan"]["counts"]
    for row in tables[1].select(["path", *names]).to_pylist():
        found = json.loads(row["header_json"])
        expected = pydicom.dcmread(images / row["path"], stop_before_pixels=True)
        assert found["00080018"]["Value"] == [expected.SOPInstanceUID]
    with pytest.raises(OutputError, match=r"scan\.all_headers"):
        pipeline.scan([str(images)], whole, config)
    described = json.loads((whole / "schema.json").read_text())["tables"]["files"]["columns"]
    assert [c["name"] for c in described[-2:]] == names
    assert {column.privacy for column in HEADER_COLUMNS} == {Privacy.PRIVATE}
    gate = SafeRun(cohort.open(whole).run_folder)
    for name in names:
        with pytest.raises((KeyError, PrivacyError)):
            gate.read("files", [name])


def test_the_command_has_a_switch(truth: PhantomTruth, tmp_path: Path, cohort_command: Any) -> None:
    out, yaml = tmp_path / "out", tmp_path / "options.yaml"
    scan = ["scan", str(truth.root / "traps" / "missing-slice"), "-o", str(out), "--scheduler", "sync"]
    assert cohort_command(*scan, "--all-headers").returncode == 0
    assert "header_json" in cohort.open(out).files.columns
    yaml.write_text("scan: {all_headers: true}\n")
    assert cohort_command(*scan, "--config", str(yaml)).returncode == 0
    done = cohort_command(*scan)
    assert (done.returncode, "scan.all_headers" in done.stderr) == (2, True)
