"""Objects that are meant to cost much to read cost little, and what must not be lost to a guard is not."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import oracle
import pytest
from bombs import bombs, nifti
from comparing import COLUMNS, differences
from hostile_dicom import (
    BIG,
    DEFLATED,
    ENCODINGS,
    EXPLICIT,
    IMPLICIT,
    Encoding,
    dataset,
    image,
)

from cohort.readers import Row, forget, open_frames, read_header, without_warnings

_SECONDS = 2.0  # of CPU time
_MIB = 300  # of memory, with Python and all imports
_BOMBS = bombs()

Ask = Callable[[bytes, str], dict[str, Any]]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Have objects read by processes that tell what it cost them."""
    folder = tmp_path_factory.mktemp("bombs")
    script = Path(__file__).with_name("reading_child.py")
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, str(script)], stdin=pipe, stdout=pipe, text=True) as reader:

        def answer(data: bytes, name: str) -> dict[str, Any]:
            assert reader.stdin
            assert reader.stdout
            path = folder / name
            path.write_bytes(data)
            print(path, file=reader.stdin, flush=True)
            told: dict[str, Any] = json.loads(reader.stdout.readline())
            path.unlink()
            return told

        yield answer
        assert reader.stdin
        reader.stdin.close()


@pytest.mark.parametrize("name", _BOMBS)
def test_bombs_cost_little(name: str, ask: Ask) -> None:
    bomb = _BOMBS[name]
    told = ask(bomb.make(), bomb.file_name)
    assert told["outcome"] == bomb.outcome
    assert told["seconds"] < _SECONDS
    assert told["peak_mib"] < _MIB


def test_cost_is_measured(ask: Ask) -> None:
    """The figures above mean something: a small object takes what Python and the imports take, gigabytes are seen."""
    told = ask(image(EXPLICIT), "small.dcm")
    assert told["outcome"] == "ok"
    assert told["seconds"] < 0.5
    assert 10 < told["peak_mib"] < 150


# -- what is valid is read, however large ------------------------------------------------------------------------


def many_frames(e: Encoding, count: int, *, open_: bool) -> bytes:
    """An enhanced object; every frame has a place, and three more elements than columns are made of."""
    content = e.element(0x00209056, "SH", b"1 ") + e.element(0x00209057, "UL", struct.pack(e.order + "I", 1))
    content += e.element(0x00209157, "UL", struct.pack(e.order + "II", 1, 1)) + e.element(0x00209158, "LT", b"none")
    frame = e.sequence(0x00209111, e.item(content), open_=open_)
    frame += e.sequence(0x00209113, e.item(e.element(0x00200032, "DS", b"0\\0\\1 ")), open_=open_)
    frame += e.sequence(0x00289132, e.item(e.element(0x00281050, "DS", b"40")), open_=open_)
    number = b"%d" % count
    return image(
        e,
        {
            0x00280008: e.element(0x00280008, "IS", number + b" " * (len(number) % 2)),
            0x52009230: e.sequence(0x52009230, e.item(frame) * count, open_=open_),
            0x7FE00010: e.element(0x7FE00010, "OW", bytes(8 * count)),
        },
    )


@pytest.mark.parametrize("encoding", ["explicit", "implicit", "deflated"])
@pytest.mark.parametrize("open_", [True, False])
def test_sixty_five_thousand_frames_are_read(encoding: str, open_: bool, ask: Ask) -> None:
    told = ask(many_frames(ENCODINGS[encoding], 65_000, open_=open_), "frames.dcm")
    print(told)  # noqa: T201
    assert told["outcome"] == "ok"
    assert told["peak_mib"] < _MIB


# -- both sides of every limit -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with without_warnings():
        yield
    forget()


def read(data: bytes, **limits: int) -> Row:
    limits = {"gzip_limit": 1 << 24} | limits
    return read_header(io.BytesIO(data), len(data), "a.dcm", neighbour=lambda name, limit: None, **limits)


def outcome(row: Row) -> str:
    return ": ".join(str(row[part]) for part in ("status", "reason") if row.get(part))


def private(e: Encoding, length: int) -> dict[int, bytes]:
    return {0x00091010: e.element(0x00091010, "OB", bytes(length))}


