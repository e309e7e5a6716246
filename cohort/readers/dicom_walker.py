"""DICOM headers, read by walking from element to element and converting what a column asks for.

Well-formed objects are read, explicit or implicit, big endian ones after they were turned; anything odd raises
`Fallback`, and pydicom reads the object instead. Both give the same row.
"""

from __future__ import annotations

from collections.abc import Container
from typing import BinaryIO, NamedTuple

from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from cohort.readers.base import Row
from cohort.readers.dicom import add_keys, pixel_facts
from cohort.readers.dicom_convert import Fallback, clear, codec_of, convert, new_memo, remember
from cohort.readers.dicom_elements import (
    CHARSET,
    DEFLATED_FRAMES,
    FIRST_PIXELS,
    ITEM,
    LONG,
    META_LAST,
    META_START,
    NESTED,
    PIXEL_VRS,
    PIXELS,
    SHORT,
    SOP_CLASS,
    SYNTAX,
    UNDEFINED,
    Element,
    Value,
    Wanted,
    new_value,
    unpack_explicit,
    unpack_implicit,
    unpack_length,
)
from cohort.readers.dicom_endian import TurnedFile
from cohort.readers.dicom_groups import PER_FRAME_GROUPS
from cohort.readers.dicom_items import check_open, read_items, skip_sequence
from cohort.readers.dicom_layouts import Catalogue, catalogue_of, looks_explicit
from cohort.readers.dicom_names import let_go
from cohort.readers.dicom_required import is_whole
from cohort.readers.dicom_sequences import nested_row
from cohort.readers.dicom_window import Window
from cohort.schema import Column, Status

__all__ = ["PARSER", "Fallback", "clear", "walk_header"]

PARSER = "walker 1"

MAX_ELEMENTS = 200_000  # at the top level
ELEMENTS_PER_FRAME, MOST_FRAMES = 128, 1 << 16  # allowed beyond those of any object
FRAMES = 0x00280008

_DIRECTORY = MediaStorageDirectoryStorage.encode()

_EXPLICIT_SYNTAXES = frozenset(uid.encode() for uid in (*AllTransferSyntaxes, DEFLATED_FRAMES)) - {
    ImplicitVRLittleEndian.encode(),
    DeflatedExplicitVRLittleEndian.encode(),
}
_BIG_SYNTAX = ExplicitVRBigEndian.encode()
_IMPLICIT_SYNTAX = ImplicitVRLittleEndian.encode()
_INSTANCE = b"\x02\x00\x03\x00UI"


class Found(NamedTuple):
    """Wanted elements in the order of their tags: of each the column, and VR, length and value, or the value alone."""

    columns: list[Wanted]
    keys: list[bytes]


class Meta(NamedTuple):
    """What the file meta information says, and where the dataset begins."""

    syntax: bytes
    sop_class: bytes
    end: int


Pixels = tuple[int, int | None, int]

_metas = new_memo()


def walk_header(file: BinaryIO, size: int, head: bytes, extra: tuple[Column, ...] = ()) -> Row:
    """Read one DICOM header.

    Parameters
    ----------
    file : BinaryIO
        The object; left open, at any position.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes.
    extra : tuple of Column
        Columns asked for beyond those of the data dictionary.

    Returns
    -------
    Row
        The columns of `files` that `dicom.read_header` gives. Lists in it are shared and must not be changed.

    Raises
    ------
    Fallback
        If the object is not well-formed, or needs more than this reader knows.
    """
    catalogue = catalogue_of(extra)
    window = Window(file, size, head)
    syntax, sop_class, start = _read_meta(window)
    if syntax == _BIG_SYNTAX:
        turned = TurnedFile(file, size, start)
        window = Window(turned, size, turned.read(len(head)))
    if syntax in _EXPLICIT_SYNTAXES:
        found, pixels = _walk_explicit(window, start, catalogue)
        row = _values(found, implicit=False)
    elif syntax == _IMPLICIT_SYNTAX:
        found, pixels = _walk_implicit(window, start, catalogue)
        row = _values(found, implicit=True)
    else:
        raise Fallback("transfer_syntax")
    directory = sop_class == _DIRECTORY and pixels is None
    if not directory and not is_whole(row, pixels and pixels[2]):
        raise Fallback("missing_key")
    row |= {"format": "dicom", "parser": PARSER, "status": Status.OK, "TransferSyntaxUID": syntax.decode()}
    let_go(row)
    add_keys(row, file, size, head)
    row |= pixel_facts(row, pixels[:2] if pixels else None, size)
    if window.nested and row["is_image"]:
        row |= nested_row(window.nested, row)
    return row


