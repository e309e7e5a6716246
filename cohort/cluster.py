"""Where the work runs: nothing but this process, a cluster of its own, or one that is there already.

The stages know only `completed`: it runs the partitions of a bag on the ambient Dask scheduler.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cohort.errors import RunError, SchedulerError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import dask.bag
    from distributed import Client

    from cohort.config import ClusterOptions

_CONNECT_SECONDS = 10
_LOCAL = {"sync": "synchronous", "synchronous": "synchronous", "threads": "threads"}


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a stage: what has been done so far, of how much."""

    stage: str
    done: int
    total: int
    unit: str
    n_bytes: int = 0


class Progress(Protocol):
    """Is told of every step; the command line draws it, a library call ignores it."""

    def __call__(self, step: Step) -> None:
        """Take note of a step."""
        ...


def ignore(step: Step) -> None:
    """Take no note of a step."""


@contextmanager
def connect(options: ClusterOptions) -> Iterator[Client | None]:
    """Make the scheduler asked for the ambient one.

    Order: `scheduler`, `scheduler_file`, Dask's own configuration (`scheduler-address`), else a cluster of local
    processes, one thread each: header parsing holds the interpreter's lock.

    Yields
    ------
    Client or None
        None where the work runs in this process.

    Raises
    ------
    SchedulerError
        If no scheduler answers.
    """
    import dask

    wanted = options.scheduler
    if wanted in _LOCAL and options.scheduler_file is None:
        with dask.config.set(scheduler=_LOCAL[wanted]):
            yield None
        return
    client = _client(options)
    try:
        yield client
    finally:
        client.close()
        if client.cluster is not None:
            client.cluster.close()


def _client(options: ClusterOptions) -> Client:
    import dask
    from distributed import Client, LocalCluster

    configured = dask.config.get("scheduler-address", None)
    address = options.scheduler if options.scheduler not in (None, "local") else None
    if address is None and options.scheduler is None and options.scheduler_file is None:
        address = configured
    try:
        if options.scheduler_file is not None:
            if not Path(options.scheduler_file).is_file():
                raise SchedulerError(
                    f"scheduler file {options.scheduler_file} does not exist; start one with: dask scheduler"
                )
            return Client(scheduler_file=options.scheduler_file, timeout=_CONNECT_SECONDS)
        if address is not None:
            if "://" not in address and ":" not in address:
                raise SchedulerError(
                    f"--scheduler {address}: give local, threads, sync or an address such as tcp://host:8786"
                )
            return Client(address, timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError):
        raise SchedulerError(
            f"no Dask scheduler answers at {address or options.scheduler_file}; is it running?"
        ) from None
    cluster = LocalCluster(
        n_workers=options.workers or os.cpu_count() or 1,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=50,
    )
    client = Client(cluster)
    client.cluster = cluster
    return client


def completed(bag: dask.bag.Bag) -> Iterator[Any]:
    """Run a bag and yield the results of its partitions as they are done, in any order.

    Parameters
    ----------
    bag : Bag
        Every partition must give a list; its items are yielded. Results should be small: counters, names.

    Raises
    ------
    RunError
        If a worker was lost more often than Dask retries.
    """
    import dask

    partitions = bag.to_delayed()
    client = _ambient_client()
    if client is not None:
        yield from _from_workers(client, partitions)
        return
    batch = 4 * (os.cpu_count() or 1)
    for start in range(0, len(partitions), batch):
        for results in dask.compute(*partitions[start : start + batch]):
            yield from results


def _ambient_client() -> Client | None:
    import dask

    if dask.config.get("scheduler", None) in _LOCAL.values():
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _from_workers(client: Client, partitions: list[Any]) -> Iterator[Any]:
    from distributed import KilledWorker, as_completed

    futures = client.compute(partitions, retries=2)
    try:
        for future in as_completed(futures):
            yield from future.result()
            future.release()
    except KilledWorker:
        raise RunError("a worker died several times on the same work; run the same command again to go on") from None
    finally:
        client.cancel(futures)
