"""DICOM headers, read by walking from element to element and converting what a column asks for.

Well-formed objects in little endian, explicit or implicit, are read; anything odd raises `Fallback`, and pydicom
reads the object instead. Both give the same row.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from struct import Struct
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple

from pydicom.datadict import _dictionary_vr_fast, dictionary_VR, tag_for_keyword
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from cohort.readers.base import Row
from cohort.readers.dicom import add_keys, pixel_facts
from cohort.readers.dicom_convert import (
    AMBIGUOUS,
    Fallback,
    clear,
    codec_of,
    convert,
    convert_ambiguous,
    depends_on_charset,
    effective_vr,
    new_memo,
    remember,
)
from cohort.readers.dicom_frames import EXTRA_SHARED, PLACES, WIDTHS, functional_groups, ultrasound_spacing
from cohort.schema import DICOM_COLUMNS, FRAME_COLUMNS, Status

__all__ = ["PARSER", "Fallback", "clear", "walk_header"]

PARSER = "walker 1"

_MAX_ELEMENTS = 200_000  # at the top level
_MAX_NESTED = 500_000  # items and elements in sequences
_MAX_DEPTH = 64
_MAX_VALUE = 1 << 20
_BLOCK, _MAX_BLOCK = 1 << 14, 1 << 17
_PADDING = bytes(16)  # lets a header be unpacked at the very end of an object

_UNDEFINED = 0xFFFFFFFF
_OPEN_END = sys.maxsize
_META_START, _META_LAST = 132, 0x0002FFFF
_SYNTAX = 0x00020010
_CHARSET = 0x00080005
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
_FIRST_PIXELS = _PIXELS[0]
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

# VRs with a length of 16 bits, and of 32 bits (PS3.5 section 7.1.2)
_SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_PIXEL_VRS = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OV")
_SEQUENCE_VRS = (b"SQ", b"UN")  # UN of undefined length is a sequence (PS3.5 section 6.2.2)

_explicit = Struct("<HH2sH").unpack_from
_implicit = Struct("<HHI").unpack_from
_long = Struct("<I").unpack_from

_EXPLICIT_SYNTAXES = frozenset(
    uid.encode()
    for uid in AllTransferSyntaxes
    if uid not in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
)
_IMPLICIT_SYNTAX = ImplicitVRLittleEndian.encode()
_REQUIRED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
_REQUIRED_WITH_PIXELS = ("Rows", "Columns", "BitsAllocated")
_MISSING = object()


@dataclass(frozen=True, slots=True, eq=False)
class _Wanted:
    """An element to be read, and the column it fills; a sequence has elements within."""

    tag: int
    name: str
    kind: str
    vr: bytes
    order: int = 0
    explicit: dict[bytes, Any] = field(default_factory=new_memo)  # values seen
    implicit: dict[bytes, Any] = field(default_factory=new_memo)
    within: dict[int, _Wanted] = field(default_factory=dict)


class _Element(NamedTuple):
    """Where an element starts, and what its header says; `vr` is empty where it is implicit."""

    tag: int
    vr: bytes
    length: int
    start: int


class _Value(NamedTuple):
    """Stands where pydicom has a DataElement."""

    value: Any


def _element(name: str, kind: str, within: tuple[_Wanted, ...] = (), order: int = 0) -> _Wanted:
    tag = tag_for_keyword(name)
    assert tag is not None, name
    vr = dictionary_VR(tag).encode()
    return _Wanted(tag, name, kind, vr, order, within={element.tag: element for element in within})


def _frame_elements() -> tuple[_Wanted, ...]:
    """Return the macros of the functional groups that hold columns."""
    kinds = {column.name.removeprefix("frame_"): column.type[5:-1] for column in FRAME_COLUMNS}
    kinds |= dict.fromkeys(WIDTHS, "list<float64>") | {"FrameType": "list<string>"}
    kinds |= {"RescaleType": "string", "SpacingBetweenSlices": "float64"}
    places = {name: list(macros) for name, macros in PLACES.items()}
    places |= {name: [macro] for name, macro in EXTRA_SHARED.items()}
    macros: dict[str, list[_Wanted]] = {}
    for name, sequences in places.items():
        for sequence in sequences:
            # A character set of its own would be that of the whole item: such objects are left alone.
            macros.setdefault(sequence, [_element("SpecificCharacterSet", "")]).append(_element(name, kinds[name]))
    return tuple(_element(sequence, "", tuple(inside)) for sequence, inside in macros.items())


def _nested() -> dict[int, _Wanted]:
    charset = _element("SpecificCharacterSet", "")
    integers = ("RegionSpatialFormat", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection")
    region = [_element(name, "int64") for name in integers]
    region += [_element(name, "float64") for name in ("PhysicalDeltaX", "PhysicalDeltaY")]
    groups = (charset, *_frame_elements())
    sequences = (
        _element("SequenceOfUltrasoundRegions", "", (charset, *region)),
        _element("SharedFunctionalGroupsSequence", "", groups),
        _element("PerFrameFunctionalGroupsSequence", "", groups),
    )
    return {sequence.tag: sequence for sequence in sequences}


_NESTED = _nested()
_WANTED = {
    element.tag: element
    for element in (_element(column.name, column.type, (), order) for order, column in enumerate(DICOM_COLUMNS))
}
# Found among the plain elements only under a VR that is none of a sequence: then the object is left alone.
_WANTED |= _NESTED
Found = list[tuple[_Wanted, bytes]]
Pixels = tuple[int, int | None, int]
_Item = dict[str, _Value]


def walk_header(file: BinaryIO, size: int, head: bytes) -> Row:
    """Read one DICOM header.

    Parameters
    ----------
    file : BinaryIO
        The object; left open, at any position.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes.

    Returns
    -------
    Row
        The columns of `files` that `dicom.read_header` gives. Lists in it are shared and must not be changed.

    Raises
    ------
    Fallback
        If the object is not well-formed, or needs more than this reader knows.
    """
    window = _Window(file, size, head)
    syntax, start = _read_meta(window)
    if syntax in _EXPLICIT_SYNTAXES:
        found, pixels = _walk_explicit(window, start)
        row = _values(found, implicit=False)
    elif syntax == _IMPLICIT_SYNTAX:
        found, pixels = _walk_implicit(window, start)
        row = _values(found, implicit=True)
    else:
        raise Fallback("transfer_syntax")
    _require(row, pixels)
    row |= {"format": "dicom", "parser": PARSER, "status": Status.OK, "TransferSyntaxUID": syntax.decode()}
    add_keys(row, file, size, head)
    row |= pixel_facts(row, pixels[:2] if pixels else None, size)
    if window.nested and row["is_image"]:
        row |= _nested_row(window.nested, row)
    return row


def _require(row: Row, pixels: Pixels | None) -> None:
    """Fall back where half a header may have been lost."""
    for name in _REQUIRED:
        if not row.get(name):
            raise Fallback("missing_key")
    if pixels is None:
        return
    for name in _REQUIRED_WITH_PIXELS:
        if row.get(name) is None:
            raise Fallback("missing_key")
    if pixels[2] not in _FLOAT_PIXELS and row.get("PixelRepresentation") is None:
        raise Fallback("missing_key")


class _Window:
    """The part of an object that is in memory.

    Parameters
    ----------
    file : BinaryIO
        The object.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes.
    """

    __slots__ = ("_block", "_file", "base", "budget", "data", "end", "nested", "safe", "size")

    def __init__(self, file: BinaryIO, size: int, head: bytes) -> None:
        if len(head) > size:
            raise Fallback("size_changed")
        self._file = file
        self._block = _BLOCK
        self.size = size
        self.budget = _MAX_NESTED
        self.nested: dict[str, _Value] = {}  # sequences read
        self._hold(0, head)

    def _hold(self, base: int, data: bytes) -> None:
        self.base, self.end = base, len(data)
        at_end = base + self.end == self.size
        self.data = data + _PADDING if at_end else data
        self.safe = len(self.data) - len(_PADDING)  # up to here a header can be unpacked

    def move(self, position: int) -> None:
        """Hold what follows `position`: more and more of it as long as nothing is skipped."""
        if position > self.size:
            raise Fallback("length_beyond_end")
        skipped = position > self.base + self.end
        self._block = _BLOCK if skipped else min(2 * self._block, _MAX_BLOCK)
        self._hold(position, self.read(position, min(position + self._block, self.size)))

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes of the object, in the window or not."""
        if start >= self.base and stop <= self.base + self.end:
            return self.data[start - self.base : stop - self.base]
        if stop - start > _MAX_VALUE:
            raise Fallback("long_value")
        self._file.seek(start)
        data = self._file.read(stop - start)
        if len(data) < stop - start:
            raise Fallback("truncated")
        return data

    def advance(self, stop: int) -> int:
        """Hold what follows `stop`, which counts from the start of the window; return its new place."""
        if stop <= self.safe:
            return stop
        self.check(stop)
        self.move(self.base + stop)
        return 0

    def check(self, stop: int) -> None:
        """Refuse a value that ends behind the end of the object; `stop` counts from the start of the window."""
        if self.base + stop > self.size:
            raise Fallback("length_beyond_end")

    def finish(self, pos: int) -> None:
        """Make sure that the object ends here."""
        if self.base + pos != self.size:
            raise Fallback("tag_order")
        self._file.seek(self.size)
        if self._file.read(1):
            raise Fallback("size_changed")


