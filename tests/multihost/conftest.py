"""Cohorts and networks for the tests on several hosts, and the table of what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import network as networks
import pytest
from runs import ALL, Cohort, cohort_of

from cohort.phantom import make_cohort, make_series

_HAPPENED: list[tuple[str, str, float, str]] = []


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A small series, where time is short; else the phantom cohort and the real images."""
    if "cohort" in metafunc.fixturenames:
        metafunc.parametrize("cohort", ["phantom", "real"] if ALL else ["series"], indirect=True, scope="session")


@pytest.fixture(scope="session")
def cohort(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Images and what a run of this machine alone makes of them, in small parts."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "real":
        images: Path = request.getfixturevalue("real_images")
        return cohort_of("real", images, folder, scan={"shard_size": 50}, ingest={"batch_mib": 4})
    images = folder / "images"
    if request.param == "phantom":
        make_cohort(images)
        return cohort_of("phantom", images, folder, scan={"shard_size": 20}, ingest={"batch_mib": 0.1})
    make_series(images, files=60, rows=16, columns=16)
    return cohort_of("series", images, folder, "sync", scan={"shard_size": 2}, ingest={"batch_mib": 0.1})


@pytest.fixture(scope="session")
def two_hosts() -> Iterator[networks.Network]:
    """A head and two hosts."""
    reason = networks.lacking()
    if reason:
        pytest.skip(reason)
    with networks.network(2) as made:
        yield made


@pytest.fixture
def happening(cohort: Cohort) -> Callable[..., object]:
    """Take note of what a test did: `with happening("what") as note: note.append("...")`."""

    @contextmanager
    def happening(what: str) -> Iterator[list[str]]:
        notes: list[str] = []
        began = time.monotonic()
        try:
            yield notes
        except BaseException:
            notes.insert(0, "FAILED")
            raise
        finally:
            _HAPPENED.append((what, cohort.name, time.monotonic() - began, "; ".join(notes)))

    return happening


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _HAPPENED:
        return
    terminalreporter.section("what happened")
    width = max(len(row[0]) for row in _HAPPENED)
    for what, name, seconds, notes in _HAPPENED:
        terminalreporter.write_line(f"{what:{width}}  {name:8} {seconds:6.1f} s  {notes}")
