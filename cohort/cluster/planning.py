"""What would run where: sizes of the local cluster, and the plan in words that `--dry-run` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cohort.cluster.encryption import refuse_plain, security_of
from cohort.cluster.running import IN_PROCESS
from cohort.config import MIB

if TYPE_CHECKING:
    from cohort.config import ClusterOptions


def local_size(options: ClusterOptions, task_mib: int) -> tuple[int, int]:
    """Return the number of local workers and the memory of each in bytes.

    One process a core, but no more than the memory of the machine (of the container, where it has a limit) has room
    for; a number that is asked for is kept, and held against the memory by `check_workers`.
    """
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    room = MEMORY_LIMIT // (task_mib * MIB) if task_mib else CPU_COUNT
    workers = options.workers or max(1, min(CPU_COUNT, room))
    return workers, MEMORY_LIMIT // workers


def plan(options: ClusterOptions, task_mib: int) -> str:
    """Say where the work would run, and start nothing.

    Returns
    -------
    str
        A sentence; for SLURM followed by the script of a job, for Kubernetes by the manifest.

    Raises
    ------
    SchedulerError
        If the options cannot be carried out as far as that can be told without a scheduler.
    """
    wanted = options.scheduler
    if options.scheduler_file is not None:
        return f"the scheduler that {options.scheduler_file} names"
    if wanted in IN_PROCESS:
        return f"this process ({IN_PROCESS[wanted]})"
    if wanted == "slurm":
        from cohort.cluster.slurm import describe_jobs

        return describe_jobs(options)
    if wanted == "kubernetes":
        from cohort.cluster.kubernetes import describe_pods

        return describe_pods(options)
    if wanted in (None, "local"):
        workers, memory = local_size(options, task_mib)
        return f"{workers} processes of this machine, one thread and {memory / MIB / 1024:.1f} GiB each"
    refuse_plain(wanted, options)
    security_of(options)
    return f"the scheduler at {wanted}"
