"""The shuffle: the same tables whatever the scheduler, the order of listing and the number of buckets."""

from __future__ import annotations

import hashlib
import random
import shutil
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from running import config_with

from cohort import pipeline
from cohort.config import Config, config_from
from cohort.errors import ConservationError
from cohort.store import RunFolder
from cohort.volumes import assemble, shuffle

if TYPE_CHECKING:
    from pathlib import Path

    from cohort.phantom import PhantomTruth

TABLES = ("series", "volumes", "frames")


def with_buckets(bucket_rows: int, scheduler: str = "sync", **cluster: object) -> Config:
    sections = {"scan": {"shard_size": 40}, "assemble": {"bucket_rows": bucket_rows}}
    return config_from(sections | {"cluster": {"scheduler": scheduler, **cluster}})


@pytest.fixture(scope="module")
def scanned(truth: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The headers of the phantom cohort in many parts, so that series are cut."""
    out = tmp_path_factory.mktemp("assemble") / "scanned"
    pipeline.scan([str(truth.root)], out, with_buckets(100))
    assert len(RunFolder(out).parts("files")) > 10
    return out


def assembled(scanned: Path, out: Path, config: Config) -> RunFolder:
    """Assemble a copy of the scanned run."""
    shutil.copytree(scanned, out)
    info = RunFolder(out).info()
    RunFolder(out).write_info(info | {"config": config.as_dict()})
    pipeline.stage("assemble", out, config)
    return RunFolder(out)


def tables(run: RunFolder) -> dict[str, pa.Table]:
    """All rows in the order they are stored, without the number of the bucket."""
    found = {name: run.read(name) for name in TABLES}
    return found | {"volumes": found["volumes"].drop_columns(["frames_part"])}


def digests(run: RunFolder) -> dict[str, str]:
    paths = [run.path / name for name in ("series.parquet", "volumes.parquet")] + run.parts("frames")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def whole(scanned: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The tables from one bucket, which needs no shuffle."""
    run = assembled(scanned, tmp_path_factory.mktemp("assemble") / "whole", with_buckets(1_000_000))
    assert len(run.parts("frames")) == 1
    return tables(run)


@pytest.mark.parametrize("bucket_rows", [10, 100, 500])
def test_any_number_of_buckets_gives_the_same_rows_in_the_same_order(
    scanned: Path, whole: dict[str, pa.Table], tmp_path: Path, bucket_rows: int
) -> None:
    run = assembled(scanned, tmp_path / "out", with_buckets(bucket_rows))
    assert len(run.parts("frames")) > 1
    found = tables(run)
    for name in TABLES:
        assert found[name].equals(whole[name]), name


def test_volumes_know_the_part_of_their_frames(scanned: Path, tmp_path: Path) -> None:
    run = assembled(scanned, tmp_path / "out", with_buckets(100))
    of_volume = dict(zip(*run.read("volumes", ["volume_id", "frames_part"]).to_pydict().values(), strict=True))
    parts = run.parts("frames")
    assert set(of_volume.values()) <= set(range(len(parts)))
    for number, part in enumerate(parts):
        assert {of_volume[v] for v in pq.read_table(part)["volume_id"].to_pylist()} <= {number}


@pytest.mark.cluster
@pytest.mark.parametrize(("scheduler", "workers"), [("threads", None), ("local", 1), ("local", 2)])
def test_every_scheduler_writes_the_same_bytes(
    scanned: Path, tmp_path: Path, scheduler: str, workers: int | None
) -> None:
    alone = assembled(scanned, tmp_path / "sync", with_buckets(100))
    together = assembled(scanned, tmp_path / "other", with_buckets(100, scheduler, workers=workers))
    assert digests(together) == digests(alone)


def test_the_order_of_the_rows_does_not_matter(scanned: Path, whole: dict[str, pa.Table], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "out")
    shutil.copytree(scanned, run.path)
    record = run.committed("scan")
    mixed = run.read("files")
    order = list(range(mixed.num_rows))
    random.Random(4).shuffle(order)
    artefact = run.write_table("files/part-00000-mixed.parquet", mixed.take(order))
    run.commit("scan", "mixed", [artefact], record["counts"])
    assemble(run, with_buckets(100))
    found = tables(run)
    for name in TABLES:
        assert found[name].equals(whole[name]), name


def test_a_row_lost_on_the_way_stops_the_run(scanned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gather = shuffle.gather
    monkeypatch.setattr(shuffle, "gather", lambda *arguments: gather(*arguments).slice(1))
    with pytest.raises(ConservationError, match="images were scanned"):
        assembled(scanned, tmp_path / "out", with_buckets(100))
    assert RunFolder(tmp_path / "out").record("assemble") is None


def test_frames_of_multi_frame_objects_count_for_the_buckets(truth: PhantomTruth, tmp_path: Path) -> None:
    folder = next(volume.path for volume in truth.volumes if volume.name == "patient-0001-mr-enhanced")
    pipeline.scan([str(truth.root / folder)], tmp_path / "out", config_with())
    run = RunFolder(tmp_path / "out")
    positions = run.read("files", ["frame_ImagePositionPatient"])["frame_ImagePositionPatient"].to_pylist()
    frames = sum(len(values) // 3 for values in positions if values)
    assert frames > len(positions)
    assert shuffle.count_buckets(run, 5) == -(-frames // 5)
    assert shuffle.count_buckets(run, 10**6) == 1


def test_rows_of_the_benchmark_assemble_as_they_were_made(tmp_path: Path) -> None:
    import importlib.util
    from pathlib import Path as Local

    place = Local(__file__).parents[1] / "benchmarks" / "assemble.py"
    spec = importlib.util.spec_from_file_location("assemble_benchmark", place)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.make(tmp_path / "out", 4000)
    run = RunFolder(tmp_path / "out")
    files = run.read("files").to_pandas()
    assert len(files) == 4000
    assert files["path"].is_unique
    counts = assemble(run, with_buckets(1000))["counts"]
    assert counts["series"] == files["series_key"].nunique()
    assert counts["images"] == files["is_image"].sum()
    assert counts["status"] == {"ok": counts["volumes"]}
    volumes = run.read("volumes").to_pandas()
    assert volumes["timepoints"].max() > 1
    assert volumes["missing_slice_count"].max() > 0
