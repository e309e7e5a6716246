"""Freed memory stays in a worker while voxels pass through it, and goes back afterwards."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc hands memory back so")

_FAULTS = """
import json, resource
import numpy as np
from cohort.cluster.heap import kept_heap

def faults():
    np.ones(2 << 20, np.uint8)  # what is freed now is what the next ones may use
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        np.ones(2 << 20, np.uint8)  # NumPy asks for huge pages only above
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

found = {"before": faults()}
with kept_heap():
    with kept_heap():  # as of another thread
        pass
    found["inside"] = faults()
    blocks = [np.ones(1 << 20, np.uint8) for _ in range(64)]
    last = np.ones(1 << 20, np.uint8)
    blocks.clear()
    found["kept"] = resident()
found["left"] = resident()
del last
found["after"] = faults()
print(json.dumps(found))
"""
_PAGES = 10 * (2 << 20) // os.sysconf("SC_PAGESIZE")  # that ten arrays of 2 MiB have


def _run(code: str = _FAULTS, **environment: str) -> dict[str, int]:
    usual = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=usual | environment, capture_output=True, text=True, check=True, timeout=120)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def test_memory_is_kept_meanwhile_where_a_worker_hands_it_back_at_once() -> None:
    """As Dask starts its workers: every array comes as new pages, but not inside."""
    found = _run(MALLOC_TRIM_THRESHOLD_="65536")

    assert found["before"] > 0.9 * _PAGES  # else there is nothing to mend
    assert found["inside"] < 0.1 * _PAGES
    assert found["after"] > 0.9 * _PAGES
    assert found["kept"] - found["left"] > 48 << 20  # of 64 MiB; the block that is in use lies above them


def test_nothing_changes_where_nobody_asked_for_it() -> None:
    """Glibc finds out by itself how large the arrays of a process are."""
    found = _run()

    assert found["inside"] < 0.1 * _PAGES
    assert found["after"] < 0.1 * _PAGES


def test_what_dask_enters_for_its_workers_is_nothing_asked_of_a_client() -> None:
    """Else leaving would make a client as slow as its workers were."""
    found = _run("import os; os.environ['MALLOC_TRIM_THRESHOLD_'] = '65536'" + _FAULTS)

    assert found["after"] < 0.1 * _PAGES
