"""Crafted DICOM objects, byte by byte: small, and meant to cost much."""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass

UNDEFINED = 0xFFFFFFFF
PREAMBLE = bytes(128) + b"DICM"
_LONG = frozenset(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"])


@dataclass(frozen=True)
class Encoding:
    """How elements become bytes."""

    uid: str
    explicit: bool
    order: str = "<"

    def header(self, tag: int, vr: str, length: int) -> bytes:
        """Everything of an element but its value."""
        key = struct.pack(self.order + "HH", tag >> 16, tag & 0xFFFF)
        if not self.explicit:
            return key + struct.pack(self.order + "I", length)
        if vr in _LONG:
            return key + vr.encode() + b"\0\0" + struct.pack(self.order + "I", length)
        return key + vr.encode() + struct.pack(self.order + "H", length)

    def element(self, tag: int, vr: str, value: bytes | int, *, length: int | None = None) -> bytes:
        """One element; an integer stands for a US value, `length` for what its header claims."""
        raw = struct.pack(self.order + "H", value) if isinstance(value, int) else value
        return self.header(tag, vr, len(raw) if length is None else length) + raw

    def item(self, content: bytes, *, length: int | None = None) -> bytes:
        """One item of defined length."""
        key = struct.pack(self.order + "HHI", 0xFFFE, 0xE000, len(content) if length is None else length)
        return key + content

    @property
    def item_end(self) -> bytes:
        return struct.pack(self.order + "HHI", 0xFFFE, 0xE00D, 0)

    @property
    def sequence_end(self) -> bytes:
        return struct.pack(self.order + "HHI", 0xFFFE, 0xE0DD, 0)

    def open_item(self, content: bytes) -> bytes:
        """One item of undefined length."""
        return self.item(content, length=UNDEFINED) + self.item_end

    def sequence(self, tag: int, items: bytes, *, vr: str = "SQ", open_: bool) -> bytes:
        """A sequence of defined or undefined length."""
        if open_:
            return self.header(tag, vr, UNDEFINED) + items + self.sequence_end
        return self.element(tag, vr, items)


EXPLICIT = Encoding("1.2.840.10008.1.2.1", explicit=True)
IMPLICIT = Encoding("1.2.840.10008.1.2", explicit=False)
BIG = Encoding("1.2.840.10008.1.2.2", explicit=True, order=">")
DEFLATED = Encoding("1.2.840.10008.1.2.1.99", explicit=True)
ENCODINGS = {"explicit": EXPLICIT, "implicit": IMPLICIT, "big": BIG, "deflated": DEFLATED}

_PLAIN: dict[int, tuple[str, bytes | int]] = {
    0x00080005: ("CS", b"ISO_IR 100"),
    0x00080016: ("UI", b"1.2.840.10008.5.1.4.1.1.2\0"),
    0x00080018: ("UI", b"1.2.3.4\0"),
    0x00080060: ("CS", b"CT"),
    0x00081030: ("LO", b"CNRY STUDY"),  # words that no message may repeat
    0x00100010: ("PN", b"CNRY^PATIENT"),
    0x00100020: ("LO", b"CNRYID0000"),
    0x0020000D: ("UI", b"1.2.3\0"),
    0x0020000E: ("UI", b"1.2.3.5\0"),
    0x00280002: ("US", 1),
    0x00280004: ("CS", b"MONOCHROME2 "),
    0x00280010: ("US", 2),
    0x00280011: ("US", 2),
    0x00280100: ("US", 16),
    0x00280101: ("US", 16),
    0x00280103: ("US", 0),
    0x7FE00010: ("OW", bytes(8)),
}


def meta(uid: str, *, more: bytes = b"", length: int | None = None) -> bytes:
    """File meta information; `length` is what its group length claims."""
    raw = uid.encode() + b"\0" * (len(uid) % 2)
    content = EXPLICIT.element(0x00020010, "UI", raw) + more
    claimed = struct.pack("<I", len(content) if length is None else length)
    return EXPLICIT.element(0x00020000, "UL", claimed) + content


def dataset(encoding: Encoding, changes: dict[int, bytes] | None = None) -> bytes:
    """The elements of a small image; `changes` are encoded ones, which replace or add."""
    parts = {tag: encoding.element(tag, vr, value) for tag, (vr, value) in _PLAIN.items()}
    parts |= changes or {}
    return b"".join(parts[tag] for tag in sorted(parts))


def image(encoding: Encoding, changes: dict[int, bytes] | None = None, *, tail: bytes = b"") -> bytes:
    """A whole small image."""
    body = dataset(encoding, changes) + tail
    if encoding is DEFLATED:
        body = deflated(body)
    return PREAMBLE + meta(encoding.uid) + body


def deflated(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    raw = packer.compress(body) + packer.flush()
    return raw + b"\0" * (len(raw) % 2)


def zeros_deflated(start: bytes, count_mib: int) -> bytes:
    """Raw deflate stream of `start` and so many MiB of zeros, made without inflating it anywhere."""
    packer = zlib.compressobj(9, wbits=-15)
    first = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + block * count_mib + zlib.compressobj(wbits=-15).flush()


def zeros_gzipped(start: bytes, count_mib: int) -> bytes:
    """Gzip members of `start` and so many MiB of zeros."""
    return gzip.compress(start, mtime=0) + gzip.compress(bytes(1 << 20), mtime=0) * count_mib