def _read_meta(window: _Window) -> tuple[bytes, int]:
    """Return the transfer syntax and where the dataset begins."""
    data, pos, last, syntax = window.data, _META_START, 0, b""
    if data[128:148].find(b"DICM\x02\x00\x00\x00UL\x04\x00") != 0 or window.end < 144:
        raise Fallback("file_meta")
    end: int = 144 + _long(data, 140)[0]
    if end > window.safe:
        raise Fallback("file_meta")
    while pos < end:
        group, element, vr, length = _explicit(data, pos)
        tag = group << 16 | element
        if not last < tag <= _META_LAST:
            raise Fallback("file_meta")
        value = pos + 8
        if vr in _LONG:
            length, value = _long(data, value)[0], pos + 12
        elif vr not in _SHORT:
            raise Fallback("file_meta")
        last, pos = tag, value + length
        if tag == _SYNTAX:
            if vr != b"UI" or pos > end:
                raise Fallback("file_meta")
            syntax = data[value:pos].rstrip(b"\x00 ")
    if pos != end:
        raise Fallback("file_meta")
    return syntax, end


def _walk_explicit(window: _Window, start: int) -> tuple[Found, Pixels | None]:
    """Walk a dataset in explicit VR; what is found is kept as VR, length and value."""
    wanted, short_vrs, runs = _WANTED, _SHORT, _explicit_runs  # locals are faster
    data, safe, pos, last, budget = window.data, window.safe, start, _META_LAST, _MAX_ELEMENTS
    found: Found = []
    while budget > 0:
        run = _run(runs, data, pos, safe, last)
        if run is not None:
            found += zip(run.columns, run.values(data, pos), strict=True)
            last, pos, budget = run.last, pos + run.size, budget - run.elements
            continue
        budget -= 1
        group, element, vr, length = _explicit(data, pos)
        tag = group << 16 | element
        if not last < tag < _FIRST_PIXELS:
            if tag in _PIXELS and tag > last:
                return found, _explicit_pixels(window, pos, tag)
            if _ends(window, pos, tag, last):
                return found, None
        last = tag
        if vr in short_vrs:
            stop = pos + 8 + length
        elif vr in _LONG:
            length = _long(data, pos + 8)[0]
            if length == _UNDEFINED or tag in _NESTED:
                pos = window.advance(_sequence(window, found, pos + 12, _Element(tag, vr, length, 0)))
                data, safe = window.data, window.safe
                continue
            stop = pos + 12 + length
        else:
            raise Fallback("value_representation")
        if tag in wanted:
            column = wanted[tag]
            found.append((column, data[pos + 4 : stop] if stop <= safe else _raw(window, pos + 4, stop)))
        if stop > safe:
            stop = window.advance(stop)
            data, safe = window.data, window.safe
        pos = stop
    raise Fallback("too_many_elements")


