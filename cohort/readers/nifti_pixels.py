"""Stored values of NIfTI images, slice by slice; gzip streams are read to their end, so that the CRC is checked."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any, BinaryIO

import nibabel
import numpy as np
from isal import igzip
from nibabel.nifti1 import data_type_codes

from cohort.config import MIB, ScanOptions
from cohort.errors import RejectedError
from cohort.readers.base import is_gzip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_DRAIN_BYTES = 1 << 20


class NiftiFrames:
    """Slices of a NIfTI image: frame = ((v * timepoints) + t) * slices + z, with v the fifth dimension.

    Parameters
    ----------
    file : BinaryIO
        The `.nii`, `.nii.gz` or, for a pair, the `.img`.
    row : mapping
        A row of `frames`.
    gzip_limit : int
        Most bytes of a gzip stream that are read behind the values, to come to its checksum.
    """

    def __init__(
        self, file: BinaryIO, row: Mapping[str, Any], gzip_limit: int = ScanOptions.gzip_limit_mib * MIB
    ) -> None:
        self._limit = gzip_limit
        dim = list(row["nifti_dim"])
        self._shape = (dim[2] if dim[0] >= 2 else 1, dim[1])
        order = ">" if row["nifti_big_endian"] else "<"
        dtype = data_type_codes.dtype[row["nifti_datatype"]].newbyteorder(order)
        self._dtype = dtype
        self._bytes = math.prod(self._shape) * dtype.itemsize
        single = str(row["nifti_magic"]).startswith("n+")
        least = {"n+1": 352, "n+2": 544}.get(str(row["nifti_magic"]), 0)
        self._start = max(int(row["nifti_vox_offset"]), least) if single else int(row["nifti_vox_offset"])
        self._raw = file
        self._gzip = is_gzip(file.read(3))
        file.seek(0)
        self._stream: Any = igzip.IGzipFile(fileobj=file, mode="rb") if self._gzip else file
        self.decoder = f"nibabel {nibabel.__version__}" + (", isal" if self._gzip else "")

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one slice, (rows, columns) or (rows, columns, channels) for colour and complex values."""
        try:
            self._stream.seek(self._start + frame * self._bytes)
            block = _read_fully(self._stream, self._bytes)
        except (EOFError, OSError, igzip.BadGzipFile):
            raise RejectedError("gzip_damaged" if self._gzip else "unreadable") from None
        if len(block) < self._bytes:
            raise RejectedError("truncated_pixels")
        return _plain(np.frombuffer(block, self._dtype).reshape(self._shape))

    def close(self) -> None:
        """Read a gzip stream to its end: only there does its CRC stand.

        What goes on for longer than the limit is refused, for nothing vouches for its values.
        """
        try:
            left = self._limit
            while self._gzip and (block := self._stream.read(_DRAIN_BYTES)):
                left -= len(block)
                if left < 0:
                    raise RejectedError("gzip_too_large")
        except (EOFError, OSError, igzip.BadGzipFile):
            raise RejectedError("gzip_crc_error") from None
        finally:
            self._stream.close()
            self._raw.close()


def _read_fully(stream: Any, count: int) -> bytes:
    blocks = io.BytesIO()
    while count > 0 and (block := stream.read(count)):
        blocks.write(block)
        count -= len(block)
    return blocks.getvalue()


def _plain(values: NDArray[Any]) -> NDArray[np.generic]:
    """Return numbers in native order; the fields of RGB(A) and the parts of complex values become channels."""
    if values.dtype.fields:
        return np.stack([values[name] for name in values.dtype.fields], axis=-1)
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    if np.iscomplexobj(native):
        return np.stack([native.real, native.imag], axis=-1)
    return native
