"""The frames of a series become volumes by the attribute that makes good stacks, and every frame is kept."""

from __future__ import annotations

import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cohort.readers import key_of
from cohort.schema import Status
from cohort.volumes.copies import same_pixels
from cohort.volumes.dicom_volumes import assemble_series
from cohort.volumes.frames import COLUMNS

Row = dict[str, Any]

AXIAL = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
CORONAL = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]


def image(number: int, z: float | None, **columns: Any) -> Row:
    """A row of `files`: an axial slice of 4 x 4 pixels at height z."""
    row: Row = dict.fromkeys(COLUMNS)
    path = f"series/{number:04d}.dcm"
    row |= {
        "source": "/data", "path": path, "path_raw": path.encode(), "size": 1000 + number, "format": "dicom",
        "status": Status.OK, "is_image": True, "Modality": "CT", "series_key": key_of("series"),
        "SeriesInstanceUID": "1.2.3", "SOPInstanceUID": f"1.2.3.{number}", "instance_key": key_of(f"1.2.3.{number}"),
        "InstanceNumber": number, "Rows": 4, "Columns": 4, "SamplesPerPixel": 1, "BitsAllocated": 16,
        "BitsStored": 12, "PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2",
        "PixelSpacing": [0.7, 0.8], "SliceThickness": 2.0, "RescaleSlope": 1.0, "RescaleIntercept": -1024.0,
    }  # fmt: skip
    if z is not None:
        row |= {"ImagePositionPatient": [-10.0, -20.0, float(z)], "ImageOrientationPatient": list(AXIAL)}
    return row | columns


