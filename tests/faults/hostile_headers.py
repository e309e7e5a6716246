"""Hostile DICOM headers: lengths, delimiters, transfer syntaxes, character sets and values, made by code."""

from __future__ import annotations

import gzip

from hostile_case import Case, Cases, Files, ct, only, raw, text, unique
from hostile_dicom import (
    BIG,
    DEFLATED,
    EXPLICIT,
    IMPLICIT,
    PREAMBLE,
    UNDEFINED,
    dataset,
    deflated,
    image,
    meta,
)

_CUT = "rejected: truncated_header"
_NOT = "not_imaging: not_dicom_or_nifti"
_STUDY, _ROWS, _PIXELS, _PRIVATE = 0x00081030, 0x00280010, 0x7FE00010, 0x00091010
_LENGTHS = "row 1; CVE-2026-3650 (GDCM #214), dcm4che #1584, medme #165: lengths believed"


def cases() -> Cases:
    """All of them, by name."""
    for group in (_lengths, _cuts, _delimiters, _syntaxes, _texts, _starts, _numbers, _identifiers):
        yield from group()


# -- lengths and delimiters ----------------------------------------------------------------------------------------


def _lengths() -> Cases:
    e = EXPLICIT
    for what, tag, element in (
        ("4 GB of a column", _STUDY, e.element(_STUDY, "UT", b"CNRY", length=0xFFFFFFFE)),
        ("2 GB of a column", _STUDY, e.element(_STUDY, "UN", b"CNRY", length=0x7FFFFFF0)),
        ("65,534 bytes of Rows", _ROWS, e.element(_ROWS, "US", b"\2\0", length=0xFFFE)),
        ("65,535 bytes of a UID", 0x0020000E, e.element(0x0020000E, "UI", b"1.2\0", length=0xFFFF)),
        ("text of undefined length", _STUDY, e.header(_STUDY, "UT", UNDEFINED) + b"CNRY"),
        ("4 GB of functional groups", 0x52009230, e.header(0x52009230, "SQ", 0xFFFFFFFE)),
    ):
        yield f"length: {what}", Case(raw({tag: element}), _LENGTHS, _CUT, None)
    far = EXPLICIT.element(0x00020003, "UI", b"1.2\0", length=0xFFFE)
    yield (
        "length: 64 KB in the file meta information",
        Case(only(lambda n: unique(PREAMBLE + meta(e.uid, more=far) + dataset(e), n)), _LENGTHS, _CUT, None),
    )
    yield "length: an odd one", Case(ct({_STUDY: ("LO", b"CNRYODD")}), "row 1, PS3.5 7.1.1")
    yield (
        "length: of a group, wrong",
        Case(ct({0x00080000: ("UL", b"\xff\xff\xff\x7f")}), "row 1", why="Group lengths are retired and never used."),
    )
    yield (
        "length: pixels of 4 GB",
        Case(
            raw({_PIXELS: e.header(_PIXELS, "OW", 0xFFFFFFFE) + bytes(8)}),
            "finding 5 (4 GB PixelData with 512 bytes behind it)",
            "rejected: truncated_pixels",
            None,
        ),
    )
    yield (
        "length: pixels of 65,535 x 65,535 in 8 bytes",
        Case(ct({_ROWS: ("US", 65_535), 0x00280011: ("US", 65_535)}), "row 9", "rejected: truncated_pixels", None),
    )


def _cuts() -> Cases:
    """One object cut where each kind of thing stands."""
    stands = "row 2, finding 5"
    whole = image(EXPLICIT)
    places = {
        "in the preamble": (100, _NOT),
        "in the prefix": (130, _NOT),
        "after the prefix": (132, "rejected: not_plausible_dicom"),
        "in the file meta information": (150, _CUT),
        "in a tag": (whole.index(b"CNRY STUDY") - 6, _CUT),
        "in a length": (whole.index(b"CNRY STUDY") - 1, _CUT),
        "in a value": (whole.index(b"CNRY STUDY") + 4, _CUT),
        "in the pixel header": (len(whole) - 8 - 5, _CUT),
        "before the pixel values": (len(whole) - 8, "rejected: truncated_pixels"),
        "in the pixel values": (len(whole) - 3, "rejected: truncated_pixels"),
    }
    for what, (place, row) in places.items():
        yield f"cut {what}", Case(only(lambda n, p=place: unique(whole, n)[:p]), stands, row, None)
    yield (
        "cut between elements",
        Case(
            only(lambda n: unique(whole, n)[: whole.index(b"\x28\0\x02\0US")]),
            stands,
            "ok",
            None,
            "Nothing tells it from an object without pixels; where Rows and Columns are there, PIX-MISSING is found.",
        ),
    )


