"""`cohort export`: one volume out of a run, as a file that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort.errors import FormatError, MisuseError, OutputError, RunError
from cohort.listing import named_volume, why_irregular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cohort.cohort import Cohort, Volume

Row = dict[str, Any]

_ENDINGS = (".nii", ".nii.gz")


def export_nifti(cohort: Cohort, name: str, path: Path) -> Row:
    """Write one volume as NIfTI.

    Parameters
    ----------
    cohort : Cohort
        The run; ingested.
    name : str
        `volume_id`, its first digits, or the number that the report has for it (V0001).
    path : Path
        The file, `.nii` or `.nii.gz`; it must not exist.

    Returns
    -------
    dict
        `volume_id`, `path`, `shape` and `axes` (as in Zarr), `dtype`, `version` of NIfTI, and `notes`: what the file
        cannot say.

    Raises
    ------
    MisuseError
        If there is no such volume, it has no pixels, or the file cannot be made.
    FormatError
        If the volume in Zarr is damaged.
    """
    from cohort.readers.nifti_write import NiftiImage, write_nifti

    _check_path(path)
    row = named_volume(cohort, name)
    if row["zarr_path"] is None:
        reason = row["reason"] or "its pixels were not read"
        raise MisuseError(
            f"volume {name} has no pixels in Zarr: {reason}; `cohort show --volumes` lists those that have"
        )
    volume = cohort.volume(row["volume_id"])
    lengths = dict(zip(volume.axes, volume.shape, strict=True))
    across, along, through = volume.spacing_mm
    image = NiftiImage(
        (lengths.get("t", 1), lengths.get("c", 1), lengths.get("z", 1), lengths["y"], lengths["x"]),
        volume.dtype,
        volume.affine_ras,
        (along, across, through),
        row["timepoint_step_ms"],
        label=volume.value_unit == "label",
    )
    try:
        write_nifti(path, image, _Slabs(cohort, volume))
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or type(error).__name__}") from None
    return {
        "volume_id": row["volume_id"], "path": str(path), "shape": list(volume.shape), "axes": list(volume.axes),
        "dtype": volume.dtype.name, "version": image.version, "notes": _notes(row),
    }  # fmt: skip


def _check_path(path: Path) -> None:
    if not path.name.endswith(_ENDINGS):
        raise OutputError(f"{path} is no name for a NIfTI file; let it end in {' or '.join(_ENDINGS)}")
    if path.exists():
        raise OutputError(f"{path} exists; name a new file")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent}; make it, or name another")


def _notes(row: Row) -> list[str]:
    """Return what gets lost on the way, in words."""
    notes = []
    if row["affine_lps"] is None:
        notes.append("its place in space is not known: the file has no sform")
    if row["regularly_spaced_3d_volume"] is False:
        notes.append(f"it is no regular grid ({why_irregular(row)}), and a NIfTI file cannot but look like one")
    return notes


class _Slabs:
    """Reads the values of a volume with all five axes."""

    def __init__(self, cohort: Cohort, volume: Volume) -> None:
        self._stored = cohort.run_folder.open_volume(volume.info["zarr_path"])
        self._axes = volume.axes

    def __call__(self, t: int, channels: slice, slices: slice) -> NDArray[Any]:
        wanted = {"t": slice(t, t + 1), "c": channels, "z": slices}
        place = tuple(wanted.get(axis, slice(None)) for axis in self._axes)
        try:
            values = np.asarray(self._stored[place])
        except (ValueError, RuntimeError):  # a checksum that does not match; a stream that does not inflate
            raise FormatError(
                "the volume in Zarr is damaged; remove its folder and run `cohort ingest` again"
            ) from None
        shape = [values.shape[self._axes.index(axis)] if axis in self._axes else 1 for axis in "tczyx"]
        return values.reshape(shape[1:])
