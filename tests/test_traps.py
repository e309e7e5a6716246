"""Every trap gives its true spacing, verdict, counts and reasons; and a scan written three ways the same volumes."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from running import config_with

import cohort
from cohort import pipeline
from cohort.config import config_from
from cohort.phantom import PhantomTruth, PhantomVolume, make_traps, series_trap_names

CHECKS = (
    "single_orientation", "orthogonal_orientation", "unique_slice_positions", "consistent_in_plane_row",
    "consistent_in_plane_col", "consistent_pixel_spacing", "consistent_image_dimensions", "uniform_slice_spacing",
)  # fmt: skip
EXACT = ("rows", "columns", "slices", "timepoints", "channels", "value_unit", "n_files", "split_reason", "reason")
COUNTS = ("missing_slice_count", "duplicate_slice_count", "excluded_instance_count")
SPACING = ("spacing_row_mm", "spacing_col_mm", "spacing_slice_mm")


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    return make_traps(tmp_path_factory.mktemp("traps") / "images")


@pytest.fixture(scope="module")
def opened(traps: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> cohort.Cohort:
    out = tmp_path_factory.mktemp("traps-run") / "out"
    pipeline.run([str(traps.root)], out, config_with())
    return cohort.open(out)


@pytest.fixture(scope="module")
def in_folder(opened: cohort.Cohort) -> dict[str, pd.DataFrame]:
    """Folder -> the volumes whose files lie there."""
    frames = opened.run_folder.read("frames", ["volume_id", "path_raw"]).to_pandas()
    folders = frames["path_raw"].str.decode("utf-8").str.rsplit("/", n=1).str[0]
    owner = folders.groupby(frames["volume_id"]).agg(lambda values: values.unique().item())
    volumes = opened.volumes.set_index("volume_id", drop=False)
    return {folder: volumes.loc[ids] for folder, ids in owner.groupby(owner).groups.items()}


@pytest.fixture(scope="module")
def volume_of(
    opened: cohort.Cohort, traps: PhantomTruth, in_folder: dict[str, pd.DataFrame]
) -> dict[str, dict[str, Any]]:
    """Name of each true volume -> the row of the one volume with its voxels, if there is one; None for null."""
    found = {}
    for expected in traps.volumes:
        rows = in_folder[expected.path]
        same = [row for _, row in rows.iterrows() if is_image(opened, row, expected)]
        if len(same) == 1:
            found[expected.name] = {name: plain(value) for name, value in same[0].items()}
    return found


def plain(value: Any) -> Any:
    return None if not isinstance(value, np.ndarray) and pd.isna(value) else value


def is_image(opened: cohort.Cohort, row: pd.Series, expected: PhantomVolume) -> bool:
    if expected.reason is not None:  # not read: told by its size
        return (row["rows"], row["columns"]) == (expected.rows, expected.columns)
    truth, volume = expected.voxels(), opened.volume(row["volume_id"])
    kept = [i for i, length in enumerate(truth.shape) if i >= 3 or length > 1]
    values = volume.data.compute(scheduler="sync")
    truth = truth.reshape([truth.shape[i] for i in kept])
    return values.shape == truth.shape and bool(np.array_equal(values, truth.astype(values.dtype)))


def of_trap(traps: PhantomTruth, name: str) -> list[PhantomVolume]:
    folder = f"traps/{name}"
    return [volume for volume in traps.volumes if volume.path == folder or volume.path.startswith(folder + "/")]


# -- every trap --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trap", series_trap_names())
def test_a_trap_gives_its_true_volumes_and_no_other(
    trap: str, traps: PhantomTruth, in_folder: dict[str, pd.DataFrame], volume_of: dict[str, dict[str, Any]]
) -> None:
    expected = of_trap(traps, trap)
    found = [row for folder, rows in in_folder.items() for row in rows["volume_id"] if belongs(folder, trap)]
    assert {volume.name for volume in expected} <= set(volume_of)
    assert sorted(found) == sorted(volume_of[volume.name]["volume_id"] for volume in expected)
    for volume in expected:
        row = volume_of[volume.name]
        claimed = {name: getattr(volume, name) for name in EXACT}
        assert {name: row[name] for name in EXACT} == claimed, volume.name
        assert row["status"] == "ok"
        assert (row["zarr_path"] is None) == (volume.reason is not None), volume.name
        if volume.spacing_source is not None:
            assert row["spacing_source"] == volume.spacing_source, volume.name
        for name in SPACING:
            known = getattr(volume, name)
            assert row[name] is None if known is None else row[name] == pytest.approx(known, abs=1e-5), volume.name
        assert {name: row[name] or 0 for name in COUNTS} == {name: getattr(volume, name) for name in COUNTS}, (
            volume.name
        )
        assert (row["tilt_degrees"] or 0.0) == pytest.approx(volume.tilt_degrees, abs=0.01), volume.name


def belongs(folder: str, trap: str) -> bool:
    return f"{folder}/".startswith(f"traps/{trap}/")


@pytest.mark.parametrize("trap", series_trap_names())
def test_a_trap_gets_the_true_verdict_for_the_true_reason(
    trap: str, traps: PhantomTruth, volume_of: dict[str, dict[str, Any]]
) -> None:
    for volume in of_trap(traps, trap):
        row = volume_of[volume.name]
        assert row["regularly_spaced_3d_volume"] == volume.regular, volume.name
        assert row["reason_not_regular"] == volume.reason_not_regular, volume.name
        failing = (volume.reason_not_regular or "").split(", ")
        if volume.regular is not None:
            assert {name: row[name] for name in CHECKS} == {name: name not in failing for name in CHECKS}, volume.name


@pytest.mark.parametrize("trap", series_trap_names())
def test_the_affine_of_a_trap_leads_to_the_places_of_its_frames(
    trap: str, traps: PhantomTruth, opened: cohort.Cohort, volume_of: dict[str, dict[str, Any]]
) -> None:
    placed = [volume for volume in of_trap(traps, trap) if volume.spacing_slice_mm is not None]
    for volume in placed:
        files = (traps.root / volume.path).iterdir()
        places = {frame: at for path in files for frame, at in oracle.frames_of(path) if at is not None}
        affine = volume_of[volume.name]["affine_lps"].reshape(4, 4)
        spacing = (volume.spacing_col_mm, volume.spacing_row_mm)
        assert np.linalg.norm(affine[:3, :2], axis=0) == pytest.approx(spacing, rel=1e-5)
        first = np.swapaxes(volume.voxels(), 1, 2)[0]
        positions = np.array([places[values.tobytes()][0] for values in first])
        normal = places[first[0].tobytes()][1]
        step = positions[1] - positions[0] if volume.tilt_degrees else normal * volume.spacing_slice_mm
        # a hole is passed over: the slice behind it lies where its number, holes counted, says
        numbers = np.round((positions - positions[0]) @ normal / volume.spacing_slice_mm)
        if volume.regular or volume.missing_slice_count:
            expected = positions[0] + numbers[:, None] * step
            found = (affine @ np.stack([0 * numbers, 0 * numbers, numbers, numbers**0]))[:3].T
            np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=volume.name)
            np.testing.assert_allclose(found, positions, atol=1e-3, err_msg=volume.name)


def test_every_expected_finding_is_raised_and_no_error_besides(
    traps: PhantomTruth, opened: cohort.Cohort, volume_of: dict[str, dict[str, Any]]
) -> None:
    raised: dict[str, set[str]] = defaultdict(set)
    for row in opened.findings.itertuples():
        raised[row.subject].add(row.code)
    errors = set(opened.findings[opened.findings["severity"] == "error"]["code"])
    for volume in traps.volumes:
        row = volume_of[volume.name]
        expected = {code for code in volume.findings if code != "HDR-UNPARSED"}  # that one is of the files
        assert expected <= raised[row["volume_id"]] | raised[row["series_key"]], volume.name
        assert raised[row["volume_id"]] & errors <= set(volume.findings), volume.name


def test_every_file_of_the_traps_is_a_row_and_those_without_pixels_are_no_volumes(
    traps: PhantomTruth, opened: cohort.Cohort
) -> None:
    rows = opened.run_folder.read("files", ["path", "status", "is_image"]).to_pylist()
    assert {(row["path"], row["status"], row["is_image"]) for row in rows} == {
        (file.path, file.status, file.is_image) for file in traps.files
    }
    assert sum(not file.is_image for file in traps.files) == 6


# -- one scan, three ways ----------------------------------------------------------------------------------

SAME = (
    "split_reason", "rows", "columns", "slices", "timepoints", "channels", "dtype", *SPACING, *CHECKS,
    "slice_thickness_mm", "obliquity_degrees", "regularly_spaced_3d_volume", "reason_not_regular", *COUNTS,
    "min_slice_gap_mm", "max_slice_gap_mm", "in_plane_drift_mm", "tilt_degrees", "content_sha256",
)  # fmt: skip


WAYS = {name: ("classic", "enhanced", "converted") for name in series_trap_names() if name.startswith("copies-")}
WAYS["enhanced-copy"] = ("classic", "multiframe")  # whose frames are stored in another order


@pytest.mark.parametrize("trap", WAYS)
def test_classic_enhanced_and_converted_copies_of_a_scan_are_the_same_volumes(
    trap: str, opened: cohort.Cohort, in_folder: dict[str, pd.DataFrame]
) -> None:
    statistics = opened.statistics.set_index("volume_id").drop(columns="value_unit")

    def described(way: str) -> list[tuple[Any, ...]]:
        rows = in_folder[f"traps/{trap}/{way}"].sort_values("content_sha256")
        return [
            (*(plain(row[name]) for name in SAME), row["affine_lps"].tolist(), *statistics.loc[row["volume_id"]])
            for _, row in rows.iterrows()
        ]

    classic, *others = (described(way) for way in WAYS[trap])
    assert classic
    for other in others:
        assert other == classic


# -- files in any order, work in any parts -----------------------------------------------------------------


@pytest.fixture(scope="module")
def known(opened: cohort.Cohort) -> list[dict[str, Any]]:
    return assembled(opened)


def assembled(opened: cohort.Cohort) -> list[dict[str, Any]]:
    """The volumes as `assemble` left them, but for the part of `frames` that lists them."""
    later = {"frames_part", "dtype", "zarr_path", "content_sha256", "decoder"}
    rows = opened.run_folder.read("volumes").to_pylist()
    rows = [{name: value for name, value in row.items() if name not in later} for row in rows]
    return sorted(rows, key=lambda row: row["volume_id"])


def volumes_of(folder: Path, out: Path, config: cohort.Config) -> list[dict[str, Any]]:
    pipeline.scan([str(folder)], out, config)
    pipeline.stage("assemble", out, config)
    return assembled(cohort.open(out))


def test_any_split_into_shards_and_buckets_gives_the_same_volumes(
    traps: PhantomTruth, known: list[dict[str, Any]], tmp_path: Path
) -> None:
    config = config_from({
        "cluster": {"scheduler": "sync"}, "scan": {"shard_size": 70}, "assemble": {"bucket_rows": 150},
    })  # fmt: skip
    assert volumes_of(traps.root, tmp_path / "out", config) == known
    assert len(list((tmp_path / "out" / "files").glob("*.parquet"))) > 15
    assert len(list((tmp_path / "out" / "frames").glob("*.parquet"))) > 8


def test_files_under_other_names_in_one_folder_are_the_same_volumes(
    traps: PhantomTruth, known: list[dict[str, Any]], tmp_path: Path
) -> None:
    paths = sorted(path for path in traps.root.rglob("*") if path.is_file())
    names = random.Random(5).sample(range(10 * len(paths)), len(paths))
    (tmp_path / "shuffled").mkdir()
    for path, name in zip(paths, names, strict=True):
        (tmp_path / "shuffled" / f"{name}").write_bytes(path.read_bytes())
    assert volumes_of(tmp_path / "shuffled", tmp_path / "out", config_with()) == known
