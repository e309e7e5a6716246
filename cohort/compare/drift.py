"""Drift: how the distribution of each column differs between two runs, per modality."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import counting
from cohort.compare import measures
from cohort.compare.side import CATEGORIES, MEASURES, group_label
from cohort.counting.bins import bin_values
from cohort.reductions.histograms import pool
from cohort.report import vocabulary
from cohort.store import read_partials

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from cohort.compare.side import Side

    Row = dict[str, Any]
    Pooled = dict[tuple[str, str], counting.Counts]

MAJOR_PSI = 0.25
"""From here on a shift is called major (Siddiqi 2006)."""

LIKELY = 0.01
"""A PSI that chance brings about more often than this is no drift; five patients a side are the fewest to tell."""

_PRECISE = ("PatientAge",)  # columns whose medians are not told


def columns_drift(a: Side, b: Side) -> list[Row]:
    """Return how far every column of the volumes lies apart, per modality that both runs have."""
    found = []
    for group in sorted(set(a.volumes["group"]) & set(b.volumes["group"])):
        both = [side.volumes[side.volumes["group"] == group] for side in (a, b)]
        for name in (*MEASURES, *CATEGORIES):
            row = _of_measure(name, *both) if name in MEASURES else _of_category(name, *both)
            if row is not None:
                found.append({"group": group, "column": name, **row})
    return found


def _of_measure(name: str, a: pd.DataFrame, b: pd.DataFrame) -> Row | None:
    values = [frame[name].to_numpy(np.float64, na_value=math.nan) for frame in (a, b)]
    present = [one[np.isfinite(one)] for one in values]
    if not (present[0].size and present[1].size):
        places = [np.isfinite(one).astype(np.int64) for one in values]
        return _of_places(places, a, b) if present[0].size or present[1].size else None
    every, counts = _counted(*present)
    edges = measures.decile_edges(every, *counts)
    missing = len(edges) + 1  # a bin of its own: what lacks more often has drifted, too
    places = [np.where(np.isfinite(one), measures.places_of(one, edges), missing) for one in values]
    row = _of_places(places, a, b) | {
        "unit": MEASURES[name],
        "ks": measures.kolmogorov_smirnov(*counts),
        "wasserstein": measures.wasserstein(every, *counts),
    }
    if name not in _PRECISE and all(vocabulary.is_plausible(name, value) for value in every[[0, -1]]):
        row |= {"median_a": float(np.median(present[0])), "median_b": float(np.median(present[1]))}
    return row


def _counted(a: NDArray[Any], b: NDArray[Any]) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """Return the different values of both, and how often each has them."""
    every = np.unique(np.concatenate([a, b]))
    return every, [np.bincount(np.searchsorted(every, one), minlength=len(every)) for one in (a, b)]


def _of_category(name: str, a: pd.DataFrame, b: pd.DataFrame) -> Row | None:
    words = [[_word(value) for value in frame[name]] for frame in (a, b)]
    place = {word: number for number, word in enumerate(sorted({*words[0], *words[1]}))}
    if place.keys() == {""}:
        return None
    return _of_places([np.array([place[word] for word in one], np.int64) for one in words], a, b)


def _word(value: Any) -> str:
    if isinstance(value, np.ndarray | list | tuple):
        return "\\".join(str(one) for one in value)
    return "" if value is None or value != value else str(value).strip()


def _of_places(places: list[NDArray[np.int64]], a: pd.DataFrame, b: pd.DataFrame) -> Row:
    """Return PSI and its chance from the bin of every volume."""
    bins = int(max(one.max() for one in places)) + 1
    sides = []
    for one, frame in zip(places, (a, b), strict=True):
        of_patient, number = np.unique(frame["patient"].to_numpy(str), return_inverse=True)
        weights = np.zeros((len(of_patient), bins))
        np.add.at(weights, (number, one), 1)
        sides.append(weights)
    return _judged(*sides) | {"n_a": len(a), "n_b": len(b)}


def _judged(a: NDArray[np.float64], b: NDArray[np.float64]) -> Row:
    """Return PSI over bins, and whether it is drift, from the counts of the patients of each side."""
    apart = measures.psi(a.sum(axis=0), b.sum(axis=0))
    of_a = np.arange(len(a) + len(b)) < len(a)
    likely = measures.chance(np.vstack([a, b]), of_a) if apart >= MAJOR_PSI else None
    return {
        "psi": apart,
        "ks": None,
        "wasserstein": None,
        "p_value": likely,
        "unit": None,
        "drifted": likely is not None and likely <= LIKELY,
        "patients_a": len(a),
        "patients_b": len(b),
        "shares_a": _rounded_shares(a),
        "shares_b": _rounded_shares(b),
        "median_a": None,
        "median_b": None,
    }


def _rounded_shares(weights: NDArray[np.float64]) -> list[float]:
    total = weights.sum(axis=0)
    return [round(float(share), 4) for share in total / total.sum()]


def intensity_drift(a: Side, b: Side) -> list[Row]:
    """Return how far the exact histograms of all voxels lie apart, per modality and unit that both runs have."""
    from cohort.reductions import pooled_counts

    if not (a.has_pixels and b.has_pixels):
        return []
    sides = [_by_group(pooled_counts(side.run)) for side in (a, b)]
    scales, found = {}, []
    for key in sorted(sides[0].keys() & sides[1].keys()):
        kind, values, counts = _on_one_scale(sides[0][key], sides[1][key])
        if not all(one.sum() for one in counts):
            continue
        scales[key] = _Scale(kind, measures.decile_edges(values, *counts))
        found.append(_of_voxels(values, *counts))
    weights = [_voxels_of_patients(side, scales) for side in (a, b)]
    return [
        {"group": key[0], "column": "intensity", **_judged(weights[0][key], weights[1][key]), "unit": key[1], **row}
        for key, row in zip(scales, found, strict=True)
    ]


@dataclass(frozen=True)
class _Scale:
    """Kind of the counts of a group, and its deciles."""

    kind: str
    edges: NDArray[np.float64]


def _of_voxels(values: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> Row:
    return {
        "ks": measures.kolmogorov_smirnov(a, b),
        "wasserstein": measures.wasserstein(values, a, b),
        "median_a": _median(values, a),
        "median_b": _median(values, b),
        "n_a": int(a.sum()),
        "n_b": int(b.sum()),
    }


def _by_group(pooled: Pooled) -> Pooled:
    """Return counts by the group and unit that are told; groups that are told alike are one."""
    found: dict[tuple[str, str], list[counting.Counts]] = {}
    for (modality, unit), counts in pooled.items():
        found.setdefault((group_label(modality), _unit(unit)), []).append(counts)
    return {key: pool(many) for key, many in found.items()}


def _unit(unit: str) -> str:
    return unit if vocabulary.is_known("value_unit", unit) else vocabulary.OTHER


def _on_one_scale(a: counting.Counts, b: counting.Counts) -> tuple[str, NDArray[Any], list[NDArray[Any]]]:
    """Return the kind, the values that either has, and the counts of both; integers stay exact where both are."""
    if a.kind != b.kind:
        a, b = counting.as_floats(a), counting.as_floats(b)
    every = np.union1d(a.bins, b.bins)
    counts = []
    for one in (a, b):
        spread = np.zeros(len(every), np.int64)
        spread[np.searchsorted(every, one.bins)] = one.counts
        counts.append(spread)
    return a.kind, bin_values(a.kind, every), counts


def _median(values: NDArray[Any], counts: NDArray[Any]) -> float:
    ranks = np.cumsum(counts)
    return float(values[np.searchsorted(ranks, ranks[-1] / 2, side="left")])


def _voxels_of_patients(
    side: Side, scales: dict[tuple[str, str], _Scale]
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Return the voxels of each patient in each bin, from the partials of its volumes; one part is in memory."""
    volumes = side.volumes.set_index("volume_id")
    group, patient = volumes["group"].to_dict(), volumes["patient"].to_dict()
    found: dict[tuple[str, str], dict[str, NDArray[np.float64]]] = {key: {} for key in scales}
    for path in side.run.parts("partials"):
        for row in read_partials(path):
            key = (group[row["volume_id"]], _unit(row["value_unit"]))
            if key not in scales or not len(row["bins"]):
                continue
            counts = counting.Counts.from_row(row)
            counts = counts if counts.kind == scales[key].kind else counting.as_floats(counts)
            edges = scales[key].edges
            places = measures.places_of(bin_values(counts.kind, counts.bins), edges)
            mine = found[key].setdefault(patient[row["volume_id"]], np.zeros(len(edges) + 1))
            mine += np.bincount(places, weights=counts.counts, minlength=len(edges) + 1)
    return {key: np.array(list(of_patients.values())) for key, of_patients in found.items()}