def _read_meta(window: Window) -> Meta:
    """Return what the file meta information says, and where the dataset begins (PS3.10 section 7.1).

    It is remembered by all of its bytes but the value of MediaStorageSOPInstanceUID: files of one series share them.
    """
    data = window.data
    if data[128:148].find(b"DICM\x02\x00\x00\x00UL\x04\x00") != 0 or window.end < 144:
        raise Fallback("file_meta")
    end: int = 144 + unpack_length(data, 140)[0]
    if end > window.safe:
        raise Fallback("file_meta")
    uid = data.find(_INSTANCE, META_START, end)
    if uid < 0:
        return _walk_meta(data, end, uid)[0]
    value = uid + len(_INSTANCE) + 2
    key = data[META_START:value] + data[value + int.from_bytes(data[value - 2 : value], "little") : end]
    known: Meta | None = _metas.get(key)
    if known is None:
        known, passed = _walk_meta(data, end, uid)
        if passed:  # no bytes within the value of another element
            remember(_metas, key, known)
    return known


def _walk_meta(data: bytes, end: int, uid: int) -> tuple[Meta, bool]:
    """Walk the file meta information up to `end`; tell too whether an element begins at `uid`."""
    pos, last, syntax, sop_class, passed = META_START, 0, b"", b"", False
    while pos < end:
        passed |= pos == uid
        group, element, vr, length = unpack_explicit(data, pos)
        tag = group << 16 | element
        if not last < tag <= META_LAST:
            raise Fallback("file_meta")
        value = pos + 8
        if vr in LONG:
            length, value = unpack_length(data, value)[0], pos + 12
        elif vr not in SHORT:
            raise Fallback("file_meta")
        last, pos = tag, value + length
        if tag == SYNTAX:
            if vr != b"UI" or pos > end:
                raise Fallback("file_meta")
            syntax = data[value:pos].rstrip(b"\x00 ")
        elif tag == SOP_CLASS:
            sop_class = data[value:pos]
    if pos != end:
        raise Fallback("file_meta")
    return Meta(syntax, sop_class.rstrip(b"\x00 "), end), passed


def _walk_explicit(window: Window, start: int, catalogue: Catalogue) -> tuple[Found, Pixels | None]:
    """Walk a dataset in explicit VR; what is found is kept as VR, length and value."""
    read_known, short_vrs, wanted = catalogue.explicit.read_known, SHORT, catalogue.wanted  # locals are faster
    data, safe, pos, last, budget = window.data, window.safe, start, META_LAST, MAX_ELEMENTS
    found = Found([], [])
    while budget > 0:
        pos, last, passed = read_known(data, pos, safe, last, found)
        budget -= passed + 1
        if budget < 0:
            break
        group, element, vr, length = unpack_explicit(data, pos)
        tag = group << 16 | element
        if not last < tag < FIRST_PIXELS:
            if tag in PIXELS and tag > last:
                return found, _explicit_pixels(window, pos, tag)
            if _ends(window, pos, tag, last):
                return found, None
        last = tag
        if vr in short_vrs:
            stop = pos + 8 + length
        elif vr in LONG:
            length = unpack_length(data, pos + 8)[0]
            if length == UNDEFINED or tag in NESTED:
                pos = window.advance(_sequence(window, found, pos + 12, Element(tag, vr, length, 0), wanted))
                data, safe = window.data, window.safe
                continue
            stop = pos + 12 + length
        else:
            raise Fallback("value_representation")
        if tag in wanted:
            found.columns.append(wanted[tag])
            found.keys.append(data[pos + 4 : stop] if stop <= safe else _raw(window, pos + 4, stop))
        if stop > safe:
            stop = window.advance(stop)
            data, safe = window.data, window.safe
        pos = stop
    raise Fallback("too_many_elements")


