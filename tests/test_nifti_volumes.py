"""NIfTI images become volumes as nibabel would place them, and what is odd in a header is a finding."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from running import config_with

import cohort
from cohort import pipeline
from cohort.checks.nifti import check_image
from cohort.checks.volumes import check_volume
from cohort.config import CheckOptions
from cohort.readers import read_header
from cohort.schema import FILES, VOLUMES, Status
from cohort.volumes.nifti_volumes import assemble_image

if TYPE_CHECKING:
    from pathlib import Path

Row = dict[str, Any]

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (5, 4, 3)


def header_row(made: Any, name: str = "image.nii", beside: dict[str, bytes] | None = None) -> Row:
    """The row of `files` of an image, with exactly the header it has."""
    block, values = made.header.binaryblock, np.asanyarray(made.dataobj)
    data = bytearray(block + bytes(4) + values.tobytes(order="F"))
    if len(block) == 348:
        data[344:348], data[108:112] = b"n+1\0", np.float32(352).tobytes()
    row = read_header(
        io.BytesIO(bytes(data)), len(data), name, gzip_limit=1 << 24,
        neighbour=lambda other, limit: (beside or {}).get(other, b"")[:limit] or None,
    )  # fmt: skip
    assert row["status"] == Status.OK
    return (
        dict.fromkeys(FILES.names)
        | {"source": "/data", "path": name, "path_raw": name.encode(), "size": len(data)}
        | row
    )


def volume_of(made: Any, name: str = "image.nii") -> Row:
    (volume,), _ = assemble_image([header_row(made, name)])
    return dict.fromkeys(VOLUMES.names) | volume


def findings_of(made: Any, name: str = "image.nii") -> dict[str, Row]:
    """Code -> evidence of all findings on header and volume."""
    options = CheckOptions()
    found = [*check_image(header_row(made, name), options), *check_volume(volume_of(made, name), options)]
    return {one["code"]: json.loads(one["evidence"]) for one in found}


def image(shape: tuple[int, ...] = SHAPE, dtype: Any = "int16", **fields: Any) -> Any:
    """An image whose two forms agree; further header fields are set last."""
    values = np.zeros(shape, dtype)
    made = nib.Nifti1Image(values, np.diag([2.0, 3.0, 4.0, 1.0]), dtype=values.dtype)
    made.set_qform(made.affine, code=1)
    made.header["scl_slope"], made.header["scl_inter"] = 1, 0
    made.header.set_xyzt_units("mm", "sec")
    for field, value in fields.items():
        made.header[field] = value
    return made


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """Rotations of any kind, either handedness, any spacing and place."""
    vector = np.array([draw(st.floats(-1, 1)) for _ in range(4)])
    assume(abs(vector[0]) > 0.01 < np.linalg.norm(vector))  # near half a turn float32 decides nothing
    rotation = nib.quaternions.quat2mat(vector / np.linalg.norm(vector))
    zooms = np.array([draw(st.floats(0.1, 8)) for _ in range(3)])
    flip = draw(st.sampled_from([1.0, -1.0]))
    affine = np.eye(4)
    affine[:3, :3] = rotation * zooms * [1, 1, flip]
    affine[:3, 3] = [draw(st.floats(-300, 300)) for _ in range(3)]
    return affine


# -- place -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(affines(), affines(), st.integers(0, 4), st.integers(0, 4))
def test_the_place_is_that_of_nibabel_for_every_pair_of_codes(
    first: np.ndarray[Any, Any], second: np.ndarray[Any, Any], sform: int, qform: int
) -> None:
    made = image()
    made.set_qform(first, code=qform)
    made.set_sform(second, code=sform)
    volume = volume_of(made)
    if not sform and not qform:
        assert volume["affine_lps"] is None
        assert volume["spacing_source"] == "nifti_pixdim"
        assert volume["orthogonal_orientation"] is None
        spacing = made.header.get_zooms()
    else:
        expected = made.header.get_best_affine()
        np.testing.assert_allclose(np.reshape(volume["affine_lps"], (4, 4)), LPS @ expected, atol=1e-4)
        assert volume["spacing_source"] == ("nifti_sform" if sform else "nifti_qform")
        spacing = nib.affines.voxel_sizes(expected)
    found = [volume[f"spacing_{axis}_mm"] for axis in ("col", "row", "slice")]
    assert found == pytest.approx(list(spacing), rel=1e-5)
    assert volume["regularly_spaced_3d_volume"] is True
    assert (volume["form_disagreement_mm"] is not None) == bool(sform and qform)


@settings(max_examples=60, deadline=None)
@given(affines(), affines())
def test_the_disagreement_of_the_forms_is_the_largest_at_a_corner_and_of_an_axis(
    first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]
) -> None:
    made = image()
    made.set_qform(first, code=1)
    made.set_sform(second, code=1)
    corners = np.array([(x, y, z) for x in (0, 4) for y in (0, 3) for z in (0, 2)])
    qform, sform = made.get_qform(), made.get_sform()
    apart = nib.affines.apply_affine(qform, corners) - nib.affines.apply_affine(sform, corners)
    volume = volume_of(made)
    assert volume["form_disagreement_mm"] == pytest.approx(np.linalg.norm(apart, axis=1).max(), abs=1e-3)
    angles = [
        math.degrees(math.acos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))
        for a, b in zip(qform[:3, :3].T, sform[:3, :3].T, strict=True)
    ]
    assert volume["form_disagreement_degrees"] == pytest.approx(max(angles), abs=0.05)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 2, 3), (3, -2, 1)])
def test_half_a_turn_is_not_lost_in_the_rounding_of_the_header(axis: tuple[int, int, int]) -> None:
    unit = np.array(axis) / np.linalg.norm(axis)
    rotation = 2 * np.outer(unit, unit) - np.eye(3)
    affine = nib.affines.from_matvec(rotation * [0.5, 0.7, 2.0], [1.0, 2.0, 3.0])
    made = image((512, 512, 2))
    made.set_qform(affine, code=1)
    made.header["sform_code"] = 0
    found = np.reshape(volume_of(made)["affine_lps"], (4, 4))
    np.testing.assert_allclose(found @ [511, 511, 1, 1], LPS @ affine @ [511, 511, 1, 1], atol=1e-3)


def test_forms_that_disagree_are_a_finding_with_millimetres_and_degrees() -> None:
    turned = np.eye(4)
    cos, sin = math.cos(math.radians(10)), math.sin(math.radians(10))
    turned[:2, :2] = [[cos, -sin], [sin, cos]]
    made = image()
    made.set_sform(turned @ np.diag([2.0, 3.0, 4.0, 1.0]), code=1)
    evidence = findings_of(made)["NII-SFORM-QFORM"]
    assert evidence["angle_degrees"] == pytest.approx(10, abs=1e-4)
    assert evidence["corner_distance_mm"] == pytest.approx(2 * math.sin(math.radians(5)) * math.hypot(8, 9), abs=1e-4)
    assert findings_of(image()) == {}


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("micron", 1e-3), ("meter", 1e3)])
def test_the_disagreement_is_in_millimetres_whatever_the_unit(unit: str, factor: float) -> None:
    made = image()
    made.header.set_xyzt_units(unit, "sec")
    made.set_sform(np.array([[2, 0, 0, 5.0], [0, 3, 0, 0], [0, 0, 4, 0], [0, 0, 0, 1]]), code=1)
    assert volume_of(made)["form_disagreement_mm"] == pytest.approx(5 * factor)


def test_axes_in_the_plane_that_are_not_at_right_angles_are_not_regular() -> None:
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    affine[0, 1] = 1.0  # columns lean over the rows
    made = image(qform_code=0)
    made.set_sform(affine, code=1)
    volume = volume_of(made)
    assert volume["orthogonal_orientation"] is False
    assert (volume["regularly_spaced_3d_volume"], volume["reason_not_regular"]) == (False, "orthogonal_orientation")
    assert volume["tilt_degrees"] == 0.0


# -- odd headers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("broken", [0.0, math.nan, math.inf])
def test_a_form_that_is_no_grid_places_nothing_and_is_a_finding(broken: float) -> None:
    made = image(srow_z=[broken, broken, broken, 0], qform_code=0)
    volume = volume_of(made)
    assert volume["affine_lps"] is None
    assert volume["regularly_spaced_3d_volume"] is None
    assert findings_of(made)["NII-BAD-AFFINE"] == {"form": "sform"}


def test_an_offset_that_is_no_number_leaves_the_spacing() -> None:
    made = image(srow_x=[2, 0, 0, math.nan], qform_code=0)
    volume = volume_of(made)
    assert (volume["affine_lps"], volume["spacing_col_mm"]) == (None, 2.0)
    assert "NII-BAD-AFFINE" in findings_of(made)


@pytest.mark.parametrize(
    ("pixdim", "axes"), [([1, -2, 3, 4], [1]), ([1, 2, 0, math.nan], [2, 3]), ([1, 2, 3, math.inf], [3])]
)
def test_grid_spacings_that_are_none_are_a_finding_and_never_a_length(pixdim: list[float], axes: list[int]) -> None:
    made = image(qform_code=0, sform_code=0)
    made.header["pixdim"][:4] = pixdim
    volume = volume_of(made)
    for i, axis in enumerate(("col", "row", "slice"), 1):
        step = abs(pixdim[i])
        assert volume[f"spacing_{axis}_mm"] == (step if math.isfinite(step) and step else None)
    assert findings_of(made)["NII-BAD-PIXDIM"]["axes"] == axes


@pytest.mark.parametrize(("qfac", "bad"), [(1, False), (-1, False), (0, True), (2, True), (math.nan, True)])
def test_a_qfac_that_is_no_sign_is_a_finding_where_the_qform_counts(qfac: float, bad: bool) -> None:
    made = image()
    made.header["pixdim"][0] = qfac
    assert ("NII-BAD-QFAC" in findings_of(made)) == bad
    made.header["qform_code"] = 0
    assert "NII-BAD-QFAC" not in findings_of(made)


def test_zooms_that_are_not_the_spacing_of_the_affine_are_a_finding() -> None:
    made = image(qform_code=0)
    made.header.set_zooms((2, 2, 4))
    assert findings_of(made) == {"NII-PIXDIM-DISAGREES": {"affine_mm": [2, 3, 4], "pixdim_mm": [2, 2, 4]}}
    assert volume_of(made)["spacing_row_mm"] == 3.0


@pytest.mark.parametrize(
    ("unit", "step", "odd"), [(0, 0.002, True), (0, 25.0, True), (0, 1.0, False), (2, 25.0, False)]
)
def test_lengths_without_unit_that_no_body_image_has_are_a_finding(unit: int, step: float, odd: bool) -> None:
    made = nib.Nifti1Image(np.zeros(SHAPE, "int16"), np.diag([1.0, 1.0, step, 1.0]))
    made.header["xyzt_units"] = unit
    found = findings_of(made)
    assert ("NII-UNITS-IMPLAUSIBLE" in found) == odd
    assert ("NII-UNITS-UNKNOWN" in found) == (unit == 0)
    assert header_row(made)["nifti_xyzt_units"] == unit


# -- time, vectors, colours --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unit", "step", "expected"),
    [
        ("sec", 0.72, 720.0), ("msec", 2000.0, 2000.0), ("usec", 500.0, 0.5), ("unknown", 2.0, None), ("hz", 2.0, None),
        ("sec", 0.0, None), ("sec", -2.0, None), ("sec", math.nan, None),
    ],
)  # fmt: skip
def test_the_time_step_is_in_milliseconds_where_its_unit_is_known(
    unit: str, step: float, expected: float | None
) -> None:
    made = image((*SHAPE, 6))
    made.header.set_xyzt_units("mm", unit)
    made.header["pixdim"][4] = step
    volume = volume_of(made)
    assert (volume["timepoints"], volume["timepoint_step_ms"]) == (6, expected)
    assert ("NII-TIME-STEP-UNKNOWN" in findings_of(made)) == (expected is None)


def test_an_image_without_time_has_no_time_step() -> None:
    made = image()
    made.header["pixdim"][4] = 2.0
    assert volume_of(made)["timepoint_step_ms"] is None
    assert "NII-TIME-STEP-UNKNOWN" not in findings_of(made)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((5, 4, 3, 1), (3, 1, 1)), ((5, 4, 3, 1, 1), (3, 1, 1)), ((5, 4, 3, 1, 1, 1, 1), (3, 1, 1)),
        ((5, 4, 3, 2, 7), (3, 2, 7)), ((5, 4, 3, 1, 7, 1), (3, 1, 7)), ((5,), (1, 1, 1)), ((5, 4, 1, 6), (1, 6, 1)),
    ],
)  # fmt: skip
def test_trailing_dimensions_of_one_are_none(shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    volume = volume_of(image(shape))
    assert tuple(volume[name] for name in ("slices", "timepoints", "channels")) == expected
    assert (volume["columns"], volume["rows"]) == (5, shape[1] if len(shape) > 1 else 1)
    assert volume["status"] == Status.OK


@pytest.mark.parametrize("shape", [(5, 4, 3, 1, 1, 2), (5, 4, 3, 2, 2, 2, 2), (5, 4, 3, 1, 1, 1, 2)])
def test_a_sixth_or_seventh_dimension_is_rejected_with_its_reason(shape: tuple[int, ...]) -> None:
    volume = volume_of(image(shape))
    assert (volume["status"], volume["reason"]) == (Status.REJECTED, "too_many_dimensions")


_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_RGBA = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")])


@pytest.mark.parametrize(
    ("dtype", "channels", "stored"),
    [
        (_RGB, 3, "uint8"),
        (_RGBA, 4, "uint8"),
        ("complex64", 2, "float32"),
        ("complex128", 2, "float64"),
        ("int8", 1, "int8"),
    ],
)
def test_colours_and_complex_numbers_are_channels(dtype: Any, channels: int, stored: str) -> None:
    volume = volume_of(image(SHAPE, dtype))
    assert (volume["channels"], volume["stored_dtype"]) == (channels, stored)


# -- label maps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "intent", "sidecar", "modality", "source"),
    [
        ("sub-01_dseg.nii", 0, None, "SEG", "bids_suffix"),
        ("sub-01_T1w.nii", 1002, None, "MR", "bids_suffix"),
        ("labels.nii", 1002, None, "SEG", "intent_code"),
        ("labels.nii", 1002, "MR", "SEG", "intent_code"),
        ("image.nii", 0, "ct", "CT", "sidecar"),
        ("image.nii", 0, None, None, None),
        ("seg.nii", 1005, "", None, None),
    ],
)
def test_what_tells_the_modality_is_said(
    name: str, intent: int, sidecar: str | None, modality: str | None, source: str | None
) -> None:
    beside = {} if sidecar is None else {name.replace(".nii", ".json"): json.dumps({"Modality": sidecar}).encode()}
    row = header_row(image(intent_code=intent), name, beside)
    assert (row["Modality"], row["modality_source"]) == (modality, source)
    (volume,), _ = assemble_image([row])
    assert volume["modality_source"] == source
    assert (volume["value_unit"] == "label") == (modality == "SEG")


@pytest.mark.parametrize(("slope", "inter", "suspect"), [(1, 0, False), (0, 0, False), (2, 0, True), (1, 5, True)])
def test_a_label_map_that_is_scaled_is_a_finding(slope: float, inter: float, suspect: bool) -> None:
    made = image()
    made.header["intent_code"] = 1002
    row = header_row(made) | {"nifti_scl_slope": float(slope), "nifti_scl_inter": float(inter)}
    assert ("NII-LABELS-SCALED" in {f["code"] for f in check_image(row, CheckOptions())}) == suspect


def test_a_configured_modality_is_said_and_few_values_are_a_guess(tmp_path: Path) -> None:
    from cohort.config import config_from

    rng = np.random.default_rng(1)
    (tmp_path / "images" / "ct").mkdir(parents=True)
    values = {
        "ct/scan": rng.integers(0, 4000, (16, 16, 16)), "labels": rng.integers(0, 5, (16, 16, 16)),
        "signed": rng.integers(-2, 3, (16, 16, 16)), "sub-1_dseg": rng.integers(0, 5, (16, 16, 16)),
        "constant": np.full((16, 16, 16), 3),
    }  # fmt: skip
    for name, voxels in values.items():
        nib.save(nib.Nifti1Image(voxels.astype("int16"), np.eye(4)), tmp_path / "images" / f"{name}.nii.gz")
    config = config_from({"modality": {"ct/*": "CT"}, "cluster": {"scheduler": "sync"}})
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config)
    opened = cohort.open(tmp_path / "out")
    frames = opened.run_folder.read("frames", ["volume_id", "path_raw"]).to_pylist()
    names = {row["volume_id"]: row["path_raw"].decode().removesuffix(".nii.gz") for row in frames}
    volumes = opened.volumes.assign(name=opened.volumes["volume_id"].map(names)).set_index("name")
    assert (volumes.loc["ct/scan", "Modality"], volumes.loc["ct/scan", "modality_source"]) == ("CT", "configuration")
    assert volumes.loc["sub-1_dseg", "modality_source"] == "bids_suffix"
    assert volumes["modality_source"].isna()["labels"]
    guessed = opened.findings.query("code == 'PIX-LIKE-LABELS'")
    assert [names[subject] for subject in guessed["subject"]] == ["labels"]
    assert json.loads(guessed["evidence"].iloc[0]) == {"count": 4096, "values": 5}


def test_a_pair_is_one_volume_and_its_values_no_other(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    values = np.arange(60, dtype="int16").reshape(SHAPE)
    nib.save(nib.Nifti1Pair(values, np.eye(4)), tmp_path / "images" / "brain.hdr")
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config_with())
    opened = cohort.open(tmp_path / "out")
    (volume_id,) = opened.volumes["volume_id"]
    stored = opened.volume(volume_id).data.compute(scheduler="sync")
    np.testing.assert_array_equal(stored, values.T)
    assert opened.record("scan")["counts"]["objects"] == 2
