"""Counts are exact, and every way of splitting the data gives the same answer."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohort.counting import (
    Counts,
    add_bins,
    as_floats,
    count_values,
    empty,
    float_keys,
    key_edges,
    merge,
    summarise,
)
from cohort.schema import PERCENTILES

INTEGER_TYPES = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "int64")
FINITE32 = st.floats(width=32, allow_nan=False, allow_infinity=False)
ANY32 = st.floats(width=32)
BIN_WIDTH = 0.002


def same(first: Counts, second: Counts) -> None:
    np.testing.assert_array_equal(first.bins, second.bins)
    np.testing.assert_array_equal(first.counts, second.counts)
    for name in ("kind", "padding", "nan", "inf"):
        assert getattr(first, name) == getattr(second, name), name
    np.testing.assert_equal((first.minimum, first.maximum), (second.minimum, second.maximum))
    assert first.sums == second.sums


def random_tree(parts: list[Counts], draw: Callable[[int], int]) -> Counts:
    """Merge in any order and grouping: repeatedly take some parts from anywhere and put back their sum."""
    parts = list(parts)
    while len(parts) > 1:
        size = 2 + draw(len(parts) - 2)
        taken = [parts.pop(draw(len(parts) - 1)) for _ in range(size)]
        parts.append(merge(taken))
    return parts[0]


def cut(values: np.ndarray[Any, Any], at: list[int]) -> list[np.ndarray[Any, Any]]:
    return np.split(values, sorted(c % (values.size + 1) for c in at))


# -- integers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", INTEGER_TYPES)
def test_integers_are_counted_per_value_over_the_whole_range_of_the_type(dtype: str) -> None:
    limits = np.iinfo(dtype)
    random = np.random.default_rng(1)
    values = random.integers(limits.min, limits.max, 5000, dtype=dtype, endpoint=True)
    values[:2] = limits.min, limits.max
    counts = count_values(values.reshape(50, 100))
    bins, times = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(counts.bins, bins)
    np.testing.assert_array_equal(counts.counts, times)
    assert counts.bins.dtype == counts.counts.dtype == np.int64
    assert (counts.kind, counts.minimum, counts.maximum) == ("integer", float(limits.min), float(limits.max))
    assert counts.total == counts.seen == values.size


@pytest.mark.parametrize("dtype", INTEGER_TYPES)
def test_integers_in_a_narrow_range_are_counted_per_value(dtype: str) -> None:
    low = max(-70, int(np.iinfo(dtype).min))
    values = np.random.default_rng(2).integers(low, 100, 300_000).astype(dtype)  # more than one block
    bins, times = np.unique(values, return_counts=True)
    counts = count_values(values)
    np.testing.assert_array_equal(counts.bins, bins)
    np.testing.assert_array_equal(counts.counts, times)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("step", [1, 2, -1], ids=["packed", "every_other", "backwards"])
def test_neither_byte_order_nor_strides_are_part_of_the_answer(dtype: str, step: int) -> None:
    values = np.random.default_rng(4).integers(0, 120, (40, 30)).astype("=" + dtype)
    expected = count_values(np.ascontiguousarray(values[:, ::step]))
    same(count_values(values.astype(">" + dtype)[:, ::step]), expected)
    same(count_values(values.astype("<" + dtype)[:, ::step].T), expected)


@pytest.mark.parametrize("spread", [2**22 - 1, 2**22, 2**22 + 1])
def test_counting_in_a_table_and_by_sorting_agree_where_they_meet(spread: int) -> None:
    values = np.array([5, 5 + spread, 5, 77], dtype=np.int64)
    counts = count_values(values)
    assert counts.bins.tolist() == [5, 77, 5 + spread]
    assert counts.counts.tolist() == [2, 1, 1]


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_no_values_give_empty_counts_and_null_statistics(dtype: str) -> None:
    counts = count_values(np.zeros((0, 4), dtype))
    same(counts, empty("integer" if dtype == "int16" else "float"))
    found = summarise(counts, PERCENTILES)
    assert found["count"] == 0
    assert all(found[name] is None for name in ("min", "max", "mean", "std", *PERCENTILES))


def test_truth_values_are_counted_as_zero_and_one() -> None:
    counts = count_values(np.array([True, False, True]))
    assert (counts.kind, counts.bins.tolist(), counts.counts.tolist()) == ("integer", [0, 1], [1, 2])


@given(
    values=hnp.arrays(np.int16, st.integers(1, 200)),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
    data=st.data(),
)
def test_integers_give_the_same_counts_for_any_split_order_and_grouping(
    values: np.ndarray[Any, Any], cuts: list[int], data: st.DataObject
) -> None:
    padding = values % 5 == 0
    parts = [count_values(v, p) for v, p in zip(cut(values, cuts), cut(padding, cuts), strict=True)]
    merged = random_tree(parts, lambda most: data.draw(st.integers(0, most)))
    whole = count_values(values, padding)
    same(merged, whole)
    assert summarise(merged, PERCENTILES) == summarise(whole, PERCENTILES)


@given(hnp.arrays(np.int64, st.integers(1, 60), elements=st.integers(-(2**62), 2**62)), st.integers(0, 60))
def test_integers_of_any_width_give_the_same_counts_for_any_split(values: np.ndarray[Any, Any], at: int) -> None:
    same(merge([count_values(v) for v in cut(values, [at])]), count_values(values))


@given(hnp.arrays(np.int64, st.integers(1, 80), elements=st.integers(-(2**40), 2**40)))
def test_moments_of_integers_are_those_of_exact_arithmetic(values: np.ndarray[Any, Any]) -> None:
    exact = [Fraction(int(v)) for v in values]
    mean = sum(exact, Fraction()) / len(exact)
    variance = sum(((v - mean) ** 2 for v in exact), Fraction()) / len(exact)
    found = summarise(count_values(values), PERCENTILES)
    assert found["mean"] == float(mean)
    assert found["std"] == pytest.approx(math.sqrt(float(variance)), rel=1e-15, abs=0)


def test_the_deviation_of_integers_does_not_cancel_far_from_zero() -> None:
    values = np.array([2**40, 2**40 + 1, 2**40 + 2], dtype=np.int64)
    assert summarise(count_values(values), {})["std"] == pytest.approx(math.sqrt(2 / 3), rel=1e-15)


@given(hnp.arrays(np.int32, st.integers(1, 120), elements=st.integers(-50, 3000)))
def test_percentiles_of_integers_are_those_of_the_inverted_distribution(values: np.ndarray[Any, Any]) -> None:
    percents = PERCENTILES | {"p0": 0.0, "p10": 10.0, "p33": 100 / 3, "p100": 100.0}
    found = summarise(count_values(values), percents)
    for name, percent in percents.items():
        assert found[name] == np.percentile(values, percent, method="inverted_cdf"), name


# -- floats ------------------------------------------------------------------------------------------------


@given(ANY32, ANY32)
def test_keys_keep_the_order_of_all_floats(first: float, second: float) -> None:
    keys = float_keys(np.array([first, second], np.float32))
    if first <= second:
        assert keys[0] <= keys[1]
    if first >= second:
        assert keys[0] >= keys[1]


def test_keys_keep_the_order_over_every_exponent_and_the_denormals() -> None:
    positive = np.arange(0, 0x7F800000, 9973, dtype=np.uint32).view(np.float32)
    values = np.concatenate([-positive[::-1], positive])
    assert np.all(np.diff(float_keys(values)) >= 0)
    assert len(np.unique(float_keys(values))) > 200_000 / 2


def test_minus_zero_is_zero() -> None:
    keys = float_keys(np.array([-0.0, 0.0, np.float32(1e-45)], np.float32))
    assert keys[0] == keys[1] == keys[2]
    assert float_keys(np.array([-1e-45], np.float32))[0] == keys[0] - 1


@given(hnp.arrays(np.float32, 20, elements=FINITE32))
def test_a_float_lies_within_the_edges_of_its_bin(values: np.ndarray[Any, Any]) -> None:
    low, high = key_edges(float_keys(values))
    assert np.all(low <= values)
    assert np.all(values < high)


def test_the_largest_and_smallest_floats_lie_within_their_bins() -> None:
    info = np.finfo(np.float32)
    tiny = info.smallest_subnormal
    values = np.array([info.min, info.max, info.tiny, -info.tiny, tiny, -tiny, 0.0, -0.0], np.float32)
    low, high = key_edges(float_keys(values))
    assert np.all(low <= values)
    assert np.all(values < high)


@given(st.floats(width=32, min_value=2.0**-126, max_value=float(2.0**127)), st.sampled_from([1, -1]))
def test_a_bin_of_normal_floats_is_at_most_two_thousandths_wide(size: float, sign: int) -> None:
    low, high = key_edges(float_keys(np.array([sign * size], np.float32)))
    assert (high[0] - low[0]) / min(abs(low[0]), abs(high[0])) <= BIN_WIDTH


def test_bins_of_floats_leave_no_gap() -> None:
    keys = np.arange(600, 261_600)
    low, high = key_edges(keys)
    np.testing.assert_array_equal(high[:-1], low[1:])
    assert np.all(low < high)


@given(
    values=hnp.arrays(np.float32, st.integers(1, 120), elements=ANY32),
    cuts=st.lists(st.integers(0, 1000), max_size=8),
    data=st.data(),
)
def test_floats_give_the_same_counts_for_any_split_order_and_grouping(
    values: np.ndarray[Any, Any], cuts: list[int], data: st.DataObject
) -> None:
    padding = np.arange(values.size) % 7 == 3
    parts = [count_values(v, p) for v, p in zip(cut(values, cuts), cut(padding, cuts), strict=True)]
    merged = random_tree(parts, lambda most: data.draw(st.integers(0, most)))
    whole = count_values(values, padding)
    same(merged, whole)
    assert summarise(merged, PERCENTILES) == summarise(whole, PERCENTILES)


@given(hnp.arrays(np.float32, st.integers(1, 80), elements=FINITE32), st.integers(1, 9))
def test_moments_of_floats_are_those_of_exact_arithmetic_for_any_split(
    values: np.ndarray[Any, Any], blocks: int
) -> None:
    exact = [Fraction(float(v)) for v in values]
    mean = sum(exact, Fraction()) / len(exact)
    variance = sum(((v - mean) ** 2 for v in exact), Fraction()) / len(exact)
    found = summarise(merge([count_values(part) for part in np.array_split(values, blocks)]), {})
    assert found["mean"] == float(mean)
    assert found["std"] == math.sqrt(float(variance))


@pytest.mark.parametrize("dtype", ["float32", "int16", "uint8", "int32"])
def test_long_data_are_counted_as_short_ones_are(dtype: str) -> None:
    """Blocks and stretches of the kernels are no part of the answer."""
    values = (np.random.default_rng(5).normal(0, 60, 700_001)).astype(dtype)
    short = merge([count_values(part) for part in np.array_split(values, 97)])
    same(count_values(values), short)
    found = summarise(short, {})
    assert found["mean"] == math.fsum(values.tolist()) / values.size
    assert found["std"] == pytest.approx(np.std(values, dtype=np.float64), rel=1e-12)
    np.testing.assert_array_equal(np.repeat(short.bins, short.counts), np.sort(keys_of(values)))


def keys_of(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return float_keys(values) if values.dtype.kind == "f" else values.astype(np.int64)


@given(hnp.arrays(np.float32, st.integers(1, 120), elements=FINITE32))
def test_percentiles_of_floats_lie_within_the_bin_of_the_exact_ones(values: np.ndarray[Any, Any]) -> None:
    found = summarise(count_values(values), PERCENTILES)
    for name, percent in PERCENTILES.items():
        exact = np.percentile(values, percent, method="inverted_cdf")
        low, high = key_edges(float_keys(np.array([exact], np.float32)))
        assert low[0] <= found[name] <= high[0], name
        assert found["min"] <= found[name] <= found["max"], name


def test_what_is_left_out_is_counted() -> None:
    values = np.array([[1.5, np.nan, np.inf, -np.inf], [2.5, -7.0, np.nan, 0.0]], np.float32)
    counts = count_values(values, values == -7)
    assert (counts.padding, counts.nan, counts.inf, counts.total) == (1, 2, 2, 3)
    assert counts.seen == values.size
    assert (counts.minimum, counts.maximum) == (0.0, 2.5)
    found = summarise(counts, PERCENTILES)
    assert (found["count"], found["padding_count"], found["nan_count"], found["inf_count"]) == (3, 1, 2, 2)
    assert found["mean"] == pytest.approx(4 / 3)


def test_values_that_are_all_left_out_have_no_statistics_but_are_seen() -> None:
    nothing = count_values(np.array([np.nan, np.inf], np.float32))
    assert (nothing.total, nothing.seen) == (0, 2)
    padding = count_values(np.array([3, 3], np.int16), np.array([True, True]))
    assert (padding.total, padding.seen, padding.padding) == (0, 2, 2)
    merged = merge([padding, count_values(np.array([8], np.int16))])
    assert (merged.minimum, merged.maximum, merged.seen) == (8.0, 8.0, 3)


@given(hnp.arrays(np.float32, hnp.array_shapes(max_dims=3, max_side=8), elements=ANY32))
def test_every_value_is_seen_once(values: np.ndarray[Any, Any]) -> None:
    assert count_values(values, np.signbit(values)).seen == values.size


# -- merging -----------------------------------------------------------------------------------------------


def test_counts_of_different_kinds_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="different kinds"):
        merge([empty("integer"), empty("float")])


def test_nothing_is_the_neutral_element_of_merging() -> None:
    counts = count_values(np.array([4, 4, -9], np.int16))
    same(merge([empty("integer"), counts, empty("integer")]), counts)


@given(st.lists(st.lists(st.tuples(st.integers(-9, 9), st.integers(1, 2**40)), max_size=5), min_size=1, max_size=5))
def test_adding_bins_close_together_and_far_apart_agree(parts: list[list[tuple[int, int]]]) -> None:
    expected: dict[int, int] = {}
    for part in parts:
        for place, times in part:
            expected[place] = expected.get(place, 0) + times
    for stretch in (1, 2**40):  # the second spreads them too far for a table
        bins = [np.array([place * stretch for place, _ in part], np.int64) for part in parts]
        counts = [np.array([times for _, times in part], np.int64) for part in parts]
        found, times = add_bins(bins, counts)
        assert dict(zip((found // stretch).tolist(), times.tolist(), strict=True)) == expected
        assert found.tolist() == sorted(found.tolist())


@given(hnp.arrays(np.int32, st.integers(1, 50), elements=st.integers(-4000, 4000)))
def test_integers_counted_as_floats_are_the_counts_of_the_floats(values: np.ndarray[Any, Any]) -> None:
    converted, direct = as_floats(count_values(values)), count_values(values.astype(np.float32))
    same(converted, direct)
    assert summarise(converted, PERCENTILES) == summarise(direct, PERCENTILES)


def test_integers_counted_as_floats_keep_what_was_left_out() -> None:
    counts = as_floats(count_values(np.array([1, 2, 2], np.int16), np.array([True, False, False])))
    assert (counts.kind, counts.padding, counts.total, counts.seen) == ("float", 1, 2, 3)
    assert as_floats(counts) is counts


@pytest.mark.parametrize(
    "values", [np.array([3, -4, 3], np.int16), np.array([1.5, np.nan, np.inf], np.float32), np.zeros(0, np.float32)]
)
def test_counts_survive_being_written_as_a_row(values: np.ndarray[Any, Any]) -> None:
    counts = count_values(values, values == 3)
    row = counts.as_row()
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in row.items()}
    same(Counts.from_row(plain), counts)
