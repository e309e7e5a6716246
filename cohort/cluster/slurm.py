"""Workers as jobs of SLURM, by dask-jobqueue (the extra `hpc`)."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from cohort.errors import SchedulerError

if TYPE_CHECKING:
    from cohort.config import ClusterOptions

_ANSWER_SECONDS = 60
_LOOK_SECONDS = 10


def slurm_cluster(options: ClusterOptions) -> Any:
    """Start a scheduler in this process and submit the jobs.

    Unless `insecure` is set, scheduler, workers and this process talk TLS with certificates made for this run alone.

    Raises
    ------
    SchedulerError
        If the extra is missing, the number of workers is not given, or SLURM does not take the jobs.
    """
    _check(options)
    _try_submitting(options)
    from dask_jobqueue import SLURMCluster

    encrypted = {} if options.insecure else {"security": True, "shared_temp_directory": _shared_folder(options)}
    try:
        cluster = SLURMCluster(
            scheduler_options={"dashboard_address": ":0"}, silence_logs=50, **encrypted, **_job(options)
        )
    except (OSError, RuntimeError, ImportError) as error:
        raise SchedulerError(
            f"SLURM does not take the jobs ({type(error).__name__}); does sbatch work on this machine? "
            "See the script with --dry-run"
        ) from None
    threading.Thread(target=_keep, args=(cluster, options.workers), name="slurm", daemon=True).start()
    return cluster


def _keep(cluster: Any, workers: int) -> None:
    """Submit jobs in the place of those that ended, by their walltime or because somebody cancelled them.

    Dask forgets a worker some seconds after it was lost, and starts what lacks when it is told a number again.
    """
    from distributed.core import Status

    while cluster.status in (Status.starting, Status.running):
        cluster.scale(workers)
        time.sleep(_LOOK_SECONDS)


def describe_jobs(options: ClusterOptions) -> str:
    """Return the script of one job, and how many there would be; nothing is submitted."""
    _check(options)
    jobs = -(-(options.workers or 0) // options.slurm.job_workers)
    return f"{options.workers} workers in {jobs} jobs of SLURM, each:\n{_script(options).rstrip()}"


def _try_submitting(options: ClusterOptions) -> None:
    """Ask SLURM whether it would take a job: that it did not is not told later, and one would wait for ever."""
    import subprocess
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory(prefix="cohort-") as folder:
        script = Path(folder) / "job.sh"
        script.write_text(_script(options), encoding="utf-8")
        command = ["sbatch", "--test-only", str(script)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_SECONDS, check=False)  # noqa: S603
            said = "" if done.returncode == 0 else " ".join(done.stderr.split())
        except FileNotFoundError:
            said = "there is no sbatch on this machine"
        except subprocess.TimeoutExpired:
            said = "sbatch does not answer"
    if said:
        raise SchedulerError(f"SLURM does not take the jobs: {said}; see their script with --dry-run")


def _script(options: ClusterOptions) -> str:
    from dask_jobqueue.slurm import SLURMJob

    protocol = "tcp" if options.insecure else "tls"
    script: str = SLURMJob(scheduler=f"{protocol}://SCHEDULER:PORT", name="cohort", **_job(options)).job_script()
    return script


def _check(options: ClusterOptions) -> None:
    if options.workers is None:
        raise SchedulerError("--scheduler slurm needs a number of workers; give --workers N")
    try:
        import dask_jobqueue  # noqa: F401
    except ImportError:
        raise SchedulerError("--scheduler slurm needs an extra: pip install 'cohort[hpc]'") from None


def _job(options: ClusterOptions) -> dict[str, Any]:
    """Return what a job asks for: one core a worker process."""
    asked = options.slurm
    return {
        "job_name": "cohort",
        "queue": asked.queue,
        "account": asked.account,
        "walltime": asked.walltime,
        "cores": asked.job_workers,
        "processes": asked.job_workers,
        "memory": f"{asked.memory_gib * asked.job_workers}GiB",
        "interface": asked.interface,
        "local_directory": asked.scratch,
        "log_directory": asked.logs,
        "job_extra_directives": list(asked.directives),
        "job_script_prologue": list(asked.prologue),
    }


def _shared_folder(options: ClusterOptions) -> str:
    """Return the folder that all nodes see, where the certificates of a run are put for its jobs."""
    from pathlib import Path

    folder = Path(options.slurm.shared or "~/.cohort").expanduser()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return os.fspath(folder)
