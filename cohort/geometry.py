"""Affine, slice order, spacing and regularity: pure NumPy on positions and orientations.

All lengths are millimetres, all directions patient coordinates as DICOM has them (LPS: towards left, posterior,
head). A frame is placed by ImagePositionPatient, the centre of its first voxel, and ImageOrientationPatient, the
direction cosines of its rows and of its columns (PS3.3 C.7.6.2.1.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SAME_PLACE_MM, SAME_PLACE_PIXELS = 0.01, 0.02
"""Frames closer than both show the same place: DS values are rounded to about 0.001 mm, and voxels of micro-CT are
themselves 0.01 mm."""

FLAT = 1e-4
"""Axes of length 1 whose smallest singular value is less lie in one plane: float32 headers round below."""

LENGTHS_MM = (1e-9, 1e9)
"""A spacing is in between, a place not beyond: less than an atom, or a thousand kilometres, is what no scanner means,
and squares of it would overflow."""

SMALLEST_PLACE_MM = 1e-6
"""Closer than a nanometre is the noise of the arithmetic."""

SAME_SPACING = 1e-3
"""Pixel spacings that differ by less of themselves are one: over 512 pixels that is half a pixel."""

SAME_DIRECTION = 1e-3
"""Direction cosines that differ less are one orientation: scanners jitter by 1e-6 to 1e-4."""

UNIFORM_RELATIVE = 0.01
"""Gaps are equal within 1 %, or within what is one place: the strictest of the tools in use (highdicom, Slicer)."""

DRIFT_MM = 0.05
"""In-plane offset that rounding of positions cannot explain; less where the same place is."""

MISSING_RATIO = 0.1
"""A gap within 10 % of a multiple of the spacing is a hole; anything else is another kind of irregularity."""

ORTHONORMAL = 1e-3
"""Deviation of length and angle of the direction cosines that rounding explains."""


@dataclass(frozen=True)
class Stack:
    """What the positions of the frames of one stack say. Lengths in mm, angles in degrees.

    Parameters
    ----------
    order : array of int
        Frames sorted by their position along the normal, ascending.
    projections : array of float
        Positions along the normal, in that order.
    spacing : float or None
        Median gap; None where there is a single position.
    min_gap, max_gap : float or None
        Extremes of the gaps.
    missing : int
        Slices lacking inside the stack.
    uniform : bool
        All gaps are equal.
    unique : bool
        No two frames share a position.
    places : int
        Distinct positions.
    same_place : float
        Positions closer than this are one place.
    drift_row, drift_col : float
        Largest offset along the rows, along the columns.
    tilt : float
        Angle between the line of the positions and the normal.
    step : array (3,) or None
        Vector from one slice to the next; sheared where there is tilt.
    """

    order: NDArray[np.intp]
    projections: Floats
    spacing: float | None
    min_gap: float | None
    max_gap: float | None
    missing: int
    uniform: bool
    unique: bool
    places: int
    same_place: float
    drift_row: float
    drift_col: float
    tilt: float
    step: Floats | None

    @property
    def drift_limit(self) -> float:
        """In-plane offset from which on the frames do not lie behind one another."""
        return _drift_limit(self.same_place)


def slice_normal(orientation: Sequence[float] | Floats) -> Floats:
    """Return the unit normal, rows x columns, of an orientation of 6 cosines."""
    cosines = np.asarray(orientation, dtype=np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0 else normal


def is_length(length: float) -> bool:
    """Tell whether a number of mm may be a spacing."""
    return LENGTHS_MM[0] < length < LENGTHS_MM[1]


def is_orientation(cosines: Sequence[float]) -> bool:
    """Tell whether six direction cosines have a normal: about of length 1, and not along each other."""
    if not max(map(abs, cosines)) < 2:
        return False
    row, column = np.asarray(cosines, dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    return all(0.5 < length < 2 for length in lengths) and float(np.linalg.norm(np.cross(row, column))) > FLAT


def is_orthonormal(orientation: Sequence[float] | Floats) -> bool:
    """Tell whether the two directions have unit length and a right angle between them."""
    rows, columns = (
        np.asarray(orientation[:3], dtype=np.float64),
        np.asarray(orientation[3:], dtype=np.float64),
    )
    lengths = abs(np.linalg.norm(rows) - 1) <= ORTHONORMAL and abs(np.linalg.norm(columns) - 1) <= ORTHONORMAL
    return bool(lengths and abs(rows @ columns) <= ORTHONORMAL)


def obliquity_degrees(normal: Floats) -> float:
    """Return the angle between a normal and the nearest patient axis."""
    nearest = float(np.max(np.abs(normal)))
    return float(np.degrees(np.arccos(min(1.0, nearest))))


def measure_stack(positions: Floats, orientation: Floats, pixel: float | None = None) -> Stack:
    """Project positions on the normal and measure what lies between them.

    Parameters
    ----------
    positions : array (n, 3)
        ImagePositionPatient of each frame, mm (LPS).
    orientation : array (6,)
        Common ImageOrientationPatient.
    pixel : float, optional
        Smaller one of the in-plane spacings, mm: the scale on which positions are one place.

    Returns
    -------
    Stack
        The spacing is the median of the gaps between distinct positions (the lower one of an even number, so
        that it is a gap that occurs), never SliceThickness or SpacingBetweenSlices.
    """
    normal = slice_normal(orientation)
    projected = positions @ normal
    same_place = same_place_mm(projected, pixel)
    places = place_numbers(projected, same_place)
    order = np.lexsort((*positions.T, places))
    distinct = np.full(int(places.max()) + 1, np.inf)
    np.minimum.at(distinct, places, projected)
    gaps = np.diff(distinct)
    unique = len(distinct) == len(projected)
    drift_row, drift_col = (_drift(positions, np.asarray(orientation[i : i + 3])) for i in (0, 3))
    if len(gaps) == 0:
        return Stack(
            order, projected[order], None, None, None, 0, True, unique, 1, same_place, drift_row, drift_col, 0.0, None
        )
    spacing = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    odd = np.abs(gaps - spacing) > max(UNIFORM_RELATIVE * spacing, same_place)
    missing = _missing(gaps[odd], spacing)
    line = positions[order[-1]] - positions[order[0]]
    return Stack(
        order, projected[order], spacing, float(gaps.min()), float(gaps.max()), missing, not odd.any(), unique,
        len(distinct), same_place, drift_row, drift_col, _angle(line, normal, _drift_limit(same_place)),
        line / (len(gaps) + missing),
    )  # fmt: skip


def same_place_mm(projections: Floats, pixel: float | None = None) -> float:
    """Return how far apart positions along the normal are still one place.

    Parameters
    ----------
    projections : array (n,)
        Positions along the normal, mm. They give the scale where no pixel spacing does: the median of their gaps,
        those left out that are small beside the largest.
    pixel : float, optional
        Smaller one of the in-plane spacings, mm.
    """
    if pixel is None:
        gaps = np.diff(np.sort(projections))
        gaps = gaps[gaps > 0.01 * gaps.max(initial=0.0)]
        pixel = float(np.median(gaps)) if len(gaps) else np.inf
    return max(SMALLEST_PLACE_MM, min(SAME_PLACE_MM, SAME_PLACE_PIXELS * pixel))


def place_numbers(projections: Floats, same_place: float) -> NDArray[np.intp]:
    """Return the number of the place of each position, ascending from 0; those closer than `same_place` share one."""
    numbers = np.empty(len(projections), np.intp)
    place, first = -1, -np.inf
    for i in np.argsort(projections, kind="stable"):
        if projections[i] - first > same_place:
            place, first = place + 1, projections[i]
        numbers[i] = place
    return numbers


def same_spacing(first: Sequence[float], second: Sequence[float]) -> bool:
    """Tell whether two pixel spacings differ by no more than rounding."""
    return all(abs(a - b) <= SAME_SPACING * min(a, b) for a, b in zip(first, second, strict=True))


def _drift_limit(same_place: float) -> float:
    return DRIFT_MM / SAME_PLACE_MM * same_place


def _drift(positions: Floats, direction: Floats) -> float:
    along = positions @ direction
    return float(along.max() - along.min())


def _missing(odd_gaps: Floats, spacing: float) -> int:
    """Count slices lacking, where every odd gap is near a multiple of the spacing; 0 where one is not."""
    ratios = odd_gaps / spacing
    whole = np.round(ratios)
    if np.any(whole < 2) or np.any(np.abs(ratios - whole) > MISSING_RATIO):
        return 0
    return int(np.sum(whole - 1))


def _angle(line: Floats, normal: Floats, limit: float) -> float:
    along = float(line @ normal)
    across = float(np.linalg.norm(line - along * normal))
    return float(np.degrees(np.arctan2(across, abs(along)))) if across > limit else 0.0


def affine_from_frames(
    position: Floats, orientation: Floats, spacing_row: float, spacing_col: float, step: Floats
) -> Floats:
    """Return the 4x4 matrix (column, row, slice, 1) -> mm (LPS).

    Parameters
    ----------
    position : array (3,)
        Centre of the first voxel of the first slice.
    orientation : array (6,)
        Direction of the rows, of the columns.
    spacing_row, spacing_col : float
        Distance between rows, between columns (PixelSpacing[0], PixelSpacing[1]).
    step : array (3,)
        Vector from one slice to the next.
    """
    affine = np.eye(4)
    affine[:3, 0] = np.asarray(orientation[:3]) * spacing_col
    affine[:3, 1] = np.asarray(orientation[3:]) * spacing_row
    affine[:3, 2] = step
    affine[:3, 3] = position
    return affine


def mosaic_corner(
    position: Floats, orientation: Floats, spacing: Floats, sheet: tuple[int, int], grid: tuple[int, int]
) -> Floats:
    """Return the position of the first slice of a mosaic.

    Parameters
    ----------
    position : array (3,)
        ImagePositionPatient of the mosaic: that of a slice with its rows and columns around the centre of the first.
    orientation : array (6,)
        Direction of the rows, of the columns.
    spacing : array (2,)
        Distance between rows, between columns.
    sheet, grid : tuple of int
        Rows and columns of the mosaic; tiles down and across.
    """
    rows, columns = ((length - length // tiles) / 2 for length, tiles in zip(sheet, grid, strict=True))
    moved: Floats = position + orientation[3:] * rows * spacing[0] + orientation[:3] * columns * spacing[1]
    return moved


LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM counts towards left and posterior, NIfTI towards right and anterior."""

