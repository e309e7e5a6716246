"""Findings on the values of volumes: nothing in them, the wrong unit, a range cut short."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.checks.finding import finding
from cohort.counting import bin_edges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cohort.config import CheckOptions

Row = dict[str, Any]

STATISTICS_COLUMNS = ("volume_id", "count", "padding_count", "nan_count", "inf_count", "min", "max", "mean", "std")

_MOST_LABELS, _LEAST_VOXELS = 128, 100
"""A scan has more different values, and few voxels of each: at most so many labels, of so many voxels on average."""

_MANY_LABELS = 256

# Stored CT values are HU + 1024: soft tissue (-100 to 150 HU) before the rescale, and no air below.
_STORED_TISSUE = (924.0, 1174.0)
_STORED_SHARE = 0.1
_AIR_HU = -200.0

_MEASURED = ("CT", "MR", "PT", "NM")
"""Modalities whose range is not cut on purpose, as it is in radiographs."""
_FINE_BITS = 10


@dataclass(frozen=True)
class Shape:
    """What the histogram of a volume of one channel tells.

    Parameters
    ----------
    different : int or None
        How many different values, where they are whole numbers.
    beyond : float
        Share of the values outside `hu_range`.
    stored : float
        Share of the values where soft tissue is before the rescale.
    top : float
        Share of the values that are the largest.
    fractional : float
        Share of the values that are certainly no whole numbers.
    """

    different: int | None
    beyond: float
    stored: float
    top: float
    fractional: float


def shapes_of(rows: Iterable[Row], hu_range: tuple[float, ...]) -> Iterator[tuple[str, Shape | None]]:
    """Yield each volume with what its histogram tells, None where it has several channels or no value.

    Parameters
    ----------
    rows : iterable of dict
        Rows of `partials`, those of a volume one after the other.
    hu_range : tuple of float
        Values of Hounsfield units that occur.
    """
    for volume, channels in groupby(rows, itemgetter("volume_id")):
        row, *more = channels
        yield volume, _shape(row, hu_range) if not more and len(row["counts"]) else None


def _shape(row: Row, hu_range: tuple[float, ...]) -> Shape:
    low, high = bin_edges(row["kind"], row["bins"])
    counts = row["counts"]
    total = float(counts.sum())
    beyond = counts[(high < hu_range[0]) | (low > hu_range[1])].sum()
    stored = counts[(low >= _STORED_TISSUE[0]) & (high <= _STORED_TISSUE[1])].sum()
    whole = row["kind"] == "integer"
    between = 0 if whole else counts[np.ceil(low) >= high].sum()  # bins that hold no whole number
    shares = (float(part) / total for part in (beyond, stored, counts[-1], between))
    return Shape(len(counts) if whole else None, *shares)


def check_values(row: Row, statistics: Row, shape: Shape | None, options: CheckOptions) -> Iterator[Row]:
    """Yield the findings on the values of one volume.

    Parameters
    ----------
    row : dict
        The volume.
    statistics : dict
        Its row of `statistics`.
    shape : Shape or None
        What its histogram tells; None where it has several channels.
    options : CheckOptions
        When an observation becomes a finding.
    """
    subject, labels = row["volume_id"], row["Modality"] == "SEG"
    if statistics["nan_count"] or statistics["inf_count"]:
        yield finding("PIX-NOT-FINITE", subject, nan=statistics["nan_count"], inf=statistics["inf_count"])
    if not statistics["count"]:
        yield finding("PIX-ALL-PADDING", subject, padding=statistics["padding_count"])
        return
    if statistics["min"] == statistics["max"] and not labels:
        yield finding("PIX-CONSTANT", subject, value=statistics["min"], count=statistics["count"])
    if labels:
        yield from _labels(row, statistics, shape)
    elif shape is not None:
        for check in VALUE_CHECKS:
            yield from check(row, statistics, shape, options)


def _labels(row: Row, statistics: Row, shape: Shape | None) -> Iterator[Row]:
    subject = row["volume_id"]
    if statistics["min"] == statistics["max"] == 0:
        yield finding("LBL-EMPTY", subject, count=statistics["count"])
    # DICOM has fractional segmentations by design (PS3.3 C.8.20.2)
    if shape is not None and shape.fractional and row["format"] == "nifti":
        yield finding("LBL-NOT-INTEGER", subject, share=shape.fractional)
    if shape is not None and (shape.different or 0) > _MANY_LABELS:
        yield finding("LBL-MANY-VALUES", subject, values=shape.different)


def _like_labels(row: Row, statistics: Row, shape: Shape, options: CheckOptions) -> Iterator[Row]:
    few = shape.different is not None and 1 < shape.different <= _MOST_LABELS
    enough = statistics["count"] >= _LEAST_VOXELS * (shape.different or 1)
    if row["format"] == "nifti" and few and enough and statistics["min"] >= 0:
        yield finding("PIX-LIKE-LABELS", row["volume_id"], values=shape.different, count=statistics["count"])


def _hounsfield(row: Row, statistics: Row, shape: Shape, options: CheckOptions) -> Iterator[Row]:
    if row["Modality"] != "CT" or row["value_unit"] != "HU":
        return
    if statistics["min"] >= _AIR_HU and shape.stored >= _STORED_SHARE:
        yield finding("PIX-NOT-HU", row["volume_id"], min=statistics["min"], share_of_stored_tissue=shape.stored)
    elif shape.beyond > options.hu_range_share:
        yield finding(
            "PIX-HU-RANGE", row["volume_id"], share=shape.beyond, min=statistics["min"], max=statistics["max"]
        )


VALUE_CHECKS: tuple[Callable[[Row, Row, Shape, CheckOptions], Iterator[Row]], ...] = (_like_labels, _hounsfield)


def may_be_clipped(row: Row, shape: Shape | None, options: CheckOptions) -> bool:
    """Tell whether so many values of a volume are its largest that it matters which is the largest possible."""
    measured = row["Modality"] in _MEASURED and row["format"] == "dicom"
    return measured and shape is not None and shape.top >= options.clipped_share and (shape.different or 2) > 1


def check_clipped(row: Row, encodings: list[Row], shape: Shape, statistics: Row) -> Iterator[Row]:
    """Yield the finding on a volume whose largest value is the largest that its bits can hold.

    Parameters
    ----------
    row : dict
        The volume.
    encodings : list of dict
        `BitsStored`, `PixelRepresentation`, `slope` and `intercept` of its frames, each combination once.
    shape : Shape
        What its histogram tells.
    statistics : dict
        Its row of `statistics`.
    """
    if len(encodings) != 1 or (bits := encodings[0]["BitsStored"]) is None or bits < _FINE_BITS:
        return
    (encoding,) = encodings
    largest = 2 ** (bits - 1 if encoding["PixelRepresentation"] else bits) - 1
    slope, intercept = encoding["slope"], encoding["intercept"]
    limit = largest * (1.0 if slope is None else slope) + (intercept or 0.0)
    if statistics["max"] == np.float32(limit) or statistics["max"] == limit:
        yield finding("PIX-CLIPPED", row["volume_id"], share=shape.top, max=statistics["max"], bits_stored=bits)
