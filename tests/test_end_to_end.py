"""A whole run over the phantom cohort, against the truth the generator wrote down and a plain loop."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import Path

import dask
import numpy as np
import oracle
import pandas as pd
import pytest
from running import config_with

import cohort
from cohort import pipeline
from cohort.phantom import PhantomTruth, PhantomVolume


@pytest.fixture(scope="module")
def opened(run_out: Path) -> cohort.Cohort:
    return cohort.open(run_out)


@pytest.fixture(scope="module")
def volume_of(opened: cohort.Cohort, truth: PhantomTruth) -> dict[str, pd.Series]:
    """Name of each true volume -> the row of the volume found for it."""
    frames = opened.run_folder.read("frames", ["volume_id", "path_raw", "role"]).to_pandas()
    frames = frames[frames["role"] == "image"]
    paths = frames["path_raw"].str.decode("utf-8")
    volumes = opened.volumes.set_index("volume_id")
    found = {}
    for expected in truth.volumes:
        inside = (paths == expected.path) | paths.str.startswith(expected.path + "/")
        candidates = sorted(set(frames["volume_id"][inside]))
        matching = [c for c in candidates if _same_image(opened, c, expected)]
        assert len(matching) == 1, (expected.name, candidates)
        found[expected.name] = volumes.loc[matching[0]]
    return found


def _same_image(opened: cohort.Cohort, volume_id: str, expected: PhantomVolume) -> bool:
    values = _full(opened, volume_id)
    truth = expected.voxels()
    return values.shape == truth.shape and bool(np.allclose(values, truth, rtol=1e-6, atol=1e-6))


def _full(opened: cohort.Cohort, volume_id: str) -> np.ndarray:
    """Voxels with all five axes: time, channel, slice, row, column."""
    volume = opened.volume(volume_id)
    values = volume.data.compute(scheduler="sync")
    for i, axis in enumerate("tczyx"):
        if axis not in volume.axes:
            values = np.expand_dims(values, i)
    return np.asarray(values)


def test_every_file_became_what_it_should(opened: cohort.Cohort, truth: PhantomTruth) -> None:
    columns = ["path", "status", "reason", "format", "is_image"]
    rows = opened.run_folder.read("files", columns).to_pylist()
    found = {row["path"]: row for row in rows}
    assert len(found) == len(rows) == len(truth.files)
    for expected in truth.files:
        row = found[expected.path]
        assert (row["status"], row["format"], row["is_image"]) == (
            expected.status,
            expected.format,
            expected.is_image,
        ), row
        if expected.reason is not None:
            assert row["reason"] == expected.reason, row


def test_no_volume_is_missing_and_none_is_made_up(volume_of: dict[str, pd.Series], opened: cohort.Cohort) -> None:
    assert len({row.name for row in volume_of.values()}) == len(volume_of) == len(opened.volumes)


@pytest.mark.parametrize("field", ["rows", "columns", "slices", "timepoints", "channels", "value_unit", "n_files"])
def test_shape_and_unit(volume_of: dict[str, pd.Series], truth: PhantomTruth, field: str) -> None:
    wrong = {e.name: (getattr(e, field), volume_of[e.name][field]) for e in truth.volumes}
    assert {name: pair for name, pair in wrong.items() if pair[0] != pair[1]} == {}


@pytest.mark.parametrize("field", ["spacing_row_mm", "spacing_col_mm", "spacing_slice_mm"])
def test_spacing_is_the_true_one(volume_of: dict[str, pd.Series], truth: PhantomTruth, field: str) -> None:
    for expected in truth.volumes:
        known, found = getattr(expected, field), volume_of[expected.name][field]
        assert (pd.isna(found)) if known is None else (found == pytest.approx(known, abs=1e-5)), expected.name


def test_the_verdict_and_its_numbers(volume_of: dict[str, pd.Series], truth: PhantomTruth) -> None:
    for expected in truth.volumes:
        row = volume_of[expected.name]
        verdict = row["regularly_spaced_3d_volume"]
        assert (None if pd.isna(verdict) else bool(verdict)) == expected.regular, expected.name
        for field in ("missing_slice_count", "duplicate_slice_count", "excluded_instance_count"):
            assert (0 if pd.isna(row[field]) else row[field]) == getattr(expected, field), (expected.name, field)
        tilt = 0.0 if pd.isna(row["tilt_degrees"]) else row["tilt_degrees"]
        assert tilt == pytest.approx(expected.tilt_degrees, abs=0.01), expected.name
        assert bool(row["reason_not_regular"]) == (expected.regular is False) or pd.isna(row["reason_not_regular"])


def test_voxels_in_zarr_are_the_true_modality_values(
    volume_of: dict[str, pd.Series], truth: PhantomTruth, opened: cohort.Cohort
) -> None:
    for expected in truth.volumes:
        row, known = volume_of[expected.name], expected.voxels()
        values = _full(opened, row.name)
        if np.issubdtype(values.dtype, np.integer):
            assert np.array_equal(values, known), expected.name
        else:
            assert np.array_equal(values, known.astype(np.float32)), expected.name


def test_statistics_equal_those_of_the_true_voxels(
    volume_of: dict[str, pd.Series], truth: PhantomTruth, opened: cohort.Cohort
) -> None:
    statistics = opened.statistics.set_index("volume_id")
    for expected in truth.volumes:
        row = volume_of[expected.name]
        known = oracle.statistics([(expected.voxels().astype(row["dtype"]), expected.padding_mask())])
        _compare(statistics.loc[row.name], known, exact=not row["dtype"].startswith("float"), name=expected.name)


def _compare(found: pd.Series, known: dict[str, object], *, exact: bool, name: str) -> None:
    for field in ("count", "padding_count", "min", "max"):
        assert found[field] == known[field], (name, field)
    for field in ("mean", "std"):
        assert found[field] == pytest.approx(known[field], rel=1e-12, abs=1e-12), (name, field)
    if exact:
        assert found["mean"] == known["mean"], name
    for field in oracle.PERCENTS:
        if exact:
            assert found[field] == known[field], (name, field)
        else:  # within one bin of 0.2 %
            assert found[field] == pytest.approx(known[field], rel=2e-3, abs=1e-38), (name, field)


def test_histograms_equal_counts_of_the_true_voxels(
    volume_of: dict[str, pd.Series], truth: PhantomTruth, opened: cohort.Cohort
) -> None:
    histogram = opened.histogram(by="SeriesInstanceUID")
    expected: dict[str, Counter[float]] = {}
    for volume in truth.volumes:
        if volume.series_uid is not None and not volume_of[volume.name]["dtype"].startswith("float"):
            values = volume.voxels()[~volume.padding_mask()]
            expected.setdefault(volume.series_uid, Counter()).update(values.tolist())
    assert expected
    for uid, counts in expected.items():
        rows = histogram[(histogram["SeriesInstanceUID"] == uid) & (histogram["kind"] == "integer")]
        found = rows.groupby("value_low")["count"].sum()
        assert dict(found) == dict(counts)


def test_the_stored_histogram_is_the_one_merged_on_demand(opened: cohort.Cohort) -> None:
    stored = opened.run_folder.read("histograms").to_pandas()
    stored = stored[stored["view"] == "all"].reset_index(drop=True)
    merged = opened.histogram(by="Modality")
    pd.testing.assert_frame_equal(stored, merged[stored.columns], check_dtype=False)


def test_units_are_never_pooled(opened: cohort.Cohort) -> None:
    ct = opened.histogram(by="Modality").query("Modality == 'CT'")
    assert set(ct["value_unit"]) == {"HU", "unknown"}  # one series has a slope of 0
    assert ct.groupby("value_unit")["count"].sum()["unknown"] < ct.groupby("value_unit")["count"].sum()["HU"]


def test_every_expected_finding_is_raised(
    volume_of: dict[str, pd.Series], truth: PhantomTruth, opened: cohort.Cohort
) -> None:
    raised: dict[str, set[str]] = {}
    for row in opened.findings.itertuples():
        raised.setdefault(row.subject, set()).add(row.code)
    for volume in truth.volumes:
        row = volume_of[volume.name]
        subjects = raised.get(row.name, set()) | raised.get(row["series_key"], set())
        files = {code for code in volume.findings if code.startswith(("HDR-UNPARSED", "PIX-TRUNCATED"))}
        assert set(volume.findings) - files <= subjects, (volume.name, subjects)
    for file in truth.files:
        assert set(file.findings) <= raised.get(file.path, set()), file.path


def test_the_clean_series_raise_no_warning(
    volume_of: dict[str, pd.Series], truth: PhantomTruth, opened: cohort.Cohort
) -> None:
    loud = set(opened.findings[opened.findings["severity"] != "info"]["subject"])
    for volume in truth.volumes:
        if volume.path.startswith("clean/"):
            row = volume_of[volume.name]
            assert row.name not in loud, volume.name
            assert row["series_key"] not in loud, volume.name


def test_spacing_distribution_counts_every_volume(opened: cohort.Cohort) -> None:
    volumes = opened.volumes
    spacing = opened.spacing(by="Modality")
    for axis, column in (("row", "spacing_row_mm"), ("slice", "spacing_slice_mm"), ("thickness", "slice_thickness_mm")):
        for modality, group in volumes.groupby("Modality"):
            known = Counter(group[column].dropna().round(6))
            rows = spacing[(spacing["Modality"] == modality) & (spacing["axis"] == axis)]
            assert dict(zip(rows["value_low_mm"], rows["count"], strict=True)) == dict(known)


def test_counting_the_voxels_again_gives_the_same_bytes(run_out: Path, tmp_path: Path) -> None:
    import shutil

    again = tmp_path / "again"
    shutil.copytree(run_out, again)
    names = ["statistics/volumes.parquet", "statistics/histograms.parquet", "statistics/summary.json"]
    before = [(again / name).read_bytes() for name in names]
    for name in names:
        (again / name).unlink()
    pipeline.stage("reduce", again, config_with(), from_voxels=True)
    assert [(again / name).read_bytes() for name in names] == before


def test_all_values_of_a_modality_as_one_array(opened: cohort.Cohort) -> None:
    values = opened.voxels("CT")
    histogram = opened.histogram(by="Modality").query("Modality == 'CT'")
    padding = opened.statistics.merge(opened.volumes, on="volume_id").query("Modality == 'CT'")["padding_count"].sum()
    with dask.config.set(scheduler="sync"):
        assert values.size == histogram["count"].sum() + padding
    with pytest.raises(KeyError):
        opened.voxels("XX")


def test_a_volume_is_an_array_with_its_place(opened: cohort.Cohort, volume_of: dict[str, pd.Series]) -> None:
    row = volume_of["gantry-tilt"]
    volume = opened.volume(row.name)
    with dask.config.set(scheduler="sync"):
        values = np.asarray(volume)
    assert values.shape == volume.shape == (12, 32, 24)
    assert values.dtype == volume.dtype
    assert np.issubdtype(volume.dtype, np.integer)
    assert np.array_equal(values, volume.data.compute(scheduler="sync"))
    step = volume.affine_lps @ [0, 0, 11, 1] - volume.affine_lps @ [0, 0, 0, 1]
    assert np.linalg.norm(step[:3]) == pytest.approx(11 * 5.0)  # the table moves 5 mm; 4.698 mm lie along the normal
    assert np.allclose(volume.affine_ras[:2], -volume.affine_lps[:2])
    with pytest.raises(KeyError):
        opened.volume("nothing")


def test_the_time_axis_in_zarr_has_its_step_and_unit(opened: cohort.Cohort, volume_of: dict[str, pd.Series]) -> None:
    described = {}
    for name in ("bids-bold", "patient-0002-mr-dynamic"):
        path = volume_of[name]["zarr_path"]
        multiscale = opened.run_folder.volume_attributes(path)["ome"]["multiscales"][0]
        assert multiscale["axes"][0]["type"] == "time"
        scale = multiscale["datasets"][0]["coordinateTransformations"][0]["scale"]
        described[name] = (multiscale["axes"][0].get("unit"), scale[0])
    assert described == {"bids-bold": ("millisecond", 2000.0), "patient-0002-mr-dynamic": (None, 1.0)}


def test_files_is_a_dask_dataframe_of_every_file(opened: cohort.Cohort, truth: PhantomTruth) -> None:
    with dask.config.set(scheduler="sync"):
        counts = opened.files["status"].value_counts().compute()
    assert counts.to_dict() == Counter(file.status for file in truth.files)


def test_counts_in_the_records_add_up(run_out: Path, truth: PhantomTruth) -> None:
    info = json.loads((run_out / "run.json").read_text())
    counts = {name: stage["counts"] for name, stage in info["stages"].items()}
    assert counts["scan"]["objects"] == len(truth.files) == sum(counts["scan"]["status"].values())
    assert counts["assemble"]["volumes"] == counts["ingest"]["volumes"] == len(truth.volumes)
    assert set(counts) == {"scan", "assemble", "ingest", "reduce", "check", "report"}


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of everything a run wrote, but run.json: only that may vary."""
    paths = sorted(p for p in out.rglob("*") if p.is_file() and p.name != "run.json")
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def test_the_same_command_again_touches_nothing(run_out: Path, truth: PhantomTruth) -> None:
    before = {p: p.stat().st_mtime_ns for p in run_out.rglob("*") if p.is_file() and p.name != "run.json"}
    pipeline.run([str(truth.root)], run_out, config_with())
    after = {p: p.stat().st_mtime_ns for p in run_out.rglob("*") if p.is_file() and p.name != "run.json"}
    assert {str(p) for p in after if after[p] != before.get(p)} <= {str(run_out / "schema.json")}