def _walk_implicit(window: _Window, start: int) -> tuple[Found, Pixels | None]:
    """Walk a dataset in implicit VR; of what is found the value is kept."""
    wanted, nested = _WANTED, _NESTED
    data, safe, pos, last, budget = window.data, window.safe, start, _META_LAST, _MAX_ELEMENTS
    if _looks_explicit(data, pos):
        raise Fallback("value_representation")
    found: Found = []
    while budget > 0:
        run = _run(_implicit_runs, data, pos, safe, last)
        if run is not None:
            found += zip(run.columns, run.values(data, pos), strict=True)
            last, pos, budget = run.last, pos + run.size, budget - run.elements
            continue
        budget -= 1
        group, element, length = _implicit(data, pos)
        tag = group << 16 | element
        if not last < tag < _FIRST_PIXELS:
            if tag in _PIXELS and tag > last:
                return found, _implicit_pixels(window, pos, tag)
            if _ends(window, pos, tag, last):
                return found, None
        last = tag
        if length == _UNDEFINED or tag in nested:
            pos = window.advance(_sequence(window, found, pos + 8, _Element(tag, b"", length, 0)))
            data, safe = window.data, window.safe
            continue
        stop = pos + 8 + length
        if tag in wanted:
            column = wanted[tag]
            found.append((column, data[pos + 8 : stop] if stop <= safe else _raw(window, pos + 8, stop)))
        if stop > safe:
            stop = window.advance(stop)
            data, safe = window.data, window.safe
        pos = stop
    raise Fallback("too_many_elements")


