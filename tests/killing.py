"""Runs whose processes are killed or stopped at random moments, and what is left of their results."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

from damage import committed_files

from cohort import pipeline
from cohort.config import ClusterOptions, Config, IngestOptions, ScanOptions
from cohort.phantom import make_series
from cohort.store import digest_of_file

MIX = {"worker": 40, "scheduler": 10, "client": 10, "stop": 5}
"""How often what is struck, in this proportion."""

_SERVER = multiprocessing.get_context("forkserver")  # a fork of the process of the tests would inherit its locks
_SERVER.set_forkserver_preload(
    ["cohort.headers", "cohort.volumes", "cohort.ingest", "cohort.reductions", "cohort.report", "zarr"]
)

_PATIENCE = 300.0  # seconds after which a run counts as hanging
_STOPPED = 3.0  # seconds for which a worker is stopped


class Undisturbed(NamedTuple):
    """The results that every run must end with, and the seconds that such a run takes."""

    images: Path
    contents: dict[str, str]
    seconds: float


class Fault(NamedTuple):
    """What was done to a run, and what was wrong afterwards: nothing, if all is well."""

    kind: str
    moment: float
    struck: bool
    resumed: bool
    wrong: str


def config_of(scheduler: str, file: Path | None = None) -> Config:
    """Small parts, so that a moment chosen at random falls between many commits."""
    return Config(
        scan=ScanOptions(shard_size=20),
        ingest=IngestOptions(batch_mib=0.5),
        cluster=ClusterOptions(scheduler=scheduler, workers=2, scheduler_file=None if file is None else str(file)),
    )


def make_undisturbed(folder: Path, files: int, scheduler: str = "sync") -> Undisturbed:
    """Write images and run over them once, in a process of its own."""
    images = folder / "images"
    if not images.exists():
        make_series(images, files=files, rows=16, columns=16)
    out = folder / f"undisturbed-{scheduler}"
    began = time.monotonic()
    ended = _wait(_begin(images, out, config_of(scheduler)), _PATIENCE)
    if ended != 0:
        raise AssertionError(f"the undisturbed run ended with {ended}")
    return Undisturbed(images, contents_of(out), time.monotonic() - began)


def contents_of(out: Path) -> dict[str, str]:
    """Digest of every file that readers may see, but the one with times."""
    found = {}
    for path in committed_files(out):
        name = path.relative_to(out).as_posix()
        if name != "run.json" and not any(part.startswith(".") for part in name.split("/")):
            found[name] = digest_of_file(path)
    return found


def strike(folder: Path, kind: str, known: Undisturbed, random_: random.Random) -> Fault:
    """Do something to a run at a random moment, look at what is left, and run again where it did not finish."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    moment = random_.uniform(0.02, 1) * known.seconds
    with _cluster(folder) if kind == "scheduler" else contextlib.nullcontext((None, None)) as (scheduler, file):
        process = _begin(known.images, out, config_of("sync" if kind == "writing" else "local", file))
        ended = _wait(process, moment)
        struck = ended is None and _struck(kind, process.pid, scheduler, random_)
        if ended is None:
            ended = _wait(process, _PATIENCE)
    if ended is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
        return Fault(kind, moment, struck, False, "hangs")
    wrong = _half_written(out, known)
    resumed, left = ended != 0, _parts(out)
    if resumed and not wrong and _wait(_begin(known.images, out, config_of("sync")), _PATIENCE) != 0:
        wrong = "the run that went on did not finish"
    wrong = wrong or _difference(contents_of(out), known.contents) or _done_again(left, _parts(out))
    return Fault(kind, moment, struck, resumed, wrong)


def _begin(images: Path, out: Path, config: Config) -> BaseProcess:
    """Run in a process of its own, the first of its group, forked from one that has the imports and no threads."""
    process = _SERVER.Process(target=_run, args=(images, out, config))
    process.start()
    return process


def _run(images: Path, out: Path, config: Config) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    pipeline.run([str(images)], out, config)