@pytest.mark.cluster
@pytest.mark.parametrize(("scheduler", "workers"), [("threads", None), ("local", 1), ("local", 2)])
def test_every_scheduler_gives_the_same_bytes(
    run_out: Path, truth: PhantomTruth, tmp_path: Path, scheduler: str, workers: int | None
) -> None:
    out = tmp_path / "out"
    pipeline.run([str(truth.root)], out, config_with(scheduler, workers=workers))
    assert digests(out) == digests(run_out)


@pytest.mark.cluster
def test_an_address_of_a_scheduler_gives_the_same_bytes(run_out: Path, truth: PhantomTruth, tmp_path: Path) -> None:
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster:
        pipeline.run([str(truth.root)], tmp_path / "out", config_with(cluster.scheduler_address))
    assert digests(tmp_path / "out") == digests(run_out)


def test_copies_elsewhere_have_the_same_volume_ids(run_out: Path, truth: PhantomTruth, tmp_path: Path) -> None:
    import shutil

    moved = tmp_path / "moved" / "elsewhere"
    shutil.copytree(truth.root, moved)
    pipeline.scan([str(moved)], tmp_path / "out", config_with())
    pipeline.stage("assemble", tmp_path / "out", config_with())
    ids = set(cohort.open(tmp_path / "out").volumes["volume_id"])
    assert ids == set(cohort.open(run_out).volumes["volume_id"])


