"""Volumes do not depend on the order of the files or on how the patient lies; scaling positions scales spacing."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import config_with

import cohort
from cohort import pipeline
from cohort.phantom import make_traps, series_trap_names
from cohort.volumes.dicom_volumes import assemble_series
from cohort.volumes.frames import COLUMNS

Row = dict[str, Any]
Floats = np.ndarray[Any, Any]

seeds = st.integers(0, 2**32 - 1)
names = st.sampled_from([name for name in series_trap_names() if name != "no-pixels"])

POSITIONS = ("ImagePositionPatient", "frame_ImagePositionPatient")
DIRECTIONS = (
    "ImageOrientationPatient", "frame_ImageOrientationPatient", "DiffusionGradientOrientation",
    "frame_DiffusionGradientOrientation",
)  # fmt: skip
LENGTHS = (
    "PixelSpacing", "frame_PixelSpacing", "SliceThickness", "frame_SliceThickness", "SpacingBetweenSlices",
    "GridFrameOffsetVector", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "us_spacing_row_mm",
    "us_spacing_col_mm",
)  # fmt: skip

# What a scale changes, what a rotation changes, and the digest of what both leave alone.
MILLIMETRES = (
    "spacing_row_mm", "spacing_col_mm", "spacing_slice_mm", "slice_thickness_mm", "spacing_between_slices_mm",
    "min_slice_gap_mm", "max_slice_gap_mm", "in_plane_drift_mm",
)  # fmt: skip
PLACED = ("affine_lps", "obliquity_degrees")


class Traps:
    """The rows of every series of the traps, as `scan` reads them."""

    def __init__(self, folder: Path) -> None:
        make_traps(folder / "images")
        pipeline.scan([str(folder / "images")], folder / "out", config_with())
        self._rows: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
        for row in cohort.open(folder / "out").run_folder.read("files", list(COLUMNS)).to_pylist():
            if row["is_image"]:
                self._rows[row["path"].split("/")[1]][row["series_key"]].append(row)

    def series(self, name: str) -> list[list[Row]]:
        return list(self._rows[name].values())


@pytest.fixture(scope="module")
def traps(tmp_path_factory: pytest.TempPathFactory) -> Traps:
    return Traps(tmp_path_factory.mktemp("laws"))


def found(rows: list[Row]) -> tuple[dict[str, Row], set[tuple[Any, ...]]]:
    """Volumes by identity, and the place of every frame."""
    volumes, frames = assemble_series(rows)
    places = {
        (f["volume_id"], f["role"], f.get("reason"), f.get("timepoint"), f.get("slice"), f["path_raw"], f["frame"])
        for f in frames
    }
    assert len(places) == len(frames)
    return {volume["volume_id"]: volume for volume in volumes}, places


JITTER_MM = 5e-4  # what the jitter of a cosine makes of a position when the patient turns


def assert_same(one: Row, other: Row, slack: float) -> None:
    """Equal but for where in the room it is; numbers within rounding and a slack."""
    assert set(one) == set(other)
    for name in set(one) - set(PLACED):
        if isinstance(one[name], float) and isinstance(other[name], float):
            assert one[name] == pytest.approx(other[name], rel=1e-6, abs=slack), name
        else:
            assert one[name] == other[name], name


def rotation(seed: int) -> Floats:
    """A random proper rotation."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, [1, 0, 2]]


def moved(rows: list[Row], turn: Floats, shift: Floats) -> list[Row]:
    """The same images of a patient who lies otherwise."""

    def vectors(values: list[float], by: Floats) -> list[float]:
        return (np.array(values).reshape(-1, 3) @ turn.T + by).ravel().tolist()

    changed = []
    for row in rows:
        places = {name: vectors(row[name], shift) for name in POSITIONS if row[name] is not None}
        directions = {name: vectors(row[name], np.zeros(3)) for name in DIRECTIONS if row[name] is not None}
        changed.append(row | places | directions)
    return changed


def scaled(rows: list[Row], factor: float) -> list[Row]:
    def lengths(value: Any) -> Any:
        return [factor * number for number in value] if isinstance(value, list) else factor * value

    return [row | {n: lengths(row[n]) for n in (*POSITIONS, *LENGTHS) if row[n] is not None} for row in rows]


@settings(max_examples=100, deadline=None)
@given(name=names, seed=seeds)
def test_any_order_of_the_files_gives_the_same_volumes(traps: Traps, name: str, seed: int) -> None:
    for rows in traps.series(name):
        assert found(random.Random(seed).sample(rows, len(rows))) == found(rows)


@settings(max_examples=100, deadline=None)
@given(name=names.filter(lambda name: not name.startswith("rtdose-absolute")), seed=seeds)
def test_however_the_patient_lies_the_volumes_are_the_same(traps: Traps, name: str, seed: int) -> None:
    turn, shift = rotation(seed), np.random.default_rng(seed + 1).uniform(-500, 500, 3)
    move = np.vstack([np.column_stack([turn, shift]), [0, 0, 0, 1]])
    for rows in traps.series(name):
        volumes, places = found(rows)
        turned, turned_places = found(moved(rows, turn, shift))
        assert turned_places == places
        for key, volume in volumes.items():
            assert_same(turned[key], volume, JITTER_MM)
            if volume.get("affine_lps"):
                there = np.reshape(turned[key]["affine_lps"], (4, 4))
                np.testing.assert_allclose(there, move @ np.reshape(volume["affine_lps"], (4, 4)), atol=1e-4)


@settings(max_examples=100, deadline=None)
@given(name=names.filter(lambda name: not name.startswith(("rtdose", "nm-"))), seed=seeds)
def test_a_mirrored_patient_has_the_same_spacing_and_verdict_and_the_slices_in_reverse(
    traps: Traps, name: str, seed: int
) -> None:
    for rows in traps.series(name):
        volumes, places = found(rows)
        mirrored, mirrored_places = found(moved(rows, -rotation(seed), np.zeros(3)))
        last = {key: volume["slices"] - 1 for key, volume in volumes.items()}
        assert mirrored_places == {
            (key, role, reason, t, None if z is None else last[key] - z, path, frame)
            for key, role, reason, t, z, path, frame in places
        }
        for key, volume in volumes.items():
            assert_same(mirrored[key], volume, JITTER_MM)


@settings(max_examples=100, deadline=None)
@given(name=names, power=st.floats(-3, 2))
def test_scaling_all_lengths_scales_the_spacing_and_nothing_else(traps: Traps, name: str, power: float) -> None:
    factor = 10**power
    for rows in traps.series(name):
        volumes, places = found(rows)
        larger, larger_places = found(scaled(rows, factor))
        assert larger_places == places
        for key, volume in volumes.items():
            lengths = {n: factor * volume[n] for n in MILLIMETRES if volume.get(n) is not None}
            assert_same(larger[key], volume | lengths, 1e-9 * factor)
