"""Exact counts of values: chunk, combine, aggregate, and nothing else.

A statistic here is a merge of counts, so its law is that every split of the data gives the same answer.
Integers are counted per value. Floats are counted over the top 18 bits of the float32 in an order-preserving
form: bins at most 0.2 % wide that are the same for all data, so they merge exactly; beside them stand their exact sum
and sum of squares. NaN, infinity and padding are left out and counted.
"""

from cohort.counting.bins import KEY_BITS, LINEAR_STEPS, add_bins, bin_edges, float_keys, key_edges
from cohort.counting.counts import Counts, as_floats, count_values, empty, merge
from cohort.counting.summary import summarise
from cohort.counting.views import ALL, NORMALISED, View, foreground_view, range_view, scaled, view_of

__all__ = [
    "ALL",
    "KEY_BITS",
    "LINEAR_STEPS",
    "NORMALISED",
    "Counts",
    "View",
    "add_bins",
    "as_floats",
    "bin_edges",
    "count_values",
    "empty",
    "float_keys",
    "foreground_view",
    "key_edges",
    "merge",
    "range_view",
    "scaled",
    "summarise",
    "view_of",
]
