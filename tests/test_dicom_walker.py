from __future__ import annotations

import io
import os
import random
import struct
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.charset import python_encoding
from pydicom.uid import (
    ExplicitVRLittleEndian,
    HangingProtocolStorage,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    SecondaryCaptureImageStorage,
)

from cohort.errors import RejectedError
from cohort.phantom import make_cohort, make_traps, series_trap_names
from cohort.phantom.badfiles import media_directory
from cohort.readers import _format, dicom, dicom_window, without_warnings
from cohort.readers.base import HEAD_BYTES, Limits
from cohort.readers.dicom_convert import Fallback, clear, codec_of, convert, new_memo, remember
from cohort.readers.dicom_walker import PARSER, walk_header

Row = dict[str, Any]

_BUNDLED = Path(pydicom.__file__).parent / "data"
_WANTED_MUTANTS = 3000
_REGION = 3 * 1024  # bytes of a file in which mutants differ
_SECONDS = 2.0


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("walker") / "images"
    make_cohort(root, seed=7)
    return root


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    clear()
    with without_warnings():
        yield
    clear()


# -- the two readers -----------------------------------------------------------------------------------------


def walked(data: bytes) -> Row:
    return walk_header(io.BytesIO(data), len(data), data[:HEAD_BYTES])


def oracle(data: bytes) -> Row:
    file = io.BytesIO(data)
    return dicom.read_header(file, len(data), data[:HEAD_BYTES], Limits(1 << 20, 1 << 26, 150_000))


def written(dataset: pydicom.Dataset, syntax: str | None = None) -> bytes:
    """Return the file of a data set, in a transfer syntax of its own."""
    uid = pydicom.uid.UID(syntax or ExplicitVRLittleEndian)
    dataset.file_meta.TransferSyntaxUID = uid
    file = io.BytesIO()
    pydicom.dcmwrite(file, dataset, implicit_vr=uid.is_implicit_VR, little_endian=True, enforce_file_format=True)
    return file.getvalue()


