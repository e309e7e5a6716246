"""One child process, seen from its parent."""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from cohort.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LENGTHS = struct.Struct("<II")  # of the JSON and of the bytes behind it
_LONGEST_JSON = 1 << 20
_WAITS = 5  # times the CPU time: a machine may be busy, but a child that sleeps hangs
_START_SECONDS = 120
_TAIL = 1 << 16  # bytes of what a child said last
_PIPE_BYTES = 1 << 20
# What allocators say before they abort (Rust, C++, glibc); nothing of it is shown or kept.
_MEMORY_WORDS = (b"memory allocation of", b"bad_alloc", b"annot allocate memory", b"out of memory", b"MemoryError")
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Memory of a frame is kept for the next one: to map it anew each time costs as much as to decode RLE.
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
}
_BOOT = (
    "import json, sys; path, *told = json.loads(sys.argv[1]); sys.path[:] = path; "
    "from cohort.isolation.child import main; main(*told)"
)


class ChildLimits(NamedTuple):
    """What one request may cost a child."""

    seconds: int
    """CPU time. The wall clock may show five times as much."""
    memory: int
    """Bytes beyond what the interpreter and its imports take."""


class DiedError(Exception):
    """A child died of a request: `crash`, `timeout` or `memory`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sandbox:
    """One child process.

    Parameters
    ----------
    service : str
        `module:function` that serves the requests.
    limits : ChildLimits
        What one request may cost.
    """

    def __init__(self, service: str, limits: ChildLimits) -> None:
        self.requests = 0
        self._wait = _WAITS * limits.seconds
        self._said = os.memfd_create("said")  # what it prints, decoders and interpreters alike; bounded by the child
        told = json.dumps([[os.fspath(place) for place in sys.path], service, *limits])
        try:
            # What runs is this package, in the interpreter that runs already.
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-c", _BOOT, told],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the parent
                env=os.environ | _ENVIRONMENT,
            )
        except OSError as error:
            os.close(self._said)
            raise RunError(f"cannot start a process to decode in: {error.strerror}; free memory or processes") from None
        assert self._process.stdin
        assert self._process.stdout
        self._requests, self._answers = self._process.stdin, self._process.stdout
        _widen(self._answers.fileno())
        self._await_ready()

    def _await_ready(self) -> None:
        """Wait until all is imported; that is no part of what a request costs."""
        try:
            self._read(1, time.monotonic() + _START_SECONDS)
        except (OSError, EOFError):  # a timeout is an OSError
            self.kill()
            raise RunError(
                "the process to decode in does not start; try again, or with `ingest.isolate: false`"
            ) from None

    def is_alive(self) -> bool:
        """Tell whether it runs."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], most: int) -> tuple[dict[str, Any], bytearray]:
        """Have a request served; raises DiedError."""
        self.requests += 1
        deadline = time.monotonic() + self._wait
        if os.fstat(self._said).st_size > _TAIL:
            os.ftruncate(self._said, 0)
            os.lseek(self._said, 0, os.SEEK_SET)  # of the child too
        told = json.dumps(request).encode()
        try:
            self._write(_LENGTHS.pack(len(told), 0) + told)
            length, size = _LENGTHS.unpack(self._read(_LENGTHS.size, deadline))
            if length > _LONGEST_JSON or size > most:
                raise DiedError("memory")
            answer = json.loads(self._read(length, deadline))
            block = self._read(size, deadline)
        except TimeoutError:
            raise DiedError("timeout") from None
        except (OSError, EOFError):
            raise DiedError(self._cause_of_death()) from None
        except ValueError:
            raise DiedError("crash") from None
        if not isinstance(answer, dict):
            raise DiedError("crash")
        if answer.get("memory"):
            raise DiedError("memory")
        return answer, block

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._requests.write(view) :]

    def _read(self, count: int, deadline: float) -> bytearray:
        data = bytearray(count)
        view = memoryview(data)
        poll = select.poll()
        poll.register(self._answers, select.POLLIN)
        while view:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            done = self._answers.readinto(view)  # type: ignore[attr-defined]
            if not done:
                raise EOFError
            view = view[done:]
        return data

    def _cause_of_death(self) -> str:
        try:
            code = self._process.wait(timeout=self._wait)
        except subprocess.TimeoutExpired:
            return "timeout"
        if code == -signal.SIGXCPU:
            return "timeout"
        size = os.fstat(self._said).st_size
        said = os.pread(self._said, _TAIL, max(0, size - _TAIL))
        # Who is killed without having done anything forbidden is killed by the kernel, to get its memory.
        return "memory" if code == -signal.SIGKILL or any(word in said for word in _MEMORY_WORDS) else "crash"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Let it end: it does when nobody asks any more."""
        self._requests.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        os.close(self._said)

    def forget(self) -> None:
        """Close what belongs to another process: this one is a fork of it."""
        self._requests.close()
        self._answers.close()
        os.close(self._said)
        self._process.returncode = 0  # it is not ours to wait for


def _widen(pipe: int) -> None:
    """Let a frame through in few steps, where the system lets it."""
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        return
