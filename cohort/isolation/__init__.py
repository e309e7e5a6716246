"""Child processes for what may crash, hang or eat memory: decoders of others, fed with the bytes of strangers.

A child serves one request after the other: JSON goes in, JSON and raw bytes come out, nothing is unpickled. What a
request may take of CPU time and memory is bounded by the kernel, which ends the child where it would take more.
`subprocess`, not `multiprocessing`: a Dask worker is a daemon, which may have no children of that kind.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from cohort.errors import QuarantinedError
from cohort.isolation.sandbox import ChildLimits, DiedError, Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ChildLimits", "Lease", "close_idle", "is_available"]

_RECYCLED = 5_000  # requests; decoders leak
_Key = tuple[str, ChildLimits]

_lock = threading.Lock()
_idle: dict[_Key, list[Sandbox]] = {}


def is_available() -> bool:
    """Tell whether the system bounds the memory and the time of a process: Linux does."""
    return sys.platform == "linux"


class Lease:
    """A child of one's own for a while, and a fresh one in its place where it dies.

    Parameters
    ----------
    service : str
        `module:function`, imported by the child; takes a request (dict) and returns an answer (dict) and a buffer.
    limits : ChildLimits
        What a request may cost.
    """

    def __init__(self, service: str, limits: ChildLimits) -> None:
        self._key = (service, limits)
        self._child: Sandbox | None = None

    def ask(self, request: Mapping[str, Any], most: int) -> tuple[dict[str, Any], bytearray]:
        """Have a request served.

        Parameters
        ----------
        request : mapping
            Plain data. It must tell all, for a fresh child knows nothing of earlier ones.
        most : int
            Longest answer, in bytes.

        Raises
        ------
        QuarantinedError
            If the child died of it and a fresh one too: `crash`, `timeout` or `memory`.
        """
        try:
            return self._asked(request, most, fresh=False)
        except DiedError:
            pass
        try:
            return self._asked(request, most, fresh=True)
        except DiedError as death:
            raise QuarantinedError(death.reason) from None

    def _asked(self, request: Mapping[str, Any], most: int, *, fresh: bool) -> tuple[dict[str, Any], bytearray]:
        child = self._child
        if child is None:
            child = None if fresh else _taken(self._key)
            child = child or Sandbox(*self._key)
        self._child = None  # until it has answered
        try:
            answer = child.ask(request, most)
        except BaseException:
            child.kill()
            raise
        self._child = child
        return answer

    def close(self) -> None:
        """Give the child back; the next lease goes on with it."""
        child, self._child = self._child, None
        if child is None:
            return
        if child.requests >= _RECYCLED:
            child.close()
            return
        with _lock:
            _idle.setdefault(self._key, []).append(child)


def _taken(key: _Key) -> Sandbox | None:
    """Take an idle child that is alive."""
    while True:
        with _lock:
            waiting = _idle.get(key)
            child = waiting.pop() if waiting else None
        if child is None or child.is_alive():
            return child
        child.close()


def close_idle() -> None:
    """End the children that nobody uses."""
    with _lock:
        children = [child for waiting in _idle.values() for child in waiting]
        _idle.clear()
    for child in children:
        child.close()


def _forget() -> None:
    """In a fork: the children are those of the parent; its ends of their pipes must not be held here."""
    global _lock
    _lock = threading.Lock()
    for waiting in _idle.values():
        for child in waiting:
            child.forget()
    _idle.clear()


atexit.register(close_idle)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
