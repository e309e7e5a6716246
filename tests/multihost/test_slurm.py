"""Runs whose workers are jobs of a SLURM with two nodes: also with a job cancelled, and with none that is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import slurm as slurms
from runs import ALL, Cohort, begun, finished, has_parts, wait_until
from slurm import NODES, PARTITION, Slurm

pytestmark = pytest.mark.multihost
slow = pytest.mark.skipif(not ALL, reason="runs with scripts/cluster-test")


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    """A SLURM of two nodes."""
    pytest.importorskip("dask_jobqueue", reason="needs the extra hpc")
    reason = slurms.lacking()
    if reason:
        pytest.skip(reason)
    with slurms.slurm() as made:
        yield made


def options(folder: Path, queue: str = PARTITION, **changes: Any) -> dict[str, Any]:
    """Three jobs of one worker, so that both nodes have some: all nodes are this machine, so loopback joins them."""
    return {
        "scheduler": "slurm",
        "workers": 3,
        "slurm": {
            "queue": queue, "walltime": "00:30:00", "job_workers": 1, "memory_gib": 3, "interface": "lo",
            "logs": str(folder / "logs"), "shared": str(folder / "shared"), "directives": ["--cpus-per-task=2"],
        },
        **changes,
    }  # fmt: skip


@slow
def test_jobs_on_two_nodes_give_what_one_machine_gives(
    slurm: Slurm, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with happening("SLURM, three jobs on two nodes") as notes:
        with begun(cohort, out, options(tmp_path), env=slurm.environment) as process:
            wait_until(lambda: len(slurm.jobs()) == 3, process)
            assert set(slurm.jobs().values()) == set(NODES)
            status, said = finished(process)
        assert status == 0, said
        assert cohort.difference(out) == []
        assert not slurm.jobs()
        notes.append("identical")


@pytest.mark.parametrize(
    "stage", [pytest.param("files", id="scan"), pytest.param("statistics/partials", id="ingest", marks=slow)]
)
def test_a_job_cancelled_in_the_middle_of_a_stage_changes_nothing(
    slurm: Slurm, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path, stage: str
) -> None:
    out = tmp_path / "out"
    with happening(f"SLURM, a job cancelled in {'scan' if stage == 'files' else 'ingest'}") as notes:
        with begun(cohort, out, options(tmp_path), env=slurm.environment) as process:
            wait_until(lambda: has_parts(out / stage), process)
            cancelled = sorted(slurm.jobs())[0]
            slurm.cancel([cancelled])
            status, said = finished(process)
        assert status == 0, said
        assert cohort.difference(out) == []
        notes.append(f"job {cancelled} cancelled; identical, no second run")


@slow
def test_all_jobs_cancelled_are_replaced(
    slurm: Slurm, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with happening("SLURM, all jobs cancelled in scan") as notes:
        with begun(cohort, out, options(tmp_path), env=slurm.environment) as process:
            wait_until(lambda: has_parts(out / "files"), process)
            slurm.cancel([*slurm.jobs()])
            status, said = finished(process)
        assert status == 0, said
        assert cohort.difference(out) == []
        notes.append("identical, no second run")


@pytest.mark.parametrize("queue", ["closed", "nowhere"])
def test_jobs_that_slurm_does_not_take_end_with_a_line(
    slurm: Slurm, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path, queue: str
) -> None:
    out = tmp_path / "out"
    with happening(f"SLURM, partition {queue}") as notes:
        with begun(cohort, out, options(tmp_path, queue), env=slurm.environment) as process:
            status, said = finished(process)
        assert status == 2, said
        (line,) = [line for line in said.splitlines() if line.startswith("error:")]
        assert "SLURM does not take the jobs" in line
        assert "Traceback" not in said
        assert not out.exists()
        notes.append("exit 2, nothing written")