def _raw(window: _Window, start: int, stop: int) -> bytes:
    return window.read(window.base + start, window.base + stop)


def _sequence(window: _Window, found: Found, pos: int, element: _Element) -> int:
    """Read a sequence that columns are made of, or skip one of undefined length; return where the next tag is."""
    position, implicit = window.base + pos, not element.vr
    wanted = _NESTED.get(element.tag)
    if wanted is None:
        if element.tag in _WANTED:
            raise Fallback("undefined_length")
        _open(window, position, element.tag, element.vr)
        return _skip_sequence(window, position, implicit=implicit) - window.base
    if not implicit and element.vr != b"SQ":
        raise Fallback("value_representation")
    codec = _codec(found, implicit=implicit)
    items, position = _items(window, position, element.length, wanted, codec, implicit=implicit)
    window.nested[wanted.name] = _Value(items)
    return position - window.base


def _ends(window: _Window, pos: int, tag: int, last: int) -> bool:
    """Tell whether the object ends here; raises where the tags do not ascend, or none may stand here."""
    if tag <= last:
        window.finish(pos)
        return True
    if tag >= _ITEM & 0xFFFF0000:
        raise Fallback("stray_delimiter")
    return False


def _explicit_pixels(window: _Window, pos: int, tag: int) -> Pixels:
    if window.data[pos + 4 : pos + 6] not in _PIXEL_VRS:
        raise Fallback("value_representation")
    window.check(pos + 12)
    length = _long(window.data, pos + 8)[0]
    return window.base + pos + 12, None if length == _UNDEFINED else length, tag


def _implicit_pixels(window: _Window, pos: int, tag: int) -> Pixels:
    window.check(pos + 8)
    length = _long(window.data, pos + 4)[0]
    return window.base + pos + 8, None if length == _UNDEFINED else length, tag


# -- runs: the headers of one series are laid out alike ------------------------------------------------------

_MAX_RUN = 24  # elements
_MAX_RUN_SIZE = 1 << 12  # bytes
_MAX_RUNS = 2048


class _Run(NamedTuple):
    """Elements seen to follow each other, with their lengths: where all headers are the same, one step passes all."""

    steps: tuple[_Step, ...]
    first: int
    last: int
    elements: int
    size: int
    headers: Callable[[bytes, int], tuple[Any, ...]]
    expected: tuple[bytes, ...]
    columns: tuple[_Wanted, ...]
    values: Callable[[bytes, int], tuple[Any, ...]]


class _Step(NamedTuple):
    """One element of a run: its header, where what is kept of it begins, and its size."""

    tag: int
    header: bytes
    kept: int
    size: int


