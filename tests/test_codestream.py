"""Compressed frames are held against the header before a decoder sees them, and no valid one is refused."""

from __future__ import annotations

import gzip
import io
import resource
from pathlib import Path
from typing import Any

import pydicom.data
import pytest
from hostile_pixels import (
    COLUMNS,
    DISAGREES,
    J2K,
    JPEG,
    JPEG_LOSSLESS,
    JPEG_LS,
    RLE,
    ROWS,
    compressed,
    hostile,
    item,
    items,
    j2k,
    jpeg,
    rle,
    run,
)
from pydicom.pixels.utils import pixel_array

from cohort.config import MIB, Config, IngestOptions
from cohort.errors import RejectedError
from cohort.readers import open_frames, read_header, without_warnings
from cohort.readers.dicom_codestream import check_pixels, is_compressed
from cohort.schema import FILES

HOSTILE = hostile()
LIMIT = IngestOptions.frame_limit_mib * MIB


def row_of(data: bytes) -> dict[str, Any]:
    with without_warnings():
        row = read_header(io.BytesIO(data), len(data), "a.dcm", neighbour=lambda *_: None, gzip_limit=1 << 26)
    return dict.fromkeys(FILES.names) | row


def outcome(data: bytes, limit: int = LIMIT) -> str:
    """What opening the pixels comes to."""
    row = row_of(data)
    if row["status"] != "ok":
        return f"{row['status']}: {row['reason']}"
    try:
        open_frames(io.BytesIO(data), row, gzip_limit=1 << 26, frame_limit=limit).close()
    except RejectedError as rejection:
        return f"rejected: {rejection.reason}"
    return "ok"


@pytest.mark.parametrize("name", HOSTILE)
def test_a_lie_is_seen_before_a_decoder_is_asked(name: str) -> None:
    case = HOSTILE[name]
    data = case.make(0)
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = outcome(data)
    after = resource.getrusage(resource.RUSAGE_SELF)
    expected = "rejected: bad_encapsulation" if "volume_too_large" in case.outcome else case.outcome
    assert found == expected
    assert after.ru_utime - before.ru_utime < 2
    assert after.ru_maxrss - before.ru_maxrss < 100 << 10


def test_a_lie_is_seen_through_gzip() -> None:
    assert outcome(gzip.compress(compressed(JPEG, items(jpeg())))) == "ok"
    assert outcome(gzip.compress(compressed(JPEG, items(jpeg(rows=65_500))))) == DISAGREES


# -- what is valid is not refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("syntax", "stream"),
    [
        (JPEG, jpeg()),
        (JPEG, b"\xff\xd8\xff\xff\xff" + jpeg()[3:]),
        (JPEG_LOSSLESS, jpeg(0xC3, bits=2)),
        (JPEG_LS, jpeg(0xF7)),
        (J2K, j2k()),
        (J2K, j2k(origin=(7, 9))),
        (J2K, j2k(tile=(8, 8))),
        (J2K, b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + b"\0\0\0\0jp2c" + j2k()),
        (RLE, rle((run(ROWS * COLUMNS),))),
    ],
    ids=["plain", "fill", "lossless", "JPEG-LS", "J2K", "origin", "tiles", "JP2", "RLE"],
)
def test_what_agrees_is_let_pass(syntax: str, stream: bytes) -> None:
    assert outcome(compressed(syntax, items(stream))) == "ok"


def test_frames_may_lie_in_any_fragments_that_the_standard_allows() -> None:
    stream = jpeg()
    half = len(stream) // 2 & ~1
    parts = stream[:half], stream[half:]
    whole = len(item(stream))
    assert outcome(compressed(JPEG, items(*parts))) == "ok"
    assert outcome(compressed(JPEG, items(stream, stream), frames=2)) == "ok"
    assert outcome(compressed(JPEG, items(stream, stream, offsets=(0, whole)), frames=2)) == "ok"
    assert outcome(compressed(JPEG, items(*parts, *parts), frames=2)) == "ok"
    split = len(item(parts[0])) + len(item(parts[1]))
    assert outcome(compressed(JPEG, items(*parts, *parts, offsets=(0, split)), frames=2)) == "ok"
    assert outcome(compressed(JPEG, items(stream).removesuffix(b"\xfe\xff\xdd\xe0\0\0\0\0"))) == "ok"


def test_a_large_frame_is_refused_above_the_limit_alone() -> None:
    data = compressed(JPEG, items(jpeg()))
    assert outcome(data, ROWS * COLUMNS) == "ok"
    assert outcome(data, ROWS * COLUMNS - 1) == "rejected: frame_too_large"
    colour = compressed(JPEG, items(jpeg(samples=3)), samples=3)
    assert outcome(colour, 3 * ROWS * COLUMNS) == "ok"
    assert outcome(colour, 3 * ROWS * COLUMNS - 1) == "rejected: frame_too_large"


def test_an_rle_segment_may_be_as_short_as_its_runs_allow() -> None:
    rows, columns = 128, 8
    shortest = compressed(RLE, items(rle((b"\x81\x07" * 8,))), rows=rows, columns=columns)
    assert outcome(shortest) == "ok"
    values = open_frames(io.BytesIO(shortest), row_of(shortest), gzip_limit=1).read(0)
    assert values.shape == (rows, columns)
    assert set(values.ravel().tolist()) == {7}
    assert outcome(compressed(RLE, items(rle((b"\x81\x07" * 7,))), rows=rows, columns=columns)) == DISAGREES


def refused_though_readable(folder: Path) -> tuple[list[str], int]:
    """Files whose first and last frame pydicom decodes and the guards refuse, and how many were held against them."""
    wrong, seen = [], 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file, without_warnings():
            read = read_header(file, path.stat().st_size, "a", neighbour=lambda *_: None, gzip_limit=1 << 30)
            row = dict.fromkeys(FILES.names) | read
            if row["format"] != "dicom" or not row["is_image"] or not is_compressed(row):
                continue
            seen += 1
            try:
                check_pixels(file, row, LIMIT)
            except RejectedError as rejection:
                try:
                    for frame in {0, (row["NumberOfFrames"] or 1) - 1}:
                        pixel_array(path, index=frame)
                except BaseException:
                    continue
                wrong.append(f"{path.name}: {rejection.reason}")
    return wrong, seen


def test_no_file_that_pydicom_brings_along_and_decodes_is_refused() -> None:
    wrong, seen = refused_though_readable(Path(pydicom.data.__file__).parent)
    assert not wrong
    assert seen >= 30


@pytest.mark.real
def test_no_real_file_that_pydicom_decodes_is_refused(real_images: Path) -> None:
    wrong, seen = refused_though_readable(real_images)
    assert not wrong
    assert seen > 100


def test_the_default_limits_hold_every_real_volume() -> None:
    assert Config().ingest.frame_limit_mib * MIB >= 20_000 * 17_000 * 3  # no detector is that large
    assert Config().ingest.volume_limit_mib * MIB >= 16 * (4 << 30)
