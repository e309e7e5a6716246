"""The partitions of a cohort (training, tuning, testing) and who is in them, as CLAIM asks for (items 21, 22, 34)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from cohort.report import contents, crossing, suppress

if TYPE_CHECKING:
    from cohort.config import CheckOptions
    from cohort.report.safe import SafeRun

MOST_PARTITIONS = 12
"""Partitions described; the rest is one more, so that a pattern that names every folder cannot grow the report."""

NONE = "in no partition"

_COUNTED = ("patients", "studies", "series")


def partitions(run: SafeRun, options: CheckOptions | None, min_cell: int) -> dict[str, Any] | None:
    """Return counts, sex and age per partition, None where the configuration names no split.

    Parameters
    ----------
    run : SafeRun
        The run.
    options : CheckOptions, optional
        Section `check`, which names the split.
    min_cell : int
        Smaller counts of patients, studies and series of a partition are withheld.

    Returns
    -------
    dict or None
        `rows`, one per partition and one of series in none: `label`, `patients`, `studies`, `series` and the cells of
        `sex` and `age_groups`; and `patients_in_several`. Ages and sexes are those of the patient in the whole cohort,
        and who is in several partitions counts in each.
    """
    found = None if options is None else run.partitions(options)
    if options is None or found is None:
        return None
    members = _members(run, *found)
    several = _in_several(members)
    persons = contents.demographics(run)
    sizes = {
        name: {cell["label"]: cell for cell in suppress.cells(_sizes(members, name), min_cell)} for name in _COUNTED
    }
    tables = {
        name: _crossed(members, persons, name, sizes["patients"], min_cell) for name in ("sex", "age_groups")
    }  # fmt: skip
    rows = [
        {"label": label}
        | {name: _without_label(sizes[name][label]) for name in _COUNTED}
        | {name: cells[label] for name, cells in tables.items()}
        for label in members
    ]
    return {
        "by": "split_column" if options.split_column else "split_pattern",
        "rows": rows,
        "patients_in_several": suppress.count_text(several, min_cell),
    }


Members = dict[str, dict[str, set[int]]]
"""Partition -> patients, studies and series in it, by run-local number."""


def _members(run: SafeRun, pairs: Any, labels: list[str]) -> Members:
    """Return who and what is in each partition, those in none last."""
    table = run.read("series", numbers=["series_key", "PatientID", "StudyInstanceUID"])
    of_series = {row["series_key"]: row for row in table.to_pylist()}
    places: dict[str, list[int]] = defaultdict(list)
    shown = labels if len(labels) <= MOST_PARTITIONS else labels[: MOST_PARTITIONS - 1]
    rest = f"{len(labels) - len(shown)} more"
    inside: set[int] = set()
    for row in pairs.filter(pc.is_valid(pairs["series"])).to_pylist():
        places[_label(labels, row["partition"], len(shown), rest)].append(row["series"])
        inside.add(row["series"])
    places[NONE] = [number for number in of_series if number not in inside]
    order = [*dict.fromkeys([*shown, rest, NONE])]
    return {label: _contents(of_series, places[label]) for label in order if places[label]}


def _label(labels: list[str], place: int, shown: int, rest: str) -> str:
    return labels[place] if place < shown else rest


def _contents(of_series: dict[int, dict[str, Any]], numbers: list[int]) -> dict[str, set[int]]:
    rows = [of_series[number] for number in numbers]
    return {
        "patients": {row["PatientID"] for row in rows} - {None},
        "studies": {row["StudyInstanceUID"] for row in rows} - {None},
        "series": set(numbers),
    }


def _in_several(members: Members) -> int:
    """Return how many patients are in more than one partition."""
    seen: dict[int, int] = defaultdict(int)
    for label, one in members.items():
        for patient in one["patients"] if label != NONE else ():
            seen[patient] += 1
    return sum(count > 1 for count in seen.values())


def _sizes(members: Members, name: str) -> dict[str, int]:
    return {label: len(one[name]) for label, one in members.items()}


def _without_label(cell: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in cell.items() if key != "label"}


def _crossed(
    members: Members, persons: dict[int, dict[str, str]], name: str, sizes: dict[str, dict[str, Any]], min_cell: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the patients of each partition by sex or age, all in the order of the cohort."""
    overall = contents.counted(persons.values(), name)
    counts = {
        label: dict.fromkeys(overall, 0) | contents.counted([persons[patient] for patient in one["patients"]], name)
        for label, one in members.items()
    }
    hidden = {cell["label"] for cell in suppress.cells(overall, min_cell) if cell["count"] is None}
    return crossing.crossed(counts, {label for label in sizes if sizes[label]["count"] is None}, hidden, min_cell)