def _delimiters() -> Cases:
    e, stands = EXPLICIT, "row 4"
    name = e.element(0x00100010, "PN", b"CNRY^INNER")
    sequence = 0x00081140
    opened = e.header(sequence, "SQ", UNDEFINED)
    long_item = e.element(sequence, "SQ", e.item(name, length=len(name) + 100))
    for what, element, row in (
        ("an item longer than its sequence", long_item, "ok"),
        ("an item of 4 GB in a defined sequence", e.element(sequence, "SQ", e.item(name, length=0xFFFFFFF0)), "ok"),
        ("a sequence shorter than its item", e.element(sequence, "SQ", e.item(name), length=12), _CUT),
        ("an element where an item is due", e.sequence(sequence, name, open_=True), _CUT),
        ("an item end at the top", e.item_end, "rejected: stray_delimiter"),
        ("a sequence end at the top", e.sequence_end, "ok"),
        ("an item at the top", e.item(name), "ok"),
        ("an item end of 4 GB", opened + e.open_item(name)[:-4] + b"\xff\xff\xff\xff", _CUT),
        ("a sequence end inside an item", opened + e.item(b"", length=UNDEFINED) + e.sequence_end, _CUT),
    ):  # fmt: skip
        yield f"delimiters: {what}", Case(raw({sequence: element}), stands, row, "ok" if row == "ok" else None)
    icon = e.element(_ROWS, "US", 9999) + e.element(_PIXELS, "OW", bytes(2))
    nested = {0x00880200: e.sequence(0x00880200, e.item(icon), open_=False)}
    yield "pixels in an icon, others at the top", Case(raw(nested), "row 9 (the wrong Rows)")
    yield "pixels in an icon alone", Case(raw(nested | {_PIXELS: b""}), "row 9 (the wrong pixels)", "ok", None)
    twice = e.element(_ROWS, "US", 2) + e.element(_ROWS, "US", 60_000)
    yield (
        "an element twice",
        Case(
            raw({_ROWS: twice}),
            "row 9 (which Rows counts)",
            "rejected: truncated_pixels",
            None,
            "The last one counts, as in pydicom.",
        ),
    )
    yield (
        "pixels twice",
        Case(raw({}, tail=e.element(_PIXELS, "OW", bytes(8))), "row 9", why="What follows the pixels is not read."),
    )
    late = {_ROWS: b"", 0x00290010: e.element(_ROWS, "US", 2)}
    yield "elements that do not ascend", Case(raw(late), "PS3.5 7.1", why="Read all the same; HDR-ODD-ENCODING tells.")


# -- transfer syntaxes ---------------------------------------------------------------------------------------------


def _under(
    uid: str, body: bytes, row: str = "ok", volume: str | None = "ok", *, more: bytes = b"", why: str = ""
) -> Case:
    return Case(only(lambda n: unique(PREAMBLE + meta(uid, more=more) + body, n)), "row 14", row, volume, why)


