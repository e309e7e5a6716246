"""Seeded voxel fields: what the scanner saw, as stored values, one frame at a time.

Every frame has a random stream of its own, so one frame can be made without the others and the truth of a
large cohort never has to lie in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Field = npt.NDArray[np.float64]
Noise = npt.NDArray[np.float32]


@dataclass(frozen=True)
class VoxelRecipe:
    """All that is needed to make the voxels of one volume again.

    Parameters
    ----------
    kind : str
        Name of the field, a key of ``FIELDS``.
    seed : int
        Seed of the noise.
    rows, columns, channels, timepoints : int
        Size of the volume in the other directions.
    planes : tuple of int
        Planes of the field that exist, ascending along the normal. A missing slice is a number left out.
    field_planes : int
        Planes the field would have without gaps.
    dtype : str
        NumPy type of the stored values.
    low, high : float
        Least and greatest stored value: the range of the bits stored.
    slopes, intercepts : tuple of float
        One for all frames, or one per frame with time outermost.
    padding_value : int or None
        Stored value outside the field of view.
    """

    kind: str
    seed: int
    rows: int
    columns: int
    planes: tuple[int, ...]
    field_planes: int
    dtype: str = "int16"
    channels: int = 1
    timepoints: int = 1
    low: float = -32768.0
    high: float = 32767.0
    slopes: tuple[float, ...] = (1.0,)
    intercepts: tuple[float, ...] = (0.0,)
    padding_value: int | None = None

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Size of the volume: timepoints, channels, slices, rows, columns."""
        return self.timepoints, self.channels, len(self.planes), self.rows, self.columns

    def slope(self, time: int, index: int) -> float:
        """Rescale slope of one frame."""
        return self.slopes[0] if len(self.slopes) == 1 else self.slopes[time * len(self.planes) + index]

    def intercept(self, time: int, index: int) -> float:
        """Rescale intercept of one frame."""
        several = len(self.intercepts) > 1
        return self.intercepts[time * len(self.planes) + index] if several else self.intercepts[0]


def stored_frame(recipe: VoxelRecipe, time: int, index: int) -> npt.NDArray[np.generic]:
    """Make the stored values of one frame, shape (channels, rows, columns)."""
    plane = recipe.planes[index]
    depth = 0.0 if recipe.field_planes == 1 else 2.0 * plane / (recipe.field_planes - 1) - 1.0
    rng = np.random.default_rng([recipe.seed, time, plane])
    y, x = _grid(recipe.rows, recipe.columns)
    # Single precision: noise needs no more, and large slices are made twice as fast.
    noise = rng.standard_normal((recipe.channels, recipe.rows, recipe.columns), dtype=np.float32)
    physical = FIELDS[recipe.kind](0.9 * depth, y, x, noise, time)
    stored = (physical - recipe.intercept(time, index)) / recipe.slope(time, index)
    if recipe.dtype.startswith("float"):
        return stored.astype(recipe.dtype)
    np.rint(stored, out=stored)
    frame = np.clip(stored, recipe.low, recipe.high, out=stored).astype(recipe.dtype)
    if recipe.padding_value is not None:
        frame[:, x * x + y * y > 1.0] = recipe.padding_value
    return frame


def modality_values(recipe: VoxelRecipe) -> Field:
    """Modality values of the volume: stored value times slope plus intercept, frame by frame."""
    values = np.empty(recipe.shape, dtype=np.float64)
    for time in range(recipe.timepoints):
        for index in range(len(recipe.planes)):
            frame = stored_frame(recipe, time, index).astype(np.float64)
            values[time, :, index] = frame * recipe.slope(time, index) + recipe.intercept(time, index)
    return values


def padding_mask(recipe: VoxelRecipe) -> npt.NDArray[np.bool_]:
    """Where the stored value is the padding value."""
    mask = np.zeros(recipe.shape, dtype=np.bool_)
    if recipe.padding_value is None:
        return mask
    for time in range(recipe.timepoints):
        for index in range(len(recipe.planes)):
            mask[time, :, index] = stored_frame(recipe, time, index) == recipe.padding_value
    return mask


def _grid(rows: int, columns: int) -> tuple[Field, Field]:
    """Row and column coordinates from -1 to 1, as a column and a row that broadcast."""
    return np.linspace(-1.0, 1.0, rows)[:, None], np.linspace(-1.0, 1.0, columns)[None, :]


def _ellipsoid(z: float, y: Field, x: Field, center: tuple[float, float, float], radii: Field) -> Field:
    """Squared distance from the center in units of the radii: below 1 is inside."""
    cz, cy, cx = center
    distance: Field = ((z - cz) / radii[0]) ** 2 + ((y - cy) / radii[1]) ** 2 + ((x - cx) / radii[2]) ** 2
    return distance


_BODY = np.array([1.3, 0.70, 0.85])
_LUNG = np.array([0.8, 0.42, 0.26])
_SPINE = np.array([2.0, 0.12, 0.11])
_HEART = np.array([0.5, 0.22, 0.18])


