"""A plain loop over pydicom finds in the files of every trap the frames, at the places, that the truth claims."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from cohort.phantom import PhantomTruth, PhantomVolume, make_traps, series_trap_names, trap_names

Floats = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    return make_traps(tmp_path_factory.mktemp("traps") / "images")


def said(header: Dataset, frame: int, *path: str) -> Any:
    """What the groups of a frame say, or those all frames share, or the top level."""
    owners = [header]
    for name, index in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", frame)):
        if name in header:
            owners.insert(0, header[name].value[index])
    for owner in owners:
        item = owner
        for sequence in path[:-1] if owner is not header else ():
            item = item[sequence].value[0] if sequence in item else Dataset()
        if path[-1] in item:
            return item[path[-1]].value
    return None


def place(header: Dataset, frame: int) -> tuple[Floats, Floats] | None:
    """Position and normal of a frame, as its kind of object gives them."""
    cosines = said(header, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    position = said(header, frame, "PlanePositionSequence", "ImagePositionPatient")
    if header.Modality == "NM" and "SliceVector" in header:
        detector = header.DetectorInformationSequence[0]
        cosines, position = detector.ImageOrientationPatient, detector.ImagePositionPatient
    if cosines is None or position is None:
        return None
    axes, at = np.array(cosines, float), np.array(position, float)
    normal = np.cross(axes[:3], axes[3:])
    if header.Modality == "NM":
        at = at + normal * float(header.SpacingBetweenSlices) * (header.SliceVector[frame] - 1)
    if "GridFrameOffsetVector" in header:
        offsets = np.array(header.GridFrameOffsetVector, float)
        at = np.array([at[0], at[1], offsets[frame]]) if offsets[0] == at[2] else at + normal * offsets[frame]
    return at, normal


def frames_of(path: Path) -> Iterator[tuple[bytes, tuple[Floats, Floats] | None]]:
    """Modality values of every frame of a file, and its place."""
    header = pydicom.dcmread(path)
    if not {"PixelData", "FloatPixelData"} & set(header.dir()):
        return
    count = int(header.get("NumberOfFrames", 1))
    stored = header.pixel_array.astype(float)
    shape = (count, header.Rows, header.Columns, header.SamplesPerPixel)
    for frame, values in enumerate(np.moveaxis(stored.reshape(shape), -1, 1)):
        slope = said(header, frame, "PixelValueTransformationSequence", "RescaleSlope") or header.get("DoseGridScaling")
        intercept = said(header, frame, "PixelValueTransformationSequence", "RescaleIntercept")
        values = values * float(slope or 1) + float(intercept or 0)
        yield values.tobytes(), place(header, frame)


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
