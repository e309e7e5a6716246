"""The loops of Numba count what those of NumPy count, and take over when that pays."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohort.counting import KEY_BITS, compiled, kernels, loops

SPECIAL = np.array(
    [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1.1754944e-38, 3.4028235e38, -3.4028235e38], np.float32
)


def floats_by(module: Any, values: np.ndarray[Any, Any]) -> tuple[Any, np.ndarray[Any, Any]]:
    table = np.zeros((1 << KEY_BITS, 3), np.int64)
    return module.tally_floats(values, table), table


@given(hnp.arrays(np.uint32, st.integers(0, 300)))
def test_floats_of_any_bits_are_counted_alike(bits: np.ndarray[Any, Any]) -> None:
    values = np.concatenate([bits.view(np.float32), SPECIAL])
    (seen, table), (expected, by_numpy) = floats_by(compiled, values), floats_by(loops, values)
    assert seen == expected
    np.testing.assert_array_equal(table, by_numpy)
    assert table[:, 0].sum() + seen.nan + seen.inf == values.size


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("size", [0, 1, 255, 65_535, 65_536, 65_539, 700_001])
def test_integers_are_counted_alike(kind: str, size: int) -> None:
    values = np.random.default_rng(size).integers(0, np.iinfo(kind).max, size, dtype=kind, endpoint=True)
    found = np.full(int(np.iinfo(kind).max) + 1, 7, np.int64)  # what is there already stays
    compiled.tally_integers(values, found)
    np.testing.assert_array_equal(found, 7 + np.bincount(values, minlength=found.size))


def test_values_that_may_not_be_written_are_counted() -> None:
    """Frames come as buffers of a file."""
    values = np.frombuffer(np.arange(70_000, dtype=np.uint16).tobytes(), np.uint16)
    table = np.zeros(1 << 16, np.int64)
    compiled.tally_integers(values, table)
    assert table.sum() == values.size
    seen, counted = floats_by(compiled, np.frombuffer(SPECIAL.tobytes(), np.float32))
    assert (seen.nan, seen.inf, counted[:, 0].sum()) == (2, 2, 7)


def test_compiled_loops_take_over_once_loading_them_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    few = kernels._Loops()
    table = np.zeros(1 << 16, np.int64)
    few.tally("integers", np.zeros(100, np.uint16), table)
    assert few._module is loops

    monkeypatch.setattr(kernels, "_LOADING_SECONDS", 0.0)
    many = kernels._Loops()
    for _ in range(2):
        many.tally("integers", np.ones(100_000, np.uint16), table)
    assert many._module is compiled
    assert (table[0], table[1]) == (100, 200_000)


def test_without_numba_the_loops_of_numpy_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_LOADING_SECONDS", 0.0)
    monkeypatch.setitem(sys.modules, "cohort.counting.compiled", None)  # as if it could not be imported
    monkeypatch.delattr("cohort.counting.compiled")
    missing = kernels._Loops()
    table = np.zeros(1 << 16, np.int64)
    for _ in range(3):
        missing.tally("integers", np.ones(1000, np.uint16), table)
    assert missing._module is loops
    assert table[1] == 3000
