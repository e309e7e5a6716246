"""DICOM headers, read by pydicom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import PersonName

from cohort.errors import RejectedError
from cohort.readers.base import Row, inflate, key_of, key_of_bytes
from cohort.readers.dicom_frames import detector_place, functional_groups, ultrasound_spacing
from cohort.readers.dicom_tags import tag_of
from cohort.schema import DICOM_COLUMNS, Column, Status

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

# Reading is lenient: a value that breaks the rules of its VR is converted all the same, or kept as raw text.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

PARSER = f"pydicom {pydicom.__version__}"

_PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OW", b"UN", b"OF", b"OD", b"OV")
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, None)
_RAW_TEXT_LIMIT = 64  # enough to see what is wrong with a value
_COLUMNS = tuple((column, tag_of(column)) for column in DICOM_COLUMNS)


def read_header(
    file: BinaryIO,
    size: int,
    head: bytes,
    *,
    gzipped: bool,
    gzip_limit: int,
    extra: tuple[Column, ...] = (),
) -> Row:
    """Read one DICOM header up to the pixels.

    Parameters
    ----------
    file : BinaryIO
        The object; left open.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes as they are stored.
    gzipped : bool
        Whether the whole object is a gzip stream.
    gzip_limit : int
        Largest size, in bytes, to which it is inflated.
    extra : tuple of Column
        Columns asked for beyond those of the data dictionary.

    Returns
    -------
    Row
        Columns of `files`. Whatever could be read is there even where `status` is `rejected`.

    Raises
    ------
    RejectedError
        If no header can be made out.
    """
    stored, stored_size = file, size
    if gzipped:
        file = inflate(file, gzip_limit)
        size = len(file.getbuffer())
    dataset = parse(file)
    pixels = _pixel_element(dataset, file)
    cut = pixels is None and _ends_inside_header(dataset, file, size)  # before values are converted
    row = _values(dataset, (*_COLUMNS, *((column, tag_of(column)) for column in extra)))
    row |= {"format": "dicom", "parser": PARSER, "status": Status.OK}
    row["TransferSyntaxUID"] = _transfer_syntax(dataset)
    add_keys(row, stored, stored_size, head)
    if cut:
        row["status"], row["reason"] = Status.REJECTED, "truncated_header"
    row |= pixel_facts(row, pixels, size)
    if row["is_image"]:
        row |= functional_groups(dataset, row)
        row |= ultrasound_spacing(dataset)
        row |= detector_place(dataset, row)
    if gzipped:
        row["pixel_offset"] = row["pixel_length"] = None  # offsets inside the stream are of no use
    return row


def parse(file: BinaryIO) -> Dataset:
    """Parse up to the pixels; what the parser returns must show by its content that it is DICOM."""
    file.seek(0)
    try:
        try:
            dataset = pydicom.dcmread(file, stop_before_pixels=True)
        except InvalidDicomError:
            file.seek(0)
            dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    except EOFError:
        raise RejectedError("truncated_header") from None
    except RecursionError:
        raise RejectedError("too_deep") from None
    except Exception as error:
        raise RejectedError(f"unparsable_header: {type(error).__name__}") from None
    known = any(keyword in dataset for keyword in ("SOPClassUID", "SOPInstanceUID", "Modality", "Rows"))
    if not known and not len(getattr(dataset, "file_meta", ())):
        raise RejectedError("not_plausible_dicom")
    return dataset


def _values(dataset: Dataset, columns: tuple[tuple[Column, BaseTag], ...]) -> Row:
    row: Row = {}
    empty, unparsed = [], []
    for column, tag in columns:
        if tag not in dataset:
            continue
        raw = dataset.get_item(tag)
        try:
            value = _converted(dataset[tag].value, column.type)
        except Exception:
            unparsed.append(f"{column.name}={_raw_text(raw)}")
            continue
        if value is None:
            empty.append(column.name)
        row[column.name] = value
    row["empty_tags"] = empty or None
    row["unparsed"] = unparsed or None
    return row


def _converted(value: Any, kind: str) -> Any:
    """Convert to the type of the column; None: empty, where the type cannot show it."""
    many = list(value) if isinstance(value, (MultiValue, list, tuple)) else None
    if kind.startswith("list<"):
        single = [] if value is None or (isinstance(value, (str, PersonName)) and not value) else [value]
        items = single if many is None else many
        return [_scalar(item, kind[5:-1]) for item in items]
    if many:
        raise ValueError("more values than one")
    if value is None or many == [] or (isinstance(value, str) and value == "" and kind != "string"):
        return "" if kind == "string" else None
    return _scalar(value, kind)


def _scalar(value: Any, kind: str) -> Any:
    if kind == "int64":
        number = int(value)
        if number != value and float(number) != float(value):
            raise ValueError("not a whole number")
        if not -(2**63) <= number < 2**63:
            raise OverflowError("too large")
        return number
    if kind == "float64":
        return float(value)
    if isinstance(value, (bytes, Sequence)):
        raise TypeError("not text")
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _raw_text(raw: Any) -> str:
    value = raw.value
    if isinstance(value, Sequence):
        return f"sequence of {len(value)} items"
    text = value[:_RAW_TEXT_LIMIT].decode("latin-1") if isinstance(value, bytes) else str(value)
    return text[:_RAW_TEXT_LIMIT].encode("utf-8", "backslashreplace").decode("utf-8")


def _transfer_syntax(dataset: Dataset) -> str | None:
    declared = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    return str(declared) if declared else None


def add_keys(row: Row, file: BinaryIO, size: int, head: bytes) -> None:
    """Add the keys by which the image and its series are known."""
    uid = row.get("SOPInstanceUID")
    row["instance_key"] = key_of(uid) if uid else key_of_bytes(file, size, head)
    series = row.get("SeriesInstanceUID")
    if series:
        row["series_key"] = key_of(row.get("PatientID") or "", row.get("StudyInstanceUID") or "", series)
    else:
        row["series_key"] = row["instance_key"]


def pixel_facts(row: Row, pixels: tuple[int, int | None] | None, size: int) -> Row:
    """Compare the length of the pixel values with what the header promises."""
    if row["TransferSyntaxUID"] == DeflatedExplicitVRLittleEndian:
        return {"is_image": row.get("Rows") is not None}  # nothing can be said of where they lie
    if pixels is None:
        return {"is_image": False}
    offset, length = pixels
    facts: Row = {"is_image": True, "pixel_offset": offset, "pixel_length": length}
    left = size - offset
    expected = expected_length(row) if row["TransferSyntaxUID"] in _NATIVE else None
    if left <= 0 or (length is not None and (length > left or (expected is not None and length < expected))):
        facts |= {"status": Status.REJECTED, "reason": "truncated_pixels"}
    return facts


def _pixel_element(dataset: Dataset, file: BinaryIO) -> tuple[int, int | None] | None:
    """Return offset and length (None: undefined, encapsulated) of the pixel values where the parser stopped."""
    implicit, little = dataset.original_encoding
    start = file.tell()
    element = file.read(12)
    order: Literal["little", "big"] = "little" if little else "big"
    if len(element) < 8:
        return None
    tag = int.from_bytes(element[:2], order) << 16 | int.from_bytes(element[2:4], order)
    if tag not in _PIXEL_KEYWORDS:
        return None
    # Some writers mix: what stands where the VR should tells how this one element is encoded.
    explicit = not implicit and element[4:6].isalpha()
    if explicit and element[4:6] in _LONG_VRS:
        offset, field = start + 12, element[8:12]
    else:
        offset, field = start + 8, element[6:8] if explicit else element[4:8]
    length = int.from_bytes(field, order)
    return offset, None if length == _UNDEFINED else length


def _ends_inside_header(dataset: Dataset, file: BinaryIO, size: int) -> bool:
    """Tell whether the object ends inside an element: pydicom itself returns what came before, silently."""
    end = 0
    if getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return False
    if not len(dataset):
        return True
    for element in dataset.values():
        if isinstance(element, RawDataElement) and element.value is not None:
            if element.length != _UNDEFINED and len(element.value) < element.length:
                return True
            end = max(end, element.value_tell + len(element.value))
    file.seek(max(end, size - 7))
    rest = file.read(7)
    # Fewer than 8 bytes after the last element are the beginning of a next one, unless they are padding.
    return 0 < size - end < 8 and bool(rest.strip(b"\0\r\n "))


def expected_length(row: Row) -> int | None:
    """Return the bytes that native pixel values must have (PS3.5 section 8.1.1), None where the header cannot tell."""
    numbers = [row.get(name) for name in ("Rows", "Columns", "BitsAllocated")]
    if any(number is None for number in numbers):
        return None
    rows, columns, bits = (int(number) for number in numbers)  # type: ignore[arg-type]
    samples = row.get("SamplesPerPixel") or 1
    frames = max(1, row.get("NumberOfFrames") or 1)
    total = rows * columns * samples * frames * bits
    if row.get("PhotometricInterpretation") == "YBR_FULL_422":
        total = total * 2 // 3  # two chroma samples serve two pixels
    return (total + 7) // 8