def same(left: Any, right: Any) -> bool:
    """Equality that knows types and takes NaN as equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))


def differences(left: Row, right: Row) -> list[str]:
    names = (left.keys() | right.keys()) - {"parser", "fallback_reason"}
    missing = object()
    return sorted(name for name in names if not same(left.get(name, missing), right.get(name, missing)))


def dicom_files(root: Path) -> list[Path]:
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    return [path for path in files if _format(path.read_bytes()[:HEAD_BYTES]) == "dicom"]


def compare(files: Iterable[Path]) -> tuple[int, Counter[str]]:
    """Read files both ways; return how many there were, and why the walker left some alone."""
    reasons: Counter[str] = Counter()
    different: dict[str, list[str]] = {}
    total = 0
    for path in files:
        data = path.read_bytes()
        total += 1
        try:
            row = walked(data)
        except Fallback as fallback:
            reasons[fallback.reason] += 1
            continue
        assert row["parser"] == PARSER
        found = differences(row, oracle(data))
        if found:
            different[path.name] = found
    assert not different
    print(f"{reasons.total()} of {total} fall back: {dict(reasons.most_common())}")  # noqa: T201
    return total, reasons


# -- the same rows -------------------------------------------------------------------------------------------


def test_bundled_files_give_the_rows_of_pydicom() -> None:
    total, reasons = compare(dicom_files(_BUNDLED))
    assert total > 50
    # Many of these files are there because something is wrong with them.
    assert reasons.total() < 0.5 * total


def test_phantoms_give_the_rows_of_pydicom(phantoms: Path) -> None:
    total, reasons = compare(dicom_files(phantoms))
    assert total > 100
    assert reasons.total() < 0.15 * total


def test_the_directory_of_a_medium_is_walked_for_it_has_no_key_to_lose(tmp_path: Path) -> None:
    media_directory(tmp_path, "directory", 1)
    (path,) = dicom_files(tmp_path)
    total, reasons = compare([path])
    assert (total, reasons.total()) == (1, 0)
    other = path.read_bytes().replace(MediaStorageDirectoryStorage.encode(), b"1.2.840.10008.1.3.99")
    with pytest.raises(Fallback, match="missing_key"):
        walked(other)


@pytest.mark.parametrize(
    ("sop_class", "absent"),
    [
        (SecondaryCaptureImageStorage, ["Modality"]),
        (HangingProtocolStorage, ["Modality", "StudyInstanceUID", "SeriesInstanceUID"]),
    ],
)
def test_what_the_sop_class_need_not_have_is_not_missing(phantoms: Path, sop_class: str, absent: list[str]) -> None:
    dataset = pydicom.dcmread(dicom_files(phantoms)[0])
    dataset.SOPClassUID = sop_class
    for keyword in absent:
        del dataset[keyword]
    data = written(dataset)
    assert not differences(walked(data), oracle(data))
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    with pytest.raises(Fallback, match="missing_key"):
        walked(written(dataset))


def test_file_meta_information_is_known_again_by_all_but_the_uid(phantoms: Path) -> None:
    dataset = pydicom.dcmread(dicom_files(phantoms)[0])
    first = written(dataset)
    walked(first)
    for number, (syntax, implementation) in enumerate([(None, "A"), (ImplicitVRLittleEndian, "A"), (None, "LONGER")]):
        dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{10**number}"
        dataset.file_meta.ImplementationVersionName = implementation
        data = written(dataset, syntax)
        assert not differences(walked(data), oracle(data))


def test_the_uid_within_another_value_of_the_meta_information_tells_nothing(phantoms: Path) -> None:
    """The same bytes around the first such UID, but within what would be its value another transfer syntax."""
    dataset = pydicom.dcmread(dicom_files(phantoms)[0])
    dataset.file_meta.FileMetaInformationVersion = b"\x02\x00\x03\x00UI\xf0\x00" + b"\0" * 8
    data = written(dataset)
    other = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0", 1)
    assert not differences(walked(data), oracle(data))
    assert not differences(walked(other), oracle(other))


def test_traps_with_functional_groups_give_the_rows_of_pydicom(tmp_path: Path) -> None:
    names = [name for name in series_trap_names() if name.startswith(("copies-", "enhanced-", "nm-", "seg", "slide"))]
    make_traps(tmp_path / "images", names=names)
    total, reasons = compare(dicom_files(tmp_path))
    assert total > 300
    assert not reasons


@pytest.mark.real
def test_real_files_give_the_rows_of_pydicom() -> None:
    folder = os.environ.get("COHORT_DATA")
    if not folder:
        pytest.skip("COHORT_DATA names no folder with real images")
    total, reasons = compare(dicom_files(Path(folder)))
    assert total
    assert reasons.total() < 0.15 * total


def test_memo_does_not_mix_encodings_or_character_sets() -> None:
    key = b"LO\x04\x00ABCD"
    explicit = image(explicit=True, changes={0x00081090: ("LO", b"ABCD")})
    implicit = image(explicit=False, changes={0x00081090: ("LO", key)})
    assert walked(explicit)["ManufacturerModelName"] == "ABCD"
    assert walked(implicit)["ManufacturerModelName"] == key.decode()
    for charset, text in (("ISO_IR 100", "Ã©"), ("ISO_IR 192", "é")):
        changes = {0x00080005: ("CS", charset.encode()), 0x00081090: ("LO", b"\xc3\xa9")}
        data = image(explicit=True, changes=changes)
        row = walked(data)
        assert row["ManufacturerModelName"] == text
        assert not differences(row, oracle(data))


def test_memo_is_bounded_and_can_be_cleared() -> None:
    memo = new_memo()
    for number in range(10_000):
        remember(memo, b"%d" % number, number)
        assert len(memo) <= 4096
    remember(memo, bytes(1 << 20), "long")  # thousands of these would fill the memory
    assert bytes(1 << 20) not in memo
    clear()
    assert not memo


@pytest.mark.parametrize("term", sorted(python_encoding))
def test_character_sets_agree_on_ascii(term: str) -> None:
    plain = bytes(set(range(128)) - {0x0E, 0x0F, 0x1B})
    assert plain.decode(python_encoding[term]) == plain.decode("ascii")
    codec_of(term.encode())


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize(
    ("tag", "vr", "raw"),
    [
        (0x00180050, "DS", b" 1.5 "),
        (0x00180050, "DS", b"1e3\x00"),
        (0x00180050, "DS", b""),
        (0x00180050, "DS", b"  "),
        (0x00180050, "DS", b"1_0"),
        (0x00180050, "DS", b"nan "),
        (0x00180050, "DS", b"1\\2"),
        (0x00180050, "DS", b"1,5 "),
        (0x00181164, "DS", b"0.5\\ 0.25"),
        (0x00181164, "DS", b"0.5\\"),
        (0x00181164, "DS", b""),
        (0x00180086, "IS", b"1\\2 "),
        (0x00200013, "IS", b"+12 "),
        (0x00200013, "IS", b"12.0"),
        (0x00200013, "IS", b"12.5"),
        (0x00200013, "IS", b"inf "),
        (0x00200013, "IS", b"\t "),
        (0x00200013, "IS", b"9007199254740993"),
        (0x00200013, "IS", b"99999999999999999999"),
        (0x00200013, "IS", b"9" * 5000),
        (0x00280120, "US", b"\xff\xff"),
        (0x00280120, "US", b"\xff"),
        (0x00280120, "US", b""),
        (0x00280120, "US", b"\x01\x00\x02\x00"),
        (0x00189087, "FD", struct.pack("<d", 0.1)),
        (0x00189089, "FD", struct.pack("<3d", 0.1, float("nan"), 1)),
        (0x00080008, "CS", b"A\\ B \\\\C \x00"),
        (0x00080070, "LO", b" A\x00 \x00"),
        (0x00080070, "LO", b"A\\B "),
        (0x00080070, "LO", b"\x1b$BABCD"),
        (0x00080070, "LO", b"\xe9\xff"),
        (0x00181020, "LO", b"A \\ B \\"),
        (0x00081090, "UN", b"A "),
        (0x00081090, "AE", b" A"),
        (0x00081090, "ST", b"A\\B "),
        (0x00080018, "UI", b"\xa01.2.3 \x00"),
        (0x00080060, "CS", b"\x00\x00"),
        (0x00080005, "CS", b"ISO-IR 100"),
        (0x00080005, "CS", b"a\x00b "),
        (0x00080005, "CS", b"\\ISO 2022 IR 87"),
        (0x00080020, "DA", b"2020.01.01"),
        (0x00201002, "IS", b"\xb2 "),
    ],
)  # fmt: skip
def test_one_value_reads_as_in_pydicom(explicit: bool, tag: int, vr: str, raw: bytes) -> None:
    assert_equal_or_fallback(image(explicit=explicit, changes={tag: (vr, raw)}))


def test_signs_follow_the_pixel_representation() -> None:
    for representation in (0, 1):
        changes = {0x00280103: ("US", struct.pack("<H", representation)), 0x00280120: ("US", b"\x00\x80")}
        data = image(explicit=False, changes=changes)
        row = walked(data)
        assert row["PixelPaddingValue"] == (-32768 if representation else 32768)
        assert not differences(row, oracle(data))


# -- damaged files -------------------------------------------------------------------------------------------


def assert_equal_or_fallback(data: bytes) -> str:
    """Read bytes both ways; return what became of them."""
    start = time.process_time()
    try:
        row = walked(data)
    except Fallback:
        return "fallback"
    finally:
        assert time.process_time() - start < _SECONDS
    try:
        expected = oracle(data)
    except RejectedError:
        return "pydicom rejects"
    found = differences(row, expected)
    assert not found, {name: (row.get(name), expected.get(name)) for name in found}
    return "equal"


def mutant(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    place = chance.randrange(128, min(len(data) - 8, _REGION))
    kind = chance.randrange(6)
    if kind == 0:
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(128, min(len(data), _REGION))] ^= 1 << chance.randrange(8)
    elif kind == 1:
        del changed[place:]
    elif kind == 2:
        changed[place:place] = chance.randbytes(chance.choice((1, 2, 4, 8, 64)))
    elif kind == 3:
        del changed[place : place + chance.choice((1, 2, 4, 8, 64))]
    elif kind == 4:
        changed[place : place + 2] = struct.pack("<H", chance.choice((0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)))
    else:
        edges = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0xE00DFFFE, 0xE0DDFFFE, 0xE000FFFE)
        changed[place : place + 4] = struct.pack("<I", chance.choice(edges))
    return bytes(changed)


def sources(root: Path) -> list[bytes]:
    """One file of every folder of the cohort, and a few made up with nested sequences."""
    folders = {path.parent: path for path in dicom_files(root)}
    found = [path.read_bytes() for path in folders.values()]
    nested = nested_sequences()
    for explicit in (True, False):
        for place in (0x00081140, 0x00400275):
            found.append(image(explicit=explicit, changes={place: ("SQ*", nested[explicit])}))
    return [data for data in found if len(data) > 1000]


def test_mutants_are_read_as_by_pydicom_or_left_alone(phantoms: Path) -> None:
    chance = random.Random(20)
    originals = sources(phantoms)
    for data in originals * 3:  # layouts learned from good files must not be trusted in bad ones
        assert assert_equal_or_fallback(data)
    outcomes: Counter[str] = Counter()
    for number in range(_WANTED_MUTANTS):
        outcomes[assert_equal_or_fallback(mutant(originals[number % len(originals)], chance))] += 1
    print(dict(outcomes))  # noqa: T201
    assert outcomes["equal"] > 0.1 * _WANTED_MUTANTS
    assert outcomes["fallback"] > 0.1 * _WANTED_MUTANTS


# -- bombs ---------------------------------------------------------------------------------------------------


def element(tag: int, vr: str, raw: bytes, *, explicit: bool) -> bytes:
    """One element; `SQ*` has undefined length."""
    key = struct.pack("<HH", tag >> 16, tag & 0xFFFF)
    length = 0xFFFFFFFF if vr == "SQ*" else len(raw)
    if not explicit:
        return key + struct.pack("<I", length) + raw
    if vr[:2] in ("OB", "OW", "SQ", "UN", "UR", "UT"):
        return key + vr[:2].encode() + b"\0\0" + struct.pack("<I", length) + raw
    return key + vr.encode() + struct.pack("<H", length) + raw


def image(
    *, explicit: bool, changes: dict[int, tuple[str, bytes]] | None = None, extra: bytes = b"", before: int = 0
) -> bytes:
    """A whole small image; `extra` goes in front of the element `before`."""
    elements: dict[int, tuple[str, bytes]] = {
        0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
        0x00080018: ("UI", b"1.2.3.4\0"),
        0x00080060: ("CS", b"CT"),
        0x0020000D: ("UI", b"1.2.3\0"),
        0x0020000E: ("UI", b"1.2.3.5\0"),
        0x00280010: ("US", b"\x02\0"),
        0x00280011: ("US", b"\x02\0"),
        0x00280100: ("US", b"\x10\0"),
        0x00280103: ("US", b"\0\0"),
        0x7FE00010: ("OW", bytes(8)),
    } | (changes or {})
    syntax = b"1.2.840.10008.1.2.1\0" if explicit else b"1.2.840.10008.1.2\0"
    meta = element(0x00020010, "UI", syntax, explicit=True)
    meta = element(0x00020000, "UL", struct.pack("<I", len(meta)), explicit=True) + meta
    body = b"".join(
        (extra if tag == before else b"") + element(tag, *elements[tag], explicit=explicit) for tag in sorted(elements)
    )
    return bytes(128) + b"DICM" + meta + body


_ITEM = b"\xfe\xff\x00\xe0"
_OPEN = _ITEM + b"\xff\xff\xff\xff"
_ITEM_END = b"\xfe\xff\x0d\xe0\0\0\0\0"
_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


def nested_sequences() -> dict[bool, bytes]:
    """Content of a sequence with items of both kinds, two levels deep."""
    contents = {}
    for explicit in (True, False):
        leaf = element(0x00081150, "UI", b"1.2\0", explicit=explicit)
        leaf += element(0x00081155, "UI", b"1.2.3\0", explicit=explicit)
        charset = element(0x00080005, "CS", b"ISO_IR 100", explicit=explicit)
        inner = _OPEN + leaf + _ITEM_END + _ITEM + struct.pack("<I", len(leaf)) + leaf + _END
        below = element(0x0040A730, "SQ*", inner, explicit=explicit)
        item = charset + leaf + below + element(0x0040A730, "SQ", _OPEN + leaf + _ITEM_END, explicit=explicit)
        contents[explicit] = _OPEN + item + _ITEM_END + _ITEM + struct.pack("<I", len(item)) + item
        contents[explicit] += _ITEM + bytes(4) + _OPEN + _ITEM_END + _END
    return contents


@pytest.mark.parametrize("explicit", [True, False])
def test_nested_sequences_are_skipped(explicit: bool) -> None:
    content = nested_sequences()[explicit]
    for tag in (0x00081140, 0x00091010):
        data = image(explicit=explicit, changes={tag: ("SQ*", content)})
        row = walked(data)
        assert not differences(row, oracle(data))
        assert data[row["pixel_offset"] :] == bytes(8)


def test_sequences_of_vr_un_hold_implicit_items() -> None:
    data = image(explicit=True, changes={0x00091010: ("UN", b"")}, extra=b"", before=0)
    sequence = struct.pack("<HH", 9, 0x1011) + b"UN\0\0\xff\xff\xff\xff" + nested_sequences()[False]
    data = image(explicit=True, extra=sequence, before=0x0020000D)
    assert not differences(walked(data), oracle(data))


def test_headers_larger_than_the_first_read_are_walked() -> None:
    for length in (16_000, 16_200, 16_384, 40_000, 300_000):
        changes = {0x00091010: ("OB", bytes(length)), 0x00091011: ("LO", b"x"), 0x300A0002: ("SH", b"y ")}
        for explicit in (True, False):
            data = image(explicit=explicit, changes=changes)
            assert not differences(walked(data), oracle(data))


@pytest.mark.parametrize("explicit", [True, False])
def test_layouts_that_change_from_file_to_file_are_noticed(explicit: bool) -> None:
    chance = random.Random(5)
    usual = {0x00091000 + number: ("LO", b"x" * (2 * (number % 7))) for number in range(60)}
    usual |= {0x00081090: ("LO", b"AB"), 0x00181030: ("LO", b"head"), 0x00181031: ("OB", bytes(70))}
    for number in range(400):
        changes = dict(usual)
        for tag in chance.sample(sorted(usual), number % 4):
            if chance.random() < 0.3:
                del changes[tag]
            else:
                changes[tag] = (usual[tag][0], b"y" * (2 * chance.randrange(9)))
        data = image(explicit=explicit, changes=changes)
        assert not differences(walked(data), oracle(data))


@pytest.mark.parametrize("vr", ["UI", "LO", "IS", "OB"])
def test_a_sequence_under_another_representation_is_left_alone(vr: str) -> None:
    data = image(explicit=True, changes={0x52009229: (vr, b"1 ")})
    assert assert_equal_or_fallback(data) == "fallback"


def frame_groups(explicit: bool, number: int, *, defined: bool) -> bytes:
    """One item of the per-frame functional groups."""
    position = element(0x00200032, "DS", b"0\\0\\%d " % number, explicit=explicit)
    stack = element(0x00209056, "SH", b"1 ", explicit=explicit)
    place = element(0x00209057, "UL", struct.pack("<I", number), explicit=explicit)
    item = b""
    for tag, inside in ((0x00209111, stack + place), (0x00209113, position)):
        if defined:
            content = _ITEM + struct.pack("<I", len(inside)) + inside
            item += element(tag, "SQ", content, explicit=explicit)
        else:
            item += element(tag, "SQ*", _OPEN + inside + _ITEM_END + _END, explicit=explicit)
    return _ITEM + struct.pack("<I", len(item)) + item if defined else _OPEN + item + _ITEM_END


@pytest.mark.parametrize("explicit", [True, False])
@pytest.mark.parametrize("defined", [True, False])
def test_functional_groups_read_as_in_pydicom(explicit: bool, defined: bool) -> None:
    items = b"".join(frame_groups(explicit, number, defined=defined) for number in range(3))
    sequence = ("SQ", items) if defined else ("SQ*", items + _END)
    data = image(explicit=explicit, changes={0x00280008: ("IS", b"3 "), 0x52009230: sequence})
    row = walked(data)
    assert row["frame_ImagePositionPatient"] == [0, 0, 0, 0, 0, 1, 0, 0, 2]
    assert row["StackID"] == "1"
    assert not differences(row, oracle(data))


def test_an_object_may_have_the_elements_that_its_frames_need(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_window, "MAX_NESTED", 100)
    for explicit in (True, False):
        items = b"".join(frame_groups(explicit, number, defined=True) for number in range(30))
        changes = {0x00280008: ("IS", b"30"), 0x52009230: ("SQ", items)}
        data = image(explicit=explicit, changes=changes)
        assert not differences(walked(data), oracle(data))
        with pytest.raises(Fallback, match="too_many_elements"):
            walked(
                image(explicit=explicit, changes=changes | {0x00280008: ("IS", b"0 "), 0x52009230: ("SQ", items * 9)})
            )


def test_mutants_of_functional_groups_are_read_as_by_pydicom_or_left_alone() -> None:
    chance = random.Random(21)
    outcomes: Counter[str] = Counter()
    for explicit in (True, False):
        for defined in (True, False):
            items = b"".join(frame_groups(explicit, number, defined=defined) for number in range(3))
            sequence = ("SQ", items) if defined else ("SQ*", items + _END)
            data = image(explicit=explicit, changes={0x00280008: ("IS", b"3 "), 0x52009230: sequence})
            for _ in range(400):
                outcomes[assert_equal_or_fallback(mutant(data, chance))] += 1
    assert outcomes["equal"]
    assert outcomes["fallback"]


def random_macro(chance: random.Random, explicit: bool, tag: int, leaves: list[tuple[int, str, bytes]]) -> bytes:
    """A sequence with one item of these elements, its lengths defined or not."""
    inside = b"".join(element(*leaf, explicit=explicit) for leaf in leaves)
    defined = chance.random() < 0.5
    content = _ITEM + struct.pack("<I", len(inside)) + inside if defined else _OPEN + inside + _ITEM_END
    if chance.random() < 0.5:
        return element(tag, "SQ", content, explicit=explicit)
    return element(tag, "SQ*", content + _END, explicit=explicit)


def random_enhanced(chance: random.Random) -> bytes:
    """An enhanced image of which the macros vary in content, in kind and in the place of the first window's end."""
    explicit, frames, few = chance.random() < 0.7, chance.randint(1, 40), [b"1 ", b"2 ", b"10", b"-1.5", b"2.25"]
    frame_type = [b"ORIGINAL\\PRIMARY", b"DERIVED\\PRIMARY", b"DERIVED\\MIXED ", b"M\xfcde"]
    items = b""
    for number in range(frames):
        inside = random_macro(chance, explicit, 0x00189226, [(0x00089007, "CS", chance.choice(frame_type))])
        stack = [(0x00209056, "SH", chance.choice(few)), (0x00209057, "UL", struct.pack("<I", number))]
        inside += random_macro(chance, explicit, 0x00209111, [(0x00189220, "FD", bytes(8)), *stack])
        place = b"\\".join(chance.choice(few).strip() for _ in range(3))
        inside += random_macro(chance, explicit, 0x00209113, [(0x00200032, "DS", place + b" " * (len(place) % 2))])
        if chance.random() < 0.8:
            inside += element(0x00211010, "LO", b"x" * 2 * chance.randint(0, 100), explicit=explicit)
        scale = [(tag, "DS", chance.choice(few)) for tag in (0x00281052, 0x00281053)]
        unit = (0x00281054, "LO", chance.choice([b"US", b"\xc3\xbc"]))
        inside += random_macro(chance, explicit, 0x00289145, [*scale, unit])
        items += _OPEN + inside + _ITEM_END if number % 3 else _ITEM + struct.pack("<I", len(inside)) + inside
    changes = {0x00280008: ("IS", b"%-4d" % frames), 0x52009230: ("SQ*", items + _END)}
    return image(
        explicit=explicit, changes=changes | {0x00080005: ("CS", chance.choice([b"ISO_IR 192", b"ISO_IR 100"]))}
    )