def test_a_deflated_object_is_inflated_up_to_the_limit() -> None:
    inflated = len(dataset(DEFLATED))
    assert outcome(read(image(DEFLATED), gzip_limit=inflated)) == "ok"
    assert outcome(read(image(DEFLATED), gzip_limit=inflated - 1)) == "rejected: deflate_too_large"


def test_a_deflated_object_reads_as_it_would_if_it_were_not() -> None:
    plain, packed = read(image(EXPLICIT)), read(image(DEFLATED))
    different = {name for name in plain | packed if plain.get(name) != packed.get(name)}
    assert different == {"TransferSyntaxUID", "pixel_offset", "pixel_length"}
    assert packed["TransferSyntaxUID"] == DEFLATED.uid


def test_a_deflated_object_is_read_to_its_end() -> None:
    data = image(DEFLATED)
    whole = len(data.rstrip(b"\0"))
    for end in range(data.index(DEFLATED.uid.encode()) + 22, whole):
        assert outcome(read(data[:end])) in ("rejected: deflate_truncated", "rejected: truncated_header"), end
    assert outcome(read(data + b"\0")) == "ok"


def test_a_header_is_held_up_to_the_limit() -> None:
    """Of a compressed object what was kept must hold the header; of an odd one, what pydicom reads must fit."""
    for pack in (gzip.compress, lambda data: data):
        data = pack(image(BIG, private(BIG, 500_000)))
        assert outcome(read(data, header_limit=520_000)) == "ok"
        assert outcome(read(data, header_limit=490_000)) == "rejected: header_too_large"
    assert outcome(read(image(EXPLICIT, private(EXPLICIT, 500_000)), header_limit=1000)) == "ok"  # passed over
    rest = gzip.compress(image(EXPLICIT) + bytes(100_000))
    assert outcome(read(rest, header_limit=1000)) == "ok"  # what follows the header need not be kept


def test_elements_are_read_up_to_the_limit() -> None:
    elements = {0x00091000 + number: BIG.element(0x00091000 + number, "LO", b"") for number in range(1000)}
    elements[0x00091000] = BIG.element(0x00091000, "UN", b"")  # leaves the object to pydicom
    limits = [limit for limit in range(900, 1300) if outcome(read(image(BIG, elements), element_limit=limit)) == "ok"]
    assert limits == list(range(limits[0], 1300))
    assert 1000 < limits[0] < 1200
    assert outcome(read(image(BIG, elements), element_limit=limits[0] - 1)) == "rejected: too_many_elements"
    assert outcome(read(image(EXPLICIT, {0x00310000: b""}), element_limit=1)) == "ok"  # the walker has its own


def test_the_elements_of_a_sequence_are_read_up_to_the_limit_and_its_end() -> None:
    place = BIG.element(0x00200032, "DS", b"0\\0\\1 ")
    frames = BIG.item(BIG.sequence(0x00209113, BIG.item(place), open_=False)) * 100
    count = {0x00280008: BIG.element(0x00280008, "IS", b"100 "), 0x7FE00010: BIG.element(0x7FE00010, "OW", bytes(800))}
    count[0x00091001] = BIG.element(0x00091001, "UN", b"")  # leaves the object to pydicom
    whole = image(BIG, count | {0x52009230: BIG.element(0x52009230, "SQ", frames)})
    assert len(read(whole)["frame_ImagePositionPatient"]) == 300
    assert outcome(read(whole, element_limit=500)) == "rejected: too_many_elements"
    early_end = BIG.element(0x52009230, "SQ", frames, length=len(frames) - len(place))
    cut = image(BIG, count | {0x52009230: early_end})
    row = read(cut)
    assert outcome(row) == "ok"
    assert not differences(row, oracle.header(cut, COLUMNS))
    assert row["ImagePositionPatient"] == [0, 0, 1]  # what follows the sequence is no part of it


@pytest.mark.parametrize("encoding", [EXPLICIT, BIG])
def test_sequences_are_followed_to_the_same_depth_by_both_readers(encoding: Encoding) -> None:
    def nested(depth: int) -> bytes:
        down = encoding.header(0x0040A730, "SQ", 0xFFFFFFFF) + encoding.item(b"", length=0xFFFFFFFF)
        up = encoding.item_end + encoding.sequence_end
        return image(encoding, {0x0040A730: down * depth + up * depth})

    assert outcome(read(nested(64))) == "ok"
    for depth in (65, 120, 240, 300):
        assert outcome(read(nested(depth))) == "rejected: too_deep"


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG])
def test_a_value_is_converted_up_to_a_mebibyte(encoding: Encoding) -> None:
    def described(length: int) -> Row:
        return read(image(encoding, {0x00081030: encoding.element(0x00081030, "UT", b"A" * length)}))

    assert described(1 << 20)["StudyDescription"] == "A" * (1 << 20)
    row = described((1 << 20) + 2)
    assert (outcome(row), row.get("StudyDescription")) == ("ok", None)
    assert row["unparsed"] == ["StudyDescription=" + "A" * 64]
    assert row["Modality"] == "CT"


