"""Rows of `series`: consensus value, distinct count and missing count of the key attributes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cohort.schema import KEY_ATTRIBUTES, Status

Row = dict[str, Any]

_MISSING = (None, "", ())


def describe(rows: list[Row], n_volumes: int) -> Row:
    """Describe one series by all its objects.

    Parameters
    ----------
    rows : list of dict
        Rows of `files` with the key attributes.
    n_volumes : int
        Volumes the series holds.

    Returns
    -------
    dict
        A row of `series`. Its images are counted; the objects, where none is an image. The consensus is the most
        frequent value; of several, the first in the order of their texts.
    """
    first = min(rows, key=lambda row: (row["source"], row["path"]))
    found: Row = {
        name: first[name] for name in ("series_key", "format", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    }
    images = [row for row in rows if row["is_image"] and row["status"] == Status.OK]
    counted = images or rows
    found |= {
        "n_files": len(rows),
        "n_images": len(images),
        "n_bytes": sum(row["size"] for row in rows),
        "n_volumes": n_volumes,
    }
    for name in KEY_ATTRIBUTES:
        present = _present([row[name] for row in counted])
        found[f"{name}_distinct"] = len(present)
        found[f"{name}_missing"] = len(counted) - present.total()
        if present:
            value = min(present.items(), key=lambda item: (-item[1], str(item[0])))[0]
            found[name] = list(value) if isinstance(value, tuple) else value
    return found


def _present(values: list[Any]) -> Counter[Any]:
    """Count the values that are there: null, empty ones and NaN are missing."""
    first = values[0]
    if values.count(first) == len(values):  # most attributes are the same throughout a series
        counts = {tuple(first) if isinstance(first, list) else first: len(values)}
    else:
        counts = Counter(tuple(value) if isinstance(value, list) else value for value in values)
    return Counter({value: n for value, n in counts.items() if value not in _MISSING and not _has_nan(value)})


def _has_nan(value: Any) -> bool:
    return any(part != part for part in value) if isinstance(value, tuple) else bool(value != value)
