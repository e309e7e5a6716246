"""What bytes mean. The only modules that know pydicom, nibabel and the decoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from cohort.config import MIB, IngestOptions, ScanOptions
from cohort.errors import RejectedError
from cohort.readers.base import (
    DEFLATE,
    GZIP,
    HEAD_BYTES,
    FrameReader,
    Limits,
    Neighbour,
    Row,
    inflate,
    inflate_beginning,
    inflate_head,
    is_archive,
    is_gzip,
    key_of,
    without_warnings,
)
from cohort.schema import HEADER_COLUMNS, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cohort.readers.dicom_lut import ModalityTable
    from cohort.schema import Column

__all__ = [
    "FrameReader",
    "Neighbour",
    "Row",
    "asked_columns",
    "extra_columns",
    "forget",
    "key_of",
    "needs_decoder",
    "nifti_pair_names",
    "nifti_type",
    "no_decoder",
    "open_frames",
    "read_header",
    "read_modality_table",
    "without_warnings",
]


_BOMBS = ("too_many_elements", "too_deep")


def asked_columns(options: ScanOptions) -> tuple[Column, ...]:
    """Return the columns that a scan adds to `files`; raises ConfigError for a tag no column can be made of."""
    return (*extra_columns(options.extra_tags), *(HEADER_COLUMNS if options.all_headers else ()))


def extra_columns(tags: tuple[str, ...]) -> tuple[Column, ...]:
    """Return the columns of tags asked for; raises ConfigError for one that no column can be made of."""
    if not tags:
        return ()
    from cohort.readers import dicom_tags

    return dicom_tags.extra_columns(tags)


def read_header(
    file: BinaryIO,
    size: int,
    name: str,
    *,
    neighbour: Neighbour,
    gzip_limit: int,
    header_limit: int = ScanOptions.header_limit_mib * MIB,
    element_limit: int = ScanOptions.element_limit,
    extra: tuple[Column, ...] = (),
    all_headers: bool = False,
) -> Row:
    """Decide by content what an object is and read its header.

    Parameters
    ----------
    file : BinaryIO
        The object, open at its beginning.
    size : int
        Its size in bytes.
    name : str
        Its path; tells nothing about the format, but pairs `.hdr` with `.img` and images with sidecars.
    neighbour : Neighbour
        Reads the object beside this one that has the name given.
    gzip_limit : int
        Largest size, in bytes, to which a gzipped or deflated DICOM object is inflated.
    header_limit : int
        Bytes of a DICOM object that are held in memory.
    element_limit : int
        Elements and items of one DICOM header that are left to pydicom.
    extra : tuple of Column
        Columns asked for beyond those of the data dictionary, as of `extra_columns`.
    all_headers : bool
        Give DICOM headers as a whole too, as JSON; it changes no other column.

    Returns
    -------
    Row
        Columns of `files`, `status` among them. Nothing is raised for bad bytes.
    """
    head = file.read(HEAD_BYTES)
    if not head:
        return {"status": Status.NOT_IMAGING, "reason": "empty_file", "is_image": False}
    container = "gzip" if is_gzip(head) else None
    inner = inflate_head(head) if container else head
    try:
        limits = Limits(gzip_limit, header_limit, element_limit)
        row = _by_content(file, size, name, head, inner, neighbour, limits, extra)
        if all_headers and _format(inner) == "dicom":
            from cohort.readers.dicom_json import header_json

            end = row.get("pixel_offset") or size
            row |= header_json(file, end, gzipped=container is not None, gzip_limit=gzip_limit)
    except RejectedError as rejection:
        row = {"status": Status.REJECTED, "reason": rejection.reason, "is_image": False}
        row["format"] = _format(inner)
    row["container"] = container
    return row


def _by_content(
    file: BinaryIO,
    size: int,
    name: str,
    head: bytes,
    inner: bytes,
    neighbour: Neighbour,
    limits: Limits,
    extra: tuple[Column, ...],
) -> Row:
    kind = _format(inner)
    if kind == "dicom":
        return _read_dicom(file, size, head, gzipped=inner is not head, limits=limits, extra=extra)
    from cohort.readers import nifti

    if kind == "nifti":
        return nifti.read_header(file, size, name, head, inner, neighbour)
    if nifti.is_pair_data(name, neighbour):
        return {"format": "nifti", "status": Status.OK, "is_image": False}
    reason = "archive_not_opened" if is_archive(inner) else "not_dicom_or_nifti"
    return {"status": Status.NOT_IMAGING, "reason": reason, "is_image": False}


def _read_dicom(
    file: BinaryIO, size: int, head: bytes, *, gzipped: bool, limits: Limits, extra: tuple[Column, ...]
) -> Row:
    """Read the header, and of a mosaic what it holds."""
    from cohort.readers import dicom_mosaic

    row = _read_dicom_header(file, size, head, gzipped=gzipped, limits=limits, extra=extra)
    if dicom_mosaic.is_mosaic(row):
        row |= dicom_mosaic.mosaic_facts(file, size, head, row, gzip_limit=limits.inflated if gzipped else None)
    return row


def _read_dicom_header(
    file: BinaryIO, size: int, head: bytes, *, gzipped: bool, limits: Limits, extra: tuple[Column, ...]
) -> Row:
    """Read one DICOM header; a compressed object is read from the beginning of what it inflates to."""
    if not gzipped:
        return _read_elements(file, size, head, limits, extra)
    inner, inner_size = inflate_beginning(file, GZIP, limits.header, limits.inflated)
    row = _read_elements(inner, inner_size, inner.read(HEAD_BYTES), limits, extra)
    return _as_stored(row, file, size, head)


def _read_elements(file: BinaryIO, size: int, head: bytes, limits: Limits, extra: tuple[Column, ...]) -> Row:
    """Walk the header; what is odd is read by pydicom, and the row says why."""
    from cohort.readers import dicom, dicom_guard, dicom_walker

    try:
        return dicom_walker.walk_header(file, size, head, extra)
    except dicom_walker.Fallback as fallback:
        reason = fallback.reason
    if reason in _BOMBS:
        raise RejectedError(reason)  # pydicom would take minutes or gigabytes over it
    try:
        row = dicom.read_header(file, size, head, limits, extra)
    except dicom_guard.Deflated as deflated:
        return _read_deflated(file, size, head, deflated.start, limits, extra)
    return row | {"fallback_reason": reason}


def _read_deflated(
    file: BinaryIO, size: int, head: bytes, start: int, limits: Limits, extra: tuple[Column, ...]
) -> Row:
    """Inflate a data set and read it as what it is then."""
    from cohort.readers import dicom

    file.seek(0)
    prefix = dicom.as_inflated(file.read(start))
    inner, inner_size = inflate_beginning(file, DEFLATE, limits.header, limits.inflated, start, prefix)
    row = _read_elements(inner, inner_size, inner.read(HEAD_BYTES), limits, extra)
    row["TransferSyntaxUID"] = dicom.DEFLATED
    return _as_stored(row, file, size, head)


def _as_stored(row: Row, file: BinaryIO, size: int, head: bytes) -> Row:
    """Return the row of a compressed object: offsets inside the stream are of no use."""
    from cohort.readers import dicom

    row |= {"pixel_offset": None, "pixel_length": None}
    dicom.add_keys(row, file, size, head)
    return row


def forget() -> None:
    """Forget the values that are remembered between headers: they are patient data."""
    from cohort.readers import dicom_walker

    dicom_walker.clear()


def _format(inner: bytes) -> str | None:
    """Return dicom, nifti or None for the first bytes of an object."""
    if inner[128:132] == b"DICM" or inner.startswith(b"DICM"):
        return "dicom"
    from cohort.readers.nifti import looks_like_nifti

    if looks_like_nifti(inner):
        return "nifti"
    return "dicom" if _starts_like_dicom(inner) else None


def _starts_like_dicom(inner: bytes) -> bool:
    """Tell whether bytes without preamble begin with an element of group 0002 or 0008, in either endian."""
    if len(inner) < 132:
        return False
    group = inner[:2]
    if group not in (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08"):
        return False
    if inner[4:6].isalpha() and inner[4:6].isupper():
        return True
    length = int.from_bytes(inner[4:8], "little" if group[1] == 0 else "big")
    return 0 < length <= 1024 or (length == 0 and inner[8:10] == group)


def open_frames(
    file: BinaryIO,
    frame_row: Mapping[str, Any],
    *,
    gzip_limit: int,
    frame_limit: int = IngestOptions.frame_limit_mib * MIB,
) -> FrameReader:
    """Open the pixels of one object.

    Parameters
    ----------
    file : BinaryIO
        The object, open; closed by `FrameReader.close`.
    frame_row : mapping
        A row of `frames`: what the scan recorded about the pixels.
    gzip_limit : int
        Largest size, in bytes, to which a gzipped DICOM object is inflated; most that is read of the stream of a NIfTI
        image behind its values.
    frame_limit : int
        Largest decoded frame of a DICOM object, in bytes.

    Raises
    ------
    RejectedError
        If the pixels cannot be read, or must not be: what compressed frames claim is held against the header first.
    """
    if frame_row["format"] == "nifti":
        from cohort.readers.nifti_pixels import NiftiFrames

        return NiftiFrames(file, frame_row, gzip_limit)
    from cohort.readers import dicom_codestream, dicom_mosaic, dicom_pixels

    if frame_row["container"] == "gzip" and dicom_codestream.is_compressed(frame_row):
        dicom_codestream.check_pixels(*_located(file, frame_row, gzip_limit), frame_limit)
    else:
        dicom_codestream.check_pixels(file, frame_row, frame_limit)
    file.seek(0)
    frames = dicom_pixels.open_frames(file, frame_row, gzip_limit)
    grid = frame_row.get("mosaic_grid")
    return frames if grid is None else dicom_mosaic.MosaicFrames(frames, grid)


def needs_decoder(frame_row: Mapping[str, Any]) -> bool:
    """Tell whether frames go through a decoder of others: all that are neither native nor merely deflated."""
    native = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", None)
    return frame_row["format"] == "dicom" and frame_row["TransferSyntaxUID"] not in native


def no_decoder(syntax: str) -> str:
    """Return the reason of frames whose transfer syntax has no decoder here; it quotes no header."""
    from cohort.readers import dicom_codecs

    return dicom_codecs.no_decoder(syntax)


def _located(file: BinaryIO, frame_row: Mapping[str, Any], gzip_limit: int) -> tuple[BinaryIO, Mapping[str, Any]]:
    """Return what a gzipped object inflates to, and its row with the place of the pixels there."""
    file.seek(0)
    inner = inflate(file, gzip_limit)
    limits = Limits(gzip_limit, gzip_limit, ScanOptions.element_limit)
    found = _read_elements(inner, inner.seek(0, 2), inner.getvalue()[:HEAD_BYTES], limits, ())
    return inner, {**frame_row, **{name: found.get(name) for name in ("pixel_offset", "pixel_length")}}


def read_modality_table(file: BinaryIO, frame_row: Mapping[str, Any], *, gzip_limit: int) -> ModalityTable | None:
    """Read the modality LUT of an object, None where it has none; raises RejectedError for one that is no table."""
    if frame_row["format"] != "dicom" or frame_row["ModalityLUTType"] is None:
        return None
    from cohort.readers import dicom_lut

    return dicom_lut.read_table(file, frame_row, gzip_limit)


def nifti_type(datatype: int) -> tuple[str, int]:
    """Return the NumPy name of the stored numbers of a NIfTI datatype code, and how many make one voxel."""
    from cohort.readers import nifti

    return nifti.type_of(datatype)


def nifti_pair_names(name: str) -> list[str]:
    """Return the names that the values of a NIfTI `.hdr` may have, likeliest first."""
    from cohort.readers import nifti

    return nifti.pair_names(name)
