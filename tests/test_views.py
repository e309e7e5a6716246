"""Views of the counts: ranges, foregrounds and MR on its own scale equal what NumPy makes of the voxels."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import cohort
from cohort.counting import (
    NORMALISED,
    View,
    bin_edges,
    count_values,
    foreground_view,
    merge,
    range_view,
    scaled,
    summarise,
    view_of,
)
from cohort.errors import ConfigError

Values = np.ndarray[Any, Any]


def shown(values: Values, view: View) -> dict[int, int]:
    seen = view_of(count_values(values), view)
    return {} if seen is None else dict(zip(seen.bins.tolist(), seen.counts.tolist(), strict=True))


@given(hnp.arrays(np.int16, st.integers(1, 100)), st.integers(-40_000, 40_000), st.integers(0, 40_000))
def test_a_range_holds_its_ends_and_what_lies_between(values: Values, low: int, width: int) -> None:
    inside = values[(values >= low) & (values <= low + width)]
    assert shown(values, range_view(f"{low},{low + width}")) == Counter(inside.tolist())


@given(hnp.arrays(np.int16, st.integers(1, 100), elements=st.integers(-20, 20)), st.integers(-20, 20))
def test_a_foreground_is_above_its_value(values: Values, limit: int) -> None:
    assert shown(values, foreground_view(f">{limit}")) == Counter(values[values > limit].tolist())


def otsu_by_brute_force(values: Values) -> float:
    """The threshold with the largest variance between the two classes; the first one of equals."""
    best, found = -1.0, -np.inf
    for limit in np.unique(values)[:-1].astype(float):
        low, high = values[values <= limit].astype(float), values[values > limit].astype(float)
        between = low.size * high.size * (low.mean() - high.mean()) ** 2
        if between > best * (1 + 1e-12):
            best, found = between, limit
    return found


@given(hnp.arrays(np.int16, st.integers(1, 60), elements=st.integers(0, 12)))
def test_otsu_parts_values_where_the_variance_between_the_parts_is_largest(values: Values) -> None:
    foreground = shown(values, foreground_view("otsu"))
    expected = Counter(values[values > otsu_by_brute_force(values)].tolist())
    if foreground == expected:
        return
    # Equal variances are told apart by rounding alone: then both thresholds are the best.
    limit = max(v for v in values.tolist() if v not in foreground)
    classes = [values[values <= limit].astype(float), values[values > limit].astype(float)]
    other = otsu_by_brute_force(values)
    others = [values[values <= other].astype(float), values[values > other].astype(float)]
    between = [a.size * b.size * (a.mean() - b.mean()) ** 2 for a, b in (classes, others)]
    assert between[0] == pytest.approx(between[1], rel=1e-9)


@given(hnp.arrays(np.uint16, st.integers(1, 100), elements=st.integers(0, 3000)))
def test_values_on_their_own_scale_are_those_of_numpy(values: Values) -> None:
    p1, p99 = np.percentile(values, [1, 99], method="inverted_cdf").astype(int)
    if p1 == p99:
        assert shown(values, View(NORMALISED)) == {}
        return
    steps = [(int(v) - int(p1)) * 256 // (int(p99) - int(p1)) for v in values]
    assert shown(values, View(NORMALISED)) == Counter(steps)


@given(hnp.arrays(np.float32, st.integers(2, 60), elements=st.floats(1, 1e6, width=32)))
def test_floats_on_their_own_scale_keep_the_order_and_lose_none(values: Values) -> None:
    counts = count_values(values)
    seen = view_of(counts, View(NORMALISED))
    if seen is None:
        found = summarise(counts, {"low": 1, "high": 99})
        assert found["low"] == found["high"]
        return
    assert (seen.kind, seen.total) == ("linear", values.size)
    low, high = bin_edges(seen.kind, seen.bins)
    np.testing.assert_allclose(high - low, 1 / 256)


@given(
    st.lists(hnp.arrays(np.int16, st.integers(1, 30)), min_size=1, max_size=5),
    st.sampled_from(["otsu", ">3", "0,50", NORMALISED]),
    st.randoms(use_true_random=False),
)
def test_views_of_volumes_merge_in_any_order(many: list[Values], name: str, random: Any) -> None:
    view = View(name) if name == NORMALISED else range_view(name) if "," in name else foreground_view(name)
    seen = [part for values in many if (part := view_of(count_values(values), view)) is not None]
    if not seen:
        return
    one = merge(seen)
    random.shuffle(seen)
    again = merge([merge(seen[:2]), *seen[2:]])
    np.testing.assert_array_equal(one.bins, again.bins)
    np.testing.assert_array_equal(one.counts, again.counts)


def test_bins_alone_have_no_moments() -> None:
    seen = view_of(count_values(np.array([1, 2, 3], np.int16)), range_view("2,9"))
    assert seen is not None
    with pytest.raises(ValueError, match="no exact moments"):
        summarise(seen, {})


def test_scaled_values_lie_in_the_bin_of_their_product() -> None:
    values = np.array([0, 1, 7, 30_000], np.int16)
    found = scaled(count_values(values), 0.125)
    assert found is not None
    low, high = bin_edges("float", found.bins)
    assert np.all((low <= values * 0.125) & (values * 0.125 < high))


@pytest.mark.parametrize("text", ["", "5", "5,", "a,b", "9,1", "1,2,3", "nan,1"])
def test_a_range_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="LOW,HIGH"):
        range_view(text)


@pytest.mark.parametrize("text", ["", "5", "> ", ">x", "<5", ">nan", "Otsu"])
def test_a_foreground_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="otsu or >VALUE"):
        foreground_view(text)


# -- of a run ------------------------------------------------------------------------------------------------


def voxels_of(opened: cohort.Cohort, modality: str, unit: str) -> list[Values]:
    """The values of each volume, padding left out: the phantom pads none of those that are asked for here."""
    table = opened.volumes
    chosen = table[(table["Modality"] == modality) & (table["value_unit"] == unit) & table["zarr_path"].notna()]
    assert len(chosen) > 1
    padded = opened.statistics.set_index("volume_id")["padding_count"]
    return [opened.volume(v).compute().ravel() for v in chosen["volume_id"] if padded[v] == 0]


def counted(frame: pd.DataFrame) -> dict[tuple[float, float], int]:
    sums = frame.groupby(["value_low", "value_high"])["count"].sum()
    return {(float(low), float(high)): int(count) for (low, high), count in sums.items()}


def test_reduce_stores_the_views_that_are_asked_for(run_out: Path, tmp_path: Path, cohort_command: Any) -> None:
    shutil.copytree(run_out, tmp_path / "out")
    done = cohort_command(
        "reduce", str(tmp_path / "out"), "--range", "-100,200", "--foreground", "otsu", "--foreground", ">50",
        "--scheduler", "sync",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    opened = cohort.open(tmp_path / "out")
    stored = opened.run_folder.read("histograms").to_pandas()
    assert set(stored["view"]) == {"all", "p1-p99", "suvbw", "-100..200", "otsu", ">50"}
    before = cohort.open(run_out).run_folder.read("histograms").to_pandas()
    pd.testing.assert_frame_equal(
        stored[stored["view"] == "all"].reset_index(drop=True),
        before[before["view"] == "all"].reset_index(drop=True),
    )
    for text, name in (("-100,200", "-100..200"), ("otsu", "otsu"), (">50", ">50")):
        asked = opened.histogram("Modality", view=text).drop(columns="Modality")
        of_view = stored[stored["view"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(asked[of_view.columns], of_view, check_dtype=False)
    hounsfield = stored[(stored["view"] == "-100..200") & (stored["value_unit"] == "HU")]
    assert hounsfield["value_low"].between(-100, 200).all()
    everything = before[(before["view"] == "all") & (before["value_unit"] == "HU") & (before["group"] == "CT")]
    inside = everything[everything["value_low"].between(-100, 200)]
    assert counted(hounsfield[hounsfield["group"] == "CT"]) == counted(inside)


def test_options_of_views_are_refused_before_the_work(run_out: Path, cohort_command: Any) -> None:
    done = cohort_command("reduce", str(run_out), "--range", "9,1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "LOW,HIGH" in done.stderr


def test_mr_is_offered_on_the_scale_of_each_volume(run_out: Path) -> None:
    opened = cohort.open(run_out)
    frame = opened.histogram(["Modality", "dtype"], view="p1-p99")
    assert set(frame["Modality"]) == {"MR"}
    assert set(frame["value_unit"]) == {"p1-p99"}
    expected: Counter[int] = Counter()
    for values in voxels_of(opened, "MR", "arbitrary"):
        if values.dtype.kind == "f":
            continue
        p1, p99 = np.percentile(values, [1, 99], method="inverted_cdf").astype(int)
        if p99 > p1:
            expected.update(((values.astype(np.int64) - p1) * 256 // (p99 - p1)).tolist())
    integers = frame[frame["dtype"] != "float32"]
    assert counted(integers) == {(k / 256, (k + 1) / 256): n for k, n in expected.items()}
    assert len(integers) < len(frame), "floats have a scale of their own too"


def test_volumes_of_different_units_share_no_histogram(run_out: Path) -> None:
    opened = cohort.open(run_out)
    volumes = opened.statistics.merge(opened.volumes[["volume_id", "Modality"]])
    per_unit = volumes.groupby(["Modality", "value_unit"])["count"].sum()
    assert len(per_unit) > per_unit.index.get_level_values("Modality").nunique(), "some Modality has two units"
    frame = opened.histogram("Modality")
    assert frame.groupby(["Modality", "value_unit"])["count"].sum().to_dict() == per_unit.to_dict()
    mixed = opened.histogram("format")  # a group that holds every unit at once
    assert set(mixed["value_unit"]) >= {"HU", "arbitrary", "unknown", "label"}
    of_units = volumes.groupby("value_unit")["count"].sum()
    assert mixed.groupby("value_unit")["count"].sum().to_dict() == of_units.to_dict()


def test_pet_is_offered_as_uptake_where_the_factor_is_known(run_out: Path) -> None:
    opened = cohort.open(run_out)
    table = opened.volumes[opened.volumes["suvbw_factor"].notna() & opened.volumes["zarr_path"].notna()]
    assert len(table) > 0
    assert set(table["Modality"]) == {"PT"}
    found = opened.histogram("volume_id", view="suvbw")
    assert set(found["value_unit"]) == {"g/ml{SUVbw}"}
    assert set(found["volume_id"]) == set(table["volume_id"])
    for volume, factor in zip(table["volume_id"], table["suvbw_factor"], strict=True):
        uptake = np.sort(opened.volume(volume).compute().ravel().astype(np.float64) * factor)
        of_volume = found[found["volume_id"] == volume].sort_values("value_low")
        assert of_volume["count"].sum() == uptake.size
        low = np.repeat(of_volume["value_low"], of_volume["count"])
        np.testing.assert_allclose(low, uptake, rtol=0.005, atol=1e-12)  # one bin, and one by its own width
