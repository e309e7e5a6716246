"""The volumes as a small cube of counts: what lets charts filter each other at any number of volumes.

Every volume lies in one cell: modality, geometry, a bin of each measure, and one of years. The page holds the cells
that occur with their counts, never a row per volume, and works out every chart from them.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from cohort.report import names

MOST_BINS = 24
MOST_CELLS = 4000
"""Bins per measure and cells of the cube; where there are more cells, bins are merged in pairs."""

MEASURES = {
    "plane": ("In-plane spacing", "mm", "spacing_col_mm"),
    "slice": ("Slice spacing", "mm", "spacing_slice_mm"),
    "thickness": ("Slice thickness", "mm", "slice_thickness_mm"),
    "slices": ("Slices", "", "slices"),
}
CATEGORIES = {"modality": ("Modality", "label"), "geometry": ("Geometry", "verdict")}
_NONE = "none"


def cube(volumes: list[dict[str, Any]], min_cell: int) -> dict[str, Any]:
    """Return the bins of each dimension and the cells that occur, with counts; empty without volumes.

    Parameters
    ----------
    volumes : list of dict
        What `shapes.volume_rows` returned.
    min_cell : int
        Patients that a bin of years holds at least.

    Returns
    -------
    dict
        `dimensions`: name, title, unit, kind and labels of the bins; `cells`: one list per cell, the number
        of its bin in each dimension and its count; `places` : the cell of each volume, in the given order.
    """
    most = MOST_BINS
    while True:
        dimensions = [_category(volumes, name) for name in CATEGORIES]
        dimensions += [_measure(volumes, name, most) for name in MEASURES]
        dimensions.append(_timeline(volumes, min_cell, most))
        places = list(zip(*(place for _, place in dimensions), strict=True)) if volumes else []
        counts = Counter(places)
        if len(counts) <= MOST_CELLS or most <= 2:
            break
        most //= 2
    return {
        "dimensions": [dimension for dimension, _ in dimensions],
        "cells": [[*cell, count] for cell, count in sorted(counts.items())],
        "places": [list(place) for place in places],
    }


def _category(volumes: list[dict[str, Any]], name: str) -> tuple[dict[str, Any], list[int]]:
    title, column = CATEGORIES[name]
    counts = Counter(volume[column] for volume in volumes)
    labels = sorted(counts, key=lambda label: (-counts[label], label))
    number = {label: place for place, label in enumerate(labels)}
    dimension = {"name": name, "title": title, "unit": "", "kind": "category", "labels": labels}
    return dimension, [number[volume[column]] for volume in volumes]


def _measure(volumes: list[dict[str, Any]], name: str, most: int) -> tuple[dict[str, Any], list[int]]:
    """Return a measure in bins that hold whole values: near ones share one, what is not given comes last."""
    title, unit, column = MEASURES[name]
    values = [_usable(volume[column]) for volume in volumes]
    known = sorted({value for value in values if value is not None})
    bins = _bins(known, most)
    number: dict[float | None, int] = {value: place for place, members in enumerate(bins) for value in members}
    labels = [_label(members) for members in bins]
    if None in values:
        number[None] = len(labels)
        labels.append(_NONE)
    dimension = {"name": name, "title": title, "unit": unit, "kind": "measure", "labels": _different(labels)}
    return dimension, [number[value] for value in values]


def _timeline(volumes: list[dict[str, Any]], min_cell: int, most: int) -> tuple[dict[str, Any], list[int]]:
    """Return the years of the studies; neighbours share a bin until it holds enough patients to tell none of them."""
    patients: dict[str, set[int]] = {volume["year"]: set() for volume in volumes if volume["year"]}
    for volume in volumes:
        if volume["year"] and volume["patient"] is not None:
            patients[volume["year"]].add(volume["patient"])
    bins = _enough(patients, min_cell)
    while len(bins) > most:
        bins = [[year for one in bins[place : place + 2] for year in one] for place in range(0, len(bins), 2)]
    number: dict[str | None, int] = {year: place for place, years in enumerate(bins) for year in years}
    labels = [years[0] if len(years) == 1 else f"{years[0]}\u2013{years[-1]}" for years in bins]
    if any(volume["year"] is None for volume in volumes):
        number[None] = len(labels)
        labels.append(_NONE)
    dimension = {"name": "year", "title": "Year of study", "unit": "", "kind": "measure", "labels": labels}
    return dimension, [number[volume["year"]] for volume in volumes]


def _enough(patients: dict[str, set[int]], min_cell: int) -> list[list[str]]:
    """Return years in groups of neighbours with at least `min_cell` patients each; the last takes what is left."""
    groups: list[list[str]] = []
    held: set[int] = set()
    for year in sorted(patients):
        if groups and len(held) < min_cell:
            groups[-1].append(year)
        else:
            groups.append([year])
            held = set()
        held = held | patients[year]
    if len(groups) > 1 and len(held) < min_cell:
        last = groups.pop()
        groups[-1] += last
    return groups


def _usable(value: float | None) -> float | None:
    """Return a value that can be drawn; to 1e-4, since scanners write 0.97656 and 0.976562 for one spacing."""
    return round(float(value), 4) if value is not None and math.isfinite(value) and value > 0 else None


def _bins(known: list[float], most: int) -> list[list[float]]:
    """Return the values in at most `most` groups of neighbours on a logarithmic scale."""
    if len(known) <= most:
        return [[value] for value in known]
    low, high = math.log(known[0]), math.log(known[-1])
    groups: dict[int, list[float]] = {}
    for value in known:
        groups.setdefault(min(most - 1, int((math.log(value) - low) / (high - low) * most)), []).append(value)
    return [groups[place] for place in sorted(groups)]


def _label(members: list[float]) -> str:
    first, last = names.number(members[0]), names.number(members[-1])
    return first if first == last else f"{first}\u2013{last}"


def _different(labels: list[str]) -> list[str]:
    """Return labels that tell bins apart even where four digits do not."""
    seen: Counter[str] = Counter()
    found = []
    for label in labels:
        seen[label] += 1
        found.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return found