def _new_run(steps: tuple[_Step, ...]) -> _Run:
    headers = Struct("<" + "".join(f"{len(step.header)}s{step.size - len(step.header)}x" for step in steps))
    kept = "".join(
        f"{step.kept}x{step.size - step.kept}s" if step.tag in _WANTED else f"{step.size}x" for step in steps
    )
    columns = tuple(_WANTED[step.tag] for step in steps if step.tag in _WANTED)
    first, last = (steps[0].tag, steps[-1].tag) if steps else (0, 0)
    expected = tuple(step.header for step in steps)
    values = Struct("<" + kept)
    return _Run(steps, first, last, len(steps), values.size, headers.unpack_from, expected, columns, values.unpack_from)


_SEEN = _new_run(())
_NO_RUN = _new_run(())
# By the first header. They hold tags, VRs and lengths, no values: nothing tells of a patient.
_explicit_runs: dict[bytes, _Run] = {}
_implicit_runs: dict[bytes, _Run] = {}


def _run(runs: dict[bytes, _Run], data: bytes, pos: int, safe: int, last: int) -> _Run | None:
    """Return a run that stands at `pos`, or None: then one element has to be walked."""
    key = data[pos : pos + 8]
    run = runs.get(key)
    if run is None:  # what is seen once may never come again
        if len(runs) >= _MAX_RUNS:
            runs.clear()
        runs[key] = _SEEN
        return None
    if run is _SEEN:
        run = runs[key] = _learned(data, pos, safe, implicit=runs is _implicit_runs)
    if not run.elements or run.first <= last or pos + run.size > safe:
        return None
    headers = run.headers(data, pos)
    if headers == run.expected:
        return run
    same = next(number for number, header in enumerate(headers) if header != run.expected[number])
    runs[key] = _new_run(run.steps[:same]) if same > 2 else _NO_RUN
    return None


def _learned(data: bytes, pos: int, safe: int, *, implicit: bool) -> _Run:
    """Return the run that begins at `pos`: what the walk would pass without a second look."""
    steps: list[_Step] = []
    size, last = 0, _META_LAST
    while len(steps) < _MAX_RUN:
        step = _step(data, pos, implicit=implicit)
        if step is None or not last < step.tag < _FIRST_PIXELS or step.tag in _NESTED:
            break
        size += step.size
        if size > _MAX_RUN_SIZE or pos + step.size > safe:
            break
        steps.append(step)
        last, pos = step.tag, pos + step.size
    return _new_run(tuple(steps)) if len(steps) > 2 else _NO_RUN


def _step(data: bytes, pos: int, *, implicit: bool) -> _Step | None:
    group, element, length = _implicit(data, pos)
    header, kept = 8, 8
    if not implicit:
        kept, vr = 4, data[pos + 4 : pos + 6]
        if vr in _SHORT:
            length >>= 16
        elif vr in _LONG:
            length, header = _long(data, pos + 8)[0], 12
        else:
            return None
    if length == _UNDEFINED:
        return None
    return _Step(group << 16 | element, data[pos : pos + header], kept, header + length)


# -- sequences of undefined length: their end is found by walking them ---------------------------------------


def _skip_sequence(window: _Window, position: int, *, implicit: bool) -> int:
    """Return where a sequence ends whose first item begins at `position`."""
    enclosing: list[tuple[bool, int, bool]] = []
    while True:
        tag, length, pos = _item_header(window, position)
        position += 8
        if tag == _ITEM:
            if not length:
                continue
            end = _OPEN_END if length == _UNDEFINED else position + length
            # Items may be implicit inside explicit datasets, never the other way round.
            within = implicit or not _looks_explicit(window.data, pos + 8)
        elif tag == _SEQUENCE_END and not length:
            if not enclosing:
                return position
            implicit, end, within = enclosing.pop()
        else:
            raise Fallback("item_expected")
        position, opened = _walk_item(window, position, end, (), implicit=within)
        if opened is not None:
            _open(window, position, opened.tag, opened.vr)
            enclosing.append((implicit, end, within))
            implicit = within
            if len(enclosing) >= _MAX_DEPTH:
                raise Fallback("too_deep")