def _syntaxes() -> Cases:
    garbage = "Read by the wrong rules the first elements are wild; the guard that sees that first names the reason."
    wild = "rejected: long_value"
    explicit, implicit, big = dataset(EXPLICIT), dataset(IMPLICIT), dataset(BIG)
    told = "Whether it is implicit is told by the bytes: read all the same, as pydicom does."
    yield "explicit claimed, implicit written", _under(EXPLICIT.uid, implicit, why=told)
    yield "implicit claimed, explicit written", _under(IMPLICIT.uid, explicit, why=told)
    yield "explicit claimed, big endian written", _under(EXPLICIT.uid, big, wild, None, why=garbage)
    yield "implicit claimed, big endian written", _under(IMPLICIT.uid, big, wild, None, why=garbage)
    yield "big endian claimed, explicit written", _under(BIG.uid, explicit, wild, None, why=garbage)
    yield "big endian claimed, implicit written", _under(BIG.uid, implicit, _CUT, None, why=garbage)
    yield "deflated claimed, explicit written", _under(DEFLATED.uid, explicit, "rejected: deflate_damaged", None)
    yield "explicit claimed, deflated written", _under(EXPLICIT.uid, deflated(explicit), _CUT, None, why=garbage)
    unknown = "rejected: no_decoder: unknown"
    yield "a syntax that nobody knows", _under("1.2.3.999", explicit, volume=unknown)
    yield "a syntax of letters", _under("CNRY.SYNTAX", explicit, volume=unknown)
    yield "two syntaxes", _under("1.2.840.10008.1.2.1\\1.2.840.10008.1.2", explicit, volume=unknown)
    yield "an empty syntax", _under("", explicit, why="Read by the tags, as if there were no syntax at all.")
    url = dataset(EXPLICIT, {_PIXELS: b"", 0x00287FE0: EXPLICIT.element(0x00287FE0, "UR", b"http://cnry.invalid/CNRY")})
    yield "pixels behind a URL (JPIP)", _under("1.2.840.10008.1.2.4.94", url, volume=None, why="No URL is followed.")
    yield "file meta information twice", _under(EXPLICIT.uid, meta(IMPLICIT.uid) + implicit)
    yield "no file meta information", Case(only(lambda n: unique(PREAMBLE + implicit, n)), "row 14, row 16")
    stream = EXPLICIT.header(_PIXELS, "OB", UNDEFINED) + EXPLICIT.item(b"") + EXPLICIT.item(b"\0\0\1\xb3" + b"CNRY" * 9)
    items = dataset(EXPLICIT, {_PIXELS: stream + EXPLICIT.sequence_end})
    for name, uid in (
        ("MPEG2 Main Profile / Main Level", "100"), ("MPEG-4 AVC/H.264 High Profile / Level 4.1", "102"),
        ("HEVC/H.265 Main Profile / Level 5.1", "107"),
    ):  # fmt: skip
        reason = f"rejected: no_decoder: {name}"
        yield f"video that is none, {name.split()[0]}", _under(f"1.2.840.10008.1.2.4.{uid}", items, volume=reason)
    bad = "rejected: bad_encapsulation"
    for name, e in (("explicit", EXPLICIT), ("implicit", IMPLICIT)):
        yield f"encapsulated pixels under {name}", _under(e.uid, items, bad, None)
    yield "native pixels under JPEG", _under("1.2.840.10008.1.2.4.50", explicit, volume=bad)
    yield "native pixels under RLE", _under("1.2.840.10008.1.2.5", explicit, volume=bad)


# -- text ----------------------------------------------------------------------------------------------------------


def _texts() -> Cases:
    stands = "row 15"
    for what, term in (
        ("that nobody knows", "CNRY_SET"), ("of Python's zlib", "zlib_codec"),
        ("of Python's escapes", "unicode_escape"),
        ("of rot13", "rot13"), ("of ISO 2022 IR 999", "ISO 2022 IR 999"), ("of idna", "idna"),
        ("many", "\\".join(["ISO 2022 IR 87"] * 60)), ("empty", ""), ("of spaces", "    "),
    ):  # fmt: skip
        yield (
            f"character set {what}",
            Case(ct({0x00080005: ("CS", text(term)), _STUDY: ("LO", b"CNRY\xe9\xff")}), stands),
        )
    for what, term, value in (
        ("UTF-8 that is none", "ISO_IR 192", b"CNRY\xff\xfe\xc0\x80"),
        ("GB18030 cut", "GB18030", b"CNRY\x81\x30\x81"),
        ("escapes that end nowhere", "\\ISO 2022 IR 149", b"CNRY\x1b$)C\xb1\x1b"),
        ("escapes of another set", "ISO 2022 IR 6\\ISO 2022 IR 87", b"CNRY\x1b$(Q\x30\x21"),
        ("NUL, ESC and BEL", "ISO_IR 100", b"CNRY\0\x1b[2J\x07"),
        ("half a surrogate pair", "ISO_IR 192", b"CNRY\xed\xa0\x80"),
        ("markup", "ISO_IR 100", b"<script>CNRY</script>"),
        ("a formula", "ISO_IR 100", b"=HYPERLINK(CNRY)"),
        ("text from right to left", "ISO_IR 192", "CNRY\u202e\u2066".encode()),
    ):
        changes = {0x00080005: ("CS", text(term)), _STUDY: ("LO", text(value)), 0x00100010: ("PN", text(value))}
        yield f"text of {what}", Case(ct(changes), "row 29" if what in ("markup", "a formula") else stands)
    yield "a name of 1,000 groups", Case(ct({0x00100010: ("PN", b"CNRY=" * 1000)}), "row 15, row 6")


