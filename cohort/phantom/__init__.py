"""Seeded fake cohorts whose truth is known: for the demo, the tests and the benchmarks alike.

The truth comes from the recipe of the images and from nothing else in this package, so that it can judge
the rest of it.
"""

from .cohorts import describe_traps, make_cohort, make_series, make_traps, series_trap_names, trap_names
from .truth import PhantomFile, PhantomTruth, PhantomVolume

__all__ = [
    "PhantomFile",
    "PhantomTruth",
    "PhantomVolume",
    "describe_traps",
    "make_cohort",
    "make_series",
    "make_traps",
    "series_trap_names",
    "trap_names",
]