def _item_header(window: _Window, position: int) -> tuple[int, int, int]:
    """Return tag, length, and place in the window of what should be an item or the end of its sequence."""
    window.budget -= 1
    if window.budget < 0:
        raise Fallback("too_many_elements")
    pos = position - window.base
    if pos > window.safe:
        window.move(position)
        pos = 0
    group, element, length = _implicit(window.data, pos)
    return group << 16 | element, length, pos


def _walk_item(
    window: _Window, position: int, end: int, stops: Container[int], *, implicit: bool
) -> tuple[int, _Element | None]:
    """Walk one item to its end, or up to the value of a sequence of undefined length or of a tag among `stops`."""
    data, base, safe = window.data, window.base, window.safe
    for count in range(window.budget):
        if position >= end:
            if position > end:
                raise Fallback("item_length")
            window.budget -= count
            return position, None
        pos = position - base
        if pos > safe:
            window.move(position)
            data, base, safe, pos = window.data, window.base, window.safe, 0
        group, element, length = _implicit(data, pos)
        if group == 0xFFFE:
            if element != _ITEM_END & 0xFFFF or length or end != _OPEN_END:
                raise Fallback("stray_delimiter")
            window.budget -= count
            return position + 8, None
        tag, vr = group << 16 | element, b""
        position += 8
        if not implicit:
            vr, length, position = _explicit_header(data, pos, length, position)
        if length == _UNDEFINED or tag in stops:
            window.budget -= count
            return position, _Element(tag, vr, length, base + pos)
        if tag == _CHARSET:
            _check_charset(window, position, length, vr)
        position += length
        if position > window.size:
            raise Fallback("length_beyond_end")
    raise Fallback("too_many_elements")


def _explicit_header(data: bytes, pos: int, length: int, position: int) -> tuple[bytes, int, int]:
    """Return VR, length and the place of the value; `length` is what would be it if VR were implicit."""
    vr = data[pos + 4 : pos + 6]
    if vr in _SHORT:
        return vr, length >> 16, position
    if vr in _LONG:
        return vr, _long(data, pos + 8)[0], position + 4
    raise Fallback("value_representation")


def _open(window: _Window, position: int, tag: int, vr: bytes) -> None:
    if not vr:
        _require_sequence(window, position, tag)
    elif vr not in _SEQUENCE_VRS:
        raise Fallback("undefined_length")


def _check_charset(window: _Window, position: int, length: int, vr: bytes) -> None:
    """Make sure that pydicom, which looks the character set up at once, knows it."""
    if vr not in (b"", b"CS") or position + length > window.size:
        raise Fallback("charset")
    codec_of(window.read(position, position + length))


def _looks_explicit(data: bytes, pos: int) -> bool:
    """Tell whether capitals stand where a VR would, as pydicom does."""
    return 0x40 < data[pos + 4] < 0x5B and 0x40 < data[pos + 5] < 0x5B


def _require_sequence(window: _Window, position: int, tag: int) -> None:
    """Make sure that an element of undefined length in implicit VR is a sequence to pydicom too."""
    try:
        is_sequence = _dictionary_vr_fast(tag) == "SQ"
    except KeyError:
        is_sequence = position + 4 <= window.size and window.read(position, position + 4) == b"\xfe\xff\x00\xe0"
    if not is_sequence:
        raise Fallback("undefined_length")


# -- sequences that columns are made of ------------------------------------------------------------------------


def _items(
    window: _Window, position: int, length: int, wanted: _Wanted, codec: str | None, *, implicit: bool
) -> tuple[list[_Item], int]:
    """Read the items of one sequence; return where it ends, too."""
    stop = _OPEN_END if length == _UNDEFINED else position + length
    items: list[_Item] = []
    while position < stop:
        tag, length, pos = _item_header(window, position)
        position += 8
        if tag == _SEQUENCE_END and not length and stop == _OPEN_END:
            return items, position
        if tag != _ITEM:
            raise Fallback("item_expected")
        within = implicit or not _looks_explicit(window.data, pos + 8)
        end = _OPEN_END if length == _UNDEFINED else position + length
        item, position = _item(window, position, end, wanted, codec, implicit=within)
        items.append(item)
    if position != stop:
        raise Fallback("item_length")
    return items, position


