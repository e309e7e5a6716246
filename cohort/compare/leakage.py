"""Leakage: patients, studies and pixels that occur in both runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from cohort.compare.side import Side

    Row = dict[str, Any]


def find_leakage(a: Side, b: Side) -> Row:
    """Return how many patients, studies and pixel digests both runs have, and which, by run-local numbers.

    Parameters
    ----------
    a, b : Side
        The runs.

    Returns
    -------
    dict
        `patients`, `studies` and `pixels` (None where pixels of a run were not read) are numbers of different values
        in both; `items` name each with its places in A and B. A digest is that of type, shape and modality values,
        so that an image is found under other identifiers, in DICOM and in NIfTI. Images of one value are left out:
        empty ones are all alike. `constant` says how many different ones that were.
    """
    patients = _in_both(a.series, b.series, "PatientID", "local_P", "patient")
    studies = _in_both(a.series, b.series, "StudyInstanceUID", "local_T", "study")
    pixels, constant = _pixels(a, b) if a.has_pixels and b.has_pixels else (None, 0)
    return {
        "patients": len(patients),
        "studies": len(studies),
        "pixels": None if pixels is None else len(pixels),
        "constant": constant,
        "items": [*patients, *studies, *(pixels or [])],
    }


def _pixels(a: Side, b: Side) -> tuple[list[Row], int]:
    found = _in_both(a.volumes, b.volumes, "content_sha256", "local_V", "pixels")
    varied = _in_both(_varied(a), _varied(b), "content_sha256", "local_V", "pixels")
    return varied, len(found) - len(varied)


def _varied(side: Side) -> pd.DataFrame:
    """Return the volumes that hold more than one value."""
    table = side.run.read("partials", ["volume_id", "min", "max"])
    extremes = table.group_by("volume_id").aggregate([("min", "min"), ("max", "max")]).to_pandas()
    constant = extremes.loc[~(extremes["min_min"] < extremes["max_max"]), "volume_id"]
    return side.volumes[~side.volumes["volume_id"].isin(constant)]


def _in_both(a: pd.DataFrame, b: pd.DataFrame, column: str, local: str, kind: str) -> list[Row]:
    """Return the values of a column that both frames have, by the local numbers of the rows that have them."""
    places = [frame[_given(frame[column])].groupby(column)[local].unique() for frame in (a, b)]
    both = sorted(set(places[0].index) & set(places[1].index))
    found = [{"kind": kind, "a": sorted(places[0][value]), "b": sorted(places[1][value])} for value in both]
    return sorted(found, key=lambda row: (row["a"], row["b"]))


def _given(values: pd.Series[Any]) -> pd.Series[bool]:
    given: pd.Series[bool] = values.fillna("").str.strip() != ""
    return given
