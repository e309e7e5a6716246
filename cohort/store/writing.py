"""Writing below one place: no reader sees half a file.

In a folder under a temporary name, flushed, synced, renamed; in a bucket by one request, which is seen whole or not.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohort.places import ObjectPath, remove_tree
from cohort.store.artefacts import TEMPORARY, Artefact, digest_of_file, sync
from cohort.store.lock import LOCK, FileLock, Lock
from cohort.store.object_lock import ObjectLock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cohort.places import Place

_WRITTEN = (
    "stages", "report.html", "report.json", "findings.parquet", "statistics", "volumes.zarr", "volumes.parquet",
    "series.parquet", "frames", "files", "manifest", "schema.json", "run.json",
)  # fmt: skip
"""All that a run writes, in the order in which it is taken away: commits first, what makes it a run folder last."""

OURS = (TEMPORARY, LOCK, "schema.json")
"""How the names begin of what a run that was killed at its very beginning leaves."""


class Folder:
    """A folder, or a prefix in a bucket, that is written to safely.

    Parameters
    ----------
    path : Place
        Nothing is created until the first write.
    """

    def __init__(self, path: Place) -> None:
        self.path = path

    @contextmanager
    def locked(self) -> Iterator[Lock]:
        """Hold the lock: one run at a time writes here.

        Raises
        ------
        OutputError
            If another run holds it.
        """
        lock = ObjectLock(self.path) if isinstance(self.path, ObjectPath) else FileLock(self.path)
        lock.acquire()
        try:
            yield lock
        finally:
            lock.release()

    def write_text(self, name: str, text: str) -> Artefact:
        """Write one text file below OUT, atomically."""
        return self._write(name, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    def write_text_once(self, name: str, text: str) -> Artefact:
        """Write one text file below OUT, unless it is there with the same text."""
        path = self.path / name
        if path.is_file() and path.read_bytes() == text.encode():
            return self.artefact_of(path, name)
        return self.write_text(name, text)

    def write_json(self, name: str, data: Any) -> Artefact:
        """Write plain data as JSON below OUT, atomically."""
        return self.write_text(name, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=True) + "\n")

    def _write(self, name: str, write: Callable[[Path], Any], rows: int | None = None) -> Artefact:
        final = self.path / name
        if isinstance(final, ObjectPath):
            return self._put(final, name, write, rows)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-{final.name}")
        try:
            write(temporary)
            sync(temporary)
            artefact = self.artefact_of(temporary, name, rows)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
        sync(final.parent)
        return artefact

    def _put(self, final: ObjectPath, name: str, write: Callable[[Path], Any], rows: int | None) -> Artefact:
        with tempfile.TemporaryDirectory(prefix="cohort-") as folder:
            temporary = Path(folder) / "whole"
            write(temporary)
            final.write_bytes(temporary)
            return self.artefact_of(temporary, name, rows)

    def write_scratch(self, name: str, write: Callable[[Path], Any]) -> None:
        """Write one intermediate file below OUT, whole: a task that runs twice leaves one."""
        final = self.path / name
        if isinstance(final, ObjectPath):
            self._put(final, name, write, None)
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f"{final.name}.{os.getpid()}-{os.urandom(4).hex()}")
        write(temporary)
        temporary.replace(final)

    @contextmanager
    def scratch(self, name: str) -> Iterator[str]:
        """Yield the name of a folder below OUT for intermediate parts; removed afterwards."""
        folder = f"{TEMPORARY}{name}"
        remove_tree(self.path / folder)
        try:
            yield folder
        finally:
            remove_tree(self.path / folder)

    def artefact_of(self, path: Place, name: str, rows: int | None = None) -> Artefact:
        """Describe a file that exists."""
        return Artefact(name, path.stat().st_size, digest_of_file(path), rows)

    def sweep(self) -> None:
        """Remove what an interrupted run left half written."""
        if isinstance(self.path, ObjectPath):
            for folder in self.path.children()[0]:
                if folder.name.startswith(TEMPORARY):
                    folder.remove_tree()
        elif self.path.is_dir():
            for path in [*self.path.glob(f"**/{TEMPORARY}*")]:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)  # a worker of the interrupted run may still be at it
                else:
                    path.unlink(missing_ok=True)

    def take_away(self) -> None:
        """Remove everything a run wrote, and nothing else; whenever it is killed, what is left is a run folder."""
        if isinstance(self.path, ObjectPath):
            for name in _WRITTEN:
                (self.path / name).remove_tree()
                (self.path / name).unlink(missing_ok=True)
            return
        former = self.path / f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-former"
        former.mkdir()
        for name in _WRITTEN:
            if (self.path / name).exists():
                (self.path / name).rename(former / name)
        sync(self.path)
        shutil.rmtree(former)
