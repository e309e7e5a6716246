"""A reduction gives what one pass over the data gives, for every chunking."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort import exact_histogram
from cohort.counting import Counts, count_values, merge, summarise
from cohort.reductions import tree
from cohort.reductions.tree import SPLIT_EVERY, reduce_array, reduce_parts
from cohort.schema import PERCENTILES


@st.composite
def chunked_arrays(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], tuple[tuple[int, ...], ...]]:
    shape = draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    values = np.random.default_rng(draw(st.integers(0, 999))).integers(-20, 20, shape).astype(np.int16)
    return values, tuple(draw(chunks_of(size)) for size in shape)


def chunks_of(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    cuts = st.sets(st.integers(1, max(1, size - 1)), max_size=size).map(sorted)
    return cuts.map(lambda places: tuple(np.diff([0, *(p for p in places if p < size), size]).tolist()))


@settings(max_examples=60, deadline=None)
@given(chunked_arrays())
def test_an_array_reduces_to_the_counts_of_one_pass_whatever_its_chunks(
    case: tuple[np.ndarray[Any, Any], tuple[tuple[int, ...], ...]],
) -> None:
    values, chunks = case
    with dask.config.set(scheduler="sync"):
        state = reduce_array(da.from_array(values, chunks=chunks), count_values, merge).compute().item()
    whole = count_values(values)
    np.testing.assert_array_equal(state.bins, whole.bins)
    np.testing.assert_array_equal(state.counts, whole.counts)
    assert summarise(state, PERCENTILES) == summarise(whole, PERCENTILES)


@settings(max_examples=40, deadline=None)
@given(
    chunked_arrays(),
    st.sampled_from(["int16", "uint8", "float32"]),
    st.integers(2, 20),
    st.sampled_from([("sync", 1), ("threads", 1), ("threads", 2), ("threads", 5)]),
)
def test_neither_chunks_nor_tree_nor_workers_are_part_of_the_answer(
    case: tuple[np.ndarray[Any, Any], tuple[tuple[int, ...], ...]], dtype: str, split: int, workers: tuple[str, int]
) -> None:
    values, chunks = case
    values = (values / 3 if dtype == "float32" else abs(values)).astype(dtype)
    if dtype == "float32":
        values[values > 6] = np.nan
        values[values < -6] = -np.inf
    with pytest.MonkeyPatch.context() as patched, dask.config.set(scheduler=workers[0], num_workers=workers[1]):
        patched.setattr(tree, "SPLIT_EVERY", split)
        state = reduce_array(da.from_array(values, chunks=chunks), count_values, merge).compute().item()
    whole = count_values(values)
    assert state.as_row() | {"bins": state.bins.tolist(), "counts": state.counts.tolist()} == whole.as_row() | {
        "bins": whole.bins.tolist(), "counts": whole.counts.tolist()
    }  # fmt: skip
    assert state.seen == values.size
    assert summarise(state, PERCENTILES) == summarise(whole, PERCENTILES)


def test_an_array_of_floats_reduces_to_the_same_bits_for_every_depth_of_the_tree() -> None:
    values = np.random.default_rng(5).normal(size=(SPLIT_EVERY * 9, 4)).astype(np.float32)
    array = da.from_array(values, chunks=(1, 4))
    parts = [count_values(values[i : i + 1]) for i in range(len(values))]
    with dask.config.set(scheduler="sync"):
        state = reduce_array(array, count_values, merge).compute().item()
    assert summarise(state, PERCENTILES) == summarise(merge(parts), PERCENTILES)
    assert state.seen == values.size


def test_a_reduced_array_is_lazy_and_has_no_dimensions() -> None:
    calls = []

    def count(block: np.ndarray[Any, Any]) -> Counts:
        calls.append(block.shape)
        return count_values(block)

    reduced = reduce_array(da.zeros((6, 6), chunks=3, dtype="int16"), count, merge)
    assert reduced.shape == ()
    assert (3, 3) not in calls  # dask may try an empty block
    with dask.config.set(scheduler="sync"):
        reduced.compute()
    assert calls.count((3, 3)) == 4


@pytest.mark.parametrize("parts", [1, 2, SPLIT_EVERY - 1, SPLIT_EVERY, SPLIT_EVERY + 1, 50])
def test_every_part_is_loaded_once_and_merged_once(parts: int) -> None:
    loaded: list[int] = []

    def load(number: int) -> list[int]:
        loaded.append(number)
        return [number]

    def join(states: list[list[int]]) -> list[int]:
        return sorted(number for state in states for number in state)

    with dask.config.set(scheduler="sync"):
        assert reduce_parts(load, join, parts) == list(range(parts))
    assert sorted(loaded) == list(range(parts))


@pytest.mark.parametrize("parts", range(1, 51, 7))
def test_parts_of_counts_reduce_to_the_counts_of_all(parts: int) -> None:
    values = np.random.default_rng(parts).integers(0, 9, (parts, 20)).astype(np.uint8)
    with dask.config.set(scheduler="sync"):
        state = reduce_parts(lambda number: count_values(values[number]), merge, parts)
    whole = count_values(values)
    assert state.bins.tolist() == whole.bins.tolist()
    assert state.counts.tolist() == whole.counts.tolist()


def test_states_that_are_lists_or_arrays_are_not_taken_apart() -> None:
    with dask.config.set(scheduler="sync"):
        pairs = reduce_parts(lambda n: [[n], [n]], lambda states: [pair for state in states for pair in state], 3)
        total = reduce_parts(lambda n: np.full(4, n), lambda states: np.sum(states, axis=0), 10)
    assert pairs == [[0], [0], [1], [1], [2], [2]]
    np.testing.assert_array_equal(total, np.full(4, 45))


def test_parts_may_be_given_what_they_are() -> None:
    parts = [("a", {"x": 1}), ("b", {}), ("c", {"x": 2})]
    with dask.config.set(scheduler="sync"):
        found = reduce_parts(lambda part: [part], lambda states: [p for state in states for p in state], parts)
    assert sorted(found, key=str) == parts


def test_an_error_while_loading_a_part_is_not_swallowed() -> None:
    def load(number: int) -> int:
        raise OSError(number)

    with dask.config.set(scheduler="sync"), pytest.raises(OSError, match="0"):
        reduce_parts(load, sum, 1)


@settings(max_examples=40, deadline=None)
@given(chunked_arrays())
def test_the_histogram_of_an_array_holds_every_value(
    case: tuple[np.ndarray[Any, Any], tuple[tuple[int, ...], ...]],
) -> None:
    values, chunks = case
    with dask.config.set(scheduler="sync"):
        found = exact_histogram(da.from_array(values, chunks=chunks))
    bins, counts = np.unique(values, return_counts=True)
    np.testing.assert_array_equal(found["value_low"], bins)
    np.testing.assert_array_equal(found["value_high"], bins)
    np.testing.assert_array_equal(found["count"], counts)


def test_the_histogram_of_floats_says_what_it_leaves_out() -> None:
    values = np.random.default_rng(3).normal(size=(40, 50))
    values[0, :3], values[1, :2] = np.nan, np.inf
    with dask.config.set(scheduler="sync"):
        found = exact_histogram(da.from_array(values, chunks=(7, 11)))
    assert found.attrs == {"nan_count": 3, "inf_count": 2}
    assert found["count"].sum() + 5 == values.size
    finite = np.sort(values[np.isfinite(values)].astype(np.float32))
    low, high = (np.repeat(found[name], found["count"]) for name in ("value_low", "value_high"))
    assert ((low <= finite) & (finite < high)).all()
