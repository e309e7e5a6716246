"""The table of series: consensus, distinct and missing counts against pandas, and UIDs that several patients share."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import dask
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.checks.identity import check_identity
from cohort.config import Config, config_from
from cohort.readers import key_of
from cohort.schema import FILES, KEY_ATTRIBUTES, Status
from cohort.store import RunFolder, table_of
from cohort.volumes import assemble

Row = dict[str, Any]

_VALUES: dict[str, list[Any]] = {
    "string": [None, "", "a", "b", "B"],
    "float64": [None, float("nan"), -1.0, 9.0, 10.5],
    "int64": [None, 1, 9, 10],
    "list<float64>": [None, [], [1.0, 2.0], [2.0, 1.0], [1.0, float("nan")]],
    "list<string>": [None, [], ["a"], ["a", "b"]],
}


@st.composite
def rows_of_files(draw: st.DrawFn) -> list[Row]:
    """Objects of up to three series; some are no images, some are rejected."""
    rows = []
    for number in range(draw(st.integers(1, 25))):
        series = key_of("series", str(draw(st.integers(0, 2))))
        row: Row = {name: draw(st.sampled_from(_VALUES[FILES.column(name).type])) for name in KEY_ATTRIBUTES}
        row |= {
            "source": "/data", "path": f"{number}", "path_raw": b"%d" % number, "size": number, "format": "dicom",
            "status": draw(st.sampled_from([Status.OK, Status.OK, Status.OK, Status.REJECTED])),
            "is_image": draw(st.sampled_from([True, True, False])), "instance_key": key_of(str(number)),
            "series_key": series, "SeriesInstanceUID": series, "PatientID": "P", "SOPInstanceUID": str(number),
        }  # fmt: skip
        rows.append(row)
    return rows


def series_of(rows: list[Row], config: Config) -> pd.DataFrame:
    """Assemble the rows in a run of their own."""
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder))
        part = run.write_table("files/part-00000.parquet", table_of(rows, FILES.arrow()))
        images = sum(row["is_image"] and row["status"] == Status.OK for row in rows)
        run.commit("scan", "rows", [part], {"objects": len(rows), "images": images})
        with dask.config.set(scheduler="sync"):
            assemble(run, config)
        frame: pd.DataFrame = run.read("series").to_pandas().set_index("series_key")
        return frame


def _counted(group: pd.DataFrame) -> pd.DataFrame:
    images = group[group["is_image"] & (group["status"] == "ok")]
    return images if len(images) else group


def _value(value: Any) -> Any:
    """None for what is missing: nothing, an empty text or list, a number that is none."""
    if isinstance(value, (list, tuple)):
        return None if not len(value) or any(part != part for part in value) else tuple(value)
    return None if value is None or value == "" or value != value else value


@settings(max_examples=25, deadline=None)
@given(rows_of_files(), st.sampled_from([1, 1000]))
def test_consensus_distinct_and_missing_are_those_of_pandas(rows: list[Row], bucket_rows: int) -> None:
    found = series_of(rows, config_from({"assemble": {"bucket_rows": bucket_rows}}))
    groups = dict(list(pd.DataFrame(rows, dtype=object).groupby("series_key")))
    assert set(groups) == set(found.index)
    for key, group in groups.items():
        row, counted = found.loc[key], _counted(group)
        assert row["n_files"] == len(group)
        assert row["n_images"] == len(counted) or (row["n_images"] == 0 and len(counted) == len(group))
        assert row["n_bytes"] == group["size"].sum()
        for name in KEY_ATTRIBUTES:
            values = pd.Series([_value(v) for v in counted[name]], dtype=object)
            assert row[f"{name}_missing"] == values.isna().sum(), name
            assert row[f"{name}_distinct"] == values.nunique(), name
            most = values.value_counts()
            tied = most[most == most.max()].index.tolist() if len(most) else [None]
            value = row[name]
            value = tuple(value) if hasattr(value, "__len__") and not isinstance(value, str) else value
            assert _value(value) == min(tied, key=str), name


def test_a_series_with_an_object_that_is_no_image_misses_nothing() -> None:
    shared: Row = dict.fromkeys(KEY_ATTRIBUTES) | {"source": "/data", "format": "dicom", "status": Status.OK}
    shared |= {"series_key": key_of("s"), "SeriesInstanceUID": "1.2", "size": 1}
    images = [
        shared | {"path": str(i), "path_raw": b"%d" % i, "is_image": True, "instance_key": key_of(str(i)), "Rows": 4}
        for i in range(3)
    ]
    structures = shared | {"path": "x", "path_raw": b"x", "is_image": False, "instance_key": key_of("x")}
    found = series_of([*images, structures], Config()).iloc[0]
    assert (found["Rows"], found["Rows_distinct"], found["Rows_missing"]) == (4, 1, 0)
    assert (found["n_files"], found["n_images"]) == (4, 3)


@pytest.mark.parametrize(
    ("patients", "studies", "series", "uids"),
    [
        (("A", "B"), ("1", "2"), ("9", "9"), ["SeriesInstanceUID"]),
        (("A", "B"), ("1", "1"), ("8", "9"), ["StudyInstanceUID"]),
        (("A", "B"), ("1", "1"), ("9", "9"), ["SeriesInstanceUID", "StudyInstanceUID"]),
        (("A", None), ("1", "2"), ("9", "9"), ["SeriesInstanceUID"]),
        (("A", "A"), ("1", "2"), ("9", "9"), None),
        (("A", "B"), ("1", "2"), ("8", "9"), None),
        (("A", "B"), (None, None), ("", ""), None),
    ],
)
def test_a_uid_of_several_patients_is_a_finding_on_each_series(
    patients: Any, studies: Any, series: Any, uids: list[str] | None
) -> None:
    import json

    no_frame = {"FrameOfReferenceUID": None}
    rows = [
        {"series_key": f"key{i}", "PatientID": p, "StudyInstanceUID": s, "SeriesInstanceUID": u} | no_frame
        for i, (p, s, u) in enumerate(zip(patients, studies, series, strict=True))
    ]
    found = list(check_identity(rows))
    assert [f["subject"] for f in found] == ([] if uids is None else ["key0", "key1"])
    for one in found:
        assert one["code"] == "ID-UID-REUSED-ACROSS-PATIENTS"
        assert json.loads(one["evidence"]) == {"patients": 2, "uids": uids}
