"""Compressed images whose codestream or encapsulation lies, byte by byte, and what must become of each."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from hostile_dicom import UNDEFINED, Encoding, image

PIXELS = 0x7FE00010
JPEG, JPEG_12, JPEG_LOSSLESS = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70"
JPEG_LS, J2K, HTJ2K, RLE = (
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.5",
)
SYNTAXES = {
    "JPEG": JPEG, "JPEG extended": JPEG_12, "JPEG lossless": JPEG_LOSSLESS, "JPEG-LS": JPEG_LS, "JPEG 2000": J2K,
    "HTJ2K": HTJ2K, "RLE": RLE,
}  # fmt: skip
ROWS, COLUMNS = 16, 24

DISAGREES = "rejected: codec_header_disagrees"
BAD = "rejected: bad_encapsulation"


class Hostile(NamedTuple):
    """One object: what makes its bytes, what it stands for, and `status: reason` of its volume or its row."""

    make: Callable[[int], bytes]
    stands_for: str
    outcome: str


def compressed(
    syntax: str,
    items: bytes,
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
    samples: int = 1,
    bits: int = 8,
    frames: int | None = None,
    number: int = 0,
) -> bytes:
    """A whole object around encapsulated pixels; `number` tells its series from others."""
    e = Encoding(syntax, explicit=True)
    uid = b"1.2.3.%d" % (1000 + number)
    changes: dict[int, bytes] = {
        0x00080018: e.element(0x00080018, "UI", uid + b".1".ljust(3 - len(uid) % 2, b"\0")),
        0x0020000E: e.element(0x0020000E, "UI", uid + b"\0" * (len(uid) % 2)),
        0x00280002: e.element(0x00280002, "US", samples),
        0x00280010: e.element(0x00280010, "US", rows),
        0x00280011: e.element(0x00280011, "US", columns),
        0x00280100: e.element(0x00280100, "US", bits),
        0x00280101: e.element(0x00280101, "US", bits),
        PIXELS: e.header(PIXELS, "OB", UNDEFINED) + items,
    }
    if samples == 3:
        changes |= {0x00280004: e.element(0x00280004, "CS", b"RGB "), 0x00280006: e.element(0x00280006, "US", 0)}
    if frames is not None:
        value = b"%d" % frames
        changes[0x00280008] = e.element(0x00280008, "IS", value + b" " * (len(value) % 2))
    return image(e, changes)


def item(content: bytes, length: int | None = None) -> bytes:
    content += b"\0" * (len(content) % 2)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content) if length is None else length) + content


END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def items(*fragments: bytes, offsets: tuple[int, ...] = ()) -> bytes:
    """Encapsulated pixels with a basic offset table."""
    return item(struct.pack(f"<{len(offsets)}I", *offsets)) + b"".join(map(item, fragments)) + END


def jpeg(marker: int = 0xC0, *, rows: int = ROWS, columns: int = COLUMNS, samples: int = 1, bits: int = 8) -> bytes:
    """The beginning of a JPEG or JPEG-LS codestream, with an application segment before the frame header."""
    parts = b"".join(bytes([number + 1, 0x11, 0]) for number in range(samples))
    frame = struct.pack(">BHHB", bits, rows, columns, samples) + parts
    comment = b"\xff\xe0" + struct.pack(">H", 16) + bytes(14)
    scan = b"\xff\xda" + struct.pack(">HB", 6 + 2 * samples, samples) + bytes(2 * samples + 3)
    sof = b"\xff" + bytes([marker]) + struct.pack(">H", len(frame) + 2) + frame
    return b"\xff\xd8" + comment + sof + scan + b"\x55" * 64 + b"\xff\xd9"


def j2k(
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
    samples: int = 1,
    bits: int = 8,
    tile: tuple[int, int] | None = None,
    origin: tuple[int, int] = (0, 0),
) -> bytes:
    """The beginning of a JPEG 2000 codestream."""
    left, top = origin
    width, height = tile or (columns, rows)
    size = struct.pack(">H8IH", 0, columns + left, rows + top, left, top, width, height, left, top, samples)
    size += bytes([bits - 1, 1, 1]) * samples
    return b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size + b"\xff\x90" + b"\x55" * 64 + b"\xff\xd9"


def rle(segments: tuple[bytes, ...], *, count: int | None = None, offsets: tuple[int, ...] | None = None) -> bytes:
    """An RLE frame."""
    places, position = [], 64
    for segment in segments:
        places.append(position)
        position += len(segment)
    table = list(offsets or places)
    header = struct.pack("<16I", len(segments) if count is None else count, *table, *[0] * (15 - len(table)))
    return header + b"".join(segments)


def run(pixels: int) -> bytes:
    """An RLE segment of equal bytes."""
    whole, rest = divmod(pixels, 128)
    return b"\x81\x07" * whole + (bytes([257 - rest, 7]) if rest > 1 else b"")


def hostile() -> dict[str, Hostile]:
    """All of them, by name."""
    return dict((*_lies(), *_bombs(), *_encapsulations(), *_segments()))


Cases = Iterator[tuple[str, Hostile]]


def _codestream(syntax: str, **claims: int) -> bytes:
    if syntax in (J2K, HTJ2K):
        return j2k(**claims)
    return jpeg({JPEG: 0xC0, JPEG_12: 0xC1, JPEG_LOSSLESS: 0xC3, JPEG_LS: 0xF7}[syntax], **claims)


def _lies() -> Cases:
    """Every codec, every field that a decoder takes from the codestream."""
    stands = "finding 4 (SOF and SIZ believed), CVE-2026-5440 (sizes of the pixels not cross-checked)"
    for name, syntax in SYNTAXES.items():
        if syntax == RLE:
            continue
        for claims in (
            {"rows": ROWS + 1}, {"rows": ROWS - 1}, {"columns": COLUMNS + 1}, {"columns": COLUMNS - 1},
            {"rows": COLUMNS, "columns": ROWS}, {"samples": 3}, {"samples": 4}, {"bits": 12}, {"bits": 16},
        ):  # fmt: skip
            told = ", ".join(f"{key} {value}" for key, value in claims.items())
            stream = _codestream(syntax, **claims)
            yield (
                f"{name} of {told}",
                Hostile(lambda n, s=syntax, c=stream: compressed(s, items(c), number=n), stands, DISAGREES),
            )
        stream = _codestream(syntax, rows=65_500, columns=65_500)
        yield (
            f"{name} of 65500x65500 in {len(stream)} bytes",
            Hostile(
                lambda n, s=syntax, c=stream: compressed(s, items(c), number=n), "finding 4: > 100 s, 4.5 GB", DISAGREES
            ),
        )
        second = items(_codestream(syntax), _codestream(syntax, rows=65_500))
        yield (
            f"{name}, the second frame larger",
            Hostile(lambda n, s=syntax, i=second: compressed(s, i, frames=2, number=n), "finding 4", DISAGREES),
        )


def _bombs() -> Cases:
    """Codestreams that agree with the header: what both claim is too much, or impossible."""
    large = "rejected: frame_too_large"
    for name, syntax in SYNTAXES.items():
        stream = rle((bytes(64),)) if syntax == RLE else _codestream(syntax, rows=65_535, columns=65_535)
        yield (
            f"{name}, both of 65535x65535",
            Hostile(
                lambda n, s=syntax, c=stream: compressed(s, items(c), rows=65_535, columns=65_535, number=n),
                "finding 4: SIGABRT under a memory limit",
                large,
            ),
        )
        yield (
            f"{name} of nothing",
            Hostile(lambda n, s=syntax: compressed(s, items(b""), number=n), "dicom-rs: empty fragment", DISAGREES),
        )
        yield (
            f"{name} of noise",
            Hostile(lambda n, s=syntax: compressed(s, items(b"\x99" * 200), number=n), "finding 2", DISAGREES),
        )
    for syntax, name in ((J2K, "JPEG 2000"), (HTJ2K, "HTJ2K")):
        for what, stream in (
            ("in tiles of one pixel", j2k(rows=1000, columns=1000, tile=(1, 1))),
            ("in tiles of no pixel", j2k(rows=1000, columns=1000, tile=(0, 0))),
            ("cut in SIZ", j2k(rows=1000, columns=1000)[:30]),
            ("without SIZ", b"\xff\x4f\xff\x90" + bytes(60)),
        ):
            yield (
                f"{name} {what}",
                Hostile(
                    lambda n, s=syntax, c=stream: compressed(s, items(c), rows=1000, columns=1000, number=n),
                    "CVE-2020-27814, CVE-2021-29338 (openjpeg: tiles)",
                    DISAGREES,
                ),
            )
    for what, stream in (
        ("without a frame header", b"\xff\xd8\xff\xda\x00\x08" + bytes(60)),
        ("cut in the frame header", jpeg()[:24]),
        ("of 40,000 markers", b"\xff\xd8" + b"\xff\xe0\x00\x02" * 40_000 + jpeg()[2:]),
        ("of 1 MB of fill", b"\xff\xd8" + b"\xff" * 1_000_000 + jpeg()[2:]),
        ("of no rows (DNL)", jpeg(rows=0)),
    ):
        yield (
            f"JPEG {what}",
            Hostile(
                lambda n, c=stream: compressed(JPEG, items(c), number=n), "CVE-2018-11212 (libjpeg headers)", DISAGREES
            ),
        )


def _encapsulations() -> Cases:
    finding = "finding 1: StopIteration, dask/dask#3545"
    stream = _codestream(JPEG)
    whole = len(item(stream))
    for what, pixels, frames, outcome in (
        ("3 frames in 2 fragments", items(stream, stream), 3, BAD),
        ("2 billion frames in one fragment", items(stream), 2_000_000_000, "rejected: volume_too_large"),
        ("a wild offset", items(stream, stream, offsets=(0, 4_000_000_000)), 2, BAD),
        ("an offset inside a fragment", items(stream, stream, offsets=(0, whole - 2)), 2, BAD),
        ("offsets backwards", items(stream, stream, offsets=(whole, 0)), 2, BAD),
        ("equal offsets", items(stream, stream, offsets=(0, 0)), 2, BAD),
        ("an offset too few", items(stream, stream, offsets=(0,)), 2, BAD),
        ("a first offset that is not 0", items(stream, stream, offsets=(8, whole)), 2, BAD),
        ("an offset table of 3 bytes", item(b"\0\0") + item(stream) + END, 1, BAD),
        ("no item at all", END, 1, BAD),
        ("no fragment", items(), 1, BAD),
        ("an item that is none", item(b"") + b"\xfe\xff\x00\xe1" + bytes(60), 1, BAD),
        ("an item of undefined length", item(b"") + item(stream, UNDEFINED) + END, 1, BAD),
        ("an item of 4 GB", item(b"") + item(stream, 0xFFFFFFF0) + END, 1, "rejected: truncated_pixels"),
        ("an offset table of 4 GB", item(b"", 0xFFFFFFF0) + item(stream) + END, 1, "rejected: truncated_pixels"),
    ):
        yield (
            f"encapsulated: {what}",
            Hostile(lambda n, p=pixels, f=frames: compressed(JPEG, p, frames=f, number=n), finding, outcome),
        )


def _segments() -> Cases:
    pixels = ROWS * COLUMNS
    whole = run(pixels)
    for what, frame in (
        ("of no segment", rle((), count=0)),
        ("of 16 segments", rle((whole,), count=16)),
        ("of 4 billion segments", rle((whole,), count=0xFFFFFFFF)),
        ("of two segments where one is due", rle((whole, whole))),
        ("with an offset past the end", rle((whole,), offsets=(4_000_000_000,))),
        ("with an offset in the header", rle((whole,), offsets=(0,))),
        ("cut in the header", rle((whole,))[:40]),
        ("of too few bytes", rle((b"\x81\x07" * 2,))),
    ):
        yield (
            f"RLE {what}",
            Hostile(lambda n, f=frame: compressed(RLE, items(f), number=n), "finding 2: PanicException", DISAGREES),
        )
    backwards = rle((whole, whole), offsets=(64 + len(whole), 64))
    yield (
        "RLE with segments backwards",
        Hostile(lambda n: compressed(RLE, items(backwards), bits=16, number=n), "finding 2", DISAGREES),
    )
    yield (
        "RLE of one segment where two are due",
        Hostile(lambda n: compressed(RLE, items(rle((whole,))), bits=16, number=n), "finding 2", DISAGREES),
    )
