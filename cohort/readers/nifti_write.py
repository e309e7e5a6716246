"""Writing one image as NIfTI, slab by slab: the way out, beside the modules that read it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from isal import igzip
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from cohort import geometry
from cohort.schema import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_LONGEST_V1 = 32767  # NIfTI-1 keeps its dimensions in int16
_SCANNER, _UNKNOWN = 1, 0  # NIFTI_XFORM_SCANNER_ANAT, NIFTI_XFORM_UNKNOWN
_LABEL, _VECTOR = 1002, 1007  # NIFTI_INTENT_LABEL, NIFTI_INTENT_VECTOR
_COLOURS = {3: "RGB", 4: "RGBA"}  # NIFTI_TYPE_RGB24, NIFTI_TYPE_RGBA32: 8 bits a channel
_GZIP_LEVEL = 2  # of isal, 0 to 3
_SLAB_BYTES = 1 << 23


class ReadSlab(Protocol):
    """Reads (channel, slice, row, column) of one time point."""

    def __call__(self, t: int, channels: slice, slices: slice) -> NDArray[Any]:
        """Return the values of some channels and slices."""
        ...


@dataclass(frozen=True)
class NiftiImage:
    """What a NIfTI header says of an image.

    Parameters
    ----------
    shape : tuple of int
        Time, channel, slice, row, column.
    dtype : numpy.dtype
        Of the values; they are written as they are, with slope 1.
    affine_ras : array (4, 4) or None
        (column, row, slice, 1) to mm (RAS); None where the place in space is not known.
    spacing_mm : tuple of 3 floats or None
        Distance of columns, rows and slices; used where there is no affine.
    time_step_ms : float or None
        Distance of time points.
    label : bool
        The values are labels.
    """

    shape: tuple[int, int, int, int, int]
    dtype: np.dtype[Any]
    affine_ras: NDArray[np.float64] | None
    spacing_mm: tuple[float | None, float | None, float | None]
    time_step_ms: float | None
    label: bool = False

    @property
    def version(self) -> int:
        """NIfTI version: 2 where a dimension does not fit in 1."""
        return 2 if max(self.shape) > _LONGEST_V1 else 1

    @property
    def is_colour(self) -> bool:
        """Whether the channels make one voxel of colour; others are the fifth dimension."""
        return self.dtype == np.uint8 and self.shape[1] in _COLOURS


def write_nifti(path: Path, image: NiftiImage, read: ReadSlab) -> None:
    """Write an image as `.nii`, or `.nii.gz` by the name; it is there whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    image : NiftiImage
        What the header says.
    read : ReadSlab
        Gives the values; at most about 8 MiB are asked for at a time.

    Notes
    -----
    NIfTI-1, or NIfTI-2 where a dimension exceeds 32767. The sform is the affine, sheared or not; the qform, which can
    only turn and scale, is set where it says the same within 2 % of a voxel at every corner. Units are mm and s.
    """
    with _replacing(path) as file:
        file.write(_header(image).binaryblock + bytes(4))  # no extensions
        _, channels, slices, rows, columns = image.shape
        together = channels if image.is_colour else 1
        step = max(1, _SLAB_BYTES // (rows * columns * together * image.dtype.itemsize))
        for c in range(0, channels, together):
            for t in range(image.shape[0]):
                for z in range(0, slices, step):
                    values = read(t, slice(c, c + together), slice(z, min(z + step, slices)))
                    file.write(np.ascontiguousarray(np.moveaxis(values, 0, -1), image.dtype.newbyteorder("<")))


@contextmanager
def _replacing(path: Path) -> Iterator[Any]:
    """Yield a file under a temporary name, which gets its own once all is written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        with open(temporary, "xb") as raw:
            if path.name.endswith(".gz"):
                with igzip.IGzipFile("", "wb", compresslevel=_GZIP_LEVEL, fileobj=raw, mtime=0) as packed:
                    yield packed
            else:
                yield raw
            raw.flush()
            os.fsync(raw.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _header(image: NiftiImage) -> Any:
    header = (Nifti1Header if image.version == 1 else Nifti2Header)(endianness="<")
    timepoints, channels, slices, rows, columns = image.shape
    vector = channels > 1 and not image.is_colour
    lengths = (columns, rows, slices, timepoints, channels)
    header.set_data_dtype(_voxel_type(image))
    header.set_data_shape(lengths[: 5 if vector else 4 if timepoints > 1 else 3])
    header.set_slope_inter(1, 0)
    header["vox_offset"] = 352 if image.version == 1 else 544
    header["descrip"] = f"cohort {VERSION}"
    if image.label or vector:
        header["intent_code"] = _LABEL if image.label else _VECTOR
    header["pixdim"][4] = (image.time_step_ms or 0) / 1000
    known = image.affine_ras is not None or image.spacing_mm[0] is not None
    header.set_xyzt_units("mm" if known else None, "sec" if image.time_step_ms else None)
    _place(header, image)
    return header


def _voxel_type(image: NiftiImage) -> Any:
    if image.is_colour:
        return np.dtype([(name, np.uint8) for name in _COLOURS[image.shape[1]]])
    return image.dtype


def _place(header: Any, image: NiftiImage) -> None:
    """Set spacing, sform and, where it can say the same, qform."""
    affine = image.affine_ras
    if affine is None:
        header["pixdim"][1:4] = [step or 1.0 for step in image.spacing_mm]
        return
    header.set_qform(affine, code=_SCANNER, strip_shears=True)
    lengths = geometry.column_lengths(affine)
    apart = geometry.corner_distance(header.get_qform(), affine, image.shape[:1:-1])
    if not apart <= geometry.SAME_PLACE_PIXELS * min(lengths):
        header["qform_code"] = _UNKNOWN
    header["pixdim"][1:4] = lengths
    header.set_sform(affine, code=_SCANNER)
