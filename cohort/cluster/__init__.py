"""Where the work runs: nothing but this process, a cluster of its own, or one that is there already.

The stages know only `completed`: it runs a function over many parts on the ambient Dask scheduler.
"""

from __future__ import annotations

from cohort.cluster.checking import Needs, check_workers
from cohort.cluster.connecting import connect
from cohort.cluster.planning import plan
from cohort.cluster.running import alone, completed
from cohort.cluster.steps import Progress, Step, ignore

__all__ = ["Needs", "Progress", "Step", "alone", "check_workers", "completed", "connect", "ignore", "plan"]