MS_PER_UNIT = {8: 1000.0, 16: 1.0, 24: 0.001}
"""Codes of the unit of time, xyzt_units & 56 (NIfTI-1, nifti1.h): second, millisecond, microsecond; else no time."""

MM_PER_UNIT: dict[int, float | None] = {0: None, 1: 1000.0, 2: 1.0, 3: 0.001}
"""Codes of the spatial unit, xyzt_units & 7 (NIfTI-1, nifti1.h): unknown, metre, millimetre, micrometre."""


_HALF_TURN = 1e-7
"""Below it the first part of a float32 quaternion is rounding: a turn by 180 degrees (as nifti1_io.c decides)."""


def nifti_qform(quatern: Sequence[float], pixdim: Sequence[float]) -> Floats:
    """Return the 4x4 matrix of the qform (NIfTI-1, method 2), in the units of the header, RAS.

    Parameters
    ----------
    quatern : sequence of 6 floats
        quatern_b, c, d and qoffset_x, y, z.
    pixdim : sequence of float
        qfac, then the grid spacings. A qfac of 0 is read as 1.
    """
    vector = np.asarray(quatern[:3], dtype=np.float64)
    rest = 1.0 - float(vector @ vector)
    if rest < _HALF_TURN:
        vector, rest = vector / np.linalg.norm(vector), 0.0
    a, (b, c, d) = float(np.sqrt(rest)), (float(q) for q in vector)
    rotation = np.array([
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ])  # fmt: skip
    zooms = np.abs(np.asarray(pixdim[1:4], dtype=np.float64))
    zooms[2] *= -1.0 if pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * zooms
    affine[:3, 3] = quatern[3:6]
    return affine


