"""What a hostile object is: its bytes, what it stands for, and what must become of it in a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from hostile_dicom import EXPLICIT, Encoding, image

CANARY = "CNRY"
"""Begins every word that a header of the catalogue holds and no message may repeat."""

Files = dict[str, bytes]
Value = bytes | int


class Case(NamedTuple):
    """One object, and the objects beside it that belong to it."""

    files: Callable[[int], Files]
    """Makes the bytes by name; the number keeps its identifiers apart from those of others. The first is judged."""
    stands_for: str
    """CVE, issue, or row or finding of the table of threats."""
    row: str = "ok"
    """`status` or `status: reason` of its row of `files`."""
    volume: str | None = "ok"
    """The same of its volume; None: it becomes none."""
    why: str = ""
    """Where the outcome is a matter of choice: why this one."""


Cases = Iterator[tuple[str, Case]]


def only(make: Callable[[int], bytes], name: str = "case.dcm") -> Callable[[int], Files]:
    """One file alone."""
    return lambda number: {name: make(number)}


def unique(data: bytes, number: int) -> bytes:
    """The object with identifiers of its own, of the same length."""
    told = data.replace(b"1.2.3.4\0", b"1.9.%04d" % number).replace(b"1.2.3.5\0", b"1.8.%04d" % number)
    return told.replace(b"CNRYID0000", b"CNRYID%04d" % number)


def ct(changes: dict[int, tuple[str, Value]] | None = None, e: Encoding = EXPLICIT) -> Callable[[int], Files]:
    """A CT image of 2 x 2 pixels with other elements: VR and value."""

    def make(number: int) -> bytes:
        encoded = {tag: e.element(tag, vr, value) for tag, (vr, value) in (changes or {}).items()}
        return unique(image(e, encoded), number)

    return only(make)


def raw(changes: dict[int, bytes], e: Encoding = EXPLICIT, *, tail: bytes = b"") -> Callable[[int], Files]:
    """The same with elements that are encoded already; an empty one takes its element away."""
    return only(lambda number: unique(image(e, changes, tail=tail), number))


def text(value: str | bytes) -> bytes:
    """A value padded to even length."""
    found = value.encode() if isinstance(value, str) else value
    return found + b" " * (len(found) % 2)
