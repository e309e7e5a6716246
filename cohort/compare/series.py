"""Series that one run has and the other has not, and series that changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.schema import KEY_ATTRIBUTES

if TYPE_CHECKING:
    import pandas as pd

    from cohort.compare.side import Side

    Row = dict[str, Any]


def compare_series(a: Side, b: Side) -> Row:
    """Return `new_series` (run-local numbers of B), `lost_series` (of A) and `changed_series` with what changed.

    A series is the same one where patient, study and series are; a NIfTI image where its content is. It changed in
    its `images` (other instances, or fewer), its `pixels` (the same instances hold other values), the number of its
    `files`, or in the attributes named.
    """
    keys = [set(side.series["series_key"]) for side in (a, b)]
    of_volumes = [side.volumes.groupby("series_key") for side in (a, b)]
    images = [groups["volume_id"].agg(frozenset).to_dict() for groups in of_volumes]
    digests = [groups["content_sha256"].agg(_digests).to_dict() for groups in of_volumes]
    rows = [side.series.loc[sorted(keys[0] & keys[1])] for side in (a, b)]
    attributes = _changed_attributes(*rows)
    sizes = [
        dict(zip(frame.index, zip(frame["n_images"], frame["n_files"], strict=True), strict=True)) for frame in rows
    ]
    changed = []
    for key, what in attributes.items():
        before, after = (one.get(key, frozenset()) for one in images)
        pixels = [one.get(key) for one in digests]
        if before != after or sizes[0][key][0] != sizes[1][key][0]:
            what = ["images", *what]
        elif all(pixels) and pixels[0] != pixels[1]:
            what = ["pixels", *what]
        elif sizes[0][key] != sizes[1][key]:
            what = ["files", *what]
        if what:
            changed.append({"a": a.series.at[key, "local_S"], "b": b.series.at[key, "local_S"], "changed": what})
    return {
        "new_series": sorted(b.series.loc[sorted(keys[1] - keys[0]), "local_S"]),
        "lost_series": sorted(a.series.loc[sorted(keys[0] - keys[1]), "local_S"]),
        "changed_series": sorted(changed, key=lambda row: str(row["a"])),
        "same_series": len(attributes) - len(changed),
    }


def _digests(values: pd.Series[Any]) -> tuple[str, ...] | None:
    """Return the digests of the volumes of a series, None where pixels of one were not read."""
    found = values.tolist()
    return None if any(not isinstance(one, str) for one in found) else tuple(sorted(found))


def _changed_attributes(a: pd.DataFrame, b: pd.DataFrame) -> dict[str, list[str]]:
    """Return the key attributes whose consensus differs, of each series of both."""
    found: dict[str, list[str]] = {key: [] for key in a.index}
    for name in KEY_ATTRIBUTES:
        for key, before, after in zip(a.index, a[name], b[name], strict=True):
            if _comparable(before) != _comparable(after):
                found[key].append(name)
    return found


def _comparable(value: Any) -> Any:
    """Return a value that equals itself: lists as tuples, all that is missing as None."""
    if isinstance(value, np.ndarray | list | tuple):
        return tuple(_comparable(one) for one in value) or None
    return None if value is None or value != value or value == "" else value
