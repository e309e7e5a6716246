"""One run at a time: OUT/.lock names the host and process that write to a run folder.

The file is made with O_EXCL and holds host, pid and time of start; its time of change is the heartbeat. It is stale
where its process is dead (same host), or has not beaten for `STALE_SECONDS` (another host). Readers do not look at it.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from cohort.errors import OutputError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"
"""Name of the lock in a run folder."""

STALE_SECONDS = 600
"""A lock of another host that has not beaten for so long is stale."""

_BEAT_SECONDS = 20


class Lock(ABC):
    """The lock of a run folder, held from `acquire` to `release`; its heart beats meanwhile.

    Parameters
    ----------
    named : str
        OUT.
    """

    def __init__(self, named: str) -> None:
        self._named = named
        self._text = json.dumps(owner() | {"token": os.urandom(8).hex()}) + "\n"
        self._stop = threading.Event()

    @abstractmethod
    def acquire(self) -> None:
        """Take the lock; raises OutputError where another run holds it."""

    @abstractmethod
    def release(self) -> None:
        """Give the lock back."""

    @abstractmethod
    def _is_ours(self) -> bool:
        """Tell whether the lock is still the one that `acquire` wrote."""

    @abstractmethod
    def _beat_once(self) -> None:
        """Make the lock younger."""

    def check(self) -> None:
        """Raise RunError where another run has taken the lock for stale, as after a long time without a network."""
        if not self._is_ours():
            raise RunError(f"{self._named} was taken over by another run, which took this one for dead")

    def _begin_to_beat(self) -> None:
        threading.Thread(target=self._beat, name="lock", daemon=True).start()

    def _beat(self) -> None:
        while not self._stop.wait(_BEAT_SECONDS):
            with contextlib.suppress(OSError):
                if self._is_ours():
                    self._beat_once()

    def _refuse(self, holder: dict[str, Any]) -> OutputError:
        return OutputError(
            f"{self._named} is being written by another run: process {holder.get('pid', 'unknown')} on "
            f"{holder.get('host', 'an unknown host')}; wait for it, or name another folder"
        )


class FileLock(Lock):
    """The lock of a folder.

    Parameters
    ----------
    folder : Path
        OUT; it is made where it does not exist, and removed again by `release` where nothing else came into it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._folder = folder
        self._path = folder / LOCK
        self._made = False

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        OutputError
            If another run holds it; host and pid are named.
        """
        self._made = not self._folder.exists()
        self._folder.mkdir(parents=True, exist_ok=True)
        with _alone_in(self._folder) as alone:
            holder = _holder(self._path)
            if holder is not None:
                if not _is_stale(holder, self._path, alone=alone):
                    raise self._refuse(holder)
                self._path.unlink(missing_ok=True)
            self._write()
        self._begin_to_beat()

    def _write(self) -> None:
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            raise OutputError(f"{self._folder} is being written by another run that has just begun") from None
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(self._text)
            file.flush()
            os.fsync(descriptor)

    def _beat_once(self) -> None:
        os.utime(self._path)

    def _is_ours(self) -> bool:
        try:
            return self._path.read_text(encoding="utf-8") == self._text
        except OSError:
            return False

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        with contextlib.suppress(OSError):
            if self._is_ours():
                self._path.unlink()
            if self._made:
                self._folder.rmdir()  # fails, rightly, where anything was written


def owner() -> dict[str, Any]:
    """Return what tells of this process: host, pid, and when both it and the run began."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"host": platform.node(), "pid": os.getpid(), "born": _born(os.getpid()), "started": started}


def _born(pid: int) -> str | None:
    """Return when a process of this host began, as the system counts, so that a pid used again is told apart."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else fields[19]


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[bool]:
    """Keep other processes of this host from looking at the lock at the same time; yields whether that worked."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            alone = True
        except OSError:  # a network file system without it
            alone = False
        yield alone
    finally:
        os.close(descriptor)


def _holder(path: Path) -> dict[str, Any] | None:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def _is_stale(holder: dict[str, Any], path: Path, *, alone: bool) -> bool:
    if not holder and alone:
        return True  # its process was killed between making and writing it
    here = is_dead_here(holder)
    return _age(path) > STALE_SECONDS if here is None else here


def is_dead_here(holder: dict[str, Any]) -> bool | None:
    """Tell whether the process that holds a lock is dead; None where it is of another host."""
    if holder.get("host") == platform.node() and isinstance(holder.get("pid"), int):
        return not _lives(holder["pid"], holder.get("born"))
    return None


def _lives(pid: int, born: str | None) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        pass
    return born is None or _born(pid) == born


def _age(path: Path) -> float:
    """Return the seconds since the last heartbeat, by the clock of the file system: hosts may differ."""
    probe = path.with_name(f"{LOCK}-{os.urandom(4).hex()}")
    try:
        probe.touch()
        return probe.stat().st_mtime - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
    finally:
        probe.unlink(missing_ok=True)