def _walk_implicit(window: Window, start: int, catalogue: Catalogue) -> tuple[Found, Pixels | None]:
    """Walk a dataset in implicit VR; of what is found the value is kept."""
    read_known, wanted, nested = catalogue.implicit.read_known, catalogue.wanted, NESTED
    data, safe, pos, last, budget = window.data, window.safe, start, META_LAST, MAX_ELEMENTS
    if looks_explicit(data, pos):
        raise Fallback("value_representation")
    found = Found([], [])
    while budget > 0:
        pos, last, passed = read_known(data, pos, safe, last, found)
        budget -= passed + 1
        if budget < 0:
            break
        group, element, length = unpack_implicit(data, pos)
        tag = group << 16 | element
        if not last < tag < FIRST_PIXELS:
            if tag in PIXELS and tag > last:
                return found, _implicit_pixels(window, pos, tag)
            if _ends(window, pos, tag, last):
                return found, None
        last = tag
        if length == UNDEFINED or tag in nested:
            pos = window.advance(_sequence(window, found, pos + 8, Element(tag, b"", length, 0), wanted))
            data, safe = window.data, window.safe
            continue
        stop = pos + 8 + length
        if tag in wanted:
            found.columns.append(wanted[tag])
            found.keys.append(data[pos + 8 : stop] if stop <= safe else _raw(window, pos + 8, stop))
        if stop > safe:
            stop = window.advance(stop)
            data, safe = window.data, window.safe
        pos = stop
    raise Fallback("too_many_elements")


def _raw(window: Window, start: int, stop: int) -> bytes:
    return window.read(window.base + start, window.base + stop)


def _sequence(window: Window, found: Found, pos: int, element: Element, asked: Container[int]) -> int:
    """Read a sequence that columns are made of, or skip one of undefined length; return where the next tag is."""
    position, implicit = window.base + pos, not element.vr
    wanted = NESTED.get(element.tag)
    if wanted is None:
        if element.tag in asked:
            raise Fallback("undefined_length")
        check_open(window, position, element.tag, element.vr)
        return skip_sequence(window, position, implicit=implicit) - window.base
    if not implicit and element.vr != b"SQ":
        raise Fallback("value_representation")
    if element.tag == PER_FRAME_GROUPS:
        window.budget += ELEMENTS_PER_FRAME * _frames(found)
    codec = _codec(found, implicit=implicit)
    items, position = read_items(window, position, element.length, wanted, codec, implicit=implicit)
    window.nested[wanted.name] = Value(items)
    return position - window.base


def _frames(found: Found) -> int:
    """Return how many frames the object says it has."""
    for column, key in zip(*found, strict=True):
        if column.tag == FRAMES:
            frames = convert(b"IS", "int64", key[4:] if key[:2] == b"IS" else key, None)
            return min(max(1, frames or 1), MOST_FRAMES)
    return 1


def _ends(window: Window, pos: int, tag: int, last: int) -> bool:
    """Tell whether the object ends here; raises where the tags do not ascend, or none may stand here."""
    if tag <= last:
        window.finish(pos)
        return True
    if tag >= ITEM & 0xFFFF0000:
        raise Fallback("stray_delimiter")
    return False


def _explicit_pixels(window: Window, pos: int, tag: int) -> Pixels:
    if window.data[pos + 4 : pos + 6] not in PIXEL_VRS:
        raise Fallback("value_representation")
    window.check(pos + 12)
    length = unpack_length(window.data, pos + 8)[0]
    return window.base + pos + 12, None if length == UNDEFINED else length, tag


def _implicit_pixels(window: Window, pos: int, tag: int) -> Pixels:
    window.check(pos + 8)
    length = unpack_length(window.data, pos + 4)[0]
    return window.base + pos + 8, None if length == UNDEFINED else length, tag


def _values(found: Found, *, implicit: bool) -> Row:
    row: Row = {}
    empty: list[Wanted] = []
    codec = _codec(found, implicit=implicit)
    for column, key in zip(*found, strict=True):
        memo = column.implicit if implicit else column.explicit
        try:
            value = memo[key]
        except KeyError:
            value = new_value(column, key, codec, row, memo)
        row[column.name] = value
        if value is None:
            empty.append(column)
    empty.sort(key=lambda column: column.order)
    row["empty_tags"] = [column.name for column in empty] or None
    row["unparsed"] = None
    return row


def _codec(found: Found, *, implicit: bool) -> str | None:
    """Return the codec of text: SpecificCharacterSet comes among the first, for few wanted tags are smaller."""
    number = 0 if found.columns and found.columns[0].tag >= CHARSET else _first_from(found, CHARSET)
    if number is None or found.columns[number].tag != CHARSET:
        return "latin-1"
    key = found.keys[number]
    if implicit:
        return codec_of(key)
    if key[:2] != b"CS":
        raise Fallback("charset")
    return codec_of(key[4:])


def _first_from(found: Found, tag: int) -> int | None:
    """Return which of the elements is the first of this tag or a greater one."""
    return next((number for number, column in enumerate(found.columns) if column.tag >= tag), None)
