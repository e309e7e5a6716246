"""A cohort, what a run of this machine alone makes of it, and the same run elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from killing import contents_of

ALL = bool(os.environ.get("COHORT_CLUSTER_TESTS"))  # set by scripts/cluster-test

_PATIENCE = 900.0  # seconds after which a run counts as hanging


class Cohort(NamedTuple):
    """Images, the options of results that every run over them has, and the digests of what they give."""

    name: str
    images: Path
    options: dict[str, Any]
    expected: dict[str, str]
    seconds: float

    def difference(self, out: Path) -> list[str]:
        """Return the names of the artefacts that are not those of the local run; empty if all are."""
        found = contents_of(out)
        return sorted(name for name in found.keys() | self.expected if found.get(name) != self.expected.get(name))


def cohort_of(name: str, images: Path, folder: Path, scheduler: str = "local", **options: Any) -> Cohort:
    """Run over images on this machine alone."""
    bare = Cohort(name, images, options, {}, 0.0)
    began = time.monotonic()
    with begun(bare, folder / "local", {"scheduler": scheduler}) as process:
        ended, said = finished(process)
    assert ended == 0, said
    return bare._replace(expected=contents_of(folder / "local"), seconds=time.monotonic() - began)


@contextmanager
def begun(
    cohort: Cohort, out: Path, cluster: dict[str, Any], prefix: Sequence[str] = (), **popen: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start `cohort run` with the options of a cluster; it is killed at the end of the block if it still runs."""
    settings = out.with_name(f"{out.name}.yaml")
    settings.write_text(yaml.safe_dump(cohort.options | {"cluster": cluster}))
    command = [*prefix, sys.executable, "-m", "cohort", "run", str(cohort.images), "-o", str(out), "--config"]
    process = subprocess.Popen(
        [*command, str(settings)], cwd=out.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **popen
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end of a run; return its status and what it said."""
    _, said = process.communicate(timeout=_PATIENCE)
    return process.returncode, said


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something to hold while a run goes on; it is a fault of the test if the run ends first."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if process.poll() is not None:
            raise AssertionError(f"the run ended with {process.returncode} before: {process.communicate()[1]}")
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def has_parts(folder: Path) -> bool:
    """Tell whether a stage has committed something."""
    return any(folder.glob("part-*"))
