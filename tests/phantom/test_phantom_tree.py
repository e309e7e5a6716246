"""The tree on disk is what the truth says, and the same arguments give the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from cohort.phantom import PhantomTruth, make_cohort, make_series, trap_names


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_every_file_has_exactly_one_row(phantom: PhantomTruth) -> None:
    paths = [file.path for file in phantom.files]
    assert sorted(paths) == sorted(digests(phantom.root))
    assert len(set(paths)) == len(paths)


def test_the_same_arguments_give_the_same_bytes(phantom: PhantomTruth, tmp_path: Path) -> None:
    again = make_cohort(tmp_path / "again")
    assert digests(again.root) == digests(phantom.root)
    assert again.volumes == phantom.volumes
    assert again.files == phantom.files


def test_another_seed_gives_other_voxels_and_uids(tmp_path: Path, phantom: PhantomTruth) -> None:
    other = make_cohort(tmp_path / "other", seed=1, patients=1, traps=False)
    theirs = {volume.name: volume for volume in phantom.volumes}
    for volume in other.volumes:
        twin = theirs[volume.name]
        if volume.recipe.kind not in ("labels", "screen"):
            assert not np.array_equal(volume.voxels(), twin.voxels()), volume.name
        assert volume.series_uid is None or volume.series_uid != twin.series_uid


def test_size_and_variety(phantom: PhantomTruth) -> None:
    assert len(phantom.files) < 1000
    assert sum(path.stat().st_size for path in phantom.root.rglob("*") if path.is_file()) < 40e6
    modalities = {volume.modality for volume in phantom.volumes}
    assert modalities == {"CT", "MR", "PT", "US", "CR", "MG", "OT", "SEG", "unknown"}


def test_each_trap_has_a_folder_of_its_own(phantom: PhantomTruth) -> None:
    folders = {path.name for path in (phantom.root / "traps").iterdir()}
    assert folders == set(trap_names())
    assert list(trap_names()) == sorted(trap_names())


def test_without_traps_there_is_no_finding_but_the_split_one(tmp_path: Path) -> None:
    clean = make_cohort(tmp_path / "clean", traps=False)
    assert not (clean.root / "traps").exists()
    assert all(volume.findings in ((), ("GEO-MIXED-SERIES",)) for volume in clean.volumes)
    assert {file.status for file in clean.files} == {"ok", "not_imaging"}


def test_every_image_belongs_to_one_volume(phantom: PhantomTruth) -> None:
    images = sum(file.is_image and file.status == "ok" for file in phantom.files)
    assert images == sum(volume.n_files for volume in phantom.volumes)
    for volume in phantom.volumes:
        frames = volume.slices * volume.timepoints
        if volume.n_files > 1:
            extra = volume.duplicate_slice_count + volume.excluded_instance_count
            assert frames + extra == volume.n_files * volume.tiles, volume.name


def test_names_are_unique_and_sorted(phantom: PhantomTruth) -> None:
    names = [volume.name for volume in phantom.volumes]
    assert names == sorted(set(names))


def test_shape_of_voxels_is_the_stated_one(phantom: PhantomTruth) -> None:
    for volume in phantom.volumes:
        shape = (volume.timepoints, volume.channels, volume.slices, volume.rows, volume.columns)
        assert volume.voxels().shape == shape
        assert volume.voxels().dtype == np.float64
        mask = volume.padding_mask()
        assert mask.shape == shape
        assert mask.any() == (volume.padding_value is not None)


def test_a_ct_looks_like_a_ct(phantom: PhantomTruth) -> None:
    (chest,) = (volume for volume in phantom.volumes if volume.name == "patient-0001-ct-chest")
    values = chest.voxels()
    air = np.mean((values > -1010) & (values < -970))
    lung = np.mean((values > -880) & (values < -760))
    tissue = np.mean((values > -20) & (values < 100))
    bone = np.mean(values > 600)
    assert air > 0.2
    assert tissue > 0.2
    assert lung > 0.05
    assert 0.005 < bone < 0.1


def test_truth_is_saved_as_json_and_never_among_the_images(phantom: PhantomTruth, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="outside the image root"):
        phantom.save(phantom.root / "truth.json")
    phantom.save(tmp_path / "truth.json")
    record = json.loads((tmp_path / "truth.json").read_text(encoding="utf-8"))
    assert len(record["volumes"]) == len(phantom.volumes)
    assert record["files"] == [dataclasses.asdict(file) | {"findings": list(file.findings)} for file in phantom.files]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        make_cohort(tmp_path)
    with pytest.raises(FileExistsError):
        make_series(tmp_path)


def test_writing_is_silent(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        make_cohort(tmp_path / "images")
    assert [str(warning.message) for warning in caught] == []


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_series_have_the_number_of_files_asked_for(tmp_path: Path, modality: str) -> None:
    truth = make_series(tmp_path / "series", modality=modality, files=230, rows=16, columns=24)
    assert len(truth.files) == len(digests(truth.root)) == 230
    assert [volume.slices for volume in truth.volumes] == [100, 100, 30]
    assert {(volume.modality, volume.rows, volume.columns) for volume in truth.volumes} == {(modality, 16, 24)}


def test_series_of_an_unknown_modality_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CT, MR, PT"):
        make_series(tmp_path / "series", modality="XX")
