"""The child: bounds itself, then serves requests until nobody asks any more."""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

READY = b"R"
_LENGTHS = struct.Struct("<II")
_IDLE_SECONDS = 120  # then it ends: a worker may live for days
_MOST_SAID = 1 << 20  # bytes that may be written to any file, which is what decoders print
_UNLIMITED = resource.RLIM_INFINITY


def main(service: str, seconds: int, memory: int) -> None:
    """Serve requests.

    Parameters
    ----------
    service : str
        `module:function`; a function `prepare` of the module is called first, where there is one.
    seconds : int
        CPU time of a request; the kernel ends the process where it takes more.
    memory : int
        Bytes beyond what is taken before the first request.
    """
    requests, answers = os.dup(0), os.dup(1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)  # decoders in C may print: not among the answers
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)  # it ends with its parent
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold patient data
    resource.setrlimit(resource.RLIMIT_FSIZE, (_MOST_SAID, _MOST_SAID))
    name, function = service.split(":")
    module = importlib.import_module(name)
    serve = getattr(module, function)
    getattr(module, "prepare", int)()  # what is imported then is no part of what a request costs
    taken = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    _send(answers, READY)
    while (request := _received(requests)) is not None:
        _allow(seconds)
        answer, block = _served(serve, request)
        view = memoryview(block).cast("B")
        told = json.dumps(answer).encode()
        _send(answers, _LENGTHS.pack(len(told), len(view)) + told)
        _send(answers, view)
        if answer.get("memory"):
            return  # what is left of the heap is not to be relied upon


def _served(serve: Callable[[dict[str, Any]], tuple[dict[str, Any], Any]], request: Any) -> tuple[dict[str, Any], Any]:
    try:
        return serve(request)
    except MemoryError:
        return {"memory": True}, b""
    except BaseException as error:  # also a panic of a decoder in Rust
        return {"rejected": f"undecodable: {type(error).__name__}"}, b""


def _allow(seconds: int) -> None:
    """Allow so much CPU time from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + 1 + seconds, _UNLIMITED))


def _received(pipe: int) -> Any:
    """Return the next request, None where there is none for long or nobody to send one."""
    if not select.select([pipe], [], [], _IDLE_SECONDS)[0]:
        return None
    head = _read(pipe, _LENGTHS.size)
    if head is None:
        return None
    told = _read(pipe, _LENGTHS.unpack(head)[0])
    return None if told is None else json.loads(told)


def _read(pipe: int, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        block = os.read(pipe, count - len(data))
        if not block:
            return None
        data += block
    return data


def _send(pipe: int, data: Any) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]
