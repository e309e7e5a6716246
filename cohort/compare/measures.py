"""How far two distributions lie apart: pure functions of counts over the same bins or values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LEAST_SHARE = 1e-4
"""A bin without values counts as this share, so that PSI stays finite."""

BINS = 10
"""PSI is taken over deciles, as is the custom (Siddiqi 2006, Credit Risk Scorecards, ch. 9)."""

_BLOCK = 64  # permutations at a time


def psi(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the population stability index, sum of (q - p) ln(q / p) over bins.

    It is the sum of both Kullback-Leibler divergences (Jeffreys 1946); below 0.1 is called stable, from 0.25 a
    major shift (Siddiqi 2006). Shares below `LEAST_SHARE` count as that.

    Parameters
    ----------
    a, b : array (..., bins)
        Counts over the same bins; each with at least one value.
    """
    p, q = _shares(a), _shares(b)
    return float(np.sum((q - p) * np.log(q / p)))


def _shares(counts: NDArray[Any]) -> Floats:
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return np.maximum(shares, LEAST_SHARE)


def kolmogorov_smirnov(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the largest distance of the two distribution functions, sup |F - G|, from 0 to 1.

    Parameters
    ----------
    a, b : array (values,)
        Counts of the same values, ascending.
    """
    return float(np.abs(_cumulative(a) - _cumulative(b)).max())


def wasserstein(values: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the first Wasserstein distance, the integral of |F - G|, in the unit of the values.

    Parameters
    ----------
    values : array (values,)
        Different values, ascending.
    a, b : array (values,)
        Counts of each.
    """
    apart = np.abs(_cumulative(a) - _cumulative(b))
    return float(np.sum(apart[:-1] * np.diff(values)))


def _cumulative(counts: NDArray[Any]) -> Floats:
    found: Floats = np.cumsum(counts) / counts.sum()
    return found


def decile_edges(values: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> Floats:
    """Return the deciles of both distributions at equal weight, each value once: bin i holds edge[i-1] < v <= edge[i].

    Deciles of one side alone would put all values beyond its extremes, which are the ones that shifted, into its
    outer bins; those of both make PSI the same in either direction.
    """
    weight = (_cumulative(a) + _cumulative(b)) / 2
    ranks = np.arange(1, BINS) / BINS
    places = np.searchsorted(weight, ranks - 1e-12, side="left")
    return np.unique(values[places].astype(np.float64))


def places_of(values: NDArray[Any], edges: Floats) -> NDArray[np.int64]:
    """Return the bin of each value between `decile_edges`; the last bin is above all edges."""
    return np.searchsorted(edges, values, side="left").astype(np.int64)


def chance(weights: Floats, of_a: NDArray[np.bool_], *, permutations: int = 999, seed: int = 0) -> float:
    """Return how often a PSI as large comes about when patients change sides at random: a p-value.

    Values of one patient are not independent, so whole patients are exchanged (permutation test of clusters; the
    estimate (1 + exceeding) / (1 + permutations) is that of Phipson and Smyth 2010).

    Parameters
    ----------
    weights : array (patients, bins)
        Counts of each patient.
    of_a : array of bool (patients,)
        True for those of the first side; both sides have some.
    permutations, seed : int
        How many are drawn, and from where.
    """
    limit = psi(weights[of_a].sum(axis=0), weights[~of_a].sum(axis=0)) * (1 - 1e-9)
    random = np.random.default_rng(seed)
    total, exceeding = weights.sum(axis=0), 0
    for start in range(0, permutations, _BLOCK):
        many = min(_BLOCK, permutations - start)
        chosen = random.permuted(np.repeat(of_a[None], many, axis=0), axis=1)
        drawn = chosen.astype(np.float64) @ weights
        whole = (drawn.sum(axis=1) > 0) & ((total - drawn).sum(axis=1) > 0)
        exceeding += sum(psi(one, total - one) >= limit for one in drawn[whole])
    return (1 + exceeding) / (1 + permutations)
