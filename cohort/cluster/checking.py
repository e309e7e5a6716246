"""Before work: all workers have the same versions, see source and OUT, and have the memory that a task may need."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohort.config import MIB
from cohort.errors import OutputError, SchedulerError
from cohort.places import ObjectPath

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distributed import Client

    from cohort.places import Place

_PROBE_SECONDS = 5.0  # for which a shared folder may hide a new file: NFS remembers what a folder held


@dataclass(frozen=True)
class Needs:
    """What every worker must have.

    Parameters
    ----------
    versions : callable
        Gives the versions that shape a result, `cohort` among them; must be the same on a worker as here.
    task_mib : int
        Memory that one task may need.
    out : Place
        The run folder, or where it will be.
    glimpses : callable
        Gives a glimpse of every source; must be the same on a worker as here.
    """

    versions: Callable[[], Mapping[str, str]]
    task_mib: int
    out: Place
    glimpses: Callable[[], Mapping[str, int | None]]


def check_workers(client: Client | None, needs: Needs) -> None:
    """Look at every worker that is there.

    Raises
    ------
    SchedulerError
        For the first worker that lacks something: its address, what it lacks and what to do. Nothing stays written.
    """
    if client is None:
        return
    _check_memory(client, needs.task_mib)
    if _is_local(client):
        return
    _check_versions(client, needs.versions)
    _check_sources(client, needs.glimpses)
    _check_out(client, needs.out)


def _is_local(client: Client) -> bool:
    """Tell whether the workers are processes that this one started: same machine, same environment."""
    from distributed import LocalCluster

    return isinstance(client.cluster, LocalCluster)


def _check_memory(client: Client, task_mib: int) -> None:
    for address, worker in client.scheduler_info(n_workers=-1)["workers"].items():
        room = worker["memory_limit"] // max(1, worker["nthreads"])
        if 0 < room < task_mib * MIB:  # 0 is no limit
            raise SchedulerError(
                f"worker {address} has {room // MIB:,} MiB for each of its {worker['nthreads']} threads, a task may "
                f"need {task_mib:,}; start fewer or larger workers, or lower ingest.batch_mib"
            )


# -- what is the same everywhere ---------------------------------------------------------------------------


def _check_versions(client: Client, versions: Callable[[], Mapping[str, str]]) -> None:
    own = _with_python(versions)
    for worker, theirs in _answers(client, partial(_with_python, versions)).items():
        for name in sorted(own.keys() | theirs):
            here, there = own.get(name, "none"), theirs.get(name, "none")
            if there != here:
                raise SchedulerError(
                    f"worker {worker} has {name} {there}, this machine has {here}; use the same environment on all "
                    "machines"
                )


def _with_python(versions: Callable[[], Mapping[str, str]]) -> dict[str, str]:
    return {"python": ".".join(platform.python_version_tuple()[:2]), **versions()}


def _check_sources(client: Client, glimpses: Callable[[], Mapping[str, int | None]]) -> None:
    own = glimpses()
    for worker, theirs in _answers(client, glimpses).items():
        for root, glimpse in own.items():
            if theirs[root] != glimpse:
                raise SchedulerError(
                    f"worker {worker} does not see {root} as this machine does; mount it there under the same path, or "
                    "name a bucket with the credentials in the environment of the workers"
                )


def _answers(client: Client, function: Callable[[], Any]) -> Mapping[str, Any]:
    """Run a function on every worker; one that cannot even load it has no such `cohort`."""
    answers: dict[str, Any] = client.run(function, on_error="return")
    for worker, answer in answers.items():
        if isinstance(answer, BaseException):
            if isinstance(answer, ImportError | AttributeError):
                raise SchedulerError(
                    f"worker {worker} has no cohort, or another version of it; use the same environment on all machines"
                )
            raise SchedulerError(
                f"worker {worker} cannot be asked ({type(answer).__name__}); is it in the same environment?"
            )
    return answers


# -- OUT ---------------------------------------------------------------------------------------------------


def _check_out(client: Client, out: Place) -> None:
    """Put a file where OUT is or will be, and let every worker read it and write one beside it."""
    if isinstance(out, ObjectPath):
        _check_bucket(client, out)
        return
    base = next(path for path in (out, *out.absolute().parents) if path.is_dir())
    probe = base / f".cohort-probe-{os.urandom(8).hex()}"
    try:
        probe.mkdir()
    except OSError as error:
        raise OutputError(f"cannot write to {base}: {error.strerror}; name another OUT with -o") from None
    try:
        (probe / "here").touch()
        for worker, fault in _answers(client, partial(_fault_of, os.fspath(probe.absolute()))).items():
            if fault is not None:
                raise SchedulerError(
                    f"worker {worker} {fault} {out}; OUT must be in a folder that all machines share under one path"
                )
    finally:
        for path in [*probe.iterdir()]:
            path.unlink(missing_ok=True)
        probe.rmdir()


def _check_bucket(client: Client, out: ObjectPath) -> None:
    probe = out / f".cohort-probe-{os.urandom(8).hex()}"
    try:
        (probe / "here").write_text("")
    except OSError as error:
        raise OutputError(f"cannot write to {out}: {error.strerror}; name another OUT with -o") from None
    try:
        for worker, fault in _answers(client, partial(_fault_in_bucket, probe)).items():
            if fault is not None:
                raise SchedulerError(
                    f"worker {worker} {fault} {out}; the credentials must be in the environment of the workers too"
                )
    finally:
        probe.remove_tree()


def _fault_in_bucket(probe: ObjectPath) -> str | None:
    """Run on a worker: return what is wrong with the bucket of the probe, None where nothing is."""
    try:
        if not (probe / "here").is_file():
            return "does not see"
        (probe / os.urandom(8).hex()).write_text("")
    except (OSError, ImportError):
        return "cannot write to"
    return None


def _fault_of(probe: str) -> str | None:
    """Run on a worker: return what is wrong with the folder of the probe, None where nothing is."""
    deadline = time.monotonic() + _PROBE_SECONDS
    while not (Path(probe) / "here").exists():
        if time.monotonic() > deadline:
            return "does not see"
        time.sleep(0.2)
    written = Path(probe) / os.urandom(8).hex()
    try:
        written.touch()
        written.unlink()
    except OSError:
        return "cannot write to"
    return None
