"""One run at a time in a bucket: an object that is written only where there is none (a conditional request)."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

from cohort.errors import OutputError
from cohort.store.lock import LOCK, STALE_SECONDS, Lock, is_dead_here

if TYPE_CHECKING:
    from cohort.places import ObjectPath


class ObjectLock(Lock):
    """The lock of a prefix in a bucket; the time of its last change is the heartbeat, by the clock of the store.

    Parameters
    ----------
    folder : ObjectPath
        OUT.
    """

    def __init__(self, folder: ObjectPath) -> None:
        super().__init__(str(folder))
        self._path = folder / LOCK

    def acquire(self) -> None:
        """Take the lock.

        Raises
        ------
        OutputError
            If another run holds it; host and pid are named. If the bucket cannot be written to.
        """
        try:
            found = self._path.read_tagged()
            if found is not None and not self._is_stale(holder := _holder_in(found[0])):
                raise self._refuse(holder)
            try:  # only where it is still as it was seen: of several runs one wins
                self._path.write_bytes(self._text.encode(), instead_of=None if found is None else found[1], new=True)
            except FileExistsError:
                if not self._is_ours():  # else the answer was lost, and the request sent again
                    raise OutputError(f"{self._named} is being written by another run that has just begun") from None
        except OSError as error:
            raise OutputError(f"cannot write to {self._named}: {error.strerror}; name another OUT with -o") from None
        self._begin_to_beat()

    def _is_stale(self, holder: dict[str, Any]) -> bool:
        here = is_dead_here(holder)
        return self._age() > STALE_SECONDS if here is None else here

    def _age(self) -> float:
        """Return the seconds since the last heartbeat, by the clock of the store."""
        probe = self._path.parent / f"{LOCK}-{json.loads(self._text)['token']}"
        try:
            probe.write_text("")
            return probe.stat().st_mtime - self._path.stat().st_mtime
        except FileNotFoundError:
            return float("inf")
        finally:
            probe.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            return self._path.read_text() == self._text
        except OSError:
            return False

    def _beat_once(self) -> None:
        found = self._path.read_tagged()
        if found is None or found[0] != self._text.encode():
            return
        with contextlib.suppress(FileExistsError):  # another run took it since: a write of ours must not take it back
            self._path.write_bytes(found[0], instead_of=found[1])

    def release(self) -> None:
        """Give the lock back."""
        self._stop.set()
        with contextlib.suppress(OSError):
            if self._is_ours():
                self._path.unlink(missing_ok=True)


def _holder_in(text: bytes) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