@pytest.mark.parametrize("encoding", [EXPLICIT, BIG])
def test_a_character_set_is_read_up_to_a_kibibyte(encoding: Encoding) -> None:
    def with_charset(length: int) -> str:
        terms = (b"ISO 2022 IR 87\\" * 100)[:length]
        return outcome(read(image(encoding, {0x00080005: encoding.element(0x00080005, "CS", terms)})))

    assert with_charset(1024) == "ok"
    assert with_charset(1026) == "rejected: long_value"


def test_what_makes_items_of_a_column_is_no_text() -> None:
    items = EXPLICIT.sequence(0x00080008, EXPLICIT.item(EXPLICIT.element(0x00100010, "PN", b"SECRET")), open_=True)
    row = read(image(EXPLICIT, {0x00080008: items}))
    assert row.get("ImageType") is None
    assert row["unparsed"] == ["ImageType=sequence of 1 items"]


def test_a_nifti_image_needs_as_many_bytes_as_deflate_cannot_do_without() -> None:
    packed = gzip.compress(nifti(dim=(3, 100, 100, 50, 1, 1, 1, 1), values=0), mtime=0)
    least = -(-(384 + 100 * 100 * 50 * 2) // 1032)  # PKWARE's deflate makes at most 1032 bytes of one
    assert outcome(read(packed.ljust(least, b"\0"))) == "ok"
    assert outcome(read(packed.ljust(least - 1, b"\0"))) == "rejected: truncated_pixels"
    zeros = nifti(dim=(3, 1024, 1024, 32, 1, 1, 1, 1), values=2 * 1024 * 1024 * 32)
    assert outcome(read(gzip.compress(zeros, mtime=0))) == "ok"


# -- a preamble that was cut off ---------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", [EXPLICIT, IMPLICIT, BIG, DEFLATED])
def test_an_object_that_begins_with_its_prefix_is_read(encoding: Encoding) -> None:
    whole, cut = read(image(encoding)), read(image(encoding)[128:])
    different = {name for name in whole | cut if whole.get(name) != cut.get(name)}
    assert different <= {"pixel_offset", "parser", "fallback_reason"}
    if encoding is not DEFLATED:
        assert cut["pixel_offset"] == whole["pixel_offset"] - 128


def test_what_only_begins_like_a_prefix_is_rejected() -> None:
    for data in (b"DICM" * 100, b"DICM" + bytes(400), b"DICM, a journal about images" * 20):
        assert read(data)["status"] == "rejected"


def test_pixels_behind_a_cut_off_preamble_are_read() -> None:
    for encoding in (EXPLICIT, BIG):
        pixels = struct.pack(encoding.order + "4H", *range(4))
        data = image(encoding, {0x7FE00010: encoding.element(0x7FE00010, "OW", pixels)})
        row = dict.fromkeys(("PlanarConfiguration", "container")) | read(data[128:])
        frames = open_frames(io.BytesIO(data[128:]), row, gzip_limit=1)
        assert frames.read(0).ravel().tolist() == [0, 1, 2, 3]
        frames.close()


# -- where an object lies ----------------------------------------------------------------------------------------


class Broken(io.BytesIO):
    """A disk that fails after some bytes."""

    def read(self, count: int | None = -1, /) -> bytes:
        if self.tell() + (count or 0) > 600 and self.tell() < len(self.getvalue()):
            raise OSError(5, os.strerror(5))
        return super().read(count)


def test_a_disk_that_fails_is_not_the_fault_of_the_object() -> None:
    data = image(BIG, private(BIG, 5000) | {0x00081140: BIG.sequence(0x00081140, BIG.item(b"") * 900, open_=True)})
    with pytest.raises(OSError, match="Input/output"):
        read_header(Broken(data), len(data), "a", neighbour=lambda name, limit: None, gzip_limit=1)
