"""The formulas against plain NumPy over the values themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cohort.compare import measures


def counted(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    every = np.unique(np.concatenate([a, b]))
    return every, *(np.array([np.sum(one == value) for value in every]) for one in (a, b))


def drawn(seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.integers(0, 40, 300), (random.integers(0, 40, 300) + shift).round()


@pytest.mark.parametrize("shift", [0, 3, 100])
def test_kolmogorov_smirnov_is_the_largest_distance_of_the_empirical_functions(shift: int) -> None:
    a, b = drawn(1, shift)
    _, of_a, of_b = counted(a, b)
    apart = max(abs(np.mean(a <= x) - np.mean(b <= x)) for x in np.concatenate([a, b]))
    assert measures.kolmogorov_smirnov(of_a, of_b) == pytest.approx(apart, abs=1e-12)


@pytest.mark.parametrize("shift", [0, 3, 100])
def test_wasserstein_is_the_mean_way_from_sorted_to_sorted(shift: int) -> None:
    a, b = drawn(2, shift)
    every, of_a, of_b = counted(a, b)
    assert measures.wasserstein(every, of_a, of_b) == pytest.approx(np.mean(np.abs(np.sort(a) - np.sort(b))), abs=1e-9)


def test_wasserstein_of_shifted_values_is_the_shift() -> None:
    every, of_a, of_b = counted(np.arange(10), np.arange(10) + 7)
    assert measures.wasserstein(every, of_a, of_b) == pytest.approx(7)


def test_psi_is_the_sum_over_the_bins() -> None:
    a, b = np.array([20, 30, 50]), np.array([30, 30, 40])
    wanted = (0.3 - 0.2) * math.log(0.3 / 0.2) + (0.4 - 0.5) * math.log(0.4 / 0.5)
    assert measures.psi(a, b) == pytest.approx(wanted)
    assert measures.psi(b, a) == pytest.approx(wanted)
    assert measures.psi(a, 3 * a) == pytest.approx(0)


def test_psi_of_what_shares_no_bin_is_finite() -> None:
    least = measures.LEAST_SHARE
    wanted = 2 * (1 - least) * math.log(1 / least)
    assert measures.psi(np.array([5, 0]), np.array([0, 7])) == pytest.approx(wanted)


def test_deciles_hold_a_tenth_each() -> None:
    values, ones = np.arange(1000), np.ones(1000)
    edges = measures.decile_edges(values, ones, ones)
    assert edges.tolist() == [99, 199, 299, 399, 499, 599, 699, 799, 899]
    assert np.bincount(measures.places_of(values, edges)).tolist() == [100] * 10


def test_deciles_see_what_lies_beyond_one_side() -> None:
    """Deciles of A alone, which has one value, would find B in the same bin."""
    every, of_a, of_b = counted(np.full(9, 5.0), np.full(9, 4.0))
    places = measures.places_of(every, measures.decile_edges(every, of_a, of_b))
    assert len(set(places)) == 2


def test_chance_is_that_of_all_exchanges() -> None:
    """Five against five that share nothing: 2 of the 252 exchanges are as extreme."""
    weights = np.repeat(np.eye(2), 5, axis=0)
    found = measures.chance(weights, np.arange(10) < 5)
    assert found == pytest.approx(2 / 252, abs=0.006)


def test_one_patient_with_many_volumes_is_no_drift() -> None:
    weights = np.array([[1000.0, 0], [0, 1], [0, 1], [1, 0], [0, 1], [0, 1]])
    assert measures.chance(weights, np.arange(6) < 3) > 0.2
