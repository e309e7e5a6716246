"""Small objects that are meant to cost much to read, by name, and what must become of each."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

from hostile_dicom import (
    BIG,
    DEFLATED,
    ENCODINGS,
    EXPLICIT,
    IMPLICIT,
    PREAMBLE,
    UNDEFINED,
    Encoding,
    dataset,
    image,
    meta,
    zeros_deflated,
    zeros_gzipped,
)

MIB = 1 << 20
_FAR = 0xFFFFFFFE  # the longest length that is defined
_PRIVATE, _CONTENT, _SHARED, _FRAMES = 0x00091010, 0x0040A730, 0x52009229, 0x52009230
_PIXELS = 0x7FE00010


class Bomb(NamedTuple):
    """One object: what makes its bytes, `status` or `status: reason` of its row, and the name of its file."""

    make: Callable[[], bytes]
    outcome: str
    file_name: str = "bomb.dcm"


Bombs = Iterator[tuple[str, Bomb]]


def bombs() -> dict[str, Bomb]:
    """All of them, by name."""
    found = dict((*_streams(), *_starts(), *_nifti()))
    for name, encoding in ENCODINGS.items():
        for what, bomb in (*_elements(encoding), *_depths(encoding), *_lengths(encoding), *_values(encoding)):
            found[f"{what}, {name}"] = bomb
    return found


def _with(e: Encoding, tag: int, encoded: Callable[[], bytes]) -> Callable[[], bytes]:
    return lambda: image(e, {tag: encoded()})


# -- too many ----------------------------------------------------------------------------------------------------


def _items(e: Encoding) -> bytes:
    return e.item(b"") * 1_000_000


def _many(e: Encoding) -> bytes:
    """Empty elements in the order of their tags."""
    tags = ((0x0031 + 2 * (number // 60_000), 0x1000 + number % 60_000) for number in range(600_000))
    tail = b"LO\0\0" if e.explicit else bytes(4)
    return b"".join(struct.pack(e.order + "HH", *tag) + tail for tag in tags)


def _elements(e: Encoding) -> Bombs:
    too_many = "rejected: too_many_elements"
    for open_, length in ((True, "open"), (False, "defined")):
        # Where lengths are defined, what no column is made of is passed over in one step.
        passed = too_many if open_ else "ok"
        for tag, what, outcome in ((_PRIVATE, "item", passed), (_FRAMES, "frame", too_many)):

            def filled(content: Callable[[], bytes], tag: int = tag, open_: bool = open_) -> Callable[[], bytes]:
                return _with(e, tag, lambda: e.sequence(tag, content(), open_=open_))

            yield f"million {what}s, {length}", Bomb(filled(lambda: _items(e)), outcome)
            yield f"600,000 elements in one {what}, {length}", Bomb(filled(lambda: e.item(_many(e))), outcome)
    yield "600,000 elements", Bomb(_with(e, 0x00310000, lambda: _many(e)), too_many)
    yield "million items in an odd object", Bomb(lambda: _odd(e), too_many)


def _odd(e: Encoding) -> bytes:
    """A character set that nobody knows, which the walker leaves to pydicom, and a million items."""
    charset = e.element(0x00080005, "CS", b"KLINGON ")
    return image(e, {0x00080005: charset, _PRIVATE: e.sequence(_PRIVATE, _items(e), open_=True)})


def _depths(e: Encoding) -> Bombs:
    for vr in ("SQ", "UN") if e.explicit else ("SQ",):
        yield f"depth 5,000 of {vr}, open", Bomb(_with(e, _CONTENT, partial(_deep, e, vr)), "rejected: too_deep")
        yield f"depth 5,000 of {vr}, defined", Bomb(_with(e, _CONTENT, partial(_deep_defined, e, vr)), "ok")
    yield "2,000 items of UN without an end", Bomb(_with(e, _PRIVATE, lambda: _unended(e)), "rejected: too_deep")


def _deep(e: Encoding, vr: str) -> bytes:
    down = e.header(_CONTENT, vr, UNDEFINED) + e.item(b"", length=UNDEFINED)
    return down * 5000 + (e.item_end + e.sequence_end) * 5000


def _deep_defined(e: Encoding, vr: str) -> bytes:
    content = b""
    for _ in range(5000):
        content = e.element(_CONTENT, vr, e.item(content))
    return content


def _unended(e: Encoding) -> bytes:
    return (e.header(_PRIVATE, "UN", UNDEFINED) + e.item(b"", length=UNDEFINED)) * 2000


# -- lengths that lie --------------------------------------------------------------------------------------------


def _lengths(e: Encoding) -> Bombs:
    cut = "rejected: truncated_header"
    for vr in ("OB", "UT", "UN", "SQ"):
        yield f"4 GB of {vr}", Bomb(_with(e, _PRIVATE, partial(e.element, _PRIVATE, vr, b"", length=_FAR)), cut)
    far_item = partial(e.sequence, _PRIVATE, e.item(b"", length=_FAR), open_=True)
    yield "4 GB of an item", Bomb(_with(e, _PRIVATE, far_item), cut)
    unended = e.header(_PRIVATE, "SQ", UNDEFINED) + e.item(b"") * 100
    yield "sequence without an end", Bomb(_with(e, _PRIVATE, lambda: unended), cut)
    pixels = partial(e.element, _PIXELS, "OB", bytes(512), length=_FAR)
    yield "4 GB of pixels", Bomb(_with(e, _PIXELS, pixels), "rejected: truncated_pixels")
    for what, fill in (("zeros", bytes(4)), ("half delimiters", e.sequence_end[:4])):
        endless = partial(_endless, e, fill)
        yield f"20 MB of {what} without an end", Bomb(_with(e, _PRIVATE, endless), cut)
    shared = e.sequence(0x00289110, e.item(e.element(0x00280030, "DS", b"1\\1 ")), open_=False)
    frames = {
        0x00280008: e.element(0x00280008, "IS", b"2147483646"),
        _SHARED: e.sequence(_SHARED, e.item(shared), open_=True),
    }
    yield "2 billion frames, not there", Bomb(lambda: image(e, frames), "rejected: truncated_pixels")


def _endless(e: Encoding, fill: bytes) -> bytes:
    return e.header(_PRIVATE, "OB", UNDEFINED) + fill * (5 * MIB)


# -- values ------------------------------------------------------------------------------------------------------


def _values(e: Encoding) -> Bombs:
    """Values that take long to split or convert; those that columns are made of are kept as text, shortened."""
    for name, tag, vr, part in (
        ("ImageType", 0x00080008, "UC", b"\\A"),
        ("PixelSpacing", 0x00280030, "UN", b"1\\"),
        ("SOPInstanceUID", 0x00080018, "UT", b"1\\"),
    ):
        yield f"15 M values of {name}", Bomb(_with(e, tag, partial(_long, e, tag, vr, part)), "ok")
    charset = partial(_long, e, 0x00080005, "UC", b"\\A")
    yield "15 M values of SpecificCharacterSet", Bomb(_with(e, 0x00080005, charset), "rejected: long_value")
    yield "many values of many columns", Bomb(lambda: image(e, _all_columns(e)), "ok")
    yield "IS of 5,000 digits", Bomb(_with(e, 0x00200013, partial(e.element, 0x00200013, "IS", b"9" * 5000)), "ok")
    yield "DS of 1e999", Bomb(_with(e, 0x00180050, partial(e.element, 0x00180050, "DS", b"1e999 ")), "ok")
    yield "Rows of 4 bytes", Bomb(_with(e, 0x00280010, partial(e.element, 0x00280010, "US", bytes(4))), "ok")


def _long(e: Encoding, tag: int, vr: str, part: bytes) -> bytes:
    return e.element(tag, vr, part * 15_000_000)


def _all_columns(e: Encoding) -> dict[int, bytes]:
    """Fill fifty columns with 500,000 values each, under the limit of one value."""
    tags = [0x00080008, 0x00120063, 0x00180020, 0x00180021, 0x00180022, 0x00181020, 0x00181210, 0x00280030, 0x00281050]
    tags += [0x00180050 + number for number in range(48)]
    return {tag: e.element(tag, "UN", b"1\\" * 500_000) for tag in tags}


# -- compressed streams --------------------------------------------------------------------------------------------


def _streams() -> Bombs:
    deflated = PREAMBLE + meta(DEFLATED.uid)
    far = EXPLICIT.header(_PRIVATE, "OB", 0x7FFFFFF0)
    explicit = PREAMBLE + meta(EXPLICIT.uid)
    pixels = dataset(EXPLICIT)[:-20]
    too_large = "rejected: deflate_too_large"
    yield "deflated 2 GB of pixels", Bomb(lambda: deflated + zeros_deflated(pixels, 2048), too_large)
    yield "deflated 2 GB of a private value", Bomb(lambda: deflated + zeros_deflated(far, 2048), too_large)
    yield "deflated 2 GB of nothing", Bomb(lambda: deflated + zeros_deflated(bytes(1000), 2048), too_large)
    yield "deflated 500 MB header", Bomb(lambda: deflated + zeros_deflated(far, 500), "rejected: header_too_large")
    yield "deflate cut short", Bomb(lambda: image(DEFLATED)[:-30], "rejected: deflate_truncated")
    yield "deflate of garbage", Bomb(lambda: deflated + b"\xff\xfe\xfd" * 500, "rejected: deflate_damaged")
    too_large = "rejected: gzip_too_large"
    for name, start in (("pixels", image(EXPLICIT)), ("a private value", explicit + far), ("nothing", PREAMBLE)):
        yield f"gzip of 2 GB of {name}", Bomb(partial(zeros_gzipped, start, 2048), too_large, "bomb.dcm.gz")
    yield (
        "gzip of a 500 MB header",
        Bomb(lambda: zeros_gzipped(explicit + far, 500), "rejected: header_too_large", "bomb.dcm.gz"),
    )


# -- beginnings --------------------------------------------------------------------------------------------------


def _starts() -> Bombs:
    too_many = "rejected: too_many_elements"
    yield "64 MB of zeros", Bomb(lambda: bytes(64 * MIB), "not_imaging: not_dicom_or_nifti")
    yield "DICM, then zeros", Bomb(lambda: PREAMBLE + bytes(64 * MIB), too_many)
    for encoding in (EXPLICIT, IMPLICIT, BIG):
        yield (
            f"meta, then zeros, {encoding.uid}",
            Bomb(lambda e=encoding: PREAMBLE + meta(e.uid) + bytes(64 * MIB), too_many),
        )
    explicit, rest = PREAMBLE + meta(EXPLICIT.uid), dataset(EXPLICIT)

    def with_meta(more: Callable[[], bytes]) -> Callable[[], bytes]:
        return lambda: PREAMBLE + meta(EXPLICIT.uid, more=more()) + rest

    yield "meta without an end", Bomb(with_meta(lambda: b"\x02\x00\x00\x01LO\0\0" * 500_000), too_many)
    sequence = lambda e: e.sequence(_PRIVATE, _items(e), open_=True)  # noqa: E731
    yield "meta of a million items", Bomb(with_meta(lambda: b"\x02\0" + sequence(EXPLICIT)[2:]), too_many)
    syntaxes = partial(_long, EXPLICIT, 0x00020010, "UC", b"1\\")
    yield "15 M transfer syntaxes", Bomb(lambda: PREAMBLE + syntaxes() + rest, "rejected: long_value")
    for length in (0, 1, 4, 0x7FFFFFFF, 0xFFFFFFFF):
        yield f"meta of length {length}", Bomb(lambda n=length: PREAMBLE + meta(EXPLICIT.uid, length=n) + rest, "ok")
    many = lambda e: dataset(e, {0x00310000: _many(e)})  # noqa: E731
    yield "no preamble, 600,000 elements", Bomb(lambda: many(EXPLICIT), too_many)
    yield "no preamble, a million items", Bomb(lambda: dataset(IMPLICIT, {_PRIVATE: sequence(IMPLICIT)}), too_many)
    commands = IMPLICIT.element(0x00000100, "US", b"\0\0")
    yield "a million commands", Bomb(lambda: explicit + commands * 1_000_000 + rest, too_many)
    cut_off = (PREAMBLE + meta(BIG.uid))[128:]
    yield "DICM at the beginning, 600,000 elements", Bomb(lambda: cut_off + many(BIG), too_many)


# -- NIfTI -------------------------------------------------------------------------------------------------------


def _nifti() -> Bombs:
    cut, huge = "rejected: truncated_pixels", (4, *[32767] * 4, 1, 1, 1)
    for suffix, pack in ((".nii", bytes), (".nii.gz", partial(gzip.compress, mtime=0))):
        name = "bomb" + suffix
        for what, changes, outcome in (
            ("dims 32767^4", {"dim": huge}, cut),
            ("dims 32767^7", {"dim": (7, *[32767] * 7)}, cut),
            ("negative dims", {"dim": (3, 4, -4, 4, 1, 1, 1, 1)}, "rejected: bad_dimensions"),
            ("no dims", {"dim": (0,) * 8}, "rejected: bad_dimensions"),
            ("vox_offset 1e38", {"offset": 1e38}, cut),
            ("vox_offset -10", {"offset": -10.0}, "rejected: bad_vox_offset"),
            ("vox_offset NaN", {"offset": float("nan")}, "rejected: bad_vox_offset"),
            ("extension of no size", {"extension": 0}, "ok"),
            ("extension of negative size", {"extension": -16}, "ok"),
            ("extension of 2 GB", {"extension": 0x7FFFFFF0}, "ok"),
        ):
            yield f"{suffix} with {what}", Bomb(lambda p=pack, c=changes: p(nifti(**c)), outcome, name)
    values = nifti(dim=(3, 1024, 1024, 2048, 1, 1, 1, 1), values=0)
    yield ".nii.gz of 4 GB in 4 MB", Bomb(partial(zeros_gzipped, values, 4096), "ok", "bomb.nii.gz")
    yield ".nii.gz of 4 GB after the values", Bomb(partial(zeros_gzipped, nifti(), 4096), "ok", "bomb.nii.gz")


def nifti(
    *,
    dim: tuple[int, ...] = (3, 4, 4, 4, 1, 1, 1, 1),
    offset: float = 384.0,
    extension: int = 32,
    values: int = 128,
) -> bytes:
    """A NIfTI-1 image of int16 with one extension, of which the size is told."""
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, *dim)
    struct.pack_into("<hh", header, 70, 4, 16)  # datatype, bitpix
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, offset)
    header[344:348] = b"n+1\0"
    return bytes(header) + b"\1\0\0\0" + struct.pack("<ii", extension, 6).ljust(32, b"\0") + bytes(values)
