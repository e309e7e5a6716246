"""The cube behind the charts that filter each other."""

from __future__ import annotations

from typing import Any

from cohort.report import explore


def volume(**values: Any) -> dict[str, Any]:
    known = {"label": "CT", "verdict": "regular", "spacing_col_mm": 1.0, "spacing_slice_mm": 2.0, "slices": 3}
    return {"slice_thickness_mm": 2.0, "year": None, "patient": None, **known, **values}


def years_of(volumes: list[dict[str, Any]], min_cell: int) -> tuple[list[str], list[str]]:
    """Labels of the bins of years, and the one each volume lies in."""
    cube = explore.cube(volumes, min_cell)
    place = next(i for i, dimension in enumerate(cube["dimensions"]) if dimension["name"] == "year")
    labels = cube["dimensions"][place]["labels"]
    return labels, [labels[cell[place]] for cell in cube["places"]]


def test_years_with_few_patients_share_a_bin() -> None:
    patients = {"2010": range(2), "2011": range(2, 4), "2014": range(4, 9), "2015": range(9, 14), "2016": [14]}
    volumes = [volume(year=year, patient=patient) for year, some in patients.items() for patient in some]
    labels, places = years_of(volumes, 5)
    assert labels == ["2010\u20132014", "2015\u20132016"]
    assert places == ["2010\u20132014"] * 9 + ["2015\u20132016"] * 6
    held = [{v["patient"] for v, place in zip(volumes, places, strict=True) if place == label} for label in labels]
    assert all(len(one) >= 5 for one in held)


def test_each_year_stands_alone_where_enough_patients_have_it() -> None:
    volumes = [volume(year=str(2010 + n // 5), patient=n) for n in range(15)] + [volume()]
    labels, places = years_of(volumes, 5)
    assert labels == ["2010", "2011", "2012", "none"]
    assert places[-1] == "none"


def test_one_patient_with_many_volumes_is_one() -> None:
    volumes = [volume(year=str(2010 + n % 3), patient=1) for n in range(30)]
    assert years_of(volumes, 5)[0] == ["2010\u20132012"]


def test_a_century_is_drawn_in_few_bins() -> None:
    volumes = [volume(year=str(1900 + n), patient=n) for n in range(120)]
    labels, places = years_of(volumes, 1)
    assert 1 < len(labels) <= explore.MOST_BINS
    assert len(places) == 120


def test_cells_add_up_to_the_volumes() -> None:
    volumes = [volume(slices=n % 7 + 1, year=str(2010 + n % 4), patient=n) for n in range(100)]
    cube = explore.cube(volumes, 5)
    assert sum(cell[-1] for cell in cube["cells"]) == 100
    assert explore.cube([], 5)["cells"] == []
