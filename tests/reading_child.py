"""Read objects as a scan does, each in a process of its own, and tell what became of it and what it cost.

Paths come by line on standard input, answers go by line to standard output. Every object is read by a fork, which
begins with what Python and the imports take: the peak it reports holds them too.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from pathlib import Path

from cohort.config import Config
from cohort.headers.reading import rows_of
from cohort.readers import dicom_walker, nifti, without_warnings

_IMPORTED = (dicom_walker, nifti)
_SECONDS = 20  # of CPU time; then the fork is killed
_ADDRESSES = 4 << 30


def main() -> None:
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        child = os.fork()
        if not child:
            try:
                print(json.dumps(answer(path)), flush=True)  # noqa: T201
                os._exit(0)
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        if status:
            print(json.dumps({"outcome": f"died of {status}"}), flush=True)  # noqa: T201


def answer(path: Path) -> dict[str, object]:
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    name, found = path.name, path.stat()
    entry = {"source": str(path.parent), "path": name, "path_raw": name.encode()}
    entry |= {"size": found.st_size, "modified": found.st_mtime_ns}
    before = seconds()
    with without_warnings():
        row = next(rows_of([entry | {"problem": None}], Config()))
    outcome = ": ".join(str(row[part]) for part in ("status", "reason") if row.get(part))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # KiB to MiB
    return {"outcome": outcome, "seconds": seconds() - before, "peak_mib": peak}


def seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


main()