def test_what_is_remembered_of_frames_changes_no_row() -> None:
    chance = random.Random(5)
    objects = [random_enhanced(chance) for _ in range(60)]
    for data in objects + objects[::-1]:
        assert assert_equal_or_fallback(data) == "equal"
    for data in objects:
        for end in (len(data) - 8, chance.randrange(400, len(data)), chance.randrange(400, len(data))):
            assert_equal_or_fallback(data[:end])
        assert_equal_or_fallback(mutant(data, chance))


def test_every_cut_of_a_file_is_noticed() -> None:
    data = image(explicit=True, changes={0x00081140: ("SQ*", nested_sequences()[True])})
    outcomes = Counter(assert_equal_or_fallback(data[:end]) for end in range(132, len(data)))
    assert outcomes["fallback"] > 0.9 * outcomes.total()


def chain(count: int, explicit: bool) -> bytes:
    head = element(0x0040A730, "SQ*", _OPEN, explicit=explicit)
    return head * count + (_ITEM_END + _END) * count


_CAPS = ("too_many_elements", "too_deep", "length_beyond_end", "long_value", "stray_delimiter")


def bombs() -> dict[str, bytes]:
    many = b"".join(
        struct.pack("<HH", 0x0031 + 2 * (number // 60_000), 0x1000 + number % 60_000) + b"LO\0\0"
        for number in range(500_000)
    )
    huge = struct.pack("<HH", 9, 0x1010) + b"OB\0\0\xfe\xff\xff\xff"
    return {
        "items": image(
            explicit=True, changes={0x00091010: ("SQ*", (_ITEM + bytes(4)) * 1_000_000 + _END)}
        ),
        "open items": image(
            explicit=True, changes={0x00091010: ("SQ*", (_OPEN + _ITEM_END) * 1_000_000 + _END)}
        ),
        "elements": image(explicit=True, extra=many, before=0x7FE00010),
        "elements in an item": image(
            explicit=True,
            changes={0x00081140: ("SQ*", _OPEN + b"\x09\0\x10\x10LO\0\0" * 1_000_000 + _ITEM_END + _END)},
        ),
        "depth": image(explicit=True, extra=chain(5000, explicit=True), before=0x7FE00010),
        "depth implicit": image(explicit=False, extra=chain(5000, explicit=False), before=0x7FE00010),
        "length": image(explicit=True, extra=huge, before=0x0020000D),
        "length of an item": image(
            explicit=True, changes={0x00091010: ("SQ*", _ITEM + b"\xfe\xff\xff\xff" + _END)}
        ),
        "long value": image(explicit=False, changes={0x00081090: ("LO", b"A" * 50_000_000)}),
    }  # fmt: skip


def test_bombs_cost_little() -> None:
    for name, data in bombs().items():
        file, head = io.BytesIO(data), data[:HEAD_BYTES]
        start = time.process_time()
        with pytest.raises(Fallback) as caught:
            walk_header(file, len(data), head)
        assert time.process_time() - start < _SECONDS, name
        assert caught.value.reason in _CAPS, name
        with pytest.raises(Fallback, match=caught.value.reason):  # whatever was learned the first time
            walk_header(file, len(data), head)


@pytest.mark.parametrize("name", ["items", "depth", "length", "long value"])
def test_bombs_take_little_memory(name: str) -> None:
    data = bombs()[name]
    file, head = io.BytesIO(data), data[:HEAD_BYTES]
    tracemalloc.start()
    with pytest.raises(Fallback):
        walk_header(file, len(data), head)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_depth_is_capped_on_both_sides() -> None:
    at_limit = image(explicit=True, extra=chain(64, explicit=True), before=0x7FE00010)
    assert not differences(walked(at_limit), oracle(at_limit))
    with pytest.raises(Fallback, match="too_deep"):
        walked(image(explicit=True, extra=chain(65, explicit=True), before=0x7FE00010))


@pytest.mark.parametrize("data", [b"", b"DICM", bytes(132), bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(20)])
def test_scraps_fall_back(data: bytes) -> None:
    with pytest.raises(Fallback):
        walked(data)


def test_unknown_text_is_left_alone() -> None:
    with pytest.raises(Fallback, match="charset"):
        convert(b"LO", "string", b"\xff\xfe", "utf-8")
    with pytest.raises(Fallback, match="charset"):
        codec_of(b"KLINGON")


def test_what_grew_or_shrank_since_it_was_listed_is_left_alone() -> None:
    report = image(explicit=True)[:-20]  # without its pixels
    assert walk_header(io.BytesIO(report), len(report), report)["is_image"] is False
    with pytest.raises(Fallback, match="size_changed"):
        walk_header(io.BytesIO(report + bytes(8)), len(report), report)
    with pytest.raises(Fallback):
        walk_header(io.BytesIO(report[:-8]), len(report), report[:-8])
