"""One run at a time writes to a run folder; what a dead one left is taken over, and a finished one is not touched."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from damage import committed_files, make_images
from running import config_with

from cohort import pipeline
from cohort.errors import OutputError, RunError
from cohort.store import FileLock, RunFolder
from cohort.store.lock import LOCK, STALE_SECONDS


@pytest.fixture
def held(tmp_path: Path) -> Iterator[FileLock]:
    lock = FileLock(tmp_path / "out")
    lock.acquire()
    yield lock
    lock.release()


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("lock") / "images")


def lock_of(folder: Path, **owner: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / LOCK
    path.write_text(json.dumps(owner))
    return path


def dead_pid() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_a_second_run_is_refused_and_names_the_first(held: FileLock, images: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=f"process {os.getpid()} on {platform.node()}"):
        pipeline.run([str(images)], tmp_path / "out", config_with())
    assert [path.name for path in (tmp_path / "out").iterdir()] == [LOCK]


def test_a_lock_is_given_back_with_the_folder_made_for_it(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "out")
    lock.acquire()
    lock.release()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "owner",
    [{"host": platform.node(), "pid": dead_pid()}, {"host": platform.node(), "pid": os.getpid(), "born": "0"}, {}],
    ids=["dead", "pid used again", "empty"],
)
def test_the_lock_of_a_dead_process_is_taken_over(owner: dict[str, object], tmp_path: Path) -> None:
    lock_of(tmp_path / "out", **owner)
    lock = FileLock(tmp_path / "out")
    lock.acquire()
    lock.check()
    lock.release()


@pytest.mark.parametrize(("age", "refused"), [(STALE_SECONDS - 60, True), (STALE_SECONDS + 60, False)])
def test_the_lock_of_another_host_counts_while_its_heart_beats(age: int, refused: bool, tmp_path: Path) -> None:
    path = lock_of(tmp_path / "out", host="elsewhere", pid=1)
    beat = path.stat().st_mtime - age
    os.utime(path, (beat, beat))
    lock = FileLock(tmp_path / "out")
    if refused:
        with pytest.raises(OutputError, match="process 1 on elsewhere"):
            lock.acquire()
    else:
        lock.acquire()
        lock.release()


def test_a_run_whose_lock_was_taken_over_stops(held: FileLock, tmp_path: Path) -> None:
    lock_of(tmp_path / "out", host="elsewhere", pid=1)
    with pytest.raises(RunError, match="taken over"):
        held.check()


def test_of_many_that_begin_together_one_has_the_lock(tmp_path: Path) -> None:
    lock_of(tmp_path / "out", host=platform.node(), pid=dead_pid())

    def take(lock: FileLock) -> bool:
        try:
            lock.acquire()
        except OutputError:
            return False
        return True

    locks = [FileLock(tmp_path / "out") for _ in range(50)]
    with ThreadPoolExecutor(16) as pool:
        taken = list(pool.map(take, locks))
    assert sum(taken) == 1
    locks[taken.index(True)].release()
    assert not (tmp_path / "out" / LOCK).exists()


def state(out: Path) -> dict[str, tuple[int, int, int]]:
    """Identity, size and time of change of every file."""
    return {
        path.relative_to(out).as_posix(): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns)
        for path in committed_files(out)
    }


def test_a_finished_run_is_not_touched_and_leftovers_are_swept(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = pipeline.run([str(images)], out, config_with())
    before = state(out)
    assert pipeline.run([str(images)], out, config_with()) == first
    assert state(out) == before
    for leftover in (out / ".tmp-1-half", out / "files" / ".tmp-2-part.parquet", out / "files" / "part-7-old.parquet"):
        leftover.write_bytes(b"PAR1")
    (out / "volumes.zarr" / "CT" / ".tmp-3-volume").mkdir()
    pipeline.run([str(images)], out, config_with())
    assert state(out) == before
    assert not list(out.rglob(".tmp-*"))
    assert RunFolder(out).committed("report")
