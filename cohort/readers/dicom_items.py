"""Items of sequences: skipped, where only their end matters, or read, where columns are made of them."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from pydicom.datadict import dictionary_VR

from cohort.readers.dicom_convert import Fallback, codec_of
from cohort.readers.dicom_elements import (
    CHARSET,
    ITEM,
    ITEM_END,
    LONG,
    OPEN_END,
    SEQUENCE_END,
    SEQUENCE_VRS,
    SHORT,
    UNDEFINED,
    Element,
    Item,
    Value,
    Wanted,
    unpack_implicit,
    unpack_length,
)
from cohort.readers.dicom_groups import FRAMES, PER_FRAME_GROUPS
from cohort.readers.dicom_layouts import Layout, looks_explicit
from cohort.readers.dicom_macros import MACROS, Macros, leaf_value
from cohort.readers.dicom_window import Window

MAX_DEPTH = 64

_MAX_MACRO, _MAX_MACROS = 1 << 12, 4  # bytes; remembered of each kind


_SKIPPED = {implicit: Layout(implicit, (CHARSET,)) for implicit in (False, True)}  # items of no interest


def skip_sequence(window: Window, position: int, *, implicit: bool) -> int:
    """Return where a sequence ends whose first item begins at `position`."""
    enclosing: list[tuple[bool, int, bool]] = []
    while True:
        tag, length, pos = _item_header(window, position)
        position += 8
        if tag == ITEM:
            if not length:
                continue
            end = OPEN_END if length == UNDEFINED else position + length
            # Items may be implicit inside explicit datasets, never the other way round.
            within = implicit or not looks_explicit(window.data, pos + 8)
        elif tag == SEQUENCE_END and not length:
            if not enclosing:
                return position
            implicit, end, within = enclosing.pop()
        else:
            raise Fallback("item_expected")
        position, opened = _walk_item(window, position, end, (), _SKIPPED[within])
        if opened is not None:
            check_open(window, position, opened.tag, opened.vr)
            enclosing.append((implicit, end, within))
            implicit = within
            if len(enclosing) >= MAX_DEPTH:
                raise Fallback("too_deep")


def _item_header(window: Window, position: int) -> tuple[int, int, int]:
    """Return tag, length, and place in the window of what should be an item or the end of its sequence."""
    window.budget -= 1
    if window.budget < 0:
        raise Fallback("too_many_elements")
    pos = position - window.base
    if pos > window.safe:
        window.move(position)
        pos = 0
    group, element, length = unpack_implicit(window.data, pos)
    return group << 16 | element, length, pos


def _walk_item(
    window: Window, position: int, end: int, stops: Container[int], layout: Layout
) -> tuple[int, Element | None]:
    """Walk one item to its end, or up to the value of a sequence of undefined length or of a tag among `stops`."""
    implicit, data, base, budget = layout.implicit, window.data, window.base, window.budget
    safe = min(window.safe, end - base)
    while budget > 0:
        pos, passed = layout.skip_known(data, position - base, safe)
        position = base + pos
        budget -= passed
        if budget <= 0:
            break
        if position >= end:
            if position > end:
                raise Fallback("item_length")
            window.budget = budget
            return position, None
        if pos > window.safe:
            window.move(position)
            data, base, pos = window.data, window.base, 0
            safe = min(window.safe, end - base)
        budget -= 1
        group, element, length = unpack_implicit(data, pos)
        if group == 0xFFFE:
            if element != ITEM_END & 0xFFFF or length or end != OPEN_END:
                raise Fallback("stray_delimiter")
            window.budget = budget
            return position + 8, None
        tag, vr = group << 16 | element, b""
        position += 8
        if not implicit:
            vr, length, position = _explicit_header(data, pos, length, position)
        if length == UNDEFINED or tag in stops:
            window.budget = budget
            return position, Element(tag, vr, length, base + pos)
        if tag == CHARSET:
            _check_charset(window, position, length, vr)
        position += length
        if position > window.size:
            raise Fallback("length_beyond_end")
    raise Fallback("too_many_elements")


def _explicit_header(data: bytes, pos: int, length: int, position: int) -> tuple[bytes, int, int]:
    """Return VR, length and the place of the value; `length` is what would be it if VR were implicit."""
    vr = data[pos + 4 : pos + 6]
    if vr in SHORT:
        return vr, length >> 16, position
    if vr in LONG:
        return vr, unpack_length(data, pos + 8)[0], position + 4
    raise Fallback("value_representation")


def check_open(window: Window, position: int, tag: int, vr: bytes) -> None:
    """Make sure that an element of undefined length is a sequence."""
    if not vr:
        _require_sequence(window, position, tag)
    elif vr not in SEQUENCE_VRS:
        raise Fallback("undefined_length")


def _check_charset(window: Window, position: int, length: int, vr: bytes) -> None:
    """Make sure that pydicom, which looks the character set up at once, knows it."""
    if vr not in (b"", b"CS") or position + length > window.size:
        raise Fallback("charset")
    codec_of(window.read(position, position + length))


def _require_sequence(window: Window, position: int, tag: int) -> None:
    """Make sure that an element of undefined length in implicit VR is a sequence to pydicom too."""
    try:
        is_sequence = dictionary_VR(tag) == "SQ"
    except KeyError:
        is_sequence = position + 4 <= window.size and window.read(position, position + 4) == b"\xfe\xff\x00\xe0"
    if not is_sequence:
        raise Fallback("undefined_length")


# -- sequences that columns are made of ------------------------------------------------------------------------


def read_items(
    window: Window, position: int, length: int, wanted: Wanted, codec: str | None, *, implicit: bool
) -> tuple[list[Item], int]:
    """Read the items of one sequence; return where it ends, too."""
    stop = OPEN_END if length == UNDEFINED else position + length
    frames = FRAMES[implicit] if wanted.tag == PER_FRAME_GROUPS else None
    items: list[Item] = []
    while position < stop:
        if frames is not None:
            frame = frames.find(window.data, position - window.base, window.end, codec)
            if frame is not None:
                items.append(frame.item)
                window.budget -= frame.cost
                position += frame.size
                continue
        start, base, budget = position, window.base, window.budget
        tag, length, pos = _item_header(window, position)
        position += 8
        if tag == SEQUENCE_END and not length and stop == OPEN_END:
            return items, position
        if tag != ITEM:
            raise Fallback("item_expected")
        within = implicit or not looks_explicit(window.data, pos + 8)
        end = OPEN_END if length == UNDEFINED else position + length
        item, position = _item(window, position, end, wanted, codec, implicit=within)
        items.append(item)
        if frames is not None and window.base == base and position - base <= window.end:
            frames.learn(window.data[start - base : position - base], codec, budget - window.budget)
    if position != stop:
        raise Fallback("item_length")
    return items, position


def _item(
    window: Window, position: int, end: int, wanted: Wanted, codec: str | None, *, implicit: bool
) -> tuple[Item, int]:
    item: Item = {}
    within, macros = wanted.within, MACROS[wanted.tag, implicit]
    while True:
        if macros.inner:
            position = _known_macros(window, position, macros, codec, item)
        position, element = _walk_item(window, position, end, within, macros.layout)
        if element is None:
            return item, position
        column = within.get(element.tag)
        if column is None or column.within:
            if element.vr not in (b"", b"SQ") and (column or element.length != UNDEFINED):
                raise Fallback("value_representation")
            if column is None:
                check_open(window, position, element.tag, element.vr)
                position = skip_sequence(window, position, implicit=implicit)
                continue
            value, position = _macro(window, position, element, column, codec)
        else:
            value, position = _leaf(window, position, element, column, codec, item)
        if column.name in item:
            raise Fallback("tag_order")
        item[column.name] = Value(value)


def _known_macros(window: Window, position: int, macros: Macros, codec: str | None, item: Item) -> int:
    """Read macros like those seen before, as long as there are; return where the next element begins."""
    data, base, end = window.data, window.base, window.end
    while inner := macros.inner.get(data[position - base : position - base + 4]):
        known = inner.find(data, position - base, end, codec)
        if known is None:
            break
        if inner.sequence.name in item:
            raise Fallback("tag_order")
        item[inner.sequence.name] = Value(known.items)
        window.budget -= known.cost
        position += known.size
    return position


def _macro(window: Window, position: int, element: Element, column: Wanted, codec: str | None) -> tuple[Any, int]:
    """Read a sequence within an item."""
    implicit = not element.vr
    macros, base, budget = MACROS[column.tag, implicit], window.base, window.budget
    known = macros.find(window.data, element.start - base, window.end, codec)
    if known is not None:
        window.budget -= known.cost
        return known.items, element.start + known.size
    items, stop = read_items(window, position, element.length, column, codec, implicit=implicit)
    if window.base == base and stop - base <= window.end:
        macros.remember(window.data[element.start - base : stop - base], items, codec, budget - window.budget)
    return items, stop


def _leaf(
    window: Window, position: int, element: Element, column: Wanted, codec: str | None, item: Item
) -> tuple[Any, int]:
    stop = position + element.length
    if column.tag == CHARSET or stop > window.size:
        raise Fallback("charset" if column.tag == CHARSET else "length_beyond_end")
    key = window.read(element.start + 4 if element.vr else position, stop)
    return leaf_value(column, key, codec, item, implicit=not element.vr), stop
