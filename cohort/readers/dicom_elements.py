"""Elements of a DICOM header: how they are encoded, which are wanted, and what columns they fill."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from struct import Struct
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VR, tag_for_keyword

from cohort.readers.base import Row
from cohort.readers.dicom_convert import (
    AMBIGUOUS,
    AS_TEXT,
    Fallback,
    convert,
    convert_ambiguous,
    depends_on_charset,
    effective_vr,
    new_memo,
    remember,
)
from cohort.readers.dicom_frames import EXTRA_SHARED, ITEM_PLACES, LISTED, PLACES, WIDTHS, Place
from cohort.readers.dicom_names import HIDDEN_TAGS, hidden_text
from cohort.readers.dicom_tags import dictionary_vr, tag_of
from cohort.schema import DICOM_COLUMNS, FRAME_COLUMNS, ITEM_COLUMNS, Column

UNDEFINED = 0xFFFFFFFF
OPEN_END = sys.maxsize
META_START, META_LAST = 132, 0x0002FFFF
SOP_CLASS, SYNTAX = 0x00020002, 0x00020010  # of the file meta information
CHARSET = 0x00080005
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
FIRST_PIXELS = PIXELS[0]
DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"  # Deflated Image Frame Compression (PS3.5 section A.4.12)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD

# VRs with a length of 16 bits, and of 32 bits (PS3.5 section 7.1.2)
SHORT = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
PIXEL_VRS = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OV")
SEQUENCE_VRS = (b"SQ", b"UN")  # UN of undefined length is a sequence (PS3.5 section 6.2.2)

unpack_explicit = Struct("<HH2sH").unpack_from
unpack_implicit = Struct("<HHI").unpack_from
unpack_length = Struct("<I").unpack_from


MISSING = object()
HIDDEN = "hidden"
"""Kind of an element that fills no column: its value is looked at and let go."""

_REPAIRED = (0x00281101, 0x00281102, 0x00281103, 0x00283002)  # descriptors of tables: pydicom turns their signs


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """An element to be read, and the column it fills; without a kind it is a sequence, or left to pydicom."""

    tag: int
    name: str
    kind: str
    vr: bytes
    order: int = 0
    explicit: dict[bytes, Any] = field(default_factory=new_memo)  # values seen
    implicit: dict[bytes, Any] = field(default_factory=new_memo)
    within: dict[int, Wanted] = field(default_factory=dict)


class Element(NamedTuple):
    """Where an element starts, and what its header says; `vr` is empty where it is implicit."""

    tag: int
    vr: bytes
    length: int
    start: int


class Value(NamedTuple):
    """Stands where pydicom has a DataElement."""

    value: Any


def element_of(name: str, kind: str, within: tuple[Wanted, ...] = (), order: int = 0) -> Wanted:
    """Return a wanted element by its keyword, with the type of its column."""
    tag = tag_for_keyword(name)
    assert tag is not None, name
    vr = dictionary_VR(tag).encode()
    return Wanted(tag, name, kind, vr, order, within={element.tag: element for element in within})


def extra_element(column: Column, order: int) -> Wanted:
    """Return the wanted element of a column that a user asked for."""
    tag = tag_of(column)
    vr = dictionary_vr(tag)
    if tag in _REPAIRED:
        return Wanted(tag, column.name, "", b"", order)
    if vr is None:  # of private elements their creators alone have a known VR (PS3.5 section 7.8.1)
        return Wanted(tag, column.name, AS_TEXT, b"LO" if tag.is_private_creator else b"", order)
    return Wanted(tag, column.name, column.type, vr.encode(), order)


def _frame_elements() -> tuple[Wanted, ...]:
    """Return the macros of the functional groups that hold columns."""
    kinds = {column.name.removeprefix("frame_"): column.type[5:-1] for column in FRAME_COLUMNS}
    kinds |= dict.fromkeys(WIDTHS, "list<float64>") | dict.fromkeys(LISTED, "list<string>")
    kinds |= {"RescaleType": "string", "SpacingBetweenSlices": "float64", "Units": "string"}
    return _tree([(place, kinds[name]) for name, places in (PLACES | EXTRA_SHARED).items() for place in places])


def _tree(leaves: list[tuple[Place, str]]) -> tuple[Wanted, ...]:
    """Return the elements that lead to places; those below one sequence lie within it."""
    below: dict[str, list[tuple[Place, str]]] = {}
    found = []
    for (first, *rest), kind in leaves:
        if rest:
            below.setdefault(first, []).append((tuple(rest), kind))
        else:
            found.append(element_of(first, kind))
    # A character set of its own would be that of the whole item: such objects are left alone.
    charset = element_of("SpecificCharacterSet", "")
    return (*found, *(element_of(sequence, "", (charset, *_tree(inside))) for sequence, inside in below.items()))


def _leaves(names: tuple[str, ...]) -> tuple[Wanted, ...]:
    kinds = {column.name: column.type for column in ITEM_COLUMNS}
    return tuple(element_of(name, kinds[name]) for name in names)


def _nested() -> dict[int, Wanted]:
    charset = element_of("SpecificCharacterSet", "")
    integers = ("RegionSpatialFormat", "PhysicalUnitsXDirection", "PhysicalUnitsYDirection")
    region = [element_of(name, "int64") for name in integers]
    region += [element_of(name, "float64") for name in ("PhysicalDeltaX", "PhysicalDeltaY")]
    place = [element_of(name, "list<float64>") for name in ("ImagePositionPatient", "ImageOrientationPatient")]
    groups = (charset, *_frame_elements())
    sequences = (
        *(element_of(sequence, "", (charset, *_leaves(names))) for sequence, names in ITEM_PLACES.items()),
        element_of("SequenceOfUltrasoundRegions", "", (charset, *region)),
        element_of("DetectorInformationSequence", "", (charset, *place)),
        element_of("SharedFunctionalGroupsSequence", "", groups),
        element_of("PerFrameFunctionalGroupsSequence", "", groups),
    )
    return {sequence.tag: sequence for sequence in sequences}


NESTED = _nested()
WANTED = {
    element.tag: element
    for element in (element_of(column.name, column.type, (), order) for order, column in enumerate(DICOM_COLUMNS))
}
WANTED |= {tag: Wanted(tag, name, HIDDEN, b"PN") for tag, name in HIDDEN_TAGS.items()}
# Found among the plain elements only under a VR that is none of a sequence: then the object is left alone.
WANTED |= NESTED
Item = dict[str, Value]


def new_value(column: Wanted, key: bytes, codec: str | None, row: Row, memo: dict[bytes, Any]) -> Any:
    """Convert a value not seen before; where VR is explicit, `key` is VR, length and value."""
    if not column.kind:  # a sequence, or what pydicom repairs
        raise Fallback("value_representation")
    if memo is column.implicit:
        vr, raw = column.vr, key
    else:
        raw = key[4:] if key[:2] in SHORT else key[8:]
        vr = effective_vr(key[:2], column.vr, len(raw))
    if vr == AMBIGUOUS:
        return convert_ambiguous(column.kind, raw, row.get("PixelRepresentation"))
    if column.kind == HIDDEN:
        value: Any = hidden_text(raw)
        remember(memo, key, value)
        return value
    value = convert(vr, column.kind, raw, codec)
    if not depends_on_charset(vr, raw):
        remember(memo, key, value)
    return value