# -- beginnings ----------------------------------------------------------------------------------------------------


def _starts() -> Cases:
    whole = image(EXPLICIT)
    for what, start in (("Windows", b"MZ\x90\0"), ("Linux", b"\x7fELF\2\1\1"), ("a shell", b"#!/bin/sh\nCNRY\n")):

        def program(number: int, start: bytes = start) -> bytes:
            return unique(start.ljust(128, b"\x90") + whole[128:], number)

        yield f"a program of {what} in the preamble", Case(only(program), "row 17, CVE-2019-11687")
    tiff = b"II*\0\x80\0\0\0"
    yield (
        "a TIFF in the preamble",
        Case(only(lambda n: unique(tiff.ljust(128, b"\0") + whole[128:], n)), "row 17", why="Whole slides do that."),
    )
    for what, content in (
        ("text", b"CNRY is no image\n" * 40), ("HTML", b"<html><script>CNRY</script>" * 20),
        ("PDF", b"%PDF-1.7\n%CNRY\n" * 30), ("PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(400)),
        ("JPEG", b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(400)), ("noise", bytes(range(7, 256)) * 4),
        ("a wrong prefix", bytes(128) + b"DICX" + whole[132:]), ("131 zeros", bytes(131)), ("one byte", b"\x08"),
    ):  # fmt: skip
        yield f"{what}, named .dcm", Case(only(lambda n, c=content: c), "row 16", _NOT, None)
    yield "a header of the XML of DICOM", Case(only(lambda n: b"<NativeDicomModel>CNRY" * 30), "row 16", _NOT, None)
    for what, e in (("explicit", EXPLICIT), ("implicit", IMPLICIT), ("big endian", BIG)):
        yield f"no preamble, {what}", Case(only(lambda n, e=e: unique(dataset(e), n)), "row 16")
    yield "gzipped", Case(only(lambda n: gzip.compress(unique(whole, n), mtime=0)), "row 16")
    yield (
        "gzipped twice",
        Case(only(lambda n: gzip.compress(gzip.compress(unique(whole, n)), mtime=0)), "row 16", _NOT, None),
    )
    yield (
        "gzipped and cut",
        Case(
            only(lambda n: gzip.compress(unique(whole, n), mtime=0)[:-20]), "row 16", "rejected: gzip_truncated", None
        ),
    )
    yield (
        "gzipped, wrong CRC",
        Case(
            only(lambda n: _flipped(gzip.compress(unique(whole, n), mtime=0), -6)),
            "finding 6",
            "rejected: gzip_damaged",
            None,
        ),
    )
    yield (
        "gzipped, wrong length",
        Case(
            only(lambda n: _flipped(gzip.compress(unique(whole, n), mtime=0), -2)),
            "finding 6",
            "rejected: gzip_damaged",
            None,
        ),
    )
    yield (
        "a prefix alone",
        Case(only(lambda n: PREAMBLE), "finding 5 (0 elements, no warning)", "rejected: not_plausible_dicom", None),
    )
    yield "file meta information alone", Case(only(lambda n: PREAMBLE + meta(EXPLICIT.uid)), "finding 5", _CUT, None)
    yield (
        "a directory whose files lie above",
        Case(_directory, "CVE-2026-32711 (pydicom #2314), CVE-2022-2119/2120", "ok", None),
    )


def _flipped(data: bytes, place: int) -> bytes:
    block = bytearray(data)
    block[place] ^= 0x10
    return bytes(block)


def _directory(number: int) -> Files:
    e = EXPLICIT
    record = e.element(0x00041430, "CS", b"IMAGE ") + e.element(0x00041500, "CS", b"..\\..\\..\\CNRY\\PASSWD ")
    body = e.element(0x00041130, "CS", b"CNRY") + e.sequence(0x00041220, e.item(record), open_=True)
    sop = EXPLICIT.element(0x00020002, "UI", b"1.2.840.10008.1.3.10\0\0"[:20])
    return {"DICOMDIR": PREAMBLE + meta(e.uid, more=sop) + body}


# -- numbers -------------------------------------------------------------------------------------------------------


def _numbers() -> Cases:
    """Values that are none of their VR: kept as raw text, the row stays."""
    stands = "row 13, finding 31 (pydicom's messages quote the value)"
    for what, tag, vr, value in (
        ("DS of text", 0x00180050, "DS", b"CNRYDS"), ("DS of hexadecimal", 0x00180050, "DS", b"0xCAFE"),
        ("DS with a comma", 0x00180050, "DS", b"1,5 "), ("DS of 5,000 digits", 0x00180050, "DS", b"1" * 5000),
        ("DS of NaN", 0x00180050, "DS", b"nan "), ("DS of infinity", 0x00180050, "DS", b"-inf"),
        ("IS of text", 0x00200013, "IS", b"CNRYIS"), ("IS of a fraction", 0x00200013, "IS", b"1.5 "),
        ("IS beyond 64 bits", 0x00200013, "IS", b"9" * 20), ("IS of two values", 0x00200013, "IS", b"1\\2 "),
        ("DA of text", 0x00080020, "DA", b"CNRYDATE"), ("TM of text", 0x00080030, "TM", b"CNRYTIME"),
        ("AS of text", 0x00101010, "AS", b"CNRY"), ("FD of 7 bytes", 0x00189087, "FD", b"CNRYFD7"),
        ("US of 1 byte", 0x00280100, "US", b"\x10"), ("US of 3 bytes", 0x00280100, "US", b"\x10\0\0"),
        ("US of text", 0x00280100, "LO", b"CNRY"), ("UI of text", 0x0020000D, "UI", b"CNRYUID\0"),
        ("a column of OB", _STUDY, "OB", b"CNRYOB"), ("a column of UN", _STUDY, "UN", b"CNRYUN"),
        ("a VR that is none", _STUDY, "ZZ", b"CNRYZZ"),
    ):  # fmt: skip
        lost = "rejected: missing_attribute: BitsAllocated" if tag == 0x00280100 else "ok"
        yield f"value: {what}", Case(ct({tag: (vr, value)}), stands, volume=lost)
    for what, vr in (("of bytes", "\1\2"), ("in lower case", "lo")):
        lost = "Taken for the length of an implicit element, as pydicom does, it reaches beyond the end."
        yield f"value: a VR {what}", Case(ct({_STUDY: (vr, b"CNRY")}), stands, _CUT, None, lost)


# -- identifiers ---------------------------------------------------------------------------------------------------


def _identifiers() -> Cases:
    stands = "row 28, pynetdicom #823"
    for what, value in (
        ("that leads up", b"../../CNRY"), ("of 5,000 characters", b"1." * 2500),
        ("of a surrogate", b"1.2.\xed\xa0\x80"),
        ("of spaces", b"    "), ("of a drive", b"C:\\CNRY\\NUL."), ("of a device", b"CON "),
    ):  # fmt: skip
        changes = dict.fromkeys((2097165, 2097166), ("UI", value)) | {0x00080018: ("UI", value + b".1")}
        yield f"a UID {what}", Case(ct(changes), stands)
    for what, tag in (("instance", 0x00080018), ("series", 0x0020000E), ("study", 0x0020000D), ("class", 0x00080016)):
        yield f"no UID of the {what}", Case(raw({tag: b""}), "row 13")
    yield "an empty UID of the instance", Case(ct({0x00080018: ("UI", b"")}), "row 13")
