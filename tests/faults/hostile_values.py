"""Hostile DICOM images: sizes, bits, palettes, rescales, places and frames that cannot be, made by code."""

from __future__ import annotations

import struct

from hostile_case import Case, Cases, Value, ct, raw, text
from hostile_dicom import EXPLICIT

_CUT = "rejected: truncated_pixels"
_ROWS, _COLUMNS, _FRAMES, _PIXELS = 0x00280010, 0x00280011, 0x00280008, 0x7FE00010
Changes = dict[int, tuple[str, Value]]


def cases() -> Cases:
    """All of them, by name."""
    for group in (_sizes, _bits, _colours, _rescales, _places, _groups, _private):
        yield from group()


def _listed(stands: str, found: list[tuple[str, Changes, str, str | None]], why: str = "") -> Cases:
    for what, changes, row, volume in found:
        yield what, Case(ct(changes), stands, row, volume, why)


def _us(*values: int) -> tuple[str, bytes]:
    return "US", struct.pack(f"<{len(values)}H", *values)


# -- sizes ---------------------------------------------------------------------------------------------------------


def _sizes() -> Cases:
    lost = "rejected: missing_attribute: Rows"
    overflow = {_ROWS: _us(32768), _COLUMNS: _us(32768), 0x00280002: _us(4)}
    yield from _listed(
        "row 9, row 13, CVE-2026-5437..5445 (sizes that overflow, UL in place of US)",
        [
            ("Rows 0", {_ROWS: _us(0)}, "ok", "rejected: bad_dimensions"),
            ("Columns 0", {_COLUMNS: _us(0)}, "ok", "rejected: bad_dimensions"),
            ("Rows of UL", {_ROWS: ("UL", struct.pack("<I", 2))}, "ok", "ok"),
            ("Rows of UL, 4 billion", {_ROWS: ("UL", struct.pack("<I", 0xFFFFFFFF))}, _CUT, None),
            ("Rows of DS", {_ROWS: ("DS", b"2 ")}, "ok", "ok"),
            ("Rows of text", {_ROWS: ("LO", b"CNRY")}, "ok", lost),
            ("Rows of two values", {_ROWS: _us(2, 2)}, "ok", lost),
            ("Rows empty", {_ROWS: ("US", b"")}, "ok", lost),
            ("Rows of SS, -2", {_ROWS: ("SS", struct.pack("<h", -2))}, "ok", "rejected: bad_dimensions"),
            ("Rows x Columns x samples of 2**32", overflow, _CUT, None),
            ("Rows one too many", {_ROWS: _us(3)}, _CUT, None),
            ("Columns one too few", {_COLUMNS: _us(1)}, "ok", "ok"),
            ("pixels of no byte", {_PIXELS: ("OW", b"")}, _CUT, None),
            ("pixels of an odd byte", {_PIXELS: ("OW", bytes(9))}, "ok", "ok"),
            ("frames -1", {_FRAMES: ("IS", b"-1")}, "ok", "ok"),
            ("frames 0", {_FRAMES: ("IS", b"0 ")}, "ok", "ok"),
            ("frames of text", {_FRAMES: ("IS", b"CNRY")}, "ok", "ok"),
            ("frames empty", {_FRAMES: ("IS", b"")}, "ok", "ok"),
            ("frames 1.0", {_FRAMES: ("IS", b"1.0 ")}, "ok", "ok"),
            ("frames 1e9", {_FRAMES: ("IS", b"1e9 ")}, _CUT, None),
            ("frames 2**31", {_FRAMES: ("IS", b"2147483648")}, _CUT, None),
            ("frames 2**63 - 1", {_FRAMES: ("IS", b"9223372036854775807 ")}, "ok", "ok"),
            ("frames 2", {_FRAMES: ("IS", b"2 ")}, _CUT, None),
        ],
    )


