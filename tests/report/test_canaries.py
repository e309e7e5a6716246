"""Nothing that could name a patient leaves the tables: canaries planted everywhere, looked for everywhere else."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import TYPE_CHECKING

import pytest
from canaries import DIGITS, MARK, plant
from dask_ends import dask_processes

from cohort import report
from cohort.config import ReportOptions
from cohort.report import safe
from cohort.store import RunFolder

if TYPE_CHECKING:
    from pathlib import Path

# What the files hold beside canaries: a birth date, an age above 90, a day.
PRECISE = ("19370213", "20240229", "093Y", "^DOE")


class Shared:
    """What a run over the canaries may be seen by others."""

    def __init__(self, folder: Path) -> None:
        source, self.out = folder / "source", folder / "out"
        source.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom and nibabel on the values we write
            self.planted = plant(source)
        self.texts = _ran("run", str(source), "-o", str(self.out), "--scheduler", "local", "--workers", "1")
        self.texts |= _ran("show", str(self.out))
        card = _ran("report", str(self.out), "--card", "claim", "--scheduler", "sync")
        self.texts |= {name.replace("report", "the card"): text for name, text in card.items()}
        self.texts["report.html"] = (self.out / "report.html").read_text(encoding="utf-8")
        self.texts["report.json"] = (self.out / "report.json").read_text(encoding="utf-8")
        page = folder / "compared.html"  # with itself: everything occurs in both
        self.texts |= _ran("compare", str(self.out), str(self.out), "--html", str(page))
        self.texts["compared.html"] = page.read_text(encoding="utf-8")
        with dask_processes(folder) as address:  # as on a cluster, where logs are kept
            self.texts |= _ran("scan", str(source), "-o", str(folder / "elsewhere"), "--scheduler", address)
            for stage in ("assemble", "ingest", "reduce", "check", "report"):
                self.texts |= _ran(stage, str(folder / "elsewhere"), "--scheduler", address)
        self.texts |= {p.name: p.read_text("utf-8", "replace") for p in folder.rglob("*.log")}


def _ran(*words: str) -> dict[str, str]:
    """Run the command line with its talk on a pipe; return what it said."""
    done = subprocess.run([sys.executable, "-m", "cohort", *words], capture_output=True, text=True, check=True)
    return {f"stdout of {words[0]}": done.stdout, f"stderr of {words[0]}": done.stderr}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    return Shared(tmp_path_factory.mktemp("canaries"))


def hits(text: str) -> list[str]:
    """Return the lines, shortened, in which a canary or anything precise stands."""
    wrong = (MARK, DIGITS, *PRECISE)
    return [line.strip()[:200] for line in text.splitlines() if any(w.casefold() in line.casefold() for w in wrong)]


def test_enough_is_planted_and_arrives_in_the_tables(shared: Shared) -> None:
    assert len(set(shared.planted)) >= 200
    run = RunFolder(shared.out)
    tables = {name: str(run.read(name).to_pylist()) for name in ("files", "series", "volumes", "findings")}
    arrived = {canary for canary in shared.planted if any(canary in text for text in tables.values())}
    # Private tags and free text of no use are not even read.
    assert len(arrived) >= 110


def test_no_canary_leaves(shared: Shared) -> None:
    assert {name: found for name, text in shared.texts.items() if (found := hits(text))} == {}
    assert "volumes" in shared.texts["report.html"]
    assert "in both" in shared.texts["stdout of compare"]
    assert "CLAIM 34" in shared.texts["stdout of the card"]
    assert "Start worker at" in shared.texts["worker-0.log"]
    assert "Register worker" in shared.texts["scheduler.log"]


def test_looking_finds_them_where_the_words_are_not_filtered(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe.SafeRun, "_told", lambda self, table, name, values: values)
    for text in report.build(RunFolder(shared.out), ReportOptions()):
        assert len(hits(text)) >= 1
        assert len({canary for canary in shared.planted if canary in text}) >= 10


def test_looking_finds_them_where_identifiers_are_not_numbered(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "_check", lambda table, names, privacy: None)
    run = safe.SafeRun(RunFolder(shared.out))
    monkeypatch.setattr(run, "_told", lambda table, name, values: values)
    found = run.read("files", ["path", "SeriesDescription", "StudyInstanceUID"])
    assert all(hits(str(found[name].to_pylist())) for name in found.column_names)


def test_words_that_many_patients_share_are_shown(shared: Shared) -> None:
    """A word of a header is shown from `min_cell` patients on: here each has a single one."""
    _, text = report.build(RunFolder(shared.out), ReportOptions(min_cell=1))
    assert MARK in text
    assert DIGITS not in text
