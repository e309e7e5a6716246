"""Fixtures that several test modules share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from running import config_with

from cohort import pipeline
from cohort.phantom import PhantomTruth, make_cohort

if TYPE_CHECKING:
    from collections.abc import Callable

hypothesis.settings.register_profile("cohort", deadline=None)  # a busy machine makes no property false
hypothesis.settings.load_profile("cohort")


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    """A phantom cohort with every trap."""
    return make_cohort(tmp_path_factory.mktemp("phantom") / "images")


@pytest.fixture(scope="session")
def run_out(truth: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the phantom cohort, made in this process."""
    out = tmp_path_factory.mktemp("run") / "out"
    pipeline.run([str(truth.root)], out, config_with())
    return out


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images, where there is one."""
    folder = os.environ.get("COHORT_DATA")
    if not folder:
        pytest.skip("COHORT_DATA names no folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def real_out(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the real images, made by the command with its default local cluster."""
    import subprocess
    import sys

    out = tmp_path_factory.mktemp("real") / "out"
    command = [sys.executable, "-m", "cohort", "run", str(real_images), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return out


@pytest.fixture
def cohort_command() -> Callable[..., object]:
    """Run the command line in a process of its own; returns status, stdout and stderr."""
    import subprocess
    import sys

    def call(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cohort", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload]

    return call