def test_without_pixels_a_run_still_reports(truth: PhantomTruth, tmp_path: Path) -> None:
    from cohort.config import config_from

    config = config_from({"ingest": {"pixels": False}, "cluster": {"scheduler": "sync"}})
    pipeline.run([str(truth.root)], tmp_path / "out", config)
    opened = cohort.open(tmp_path / "out")
    assert not (tmp_path / "out" / "volumes.zarr").exists()
    assert len(opened.spacing()) > 0
    assert "<html" in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(cohort.RunError):
        opened.volume(opened.volumes["volume_id"][0])
    # the pixels may follow
    pipeline.run([str(truth.root)], tmp_path / "out", config_with())
    assert cohort.open(tmp_path / "out").volumes["zarr_path"].notna().any()


def test_voxels_that_do_not_add_up_stop_the_run(
    truth: PhantomTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cohort import counting
    from cohort.errors import ConservationError

    monkeypatch.setattr(counting, "count_values", lambda values, padding=None: counting.empty("integer"))
    with pytest.raises(ConservationError, match="voxels were read"):
        pipeline.run([str(truth.root / "traps" / "coronal")], tmp_path / "out", config_with())


def test_every_voxel_in_zarr_is_counted_or_left_out_by_name(opened: cohort.Cohort) -> None:
    found = opened.statistics.set_index("volume_id")
    stored = opened.volumes[opened.volumes["zarr_path"].notna()]
    assert set(found.index) == set(stored["volume_id"])
    for volume in stored["volume_id"]:
        row = found.loc[volume]
        seen = row["count"] + row["padding_count"] + row["nan_count"] + row["inf_count"]
        assert seen == math.prod(opened.volume(volume).shape), volume


def test_the_size_of_chunks_is_no_part_of_any_number(truth: PhantomTruth, tmp_path: Path) -> None:
    """Exact sums: not a bit of a mean of floats depends on how the voxels were cut."""
    from dataclasses import replace

    source = [str(truth.root / "clean")]
    content = []
    for name, size in (("large", 8.0), ("small", 1e-4)):
        config = config_with()
        config = replace(config, ingest=replace(config.ingest, chunk_mib=size))
        pipeline.run(source, tmp_path / name, config)
        statistics = tmp_path / name / "statistics"
        content.append([(statistics / table).read_bytes() for table in ("volumes.parquet", "histograms.parquet")])
    kinds = {row["kind"] for row in cohort.open(tmp_path / "small").run_folder.read("partials", ["kind"]).to_pylist()}
    assert kinds == {"integer", "float"}
    assert content[0] == content[1]


def test_a_full_disk_stops_the_run_and_blames_no_volume(
    truth: PhantomTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    from cohort.store import PendingVolume

    def full(self: PendingVolume, *arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = [str(truth.root / "traps" / "coronal")]
    with monkeypatch.context() as patched:
        patched.setattr(PendingVolume, "create", full)
        with pytest.raises(cohort.RunError, match="make room"):
            pipeline.run(source, tmp_path / "out", config_with())
    pipeline.run(source, tmp_path / "out", config_with())
    assert cohort.open(tmp_path / "out").volumes["status"].tolist() == ["ok"]


def test_a_run_cut_short_goes_on(run_out: Path, truth: PhantomTruth, tmp_path: Path) -> None:
    """Take away what a kill at several moments would have left undone; the rest must come out the same."""
    import shutil

    out = tmp_path / "out"
    shutil.copytree(run_out, out)
    (out / "files" / "part-00000-half.parquet.tmp").write_bytes(b"half")
    for name in ("scan", "ingest", "report"):
        (out / "stages" / f"{name}.json").unlink()
    next((out / "files").glob("*.parquet")).unlink()
    next((out / "statistics" / "partials").glob("*.parquet")).unlink()
    leftover = out / "volumes.zarr" / "CT" / ".tmp-1-left"
    leftover.mkdir()
    (leftover / "zarr.json").write_text("{}")
    (out / "files" / "part-00000-half.parquet.tmp").unlink()
    pipeline.run([str(truth.root)], out, config_with())
    assert digests(out) == digests(run_out)
