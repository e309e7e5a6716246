"""`--dry-run`: what it says is what a run then does, and it writes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from damage import committed_files
from running import config_with

from cohort import pipeline
from cohort.config import ScanOptions
from cohort.errors import OutputError
from cohort.forecast import AGAIN, KEPT, RUN, Forecast, as_text
from cohort.headers import Changes
from cohort.phantom import make_series
from cohort.store import digest_of_file

_STAGES = ("scan", "assemble", "ingest", "reduce", "check", "report")
_FILES = 12


@pytest.fixture
def images(tmp_path: Path) -> Path:
    make_series(tmp_path / "images", files=_FILES, rows=8, columns=8)
    return tmp_path / "images"


@pytest.fixture
def finished(images: Path, tmp_path: Path) -> Path:
    pipeline.run([str(images)], tmp_path / "out", config_with())
    return tmp_path / "out"


def foreseen(images: Path, out: Path, **options: Any) -> Forecast:
    """The forecast; what it leaves in OUT is what was there."""
    before = contents(out)
    found = pipeline.dry_run([str(images)], out, config_with(), **options)
    assert contents(out) == before
    return found


def contents(out: Path) -> dict[Path, str] | None:
    return {path: digest_of_file(path) for path in committed_files(out)} if out.exists() else None


def test_all_is_new_to_a_new_folder(images: Path, tmp_path: Path) -> None:
    found = foreseen(images, tmp_path / "out")
    assert found.files == Changes(_FILES, 0, 0, 0)
    assert found.stages == dict.fromkeys(_STAGES, RUN)


def test_a_finished_run_over_the_same_files_would_do_nothing(images: Path, finished: Path) -> None:
    found = foreseen(images, finished)
    assert found.files == Changes(0, 0, 0, _FILES)
    assert found.stages == dict.fromkeys(_STAGES, KEPT)
    before = contents(finished)
    pipeline.run([str(images)], finished, config_with())
    assert contents(finished) == before


def test_files_that_came_changed_and_went_are_counted(images: Path, finished: Path) -> None:
    first, second, *_ = sorted(images.rglob("*.dcm"))
    first.with_name("other.dcm").write_bytes(first.read_bytes())
    first.unlink()
    with second.open("ab") as file:
        file.write(b"more")
    found = foreseen(images, finished)
    assert found.files == Changes(1, 1, 1, _FILES - 2)
    assert found.stages == dict.fromkeys(_STAGES, AGAIN)
    assert "1 new, 1 changed, 10 as before; 1 vanished" in as_text(found)
    pipeline.run([str(images)], finished, config_with())
    assert foreseen(images, finished).files == Changes(0, 0, 0, _FILES)


def test_stages_from_a_missing_commit_on_would_run(images: Path, finished: Path) -> None:
    (finished / "stages" / "check.json").unlink()
    found = foreseen(images, finished)
    assert found.stages == dict.fromkeys(_STAGES[:4], KEPT) | {"check": RUN, "report": AGAIN}


def test_what_is_damaged_would_be_made_again(images: Path, finished: Path) -> None:
    part = next((finished / "frames").glob("*.parquet"))
    part.write_bytes(part.read_bytes()[:-1])
    found = foreseen(images, finished)
    assert found.damaged == 1
    assert found.stages["scan"] == KEPT
    assert found.stages["assemble"] == found.stages["ingest"] == AGAIN


def test_a_restart_would_begin_anew(images: Path, finished: Path) -> None:
    found = foreseen(images, finished, restart=True)
    assert found.files == Changes(_FILES, 0, 0, 0)
    assert set(found.stages.values()) == {RUN}


def test_what_a_run_refuses_is_refused(images: Path, finished: Path) -> None:
    from dataclasses import replace

    other = replace(config_with(), scan=ScanOptions(shard_size=77))
    with pytest.raises(OutputError, match=r"scan\.shard_size \(2000 before, 77 now\)"):
        pipeline.dry_run([str(images)], finished, other)


def test_members_of_an_archive_are_held_against_those_listed_before(images: Path, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(images / "more.zip", "w") as archive:
        for number, path in enumerate(sorted(images.rglob("*.dcm"))[:3]):
            archive.write(path, f"{number}.dcm")
    pipeline.run([str(images)], tmp_path / "out", config_with())
    assert foreseen(images, tmp_path / "out").files == Changes(0, 0, 0, _FILES + 4)


def test_the_command_says_it_in_words_and_in_json(images: Path, tmp_path: Path, cohort_command: Any) -> None:
    call = ["run", str(images), "-o", str(tmp_path / "out"), "--dry-run", "--scheduler", "sync"]
    said = cohort_command(*call)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.splitlines() == [
        "files    12 new",
        "run      scan, assemble, ingest, reduce, check, report",
        "on       this process (synchronous)",
    ]
    plain = json.loads(cohort_command(*call, "--json").stdout)
    assert plain["files"] == {"new": 12, "changed": 0, "vanished": 0, "unchanged": 0}
    assert plain["stages"]["ingest"] == "run"
    assert not (tmp_path / "out").exists()
