"""Findings on masks beside the images that they may belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.checks.finding import finding
from cohort.linking import has_grid, lies_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

Row = dict[str, Any]


def check_masks(masks: Iterable[tuple[Row, list[Row]]]) -> Iterator[Row]:
    """Yield a finding for every mask that lies on the grid of no image it may belong to.

    A mask of which slices are left out, or an image of irregular spacing, has no grid to compare: nothing is said.

    Parameters
    ----------
    masks : iterable of (dict, list of dict)
        Mask and images: `cohort.linking.masks_of`.
    """
    for mask, images in masks:
        if not images or not all(has_grid(row) for row in (mask, *images)):
            continue
        if any(lies_in(mask, image) for image in images):
            continue
        apart, image = min(((_apart(mask, image), image) for image in images), key=lambda pair: pair[0])
        yield finding(
            "LBL-GEOMETRY-DISAGREES",
            mask["volume_id"],
            images=len(images),
            mask_size=_size(mask).tolist(),
            image_size=_size(image).tolist(),
            mask_spacing_mm=_spacing(mask),
            image_spacing_mm=_spacing(image),
            corners_mm=apart,
        )


def _apart(mask: Row, image: Row) -> float:
    """Return how far a corner of the mask is at most from that of an image, in mm."""
    return round(float(np.linalg.norm(_corners(mask) - _corners(image), axis=1).max()), 3)


def _corners(row: Row) -> NDArray[np.float64]:
    """Return the centres of the eight voxels at the corners, in mm (8, 3)."""
    ends = np.stack(np.meshgrid(*((0, size - 1) for size in _size(row)), indexing="ij"), axis=-1).reshape(-1, 3)
    affine = _affine(row)
    placed: NDArray[np.float64] = ends @ affine[:3, :3].T + affine[:3, 3]
    return placed


def _size(row: Row) -> NDArray[np.int64]:
    return np.array([row["columns"], row["rows"], row["slices"]])


def _spacing(row: Row) -> list[float]:
    return [round(float(step), 4) for step in np.linalg.norm(_affine(row)[:3, :3], axis=0)]


def _affine(row: Row) -> NDArray[np.float64]:
    return np.array(row["affine_lps"], np.float64).reshape(4, 4)