def _item(
    window: _Window, position: int, end: int, wanted: _Wanted, codec: str | None, *, implicit: bool
) -> tuple[_Item, int]:
    item: _Item = {}
    while True:
        position, element = _walk_item(window, position, end, wanted.within, implicit=implicit)
        if element is None:
            return item, position
        column = wanted.within.get(element.tag)
        if column is None or column.within:
            if element.vr not in (b"", b"SQ") and (column or element.length != _UNDEFINED):
                raise Fallback("value_representation")
            if column is None:
                _open(window, position, element.tag, element.vr)
                position = _skip_sequence(window, position, implicit=implicit)
                continue
            value, position = _items(window, position, element.length, column, codec, implicit=implicit)
        else:
            value, position = _leaf(window, position, element, column, codec, item)
        if column.name in item:
            raise Fallback("tag_order")
        item[column.name] = _Value(value)


def _leaf(
    window: _Window, position: int, element: _Element, column: _Wanted, codec: str | None, item: _Item
) -> tuple[Any, int]:
    """Read one value, in the shape that pydicom would give it."""
    stop = position + element.length
    if column.tag == _CHARSET or stop > window.size:
        raise Fallback("charset" if column.tag == _CHARSET else "length_beyond_end")
    key = window.read(element.start + 4 if element.vr else position, stop)
    memo = column.explicit if element.vr else column.implicit
    value = memo.get(key, _MISSING)
    if value is _MISSING:
        value = _new_value(column, key, codec, item, memo)
    if isinstance(value, list) and len(value) < 2:
        if value and column.kind != "list<string>":
            raise Fallback("value")
        value = value[0] if value else None
    return value, stop


def _nested_row(nested: dict[str, _Value], row: Row) -> Row:
    """Return the columns that sequences fill; their items stand in for pydicom's."""
    dataset: Any = dict(nested)
    regions = nested.get("SequenceOfUltrasoundRegions", _Value([])).value
    plain = [SimpleNamespace(**{name: value.value for name, value in region.items()}) for region in regions]
    dataset["SequenceOfUltrasoundRegions"] = _Value(plain)
    found = functional_groups(dataset, row)
    return found | ultrasound_spacing(dataset)


# -- values --------------------------------------------------------------------------------------------------


def _values(found: Found, *, implicit: bool) -> Row:
    row: Row = {}
    empty: list[_Wanted] = []
    codec = _codec(found, implicit=implicit)
    for column, key in found:
        memo = column.implicit if implicit else column.explicit
        value = memo.get(key, _MISSING)
        if value is _MISSING:
            value = _new_value(column, key, codec, row, memo)
        if value is None:
            empty.append(column)
        row[column.name] = value
    empty.sort(key=lambda column: column.order)
    row["empty_tags"] = [column.name for column in empty] or None
    row["unparsed"] = None
    return row


def _codec(found: Found, *, implicit: bool) -> str | None:
    """Return the codec of text: SpecificCharacterSet comes first, for no wanted tag is smaller."""
    if not found or found[0][0].tag != _CHARSET:
        return "latin-1"
    key = found[0][1]
    if implicit:
        return codec_of(key)
    if key[:2] != b"CS":
        raise Fallback("charset")
    return codec_of(key[4:])


def _new_value(column: _Wanted, key: bytes, codec: str | None, row: Row, memo: dict[bytes, Any]) -> Any:
    """Convert a value not seen before; where VR is explicit, `key` is VR, length and value."""
    if not column.kind:  # a sequence
        raise Fallback("value_representation")
    if memo is column.implicit:
        vr, raw = column.vr, key
    else:
        raw = key[4:] if key[:2] in _SHORT else key[8:]
        vr = effective_vr(key[:2], column.vr, len(raw))
    if vr == AMBIGUOUS:
        return convert_ambiguous(column.kind, raw, row.get("PixelRepresentation"))
    value = convert(vr, column.kind, raw, codec)
    if not depends_on_charset(vr, raw):
        remember(memo, key, value)
    return value
