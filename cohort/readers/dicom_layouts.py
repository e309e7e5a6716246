"""Layouts: the headers of one series are alike, so elements seen to follow each other are passed in one step."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from cohort.readers.dicom_elements import (
    FIRST_PIXELS,
    LONG,
    META_LAST,
    NESTED,
    SHORT,
    UNDEFINED,
    WANTED,
    Wanted,
    unpack_implicit,
    unpack_length,
)

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
    columns: tuple[Wanted, ...]
    values: Callable[[bytes, int], tuple[Any, ...]]


class _Step(NamedTuple):
    """One element of a run: its header, where what is kept of it begins, and its size."""

    tag: int
    header: bytes
    kept: int
    size: int


def _new_run(steps: tuple[_Step, ...]) -> _Run:
    headers = Struct("<" + "".join(f"{len(step.header)}s{step.size - len(step.header)}x" for step in steps))
    kept = "".join(f"{step.kept}x{step.size - step.kept}s" if step.tag in WANTED else f"{step.size}x" for step in steps)
    columns = tuple(WANTED[step.tag] for step in steps if step.tag in WANTED)
    first, last = (steps[0].tag, steps[-1].tag) if steps else (0, 0)
    expected = tuple(step.header for step in steps)
    values = Struct("<" + kept)
    return _Run(steps, first, last, len(steps), values.size, headers.unpack_from, expected, columns, values.unpack_from)


_SEEN = _new_run(())
_NO_RUN = _new_run(())
# By the first header. They hold tags, VRs and lengths, no values: nothing tells of a patient.
explicit_runs: dict[bytes, _Run] = {}
implicit_runs: dict[bytes, _Run] = {}


def known_run(runs: dict[bytes, _Run], data: bytes, pos: int, safe: int, last: int) -> _Run | None:
    """Return a run that stands at `pos`, or None: then one element has to be walked."""
    key = data[pos : pos + 8]
    run = runs.get(key)
    if run is None:  # what is seen once may never come again
        if len(runs) >= _MAX_RUNS:
            runs.clear()
        runs[key] = _SEEN
        return None
    if run is _SEEN:
        run = runs[key] = _learned(data, pos, safe, implicit=runs is implicit_runs)
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
    size, last = 0, META_LAST
    while len(steps) < _MAX_RUN:
        step = _step(data, pos, implicit=implicit)
        if step is None or not last < step.tag < FIRST_PIXELS or step.tag in NESTED:
            break
        size += step.size
        if size > _MAX_RUN_SIZE or pos + step.size > safe:
            break
        steps.append(step)
        last, pos = step.tag, pos + step.size
    return _new_run(tuple(steps)) if len(steps) > 2 else _NO_RUN


def _step(data: bytes, pos: int, *, implicit: bool) -> _Step | None:
    group, element, length = unpack_implicit(data, pos)
    header, kept = 8, 8
    if not implicit:
        kept, vr = 4, data[pos + 4 : pos + 6]
        if vr in SHORT:
            length >>= 16
        elif vr in LONG:
            length, header = unpack_length(data, pos + 8)[0], 12
        else:
            return None
    if length == UNDEFINED:
        return None
    return _Step(group << 16 | element, data[pos : pos + header], kept, header + length)
