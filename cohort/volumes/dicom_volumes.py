"""Rows of `volumes` and `frames` for one DICOM series."""

from __future__ import annotations

from typing import Any

import numpy as np

from cohort import geometry
from cohort.readers import key_of
from cohort.schema import Status
from cohort.volumes.frames import (
    Frame,
    Row,
    frames_of,
    has_bad_rescale,
    measured,
    orientation_of,
    size_of,
    spacing_source,
)
from cohort.volumes.splitting import Group, split_series
from cohort.volumes.suv import suv_of

_WHOLE_SLIDE = "SM"

_CHECKS = (
    "single_orientation", "orthogonal_orientation", "unique_slice_positions", "consistent_in_plane_row",
    "consistent_in_plane_col", "consistent_pixel_spacing", "consistent_image_dimensions", "uniform_slice_spacing",
)  # fmt: skip


def assemble_series(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Assemble one series.

    Parameters
    ----------
    rows : list of dict
        The images of the series: rows of `files` with status ok.

    Returns
    -------
    volumes, frames : list of dict
        Rows of the two tables; every frame of every image occurs once in `frames`, which names its object.
    """
    frames = [frame for row in rows for frame in frames_of(row)]
    groups = split_series(frames, rows[0]["Modality"])
    volumes, listed = [], []
    for group in groups:
        volume, members = _volume(group)
        volumes.append(volume)
        listed += members
    return volumes, listed


def _volume(group: Group) -> tuple[Row, list[Row]]:
    first = min(group.frames, key=lambda frame: frame.sort_key)
    row = first.row
    volume: Row = {
        "volume_id": _volume_id(group),
        "series_key": row["series_key"],
        "SeriesInstanceUID": row["SeriesInstanceUID"],
        "Modality": row["Modality"],
        "format": "dicom",
        "status": Status.OK,
        "split_reason": ", ".join(dict.fromkeys(group.reasons)) or None,
        "channels": _channels(row),
        "value_unit": value_unit(row, first),
        "value_source": _value_source(group.frames),
        "real_world_value_mapping": any(frame.row["real_world_value_mapping"] for frame in group.frames),
        "slice_thickness_mm": _thickness(first),
        "spacing_between_slices_mm": row["SpacingBetweenSlices"],
        "stored_dtype": _stored_dtype(row),
        **suv_of(list({id(frame.row): frame.row for frame in group.frames}.values())),
    }
    volume["rows"], volume["columns"] = size_of(row)
    volume["spacing_row_mm"], volume["spacing_col_mm"] = first.spacing or (None, None)
    volume["spacing_source"] = spacing_source(first)
    places = _places(group, volume)
    _count(group, volume)
    _describe_slide(row, volume)
    return volume, _frame_rows(group, volume, places)


def _volume_id(group: Group) -> str:
    names = sorted(f"{frame.row['instance_key']}:{frame.number or 0}" for frame in group.frames)
    return key_of(group.frames[0].row["series_key"], *names, *([f"version {group.version}"] if group.version else []))


def _places(group: Group, volume: Row) -> list[tuple[Frame, int, int, float | None]]:
    """Order the frames: (frame, time point, slice, position); write what the positions say into the volume."""
    whole = group.frames[0]
    if whole.number is None or whole.position is None:
        volume["slices"], volume["timepoints"] = (1, 1) if whole.number is not None else _frames_of_object(whole.row)
        _flag_mosaic(group, volume)
        return [(whole, 0, 0, None)]
    orientation = orientation_of(group.frames)
    stacks = [measured(t, orientation) for t in group.timepoints]
    volume |= {"slices": len(group.timepoints[0]), "timepoints": len(group.timepoints)}
    _measure(group, volume, stacks, orientation)
    _flag_mosaic(group, volume)
    return [
        (timepoint[i], t, z, float(stack.projections[z]))
        for t, (timepoint, stack) in enumerate(zip(group.timepoints, stacks, strict=True))
        for z, i in enumerate(stack.order)
    ]


def _frames_of_object(row: Row) -> tuple[int, int]:
    """Return slices and time points of an object taken whole: only nuclear medicine says that frames are slices."""
    frames, vector = row["NumberOfFrames"], row["SliceVector"] or [1]
    slices = max(1, max(vector))
    if len(vector) == frames and frames % slices == 0 and vector == [*range(1, slices + 1)] * (frames // slices):
        return slices, frames // slices
    return 1, frames


def _measure(group: Group, volume: Row, stacks: list[geometry.Stack], orientation: Any) -> None:
    stack, frames = stacks[0], group.frames
    cosines = np.array([frame.orientation for frame in frames])
    drift_row, drift_col = max(s.drift_row for s in stacks), max(s.drift_col for s in stacks)
    checks = {
        "single_orientation": bool(np.all(np.abs(cosines - orientation) <= geometry.SAME_DIRECTION)),
        "orthogonal_orientation": geometry.is_orthonormal(orientation),
        "unique_slice_positions": all(s.unique for s in stacks) and not _same_places(group),
        "consistent_in_plane_row": all(s.drift_row <= s.drift_limit for s in stacks),
        "consistent_in_plane_col": all(s.drift_col <= s.drift_limit for s in stacks),
        "consistent_pixel_spacing": _one_spacing([frame.spacing for frame in frames]),
        "consistent_image_dimensions": len({size_of(frame.row) for frame in frames}) == 1,
        "uniform_slice_spacing": all(s.uniform for s in stacks),
    }
    volume |= checks | {
        "obliquity_degrees": geometry.obliquity_degrees(geometry.slice_normal(orientation)),
        "spacing_slice_mm": stack.spacing,
        "missing_slice_count": max(s.missing for s in stacks),
        "min_slice_gap_mm": stack.min_gap,
        "max_slice_gap_mm": stack.max_gap,
        "in_plane_drift_mm": max(drift_row, drift_col),
        "tilt_degrees": max(s.tilt for s in stacks),
    }
    if stack.spacing is not None:
        failing = [name for name in _CHECKS if not checks[name]]
        volume["regularly_spaced_3d_volume"] = not failing
        volume["reason_not_regular"] = ", ".join(failing) or None
    if volume["spacing_row_mm"] is not None:
        normal = geometry.slice_normal(orientation)
        step = normal * (volume["slice_thickness_mm"] or 1.0) if stack.step is None else stack.step
        position = np.array(group.timepoints[0][stack.order[0]].position)
        affine = geometry.affine_from_frames(
            position, orientation, volume["spacing_row_mm"], volume["spacing_col_mm"], step
        )
        volume["affine_lps"] = affine.ravel().tolist()


def _one_spacing(spacings: list[tuple[float, float] | None]) -> bool:
    given = [spacing for spacing in spacings if spacing is not None]
    if not given or len(given) < len(spacings):
        return not given
    rows, columns = zip(*given, strict=True)
    return geometry.same_spacing((min(rows), min(columns)), (max(rows), max(columns)))


def _same_places(group: Group) -> bool:
    return any(reason == "same_position" for _, _, reason in group.set_aside)


def _flag_mosaic(group: Group, volume: Row) -> None:
    """Mark mosaics that could not be taken apart: the place of the whole says nothing of its slices.

    Images at places of their own are slices, whatever ImageType still calls them.
    """
    problems = sorted({problem for frame in group.frames if (problem := frame.row["mosaic_problem"])})
    if problems and volume["slices"] == 1:
        reason = f"mosaic_not_unpacked: {', '.join(problems)}"
        volume |= {"regularly_spaced_3d_volume": False, "reason_not_regular": reason}


def _count(group: Group, volume: Row) -> None:
    roles = [role for _, role, _ in group.set_aside]
    instances = {id(f.row): f.row for f in group.frames} | {id(f.row): f.row for f, _, _ in group.set_aside}
    volume |= {
        "duplicate_slice_count": roles.count("duplicate"),
        "excluded_instance_count": roles.count("excluded"),
        "n_files": len(instances),
        "n_bytes": sum(row["size"] for row in instances.values()),
    }


def _describe_slide(row: Row, volume: Row) -> None:
    """Describe a level of a slide, or of its segmentation, by the whole matrix: its frames are tiles, not read."""
    rows, columns = row["TotalPixelMatrixRows"], row["TotalPixelMatrixColumns"]
    if rows is not None and columns is not None:
        volume |= {"rows": rows, "columns": columns, "slices": 1, "timepoints": 1}
    if volume["Modality"] == _WHOLE_SLIDE or rows is not None:
        volume["reason"] = "whole_slide"


def _frame_rows(group: Group, volume: Row, places: list[tuple[Frame, int, int, float | None]]) -> list[Row]:
    placed = [
        _frame_row(frame, volume) | {"role": "image", "timepoint": t, "slice": z, "position_mm": position}
        for frame, t, z, position in places
    ]
    aside = [_frame_row(frame, volume) | {"role": role, "reason": reason} for frame, role, reason in group.set_aside]
    return placed + aside


def _frame_row(frame: Frame, volume: Row) -> Row:
    return {
        "source": frame.row["source"],
        "path_raw": frame.row["path_raw"],
        "volume_id": volume["volume_id"],
        "frame": frame.number,
        "slope": frame.slope,
        "intercept": frame.intercept,
    }


def _channels(row: Row) -> int:
    return 3 if row["PhotometricInterpretation"] == "PALETTE COLOR" else row["SamplesPerPixel"] or 1


def _thickness(frame: Frame) -> float | None:
    values = frame.row["frame_SliceThickness"]
    thickness = frame.row["SliceThickness"] if values is None else next(iter(values[frame.number or 0 :]), None)
    return thickness if thickness is not None and np.isfinite(thickness) else None


def _stored_dtype(row: Row) -> str | None:
    bits = row["BitsAllocated"]
    return None if bits is None else f"{'int' if row['PixelRepresentation'] else 'uint'}{bits}"


def _value_source(frames: list[Frame]) -> str:
    if any(frame.row["ModalityLUTType"] is not None for frame in frames):
        return "modality_lut"
    return "rescale" if any(frame.slope is not None for frame in frames) else "stored"


def value_unit(row: Row, frame: Frame) -> str:
    """Return the unit of the modality values; `arbitrary` where none is meant, `unknown` where it should be known.

    Hounsfield units need a CT with a rescale (PS3.3 C.11.1.1.2: RescaleType absent means HU there), or a rescale or a
    table that says so.
    """
    modality, rescaled, table = row["Modality"], frame.slope is not None, row["ModalityLUTType"]
    if has_bad_rescale(row):
        return "unknown"
    if _channels(row) != 1:
        return "arbitrary"
    if modality == "PT":
        return row["Units"] or "unknown"
    if modality == "RTDOSE":
        return row["DoseUnits"] or "unknown"
    if modality == "SEG":
        return "label"
    declared = table if table is not None else row["RescaleType"] if rescaled else None
    if declared and declared.upper() not in ("US", "UNSPECIFIED", "NORMALIZED"):
        return str(declared)
    if modality == "CT":
        return "HU" if rescaled and not declared else "unknown"
    return "arbitrary"
