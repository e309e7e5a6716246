"""`cohort verify` sees every damage to what was committed, and a run makes just that again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from damage import committed_files, make_images, undetected
from running import config_with
from soaking import flip_inputs

from cohort import pipeline
from cohort.cli.group import cli
from cohort.store import RunFolder, digest_of_file, sealed
from cohort.verify import DAMAGED, INCONSISTENT, STRAY, verify


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images and the run over them."""
    folder = tmp_path_factory.mktemp("verify")
    make_images(folder / "images")
    pipeline.run([str(folder / "images")], folder / "out", config_with())
    return folder


@pytest.fixture
def out(made: Path, tmp_path: Path) -> Path:
    """A copy of the run folder, to be damaged."""
    return Path(shutil.copytree(made / "out", tmp_path / "out"))


def contents(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): digest_of_file(path) for path in committed_files(out)}


def first(out: Path, pattern: str) -> Path:
    return min(path for path in out.glob(pattern) if path.is_file())


def flip(path: Path, place: int = -9) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_run_repairs_what_is_damaged_and_says_so_and_a_first_run_has_nothing_to_repair(tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    told: list[str] = []
    for repaired in (0, 0, 1):
        if repaired:
            flip(tmp_path / "out" / "series.parquet")
        told.clear()
        pipeline.run(
            [str(tmp_path / "images")], tmp_path / "out", config_with(), progress=lambda s: told.append(s.stage)
        )
        assert told.count("repair") == repaired


@pytest.mark.parametrize("deep", [False, True])
def test_a_whole_run_has_no_problem(made: Path, deep: bool) -> None:
    assert verify(RunFolder(made / "out"), deep=deep) == []


def test_a_run_of_every_kind_of_image_has_no_problem(run_out: Path) -> None:
    """MR and PET have histograms on other scales beside those of their values."""
    assert set(RunFolder(run_out).read("histograms", ["view"])["view"].to_pylist()) > {"all"}
    assert verify(RunFolder(run_out)) == []


DAMAGES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "manifest": ("manifest/*.parquet", flip),
    "files": ("files/*.parquet", cut),
    "frames": ("frames/*.parquet", flip),
    "series": ("series.parquet", Path.unlink),
    "volumes": ("volumes.parquet", flip),
    "partials": ("statistics/partials/*.parquet", cut),
    "histograms": ("statistics/histograms.parquet", flip),
    "findings": ("findings.parquet", Path.unlink),
    "page": ("report.html", flip),
    "record of scan": ("stages/scan.json", flip),
    "record of assemble": ("stages/assemble.json", flip),
    "record of ingest": ("stages/ingest.json", flip),
    "last record": ("stages/report.json", cut),
    "run.json": ("run.json", flip),
    "schema.json": ("schema.json", flip),
    "chunk cut": ("volumes.zarr/*/*/0/c/**/*", cut),
    "chunk missing": ("volumes.zarr/*/*/0/c/**/*", Path.unlink),
    "metadata of an array": ("volumes.zarr/*/*/0/zarr.json", flip),
    "attributes of an image": ("volumes.zarr/*/*/zarr.json", flip),
    "metadata of a group": ("volumes.zarr/zarr.json", flip),
    "commit of an image": ("volumes.zarr/*/*/commit.json", flip),
    "commit of an image missing": ("volumes.zarr/*/*/commit.json", Path.unlink),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_told_and_the_next_run_makes_it_again(name: str, made: Path, out: Path) -> None:
    pattern, harm = DAMAGES[name]
    path = first(out, pattern)
    harm(path)
    problems = verify(RunFolder(out))
    assert [problem for problem in problems if problem.kind == DAMAGED]
    assert any(path.relative_to(out).as_posix().startswith(problem.artefact) for problem in problems)
    pipeline.run([str(made / "images")], out, config_with())
    assert verify(RunFolder(out), deep=True) == []
    before, after = contents(made / "out"), contents(out)
    del before["run.json"], after["run.json"]  # the one file with times
    assert after == before


def test_a_changed_bit_in_a_chunk_is_seen_by_deep_and_made_again_after_repair(made: Path, out: Path) -> None:
    flip(first(out, "volumes.zarr/*/*/0/c/**/*"), 40)
    assert verify(RunFolder(out)) == []
    command = ["verify", str(out), "--deep", "--json"]
    found = CliRunner().invoke(cli, [*command, "--repair"])
    assert found.exit_code == 3
    assert [problem["kind"] for problem in json.loads(found.stdout)["problems"]] == [DAMAGED]
    pipeline.run([str(made / "images")], out, config_with())
    assert CliRunner().invoke(cli, command).exit_code == 0


def test_what_no_commit_lists_is_stray(out: Path) -> None:
    shutil.copy(first(out, "files/*.parquet"), out / "files/part-00009-abc.parquet")
    shutil.copytree(first(out, "volumes.zarr/*/*/commit.json").parent, out / "volumes.zarr/CT/other")
    problems = verify(RunFolder(out))
    assert [(problem.kind, problem.artefact) for problem in problems] == [
        (STRAY, "files/part-00009-abc.parquet"),
        (STRAY, "volumes.zarr/CT/other"),
    ]


def _recommit(out: Path, stage: str, name: str, change: Callable[[Path], int]) -> None:
    """Change a table and commit it as it is then, as a fault of the program would."""
    path = out / name
    rows = change(path)
    record = json.loads((out / f"stages/{stage}.json").read_bytes())
    for artefact in record["artefacts"]:
        if artefact["path"] == name:
            artefact |= {"rows": rows, "size": path.stat().st_size, "sha256": digest_of_file(path)}
    (out / f"stages/{stage}.json").write_text(sealed(record))


def _without_first_row(path: Path) -> int:
    table = pq.read_table(path, partitioning=None).slice(1)
    pq.write_table(table, path)
    return int(table.num_rows)


@pytest.mark.parametrize(
    ("stage", "pattern"),
    [
        ("scan", "files/*.parquet"), ("scan", "manifest/*.parquet"), ("assemble", "series.parquet"),
        ("ingest", "volumes.parquet"), ("assemble", "frames/*.parquet"), ("ingest", "statistics/partials/*.parquet"),
        ("ingest", "statistics/outcomes/*.parquet"), ("reduce", "statistics/volumes.parquet"),
        ("reduce", "statistics/histograms.parquet"), ("check", "findings.parquet"),
    ],
)  # fmt: skip
def test_a_row_that_is_lost_before_its_commit_contradicts_other_tables(stage: str, pattern: str, out: Path) -> None:
    parts = [path for path in out.glob(pattern) if pq.read_metadata(path).num_rows]
    _recommit(out, stage, min(parts).relative_to(out).as_posix(), _without_first_row)
    problems = verify(RunFolder(out))
    assert INCONSISTENT in {problem.kind for problem in problems}
    assert DAMAGED not in {problem.kind for problem in problems}


def test_the_command_lists_what_is_wrong_and_says_what_to_do(made: Path, out: Path) -> None:
    whole = CliRunner().invoke(cli, ["verify", str(out)])
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert "is whole" in whole.stdout
    flip(out / "findings.parquet")
    found = CliRunner().invoke(cli, ["verify", str(out)])
    assert found.exit_code == 3
    assert "findings.parquet: has other content" in found.stdout
    assert "cohort run" in found.stderr
    before = contents(out)
    assert CliRunner().invoke(cli, ["verify", str(out), "--json"]).exit_code == 3
    assert contents(out) == before  # nothing is written


def test_random_faults_are_all_seen(out: Path) -> None:
    run = RunFolder(out)
    assert undetected(out, 40, 6, lambda _: bool(verify(run, deep=True))) == []


def test_random_faults_in_gzipped_images_are_all_seen(tmp_path: Path) -> None:
    found = flip_inputs(tmp_path, 60, 6)
    assert found.unseen == []
    assert found.seen + found.harmless == 60
