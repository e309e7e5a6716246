"""`cohort bench`: what this machine gives, stage by stage, for one worker and for more."""

from __future__ import annotations

from cohort.bench.compare import compare
from cohort.bench.measure import bench
from cohort.bench.tables import as_text, comparison_text

__all__ = ["as_text", "bench", "compare", "comparison_text"]
