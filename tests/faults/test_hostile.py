"""One run over the whole catalogue of hostile objects, each of them held to what must become of it.

The catalogue is in `hostile_headers`, `hostile_values` and `hostile_nifti`, with the bombs and the lying codestreams of
other tests; docs/hostile.md lists it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
from hostile_case import CANARY
from hostile_catalogue import catalogue, is_nifti

from cohort.phantom import PhantomTruth
from cohort.store import RunFolder

CATALOGUE = catalogue()
LIMIT_MIB = 4096
"""Largest volume of the run: a codestream of 65,535 x 65,535 pixels is below it, and refused for its frame."""

Row = dict[str, Any]


class Ran(NamedTuple):
    """What a run over the catalogue, with good images among it, left behind."""

    out: Path
    said: str
    """Standard output and standard error."""
    paths: dict[str, str]
    """Path of the object that is judged, by the name of its case."""
    listed: int


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, truth: PhantomTruth) -> Ran:
    top = tmp_path_factory.mktemp("hostile")
    paths = {}
    for number, (title, case) in enumerate(CATALOGUE.items()):
        folder = top / "images" / f"case-{number:03d}"
        folder.mkdir(parents=True)
        for name, data in case.files(number).items():
            paths.setdefault(title, f"{folder.name}/{name}")
            (folder / name).write_bytes(data)
    shutil.copytree(truth.root, top / "images" / "good")
    listed = sum(path.is_file() for path in (top / "images").rglob("*"))
    (top / "run.yaml").write_text(f"ingest:\n  volume_limit_mib: {LIMIT_MIB}\n")
    words = ["run", str(top / "images"), "-o", str(top / "out"), "--config", str(top / "run.yaml")]
    said = _said(*words, "--scheduler", "local", "--workers", "2") + _said("show", str(top / "out"))
    shutil.rmtree(top / "images")  # 700 MB
    return Ran(top / "out", said, paths, listed)


def _said(*words: str) -> str:
    """Run the command line; return what it said."""
    command = [sys.executable, "-m", "cohort", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def outcome(row: Row) -> str:
    return ": ".join(str(row[part]) for part in ("status", "reason") if row.get(part))


@pytest.fixture(scope="module")
def found(ran: Ran) -> dict[str, tuple[str, str | None]]:
    """Outcome of the row and of the volume of every file, by its path."""
    run = RunFolder(ran.out)
    volumes = {row["volume_id"]: outcome(row) for row in run.read("volumes").to_pylist()}
    frames = (row for part in run.parts("frames") for row in pq.read_table(part, partitioning=None).to_pylist())
    of_file = {row["path_raw"]: volumes[row["volume_id"]] for row in frames}
    rows = run.read("files").select(["path", "path_raw", "status", "reason"]).to_pylist()
    assert len(rows) == len({row["path"] for row in rows}) == ran.listed
    return {row["path"]: (outcome(row), of_file.get(row["path_raw"])) for row in rows}


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_case_ends_as_it_must(name: str, ran: Ran, found: dict[str, tuple[str, str | None]]) -> None:
    case = CATALOGUE[name]
    assert found[ran.paths[name]] == (case.row, case.volume)


def test_good_images_among_them_are_what_they_are_alone(ran: Ran, run_out: Path) -> None:
    """Every column of their volumes, which hold the digest of the voxels, and of their statistics is the same."""
    for table in ("volumes.parquet", "statistics/volumes.parquet"):
        alone, among = (by_volume(out / table) for out in (run_out, ran.out))
        assert len(alone) > 50
        assert {name: among.get(name) for name in alone} == alone


def by_volume(path: Path) -> dict[str, str]:
    """Rows as text, for NaN equals nothing."""
    left_out = ("source",)
    return {
        row["volume_id"]: repr({k: v for k, v in row.items() if k not in left_out})
        for row in pq.read_table(path).to_pylist()
    }


def test_the_run_is_whole(ran: Ran) -> None:
    _said("verify", str(ran.out), "--deep")


# -- nothing is quoted ---------------------------------------------------------------------------------------------


def test_no_message_and_no_reason_quotes_a_header(ran: Ran) -> None:
    run = RunFolder(ran.out)
    texts = {"stdout and stderr": ran.said}
    for name in ("report.html", "report.json", "run.json"):
        texts[name] = (ran.out / name).read_text(encoding="utf-8")
    for table in ("files", "volumes"):
        texts[f"reasons of {table}"] = "\n".join(filter(None, run.read(table)["reason"].to_pylist()))
    findings = run.read("findings")
    texts["evidence"] = "\n".join(findings["evidence"].to_pylist())
    texts["hints"] = "\n".join(findings["hint"].to_pylist())
    assert {name: quoted for name, text in texts.items() if (quoted := _quoted(text))} == {}
    assert "Traceback" not in ran.said
    assert "Warning" not in ran.said


def test_the_words_looked_for_are_in_the_tables(ran: Ran) -> None:
    """What is not quoted was read: the search above can find something."""
    files = RunFolder(ran.out).read("files")
    for name in ("PatientName", "PatientID", "StudyDescription", "unparsed"):
        if name in files.column_names:
            assert len(_quoted("\n".join(map(str, files[name].to_pylist())))) >= 10, name


def _quoted(text: str) -> list[str]:
    return [line.strip()[:200] for line in text.splitlines() if CANARY in line]


# -- the catalogue itself ------------------------------------------------------------------------------------------


def test_the_catalogue_is_as_large_as_promised() -> None:
    nifti = [name for name in CATALOGUE if is_nifti(name)]
    assert len(CATALOGUE) - len(nifti) >= 150
    assert len(nifti) >= 60
    assert all(case.stands_for for case in CATALOGUE.values())


def test_every_row_of_the_table_of_threats_has_a_case() -> None:
    """Rows 1 to 25 and 36; 12 (decoders that crash), 25 and 26 are injected by tests of their own."""
    told = Counter(number for case in CATALOGUE.values() for number in re.findall(r"row (\d+)", case.stands_for))
    assert set(map(str, (*range(1, 25), 36))) - set(told) <= {"10", "11", "12"}