def _wait(process: BaseProcess, seconds: float) -> int | None:
    """Return how a process ended, None where it has not."""
    process.join(seconds)
    return process.exitcode


def _struck(kind: str, pid: int, scheduler: subprocess.Popen[bytes] | None, random_: random.Random) -> bool:
    if kind in ("writing", "client"):
        os.kill(pid, signal.SIGKILL)
        return True
    if kind == "scheduler":
        assert scheduler is not None
        scheduler.kill()
        return True
    workers = _workers_of(pid)
    if not workers:
        return False  # too early, or too late
    worker = random_.choice(workers)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL if kind == "worker" else signal.SIGSTOP)
        if kind == "stop":
            time.sleep(_STOPPED)
            os.kill(worker, signal.SIGCONT)
    return True


def _workers_of(pid: int) -> list[int]:
    """Return the workers among the children of a process."""
    found = []
    for entry in sorted(Path("/proc").glob("[0-9]*")):
        with contextlib.suppress(OSError, IndexError, ValueError):
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == pid and b"spawn_main" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def _cluster(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A scheduler and two workers, each a process of its own."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True, "cwd": folder}
    scheduler = [*command, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    processes = [subprocess.Popen([*scheduler, "--scheduler-file", str(file)], **quiet)]  # type: ignore[call-overload]
    try:
        while not file.exists() or not file.read_text().endswith("}"):
            time.sleep(0.05)
        worker = [*command, "worker", "--scheduler-file", str(file), "--nthreads", "1", "--nworkers", "2"]
        processes.append(subprocess.Popen([*worker, "--no-dashboard"], **quiet))  # type: ignore[call-overload]
        yield processes[0], file
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _half_written(out: Path, known: Undisturbed) -> str:
    """Return what a reader could take for whole although it is not: files that differ from those of a whole run."""
    left = contents_of(out) if out.exists() else {}
    left.pop("volumes.parquet", None)  # written by `assemble` and completed by `ingest`: whole both times
    changed = sorted(name for name, digest in left.items() if known.contents.get(name, digest) != digest)
    return f"readable but other than in a whole run: {changed[:3]}" if changed else ""


def _parts(out: Path) -> dict[str, tuple[int, int]]:
    """Return of every part that a run has finished which file it is, and when it was written."""
    found = {}
    for place in ("manifest", "files", "statistics/outcomes"):
        for path in (out / place).glob("[!.]*.parquet"):
            found[f"{place}/{path.name}"] = path.stat().st_ino, path.stat().st_mtime_ns
    return found


def _done_again(left: dict[str, tuple[int, int]], now: dict[str, tuple[int, int]]) -> str:
    """Return which parts were written a second time although they were finished."""
    again = sorted(name for name, file in left.items() if now.get(name) != file)
    return f"finished parts are done again: {again[:3]}" if again else ""


def _difference(found: dict[str, str], expected: dict[str, str]) -> str:
    different = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
    return f"other results than those of the undisturbed run: {different[:3]}" if different else ""


def mixed(runs: int, seed: int) -> list[str]:
    """Return so many kinds of faults in the proportion of `MIX`, in random order."""
    kinds = [kind for kind, share in MIX.items() for _ in range(round(share * runs / sum(MIX.values())))]
    random.Random(seed).shuffle(kinds)
    return kinds


def kills(
    folder: Path, kinds: list[str], seed: int, tell: Callable[[Fault], None] = lambda _: None, *, files: int = 240
) -> list[Fault]:
    """Strike a run over so many files once for every kind named; return what came of it."""
    random_ = random.Random(seed)
    sync = make_undisturbed(folder, files)
    local = make_undisturbed(folder, files, "local") if set(kinds) - {"writing"} else sync
    if local.contents != sync.contents:
        raise AssertionError("results depend on the scheduler")
    faults = []
    for kind in kinds:
        faults.append(strike(folder, kind, sync if kind == "writing" else local, random_))
        tell(faults[-1])
    return faults
