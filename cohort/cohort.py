"""Opening a run: its tables, its volumes, and histograms by any attribute."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cohort import reductions
from cohort.errors import MissingStageError
from cohort.places import ObjectPath, is_url, place_of
from cohort.store import RunFolder, read_part

if TYPE_CHECKING:
    from collections.abc import Sequence

    import dask.array as da
    import dask.dataframe as dd
    import pandas as pd
    from numpy.typing import NDArray

    from cohort.places import Place


@dataclass(frozen=True)
class Volume:
    """One image with its place in space.

    Parameters
    ----------
    data : dask array
        Modality values; axes as `axes` says.
    axes : tuple of str
        Of t, c, z, y, x those that the image has.
    affine_lps : array (4, 4) or None
        (column, row, slice, 1) to mm (LPS); None where the orientation is unknown.
    spacing_mm : tuple
        Row, column and slice spacing in mm; None where unknown.
    value_unit : str
        Unit of the values.
    info : dict
        The row of `volumes`.
    """

    data: da.Array
    axes: tuple[str, ...]
    affine_lps: NDArray[np.float64] | None
    spacing_mm: tuple[float | None, float | None, float | None]
    value_unit: str
    info: dict[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis."""
        return tuple(self.data.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the modality values."""
        dtype: np.dtype[Any] = self.data.dtype
        return dtype

    def compute(self) -> NDArray[Any]:
        """Read all voxels into memory."""
        return np.asarray(self.data.compute())

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self.compute(), dtype=dtype)

    @property
    def affine_ras(self) -> NDArray[np.float64] | None:
        """The affine towards right and anterior, as NIfTI counts."""
        return None if self.affine_lps is None else np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine_lps


class Cohort:
    """An opened run folder. Tables are read when first asked for.

    Parameters
    ----------
    path : Place
        The run folder.
    """

    def __init__(self, path: Place) -> None:
        self.run_folder = RunFolder(path)
        self.run_folder.check_opened()

    def __repr__(self) -> str:
        return f"Cohort({str(self.run_folder.path)!r})"

    @property
    def files(self) -> dd.DataFrame:
        """One row per listed object, as a dask dataframe; the columns that the scan was asked for come last."""
        import dask.dataframe as dd

        parts = self.run_folder.parts("files")
        if any(isinstance(part, ObjectPath) for part in parts):
            return dd.from_map(_frame_of, parts)
        return dd.read_parquet([str(path) for path in parts])

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row per DICOM series or NIfTI image."""
        return self._frame("series")

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """One row per volume."""
        return self._frame("volumes")

    @cached_property
    def statistics(self) -> pd.DataFrame:
        """One row per volume whose pixels were read: exact moments and percentiles."""
        return self._frame("statistics")

    @cached_property
    def labels(self) -> pd.DataFrame:
        """One row per label of a mask and image, where `cohort reduce --labels` counted them."""
        if not self.run_folder.has("labels"):
            raise MissingStageError("labels have not been counted; run: cohort reduce OUT --labels")
        return self._frame("labels")

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row per finding, errors first."""
        return self._frame("findings")

    def _frame(self, table: str) -> pd.DataFrame:
        frame: pd.DataFrame = self.run_folder.read(table).to_pandas()
        return frame

    def info(self) -> dict[str, Any]:
        """Return `run.json`: versions, configuration, counts and timings."""
        return self.run_folder.info()

    def record(self, stage: str) -> dict[str, Any] | None:
        """Return the commit record of a stage, None where it has not been committed."""
        return self.run_folder.record(stage)

    def volume(self, volume_id: str) -> Volume:
        """Open one volume.

        Parameters
        ----------
        volume_id : str
            As in `volumes`.

        Raises
        ------
        KeyError
            If there is no such volume.
        MissingStageError
            If its pixels have not been read, or could not be.
        """
        import dask.array as da

        rows = self.run_folder.read("volumes", volume_ids=[volume_id]).to_pylist()
        if not rows:
            raise KeyError(volume_id)
        row = rows[0]
        if row["zarr_path"] is None:
            raise MissingStageError(f"volume {volume_id} has no pixels in Zarr: {row['reason'] or 'not ingested'}")
        stored = self.run_folder.open_volume(row["zarr_path"])
        names = self.run_folder.volume_attributes(row["zarr_path"])["ome"]["multiscales"][0]["axes"]
        affine = None if row["affine_lps"] is None else np.array(row["affine_lps"]).reshape(4, 4)
        return Volume(
            da.from_array(stored, chunks=stored.chunks, name=False),
            tuple(axis["name"] for axis in names),
            affine,
            (row["spacing_row_mm"], row["spacing_col_mm"], row["spacing_slice_mm"]),
            row["value_unit"],
            row,
        )

    def voxels(self, modality: str) -> da.Array:
        """Return all modality values of one Modality as a 1-D dask array, volumes in order of their ids."""
        import dask.array as da

        table = self.run_folder.read("volumes", ["volume_id", "Modality", "zarr_path"]).to_pylist()
        chosen = sorted((r["volume_id"], r["zarr_path"]) for r in table if r["Modality"] == modality and r["zarr_path"])
        if not chosen:
            raise KeyError(modality)
        arrays = [self.run_folder.open_volume(path) for _, path in chosen]
        return da.concatenate([da.from_array(a, chunks=a.chunks, name=False).ravel() for a in arrays])

    def histogram(self, by: str | Sequence[str] = "Modality", *, view: str = "all") -> pd.DataFrame:
        """Return exact histograms per group, merged from partials; see `cohort.reductions.histogram`."""
        return reductions.histogram(self.run_folder, by, view=view)

    def spacing(self, by: str | Sequence[str] = "Modality") -> pd.DataFrame:
        """Return exact spacing distributions per group; see `cohort.reductions.spacing`."""
        return reductions.spacing(self.run_folder, by)


def _frame_of(part: Place) -> pd.DataFrame:
    frame: pd.DataFrame = read_part(part).to_pandas()
    return frame


def open_run(path: str | Place) -> Cohort:
    """Open a run folder.

    Parameters
    ----------
    path : str or Place
        OUT of an earlier run: a folder, or `s3://bucket/prefix`.

    Raises
    ------
    OutputError
        If it is no run folder, or one of another format version.
    """
    return Cohort(Path(path) if isinstance(path, str) and not is_url(path) else place_of(path))
