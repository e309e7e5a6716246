"""Rows of `volumes` and `frames` for one NIfTI image."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cohort import geometry
from cohort.readers import key_of, nifti_type
from cohort.schema import Status

Row = dict[str, Any]

_SPACE_UNIT, _TIME_UNIT = 7, 56  # bits of xyzt_units
_MAX_SHEAR_DEGREES = 0.1  # float32 headers round below this


def assemble_image(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Assemble NIfTI images that share a key.

    Parameters
    ----------
    rows : list of dict
        The image, and others with the same size, beginning and end. The end of a gzip stream holds the CRC and the
        length of its content, so there these are copies. Of plain files nothing is known of what lies between: each
        is an image of its own.

    Returns
    -------
    volumes, frames : list of dict
        One frame row per file: an image is taken whole.
    """
    rows = sorted(rows, key=lambda row: (row["source"], row["path"]))
    groups = [rows] if rows[0]["container"] == "gzip" else [[row] for row in rows]
    volumes, frames = [], []
    for version, group in enumerate(groups):
        volume, listed = _assemble_copies(group, version)
        volumes.append(volume)
        frames += listed
    return volumes, frames


def _assemble_copies(rows: list[Row], version: int) -> tuple[Row, list[Row]]:
    """Assemble one image and its exact copies."""
    row = rows[0]
    dim = [*row["nifti_dim"][1 : row["nifti_dim"][0] + 1], 1, 1, 1, 1, 1, 1]
    dtype, parts = nifti_type(row["nifti_datatype"])
    volume: Row = {
        "volume_id": key_of(row["instance_key"], f"version {version}") if version else row["instance_key"],
        "series_key": row["series_key"],
        "Modality": row["Modality"],
        "modality_source": row["modality_source"],
        "format": "nifti",
        "status": Status.OK,
        "rows": dim[1],
        "columns": dim[0],
        "slices": dim[2],
        "timepoints": dim[3],
        "timepoint_step_ms": _timepoint_step(row, dim),
        "channels": dim[4] * parts,
        "value_source": "stored" if rescale_of(row) == (None, None) else "rescale",
        "value_unit": "label" if row["Modality"] == "SEG" else "unknown",
        "slice_thickness_mm": row["SliceThickness"],
        "spacing_between_slices_mm": row["SpacingBetweenSlices"],
        "stored_dtype": dtype,
        "duplicate_slice_count": len(rows) - 1,
        "excluded_instance_count": 0,
        "n_files": len(rows),
        "n_bytes": sum(r["size"] for r in rows),
    }
    if math.prod(dim[5:7]) > 1:
        volume |= {"status": Status.REJECTED, "reason": "too_many_dimensions"}
    volume |= _geometry(row, dim) | _disagreement(row, dim)
    slope, intercept = rescale_of(row)
    frames = [
        {"source": r["source"], "path_raw": r["path_raw"], "volume_id": volume["volume_id"]}
        | {"slope": slope, "intercept": intercept}
        for r in rows
    ]
    frames[0] |= {"role": "image", "timepoint": 0, "slice": 0}
    for copy in frames[1:]:
        copy |= {"role": "duplicate", "reason": "same_content"}
    return volume, frames


def rescale_of(row: Row) -> tuple[float | None, float | None]:
    """Return slope and inter; None, None where the header means unscaled (slope 0 or not finite)."""
    slope, inter = row["nifti_scl_slope"], row["nifti_scl_inter"]
    if slope is None or not math.isfinite(slope) or slope == 0 or inter is None or not math.isfinite(inter):
        return None, None
    return (None, None) if (slope, inter) == (1.0, 0.0) else (slope, inter)


def _timepoint_step(row: Row, dim: list[int]) -> float | None:
    """Return the time from one time point to the next in ms: pixdim[4], known only with a unit of time."""
    factor = geometry.MS_PER_UNIT.get(row["nifti_xyzt_units"] & _TIME_UNIT)
    step = row["nifti_pixdim"][4]
    if dim[3] < 2 or factor is None or not math.isfinite(step) or step <= 0:
        return None
    return float(f"{step * factor:.7g}")  # the digits that a float32 holds