def nifti_sform(srow: Sequence[float]) -> Floats:
    """Return the 4x4 matrix of the sform (NIfTI-1, method 3), in the units of the header, RAS."""
    return np.vstack([np.asarray(srow, dtype=np.float64).reshape(3, 4), [0.0, 0.0, 0.0, 1.0]])


def corner_distance(first: Floats, second: Floats, shape: Sequence[int]) -> float:
    """Return how far apart two affines place the corners of an image at most, in their units."""
    corners = np.array([[x, y, z, 1] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)])
    return float(np.linalg.norm((corners @ (first - second).T)[:, :3], axis=1).max())


def axis_degrees(first: Floats, second: Floats) -> float:
    """Return the largest angle between the same axis of two affines; 180 where one runs the other way."""
    a, b = (matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0) for matrix in (first, second))
    across = np.linalg.norm(np.cross(a, b, axis=0), axis=0)  # exact for small angles, as the cosine is not
    return float(np.degrees(np.arctan2(across, np.sum(a * b, axis=0))).max())


def column_lengths(affine: Floats) -> list[float]:
    """Return the lengths of the three direction columns: the grid spacings."""
    return [float(length) for length in np.linalg.norm(affine[:3, :3], axis=0)]


def spans_grid(affine: Floats, dimensions: int = 3) -> bool:
    """Tell whether the first axes of an affine make a grid: finite, of some length, none a combination of others."""
    if not np.isfinite(affine).all():
        return False
    axes = affine[:3, :dimensions]
    lengths = np.linalg.norm(axes, axis=0)
    return bool((lengths > 0).all()) and int(np.linalg.matrix_rank(axes / lengths, tol=FLAT)) == dimensions


def shear_degrees(affine: Any) -> float:
    """Return the angle between the third column and the normal of the first two."""
    matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
    normal = np.cross(matrix[:, 0], matrix[:, 1])
    lengths = float(np.linalg.norm(normal) * np.linalg.norm(matrix[:, 2]))
    if not np.isfinite(lengths) or lengths == 0:
        return 0.0
    return float(np.degrees(np.arccos(min(1.0, abs(float(normal @ matrix[:, 2])) / lengths))))