def _body_parts(z: float, y: Field, x: Field) -> tuple[npt.NDArray[np.bool_], ...]:
    """Masks of body, lungs, spine and heart in one plane."""
    body = _ellipsoid(z, y, x, (0.0, 0.0, 0.0), _BODY) < 1.0
    left = _ellipsoid(z, y, x, (0.1, -0.05, 0.40), _LUNG) < 1.0
    right = _ellipsoid(z, y, x, (0.1, -0.05, -0.40), _LUNG) < 1.0
    spine = _ellipsoid(z, y, x, (0.0, 0.48, 0.0), _SPINE) < 1.0
    heart = _ellipsoid(z, y, x, (-0.2, -0.15, 0.08), _HEART) < 1.0
    return body, left | right, spine, heart


def _ct(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Hounsfield units: soft tissue near 40, lung near -820, bone near 700, air at -1000."""
    body, lungs, spine, heart = _body_parts(z, y, x)
    tissue = np.where(body, 40.0, -1000.0)
    tissue[lungs] = -820.0
    tissue[heart] = 110.0
    tissue[spine] = 700.0
    # Noise in air is one-sided: a reconstruction clips at the least stored value.
    return tissue + np.where(body, 14.0 * noise, 6.0 * np.abs(noise))


def _mr(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Magnitude image: bright tissue with a smooth coil profile, Rayleigh noise outside; later = brighter."""
    body, lungs, spine, heart = _body_parts(z, y, x)
    signal = np.where(body, 520.0, 0.0)
    signal[lungs] = 260.0
    signal[heart] = 700.0 + 90.0 * time
    signal[spine] = 130.0
    profile = 1.0 - 0.15 * (x * x + y * y)
    return np.abs(signal * profile + 18.0 * noise)


def _pt(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Activity in Bq/ml: background uptake, a hot lesion, nothing outside."""
    body, lungs, _, heart = _body_parts(z, y, x)
    activity = np.where(body, 2500.0, 0.0)
    activity[lungs] = 800.0
    activity[heart] = 9000.0
    activity[_ellipsoid(z, y, x, (0.3, 0.1, 0.35), np.array([0.25, 0.12, 0.10])) < 1.0] = 24000.0
    measured: Field = np.maximum(activity * (1.0 + 0.08 * noise), 0.0)
    return measured


def _us(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Speckle in a fan, grey with a little Doppler red that moves with time."""
    fan = np.abs(x) < 0.2 + 0.6 * (y + 1.0) / 2.0
    red, green, blue = np.where(fan, 70.0 + 35.0 * np.abs(noise), 0.0)
    vessel = (x - 0.05 * time + 0.2) ** 2 + (y - 0.1) ** 2 < 0.02
    red, green, blue = (
        np.where(vessel, 210.0, red),
        np.where(vessel, 40.0, green),
        np.where(vessel, 30.0, blue),
    )
    return np.stack([red, green, blue])


def _projection(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Film-like projection: the attenuation summed along the beam."""
    depth = np.sqrt(np.maximum(1.0 - (x / 0.85) ** 2 - (y / 0.95) ** 2, 0.0))
    spine = np.where(np.abs(x) < 0.09, 350.0, 0.0)
    return 300.0 + 1800.0 * depth + spine + 12.0 * noise


def _screen(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Colours of a captured screen: a gradient without noise."""
    still = 0.0 * noise
    return np.stack([127.5 * (x + 1.0) + still[0], 127.5 * (y + 1.0) + still[1], 60.0 + still[2]])


def _labels(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Label map: 0 outside, 1 body, 2 lungs, 3 heart."""
    body, lungs, _, heart = _body_parts(z, y, x)
    labels = np.where(body, 1.0, 0.0)
    labels[lungs] = 2.0
    labels[heart] = 3.0
    labelled: Field = labels + 0.0 * noise  # in the shape of the noise, without it
    return labelled


def _body(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Mask of the body, with specks: no two planes are alike."""
    body, *_ = _body_parts(z, y, x)
    return np.where(np.abs(noise) > 2.5, ~body, body).astype(np.float64)


def _lungs(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Mask of the lungs, with specks."""
    _, lungs, _, _ = _body_parts(z, y, x)
    return np.where(np.abs(noise) > 2.5, ~lungs, lungs).astype(np.float64)


def _dose(z: float, y: Field, x: Field, noise: Noise, time: int) -> Field:
    """Dose in Gy: 60 in the target, falling off smoothly around it."""
    distance = _ellipsoid(z, y, x, (0.1, 0.0, 0.2), np.array([0.5, 0.35, 0.3]))
    dose: Field = 60.0 / (1.0 + distance**2) + 0.01 * np.abs(noise)
    return dose


FIELDS: dict[str, Callable[[float, Field, Field, Noise, int], Field]] = {
    "body": _body,
    "ct": _ct,
    "dose": _dose,
    "labels": _labels,
    "lungs": _lungs,
    "mr": _mr,
    "projection": _projection,
    "pt": _pt,
    "screen": _screen,
    "us": _us,
}
