"""Acquisition variants: which series were acquired alike; and what is unlike the others of its variant."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.checks.finding import finding
from cohort.checks.identity import cleaned_maker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from cohort.config import CheckOptions

Row = dict[str, Any]
Key = tuple[Any, ...]

_MATTERS = 0.1
"""Part of the median size, or of the median deviation of the values, below which a difference is none for users."""

SIZES = ("slices", "spacing_row_mm", "spacing_slice_mm")
MOMENTS = ("mean", "std")
"""What volumes of one variant are compared by."""

_ASSORTED = ("OT", "SC", "XC")
"""Modalities that are a collection of anything: nothing in it is unlike the rest."""

_LEAST_SERIES = 20
"""A share of fewer series says nothing."""

# A robust deviation is that of a normal distribution with the same median (mean) absolute deviation
# (Iglewicz and Hoaglin 1993, How to detect and handle outliers).
_FROM_MEDIAN, _FROM_MEAN = 1.482602, 1.253314


def series_columns(options: CheckOptions) -> tuple[str, ...]:
    """Return the columns of `series` that tell its variant."""
    return tuple(
        dict.fromkeys(("series_key", "Modality", "BodyPartExamined", "n_images", *sorted(options.variant_fields)))
    )


def variants_of(rows: list[Row], fields: Mapping[str, float]) -> dict[str, Key]:
    """Return the variant of each series: Modality, body part and a value per field.

    Parameters
    ----------
    rows : list of dict
        All rows of `series`, with `series_columns`.
    fields : mapping of str to float
        Attribute -> tolerance. Numbers of one modality and body part that differ by no more are one: the smallest takes
        in what lies within the tolerance above it, and so on upwards; it stands for them.

    Returns
    -------
    dict
        Series key -> variant, its values in the order of the fields' names. Series without images, and of no known
        Modality, have none.
    """
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        if row["n_images"] and row["Modality"] not in (None, "", "unknown"):
            groups[row["Modality"], (row["BodyPartExamined"] or "").strip().upper()].append(row)
    found: dict[str, Key] = {}
    for group, members in groups.items():
        columns = [_merged([row[name] for row in members], name, fields[name]) for name in sorted(fields)]
        for number, row in enumerate(members):
            found[row["series_key"]] = (*group, *(column[number] for column in columns))
    return found


def _merged(values: list[Any], name: str, tolerance: float) -> list[Any]:
    """Return for each value the one that stands for it."""
    if name == "Manufacturer":
        return [None if value is None else cleaned_maker(value) for value in values]
    values = [_finite(tuple(value) if isinstance(value, list) else value) for value in values]
    numbers = sorted({n for v in values for n in (v if isinstance(v, tuple) else (v,)) if isinstance(n, float | int)})
    stands: dict[Any, Any] = {}
    first = None
    for number in numbers:
        if first is None or number - first > tolerance:
            first = number
        stands[number] = first
    return [tuple(stands.get(n, n) for n in v) if isinstance(v, tuple) else stands.get(v, v) for v in values]


def _finite(value: Any) -> Any:
    """Return None in place of NaN and infinity, which no scanner sets and nothing can be compared with."""
    if isinstance(value, tuple):
        return tuple(_finite(part) for part in value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def check_variants(variants: Mapping[str, Key], options: CheckOptions) -> Iterator[Row]:
    """Yield each variant with its count, and the series of rare ones.

    Parameters
    ----------
    variants : mapping
        Series key -> variant, as `variants_of` tells.
    options : CheckOptions
        Fields, and when a variant is rare.
    """
    members: dict[Key, list[str]] = defaultdict(list)
    for series, variant in variants.items():
        members[variant].append(series)
    totals: dict[Key, int] = defaultdict(int)
    for variant, found in members.items():
        totals[variant[:2]] += len(found)
    for variant, found in members.items():
        total = totals[variant[:2]]
        values = dict(zip(sorted(options.variant_fields), variant[2:], strict=True))
        subject = "|".join("" if value is None else str(value) for value in variant)
        yield finding(
            "ACQ-VARIANT", subject, modality=variant[0], body_part=variant[1], series=len(found), of=total, **values
        )
        if total >= _LEAST_SERIES and len(found) <= options.rare_variant_share * total:
            for series in found:
                yield finding("ACQ-RARE-VARIANT", series, series=len(found), of=total)


def check_outliers(
    code: str, rows: list[Row], features: tuple[str, ...], variants: Mapping[str, Key], options: CheckOptions
) -> Iterator[Row]:
    """Yield the volumes unlike the others of their modality and variant.

    Parameters
    ----------
    code : str
        Code of the finding.
    rows : list of dict
        Volumes: `volume_id`, `series_key`, `value_unit` and the features.
    features : tuple of str
        Numbers that are compared; those of different units never are.
    variants : mapping
        Series key -> variant.
    options : CheckOptions
        `outlier_z` and `outlier_group`.
    """
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        variant = variants.get(row["series_key"])
        if variant is not None and variant[0] not in _ASSORTED:
            groups[(*variant, row["value_unit"])].append(row)
    found: dict[str, Row] = defaultdict(dict)
    for members in groups.values():
        for feature in features:
            known = [row for row in members if _is_known(row[feature])]
            if len(known) < options.outlier_group:
                continue
            values = np.array([row[feature] for row in known], np.float64)
            median = float(np.median(values))
            least = _MATTERS * (_median(members, "std") if feature in MOMENTS else abs(median))
            for row, z in zip(known, robust_z(values).tolist(), strict=True):
                if abs(z) > options.outlier_z and abs(row[feature] - median) > least:
                    found[row["volume_id"]][feature] = {"value": row[feature], "median": median, "z": round(z, 2)}
                    found[row["volume_id"]]["volumes"] = len(known)
    for volume, evidence in found.items():
        yield finding(code, volume, **evidence)


def _median(rows: list[Row], feature: str) -> float:
    return float(np.median([row[feature] for row in rows if _is_known(row[feature])]))


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def robust_z(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many robust deviations each value lies from the median.

    The deviation is the median absolute one; where more than half of the values are equal, the mean absolute one. Both
    are scaled to the standard deviation of a normal distribution. Zero where all values are equal.
    """
    off = values - np.median(values)
    scale = _FROM_MEDIAN * float(np.median(np.abs(off))) or _FROM_MEAN * float(np.mean(np.abs(off)))
    return off / scale if scale else np.zeros_like(off)
