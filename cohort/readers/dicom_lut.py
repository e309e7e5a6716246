"""The modality LUT of an object: a table from stored values to modality values (PS3.3 C.11.1)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
import pydicom

from cohort.errors import RejectedError
from cohort.readers.base import HEAD_BYTES, inflate, without_warnings
from cohort.readers.dicom import MAGIC, lacks_preamble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_MOST_ENTRIES = 1 << 16  # 0 stands for it
_BITS = range(8, 17)  # of an entry


class ModalityTable(NamedTuple):
    """A modality LUT: `values[0]` stands for the stored value `first` and all below, the last for all above."""

    first: int
    values: NDArray[np.uint16]

    def apply(self, stored: NDArray[Any]) -> NDArray[np.uint16]:
        """Return the modality values of stored ones, of any shape."""
        places = np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)
        found: NDArray[np.uint16] = self.values[places]
        return found


def read_table(file: BinaryIO, row: Mapping[str, Any], gzip_limit: int) -> ModalityTable:
    """Read the modality LUT of one object.

    Parameters
    ----------
    file : BinaryIO
        The object; left open.
    row : mapping
        A row of `frames`.
    gzip_limit : int
        Largest size, in bytes, to which a gzipped object is inflated.

    Raises
    ------
    RejectedError
        If the table is no table: without it the values have no meaning.
    """
    inner: Any = inflate(file, gzip_limit) if row["container"] == "gzip" else file
    inner.seek(0)
    if lacks_preamble(inner.read(HEAD_BYTES)):
        inner.seek(len(MAGIC))
        inner = io.BytesIO(inner.read())
    inner.seek(0)
    with without_warnings():
        try:
            dataset = pydicom.dcmread(inner, force=True, stop_before_pixels=True)
            item = dataset.ModalityLUTSequence[0]
            return _table(item, bool(row["PixelRepresentation"]), little=bool(dataset.original_encoding[1]))
        except RejectedError:
            raise
        except Exception:
            raise RejectedError("bad_modality_lut") from None


def _table(item: pydicom.Dataset, signed: bool, *, little: bool) -> ModalityTable:
    entries, first, bits = (int(number) for number in item.LUTDescriptor)
    entries = (entries & 0xFFFF) or _MOST_ENTRIES
    first &= 0xFFFF  # what the VR makes of its sign is not to be relied on: it is that of the stored values
    first -= 1 << 16 if signed and first >> 15 else 0
    values = _entries(item["LUTData"].value, entries, little=little)
    if bits not in _BITS or len(values) < entries:
        raise RejectedError("bad_modality_lut")
    values = values[:entries] & np.uint16((1 << bits) - 1)
    return ModalityTable(first, values)


def _entries(data: Any, entries: int, *, little: bool) -> NDArray[np.uint16]:
    """Return the entries: words, or bytes where there are too few for words (PS3.3 C.11.1.1.1)."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data)).astype(np.uint16)
    order = "<" if little else ">"
    if len(data) >= 2 * entries:
        return np.frombuffer(data, f"{order}u2").astype(np.uint16)
    return np.frombuffer(data, np.uint8).astype(np.uint16)
