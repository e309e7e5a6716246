"""Stored values of DICOM frames: read in place where they are native, decoded by pydicom where they are not."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pydicom
from pydicom.pixels.processing import apply_color_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cohort.errors import RejectedError
from cohort.readers.base import HEAD_BYTES, inflate, without_warnings
from cohort.readers.dicom import MAGIC, lacks_preamble

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cohort.readers.base import FrameReader

_IN_PLACE = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian), None)
_PLAIN_COLOURS = ("MONOCHROME1", "MONOCHROME2", "RGB")


def open_frames(file: BinaryIO, frame_row: Mapping[str, Any], gzip_limit: int) -> FrameReader:
    """Choose how the frames of one object are read; takes over `file`."""
    if _readable_in_place(frame_row):
        return NativeFrames(file, frame_row)
    return DecodedFrames(file, frame_row, gzip_limit)


def _readable_in_place(row: Mapping[str, Any]) -> bool:
    return (
        row["pixel_offset"] is not None
        and row["pixel_length"] is not None
        and row["TransferSyntaxUID"] in _IN_PLACE
        and row["BitsAllocated"] in (8, 16, 32)
        and row["PixelRepresentation"] in (0, 1)
        and row["PhotometricInterpretation"] in _PLAIN_COLOURS
        and ((row["SamplesPerPixel"] or 1) == 1 or row["PlanarConfiguration"] in (0, None))
    )


class NativeFrames:
    """Frames that lie in the file as they are: little endian, uncompressed, colour by pixel."""

    decoder = "native"

    def __init__(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        self._file = file
        self._offset = int(row["pixel_offset"])
        self._dtype = np.dtype(f"<{'i' if row['PixelRepresentation'] else 'u'}{row['BitsAllocated'] // 8}")
        samples = int(row["SamplesPerPixel"] or 1)
        shape = (int(row["Rows"]), int(row["Columns"]))
        self._shape: tuple[int, ...] = shape if samples == 1 else (*shape, samples)
        self._bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        unused = int(row["BitsAllocated"]) - int(row["BitsStored"] or row["BitsAllocated"])
        self._unused_bits = unused if 0 < unused < int(row["BitsAllocated"]) else 0

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one frame."""
        self._file.seek(self._offset + frame * self._bytes)
        block = self._file.read(self._bytes)
        if len(block) < self._bytes:
            raise RejectedError("truncated_pixels")
        values = np.frombuffer(block, self._dtype).reshape(self._shape)
        if self._unused_bits:  # what stands in them is not part of the value (PS3.5 section 8.1.1)
            values = values << self._unused_bits
            values >>= self._unused_bits
        return values

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class DecodedFrames:
    """Frames decoded by pydicom and its plug-ins; YBR becomes RGB, palettes are applied."""

    decoder = f"pydicom {pydicom.__version__}"

    def __init__(self, file: BinaryIO, row: Mapping[str, Any], gzip_limit: int) -> None:
        self._file = inflate(file, gzip_limit) if row["container"] == "gzip" else file
        self._row = row
        with without_warnings():
            self._dataset = _parsed(self._file)

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one frame; whatever a decoder throws becomes a reason."""
        with without_warnings():
            try:
                values = pixel_array(self._dataset, index=frame)
                if self._row["PhotometricInterpretation"] == "PALETTE COLOR":
                    values = apply_color_lut(values, self._dataset)
            except (KeyboardInterrupt, SystemExit, GeneratorExit):
                raise
            except BaseException as error:  # a decoder written in Rust panics past Exception
                raise RejectedError(f"undecodable: {type(error).__name__}") from None
        return np.asarray(values)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _parsed(file: Any) -> pydicom.Dataset:
    file.seek(0)
    if lacks_preamble(file.read(HEAD_BYTES)):
        file.seek(len(MAGIC))
        file = io.BytesIO(file.read())
    file.seek(0)
    try:
        dataset = pydicom.dcmread(file, force=True)
    except Exception as error:
        raise RejectedError(f"unparsable_header: {type(error).__name__}") from None
    if "TransferSyntaxUID" not in dataset.file_meta:
        # Without meta header the encoding that parsed the data set is the only one there can be (PS3.10 section 7.1).
        implicit, little = dataset.original_encoding
        syntaxes = {(True, True): "1.2", (False, True): "1.2.1", (False, False): "1.2.2"}
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(f"1.2.840.10008.{syntaxes[bool(implicit), bool(little)]}")
    return dataset
