"""The ways in: a Dask client for every place where the work may run."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohort.cluster.encryption import refuse_plain, security_of
from cohort.cluster.planning import local_size
from cohort.cluster.running import IN_PROCESS
from cohort.cluster.steps import Step, ignore
from cohort.errors import SchedulerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client

    from cohort.cluster.steps import Progress
    from cohort.config import ClusterOptions

_CONNECT_SECONDS = 10
_WORKER_SECONDS = 60  # for the first worker of a scheduler that is there: they may have been started together


@contextmanager
def connect(options: ClusterOptions, task_mib: int = 0, progress: Progress = ignore) -> Iterator[Client | None]:
    """Make the scheduler asked for the ambient one.

    Order: `scheduler`, `scheduler_file`, Dask's own configuration (`scheduler-address`), else a cluster of local
    processes, one thread each: header parsing holds the interpreter's lock.

    Parameters
    ----------
    options : ClusterOptions
        Where the work runs.
    task_mib : int
        Memory that one task may need, in MiB: a local cluster has no more workers than the machine has memory for.
    progress : Progress
        Told the address of the dashboard, and of the wait for jobs in a queue.

    Yields
    ------
    Client or None
        None where the work runs in this process.

    Raises
    ------
    SchedulerError
        If no scheduler answers, it has no workers, or what it is sent could be read on the way.
    """
    import dask

    wanted = options.scheduler
    if wanted in IN_PROCESS and options.scheduler_file is None:
        with dask.config.set(scheduler=IN_PROCESS[wanted]):
            yield None
        return
    client = _client(options, task_mib)
    try:
        _wait_for_workers(client, options, progress)
        progress(Step("dashboard", 0, 0, "", note=f"dashboard: {client.dashboard_link}"))
        yield client
    finally:
        client.close()
        if client.cluster is not None:
            client.cluster.close()


def _client(options: ClusterOptions, task_mib: int) -> Client:
    if options.scheduler_file is not None:
        return _to_address(options, _address_in(Path(options.scheduler_file)), str(options.scheduler_file))
    if options.scheduler == "slurm":
        from cohort.cluster.slurm import slurm_cluster

        return _owning(slurm_cluster(options))
    if options.scheduler == "kubernetes":
        from cohort.cluster.kubernetes import kubernetes_cluster

        return _owning(kubernetes_cluster(options))
    address = _address(options)
    if address is None:
        return _owning(_local(options, task_mib))
    return _to_address(options, address, address)


def _address(options: ClusterOptions) -> str | None:
    """Return the address asked for, by Dask's own configuration where nothing else says; None: a cluster of our own."""
    import dask

    if options.scheduler is None:
        configured: str | None = dask.config.get("scheduler-address", None)
        return configured
    if options.scheduler == "local":
        return None
    if "://" not in options.scheduler and ":" not in options.scheduler:
        raise SchedulerError(
            f"--scheduler {options.scheduler}: give local, threads, sync, slurm, kubernetes "
            "or an address such as tls://host:8786"
        )
    return options.scheduler


def _address_in(path: Path) -> str:
    """Return the address that a scheduler wrote to its file."""
    if not path.is_file():
        raise SchedulerError(
            f"scheduler file {path} does not exist; start a scheduler with: dask scheduler --scheduler-file {path}"
        )
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError):
        raise SchedulerError(
            f"scheduler file {path} names no address; is it one that `dask scheduler` wrote?"
        ) from None


def _to_address(options: ClusterOptions, address: str, named: str) -> Client:
    import dask
    from distributed import Client

    refuse_plain(address, options)
    before = dask.config.get("scheduler", None)
    try:
        return Client(address, timeout=_CONNECT_SECONDS, security=security_of(options))
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        dask.config.set(scheduler=before)  # the client has named itself, though it did not connect
        secure = " with these certificates" if address.startswith("tls") else ""
        why = type(error).__name__ if isinstance(error, TypeError | RuntimeError) else ""
        raise SchedulerError(
            f"no Dask scheduler answers at {named}{secure}; is it running{f', and what is {why}' if why else ''}?"
        ) from None


def _local(options: ClusterOptions, task_mib: int) -> Any:
    from distributed import LocalCluster

    workers, memory = local_size(options, task_mib)
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        memory_limit=memory,
        dashboard_address="127.0.0.1:0",  # any free port: another cluster may have the usual one
        silence_logs=50,
    )


def _owning(cluster: Any) -> Client:
    """Return a client that closes the cluster with itself."""
    from distributed import Client

    client = Client(cluster)
    client.cluster = cluster
    return client


def _wait_for_workers(client: Client, options: ClusterOptions, progress: Progress) -> None:
    """Wait for the first worker: for as long as it takes where they come from a queue of jobs."""
    if client.scheduler_info(n_workers=0).get("n_workers", 0):
        return
    queued = options.scheduler in ("slurm", "kubernetes") and options.scheduler_file is None
    if queued:
        progress(Step("workers", 0, 0, "", note=f"waiting for the first worker from {options.scheduler}"))
    try:
        client.wait_for_workers(1, timeout=None if queued else _WORKER_SECONDS)
    except TimeoutError:
        raise SchedulerError(
            "the scheduler has no workers; start some on the machines that see the data with: dask worker ADDRESS"
        ) from None
