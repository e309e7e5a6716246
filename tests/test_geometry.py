"""Spacing, order, holes, tilt and affines do not depend on how the patient lies or how the files are ordered."""

from __future__ import annotations

import itertools
import math
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cohort import geometry
from cohort.geometry import measure_stack

Floats = np.ndarray[Any, Any]

AXIAL = np.array([1.0, 0, 0, 0, 1, 0])
CORONAL = np.array([1.0, 0, 0, 0, 0, -1])
SAGITTAL = np.array([0.0, 1, 0, 0, 0, -1])

seeds = st.integers(0, 2**32 - 1)


def rotation(seed: int) -> Floats:
    """Return a random rotation (QR of a normal matrix, made proper)."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, [1, 0, 2]]


def along_z(places: list[float] | Floats) -> Floats:
    return np.array([[-100.0, -120.0, z] for z in places])


def even(n: int, gap: float) -> Floats:
    return along_z(np.arange(n) * gap)


def turned(positions: Floats, orientation: Floats, seed: int) -> tuple[Floats, Floats]:
    turn, shift = rotation(seed), np.random.default_rng(seed + 1).uniform(-500, 500, 3)
    return positions @ turn.T + shift, np.concatenate([turn @ orientation[:3], turn @ orientation[3:]])


# -- spacing -----------------------------------------------------------------------------------------------


@given(seeds, st.integers(2, 40), st.floats(0.1, 20))
def test_spacing_is_the_same_however_the_patient_is_turned_and_moved(seed: int, n: int, gap: float) -> None:
    stack = measure_stack(*turned(even(n, gap), AXIAL, seed))
    assert stack.spacing == pytest.approx(gap, abs=1e-9)
    assert (stack.missing, stack.uniform, stack.unique, stack.tilt) == (0, True, True, 0.0)
    assert max(stack.drift_row, stack.drift_col) < 1e-9
    assert stack.step is not None
    assert np.linalg.norm(stack.step) == pytest.approx(gap, abs=1e-9)


@given(st.permutations(range(12)), seeds)
def test_slices_in_any_order_are_the_same_stack(permutation: list[int], seed: int) -> None:
    positions, orientation = turned(even(12, 2.5), AXIAL, seed)
    stack = measure_stack(positions[permutation], orientation)
    np.testing.assert_array_equal(np.asarray(permutation)[stack.order], np.arange(12))
    assert np.all(np.diff(stack.projections) > 0)
    assert stack.spacing == pytest.approx(2.5)


@given(seeds, st.floats(-3, 3), st.sampled_from([None, 0.4]), st.sets(st.integers(1, 10), max_size=3))
def test_scaling_the_positions_scales_lengths_and_leaves_verdicts(
    seed: int, power: float, pixel: float | None, holes: set[int]
) -> None:
    """From micrometres to metres: what is one place, one spacing, a hole or a tilt does not depend on size."""
    factor = 10**power
    tilted = np.array([1, 0, 0, 0, math.cos(0.1), math.sin(0.1)])
    for orientation in (AXIAL, tilted):
        slices = np.delete(even(12, 3.0), sorted(holes), axis=0)
        positions, turned_orientation = turned(np.vstack([slices, slices[2:4]]), orientation, seed)
        before = measure_stack(positions, turned_orientation, pixel)
        after = measure_stack(positions * factor, turned_orientation, None if pixel is None else pixel * factor)
        for name in ("spacing", "min_gap", "max_gap", "step"):
            assert getattr(after, name) == pytest.approx(getattr(before, name) * factor), name
        assert after.tilt == pytest.approx(before.tilt, abs=1e-6)
        assert (after.missing, after.uniform, after.unique, after.places) == (len(holes), not holes, False, len(slices))
        drift = before.drift_col > before.drift_limit
        assert drift == (after.drift_col > after.drift_limit) == (orientation is tilted)


def test_a_single_slice_has_no_spacing() -> None:
    stack = measure_stack(even(1, 1.0), AXIAL)
    assert (stack.spacing, stack.min_gap, stack.max_gap, stack.step) == (None, None, None, None)
    assert (stack.missing, stack.uniform, stack.unique) == (0, True, True)


def test_copies_of_one_slice_have_no_spacing_and_are_not_unique() -> None:
    stack = measure_stack(along_z([5.0, 5.0, 5.0]), AXIAL)
    assert stack.spacing is None
    assert not stack.unique


@pytest.mark.parametrize("place", range(1, 11))
def test_a_slice_missing_at_any_inner_place_is_counted_and_leaves_the_spacing(place: int) -> None:
    positions = np.delete(even(12, 2.0), place, axis=0)
    stack = measure_stack(positions, AXIAL)
    assert (stack.spacing, stack.missing, stack.uniform) == (2.0, 1, False)
    assert (stack.min_gap, stack.max_gap) == (2.0, 4.0)
    np.testing.assert_allclose(stack.step, [0, 0, 2.0])


@given(st.sets(st.integers(1, 28), max_size=9), seeds)
def test_all_inner_holes_are_counted(holes: set[int], seed: int) -> None:
    positions, orientation = turned(even(30, 1.25), AXIAL, seed)
    stack = measure_stack(np.delete(positions, sorted(holes), axis=0), orientation)
    assert stack.spacing == pytest.approx(1.25)
    assert stack.missing == len(holes)
    assert stack.uniform == (not holes)


def test_a_gap_that_is_no_multiple_is_irregular_and_not_a_hole() -> None:
    stack = measure_stack(along_z([0, 2, 4, 6, 9, 11]), AXIAL)
    assert (stack.spacing, stack.missing, stack.uniform) == (2.0, 0, False)
    assert (stack.min_gap, stack.max_gap) == (2.0, 3.0)


def test_the_spacing_of_an_even_number_of_gaps_is_one_that_occurs() -> None:
    stack = measure_stack(along_z([0, 2, 4, 9, 14]), AXIAL)
    assert (stack.spacing, stack.uniform) == (2.0, False)


def test_duplicates_do_not_change_the_spacing() -> None:
    positions = np.vstack([even(12, 2.0), even(12, 2.0)[[3, 3, 7]]])
    stack = measure_stack(positions, AXIAL)
    assert (stack.spacing, stack.uniform, stack.unique, stack.missing) == (2.0, True, False, 0)
    assert stack.min_gap == 2.0


@pytest.mark.parametrize("degrees", [-30.0, -12.5, 1.0, 5.0, 20.0, 30.0])
def test_a_tilted_gantry_shortens_the_spacing_and_shows_as_tilt_and_drift(degrees: float) -> None:
    angle = math.radians(degrees)
    orientation = np.array([1, 0, 0, 0, math.cos(angle), math.sin(angle)])
    stack = measure_stack(even(12, 5.0), orientation)
    assert stack.spacing == pytest.approx(5 * math.cos(angle))
    assert stack.tilt == pytest.approx(abs(degrees))
    assert stack.drift_row == pytest.approx(0, abs=1e-9)
    assert stack.drift_col == pytest.approx(55 * abs(math.sin(angle)))
    assert stack.uniform
    np.testing.assert_allclose(stack.step, [0, 0, 5.0], atol=1e-9)


@given(seeds)
def test_jitter_of_a_hundred_thousandth_changes_nothing(seed: int) -> None:
    random = np.random.default_rng(seed)
    positions, orientation = turned(even(20, 0.625), AXIAL, seed)
    stack = measure_stack(
        positions + random.uniform(-1e-5, 1e-5, positions.shape), orientation + random.uniform(-1e-5, 1e-5, 6)
    )
    assert stack.spacing == pytest.approx(0.625, abs=1e-4)
    assert (stack.uniform, stack.unique, stack.missing, stack.tilt) == (True, True, 0, 0.0)
    assert max(stack.drift_row, stack.drift_col) < geometry.DRIFT_MM


def test_positions_closer_than_rounding_are_one_place() -> None:
    close, apart = 0.9 * geometry.SAME_PLACE_MM, 1.1 * geometry.SAME_PLACE_MM
    assert not measure_stack(along_z([0, 1, 1 + close, 2]), AXIAL).unique
    assert measure_stack(along_z([0, 1, 1 + apart, 2]), AXIAL).unique


@pytest.mark.parametrize("voxel", [0.005, 0.01, 0.02])
def test_slices_of_micro_ct_are_places_of_their_own(voxel: float) -> None:
    stack = measure_stack(even(20, voxel), AXIAL, voxel)
    assert (stack.places, stack.unique, stack.uniform) == (20, True, True)
    assert stack.spacing == pytest.approx(voxel)
    holed = measure_stack(np.delete(even(20, voxel), 7, axis=0), AXIAL, voxel)
    assert (holed.missing, holed.uniform) == (1, False)
    assert holed.spacing == pytest.approx(voxel)


def test_the_pixel_tells_jitter_of_one_place_from_slices_of_micro_ct() -> None:
    jittered = along_z([10.0, 10.004, 10.002, 10.001])
    assert measure_stack(jittered, AXIAL, 0.7).places == 1
    assert measure_stack(jittered, AXIAL, 0.002).places == 4


def test_pixel_spacings_are_one_up_to_a_thousandth() -> None:
    assert geometry.same_spacing((0.48825, 0.7), (0.48825 * 1.0009, 0.7 / 1.0009))
    assert not geometry.same_spacing((0.48825, 0.7), (0.48825, 0.7 * 1.0011))
    assert not geometry.same_spacing((0.7 * 1.0011, 1.0), (0.7, 1.0))


@pytest.mark.parametrize("gap", [0.5, 5.0])
def test_gaps_are_equal_within_the_larger_of_one_percent_and_a_hundredth_of_a_millimetre(gap: float) -> None:
    tolerance = max(0.01 * gap, 0.01)
    for excess, uniform in ((0.9, True), (1.1, False)):
        places = np.arange(8) * gap
        places[-1] += excess * tolerance
        assert measure_stack(along_z(places), AXIAL).uniform is uniform


# -- directions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, -AXIAL, -CORONAL])
def test_a_stack_along_a_patient_axis_is_not_oblique(orientation: Floats) -> None:
    assert geometry.obliquity_degrees(geometry.slice_normal(orientation)) == 0.0
    assert geometry.is_orthonormal(orientation)


def test_the_normal_is_rows_times_columns() -> None:
    np.testing.assert_allclose(geometry.slice_normal(AXIAL), [0, 0, 1])
    np.testing.assert_allclose(geometry.slice_normal(SAGITTAL), [-1, 0, 0])
    np.testing.assert_allclose(geometry.slice_normal(CORONAL), [0, 1, 0])
    np.testing.assert_allclose(geometry.slice_normal(3 * AXIAL), [0, 0, 1])


@pytest.mark.parametrize("degrees", [0.5, 10.0, 44.0])
@pytest.mark.parametrize("axis", [0, 1])
def test_obliquity_is_the_angle_to_the_nearest_axis(degrees: float, axis: int) -> None:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) if axis == 0 else np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    orientation = np.concatenate([turn @ AXIAL[:3], turn @ AXIAL[3:]])
    assert geometry.obliquity_degrees(geometry.slice_normal(orientation)) == pytest.approx(degrees)


def test_the_most_oblique_stack_lies_along_the_diagonal() -> None:
    assert geometry.obliquity_degrees(np.ones(3) / math.sqrt(3)) == pytest.approx(54.7356, abs=1e-4)


@given(seeds)
def test_a_turned_orientation_stays_orthonormal_and_a_bent_one_does_not(seed: int) -> None:
    orientation = turned(even(1, 1), AXIAL, seed)[1]
    assert geometry.is_orthonormal(orientation)
    assert not geometry.is_orthonormal(np.concatenate([orientation[:3], orientation[3:] * 1.01]))
    assert not geometry.is_orthonormal(np.concatenate([orientation[:3] * 0.99, orientation[3:]]))
    assert not geometry.is_orthonormal(np.concatenate([orientation[:3], orientation[3:] + 0.01 * orientation[:3]]))


# -- affines -----------------------------------------------------------------------------------------------


@given(seeds, st.integers(0, 500), st.integers(0, 500), st.integers(0, 500))
def test_the_affine_places_a_voxel_as_the_standard_says(seed: int, column: int, row: int, slice_: int) -> None:
    random = np.random.default_rng(seed)
    positions, orientation = turned(even(2, 3.0), AXIAL, seed)
    step, (spacing_row, spacing_col) = positions[1] - positions[0], random.uniform(0.1, 2, 2)
    affine = geometry.affine_from_frames(positions[0], orientation, spacing_row, spacing_col, step)
    # PS3.3 C.7.6.2.1.1: PixelSpacing[1] along the row direction by column index, [0] along the column direction.
    expected = (
        positions[0] + column * spacing_col * orientation[:3] + row * spacing_row * orientation[3:] + slice_ * step
    )
    np.testing.assert_allclose((affine @ [column, row, slice_, 1])[:3], expected, atol=1e-8)
    np.testing.assert_array_equal(affine[3], [0, 0, 0, 1])
    assert geometry.column_lengths(affine) == pytest.approx([spacing_col, spacing_row, 3.0])


@given(seeds, st.sampled_from([-1.0, 1.0]))
def test_the_qform_is_that_of_nibabel(seed: int, qfac: float) -> None:
    random = np.random.default_rng(seed)
    header = nib.Nifti1Header()
    affine = np.eye(4)
    affine[:3, :3] = rotation(seed) * random.uniform(0.2, 5, 3) * [1, 1, qfac]
    affine[:3, 3] = random.uniform(-200, 200, 3)
    header.set_qform(affine, code=1)
    quatern = [float(header[f]) for f in ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")]
    found = geometry.nifti_qform(quatern, header["pixdim"].tolist())
    np.testing.assert_allclose(found, header.get_qform(), atol=1e-5)
    np.testing.assert_allclose(found, affine, atol=1e-3)


def test_a_qfac_of_zero_is_read_as_one_and_negative_spacings_by_their_size() -> None:
    base = geometry.nifti_qform([0, 0, 0, 1, 2, 3], [1, 2, 3, 4])
    np.testing.assert_array_equal(base, [[2, 0, 0, 1], [0, 3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]])
    np.testing.assert_array_equal(geometry.nifti_qform([0, 0, 0, 1, 2, 3], [0, 2, -3, 4]), base)
    assert geometry.nifti_qform([0, 0, 0, 0, 0, 0], [-1, 2, 3, 4])[2, 2] == -4


def test_a_quaternion_longer_than_one_still_is_a_rotation() -> None:
    affine = geometry.nifti_qform([0.8, 0.8, 0.0, 0, 0, 0], [1, 2, 3, 4])
    assert geometry.column_lengths(affine) == pytest.approx([2, 3, 4])


@given(seeds)
def test_the_sform_is_that_of_nibabel(seed: int) -> None:
    header = nib.Nifti1Header()
    affine = np.vstack([np.random.default_rng(seed).normal(size=(3, 4)), [0, 0, 0, 1]])
    header.set_sform(affine, code=2)
    srow = [float(v) for name in ("srow_x", "srow_y", "srow_z") for v in header[name]]
    np.testing.assert_array_equal(geometry.nifti_sform(srow), header.get_sform())


def test_the_directions_of_dicom_and_nifti_differ_in_the_first_two_axes() -> None:
    np.testing.assert_array_equal(geometry.LPS_FROM_RAS @ [1, 2, 3, 1], [-1, -2, 3, 1])
    assert geometry.MM_PER_UNIT == {0: None, 1: 1000.0, 2: 1.0, 3: 0.001}


@given(seeds, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)))
def test_the_corner_distance_is_the_largest_over_all_voxels(seed: int, shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(seed)
    first, second = (np.vstack([random.normal(size=(3, 4)), [0, 0, 0, 1]]) for _ in range(2))
    voxels = np.array([[*index, 1] for index in itertools.product(*(range(n) for n in shape))])
    distances = np.linalg.norm(voxels @ first.T - voxels @ second.T, axis=1)
    assert geometry.corner_distance(first, second, shape) == pytest.approx(distances.max())
    assert geometry.corner_distance(first, first, shape) == 0.0


@pytest.mark.parametrize("degrees", [0.0, 0.5, 15.0, 40.0])
@given(seed=seeds)
def test_shear_is_the_angle_between_the_step_and_the_normal(seed: int, degrees: float) -> None:
    affine = np.diag([0.7, 0.8, 2.0, 1.0])
    affine[1, 2] = 2.0 * math.tan(math.radians(degrees))
    affine[:3, :3] = rotation(seed) @ affine[:3, :3]
    assert geometry.shear_degrees(affine) == pytest.approx(degrees, abs=1e-5)


def test_an_affine_without_volume_has_no_shear() -> None:
    assert geometry.shear_degrees(np.diag([1.0, 1.0, 0.0, 1.0])) == 0.0
    assert geometry.shear_degrees(np.full((4, 4), np.nan)) == 0.0
