"""Runs over two hosts that share a folder, through a scheduler file: also with the cable of one pulled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from dask_ends import certificates, dask_scheduler, dask_worker, tls_options
from network import Host, Network
from runs import ALL, Cohort, begun, finished, has_parts, wait_until

pytestmark = pytest.mark.multihost
slow = pytest.mark.skipif(not ALL, reason="runs with scripts/cluster-test")

_SECONDS = 11  # after which a host that says nothing is lost: the least that Dask takes, 30 by default
_SETTINGS = ("env", f"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP={_SECONDS}s")


@contextmanager
def dask_on(network: Network, folder: Path) -> Iterator[dict[str, Any]]:
    """A scheduler on the head and a worker on each host, with TLS; yields the options that reach it."""
    files = certificates(folder)
    tls = tls_options(files)
    with ExitStack() as stack:
        prefix = (*network.head.prefix, *_SETTINGS)
        started = dask_scheduler(folder, "--protocol", "tls", *tls, host=network.head.address, prefix=prefix)
        file = stack.enter_context(started)
        for host in network.hosts:
            prefix = (*host.prefix, *_SETTINGS)
            stack.enter_context(dask_worker(file, *tls, name=f"host-{host.number}", prefix=prefix))
        while not all(times(folder, "Register worker", host) for host in network.hosts):
            time.sleep(0.05)  # a worker that comes late might have no part in the work
        yield {"scheduler_file": str(file), **{f"tls_{name}": path for name, path in files.items()}}


def times(folder: Path, what: str, host: Host) -> int:
    """Tell how often the scheduler noted something of the worker of a host."""
    lines = (folder / "scheduler.log").read_text(errors="replace").splitlines()
    return sum(what in line and f"//{host.address}:" in line for line in lines)


@slow
def test_two_hosts_give_what_one_machine_gives(
    two_hosts: Network, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with happening("two hosts, scheduler file") as notes, dask_on(two_hosts, tmp_path) as reach:
        with begun(cohort, out, reach, two_hosts.head.prefix) as process:
            status, said = finished(process)
        assert status == 0, said
        assert cohort.difference(out) == []
        notes.append("identical")


@pytest.mark.parametrize(
    ("stage", "mended"),
    [
        pytest.param("files", "when lost", id="scan-mended-when-lost"),
        pytest.param("files", "never", id="scan-never-mended", marks=slow),
        pytest.param("statistics/partials", "soon", id="ingest-mended-soon", marks=slow),
        pytest.param("statistics/partials", "when lost", id="ingest-mended-when-lost", marks=slow),
        pytest.param("statistics/partials", "never", id="ingest-never-mended", marks=slow),
    ],
)
def test_a_cable_pulled_in_the_middle_of_a_stage_changes_nothing(
    two_hosts: Network, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path, stage: str, mended: str
) -> None:
    out = tmp_path / "out"
    host = two_hosts.hosts[1]
    what = f"cable pulled in {'scan' if stage == 'files' else 'ingest'}, mended {mended}"
    with happening(what) as notes, dask_on(two_hosts, tmp_path) as reach:
        with begun(cohort, out, reach, two_hosts.head.prefix) as process:
            wait_until(lambda: has_parts(out / stage), process)
            two_hosts.cut(host)
            try:
                if mended == "soon":
                    time.sleep(2)
                    two_hosts.mend(host)
                elif mended == "when lost":
                    wait_until(lambda: times(tmp_path, "Remove worker", host) > 0, process)
                    two_hosts.mend(host)
                status, said = finished(process)
            finally:
                two_hosts.mend(host)
        lost = times(tmp_path, "Remove worker", host)
        notes.append(f"host lost {lost} times")
        assert status == 0, said
        assert cohort.difference(out) == []
        assert bool(lost) == (mended != "soon")
        notes.append("identical, no second run")