def _geometry(row: Row, dim: list[int]) -> Row:
    """Place the image: sform where its code is set, else qform, else spacing alone (as nibabel and the standard do)."""
    factor = _millimetres(row)
    if row["nifti_sform_code"] > 0:
        affine, source = geometry.nifti_sform(row["nifti_srow"]), "nifti_sform"
    elif row["nifti_qform_code"] > 0:
        affine, source = geometry.nifti_qform(row["nifti_quatern"], row["nifti_pixdim"]), "nifti_qform"
    else:
        affine, source = np.diag([*np.abs(row["nifti_pixdim"][1:4]), 1.0]), "nifti_pixdim"
    lengths = [
        length * factor if geometry.is_length(length * factor) else None for length in geometry.column_lengths(affine)
    ]
    found: Row = {
        "spacing_col_mm": lengths[0],
        "spacing_row_mm": lengths[1],
        "spacing_slice_mm": lengths[2] if dim[2] > 1 else None,
        "spacing_source": source if any(length is not None for length in lengths) else None,
        "missing_slice_count": 0,
    }
    dimensions = 3 if dim[2] > 1 else 2
    whole = all(length is not None for length in lengths[:dimensions])
    if whole and source != "nifti_pixdim" and geometry.spans_grid(affine, dimensions):
        found |= _placed(affine, factor)
    if whole and dim[2] > 1:
        found |= _verdict(affine, lengths[2], found.get("orthogonal_orientation"))
    return found


def _verdict(affine: Any, gap: float | None, orthogonal: bool | None) -> Row:
    """Judge the grid: one affine has no other irregularity than axes that are not at right angles."""
    shear = geometry.shear_degrees(affine)
    upright = shear <= _MAX_SHEAR_DEGREES
    checks = {
        "single_orientation": True,
        "orthogonal_orientation": orthogonal,
        "unique_slice_positions": True,
        "consistent_in_plane_row": upright,
        "consistent_in_plane_col": upright,
        "consistent_pixel_spacing": True,
        "consistent_image_dimensions": True,
        "uniform_slice_spacing": True,
    }
    failing = [name for name, holds in checks.items() if holds is False]
    return checks | {
        "tilt_degrees": 0.0 if upright else shear,
        "min_slice_gap_mm": gap,
        "max_slice_gap_mm": gap,
        "regularly_spaced_3d_volume": not failing,
        "reason_not_regular": ", ".join(failing) or None,
    }


def _disagreement(row: Row, dim: list[int]) -> Row:
    """Return how far apart the two forms are, where both have a code and are grids."""
    if row["nifti_sform_code"] <= 0 or row["nifti_qform_code"] <= 0:
        return {}
    sform = geometry.nifti_sform(row["nifti_srow"])
    qform = geometry.nifti_qform(row["nifti_quatern"], row["nifti_pixdim"])
    if not all(np.isfinite(form).all() and min(geometry.column_lengths(form)) > 0 for form in (sform, qform)):
        return {}
    return {
        "form_disagreement_mm": geometry.corner_distance(sform, qform, dim[:3]) * _millimetres(row),
        "form_disagreement_degrees": geometry.axis_degrees(sform, qform),
    }


def _millimetres(row: Row) -> float:
    """Return the millimetres in the header's unit of space; where it is unknown they are meant."""
    return geometry.MM_PER_UNIT.get(row["nifti_xyzt_units"] & _SPACE_UNIT) or 1.0


def _placed(affine: Any, factor: float) -> Row:
    """Return what only an image with an orientation has."""
    scaled = geometry.LPS_FROM_RAS @ np.diag([factor, factor, factor, 1.0]) @ affine
    rows, columns = (scaled[:3, i] / np.linalg.norm(scaled[:3, i]) for i in (0, 1))
    cosines = np.concatenate([rows, columns])
    return {
        "affine_lps": scaled.ravel().tolist(),
        "orthogonal_orientation": geometry.is_orthonormal(cosines),
        "obliquity_degrees": geometry.obliquity_degrees(geometry.slice_normal(cosines)),
    }
