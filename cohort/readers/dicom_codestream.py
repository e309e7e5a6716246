"""What compressed frames say of themselves, held against the header before any decoder sees them.

A decoder believes the codestream: 845 bytes of JPEG that claim 65,500 x 65,500 pixels cost it minutes and gigabytes.
So the encapsulation (PS3.5 annex A.4) is walked and the header of every codestream is read here, without decoding.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from pydicom import uid

from cohort.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_JPEG = frozenset((
    uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1,
    "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55", uid.JPEGLSLossless, uid.JPEGLSNearLossless,
))  # fmt: skip
_JPEG_2000 = frozenset((
    uid.JPEG2000Lossless, uid.JPEG2000, uid.JPEG2000MCLossless, uid.JPEG2000MC,
    uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K,
))  # fmt: skip
_RLE = str(uid.RLELossless)

_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_SOI, _SOC = b"\xff\xd8", b"\xff\x4f"
_SIZ = b"\xff\x51"
_JP2 = b"\0\0\0\x0cjP  "
# Start of frame (ISO/IEC 10918-1 table B.1), and that of JPEG-LS (ISO/IEC 14495-1 C.1.1).
_FRAME_MARKERS = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
_ENTROPY_MARKERS = frozenset({0xDA, 0xD9})  # start of scan, end of image
_MOST_SEGMENTS = 10_000  # before the frame header; real streams have a few dozen
_MOST_TILES = 65_535  # ISO/IEC 15444-1 A.4.2
_RLE_HEADER = 64  # bytes: a count and fifteen offsets (PS3.5 section G.5)
_RLE_RATIO = 64  # a run of two bytes makes at most 128 (PS3.5 section G.3.1)


class Fragment(NamedTuple):
    """One item of encapsulated pixels."""

    start: int
    """Offset of its value in the file."""
    length: int


class Codestream(NamedTuple):
    """What a codestream says of the frame in it."""

    rows: int
    columns: int
    samples: int
    bits: int
    """Precision of the widest sample."""


def check_pixels(file: BinaryIO, row: Mapping[str, Any], frame_limit: int) -> None:
    """Hold compressed frames against the header; nothing is decoded.

    Parameters
    ----------
    file : BinaryIO
        The object, seekable; left where reading ended.
    row : mapping
        What the scan recorded: `TransferSyntaxUID`, `pixel_offset`, `Rows`, `Columns`...
    frame_limit : int
        Largest decoded frame, in bytes.

    Raises
    ------
    RejectedError
        `frame_too_large`; `bad_encapsulation` where items, offsets and NumberOfFrames do not fit together;
        `truncated_pixels` where the object ends inside an item; `codec_header_disagrees` where a codestream claims
        other Rows, Columns, SamplesPerPixel or more bits than BitsAllocated.
    """
    if frame_bytes(row) > frame_limit:
        raise RejectedError("frame_too_large")
    if not is_compressed(row) or row["pixel_offset"] is None or row["pixel_length"] is not None:
        return
    syntax = row["TransferSyntaxUID"]
    offsets, fragments = read_items(file, int(row["pixel_offset"]))
    _check_frames(row, offsets, fragments)
    for fragment in _beginnings(file, syntax, int(row["NumberOfFrames"] or 1), offsets, fragments):
        check_codestream(_reader(file, fragment), fragment.length, row)


def is_compressed(row: Mapping[str, Any]) -> bool:
    """Tell whether frames are codestreams of a kind whose header is known: they go through a decoder."""
    syntax = row["TransferSyntaxUID"]
    return syntax in _JPEG or syntax in _JPEG_2000 or syntax == _RLE


def frame_bytes(row: Mapping[str, Any]) -> int:
    """Return the bytes that one frame takes once decoded; 0 where the header does not tell."""
    samples, bits = row["SamplesPerPixel"] or 1, row["BitsAllocated"] or 8
    return int(row["Rows"] or 0) * int(row["Columns"] or 0) * int(samples) * -(-int(bits) // 8)


# -- encapsulation -----------------------------------------------------------------------------------------


def read_items(file: BinaryIO, start: int) -> tuple[list[int], list[Fragment]]:
    """Walk the items of encapsulated pixels.

    Parameters
    ----------
    file : BinaryIO
        The object.
    start : int
        Where the value of Pixel Data begins.

    Returns
    -------
    tuple of list of int and list of Fragment
        The basic offset table, relative to the first fragment, and the fragments. An end of the object in place of
        the delimiter is let pass: all fragments are there.
    """
    size = file.seek(0, 2)
    items: list[Fragment] = []
    position = start
    while position < size:
        file.seek(position)
        header = file.read(8)
        if header[:4] == _SEQUENCE_END:
            break
        if len(header) < 8 and not header.strip(b"\0"):
            break  # padding
        if header[:4] != _ITEM or len(header) < 8:
            raise RejectedError("bad_encapsulation")
        length = int.from_bytes(header[4:], "little")
        if length == 0xFFFFFFFF:
            raise RejectedError("bad_encapsulation")
        if position + 8 + length > size:
            raise RejectedError("truncated_pixels")
        items.append(Fragment(position + 8, length))
        position += 8 + length
    if not items or items[0].length % 4:
        raise RejectedError("bad_encapsulation")
    file.seek(items[0].start)
    table = file.read(items[0].length)
    return list(struct.unpack(f"<{len(table) // 4}I", table)), items[1:]


def _check_frames(row: Mapping[str, Any], offsets: list[int], fragments: list[Fragment]) -> None:
    """Raise RejectedError where frames, fragments and offsets do not fit together."""
    frames = int(row["NumberOfFrames"] or 1)
    if len(fragments) < frames:
        raise RejectedError("bad_encapsulation")
    if not offsets:
        return
    first = fragments[0].start - 8
    places = {fragment.start - 8 - first for fragment in fragments}
    ascending = all(a < b for a, b in pairwise(offsets))
    if len(offsets) < frames or offsets[0] != 0 or not ascending or not places.issuperset(offsets):
        raise RejectedError("bad_encapsulation")


def _beginnings(
    file: BinaryIO, syntax: str, frames: int, offsets: list[int], fragments: list[Fragment]
) -> list[Fragment]:
    """Return the fragments with which codestreams begin."""
    if offsets:
        first, wanted = fragments[0].start - 8, set(offsets)
        return [fragment for fragment in fragments if fragment.start - 8 - first in wanted]
    if frames == len(fragments) or syntax == _RLE:  # RLE: one fragment per frame (PS3.5 section A.4.2)
        return fragments
    marks = (_SOI,) if syntax in _JPEG else (_SOC, _JP2[:2])
    return [fragments[0], *(f for f in fragments[1:] if _reader(file, f)(0, 2) in marks)]


def _reader(file: BinaryIO, fragment: Fragment) -> Callable[[int, int], bytes]:
    def read(start: int, count: int) -> bytes:
        file.seek(fragment.start + start)
        return file.read(max(0, min(count, fragment.length - start)))

    return read


# -- codestreams -------------------------------------------------------------------------------------------


def check_codestream(read: Callable[[int, int], bytes], length: int, row: Mapping[str, Any]) -> None:
    """Hold the header of one codestream, or of an RLE frame, against the row; raises RejectedError.

    Parameters
    ----------
    read : callable
        Reads bytes of the codestream: from where, how many.
    length : int
        Bytes of its first fragment.
    row : mapping
        What the scan recorded.
    """
    syntax = row["TransferSyntaxUID"]
    if syntax == _RLE:
        _check_rle(read(0, _RLE_HEADER), length, row)
        return
    found = _read_jpeg(read) if syntax in _JPEG else _read_jpeg_2000(read)
    told = (row["Rows"], row["Columns"], row["SamplesPerPixel"] or 1)
    if found is None or found[:3] != told or found.bits > (row["BitsAllocated"] or 0):
        raise RejectedError("codec_header_disagrees")


def _read_jpeg(read: Callable[[int, int], bytes]) -> Codestream | None:
    """Read the frame header of JPEG or JPEG-LS (ISO/IEC 10918-1 B.2.2); None where there is none before the data."""
    if read(0, 2) != _SOI:
        return None
    position = 2
    for _ in range(_MOST_SEGMENTS):
        head = read(position, 4)
        if len(head) < 4 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker == 0xFF:  # any number of these may fill
            position += 1
            continue
        if marker in _ENTROPY_MARKERS:
            return None
        if marker in _FRAME_MARKERS:
            frame = read(position + 4, 6)
            if len(frame) < 6:
                return None
            bits, rows, columns, samples = struct.unpack(">BHHB", frame)
            return Codestream(rows, columns, samples, bits)
        position += 2 if 0xD0 <= marker <= 0xD8 or marker == 1 else 2 + max(2, int.from_bytes(head[2:], "big"))
    return None


def _read_jpeg_2000(read: Callable[[int, int], bytes]) -> Codestream | None:
    """Read the size marker (ISO/IEC 15444-1 A.5.1), which comes first; None where there is none or it is impossible."""
    start = _jp2_codestream(read) if read(0, 8) == _JP2 else 0
    if read(start, 4) != _SOC + _SIZ:
        return None
    fixed = read(start + 8, 34)
    if len(fixed) < 34:
        return None
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, samples = struct.unpack(">8IH", fixed)
    depths = read(start + 42, 3 * samples)
    if not samples or len(depths) < 3 * samples or not tile_width or not tile_height or min(height - top, width) < 1:
        return None
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if not 0 < tiles <= _MOST_TILES:
        return None
    return Codestream(height - top, width - left, samples, max((depth & 0x7F) + 1 for depth in depths[::3]))


def _jp2_codestream(read: Callable[[int, int], bytes]) -> int:
    """Return where the codestream begins in a JP2 file (ISO/IEC 15444-1 annex I), which some writers encapsulate."""
    position = 0
    for _ in range(_MOST_SEGMENTS):
        box = read(position, 8)
        length = int.from_bytes(box[:4], "big")
        if len(box) < 8 or box[4:] == b"jp2c":
            break
        if length < 8:  # the rest of the file, or a length of 64 bits: no box before the codestream is that long
            break
        position += length
    return position + 8


def _check_rle(header: bytes, length: int, row: Mapping[str, Any]) -> None:
    """Hold the header of an RLE frame (PS3.5 section G.5) against the row: a segment for every byte of a pixel."""
    if len(header) < _RLE_HEADER:
        raise RejectedError("codec_header_disagrees")
    count, *offsets = struct.unpack("<16I", header)
    wanted = int(row["SamplesPerPixel"] or 1) * -(-int(row["BitsAllocated"] or 8) // 8)
    if count != wanted or count > len(offsets):
        raise RejectedError("codec_header_disagrees")
    ends = [*offsets[1:count], length]
    pixels = int(row["Rows"] or 0) * int(row["Columns"] or 0)
    plane = -(-pixels // 8) if row["BitsAllocated"] == 1 else pixels  # bytes that a segment decodes to
    for start, end in zip(offsets[:count], ends, strict=True):
        if start < _RLE_HEADER or end < start or end > length or plane > (end - start) * _RLE_RATIO:
            raise RejectedError("codec_header_disagrees")
