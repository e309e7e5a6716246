"""Work in flight: a few tasks a thread whatever the cohort, each result once, workers that come and go."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import dask
import dask.bag
import pytest

from cohort.cluster import completed
from cohort.cluster.running import _LEAST_TASKS, _TASKS_PER_THREAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distributed import Client, LocalCluster

PARTITIONS = 200
KEYS_PER_PARTITION = 2  # its numbers, and what becomes of them


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """One worker of one thread in this process."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of it, the ambient one."""
    from distributed import Client

    with Client(cluster) as client:
        yield client


def square(number: int) -> int:
    return number**2


def slow_square(number: int) -> int:
    time.sleep(0.01)
    return square(number)


EXPECTED = sorted(number**2 for number in range(PARTITIONS))


def test_the_scheduler_never_knows_of_more_than_a_window(client: Client) -> None:
    found, known = [], []
    for result in completed(range(PARTITIONS), square):
        found.append(result)
        known.append(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
    assert sorted(found) == EXPECTED
    window = max(_LEAST_TASKS, _TASKS_PER_THREAD)
    assert 1 < max(known) <= KEYS_PER_PARTITION * window < KEYS_PER_PARTITION * PARTITIONS


def test_workers_may_come_and_go(cluster: LocalCluster, client: Client) -> None:
    found, first = [], next(iter(client.nthreads()))
    for result in completed(range(PARTITIONS), slow_square):
        found.append(result)
        if len(found) == 20:
            cluster.scale(2)
        if len(found) == 60:
            client.wait_for_workers(2, timeout=30)
            client.retire_workers([first])
    assert sorted(found) == EXPECTED
    assert first not in client.nthreads()


def test_who_stops_listening_leaves_nothing_behind(client: Client) -> None:
    results = completed(range(PARTITIONS), slow_square)
    next(results)
    results.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 30
    while client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_without_a_cluster_the_results_are_the_same(scheduler: str) -> None:
    with dask.config.set(scheduler=scheduler):
        assert sorted(completed(range(PARTITIONS), square)) == EXPECTED
