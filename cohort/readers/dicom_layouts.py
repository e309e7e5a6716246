"""Layouts: the headers of one series are alike, so elements seen before are passed in one step.

A step is one element, or a run of elements that were seen to follow each other, found by the header it begins with:
tag, VR and length. It holds no values: nothing in it tells of a patient.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import Any

from cohort.readers.dicom_elements import (
    FIRST_PIXELS,
    LONG,
    META_LAST,
    NESTED,
    SHORT,
    UNDEFINED,
    WANTED,
    Wanted,
    extra_element,
    unpack_implicit,
    unpack_length,
)
from cohort.schema import DICOM_COLUMNS, Column

_KEY = 8  # bytes: group, element, VR and length, or group, element and length
_MAX_RUN = 64  # elements
_MAX_RUN_SIZE = 1 << 12  # bytes
_MAX_STEPS = 4096

Values = Callable[[bytes, int], tuple[Any, ...]]
Run = tuple[int, int, int, int, Values | None, tuple[bytes, ...], tuple[Wanted, ...], Values]
"""First tag, last tag, size, number of elements, what unpacks their headers (None: the first eight bytes are all of
them), these headers, the columns they fill, what unpacks the values of these."""

Step = Run | tuple[()] | None
"""None: seen, but not yet learned, for what is seen once may never come again. Empty: not worth learning."""

_Element = tuple[int, bytes, int, int]
"""Tag, header, where what is kept of the element begins, size."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Steps known in one kind of place.

    Parameters
    ----------
    implicit : bool
        Elements have no VR.
    stops : container of int
        Tags that are looked at one by one.
    wanted : mapping of int to Wanted
        Elements of which the values are kept.
    steps : dict
        By the first eight bytes.
    """

    implicit: bool
    stops: Container[int]
    wanted: Mapping[int, Wanted] = field(default_factory=dict)
    steps: dict[bytes, Step] = field(default_factory=dict)

    def read_known(
        self, data: bytes, pos: int, safe: int, last: int, found: tuple[list[Wanted], list[bytes]]
    ) -> tuple[int, int, int]:
        """Pass the steps known from `pos` on, and keep what is wanted of them.

        Returns
        -------
        tuple of int
            Where the next element begins, the last tag passed, and how many elements were.
        """
        steps, count, (columns, keys) = self.steps, 0, found
        while step := steps.get(data[pos : pos + _KEY]):
            first, final, size, elements, check, expected, held, values = step
            if last >= first or pos + size > safe:
                return pos, last, count
            headers = expected if check is None else check(data, pos)
            if headers != expected:
                self._shorten(data, pos, headers)
                return pos, last, count
            columns += held
            keys += values(data, pos)
            last, pos, count = final, pos + size, count + elements
        if step is None:
            self._learn(data, pos, safe)
        return pos, last, count

    def skip_known(self, data: bytes, pos: int, safe: int) -> tuple[int, int]:
        """Pass the steps known from `pos` on; return where the next element begins, and how many were passed."""
        steps, count = self.steps, 0
        while step := steps.get(data[pos : pos + _KEY]):
            _, _, size, elements, check, expected, _, _ = step
            if pos + size > safe:
                return pos, count
            headers = expected if check is None else check(data, pos)
            if headers != expected:
                self._shorten(data, pos, headers)
                return pos, count
            pos, count = pos + size, count + elements
        if step is None and pos < safe:
            self._learn(data, pos, safe)
        return pos, count

    def _learn(self, data: bytes, pos: int, safe: int) -> None:
        """Learn the step that begins at `pos`, where one like it was seen before."""
        key = data[pos : pos + _KEY]
        if key not in self.steps:
            if len(self.steps) >= _MAX_STEPS:
                self.steps.clear()
            self.steps[key] = None
            return
        self._keep(key, self._run_at(data, pos, safe))

    def _shorten(self, data: bytes, pos: int, headers: tuple[bytes, ...]) -> None:
        """Cut a run to those of its elements that stand at `pos`, where `headers` were found in their places."""
        key = data[pos : pos + _KEY]
        run = self.steps[key]
        assert run
        same = next(number for number, header in enumerate(headers) if header != run[5][number])
        self._keep(key, self._run_at(data, pos, pos + run[2])[:same])

    def _keep(self, key: bytes, elements: list[_Element]) -> None:
        if not elements:
            self.steps[key] = ()
            return
        headers = Struct("<" + "".join(f"{len(header)}s{size - len(header)}x" for _, header, _, size in elements))
        kept = "".join(
            f"{start}x{size - start}s" if tag in self.wanted else f"{size}x" for tag, _, start, size in elements
        )
        columns = tuple(self.wanted[tag] for tag, *_ in elements if tag in self.wanted)
        values = Struct("<" + kept)
        expected = tuple(header for _, header, _, _ in elements)
        complete = len(elements) == 1 and len(expected[0]) == _KEY
        self.steps[key] = (
            elements[0][0], elements[-1][0], values.size, len(elements),
            None if complete else headers.unpack_from, expected, columns, values.unpack_from,
        )  # fmt: skip

    def _run_at(self, data: bytes, pos: int, safe: int) -> list[_Element]:
        """Return the elements that begin at `pos`: what a walk would pass without a second look."""
        elements: list[_Element] = []
        size, last = 0, META_LAST
        while len(elements) < _MAX_RUN:
            element = self.element(data, pos)
            if element is None or not last < element[0] < FIRST_PIXELS or element[0] in self.stops:
                break
            size += element[3]
            if size > _MAX_RUN_SIZE or pos + element[3] > safe:
                break
            elements.append(element)
            last, pos = element[0], pos + element[3]
        return elements

    def element(self, data: bytes, pos: int) -> tuple[int, bytes, int, int] | None:
        """Return tag, header, where what is kept begins, and size; None where the length is undefined."""
        group, element, length = unpack_implicit(data, pos)
        header, kept = _KEY, _KEY
        if not self.implicit:
            kept, vr = 4, data[pos + 4 : pos + 6]
            if vr in SHORT:
                length >>= 16
            elif vr in LONG:
                length, header = unpack_length(data, pos + 8)[0], 12
            else:
                return None
        if length == UNDEFINED:
            return None
        return group << 16 | element, data[pos : pos + header], kept, header + length


def looks_explicit(data: bytes, pos: int) -> bool:
    """Tell whether capitals stand where a VR would, as pydicom does."""
    return 0x40 < data[pos + 4] < 0x5B and 0x40 < data[pos + 5] < 0x5B


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What is looked for at the top level, and what is known of its layouts."""

    wanted: Mapping[int, Wanted]
    explicit: Layout
    implicit: Layout


@lru_cache(maxsize=16)
def catalogue_of(extra: tuple[Column, ...]) -> Catalogue:
    """Return what is looked for where columns beyond the data dictionary are asked for."""
    asked = [extra_element(column, len(DICOM_COLUMNS) + number) for number, column in enumerate(extra)]
    wanted = WANTED | {element.tag: element for element in asked}
    return Catalogue(wanted, Layout(False, NESTED, wanted), Layout(True, NESTED, wanted))
