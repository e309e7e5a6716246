"""The contact sheet: what is drawn, of which volumes, in which order, and never unasked."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from running import config_with

import cohort
from cohort import pipeline, report
from cohort.config import ReportOptions
from cohort.phantom import make_series
from cohort.report import thumbnails
from cohort.report.safe import SafeRun
from cohort.report.thumbnails import SIDE, Sheet, contact_sheet, drawn, png
from cohort.store import RunFolder


@pytest.fixture(scope="module")
def sheet(run_out: Path) -> Sheet:
    return contact_sheet(SafeRun(RunFolder(run_out)))


def pixels(uri: str) -> np.ndarray[Any, Any]:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


# -- what is drawn -------------------------------------------------------------------------------------------


def test_values_go_from_black_to_white_within_the_window() -> None:
    grey = drawn(np.array([[-50, 0], [50, 100], [150, np.nan], [np.inf, 25]]), (0.0, 100.0), (1.0, 1.0))
    cells = grey[:: SIDE // 4, :: SIDE // 4]
    assert cells.tolist() == [[0, 0], [128, 255], [255, 0], [0, 64]]
    inverted = drawn(np.array([[0, 100]]), (0.0, 100.0), (1.0, 1.0), inverted=True)
    assert (inverted[0, 0], inverted[0, -1]) == (255, 0)


def test_a_pixel_is_as_high_as_it_is_wide_in_mm() -> None:
    assert drawn(np.zeros((10, 20)), (0.0, 1.0), (4.0, 1.0)).shape == (SIDE, SIDE // 2)
    assert drawn(np.zeros((600, 300)), (0.0, 1.0), (None, 1.0)).shape == (SIDE, SIDE // 2)
    assert drawn(np.zeros((1, 4000)), (0.0, 1.0), (1.0, 1.0)).shape == (1, SIDE)


def test_what_is_larger_is_averaged() -> None:
    stripes = np.tile([0, 100], (SIDE * 2, SIDE))
    assert set(drawn(stripes, (0.0, 100.0), (1.0, 1.0)).ravel()) == {128}


def test_colours_stay_as_they_are() -> None:
    colours = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    assert (drawn(colours, (10.0, 20.0), (1.0, 1.0), inverted=True) == colours).all()


@pytest.mark.parametrize("window", [(5.0, 5.0), (None, None)])
def test_without_a_window_the_slice_has_its_own(window: tuple[float | None, float | None]) -> None:
    assert set(drawn(np.full((4, 4), 7), window, (1.0, 1.0)).ravel()) == {0}
    assert set(drawn(np.array([[3, 9]]), window, (1.0, 1.0)).ravel()) == {0, 255}
    assert set(drawn(np.full((2, 2), np.nan), window, (1.0, 1.0)).ravel()) == {0}


@pytest.mark.parametrize("shape", [(3, 5), (7, 2, 3)])
def test_a_picture_is_png(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(2).integers(0, 256, shape, np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(png(values)))) == values).all()


def test_the_middle_slice_is_drawn_by_the_percentiles_of_its_volume(run_out: Path, sheet: Sheet) -> None:
    run = cohort.open(run_out)
    ids, compared = sorted(run.volumes["volume_id"]), 0
    statistics = run.statistics.set_index("volume_id")
    for picture in sheet.pictures:
        volume = run.volume(ids[int(picture.label[1:]) - 1])
        if volume.info["format"] == "nifti" or "c" in volume.axes or picture.modality in ("DX", "MG"):
            continue
        array = volume.compute()
        array = array[0] if "t" in volume.axes else array
        own = statistics.loc[volume.info["volume_id"]]
        expected = drawn(array[len(array) // 2], (own.p1, own.p99), volume.spacing_mm[:2])
        assert (pixels(picture.uri) == expected).all()
        compared += 1
    assert compared > 10


# -- which, and in which order -------------------------------------------------------------------------------


def test_only_stacks_and_images_that_hardly_carry_text_are_shown(run_out: Path, sheet: Sheet) -> None:
    volumes = cohort.open(run_out).volumes.sort_values("volume_id").reset_index(drop=True)
    shown = volumes.iloc[[int(picture.label[1:]) - 1 for picture in sheet.pictures]]
    assert set(shown.Modality) <= thumbnails.STACKS | thumbnails.SINGLES
    assert (shown[shown.Modality.isin(thumbnails.STACKS)].slices >= 3).all()
    hidden = set(volumes[volumes.status == "ok"].Modality) - set(shown.Modality)
    assert {"US"} <= hidden  # there are some
    assert len(sheet.pictures) + sheet.withheld + sheet.left_out == (volumes.status == "ok").sum()


@pytest.mark.parametrize(
    ("modality", "slices", "burned", "shown"),
    [
        ("CT", 20, False, True), ("CT", 20, True, False), ("CT", 1, False, False), ("DX", 1, False, True),
        ("DX", 1, True, False), ("US", 20, False, False), ("OT", 20, False, False), ("XC", 1, False, False),
        ("ES", 1, False, False), ("SC", 20, False, False), ("CR", 1, False, False), ("SM", 1, False, False),
        (None, 20, False, False), ("unknown", 20, False, False),
    ],
)  # fmt: skip
def test_no_risky_modality_is_shown(modality: str | None, slices: int, burned: bool, shown: bool) -> None:
    row = {"Modality": modality, "slices": slices, "burned": burned, "profile": False}
    assert thumbnails._may_be_shown(row) is shown
    assert not thumbnails._may_be_shown(row | {"profile": True})


def _changed(images: Path, **attributes: Any) -> None:
    for path in images.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for name, value in attributes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def test_burned_in_text_and_profiles_of_heads_hide_their_series(tmp_path: Path) -> None:
    images = tmp_path / "images"
    for seed, name in enumerate(("plain", "burned", "head", "profile", "knee", "unnamed")):
        make_series(images / name, seed=seed, files=4, rows=16, columns=16)
    _changed(images / "plain", BodyPartExamined="CHEST")
    _changed(images / "burned", BodyPartExamined="CHEST", BurnedInAnnotation="YES")
    _changed(images / "head", BodyPartExamined="HEAD")
    for name, part in (("profile", "HEAD"), ("knee", "KNEE"), ("unnamed", "")):
        _changed(images / name, BodyPartExamined=part, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
        for number, path in enumerate(sorted((images / name).rglob("*.dcm"))):
            dataset = pydicom.dcmread(path)
            dataset.ImagePositionPatient = [2.0 * number, 0, 0]
            dataset.save_as(path)
    pipeline.run([str(images)], tmp_path / "out", config_with())
    run = cohort.open(tmp_path / "out")
    volumes, files = run.volumes.sort_values("volume_id"), run.files.compute()
    folder = {row.series_key: row.path.split("/")[0] for row in files.itertuples()}
    shown = {int(picture.label[1:]) - 1 for picture in contact_sheet(SafeRun(RunFolder(tmp_path / "out"))).pictures}
    assert {folder[key] for number, key in enumerate(volumes.series_key) if number in shown} == {
        "plain",
        "head",
        "knee",
    }


def test_volumes_with_findings_come_first(sheet: Sheet) -> None:
    flagged = [bool(picture.codes) for picture in sheet.pictures]
    assert flagged == sorted(flagged, reverse=True)
    assert 0 < sum(flagged) < len(flagged)


def test_there_is_a_most_of_pictures_and_of_bytes(run_out: Path, monkeypatch: pytest.MonkeyPatch, sheet: Sheet) -> None:
    run = SafeRun(RunFolder(run_out))
    monkeypatch.setattr(thumbnails, "MOST_PICTURES", 3)
    assert [p.label for p in contact_sheet(run).pictures] == [p.label for p in sheet.pictures[:3]]
    monkeypatch.setattr(thumbnails, "MOST_BYTES", len(sheet.pictures[0].uri) + 1)
    few = contact_sheet(run)
    assert len(few.pictures) == 1
    assert few.left_out == sheet.left_out + len(sheet.pictures) - 1


# -- the page ------------------------------------------------------------------------------------------------


def test_there_are_no_pictures_unless_asked_for(run_out: Path) -> None:
    run = RunFolder(run_out)
    plain, _ = report.build(run, ReportOptions())
    assert "img-src" not in plain
    assert "data:image" not in plain
    assert "This page itself may be shared." in plain
    shown, numbers = report.build(run, ReportOptions(thumbnails=True))
    assert len(re.findall(r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+" width', shown)) > 10
    assert "img-src data:; " in shown
    assert "look at each before sharing it" in shown
    assert "data:image" not in numbers
    assert len(shown) < 5e6
