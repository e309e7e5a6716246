"""Functional groups of frames: those of one object are laid out alike, so a frame is read in one step.

What is remembered is found by exactly the bytes that a parse would see, so it gives what a parse would give.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

from cohort.readers.dicom_convert import new_memo
from cohort.readers.dicom_elements import (
    CHARSET,
    ITEM,
    ITEM_END,
    NESTED,
    SEQUENCE_END,
    UNDEFINED,
    Item,
    Value,
    Wanted,
    unpack_implicit,
    unpack_length,
)
from cohort.readers.dicom_layouts import Layout, looks_explicit
from cohort.readers.dicom_macros import leaf_value

PER_FRAME_GROUPS = 0x52009230

_MOST_BYTES = 1 << 13  # of the groups of one frame
_MOST_KINDS, _MOST_ALIKE, _MOST_MACROS = 64, 8, 4096
_DEEPEST = 8

Path = tuple[str, ...]
Unpack = Callable[[bytes, int], tuple[Any, ...]]


class Frame(NamedTuple):
    """The groups of one frame, their size in bytes, and how many items and elements they count for."""

    item: Item
    size: int
    cost: int


class _Leaf(NamedTuple):
    """A wanted element: the sequences that lead to it from that of the macro on, and its column."""

    path: Path
    column: Wanted


class _Macro(NamedTuple):
    """A macro of a frame: which of the values are its own."""

    name: str
    values: slice
    leaves: tuple[_Leaf, ...]
    label: tuple[int]
    """Tells it from others that have the same values."""


class _Shape(NamedTuple):
    """The groups of a frame but for the values of the elements."""

    check: Unpack
    expected: tuple[bytes, ...]
    values: Unpack
    macros: tuple[_Macro, ...]
    size: int
    cost: int
    codec: str | None


@dataclass(slots=True, eq=False)
class Frames:
    """Layouts of the groups of a frame.

    Parameters
    ----------
    sequence : Wanted
        The sequence of the frames, with the macros wanted of them.
    implicit : bool
        Elements have no VR.
    """

    sequence: Wanted
    implicit: bool
    shapes: dict[bytes, list[_Shape]] = field(default_factory=dict)  # by the header of the item
    macros: dict[Any, Value] = field(default_factory=new_memo)  # by the values and the label

    def find(self, data: bytes, pos: int, end: int, codec: str | None) -> Frame | None:
        """Return the groups that stand at `pos` and end before `end`, where groups laid out like them are known."""
        for shape in self.shapes.get(data[pos : pos + 8], ()):
            if pos + shape.size <= end and shape.codec == codec and shape.check(data, pos) == shape.expected:
                keys, macros = shape.values(data, pos), self.macros
                item: Item = {}
                for macro in shape.macros:
                    key = keys[macro.values] + macro.label
                    known = macros.get(key)
                    item[macro.name] = self._read(macro, key, codec) if known is None else known
                return Frame(item, shape.size, shape.cost)
        return None

    def _read(self, macro: _Macro, key: tuple[Any, ...], codec: str | None) -> Value:
        """Return the items of a macro not seen before."""
        first: Item = {}
        for (path, column), raw in zip(macro.leaves, key, strict=False):  # the label comes behind
            item = first
            for name in path:
                item = item.setdefault(name, Value([{}])).value[0]
            item[column.name] = Value(leaf_value(column, raw, codec, item, implicit=self.implicit))
        if len(self.macros) >= _MOST_MACROS:
            self.macros.clear()
        found = self.macros[key] = Value([first])
        return found

    def learn(self, raw: bytes, codec: str | None, cost: int) -> None:
        """Remember how the groups of one frame are laid out, where some that begin alike were seen before."""
        key = raw[:8]
        alike = self.shapes.get(key)
        if alike is None:
            if len(self.shapes) >= _MOST_KINDS:
                self.shapes.clear()
            self.shapes[key] = []
        elif len(alike) < _MOST_ALIKE and len(raw) <= _MOST_BYTES:
            shape = _Plan(self.sequence, raw, implicit=self.implicit).shape(codec, cost)
            if shape is not None:
                alike.append(shape)


_labels: dict[Any, int] = {}  # of kinds of macros: no value is in them


class _UnlikeError(Exception):
    """These groups are read element by element."""


class _Plan:
    """Goes through the groups of one frame, already found to be well-formed, and notes what stands where."""

    def __init__(self, sequence: Wanted, raw: bytes, *, implicit: bool) -> None:
        self._sequence, self._raw = sequence, raw
        self._layout = Layout(implicit, ())
        self._fixed: list[tuple[int, int]] = []  # bytes that are the same in all: from, to
        self._kept: list[tuple[int, int, Path, Wanted]] = []

    def shape(self, codec: str | None, cost: int) -> _Shape | None:
        """Return the shape; None where frames like this one are to be read element by element."""
        try:
            end = self._item(0, self._sequence.within, ())
        except _UnlikeError:
            return None
        if end != len(self._raw):
            return None
        check, expected = self._check()
        return _Shape(check, expected, self._values(), self._macros(codec), len(self._raw), cost, codec)

    def _item(self, pos: int, within: dict[int, Wanted], path: Path) -> int:
        """Go through one item; return where it ends."""
        raw, layout = self._raw, self._layout
        if len(path) > _DEEPEST:
            raise _UnlikeError
        length = unpack_length(raw, pos + 4)[0]
        self._fixed.append((pos, pos + 8))
        pos += 8
        stop = len(raw) if length == UNDEFINED else pos + length
        while pos < stop:
            group, element, size = unpack_implicit(raw, pos)
            tag = group << 16 | element
            if tag == ITEM_END and length == UNDEFINED:
                self._fixed.append((pos, pos + 8))
                return pos + 8
            wanted = within.get(tag)
            if tag == CHARSET or not (layout.implicit or looks_explicit(raw, pos)):
                raise _UnlikeError
            known = layout.element(raw, pos)
            if known is None or (wanted is not None and wanted.within):
                pos = self._items(pos, size, wanted, path)
                continue
            _, header, kept, size = known
            self._fixed.append((pos, pos + len(header)))
            if wanted is not None:
                self._kept.append((pos + kept, pos + size, path, wanted))
            pos += size
        if length == UNDEFINED:
            raise _UnlikeError
        return pos

    def _items(self, pos: int, length: int, wanted: Wanted | None, path: Path) -> int:
        """Go through a sequence; one that is wanted must have one item."""
        raw, start = self._raw, pos
        pos += 8
        if not self._layout.implicit:
            if raw[start + 4 : start + 6] != b"SQ":
                raise _UnlikeError
            length, pos = unpack_length(raw, pos)[0], pos + 4
        self._fixed.append((start, pos))
        within, inner = ({}, path) if wanted is None else (wanted.within, (*path, wanted.name))
        stop, count = len(raw) if length == UNDEFINED else pos + length, 0
        while pos < stop:
            group, element, _ = unpack_implicit(raw, pos)
            tag = group << 16 | element
            if tag == SEQUENCE_END and length == UNDEFINED:
                self._fixed.append((pos, pos + 8))
                pos += 8
                break
            if tag != ITEM:
                raise _UnlikeError
            pos, count = self._item(pos, within, inner), count + 1
        if wanted is not None and count != 1:
            raise _UnlikeError
        return pos

    def _check(self) -> tuple[Unpack, tuple[bytes, ...]]:
        """Return what unpacks the bytes that are the same in all, and these bytes; neighbours are one."""
        joined: list[list[int]] = []
        for start, stop in self._fixed:
            if joined and joined[-1][1] == start:
                joined[-1][1] = stop
            else:
                joined.append([start, stop])
        layout, pos = "<", 0
        for start, stop in joined:
            layout, pos = f"{layout}{start - pos}x{stop - start}s", stop
        return Struct(layout).unpack_from, tuple(self._raw[start:stop] for start, stop in joined)

    def _values(self) -> Unpack:
        layout, pos = "<", 0
        for start, stop, _, _ in self._kept:
            layout, pos = f"{layout}{start - pos}x{stop - start}s", stop
        return Struct(layout).unpack_from

    def _macros(self, codec: str | None) -> tuple[_Macro, ...]:
        """Return the macros; each has its values one after the other, for so they stand in the bytes."""
        leaves: dict[str, list[tuple[int, _Leaf]]] = {}
        for number, (_, _, path, column) in enumerate(self._kept):
            if not path:
                raise _UnlikeError
            leaves.setdefault(path[0], []).append((number, _Leaf(path[1:], column)))
        found = []
        for name, own in leaves.items():
            first, last = own[0][0], own[-1][0]
            held = tuple(leaf for _, leaf in own)
            kind = (codec, name, *((leaf.path, leaf.column.name) for leaf in held))
            found.append(_Macro(name, slice(first, last + 1), held, (_labels.setdefault(kind, len(_labels)),)))
        return tuple(found)


FRAMES = {implicit: Frames(NESTED[PER_FRAME_GROUPS], implicit) for implicit in (False, True)}
"""By whether VR is implicit."""
