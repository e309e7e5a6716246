"""Run the partitions of a bag on the ambient scheduler."""

from __future__ import annotations

import os
from itertools import islice
from typing import TYPE_CHECKING, Any

from cohort.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import dask.bag
    from distributed import Client

IN_PROCESS = {"sync": "synchronous", "synchronous": "synchronous", "threads": "threads"}
"""Names of the schedulers that need no other process, and Dask's names for them."""

_TASKS_PER_THREAD = 8  # that the scheduler knows of: enough that no thread waits for the client, whatever the cohort
_LEAST_TASKS = 16  # also while there is no worker: an adaptive cluster starts them by the tasks it sees


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


def alone(work: Callable[[], Any]) -> Any:
    """Run one call on the ambient scheduler: what needs many rows at once is held by a worker, not by the client.

    Parameters
    ----------
    work : callable
        Takes nothing; its result should be small.
    """
    import dask.bag

    (result,) = completed(dask.bag.from_sequence([work], npartitions=1).map_partitions(_called))
    return result


def _called(works: Iterable[Callable[[], Any]]) -> list[Any]:
    return [work() for work in works]


def _ambient_client() -> Client | None:
    import dask

    if dask.config.get("scheduler", None) in IN_PROCESS.values():
        return None
    from distributed import get_client

    try:
        return get_client()
    except ValueError:
        return None


def _from_workers(client: Client, partitions: list[Any]) -> Iterator[Any]:
    """Keep a few tasks per thread under way; workers may come and go while it runs."""
    from distributed import KilledWorker, as_completed

    waiting = iter(partitions)
    arriving = as_completed()
    under_way: set[Any] = set()

    def send() -> int:
        threads: int = sum(client.nthreads().values())
        window = max(_LEAST_TASKS, _TASKS_PER_THREAD * threads)
        if more := list(islice(waiting, window - len(under_way))):
            futures = client.compute(more, retries=2)
            under_way.update(futures)
            arriving.update(futures)
        return window

    try:
        window = send()
        for future in arriving:
            under_way.discard(future)
            yield from future.result()
            future.release()
            if 2 * len(under_way) <= window:  # half a window at a time: every graph sent costs a look at the whole bag
                window = send()
    except KilledWorker:
        raise RunError("a worker died several times on the same work; run the same command again to go on") from None
    finally:
        if under_way:
            client.cancel(list(under_way))
