"""Run one function over many parts, as a Dask bag on the ambient scheduler."""

from __future__ import annotations

import os
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from cohort.cluster.heap import kept_heap
from cohort.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import dask.bag
    from distributed import Client

Part = TypeVar("Part")
Result = TypeVar("Result")

IN_PROCESS = {"sync": "synchronous", "synchronous": "synchronous", "threads": "threads"}
"""Names of the schedulers that need no other process, and Dask's names for them."""

_TASKS_PER_THREAD = 8  # that the scheduler knows of: enough that no thread waits for the client, whatever the cohort
_LEAST_TASKS = 16  # also while there is no worker: an adaptive cluster starts them by the tasks it sees


def completed(parts: Sequence[Part], work: Callable[[Part], Result]) -> Iterator[Result]:
    """Run a function over parts and yield its results as they are done, in any order.

    Parameters
    ----------
    parts : sequence
        What the tasks are given, one each. Should be small: numbers, names.
    work : callable
        Part -> result, which should be small too: counters, names.

    Raises
    ------
    RunError
        If a worker was lost more often than Dask retries.
    """
    import dask

    if not parts:
        return
    partitions = bag_of(parts, work).to_delayed()
    client = _ambient_client()
    if client is not None:
        yield from _from_workers(client, partitions)
        return
    batch = 4 * (os.cpu_count() or 1)
    for start in range(0, len(partitions), batch):
        for results in dask.compute(*partitions[start : start + batch]):
            yield from results


def alone(work: Callable[[], Result]) -> Result:
    """Run one call on the ambient scheduler: what needs many rows at once is held by a worker, not by the client.

    Parameters
    ----------
    work : callable
        Takes nothing; its result should be small.
    """
    (result,) = completed([work], _called)
    return result


def _called(work: Callable[[], Result]) -> Result:
    return work()


def bag_of(parts: Sequence[Part], work: Callable[[Part], Result]) -> dask.bag.Bag:
    """Return a bag with a part in each partition, and what becomes of it."""
    import dask.bag

    return dask.bag.from_sequence(parts, npartitions=len(parts)).map_partitions(partial(_worked, work=work))


def _worked(parts: Iterable[Part], *, work: Callable[[Part], Result]) -> list[Result]:
    with kept_heap():
        return [work(part) for part in parts]


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
