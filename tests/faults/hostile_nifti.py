"""Hostile NIfTI images: headers, extensions, gzip streams and pairs, made by code."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

from hostile_case import Case, Cases, Files, only
from hostile_dicom import zeros_gzipped

NAN, INF = float("nan"), float("inf")
_CUT, _DIMS, _OFFSET = "rejected: truncated_pixels", "rejected: bad_dimensions", "rejected: bad_vox_offset"
_NOT = "not_imaging: not_dicom_or_nifti"
_CRC, _DAMAGED = "rejected: gzip_crc_error", "rejected: gzip_damaged"
_LIMIT = 1 << 20

# Field -> offset and layout of NIfTI-1 and of NIfTI-2 (nifti1.h, nifti2.h).
_FIELDS = {
    "sizeof_hdr": ((0, "i"), (0, "i")), "dim": ((40, "8h"), (16, "8q")), "intent_code": ((68, "h"), (504, "i")),
    "datatype": ((70, "h"), (12, "h")), "bitpix": ((72, "h"), (14, "h")), "pixdim": ((76, "8f"), (104, "8d")),
    "vox_offset": ((108, "f"), (168, "q")), "scl_slope": ((112, "f"), (176, "d")),
    "scl_inter": ((116, "f"), (184, "d")), "slice_end": ((120, "h"), (232, "q")),
    "slice_code": ((122, "b"), (496, "i")), "xyzt_units": ((123, "B"), (500, "i")),
    "toffset": ((136, "f"), (216, "d")), "qform_code": ((252, "h"), (344, "i")),
    "sform_code": ((254, "h"), (348, "i")), "quatern": ((256, "6f"), (352, "6d")),
    "srow": ((280, "12f"), (400, "12d")),
}  # fmt: skip
_TEXTS = {"descrip": (148, 240), "intent_name": (328, 508)}


def image(
    *,
    version: int = 1,
    order: str = "<",
    extensions: bytes = b"",
    values: bytes | None = None,
    magic: bytes | None = None,
    number: int = 0,
    **fields: Any,
) -> bytes:
    """A NIfTI image of 4 x 4 x 4 int16; the fields given are written as they are, one value or a tuple."""
    size = 348 if version == 1 else 540
    header = bytearray(size)
    start = 0 if magic is not None and magic.startswith(b"ni") else size + 4 + len(extensions)
    plain: dict[str, Any] = {
        "sizeof_hdr": size, "dim": (3, 4, 4, 4, 1, 1, 1, 1), "datatype": 4, "bitpix": 16, "pixdim": (1.0,) * 8,
        "vox_offset": start, "scl_slope": 1, "xyzt_units": 2, "sform_code": 1,
        "srow": (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0),
    }  # fmt: skip
    for name, given in (plain | fields).items():
        offset, layout = _FIELDS[name][version - 1]
        struct.pack_into(order + layout, header, offset, *(given if isinstance(given, tuple) else (given,)))
    for name, places in _TEXTS.items():
        told = b"CNRY %s %d" % (name.encode(), number)
        header[places[version - 1] : places[version - 1] + len(told)] = told
    told = magic or (b"n+1\0" if version == 1 else b"n+2\0\r\n\x1a\n")
    header[344:348] = told if version == 1 else header[344:348]
    if version == 2:
        header[4:12] = told
    flag = b"\1\0\0\0" if extensions else bytes(4)
    if values is None:
        values = struct.pack(order + "64h", *range(64))
    return bytes(header) + (b"" if start == 0 else flag + extensions) + values


def extension(content: bytes, *, size: int | None = None, code: int = 6) -> bytes:
    length = 8 + len(content) + -(8 + len(content)) % 16
    return struct.pack("<ii", length if size is None else size, code) + content.ljust(length - 8, b"\0")


def cases() -> Cases:
    """All of them, by name."""
    for group in (_dims, _types, _places, _scales, _extensions, _magics, _streams, _pairs):
        for name, case in group():
            yield f"NIfTI: {name}", case


def _nii(stands_for: str, row: str = "ok", volume: str | None = "ok", why: str = "", **given: Any) -> Case:
    if row != "ok":
        volume = None
    return Case(only(lambda n: image(number=n, **given), "case.nii"), stands_for, row, volume, why)


# -- the header ----------------------------------------------------------------------------------------------------


def _dims() -> Cases:
    stands = "row 18, nifti_clib #196 (377 bytes ask for 18 GB)"
    for version in (1, 2):
        most = 32767 if version == 1 else 2**62
        for what, dim, row in (
            ("dim[0] = -3", (-3, 4, 4, 4, 1, 1, 1, 1), _DIMS),
            # nibabel takes 8 for a sign of the other byte order; what it then says is refused for that
            ("dim[0] = 8", (8, 4, 4, 4, 1, 1, 1, 1), _OFFSET if version == 1 else _CUT),
            ("a zero axis", (3, 4, 0, 4, 1, 1, 1, 1), _DIMS),
            ("a negative axis", (3, 4, 4, -1, 1, 1, 1, 1), _DIMS),
            ("the largest axis", (3, 4, 4, most, 1, 1, 1, 1), _CUT),
            ("one slice more than there is", (3, 4, 4, 5, 1, 1, 1, 1), _CUT),
        ):
            yield f"version {version}, {what}", _nii(stands, row, version=version, dim=dim)
    yield "32-bit overflow", _nii(stands, _CUT, version=2, dim=(3, 65536, 65536, 1, 1, 1, 1, 1))
    yield "64-bit overflow", _nii(stands, _CUT, version=2, dim=(4, 2**16, 2**16, 2**16, 2**16, 1, 1, 1))
    yield "one dimension", _nii(stands, dim=(1, 64, 0, 0, 0, 0, 0, 0))
    yield (
        "seven dimensions of one",
        _nii(stands, dim=(7, 4, 4, 4, 1, 1, 1, 1)),
    )
    yield (
        "six dimensions",
        _nii(
            stands, "ok", "rejected: too_many_dimensions", dim=(6, 4, 4, 1, 1, 1, 4, 1), why="OME-Zarr has five axes."
        ),
    )
    yield "zeros beyond dim[0]", _nii(stands, dim=(3, 4, 4, 4, 0, 0, 0, 0))
    yield "32,767 channels that lack", _nii(stands, _CUT, dim=(5, 1, 1, 1, 1, 32767, 1, 1))


def _types() -> Cases:
    stands = "row 20, row 18"
    unknown = "rejected: unknown_datatype"
    for what, code in (("none", 0), ("binary", 1), ("all", 255), ("odd", 3), ("negative", -4), ("beyond", 9999)):
        yield f"datatype {what}", _nii(stands, unknown, datatype=code)
    datatype_tells = "The datatype tells; NIfTI has bitpix for those who do not know the code."
    for bits in (0, 8, 64, -16):
        yield f"int16 of {bits} bits", _nii(stands, bitpix=bits, why=datatype_tells)
    yield "float64 in the bytes of int16", _nii(stands, _CUT, datatype=64, bitpix=16)
    yield "RGB in too few bytes", _nii(stands, _CUT, datatype=128, bitpix=24)
    for what, code, bits in (("float128", 1536, 128), ("complex256", 2048, 256)):
        yield what, _nii(stands, unknown, datatype=code, bitpix=bits, why="Few machines have that type.")
    for what, code, layout, value, volume in (
        ("NaN alone", 16, "f", NAN, "ok"),
        ("infinity alone", 16, "f", -INF, "ok"),
        ("float64 beyond float32", 64, "d", 1e300, "rejected: values_exceed_float32"),
        ("the largest uint64", 1280, "Q", 2**64 - 1, "rejected: values_exceed_int64"),
        ("the least int64", 1024, "q", -(2**63), "ok"),
    ):
        block, bits = struct.pack("<64" + layout, *[value] * 64), 8 * struct.calcsize(layout)
        yield f"values: {what}", _nii("row 20", volume=volume, datatype=code, bitpix=bits, values=block)


def _places() -> Cases:
    stands = "row 20"
    for what, fields in (
        ("pixdim NaN", {"pixdim": (1.0, NAN, NAN, NAN, 1.0, 1.0, 1.0, 1.0)}),
        ("pixdim 0", {"pixdim": (0.0,) * 8}),
        ("pixdim infinite", {"pixdim": (1.0, INF, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)}),
        ("pixdim negative", {"pixdim": (1.0, -1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0)}),
        ("pixdim 1e38", {"pixdim": (1.0, 1e38, 1e38, 1e38, 1.0, 1.0, 1.0, 1.0), "sform_code": 0}),
        ("qfac 7", {"pixdim": (7.0, *[1.0] * 7), "qform_code": 1, "sform_code": 0}),
        ("qfac NaN", {"pixdim": (NAN, *[1.0] * 7), "qform_code": 1, "sform_code": 0}),
        ("a quaternion beyond 1", {"quatern": (9.0, 9.0, 9.0, 0.0, 0.0, 0.0), "qform_code": 1, "sform_code": 0}),
        ("a quaternion of NaN", {"quatern": (NAN,) * 6, "qform_code": 1, "sform_code": 0}),
        ("an sform of zeros", {"srow": (0.0,) * 12}),
        ("an sform of NaN", {"srow": (NAN,) * 12}),
        ("an sform of infinity", {"srow": (INF,) * 12}),
        ("an sform of 1e38", {"srow": (1e38,) * 12}),
        ("form codes that are none", {"sform_code": -7, "qform_code": 999}),
        ("units that are none", {"xyzt_units": 255}),
        ("a time offset of NaN", {"toffset": NAN}),
        ("a slice order that is none", {"slice_code": 99, "slice_end": -1}),
        ("an intent that is none", {"intent_code": -1}),
    ):
        yield (
            f"place: {what}",
            _nii(stands, why="The values are whole; what is wrong with the place is a finding.", **fields),
        )
    for what, offset, row in (
        ("NaN", NAN, _OFFSET), ("infinite", INF, _OFFSET), ("of a fraction", 352.5, _OFFSET), ("-1", -1.0, _OFFSET),
        ("1e30", 1e30, _CUT), ("past the end", 5000.0, _CUT), ("two bytes late", 354.0, _CUT),
    ):  # fmt: skip
        yield f"vox_offset {what}", _nii("row 19", row, vox_offset=offset)
    for what, offset in (("-2**63", -(2**63)), ("2**62", 2**62), ("2**63 - 1", 2**63 - 1)):
        yield (
            f"version 2, vox_offset {what}",
            _nii("row 19", _OFFSET if offset < 0 else _CUT, version=2, vox_offset=offset),
        )
    for what, offset in (("0", 0.0), ("348", 348.0), ("351", 351.0)):
        yield (
            f"vox_offset {what}",
            _nii("row 19", vox_offset=offset, why="No values can lie in the header: right behind it."),
        )


def _scales() -> Cases:
    unscaled = "The standard has 0 for unscaled; NaN and infinity are taken for it, and found (NII-SLOPE-INVALID)."
    for what, slope, inter in (
        ("slope 0", 0.0, 5.0), ("slope NaN", NAN, 0.0), ("slope infinite", INF, 0.0), ("inter NaN", 1.0, NAN),
        ("inter infinite", 1.0, -INF),
    ):  # fmt: skip
        yield f"scale: {what}", _nii("row 20", scl_slope=slope, scl_inter=inter, why=unscaled)
    far = "rejected: values_exceed_float32"
    yield "scale: slope 1e-45", _nii("row 20", scl_slope=1e-45)
    yield "scale: slope 3e38", _nii("row 20", volume=far, scl_slope=3e38)
    yield "scale: slope 1e300", _nii("row 20", volume=far, version=2, scl_slope=1e300, scl_inter=-1e300)


def _extensions() -> Cases:
    flagged = "Extensions are passed over: vox_offset alone says where the values begin."
    bomb = (
        b"<!DOCTYPE a ["
        + b"".join(b'<!ENTITY %c "%b">' % (97 + i, b"&%c;" % (96 + i) * 10) for i in range(1, 9))
        + b"]>"
    )
    block = pickle.dumps({"CNRY": list(range(10))})
    for what, parts in (
        ("of 17 bytes", extension(b"CNRY", size=17)),
        ("of minus 2 GB", extension(b"CNRY", size=-(2**31))),
        ("that reaches into the values", extension(b"CNRY", size=160)),
        ("of 8 bytes, a thousand times", struct.pack("<ii", 8, 6) * 1000),
        ("of an unknown code", extension(b"CNRY", code=-1)),
        ("of a pickle", extension(block)),
        ("of an XML bomb (CIFTI)", extension(bomb, code=32)),
        ("of DICOM", extension(b"\x10\0\x10\0PN\4\0CNRY", code=2)),
        ("of 2 MB", extension(b"CNRY" * (_LIMIT // 2))),
    ):
        stands = "row 24" if "pickle" in what else "row 21"
        yield f"an extension {what}", _nii(stands, extensions=parts, why=flagged)
    yield "extensions that lack", _nii("row 21", extensions=b"", vox_offset=352 + 32, row=_CUT)


def _magics() -> Cases:
    stands = "row 20, row 16"
    yield "sizeof_hdr 999", _nii(stands, sizeof_hdr=999, why="The magic tells; nibabel reads it too.")
    yield "sizeof_hdr 0", _nii(stands, sizeof_hdr=0, why="The magic tells; nibabel reads it too.")
    yield "version 1, big endian", _nii(stands, order=">")
    yield "version 2, big endian", _nii(stands, order=">", version=2)
    yield "Analyze, without a magic", _nii(stands, _NOT, magic=bytes(4))
    yield "a version that is none", _nii(stands, _NOT, magic=b"n+3\0")
    yield "a magic without its end", _nii(stands, _NOT, magic=b"n+1x")
    yield "version 2 through a text transfer", _nii(stands, _NOT, version=2, magic=b"n+2\0\n\x1a\n\0")
    yield "two pairs of one header", _nii("row 18", "rejected: missing_img", magic=b"ni1\0", vox_offset=0)
    for length in (4, 100, 347):
        yield f"cut at {length} bytes", Case(only(lambda n, k=length: image()[:k], "case.nii"), "row 2", _NOT, None)
    yield (
        "version 2 cut in the header",
        Case(only(lambda n: image(version=2)[:500], "case.nii"), "row 2", "rejected: truncated_header", None),
    )
    yield "cut in the values", Case(only(lambda n: image()[:-1], "case.nii"), "row 2", _CUT, None)
    yield "gzipped, named .nii", Case(only(lambda n: packed(image(number=n)), "case.nii"), "row 16")
    yield "plain, named .nii.gz", Case(only(lambda n: image(number=n), "case.nii.gz"), "row 16")
    yield "no ending at all", Case(only(lambda n: image(number=n), "case"), "row 16")


# -- gzip ----------------------------------------------------------------------------------------------------------


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def stored(data: bytes) -> bytes:
    """A gzip stream whose values stand in it as they are, so that a flipped bit is no damage to deflate."""
    packer = zlib.compressobj(0, wbits=31)
    return packer.compress(data) + packer.flush()


def flipped(data: bytes, place: int, bit: int = 4) -> bytes:
    block = bytearray(data)
    block[place] ^= 1 << bit
    return bytes(block)


def _noise(number: int, slices: int = 10) -> bytes:
    values = random.Random(number).randbytes(20_000 * slices)
    return image(number=number, dim=(3, 100, 100, slices, 1, 1, 1, 1), values=values)


def _gz(make: Callable[[int], bytes], stands: str, row: str = "ok", volume: str | None = "ok", why: str = "") -> Case:
    return Case(only(make, "case.nii.gz"), stands, row, volume if row == "ok" else None, why)


def _streams() -> Cases:
    six = "finding 6 (55 of 60 flipped bits unnoticed)"
    short = "The CRC of a small stream is met while its values are read: which of the reasons it is tells nothing."
    for what, make, stands in (
        ("a bit of a stored value", lambda n: flipped(stored(_noise(n)), 90_000), six),
        ("a bit of deflate", lambda n: flipped(packed(_noise(n)), 3000), six),
        ("a bit of the CRC", lambda n: flipped(packed(_noise(n)), -6), six),
        ("a bit of the length", lambda n: flipped(packed(_noise(n)), -2), six),
        ("cut in the values", lambda n: packed(_noise(n))[:100_000], "row 23"),
        ("cut in the CRC", lambda n: packed(_noise(n))[:-6], "row 23"),
        ("cut in the length", lambda n: packed(_noise(n))[:-2], "row 23"),
        (
            "a damaged second member",
            lambda n: packed(_noise(n)[:90_000]) + flipped(packed(_noise(n)[90_000:]), -6),
            six,
        ),
    ):
        yield f"gzip: {what}", _gz(make, stands, volume=_DAMAGED, why=short)
    yield "gzip: a bit of the CRC of 4 MB", _gz(lambda n: flipped(packed(_noise(n, 200)), -6), six, volume=_DAMAGED)
    yield (
        "gzip: a damaged image of 4 MB behind",
        _gz(lambda n: packed(image(number=n)) + flipped(packed(_noise(n, 200)), -6), six, volume=_CRC),
    )
    whole = packed(image())
    for what, data in (
        ("cut in the header", whole[:60]), ("its header alone", whole[:10]), ("no deflate", whole[:10] + b"\xff" * 200),
        ("a name without an end", b"\x1f\x8b\x08\x08" + bytes(6) + b"CNRY" * 20_000),
        ("reserved flags", flipped(whole, 3, 7)), ("twice", packed(whole)),
        ("a thousand empty members before", packed(b"") * 1000 + whole),
    ):  # fmt: skip
        nothing = "The first 16 KiB inflate to no header."
        yield f"gzip: {what}", _gz(lambda n, d=data: d, "row 16, row 23", _NOT, why=nothing)
    yield (
        "gzip: zeros behind",
        _gz(lambda n: packed(_noise(n)) + bytes(512), "row 23", why="Padding of a tape or a disk."),
    )
    behind = "What follows may be the rest of a damaged member: nothing vouches for the values before it."
    yield "gzip: text behind", _gz(lambda n: packed(_noise(n)) + b"CNRY" * 100, "row 23", volume=_DAMAGED, why=behind)
    first = "As nibabel: the first image counts, whatever follows it."
    yield "gzip: a second image behind", _gz(lambda n: packed(_noise(n)) + packed(image()), "row 23", why=first)
    yield "gzip: an empty member before", _gz(lambda n: packed(b"") + packed(_noise(n)), "row 23")
    yield "gzip: a member for every slice", _gz(lambda n: b"".join(map(packed, _slices(_noise(n)))), "row 23")
    yield "gzip: a name of 10,000 letters", _gz(lambda n: _named(_noise(n), b"CNRY" * 2500), "row 23")
    huge = image(dim=(4, 32767, 32767, 32767, 32767, 1, 1, 1))
    yield "gzip: dims of 2 * 32767**4 bytes", _gz(lambda n: packed(huge), "row 18, row 22", _CUT)
    honest = "Valid: zeros compress a thousandfold."
    yield "gzip: 96 MB in 100 KB", _gz(lambda n: _zeros(n, 96), "row 22", why=honest)
    large = image(dim=(3, 1024, 1024, 4096, 1, 1, 1, 1), values=b"")
    slowly = "Beyond the limit of the run of the tests, 4 GiB; by default it is read, slice by slice."
    yield (
        "gzip: 8 GB in 8 MB",
        _gz(lambda n: zeros_gzipped(large, 8192), "row 22", volume="rejected: volume_too_large", why=slowly),
    )
    yield (
        "gzip: 2 GB in front of the values",
        _gz(lambda n: packed(image(number=n, vox_offset=2.0**31)), "row 19", _CUT),
    )


def _slices(data: bytes) -> list[bytes]:
    return [data[start : start + 20_000] for start in range(0, len(data), 20_000)]


def _named(data: bytes, name: bytes) -> bytes:
    block = packed(data)
    return block[:3] + b"\x08" + block[4:10] + name + b"\0" + block[10:]


def _zeros(number: int, mib: int) -> bytes:
    header = image(number=number, dim=(3, 512, 512, 2 * mib, 1, 1, 1, 1), values=b"")
    packer, out = zlib.compressobj(1, wbits=31), io.BytesIO()
    out.write(packer.compress(header))
    for _ in range(mib):
        out.write(packer.compress(bytes(_LIMIT)))
    out.write(packer.flush())
    return out.getvalue()


# -- pairs ---------------------------------------------------------------------------------------------------------


def _pair(beside: dict[str, bytes], row: str = "ok", volume: str | None = "ok", why: str = "", **fields: Any) -> Case:
    def make(number: int) -> Files:
        return {"case.hdr": image(number=number, magic=b"ni1\0", values=b"", **fields)} | beside

    return Case(make, "row 18, row 23", row, volume if row == "ok" else None, why)


def _pairs() -> Cases:
    values = struct.pack("<64h", *range(64))
    yield "pair: no values", _pair({}, "rejected: missing_img")
    yield "pair: empty values", _pair({"case.img": b""}, volume=_CUT)
    yield "pair: values too short", _pair({"case.img": values[:-2]}, volume=_CUT)
    yield "pair: values of text", _pair({"case.img": b"CNRY" * 10}, volume=_CUT)
    yield "pair: values far inside", _pair({"case.img": values}, vox_offset=1e9, volume=_CUT)
    yield "pair: a negative vox_offset", _pair({"case.img": values}, _OFFSET, vox_offset=-16.0)
    yield "pair: dims beyond the values", _pair({"case.img": values}, volume=_CUT, dim=(3, 4, 4, 4000, 1, 1, 1, 1))
    yield "pair: gzipped values, cut", _pair({"case.img.gz": stored(values)[:-30]}, volume=_DAMAGED)
    yield "pair: gzipped values, wrong CRC", _pair({"case.img.gz": flipped(stored(values), -6)}, volume=_DAMAGED)
    yield "pair: two files of values", _pair({"case.img": values, "case.img.gz": packed(values)}, why="The plain one.")
    yield "pair: values longer than due", _pair({"case.img": values + bytes(1000)})
    yield (
        "pair: a magic of one file",
        Case(lambda n: {"case.hdr": image(number=n)[:352], "case.img": values}, "row 18", _CUT, None),
    )
    yield "pair: a sidecar that nests", _pair({"case.img": values, "case.json": b'{"Modality":' + b"[" * 100_000})
    yield "pair: a sidecar of 2 MB", _pair({"case.img": values, "case.json": b'{"CNRY": "' + b"CNRY" * 500_000 + b'"}'})
