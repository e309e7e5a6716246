"""Macros of functional groups: most are alike in frame after frame, so they need not be parsed each time.

What is remembered is found by exactly the bytes that a parse would see, so it gives what a parse would give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

from cohort.readers.dicom_convert import Fallback, new_memo
from cohort.readers.dicom_elements import (
    CHARSET,
    MISSING,
    NESTED,
    UNDEFINED,
    Item,
    Value,
    Wanted,
    new_value,
    unpack_length,
)
from cohort.readers.dicom_layouts import Layout, looks_explicit

_MOST_BYTES = 1 << 12  # of one macro
_MOST_KNOWN, _MOST_SHAPES = 4, 64

pack_tag = Struct("<HH").pack

Unpack = Callable[[bytes, int], tuple[Any, ...]]


class Known(NamedTuple):
    """What one macro holds, its size in bytes, and how many items and elements it counts for."""

    items: list[Item]
    size: int
    cost: int


class _Shape(NamedTuple):
    """A macro but for the values of its elements; no value is in it."""

    check: Unpack
    expected: tuple[bytes, ...]
    columns: tuple[Wanted, ...]
    values: Unpack
    size: int
    cost: int


@dataclass(frozen=True, slots=True)
class Macros:
    """Macros of one kind.

    Parameters
    ----------
    layout : Layout
        Of their items.
    sequence : Wanted
        The sequence, with the elements wanted of its items.
    """

    layout: Layout
    sequence: Wanted
    inner: dict[bytes, Macros] = field(default_factory=dict)  # wanted sequences of the items, by the bytes of the tag
    known: dict[bytes, tuple[Known, str | None]] = field(default_factory=new_memo)  # with the codec of the text
    shapes: dict[bytes, _Shape] = field(default_factory=dict)

    @property
    def _start(self) -> int:
        """Bytes before the first element: header of the sequence, header of the item."""
        return 16 if self.layout.implicit else 20

    def find(self, data: bytes, pos: int, end: int, codec: str | None) -> Known | None:
        """Return what stands at `pos` and ends before `end`, where a macro like it is known."""
        for raw, (found, its_codec) in self.known.items():
            if data.startswith(raw, pos, end) and its_codec == codec:
                return found
        shape = self.shapes.get(data[pos : pos + self._start + 8])
        if shape is None or pos + shape.size > end or shape.check(data, pos) != shape.expected:
            return None
        item: Item = {}
        for column, key in zip(shape.columns, shape.values(data, pos), strict=True):
            item[column.name] = Value(leaf_value(column, key, codec, item, implicit=self.layout.implicit))
        return Known([item], shape.size, shape.cost)

    def remember(self, raw: bytes, items: list[Item], codec: str | None, cost: int) -> None:
        """Keep what one macro holds, and its shape."""
        if len(raw) > _MOST_BYTES:
            return
        if len(self.known) >= _MOST_KNOWN:
            del self.known[next(iter(self.known))]
        self.known[raw] = Known(items, len(raw), cost), codec
        shape = self._shape_of(raw, cost) if len(items) == 1 else None
        if shape is not None:
            if len(self.shapes) >= _MOST_SHAPES:
                self.shapes.clear()
            self.shapes[raw[: self._start + 8]] = shape

    def _shape_of(self, raw: bytes, cost: int) -> _Shape | None:
        """Return the shape of a macro of one item and plain elements, None for any other."""
        start, within = self._start, self.sequence.within
        if len(raw) < start + 8 or not (self.layout.implicit or looks_explicit(raw, start)):
            return None
        stop = len(raw) - 8 * [unpack_length(raw, start - 4)[0], unpack_length(raw, start - 12)[0]].count(UNDEFINED)
        headers, values, pos = f"<{start}s", f"<{start}x", start
        expected, columns = [raw[:start]], []
        while pos < stop:
            element = self.layout.element(raw, pos)
            if element is None or element[0] == CHARSET:
                return None
            tag, header, kept, size = element
            column = within.get(tag)
            if column is not None and column.within:
                return None
            headers += f"{len(header)}s{size - len(header)}x"
            values += f"{kept}x{size - kept}s" if column is not None else f"{size}x"
            expected.append(header)
            if column is not None:
                columns.append(column)
            pos += size
        if pos != stop or not columns:
            return None
        check, unpack = Struct(f"{headers}{len(raw) - stop}s"), Struct(values)
        return _Shape(check.unpack_from, (*expected, raw[stop:]), tuple(columns), unpack.unpack_from, len(raw), cost)


def leaf_value(column: Wanted, key: bytes, codec: str | None, item: Item, *, implicit: bool) -> Any:
    """Return one value of an item, in the shape that pydicom would give it."""
    memo = column.implicit if implicit else column.explicit
    value = memo.get(key, MISSING)
    if value is MISSING:
        value = new_value(column, key, codec, item, memo)
    if isinstance(value, list) and len(value) < 2:
        if value and column.kind != "list<string>":
            raise Fallback("value")
        value = value[0] if value else None
    return value


def _all_macros() -> dict[tuple[int, bool], Macros]:
    found: dict[tuple[int, bool], Macros] = {}

    def add(sequence: Wanted, implicit: bool) -> Macros:
        layout = Layout(implicit, frozenset((CHARSET, *sequence.within)))
        macros = found[sequence.tag, implicit] = Macros(layout, sequence)
        for tag, inner in sequence.within.items():
            if inner.within:
                macros.inner[pack_tag(tag >> 16, tag & 0xFFFF)] = found.get((tag, implicit)) or add(inner, implicit)
        return macros

    for sequence in NESTED.values():
        add(sequence, False)
        add(sequence, True)
    return found


MACROS = _all_macros()
"""By the tag of the sequence, and whether VR is implicit."""