def _bits() -> Cases:
    layout = "rejected: bad_bits"
    allocated, kept, high, sign = 0x00280100, 0x00280101, 0x00280102, 0x00280103
    yield from _listed(
        "row 9, row 13, Orthanc CVE-2026-5437..5445 (32-bit sizes)",
        [
            ("bits allocated 0", {allocated: _us(0)}, "ok", layout),
            ("bits allocated 7", {allocated: _us(7)}, "ok", layout),
            ("bits allocated 12", {allocated: _us(12)}, "ok", layout),
            ("bits allocated 24", {allocated: _us(24)}, _CUT, None),
            ("bits allocated 64, short", {allocated: _us(64)}, _CUT, None),
            ("bits allocated 65,535", {allocated: _us(65535)}, _CUT, None),
            ("bits stored 0", {kept: _us(0)}, "ok", layout),
            ("bits stored 17 of 16", {kept: _us(17)}, "ok", layout),
            ("bits stored 65,535", {kept: _us(65535)}, "ok", layout),
            ("high bit 65,535", {high: _us(65535)}, "ok", "ok"),
            ("high bit below the bits stored", {high: _us(3)}, "ok", "ok"),
            ("pixel representation 2", {sign: _us(2)}, "ok", layout),
            ("pixel representation 65,535", {sign: _us(65535)}, "ok", layout),
        ],
    )
    floats = {_PIXELS: b"", 0x7FE00008: EXPLICIT.element(0x7FE00008, "OF", bytes(16))}
    yield "float pixels of 16 bits", Case(raw(floats), "row 9", "ok", "ok")
    both = {0x7FE00008: EXPLICIT.element(0x7FE00008, "OF", bytes(16))}
    yield "float pixels before others", Case(raw(both), "row 9", "ok", "ok")


def _colours() -> Cases:
    samples, photometric, planar = 0x00280002, 0x00280004, 0x00280006
    palette = {photometric: ("CS", b"PALETTE COLOR ")}
    sixteen = {**palette, **{0x00281101 + n: _us(4, 0, 16) for n in range(3)}}
    data = {0x00281201 + n: ("OW", bytes(8)) for n in range(3)}
    short = {0x00281201 + n: ("OW", bytes(2)) for n in range(3)}
    segments = {0x00281221 + n: ("OW", struct.pack("<6H", 2, 65535, 0, 0, 0, 0)) for n in range(3)}
    huge = {0x00281221 + n: ("OW", struct.pack("<3H", 1, 65535, 0)) for n in range(3)}
    bad = "rejected: bad_palette: "
    yield from _listed(
        "row 9, Orthanc CVE-2026-5437..5445 (palettes), CVE-2018-11212",
        [
            ("samples 0", {samples: _us(0)}, "ok", "ok"),
            ("samples 2", {samples: _us(2)}, _CUT, None),
            ("samples 65,535", {samples: _us(65535)}, _CUT, None),
            ("a photometric interpretation of letters", {photometric: ("CS", b"CNRY")}, "ok", "ok"),
            ("no photometric interpretation", {photometric: ("CS", b"")}, "ok", "ok"),
            ("RGB of one sample", {photometric: ("CS", b"RGB ")}, "ok", "ok"),
            ("YBR_FULL_422 of one sample", {photometric: ("CS", b"YBR_FULL_422")}, "ok", "ok"),
            (
                "planes 7",
                {samples: _us(3), planar: _us(7), _PIXELS: ("OW", bytes(24))},
                "ok",
                "rejected: unsupported_colour",
            ),
            ("three samples without planes", {samples: _us(3), _PIXELS: ("OW", bytes(24))}, "ok", "ok"),
            ("a palette that lacks", palette, "ok", bad + "ValueError"),
            ("a palette without data", sixteen, "ok", bad + "ValueError"),
            ("a palette whose data is short", sixteen | short, "ok", bad + "TypeError"),
            ("a palette of 7 bits", sixteen | data | {0x00281101: _us(4, 0, 7)}, "ok", bad + "TypeError"),
            ("a palette of two numbers", sixteen | data | {0x00281101: _us(4, 0)}, "ok", bad + "IndexError"),
            (
                "a palette of 65,536 entries in 8 bytes",
                sixteen | data | {0x00281101: _us(0, 0, 16)},
                "ok",
                bad + "TypeError",
            ),
            ("a palette that points back at itself", sixteen | segments, "ok", bad + "ValueError"),
            ("a palette whose segments are too long", sixteen | huge, "ok", bad + "ValueError"),
        ],
    )


# -- values --------------------------------------------------------------------------------------------------------


