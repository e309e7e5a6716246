"""Stored values of DICOM frames: read in place where they are native, decoded one by one where they are not.

Nothing here holds more than a frame. What is gzipped or deflated as a whole is inflated once into a temporary file.
"""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import numpy as np
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from cohort.config import MIB, ScanOptions
from cohort.errors import RejectedError
from cohort.readers import dicom
from cohort.readers.base import DEFLATE, GZIP, HEAD_BYTES, Limits, inflated_blocks, without_warnings
from cohort.readers.dicom_codecs import EncapsulatedFrames
from cohort.readers.dicom_guard import Deflated, Guard
from cohort.readers.dicom_native import NativeFrames

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cohort.readers.base import FrameReader, Row, Stream

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, None)
_SPOOLED_BYTES = 16 * MIB  # of an inflated object are held in memory; more goes to a temporary file


def open_frames(file: BinaryIO, frame_row: Mapping[str, Any], gzip_limit: int) -> FrameReader:
    """Choose how the frames of one object are read; takes over `file`.

    Parameters
    ----------
    file : BinaryIO
        The object.
    frame_row : mapping
        A row of `frames`.
    gzip_limit : int
        Largest size, in bytes, to which an object is inflated.

    Raises
    ------
    RejectedError
        If its frames cannot be read, with the reason: `no_decoder: <syntax>`, `missing_attribute: <keyword>`...
    """
    try:
        file, row = _plain(file, dict(frame_row), gzip_limit)
        frames: FrameReader = (NativeFrames if row["TransferSyntaxUID"] in _NATIVE else EncapsulatedFrames)(file, row)
        return (
            PaletteFrames(frames, file, gzip_limit)
            if row.get("PhotometricInterpretation") == "PALETTE COLOR"
            else frames
        )
    except BaseException:
        file.close()
        raise


class PaletteFrames:
    """Frames of indices into a palette, as RGB (PS3.3 section C.7.9.1).

    Parameters
    ----------
    frames : FrameReader
        Reads the indices.
    file : BinaryIO
        The object, whose header holds the palette.
    limit : int
        Most bytes of the header that are read.
    """

    def __init__(self, frames: FrameReader, file: BinaryIO, limit: int) -> None:
        self._frames = frames
        self.decoder = frames.decoder
        file.seek(0)
        origin = len(dicom.MAGIC) if dicom.lacks_preamble(file.read(HEAD_BYTES)) else 0
        size = file.seek(0, 2)
        with without_warnings():
            self._header = dicom.parse(Guard(file, size, _limits(limit), origin), None)

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one frame."""
        with without_warnings():
            try:
                return np.asarray(apply_color_lut(self._frames.read(frame), self._header))
            except (ValueError, AttributeError, KeyError, TypeError, IndexError) as error:
                raise RejectedError(f"bad_palette: {type(error).__name__}") from None

    def close(self) -> None:
        """Close the object."""
        self._frames.close()


def _plain(file: BinaryIO, row: Row, limit: int) -> tuple[BinaryIO, Row]:
    """Return an object that is not compressed as a whole, and where its pixels lie in it."""
    if row.get("container") == "gzip":
        file = _spooled(file, GZIP, limit)
        row |= {"container": None, "pixel_offset": None}
    if row["TransferSyntaxUID"] == DeflatedExplicitVRLittleEndian:
        size = file.seek(0, 2)
        file.seek(0)
        origin = len(dicom.MAGIC) if dicom.lacks_preamble(file.read(HEAD_BYTES)) else 0
        try:
            with without_warnings():
                dicom.parse(Guard(file, size, _limits(limit), origin))
        except Deflated as deflated:
            file.seek(0)
            start = deflated.start
            file = _spooled(file, DEFLATE, limit, start, dicom.as_inflated(file.read(start)))
        row |= {"TransferSyntaxUID": str(ExplicitVRLittleEndian), "pixel_offset": None}
    if row["pixel_offset"] is None:
        row |= _located(file, limit)
    return file, row


class _Inflated(tempfile.SpooledTemporaryFile[bytes]):
    """What an object inflates to; the object itself stays open with it, for it is checked when all is read."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__(_SPOOLED_BYTES)
        self._source = source

    def close(self) -> None:
        """Close both."""
        super().close()
        self._source.close()


def _spooled(file: BinaryIO, stream: Stream, limit: int, start: int = 0, prefix: bytes = b"") -> BinaryIO:
    """Inflate an object into a temporary file."""
    spool = _Inflated(file)
    try:
        spool.write(prefix)
        for block in inflated_blocks(file, stream, limit, start):
            spool.write(block)
    except BaseException:
        spool.close()
        raise
    return cast(BinaryIO, spool)


def _located(file: BinaryIO, limit: int) -> Row:
    """Return where the pixels of an object lie, by its header."""
    from cohort.readers import dicom_walker

    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(HEAD_BYTES)
    try:
        found = dicom_walker.walk_header(file, size, head)
    except dicom_walker.Fallback:
        found = dicom.read_header(file, size, head, _limits(limit))
    if found.get("pixel_offset") is None:
        raise RejectedError("truncated_pixels")
    return {"pixel_offset": found["pixel_offset"], "pixel_length": found["pixel_length"]}


def _limits(limit: int) -> Limits:
    return Limits(limit, ScanOptions.header_limit_mib * MIB, ScanOptions.element_limit)
