"""A plain loop over pydicom finds in the files of every trap the frames, at the places, that the truth claims."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from oracle import frames_of

from cohort.phantom import PhantomTruth, PhantomVolume, make_traps, series_trap_names, trap_names


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    return make_traps(tmp_path_factory.mktemp("traps") / "images")


def by_folder(traps: PhantomTruth) -> dict[str, list[PhantomVolume]]:
    folders: dict[str, list[PhantomVolume]] = defaultdict(list)
    for volume in traps.volumes:
        if volume.reason is None:  # what is not read need not be claimed voxel by voxel
            folders[volume.path].append(volume)
    return folders


def test_each_trap_has_a_folder_and_those_of_a_cohort_are_among_them(traps: PhantomTruth) -> None:
    assert {path.name for path in (traps.root / "traps").iterdir()} == set(series_trap_names())
    assert len(set(series_trap_names()) & set(trap_names())) > 20
    paths = [file.path for file in traps.files]
    assert sorted(paths) == sorted(p.relative_to(traps.root).as_posix() for p in traps.root.rglob("*") if p.is_file())


def test_the_files_hold_the_frames_of_their_volumes_and_only_those(traps: PhantomTruth) -> None:
    for folder, volumes in by_folder(traps).items():
        found = Counter(frame for path in (traps.root / folder).iterdir() for frame, _ in frames_of(path))
        claimed = Counter(
            values.tobytes() for volume in volumes for values in np.swapaxes(volume.voxels(), 1, 2).reshape(
                -1, volume.channels, volume.rows, volume.columns)
        )  # fmt: skip
        assert not claimed - found, folder
        aside = sum(volume.duplicate_slice_count + volume.excluded_instance_count for volume in volumes)
        assert (found - claimed).total() == aside, folder


def test_the_places_of_the_frames_have_the_spacing_and_the_holes_of_the_truth(traps: PhantomTruth) -> None:
    seen = 0
    for folder, volumes in by_folder(traps).items():
        places = {frame: at for path in (traps.root / folder).iterdir() for frame, at in frames_of(path)}
        for volume in volumes:
            for moment in np.swapaxes(volume.voxels(), 1, 2):
                found = [places[values.tobytes()] for values in moment]
                if volume.spacing_slice_mm is None:
                    assert len(found) == 1, volume.name
                    continue
                normal = found[0][1] / np.linalg.norm(found[0][1])
                gaps = np.diff([float(at @ normal) for at, _ in found])
                # ascending along the normal; the median of the gaps is the spacing, larger ones are holes
                assert gaps.min() > 0, volume.name
                assert np.sort(gaps)[(len(gaps) - 1) // 2] == pytest.approx(volume.spacing_slice_mm, abs=1e-5)
                line = found[-1][0] - found[0][0]
                tilt = np.degrees(np.arccos(min(1.0, float(line @ normal) / np.linalg.norm(line))))
                assert tilt == pytest.approx(volume.tilt_degrees, abs=1e-3), volume.name
                if volume.missing_slice_count or volume.regular:
                    whole = gaps / volume.spacing_slice_mm
                    assert np.allclose(whole, np.round(whole), atol=1e-4), volume.name
                    assert np.sum(np.round(whole) - 1) == volume.missing_slice_count, volume.name
                seen += 1
    assert seen > 100


def test_the_truth_is_whole(traps: PhantomTruth) -> None:
    names = [volume.name for volume in traps.volumes]
    assert names == sorted(set(names))
    for volume in traps.volumes:
        assert (volume.reason_not_regular is not None) == (volume.regular is False), volume.name
        assert (volume.regular is None) == (volume.slices == 1), volume.name


def test_the_copies_of_one_scan_hold_the_same_voxels_in_series_of_their_own(traps: PhantomTruth) -> None:
    ways: dict[str, list[PhantomVolume]] = defaultdict(list)
    for volume in traps.volumes:
        if "/copies-" in volume.path:
            ways[volume.name.split("-", 1)[1]].append(volume)
    assert len(ways) > 14
    for volumes in ways.values():
        assert len(volumes) == len({volume.series_uid for volume in volumes}) == 3
        assert len({volume.recipe for volume in volumes}) == 1


def test_chosen_traps_are_made_alone_and_unknown_ones_are_refused(tmp_path: Path) -> None:
    chosen = make_traps(tmp_path / "chosen", names=["gantry-tilt"])
    assert [volume.name for volume in chosen.volumes] == ["gantry-tilt"]
    with pytest.raises(ValueError, match="no trap named nothing"):
        make_traps(tmp_path / "other", names=["nothing"])
    assert not (tmp_path / "other").exists()