def _rescales() -> Cases:
    slope, intercept = 0x00281053, 0x00281052
    one: Changes = {slope: ("DS", b"1 ")}
    far = "rejected: values_exceed_float32"
    bright: Changes = {_PIXELS: ("OW", b"\xff" * 8)}
    yield from _listed(
        "row 13, row 20 (of DICOM)",
        [
            ("slope 0", {slope: ("DS", b"0 "), intercept: ("DS", b"5 ")}, "ok", "ok"),
            ("slope NaN", {slope: ("DS", b"nan "), intercept: ("DS", b"0 ")}, "ok", "ok"),
            ("slope infinite", {slope: ("DS", b"inf "), intercept: ("DS", b"0 ")}, "ok", "ok"),
            ("slope of text", {slope: ("DS", b"CNRY"), intercept: ("DS", b"0 ")}, "ok", "ok"),
            ("slope 1e300", bright | {slope: ("DS", b"1e300 "), intercept: ("DS", b"0 ")}, "ok", far),
            ("slope 1e15", bright | {slope: ("DS", b"1e15"), intercept: ("DS", b"0 ")}, "ok", "ok"),
            ("slope 1e-300", bright | {slope: ("DS", b"1e-300"), intercept: ("DS", b"0 ")}, "ok", "ok"),
            ("intercept 1e300", one | {intercept: ("DS", b"1e300 ")}, "ok", far),
            ("intercept alone", {intercept: ("DS", b"-1024 ")}, "ok", "ok"),
            ("slope alone", one, "ok", "ok"),
            ("slope of two values", {slope: ("DS", b"1\\2 "), intercept: ("DS", b"0 ")}, "ok", "ok"),
            ("padding of SS", {0x00280120: ("SS", b"\xff\xff")}, "ok", "ok"),
            ("padding of 4 bytes", {0x00280120: ("UL", b"\xff\xff\xff\xff")}, "ok", "ok"),
            ("padding range upside down", {0x00280120: _us(9), 0x00280121: _us(0)}, "ok", "ok"),
        ],
    )
    for what, descriptor, data in (
        ("of no entry", (0, 0, 16), b""), ("of fewer than told", (100, 0, 16), bytes(8)),
        ("of 3 bits", (4, 0, 3), bytes(8)), ("of 65,535 bits", (4, 0, 65535), bytes(8)),
        ("of one number", (4,), bytes(8)), ("of more than told", (2, 0, 16), bytes(2000)),
    ):  # fmt: skip
        e = EXPLICIT
        item = e.element(0x00283002, *_us(*descriptor)) + e.element(0x00283004, "LO", b"CNRYID0000")
        item += e.element(0x00283006, "OW", data)
        table = {0x00283000: e.sequence(0x00283000, e.item(item), open_=False)}
        volume = "ok" if what == "of more than told" else "rejected: bad_modality_lut"
        yield f"a modality table {what}", Case(raw(table), "row 13, CVE-2026-5437..5445 (tables)", "ok", volume)


def _places() -> Cases:
    position, orientation, spacing = 0x00200032, 0x00200037, 0x00280030
    good: Changes = {
        position: ("DS", text("0\\0\\0")), orientation: ("DS", text("1\\0\\0\\0\\1\\0")), spacing: ("DS", text("1\\1")),
    }  # fmt: skip
    for what, tag, value in (
        ("a position of NaN", position, "nan\\nan\\nan"), ("a position of infinity", position, "inf\\0\\0"),
        ("a position of 1e300", position, "1e300\\1e300\\1e300"), ("a position of two numbers", position, "0\\0"),
        ("a position of text", position, "CNRY\\0\\0"), ("a position of 1,000 numbers", position, "0\\" * 999 + "0"),
        ("an orientation of zeros", orientation, "0\\0\\0\\0\\0\\0"),
        ("an orientation of NaN", orientation, "nan\\0\\0\\0\\nan\\0"),
        ("an orientation along itself", orientation, "1\\0\\0\\1\\0\\0"),
        ("an orientation of 1e200", orientation, "1e200\\0\\0\\0\\1e200\\0"),
        ("an orientation of five numbers", orientation, "1\\0\\0\\0\\1"),
        ("a spacing of 0", spacing, "0\\0"), ("a spacing below 0", spacing, "-1\\-1"),
        ("a spacing of NaN", spacing, "nan\\nan"), ("a spacing of infinity", spacing, "inf\\inf"),
        ("a spacing of 1e-300", spacing, "1e-300\\1e-300"), ("a spacing of 1e300", spacing, "1e300\\1e300"),
        ("a spacing of one number", spacing, "1"), ("a spacing of text", spacing, "CNRY\\1"),
    ):  # fmt: skip
        yield f"place: {what}", Case(ct(good | {tag: ("DS", text(value))}), "row 20 (of DICOM), finding 5")
    for what, value in (("NaN", "nan"), ("below 0", "-3"), ("infinite", "inf")):
        yield f"place: a thickness {what}", Case(ct(good | {0x00180050: ("DS", text(value))}), "row 20 (of DICOM)")
        yield f"place: a distance {what}", Case(ct(good | {0x00180088: ("DS", text(value))}), "row 20 (of DICOM)")


# -- frames --------------------------------------------------------------------------------------------------------


