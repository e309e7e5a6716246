"""Rows of `series`: consensus value, distinct count and missing count of the key attributes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from cohort.schema import KEY_ATTRIBUTES, Status

Row = dict[str, Any]


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
        A row of `series`. The consensus is the most frequent value; of several, the first in order.
    """
    first = min(rows, key=lambda row: (row["source"], row["path"]))
    found: Row = {
        name: first[name] for name in ("series_key", "format", "PatientID", "StudyInstanceUID", "SeriesInstanceUID")
    }
    found |= {
        "n_files": len(rows),
        "n_images": sum(bool(row["is_image"]) and row["status"] == Status.OK for row in rows),
        "n_bytes": sum(row["size"] for row in rows),
        "n_volumes": n_volumes,
    }
    for name in KEY_ATTRIBUTES:
        values = [tuple(v) if isinstance(v := row[name], list) else v for row in rows]
        present = Counter(value for value in values if value is not None and value not in ("", ()))
        found[f"{name}_distinct"] = len(present)
        found[f"{name}_missing"] = len(values) - present.total()
        if present:
            value = min(present.items(), key=lambda item: (-item[1], str(item[0])))[0]
            found[name] = list(value) if isinstance(value, tuple) else value
    return found