def repeated(times: int, places: int = 10, **by_index: Any) -> list[Row]:
    """Slices at 0, 2, 4... mm, `times` over; columns are functions of (repetition, place, running number)."""
    rows = []
    for i in range(times * places):
        columns = {name: value(i // places, i % places, i) for name, value in by_index.items()}
        rows.append(image(i + 1, 2.0 * (i % places), **columns))
    return rows


def assembled(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Assemble, and check what must hold for any series: every frame once, and counts that add up."""
    volumes, frames = assemble_series(rows)
    expected = Counter({row["path"]: row["mosaic_slices"] or max(1, row["NumberOfFrames"] or 1) for row in rows})
    found = Counter(f["path_raw"].decode() for f in frames)
    for row in rows:
        whole = [f for f in frames if f["path_raw"].decode() == row["path"] and f["frame"] is None]
        assert found[row["path"]] == (1 if whole else expected[row["path"]])
    assert sum(found.values()) == len(frames)
    assert set(found) == set(expected)
    assert len({volume["volume_id"] for volume in volumes}) == len(volumes)
    for volume in volumes:
        mine = [f for f in frames if f["volume_id"] == volume["volume_id"]]
        roles = Counter(f["role"] for f in mine)
        assert roles["duplicate"] == volume["duplicate_slice_count"]
        assert roles["excluded"] == volume["excluded_instance_count"]
        if all(f["frame"] is not None for f in mine):
            assert roles["image"] == volume["slices"] * volume["timepoints"]
            places = {(f["timepoint"], f["slice"]) for f in mine if f["role"] == "image"}
            assert places == {(t, z) for t in range(volume["timepoints"]) for z in range(volume["slices"])}
    return volumes, frames


def shapes(volumes: list[Row]) -> list[tuple[int, int]]:
    return sorted((volume["slices"], volume["timepoints"]) for volume in volumes)


def only(volumes: list[Row]) -> Row:
    assert len(volumes) == 1, shapes(volumes)
    return volumes[0]


# -- one volume --------------------------------------------------------------------------------------------


def test_an_even_stack_is_one_regular_volume() -> None:
    volumes, frames = assembled(repeated(1))
    volume = only(volumes)
    assert (volume["slices"], volume["timepoints"], volume["split_reason"]) == (10, 1, None)
    assert (volume["spacing_slice_mm"], volume["spacing_row_mm"], volume["spacing_col_mm"]) == (2.0, 0.7, 0.8)
    assert volume["regularly_spaced_3d_volume"] is True
    assert volume["reason_not_regular"] is None
    assert [f["position_mm"] for f in frames] == [2.0 * z for z in range(10)]
    assert volume["affine_lps"] == pytest.approx([0.8, 0, 0, -10, 0, 0.7, 0, -20, 0, 0, 2, 0, 0, 0, 0, 1])
    assert volume["n_bytes"] == sum(row["size"] for row in repeated(1))


def test_spacing_comes_from_positions_whatever_the_tags_say() -> None:
    rows = [row | {"SpacingBetweenSlices": 5.0, "SliceThickness": 9.0} for row in repeated(1)]
    volume = only(assembled(rows)[0])
    assert volume["spacing_slice_mm"] == 2.0
    assert (volume["spacing_between_slices_mm"], volume["slice_thickness_mm"]) == (5.0, 9.0)


def test_a_single_slice_has_no_spacing_and_no_verdict() -> None:
    volume = only(assembled([image(1, 5.0)])[0])
    assert (volume["slices"], volume["spacing_slice_mm"]) == (1, None)
    assert volume.get("regularly_spaced_3d_volume") is None


def test_order_along_the_normal_does_not_follow_the_instance_number() -> None:
    rows = repeated(1)
    numbers = random.Random(3).sample(range(1, 11), 10)
    volumes, frames = assembled([row | {"InstanceNumber": n} for row, n in zip(rows, numbers, strict=True)])
    assert [f["path_raw"].decode() for f in sorted(frames, key=lambda f: f["slice"])] == [r["path"] for r in rows]
    assert only(volumes)["spacing_slice_mm"] == 2.0


@pytest.mark.parametrize("lacking", [1, 4, 8])
def test_a_missing_slice_is_counted_and_makes_the_volume_irregular(lacking: int) -> None:
    rows = repeated(1)
    del rows[lacking]
    volume = only(assembled(rows)[0])
    assert (volume["slices"], volume["spacing_slice_mm"], volume["missing_slice_count"]) == (9, 2.0, 1)
    assert volume["regularly_spaced_3d_volume"] is False
    assert volume["reason_not_regular"] == "uniform_slice_spacing"


def test_a_tilted_stack_is_one_volume_that_is_not_regular() -> None:
    angle = math.radians(20)
    orientation = [1.0, 0.0, 0.0, 0.0, math.cos(angle), math.sin(angle)]
    rows = [row | {"ImageOrientationPatient": orientation} for row in repeated(1)]
    volume = only(assembled(rows)[0])
    assert volume["spacing_slice_mm"] == pytest.approx(2 * math.cos(angle))
    assert volume["tilt_degrees"] == pytest.approx(20)
    assert volume["uniform_slice_spacing"] is True
    assert volume["reason_not_regular"] == "consistent_in_plane_col"


def test_cosines_that_jitter_are_one_orientation() -> None:
    rows = [row | {"ImageOrientationPatient": [1, 2e-5 * (-1) ** i, 0, 0, 1, 0]} for i, row in enumerate(repeated(1))]
    volume = only(assembled(rows)[0])
    assert volume["single_orientation"] is True
    assert volume["regularly_spaced_3d_volume"] is True


@given(st.floats(-3, 2), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_a_stack_is_the_same_at_any_size(power: float, random: random.Random) -> None:
    """Two repetitions with a hole, from voxels of micro-CT upwards: positions and pixels scaled together."""
    factor = 10**power
    rows = repeated(2, Modality=lambda t, z, i: "MR", TemporalPositionIdentifier=lambda t, z, i: t)
    del rows[14], rows[4]
    for row in rows:
        row["ImagePositionPatient"] = [p * factor for p in row["ImagePositionPatient"]]
        row["PixelSpacing"] = [s * factor for s in row["PixelSpacing"]]
    random.shuffle(rows)
    volume = only(assembled(rows)[0])
    assert (volume["slices"], volume["timepoints"], volume["missing_slice_count"]) == (9, 2, 1)
    assert volume["spacing_slice_mm"] == pytest.approx(2.0 * factor)
    assert volume["reason_not_regular"] == "uniform_slice_spacing"


@pytest.mark.parametrize("middle", [0.48825, 0.7, 0.00005])
def test_pixel_spacings_that_jitter_are_one_stack(middle: float) -> None:
    """Around 0.48825 the fourth decimal flips; a difference no rounding explains still parts the frames."""
    jitter = [middle * (1 + 4e-5 * (-1) ** i) for i in range(10)]
    rows = [row | {"PixelSpacing": [jitter[i], middle]} for i, row in enumerate(repeated(1))]
    volume = only(assembled(rows)[0])
    assert (volume["slices"], volume["split_reason"], volume["consistent_pixel_spacing"]) == (10, None, True)
    zoomed = [row | {"PixelSpacing": [1.01 * middle, middle]} for row in repeated(2)[10:]]
    assert {v["split_reason"] for v in assembled(rows + zoomed)[0]} == {"PixelSpacing"}


def mosaic(number: int, slices: int = 4, **columns: Any) -> Row:
    """A row of a mosaic of slices at 0, 2, 4... mm on a grid of 2 x 2 tiles."""
    kinds = ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]
    positions = [p for z in range(slices) for p in (-10.0, -20.0, 2.0 * z)]
    tiles = {"mosaic_slices": slices, "mosaic_grid": [2, 2], "mosaic_positions": positions}
    return image(number, -4.0, ImageType=kinds, Modality="MR", Rows=8, Columns=8, **tiles) | columns


def test_mosaics_are_taken_apart_into_their_slices() -> None:
    volume = only(assembled([mosaic(i) for i in (1, 2, 3)])[0])
    assert (volume["slices"], volume["timepoints"], volume["spacing_slice_mm"]) == (4, 3, 2.0)
    assert (volume["rows"], volume["columns"], volume["n_files"]) == (4, 4, 3)
    assert volume["regularly_spaced_3d_volume"] is True


def test_a_copied_mosaic_is_set_aside_with_all_its_slices() -> None:
    copy = mosaic(2) | {"path": "copy.dcm", "path_raw": b"copy.dcm"}
    volume = only(assembled([mosaic(1), mosaic(2), copy])[0])
    assert (volume["slices"], volume["timepoints"], volume["duplicate_slice_count"], volume["n_files"]) == (4, 2, 4, 3)


def test_a_mosaic_that_could_not_be_taken_apart_is_never_regular() -> None:
    whole = dict.fromkeys(("mosaic_slices", "mosaic_grid", "mosaic_positions")) | {"mosaic_problem": "csa_damaged"}
    volume = only(assembled([mosaic(i, **whole) for i in range(10)])[0])
    assert (volume["slices"], volume["timepoints"], volume["regularly_spaced_3d_volume"]) == (1, 10, False)
    assert volume["reason_not_regular"] == "mosaic_not_unpacked: csa_damaged"
    # Among others they are no localizers, however few frames they are.
    volumes, _ = assembled([mosaic(1), mosaic(2), mosaic(3), mosaic(4, **whole)])
    assert shapes(volumes) == [(1, 1), (4, 3)]
    assert all(volume["excluded_instance_count"] == 0 for volume in volumes)


def test_slices_at_places_of_their_own_are_no_mosaics_whatever_they_are_called() -> None:
    kinds = {"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"], "mosaic_problem": "no_private_header"}
    volume = only(assembled([row | kinds for row in repeated(1)])[0])
    assert (volume["slices"], volume["regularly_spaced_3d_volume"]) == (10, True)


# -- several volumes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("EchoTime", [5.0, 10.0]),
        ("EchoNumbers", [[1], [2]]),
        ("DiffusionBValue", [0.0, 1000.0]),
        ("ImageType", [["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]]),
        ("StackID", ["1", "2"]),
        ("KVP", [80.0, 140.0]),
        ("ConvolutionKernel", [["B30f"], ["B70f"]]),
        ("AcquisitionNumber", [1, 2]),
    ],
)
def test_what_changes_the_contrast_makes_volumes(name: str, values: list[Any]) -> None:
    volumes, _ = assembled(repeated(2, **{name: lambda t, z, i: values[t]}))
    assert shapes(volumes) == [(10, 1), (10, 1)]
    assert {volume["split_reason"] for volume in volumes} == {name}
    assert all(volume["regularly_spaced_3d_volume"] for volume in volumes)
    assert all(volume["spacing_slice_mm"] == 2.0 for volume in volumes)


def test_an_attribute_that_some_frames_lack_still_parts_them() -> None:
    volumes, _ = assembled(repeated(2, EchoTime=lambda t, z, i: None if t else 5.0))
    assert shapes(volumes) == [(10, 1), (10, 1)]


def test_two_acquisitions_that_run_through_each_other_are_two_volumes() -> None:
    rows = [
        row | {"ImagePositionPatient": [0.0, 0.0, 2.0 * (i % 10) + 0.7 * (i // 10)], "AcquisitionNumber": i // 10}
        for i, row in enumerate(repeated(2))
    ]
    volumes, _ = assembled(rows)
    assert shapes(volumes) == [(10, 1), (10, 1)]
    assert {(v["spacing_slice_mm"], v["split_reason"]) for v in volumes} == {(2.0, "AcquisitionNumber")}


def test_two_acquisitions_that_run_through_each_other_are_told_apart_although_one_lacks_a_slice() -> None:
    rows = [
        row | {"ImagePositionPatient": [0.0, 0.0, 2.0 * (i % 10) + 0.7 * (i // 10)], "AcquisitionNumber": i // 10}
        for i, row in enumerate(repeated(2))
    ]
    del rows[14]
    volumes, _ = assembled(rows)
    assert {(v["slices"], v["missing_slice_count"], v["spacing_slice_mm"]) for v in volumes} == {
        (10, 0, 2.0),
        (9, 1, 2.0),
    }
    assert {v["split_reason"] for v in volumes} == {"AcquisitionNumber"}


def test_one_stack_acquired_in_two_passes_that_lacks_a_slice_stays_one() -> None:
    volume = only(assembled([image(z, 2.0 * z, AcquisitionNumber=z % 2) for z in range(12) if z != 5])[0])
    assert (volume["slices"], volume["missing_slice_count"], volume["spacing_slice_mm"]) == (11, 1, 2.0)


@pytest.mark.parametrize("gap", [39.0, 40.0])
def test_stacks_that_the_object_names_are_volumes_although_they_lie_behind_one_another(gap: float) -> None:
    row = multiframe([0.0, 2.0, 4.0, 4.0 + gap, 6.0 + gap, 8.0 + gap], frame_StackID=["1"] * 3 + ["2"] * 3)
    volumes, _ = assembled([row])
    assert {(v["slices"], v["spacing_slice_mm"], v["split_reason"]) for v in volumes} == {(3, 2.0, "StackID")}
    assert len(volumes) == 2


def test_named_stacks_of_several_echoes_and_times_are_a_volume_each() -> None:
    places = [(stack, echo, time, z) for stack in "12" for echo in (5.0, 9.0) for time in (1, 2) for z in range(4)]
    row = multiframe([2.0 * z + (0.0 if stack == "1" else 51.3) for stack, _, _, z in places], Modality="MR")
    row |= {
        "frame_StackID": [stack for stack, *_ in places],
        "frame_EffectiveEchoTime": [echo for _, echo, *_ in places],
        "frame_TemporalPositionIndex": [time for *_, time, _ in places],
    }
    volumes, _ = assembled([row])
    assert shapes(volumes) == [(4, 2)] * 4
    assert all(v["regularly_spaced_3d_volume"] for v in volumes)
    assert {v["split_reason"] for v in volumes} == {"StackID, EchoTime"}


def test_pieces_behind_one_another_are_one_stack_with_a_hole() -> None:
    rows = [image(i, 2.0 * z, AcquisitionNumber=i // 5) for i, z in enumerate([0, 1, 2, 3, 4, 6, 7, 8, 9, 10])]
    volume = only(assembled(rows)[0])
    assert (volume["slices"], volume["missing_slice_count"]) == (10, 1)


def test_echoes_and_repetitions_together_are_volumes_with_time_points() -> None:
    rows = repeated(
        4, Modality=lambda t, z, i: "MR", EchoTime=lambda t, z, i: 5.0 + t % 2,
        TemporalPositionIdentifier=lambda t, z, i: t // 2,
    )  # fmt: skip
    volumes, _ = assembled(rows)
    assert shapes(volumes) == [(10, 2), (10, 2)]
    assert {volume["split_reason"] for volume in volumes} == {"EchoTime"}


def test_sizes_and_orientations_of_equal_weight_are_volumes() -> None:
    sizes, _ = assembled(repeated(2, Rows=lambda t, z, i: 4 + t))
    assert {(v["rows"], v["slices"], v["split_reason"]) for v in sizes} == {(4, 10, "size"), (5, 10, "size")}
    rows = repeated(1) + [
        image(20 + i, None, ImagePositionPatient=[0.0, 3.0 * i, 0.0], ImageOrientationPatient=CORONAL)
        for i in range(10)
    ]
    volumes, _ = assembled(rows)
    assert {(v["spacing_slice_mm"], v["split_reason"]) for v in volumes} == {
        (2.0, "ImageOrientationPatient"),
        (3.0, "ImageOrientationPatient"),
    }


def test_an_attribute_that_follows_the_place_does_not_split() -> None:
    rows = repeated(2, Modality=lambda t, z, i: "MR", StackID=lambda t, z, i: "low" if z < 5 else "high")
    volume = only(assembled(rows)[0])
    assert (volume["slices"], volume["timepoints"]) == (10, 2)


def test_images_without_place_are_a_volume_each() -> None:
    volumes, _ = assembled([image(i, None) for i in range(3)])
    assert shapes(volumes) == [(1, 1)] * 3
    assert {volume["split_reason"] for volume in volumes} == {"no_geometry"}


# -- time --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("TemporalPositionIdentifier", [1, 2]),
        ("TriggerTime", [0.0, 50.0]),
        ("AcquisitionNumber", [1, 2]),
        ("AcquisitionTime", ["101500", "101600"]),
        ("AcquisitionDateTime", ["20200101101500", "20200101101600"]),
        ("DiffusionGradientOrientation", [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]),
    ],
)
def test_what_repeats_the_image_makes_time_points(name: str, values: list[Any]) -> None:
    rows = repeated(2, **{name: lambda t, z, i: values[t], "Modality": lambda t, z, i: "MR"})
    for row in rows:
        row["InstanceNumber"] = None  # nothing else orders them
    volumes, frames = assembled(rows)
    volume = only(volumes)
    assert (volume["slices"], volume["timepoints"], volume["split_reason"]) == (10, 2, None)
    assert volume["regularly_spaced_3d_volume"] is True
    paths = {(f["timepoint"], f["slice"]): f["path_raw"].decode() for f in frames}
    assert paths == {(i // 10, i % 10): row["path"] for i, row in enumerate(rows)}


def test_directions_come_in_the_order_of_their_numbers_not_of_their_components() -> None:
    directions = [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    rows = repeated(
        3, DiffusionGradientOrientation=lambda t, z, i: directions[t], Modality=lambda t, z, i: "MR",
        InstanceNumber=lambda t, z, i: 3 * z + t,
    )  # fmt: skip
    _, frames = assembled(rows)
    paths = {(f["timepoint"], f["slice"]): f["path_raw"].decode() for f in frames}
    assert paths == {(i // 10, i % 10): row["path"] for i, row in enumerate(rows)}


def test_repetitions_that_only_the_instance_number_orders_are_time_points() -> None:
    volume = only(assembled(repeated(3, Modality=lambda t, z, i: "MR"))[0])
    assert (volume["slices"], volume["timepoints"]) == (10, 3)


@pytest.mark.parametrize("name", ["TemporalPositionIdentifier", None])
def test_an_incomplete_last_time_point_is_a_volume_of_its_own(name: str | None) -> None:
    columns = {} if name is None else {name: lambda t, z, i: t}
    volumes, _ = assembled(repeated(3, Modality=lambda t, z, i: "MR", **columns)[:27])
    assert shapes(volumes) == [(7, 1), (10, 2)]


@pytest.mark.parametrize("name", ["AcquisitionTime", "TriggerTime"])
def test_a_time_that_every_slice_has_for_itself_does_not_take_the_volume_apart(name: str) -> None:
    values = {"AcquisitionTime": lambda t, z, i: f"{100000 + i}", "TriggerTime": lambda t, z, i: 30.0 * i}
    volume = only(assembled(repeated(2, Modality=lambda t, z, i: "MR", **{name: values[name]}))[0])
    assert (volume["slices"], volume["timepoints"], volume["spacing_slice_mm"]) == (10, 2, 2.0)


def test_an_acquisition_number_that_every_slice_has_for_itself_does_not_take_the_volume_apart() -> None:
    volumes, _ = assembled(repeated(2, AcquisitionNumber=lambda t, z, i: i))
    assert {volume["slices"] for volume in volumes} == {10}


@pytest.mark.parametrize("offset", [0.0, 0.05, 0.15, 1.95])
def test_time_points_whose_positions_differ_by_rounding_are_one_volume(offset: float) -> None:
    rows = repeated(2, Modality=lambda t, z, i: "MR", TemporalPositionIdentifier=lambda t, z, i: t)
    for i, row in enumerate(rows):
        row["ImagePositionPatient"][2] += offset + (1e-4 if i < 10 else -1e-4)
    volume = only(assembled(rows)[0])
    assert (volume["slices"], volume["timepoints"]) == (10, 2)


# -- localizers, copies, conflicts -------------------------------------------------------------------------


def test_a_localizer_is_excluded_and_does_not_spoil_the_stack() -> None:
    stray = image(0, None, ImagePositionPatient=[0.0, 0.0, 9.0], ImageOrientationPatient=CORONAL)
    volumes, frames = assembled([stray, *repeated(1)])
    volume = only(volumes)
    assert (volume["slices"], volume["spacing_slice_mm"], volume["excluded_instance_count"]) == (10, 2.0, 1)
    assert volume["regularly_spaced_3d_volume"] is True
    aside = [f for f in frames if f["role"] != "image"]
    assert [(f["role"], f["reason"], f["path_raw"].decode()) for f in aside] == [
        ("excluded", "localizer", stray["path"])
    ]


def test_a_localizer_of_another_size_is_excluded_too() -> None:
    volume = only(assembled([image(0, 100.0, Rows=8, Columns=8), *repeated(1)])[0])
    assert (volume["slices"], volume["rows"], volume["excluded_instance_count"]) == (10, 4, 1)


def test_copies_are_set_aside_as_duplicates() -> None:
    rows = repeated(1)
    copies = [row | {"path": "copy/" + row["path"], "path_raw": b"copy/" + row["path_raw"]} for row in rows[2:5]]
    volumes, frames = assembled(copies + rows)
    volume = only(volumes)
    assert (volume["slices"], volume["duplicate_slice_count"], volume["spacing_slice_mm"]) == (10, 3, 2.0)
    assert {f["reason"] for f in frames if f["role"] == "duplicate"} == {"same_instance"}
    assert volume["regularly_spaced_3d_volume"] is True
    assert volume["volume_id"] == only(assembled(rows)[0])["volume_id"]


@pytest.mark.parametrize("native", range(3))
def test_of_copies_at_one_place_the_one_that_needs_no_decoder_is_kept(native: int) -> None:
    lengths = [32 if i == native else None for i in range(3)]
    rows = [row | {"InstanceNumber": None, "pixel_length": lengths[i // 10]} for i, row in enumerate(repeated(3))]
    volumes, frames = assembled(rows)
    assert (only(volumes)["slices"], only(volumes)["duplicate_slice_count"]) == (10, 20)
    kept = {f["path_raw"].decode() for f in frames if f["role"] == "image"}
    assert kept == {row["path"] for row in rows[10 * native : 10 * native + 10]}


@pytest.mark.parametrize("pixel_length", [64, None])
def test_the_same_header_with_other_pixels_is_no_copy(tmp_path: Path, pixel_length: int | None) -> None:
    rows = [row | {"source": str(tmp_path), "pixel_offset": 10, "pixel_length": pixel_length} for row in repeated(1)]
    names = {b"t-copy": bytes(64), b"u-other": bytes(63) + b"1", b"v-copy-of-other": bytes(63) + b"1"}
    again = [rows[2] | {"path": name.decode(), "path_raw": name} for name in names]
    (tmp_path / "series").mkdir()
    for row in rows:
        (tmp_path / row["path"]).write_bytes(b"header one" + bytes(64))
    for name, pixels in names.items():
        (tmp_path / name.decode()).write_bytes(b"header two" + pixels)
    volumes, frames = assembled([*rows, *again])
    assert shapes(volumes) == [(1, 1), (10, 1)]
    assert {volume["split_reason"] for volume in volumes} == {None, "conflicting_instance"}
    aside = {f["path_raw"] for f in frames if f["role"] == "duplicate"}
    assert aside == {b"t-copy", b"v-copy-of-other"}
    (tmp_path / "u-other").unlink()  # where the pixels cannot be compared any more the header has to do
    assert shapes(assembled([*rows, *again[:2]])[0]) == [(10, 1)]


def test_pixels_are_compared_to_their_end_and_no_further(tmp_path: Path) -> None:
    size = (1 << 20) + 8
    first, second = ({"source": str(tmp_path), "path_raw": name, "pixel_offset": 2} for name in (b"a", b"b"))
    (tmp_path / "a").write_bytes(b"aa" + bytes(size) + b"signed")
    for content, length, same in (
        (b"bb" + bytes(size) + b"by ano", size, True),
        (b"bb" + bytes(size - 1) + b"1signed", size, False),
        (b"bb" + bytes(size) + b"signed and more", None, True),
        (b"bb" + bytes(size) + b"Signed", None, False),
    ):
        (tmp_path / "b").write_bytes(content)
        assert same_pixels(first | {"pixel_length": length}, second | {"pixel_length": length}) is same
    assert same_pixels(first | {"pixel_offset": None}, second)
    gone = first | {"source": str(tmp_path / "gone"), "pixel_length": None}
    assert same_pixels(gone, second | {"pixel_length": None})


def test_other_instances_at_one_place_are_duplicates_of_position() -> None:
    rows = [*repeated(1), image(50, 4.0, InstanceNumber=None)]
    volumes, frames = assembled(rows)
    volume = only(volumes)
    assert (volume["slices"], volume["duplicate_slice_count"]) == (10, 1)
    assert {f["reason"] for f in frames if f["role"] == "duplicate"} == {"same_position"}
    assert volume["regularly_spaced_3d_volume"] is False
    assert volume["reason_not_regular"] == "unique_slice_positions"


def test_two_images_under_one_uid_are_both_kept() -> None:
    rows = repeated(1)
    other = rows[4] | {"path": "other.dcm", "path_raw": b"other.dcm", "RescaleIntercept": 0.0}
    volumes, frames = assembled([*rows, other])
    assert shapes(volumes) == [(1, 1), (10, 1)]
    assert all(f["role"] == "image" for f in frames)
    assert {volume["split_reason"] for volume in volumes} == {None, "conflicting_instance"}


@pytest.mark.parametrize(
    ("name", "values"),
    [("EchoTime", [12.0, 40.0]), ("DiffusionBValue", [0.0, 800.0]), ("TemporalPositionIdentifier", [1, 2])],
)
def test_images_that_share_uids_and_numbers_are_no_copies_where_they_were_acquired_otherwise(
    name: str, values: list[Any]
) -> None:
    rows = repeated(2, **{name: lambda t, z, i: values[t], "Modality": lambda t, z, i: "MR"})
    for i, row in enumerate(rows):
        row |= {key: rows[i % 10][key] for key in ("SOPInstanceUID", "instance_key", "InstanceNumber")}
    random.Random(7).shuffle(rows)
    for i, row in enumerate(rows):  # neither names nor order of the files tell which belong together
        row |= {"path": f"{i:02d}", "path_raw": f"{i:02d}".encode()}
    volumes, frames = assembled(rows)
    assert shapes(volumes) == [(10, 1), (10, 1)]
    assert all(f["role"] == "image" for f in frames)
    kinds = {row["path"]: row[name] for row in rows}
    for volume in volumes:
        mine = [f["path_raw"].decode() for f in frames if f["volume_id"] == volume["volume_id"]]
        assert len({kinds[path] for path in mine}) == 1


def test_a_whole_series_of_conflicting_uids_is_two_volumes() -> None:
    rows = repeated(1)
    others = [
        row | {"path": f"b/{i}", "path_raw": f"b/{i}".encode(), "RescaleSlope": 2.0} for i, row in enumerate(rows)
    ]
    volumes, _ = assembled(rows + others)
    assert shapes(volumes) == [(10, 1), (10, 1)]
    assert all(volume["regularly_spaced_3d_volume"] for volume in volumes)


@pytest.mark.parametrize("path", ["a.dcm", "z.dcm"])
def test_an_enhanced_copy_under_the_name_of_one_slice_is_a_volume_of_its_own(path: str) -> None:
    rows = repeated(1)
    enhanced = multiframe([2.0 * z for z in range(10)], SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1")
    enhanced |= {name: rows[0][name] for name in ("SOPInstanceUID", "instance_key")}
    enhanced |= {"path": path, "path_raw": path.encode()}
    volumes, frames = assembled([enhanced, *rows])
    assert shapes(volumes) == [(10, 1), (10, 1)]
    assert all(volume["regularly_spaced_3d_volume"] for volume in volumes)
    assert {volume["split_reason"] for volume in volumes} == {None, "conflicting_instance"}
    for volume in volumes:
        files = {f["path_raw"].decode() for f in frames if f["volume_id"] == volume["volume_id"]}
        assert files in ({path}, {row["path"] for row in rows})


def test_an_image_of_another_class_is_a_volume_and_no_localizer() -> None:
    other = image(50, 100.0, SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    volumes, _ = assembled([*repeated(1), other])
    assert shapes(volumes) == [(1, 1), (10, 1)]
    assert {volume["split_reason"] for volume in volumes} == {"SOPClassUID"}
    assert all(volume["excluded_instance_count"] == 0 for volume in volumes)


# -- multi-frame objects -----------------------------------------------------------------------------------


def multiframe(places: list[float], **columns: Any) -> Row:
    positions = [number for z in places for number in (0.0, 0.0, z)]
    return image(1, None, NumberOfFrames=len(places), ImageOrientationPatient=AXIAL, **columns) | {
        "frame_ImagePositionPatient": positions
    }


def test_an_enhanced_object_is_ordered_by_the_places_of_its_frames() -> None:
    volumes, frames = assembled([multiframe([6.0, 2.0, 4.0, 0.0])])
    volume = only(volumes)
    assert (volume["slices"], volume["spacing_slice_mm"], volume["n_files"]) == (4, 2.0, 1)
    assert [f["frame"] for f in sorted(frames, key=lambda f: f["slice"])] == [3, 1, 2, 0]


def test_an_enhanced_object_of_two_stacks_is_two_volumes() -> None:
    row = multiframe([0.0, 2.0, 4.0] * 2, frame_StackID=["1"] * 3 + ["2"] * 3)
    volumes, _ = assembled([row])
    assert shapes(volumes) == [(3, 1), (3, 1)]
    assert {volume["split_reason"] for volume in volumes} == {"StackID"}


def test_an_object_under_the_name_of_another_is_kept_whole() -> None:
    whole = multiframe([0.0, 2.0, 4.0, 6.0]) | {"InstanceNumber": 2}
    single = image(1, 0.0, InstanceNumber=1) | {"path": "single", "path_raw": b"single"}
    volumes, _ = assembled([whole, single])
    assert shapes(volumes) == [(1, 1), (4, 1)]
    assert {(v["slices"], v["split_reason"]) for v in volumes} == {(1, None), (4, "conflicting_instance")}
    copy = whole | {"path": "copy", "path_raw": b"copy"}
    volumes, frames = assembled([whole, copy])
    assert (only(volumes)["slices"], only(volumes)["duplicate_slice_count"], only(volumes)["n_files"]) == (4, 4, 2)
    assert {f["reason"] for f in frames if f["role"] == "duplicate"} == {"same_instance"}


def test_a_series_and_its_multiframe_copy_under_the_name_of_a_slice_are_both_kept_whole() -> None:
    slices = [image(z + 1, 2.0 * z) for z in range(4)]
    whole = multiframe([0.0, 2.0, 4.0, 6.0]) | {"path": "first", "path_raw": b"first"}
    for rows in ([whole, *slices], [*slices, whole]):
        volumes, _ = assembled(rows)
        assert {(v["slices"], v["n_files"], v["split_reason"]) for v in volumes} == {
            (4, 4, None),
            (4, 1, "conflicting_instance"),
        }


def test_frames_without_b_value_are_one_group_not_one_each() -> None:
    row = multiframe([2.0 * z for z in range(5)] * 2, Modality="MR")
    row["frame_DiffusionBValue"] = [float("nan") for _ in range(5)] + [1000.0] * 5
    volumes, _ = assembled([row])
    assert shapes(volumes) == [(5, 1), (5, 1)]


def test_a_multiframe_object_without_places_stays_whole() -> None:
    volumes, frames = assembled([image(1, None, NumberOfFrames=7)])
    volume = only(volumes)
    assert (volume["slices"], volume["timepoints"], len(frames)) == (1, 7, 1)


@pytest.mark.parametrize("step", [4.0, -4.0])
def test_reconstructed_slices_of_nuclear_medicine_lie_behind_or_in_front_of_the_first(step: float) -> None:
    row = image(1, 20.0, Modality="NM", NumberOfFrames=3, SliceVector=[1, 2, 3], SpacingBetweenSlices=step)
    volumes, frames = assembled([row])
    volume = only(volumes)
    assert (volume["slices"], volume["timepoints"], volume["spacing_slice_mm"]) == (3, 1, 4.0)
    assert {f["frame"]: f["position_mm"] for f in frames} == {0: 20.0, 1: 20.0 + step, 2: 20.0 + 2 * step}


def test_gated_slices_of_nuclear_medicine_are_time_points() -> None:
    vector = [1, 2, 3, 1, 2, 3]
    row = image(1, 20.0, Modality="NM", NumberOfFrames=6, SliceVector=vector, SpacingBetweenSlices=4.0)
    volume = only(assembled([row])[0])
    assert (volume["slices"], volume["timepoints"], volume["spacing_slice_mm"]) == (3, 2, 4.0)


def test_slices_of_nuclear_medicine_without_a_distance_are_counted_and_get_no_spacing() -> None:
    for placed in (20.0, None):
        row = image(1, placed, Modality="NM", NumberOfFrames=6, SliceVector=[1, 2, 3, 1, 2, 3])
        volume = only(assembled([row])[0])
        assert (volume["slices"], volume["timepoints"], volume.get("spacing_slice_mm")) == (3, 2, None)
        assert volume.get("regularly_spaced_3d_volume") is None
    views = only(assembled([image(1, None, Modality="NM", NumberOfFrames=6)])[0])
    assert (views["slices"], views["timepoints"]) == (1, 6)


@pytest.mark.parametrize("modality", ["SM", "SEG"])
def test_the_tiles_of_a_slide_are_neither_slices_nor_time_points(modality: str) -> None:
    level = {"NumberOfFrames": 12, "TotalPixelMatrixRows": 900, "TotalPixelMatrixColumns": 1200, "Modality": modality}
    volumes, frames = assemble_series([image(1, None, **level)])
    volume = only(volumes)
    assert (volume["rows"], volume["columns"], volume["slices"], volume["timepoints"]) == (900, 1200, 1, 1)
    assert (volume["status"], volume["reason"], len(frames)) == ("ok", "whole_slide", 1)


def test_dose_planes_lie_along_the_normal_by_their_offsets() -> None:
    row = image(1, 5.0, Modality="RTDOSE", NumberOfFrames=3, GridFrameOffsetVector=[0.0, 2.5, 5.0])
    volumes, frames = assembled([row])
    assert only(volumes)["spacing_slice_mm"] == 2.5
    assert [f["position_mm"] for f in frames] == [5.0, 7.5, 10.0]


@pytest.mark.parametrize("column", [[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
def test_dose_planes_given_by_their_patient_z_lie_there_whichever_way_the_normal_points(column: list[float]) -> None:
    row = image(
        1, 5.0, Modality="RTDOSE", NumberOfFrames=3, GridFrameOffsetVector=[5.0, 7.5, 10.0],
        ImageOrientationPatient=[1.0, 0.0, 0.0, *column],
    )  # fmt: skip
    volumes, frames = assembled([row])
    assert only(volumes)["spacing_slice_mm"] == 2.5
    first = {5.0: 0, -5.0: 2}  # position along the normal of the plane at z = 5: its place in the stack
    assert all(f["slice"] == first[f["position_mm"]] for f in frames if abs(f["position_mm"]) == 5.0)
    assert sorted(abs(f["position_mm"]) for f in frames) == [5.0, 7.5, 10.0]


@pytest.mark.parametrize(
    ("columns", "unit"),
    [
        ({}, "HU"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "unknown"),
        ({"RescaleSlope": 0.0}, "unknown"),
        ({"RescaleType": "US"}, "unknown"),
        ({"RescaleType": "MGML"}, "MGML"),
        ({"Modality": "MR"}, "arbitrary"),
        ({"Modality": "PT", "Units": "BQML"}, "BQML"),
        ({"Modality": "PT"}, "unknown"),
        ({"Modality": "SEG"}, "label"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, "arbitrary"),
    ],
)
def test_the_unit_is_only_claimed_where_the_header_gives_it(columns: Row, unit: str) -> None:
    assert only(assembled([image(1, 0.0, **columns)])[0])["value_unit"] == unit


# -- laws --------------------------------------------------------------------------------------------------


def mixed_series() -> list[Row]:
    """One of everything: two acquisitions, a localizer, copies, a conflict, an image without place."""
    rows = repeated(2, 8, AcquisitionNumber=lambda t, z, i: t)
    rows.append(image(90, None, ImagePositionPatient=[0.0, 0.0, 9.0], ImageOrientationPatient=CORONAL))
    rows += [rows[i] | {"path": f"copy/{i}", "path_raw": f"copy/{i}".encode()} for i in (1, 9)]
    rows.append(rows[3] | {"path": "conflict", "path_raw": b"conflict", "RescaleSlope": 3.0})
    rows.append(image(95, None))
    return rows


CASES = {
    "mixed": mixed_series(),
    "in time": repeated(3, 5, Modality=lambda t, z, i: "MR", TemporalPositionIdentifier=lambda t, z, i: t)[:13],
    "by rank": repeated(3, 5, Modality=lambda t, z, i: "MR")[:13],
    "oblique kinds": [
        image(i, None, ImagePositionPatient=[0, 0, i], ImageOrientationPatient=[1, 4e-4 * i, 0, -4e-4 * i, 1, 0])
        for i in range(8)
    ],
    "no numbers": [row | {"InstanceNumber": None} for row in repeated(2, 5, EchoTime=lambda t, z, i: float(t))],
    "two sources": repeated(1, 5) + [row | {"source": "/other"} for row in repeated(1, 5)],
}


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_any_order_of_the_files_gives_the_same_volumes_and_frames(name: str, seed: int) -> None:
    rows = CASES[name]
    shuffled = random.Random(seed).sample(rows, len(rows))
    volumes, frames = assemble_series(rows)
    again, reframed = assemble_series(shuffled)
    by_id = {volume["volume_id"]: volume for volume in volumes}
    assert {volume["volume_id"]: volume for volume in again} == by_id

    def places(found: list[Row]) -> set[tuple[Any, ...]]:
        return {
            (f["source"], f["path_raw"], f["frame"], f["volume_id"], f["role"], f["timepoint"], f["slice"])
            for f in ({"timepoint": None, "slice": None} | f for f in found)
        }

    assert places(reframed) == places(frames)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 5), st.integers(0, 2), st.sampled_from([None, 1.0, 2.0]), st.sampled_from([AXIAL, CORONAL]),
            st.booleans(), st.integers(0, 6),
        ),
        min_size=1,
        max_size=24,
    ),
    st.sampled_from(["CT", "MR"]),
    st.integers(0, 999),
)  # fmt: skip
def test_every_frame_of_any_series_is_kept_once_and_in_any_order(
    entries: list[tuple[Any, ...]], modality: str, seed: int
) -> None:
    rows = [
        image(
            i, None, Modality=modality, AcquisitionNumber=acquisition, EchoTime=echo, InstanceNumber=number,
            ImagePositionPatient=[0.0, float(z), float(z)] if placed else None,
            ImageOrientationPatient=list(orientation) if placed else None,
        )
        for i, (z, acquisition, echo, orientation, placed, number) in enumerate(entries)
    ]  # fmt: skip
    volumes, _ = assembled(rows)
    again, _ = assembled(random.Random(seed).sample(rows, len(rows)))
    assert {v["volume_id"] for v in again} == {v["volume_id"] for v in volumes}


def test_the_identity_of_a_volume_does_not_depend_on_where_its_files_lie() -> None:
    here = only(assembled(repeated(1))[0])["volume_id"]
    moved = [row | {"source": "/elsewhere", "path": f"x{i}"} for i, row in enumerate(reversed(repeated(1)))]
    moved = [row | {"path_raw": row["path"].encode()} for row in moved]
    assert only(assembled(moved)[0])["volume_id"] == here
    assert only(assembled(repeated(1)[:9])[0])["volume_id"] != here


def test_more_frames_than_there_are_positions_for_stay_whole() -> None:
    positions = [float(x) for z in range(3) for x in (0, 0, z)]
    row = image(
        1, None, NumberOfFrames=2**31 - 1, frame_ImagePositionPatient=positions, frame_ImageOrientationPatient=AXIAL * 3
    )
    volumes, frames = assemble_series([row])
    assert only(volumes)["timepoints"] == 2**31 - 1
    assert [f["frame"] for f in frames] == [None]