def _groups() -> Cases:
    """Multi-frame objects whose functional groups and frames do not fit together."""
    e = EXPLICIT
    place = e.sequence(0x00209113, e.item(e.element(0x00200032, "DS", b"0\\0\\1 ")), open_=False)
    two = {_FRAMES: e.element(_FRAMES, "IS", b"2 "), _PIXELS: e.element(_PIXELS, "OW", bytes(16))}
    per_frame = 0x52009230
    wild = e.sequence(0x00209113, e.item(e.element(0x00200032, "DS", b"CNRY")), open_=False)
    inner = e.sequence(per_frame, e.item(place), open_=False)
    for what, content in (
        ("none for two frames", b""), ("one for two frames", e.item(place)),
        ("a hundred for two frames", e.item(place) * 100), ("empty ones", e.item(b"") * 2),
        ("places of text", e.item(wild) * 2), ("the same place twice", e.item(place) * 2),
        ("two places in one", e.item(place + place) * 2), ("in each other", e.item(inner) * 2),
    ):  # fmt: skip
        yield (
            f"functional groups: {what}",
            Case(raw(two | {per_frame: e.element(per_frame, "SQ", content)}), "row 5, row 9"),
        )
    shared = e.sequence(0x52009229, e.item(place) * 3, open_=True)
    yield "functional groups: shared by three items", Case(raw(two | {0x52009229: shared}), "row 9")
    vectors = {
        0x00080060: e.element(0x00080060, "CS", b"NM"),
        0x00540080: e.element(0x00540080, "US", struct.pack("<2H", 1, 65535)),
    }
    yield "a slice vector of 65,535", Case(raw(two | vectors), "row 36, row 9")
    slide: Changes = {
        0x00080060: ("CS", b"SM"), 0x00480006: ("UL", b"\xff\xff\xff\xff"), 0x00480007: ("UL", b"\xff\xff\xff\xff"),
    }  # fmt: skip
    yield (
        "a slide of 2**64 pixels",
        Case(ct(slide), "row 36", "ok", "ok: whole_slide", "Slides are described, not read."),
    )
    region = e.element(0x0018602C, "FD", struct.pack("<d", float("nan"))) + e.element(0x0018602E, "FD", bytes(8))
    regions = {
        0x00080060: e.element(0x00080060, "CS", b"US"),
        0x00186011: e.sequence(0x00186011, e.item(region) * 50, open_=False),
    }
    yield "ultrasound regions of NaN", Case(raw(regions), "row 20 (of DICOM)")


def _private() -> Cases:
    """Private headers of Siemens, which tell what a mosaic holds."""
    e = EXPLICIT
    mosaic = {
        0x00080008: e.element(0x00080008, "CS", b"ORIGINAL\\PRIMARY\\M\\MOSAIC "),
        0x00080060: e.element(0x00080060, "CS", b"MR"),
        0x00080070: e.element(0x00080070, "LO", b"SIEMENS "),
        0x00290010: e.element(0x00290010, "LO", b"SIEMENS CSA HEADER"),
    }
    for what, content in (
        ("empty", b""), ("noise", b"CNRY" * 50),
        ("4 billion tags", b"SV10\4\3\2\1" + b"\xff\xff\xff\xff\x4d\0\0\0" + bytes(200)),
        ("cut", b"SV10\4\3\2\1\2\0\0\0\x4d\0\0\0NumberOfImagesInMosaic"),
        ("a million images", _csa(b"1000000")), ("-1 images", _csa(b"-1")), ("images of text", _csa(b"CNRY")),
        ("items of 2 GB", _csa(b"4", claimed=0x7FFFFFFF)),
    ):  # fmt: skip
        element = e.element(0x00291010, "OB", content + b"\0" * (len(content) % 2))
        yield (
            f"a mosaic whose private header is {what}",
            Case(raw(mosaic | {0x00291010: element}), "row 1, row 9 (CSA)"),
        )
    yield "a mosaic without a private header", Case(raw(mosaic), "row 9 (CSA)")


def _csa(value: bytes, claimed: int | None = None) -> bytes:
    """A Siemens CSA2 header with one tag."""
    name = b"NumberOfImagesInMosaic".ljust(64, b"\0")
    length = len(value) if claimed is None else claimed
    item = struct.pack("<4i", length, length, 77, length) + value + b"\0" * (-len(value) % 4)
    return b"SV10\4\3\2\1" + struct.pack("<2I", 1, 77) + name + struct.pack("<i4siii", 1, b"US\0\0", 6, 1, 77) + item
