"""Services that tests ask in child processes."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any


def serve(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    return _SERVICES[request["wanted"]](request)


def _echo(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    return {"pid": os.getpid(), "said": request.get("text")}, b"x" * request.get("size", 0)


def _print(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    sys.stdout.write("noise" * 1000 + "\n")
    sys.stdout.flush()
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):  # no more than a megabyte is kept
            os.write(descriptor, b"noise from C" * 100_000)
    return {"pid": os.getpid()}, b""


def _segfault(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    path = request.get("unless")
    if path is None or not Path(path).exists():
        if path is not None:
            Path(path).touch()
        ctypes.string_at(0)
    return {"pid": os.getpid()}, b""


def _memory(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    blocks = []
    while True:
        blocks.append(bytearray(1 << 24))


def _native_memory(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def _spin(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    while True:
        pass


def _sleep(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    while True:
        time.sleep(3600)


def _exit(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    os._exit(0)


def _signals(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    return {"core": resource.getrlimit(resource.RLIMIT_CORE)[0]}, b""


def _raise(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    raise GeneratorExit("SECRET")


def _garbage(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    pipes = [int(link.name) for link in Path("/proc/self/fd").iterdir() if str(link.resolve()).find("pipe:") >= 0]
    os.write(max(pipes), b"\xff" * 64)
    return {}, b""


_SERVICES = {
    "echo": _echo,
    "print": _print,
    "segfault": _segfault,
    "memory": _memory,
    "native memory": _native_memory,
    "spin": _spin,
    "sleep": _sleep,
    "exit": _exit,
    "signals": _signals,
    "raise": _raise,
    "garbage": _garbage,
}
