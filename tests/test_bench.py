"""`cohort bench`: what it measures adds up, and two results can be compared."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from cohort import bench
from cohort.bench.measure import STAGES, _powers
from cohort.errors import ConfigError, OutputError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("bench") / "out"
    return out, bench.bench(out, None, files=40, workers=(2, 1))


@pytest.mark.cluster
def test_every_stage_is_measured_on_every_cluster(measured: tuple[Path, dict[str, Any]]) -> None:
    out, found = measured
    assert [(row["stage"], row["workers"]) for row in found["stages"]] == [(s, n) for n in (1, 2) for s in STAGES]
    assert found["corpus"]["files"] == 40 == sum(path.is_file() for path in (out / "images").rglob("*"))
    voxels = 10 * (256 * 256 * 2 + 192 * 192 + 128 * 128)
    for row in found["stages"]:
        assert row["files_per_s"] * row["seconds"] == pytest.approx(40)
        assert row["mb_per_s"] * row["seconds"] == pytest.approx(found["corpus"]["bytes"] / 1e6)
        assert 50 < row["max_rss_mb"] < 2000
        if row["stage"] in ("ingest", "reduce"):
            assert row["voxels_per_s"] * row["seconds"] == pytest.approx(voxels)
        else:
            assert row["voxels_per_s"] is None
    scan, ingest = (next(r for r in found["stages"] if r["stage"] == stage) for stage in ("scan", "ingest"))
    assert scan["bytes_read_per_file"] > 8 * 1024
    assert ingest["bytes_read_per_file"] * 40 > 2 * voxels  # 16-bit pixels are read, the headers not again
    assert all(row["efficiency"] == 1 for row in found["stages"] if row["workers"] == 1)
    assert all(value > 0 for value in found["floor"].values())


@pytest.mark.cluster
def test_what_is_written_is_what_is_returned(measured: tuple[Path, dict[str, Any]]) -> None:
    out, found = measured
    assert json.loads((out / "bench.json").read_text()) == found
    assert {"machine", "versions", "stages", "floor"} <= found.keys()
    drawing = ElementTree.parse(out / "bench.svg").getroot()
    words = {element.text for element in drawing.iter() if element.text}
    assert set(STAGES) <= words
    assert not (out / "run").exists()


@pytest.mark.cluster
def test_the_table_names_units_and_floor(measured: tuple[Path, dict[str, Any]]) -> None:
    text = bench.as_text(measured[1])
    for words in ("files/s", "Mvoxel/s", "efficiency", "floor of this machine", "peak MB", "40 phantom images"):
        assert words in text


def result(speed: float) -> dict[str, Any]:
    row = {"stage": "scan", "workers": 1, "files_per_s": 100 * speed, "mb_per_s": 10 * speed, "voxels_per_s": None}
    return {
        "machine": {"processor": f"P{speed}", "cores": 2},
        "versions": {},
        "stages": [row, row | {"workers": int(8 * speed)}],
        "floor": {"read_mb_per_s": 1000.0 * speed},
    }


def test_two_results_are_compared(tmp_path: Path, cohort_command: Callable[..., Any]) -> None:
    for name, speed in (("a", 1.0), ("b", 2.5)):
        (tmp_path / f"{name}.json").write_text(json.dumps(result(speed)))
    found = bench.compare(tmp_path / "a.json", tmp_path / "b.json")
    assert found["stages"] == [
        {"stage": "scan", "workers": 1, "files_per_s": 2.5, "mb_per_s": 2.5, "voxels_per_s": None}
    ]
    assert found["floor"] == {"read_mb_per_s": 2.5}
    done = cohort_command("bench", "--compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert done.returncode == 0, done.stderr
    assert "2.50x" in done.stdout


def test_misuse_is_said_in_one_line(tmp_path: Path, cohort_command: Callable[..., Any]) -> None:
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(SourceError, match="no result of"):
        bench.compare(tmp_path / "other.json", tmp_path / "other.json")
    with pytest.raises(SourceError, match="cannot read"):
        bench.compare(tmp_path / "gone.json", tmp_path / "gone.json")
    with pytest.raises(OutputError, match="holds something else"):
        bench.bench(tmp_path, None)
    with pytest.raises(ConfigError, match="--workers"):
        bench.bench(tmp_path / "new", None, workers=(0,))
    assert not (tmp_path / "new").exists()
    done = cohort_command("bench", str(tmp_path / "new"), "--workers", "two")
    assert done.returncode == 2
    assert not (tmp_path / "new").exists()


def test_workers_go_up_by_powers_of_two_to_the_cores() -> None:
    assert [_powers(cores) for cores in (1, 2, 6, 8)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8]]
