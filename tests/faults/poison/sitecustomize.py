"""Decoders that crash, hang and eat memory, for real, in the child processes of `cohort` alone.

Python imports this module by itself where its folder is on PYTHONPATH; `cohort` has no place for it. An image is
poison by its number of columns.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path

POISON = {101: "crash", 103: "memory", 105: "timeout", 107: "abort", 109: "once", 111: "killed"}


def strike(kind: str) -> None:
    log = os.environ["POISON_LOG"]
    struck = Path(log).exists() and f"{kind}\n" in Path(log).read_text()
    with open(log, "a") as file:
        file.write(f"{kind}\n")
    if kind == "crash" or (kind == "once" and not struck):
        ctypes.string_at(0)
    while kind == "memory":
        _EATEN.append(bytearray(16 << 20))
    while kind == "timeout":
        pass
    if kind == "abort":
        os.write(2, b"memory allocation of 4294836225 bytes failed\n")
        os.abort()
    if kind == "killed":
        os.kill(os.getpid(), 9)
        time.sleep(60)


_EATEN: list[bytearray] = []

if any("cohort.isolation.child" in word for word in sys.orig_argv):
    import cohort.readers

    _open = cohort.readers.open_frames

    class Poisoned:
        def __init__(self, file, row, **limits):  # type: ignore[no-untyped-def]
            self._frames = _open(file, row, **limits)
            self._kind = POISON.get(row["Columns"])
            self.decoder = self._frames.decoder

        def read(self, frame):  # type: ignore[no-untyped-def]
            if self._kind is not None:
                strike(self._kind)
            return self._frames.read(frame)

        def close(self) -> None:
            self._frames.close()

    cohort.readers.open_frames = Poisoned
