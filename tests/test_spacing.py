"""Spacing distributions equal a plain loop over the tables, for any grouping and any number of buckets."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import cohort
from cohort import pipeline
from cohort.config import config_from
from cohort.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from cohort.phantom import PhantomTruth

GROUPINGS = [
    "Modality", "SeriesInstanceUID", "Manufacturer", "KVP", "spacing_source", "format", "regularly_spaced_3d_volume",
    "ImageType", "AcquisitionNumber", "PatientWeight", "nifti_datatype", "frame_StackID",
    ("Modality", "PatientSex"), ("AcquisitionNumber", "Modality", "SoftwareVersions", "ScanOptions"),
]  # fmt: skip

_AXES = {
    "row": "spacing_row_mm",
    "col": "spacing_col_mm",
    "slice": "spacing_slice_mm",
    "thickness": "slice_thickness_mm",
}


@cache
def opened_once(out: Path) -> cohort.Cohort:
    return cohort.open(out)


@cache
def plain(run: Any, table: str) -> pd.DataFrame:
    """A table with the values as Python has them."""
    return pd.DataFrame(run.read(table).to_pylist(), dtype=object)


def text(value: Any) -> str:
    """The name of a group."""
    if isinstance(value, (list, tuple)):
        return "\\".join(text(v) for v in value)
    if value is None or value == "" or value != value:
        return "unknown"
    return f"{value:g}" if isinstance(value, float) else str(value)


def usual(values: pd.Series) -> Any:
    """The most frequent value of a column, the first text of several."""
    counts = Counter(tuple(v) if isinstance(v, list) else v for v in values if v is not None)
    return min(counts, key=lambda v: (-counts[v], str(v))) if counts else None


def attributes(run: Any, name: str) -> dict[str, Any]:
    """Volume -> value of the attribute, looked up in the tables one after the other."""
    volumes = plain(run, "volumes")
    if name in volumes:
        return dict(zip(volumes["volume_id"], volumes[name], strict=True))
    for table, of_group in (("series", lambda values: values.iloc[0]), ("files", usual)):
        frame = plain(run, table)
        if name in frame:
            known = {key: of_group(values) for key, values in frame.groupby("series_key")[name]}
            return {v: known[key] for v, key in zip(volumes["volume_id"], volumes["series_key"], strict=True)}
    raise AssertionError(name)


def expected(run: Any, by: tuple[str, ...]) -> Counter[Any]:
    """(group, axis, millionths of a millimetre) -> count, by a loop over volumes and their frames."""
    volumes = plain(run, "volumes")
    frames = run.read("frames").to_pandas()
    values = [attributes(run, name) for name in by]
    found: Counter[Any] = Counter()
    for _, volume in volumes.iterrows():
        group = tuple(text(of_volume[volume["volume_id"]]) for of_volume in values)
        for axis, column in _AXES.items():
            if volume[column] is not None:
                found[group, axis, round(volume[column] * 1e6)] += 1
        if volume["format"] == "nifti":
            if volume["spacing_slice_mm"] is not None:
                found[group, "gap", round(volume["spacing_slice_mm"] * 1e6)] += volume["slices"] - 1
            continue
        mine = frames[(frames["volume_id"] == volume["volume_id"]) & (frames["role"] == "image")]
        places = sorted(mine[mine["timepoint"] == 0]["position_mm"].dropna())
        for low, high in pairwise(places):
            found[group, "gap", round((high - low) * 1e6)] += 1
    return found


def counted(frame: pd.DataFrame, by: tuple[str, ...]) -> Counter[Any]:
    found: Counter[Any] = Counter()
    for row in frame.to_dict("records"):
        assert row["value_low_mm"] == row["value_high_mm"] == round(row["value_low_mm"], 6)
        group = tuple(row[name] for name in by)
        assert row["group"] == ", ".join(group)
        key = (group, row["axis"], round(row["value_low_mm"] * 1e6))
        assert key not in found, "a value occurs in one row only"
        found[key] = row["count"]
    return found


@pytest.fixture(scope="module")
def bucketed(truth: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with many small parts of every table, some of them empty."""
    out = tmp_path_factory.mktemp("spacing") / "out"
    sections = {"scan": {"shard_size": 40}, "assemble": {"bucket_rows": 20}, "ingest": {"batch_mib": 1}}
    pipeline.run([str(truth.root)], out, config_from(sections | {"cluster": {"scheduler": "sync"}}))
    return out


@pytest.mark.parametrize("by", GROUPINGS, ids=str)
def test_the_distribution_is_that_of_a_plain_loop(run_out: Path, bucketed: Path, by: Any) -> None:
    names = (by,) if isinstance(by, str) else by
    opened = opened_once(run_out)
    known = expected(opened.run_folder, names)
    assert {axis for _, axis, _ in known} == {"row", "col", "slice", "thickness", "gap"}
    assert counted(opened.spacing(by=by), names) == known
    assert counted(opened_once(bucketed).spacing(by=by), names) == known


@pytest.mark.parametrize("by", ["Modality", "AcquisitionNumber", ("ImageType", "Modality")], ids=str)
def test_histograms_by_any_column_do_not_depend_on_the_parts(run_out: Path, bucketed: Path, by: Any) -> None:
    names = [by] if isinstance(by, str) else list(by)
    one, many = (cohort.open(out).histogram(by=by) for out in (run_out, bucketed))
    pd.testing.assert_frame_equal(one, many)
    if names == ["AcquisitionNumber"]:
        run = cohort.open(run_out).run_folder
        of_volume = attributes(run, "AcquisitionNumber")
        statistics = run.read("statistics", ["volume_id", "count"]).to_pylist()
        counts: Counter[str] = Counter()
        for row in statistics:
            counts[text(of_volume[row["volume_id"]])] += row["count"]
        assert one.groupby("AcquisitionNumber")["count"].sum().to_dict() == counts


def test_the_stored_table_is_the_one_by_modality(run_out: Path) -> None:
    opened = cohort.open(run_out)
    stored = opened.run_folder.read("spacing").to_pandas()
    pd.testing.assert_frame_equal(stored, opened.spacing()[stored.columns], check_dtype=False)


def test_values_are_told_apart_to_a_millionth_of_a_millimetre(run_out: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "out"
    shutil.copytree(run_out, out)
    table = pq.read_table(out / "volumes.parquet")
    near = [0.7 + i * 4e-7 for i in range(table.num_rows)]
    place = table.schema.get_field_index("spacing_row_mm")
    pq.write_table(table.set_column(place, table.schema.field(place), [near]), out / "volumes.parquet")
    rows = cohort.open(out).spacing(by="SeriesInstanceUID").query("axis == 'row'")
    total: Counter[int] = Counter()
    for value, count in zip(rows["value_low_mm"], rows["count"], strict=True):
        total[round(value * 1e6)] += count
    assert total == Counter(round(value * 1e6) for value in near)


def test_a_grouping_that_is_no_column_is_refused_by_name(run_out: Path) -> None:
    with pytest.raises(ConfigError, match="Colour"):
        cohort.open(run_out).spacing(by="Colour")
