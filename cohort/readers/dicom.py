"""DICOM headers, read by pydicom."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import pydicom
from pydicom.dataelem import DataElement, RawDataElement
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
from cohort.readers.base import Limits, Row, key_of, key_of_bytes
from cohort.readers.dicom_convert import new_memo, remember
from cohort.readers.dicom_elements import LONG
from cohort.readers.dicom_guard import Deflated, Guard
from cohort.readers.dicom_items import MAX_DEPTH
from cohort.readers.dicom_names import let_go, texts_of
from cohort.readers.dicom_sequences import nested_row, wanted_sequences
from cohort.readers.dicom_tags import tag_of
from cohort.readers.dicom_window import MAX_VALUE
from cohort.schema import DICOM_COLUMNS, Column, Status

if TYPE_CHECKING:
    from pydicom.dataset import Dataset
    from pydicom.tag import BaseTag

# Reading is lenient: a value that breaks the rules of its VR is converted all the same, or kept as raw text.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

MAGIC = b"DICM"
DEFLATED = str(DeflatedExplicitVRLittleEndian)

PARSER = f"pydicom {pydicom.__version__}"

_PIXEL_KEYWORDS = {0x7FE00010: "PixelData", 0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData"}
_UNDEFINED = 0xFFFFFFFF
_ITEM_ENDS = (b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xff\xfe\xe0\x0d\0\0\0\0")
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, None)
_EXPLICIT_PIXELS = (b"OB\0\0", b"OW\0\0", b"OF\0\0", b"OD\0\0")
_series_keys = new_memo()
_RAW_TEXT_LIMIT = 64  # enough to see what is wrong with a value
_COLUMNS = tuple((column, tag_of(column)) for column in DICOM_COLUMNS)


def read_header(file: BinaryIO, size: int, head: bytes, limits: Limits, extra: tuple[Column, ...] = ()) -> Row:
    """Read one DICOM header up to the pixels.

    Parameters
    ----------
    file : BinaryIO
        The object, or of an inflated one the beginning; left open.
    size : int
        Its size in bytes.
    head : bytes
        Its first bytes.
    limits : Limits
        What reading may cost.
    extra : tuple of Column
        Columns asked for beyond those of the data dictionary.

    Returns
    -------
    Row
        Columns of `files`. Whatever could be read is there even where `status` is `rejected`.

    Raises
    ------
    RejectedError
        If no header can be made out, or only at too high a cost.
    Deflated
        If the data set has to be inflated first.
    """
    origin = len(MAGIC) if lacks_preamble(head) else 0
    guard = Guard(file, size, limits, origin)
    dataset = parse(guard)
    stopped = guard.tell()
    pixels = _pixel_element(dataset, guard)
    lost = None if pixels else _lost_end(dataset, guard, stopped, size - origin)  # before values are converted
    row = _values(dataset, guard, (*_COLUMNS, *((column, tag_of(column)) for column in extra)))
    row |= {"format": "dicom", "parser": PARSER, "status": Status.OK}
    row["TransferSyntaxUID"] = _transfer_syntax(dataset)
    row |= texts_of(dataset)
    let_go(row)
    if lost:
        row |= {"status": Status.REJECTED, "reason": lost}
    row |= pixel_facts(row, pixels and (pixels[0] + origin, pixels[1]), size)
    if row["is_image"]:
        row |= nested_row(wanted_sequences(dataset, guard), row)
    add_keys(row, file, size, head)
    return row


def lacks_preamble(head: bytes) -> bool:
    """Tell whether an object begins with the prefix: the preamble of 128 bytes before it was cut off."""
    return head.startswith(MAGIC) and head[128:132] != MAGIC


def as_inflated(start: bytes) -> bytes:
    """Return what stands before a deflated data set, saying of it what it is once inflated (PS3.5 section A.5)."""
    explicit = ExplicitVRLittleEndian.encode().ljust(len(DEFLATED), b"\0")
    return start.replace(DEFLATED.encode(), explicit)


def parse(guard: Guard, longest: int | None = MAX_VALUE) -> Dataset:
    """Parse up to the pixels; what the parser returns must show by its content that it is DICOM.

    Values of more bytes than `longest` are passed over.
    """
    try:
        try:
            dataset = pydicom.dcmread(guard, stop_before_pixels=True, defer_size=longest)
        except InvalidDicomError:
            guard.seek(0)
            dataset = pydicom.dcmread(guard, stop_before_pixels=True, defer_size=longest, force=True)
    except (RejectedError, Deflated):
        raise
    except Exception as error:
        for cause in (error, error.__context__):
            if isinstance(cause, OSError) and cause.errno:
                raise cause from None  # not the object is at fault, but where it lies
        raise RejectedError(_why(error, guard)) from None
    if _is_too_deep(dataset):
        raise RejectedError("too_deep")
    known = any(keyword in dataset for keyword in ("SOPClassUID", "SOPInstanceUID", "Modality", "Rows"))
    if not known and not len(getattr(dataset, "file_meta", ())):
        raise RejectedError("not_plausible_dicom")
    return dataset


def _why(error: Exception, guard: Guard) -> str:
    """Return the reason for what pydicom raised; it wraps some of what the guard and the interpreter raise."""
    if guard.refused:
        return guard.refused
    if isinstance(error, RecursionError) or isinstance(error.__context__, RecursionError):
        return "too_deep"
    if isinstance(error, (EOFError, OSError, struct.error)) and guard.at_end():
        return "truncated_header"
    return f"unparsable_header: {type(error).__name__}"


def _is_too_deep(dataset: Dataset) -> bool:
    """Tell whether parsed sequences are nested deeper than the walker follows them.

    Where pydicom itself gives up depends on how deep it was called.
    """
    level = [dataset]
    for _ in range(MAX_DEPTH + 1):
        elements = [element for item in level for element in item.values() if isinstance(element, DataElement)]
        level = [item for element in elements if element.VR == "SQ" for item in element.value]
        if not level:
            return False
    return True


def _values(dataset: Dataset, guard: Guard, columns: tuple[tuple[Column, BaseTag], ...]) -> Row:
    row: Row = {}
    empty, unparsed = [], []
    for column, tag in columns:
        if tag not in dataset:
            continue
        raw = dataset.get_item(tag, keep_deferred=True)
        try:
            _fetch(dataset, raw, guard)
            value = _converted(dataset[tag].value, column.type)
        except Exception:
            unparsed.append(f"{column.name}={_raw_text(raw, guard)}")
            continue
        if value is None:
            empty.append(column.name)
        row[column.name] = value
    row["empty_tags"] = empty or None
    row["unparsed"] = unparsed or None
    return row


def _fetch(dataset: Dataset, raw: Any, guard: Guard) -> None:
    """Make a value ready for its conversion; raises ValueError where it is too long, or holds too many."""
    if not isinstance(raw, RawDataElement):
        return
    if raw.value is None and raw.length:  # it was passed over: too long, or cut where the object ends
        guard.seek(raw.value_tell)
        value = guard.read(MAX_VALUE + 1)
        if len(value) > MAX_VALUE:
            raise ValueError("too long")
        raw = raw._replace(value=value)
        dataset[raw.tag] = raw
    if not guard.affords((raw.value or b"").count(b"\\")):
        raise ValueError("too many values")


def _converted(value: Any, kind: str) -> Any:
    """Convert to the type of the column; None: empty, where the type cannot show it."""
    if isinstance(value, Sequence):
        raise TypeError("items, not values")
    many = list(value) if isinstance(value, (MultiValue, list, tuple)) else None
    if kind.startswith("list<"):
        single = [] if _is_empty(value) else [value]
        items = single if many is None else many
        return [_scalar(item, kind[5:-1]) for item in items]
    if many:
        raise ValueError("more values than one")
    if _is_empty(value) or many == []:
        return "" if kind == "string" else None
    return _scalar(value, kind)


def _is_empty(value: Any) -> bool:
    return value is None or (isinstance(value, (str, bytes, PersonName)) and not value)


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
    if isinstance(value, bytes):
        raise TypeError("not text")
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def _raw_text(raw: Any, guard: Guard) -> str:
    value = raw.value
    if value is None:  # too long to be read
        guard.seek(raw.value_tell)
        value = guard.read(_RAW_TEXT_LIMIT)
    if isinstance(value, Sequence):
        return f"sequence of {len(value)} items"
    text = value[:_RAW_TEXT_LIMIT].decode("latin-1") if isinstance(value, bytes) else type(value).__name__
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _transfer_syntax(dataset: Dataset) -> str | None:
    declared = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    return str(declared) if declared else None


def add_keys(row: Row, file: BinaryIO, size: int, head: bytes) -> None:
    """Add the keys by which the image and its series are known."""
    uid = row.get("SOPInstanceUID")
    row["instance_key"] = key_of(uid) if uid else key_of_bytes(file, size, head)
    series = row.get("SeriesInstanceUID")
    if not series:
        row["series_key"] = row["instance_key"]
        return
    parts = (row.get("PatientID") or "", row.get("StudyInstanceUID") or "", series)
    key = _series_keys.get(parts)
    if key is None:
        key = key_of(*parts)
        remember(_series_keys, parts, key)
    row["series_key"] = key


def pixel_facts(row: Row, pixels: tuple[int, int | None] | None, size: int) -> Row:
    """Compare the length of the pixel values with what the header promises."""
    if pixels is None:
        return {"is_image": False}
    offset, length = pixels
    facts: Row = {"is_image": True, "pixel_offset": offset, "pixel_length": length}
    left = size - offset
    native = row["TransferSyntaxUID"] in _NATIVE
    expected = expected_length(row) if native else None
    if native and length is None:  # items, which no native syntax has (PS3.5 section A.4): they are no pixel values
        facts |= {"status": Status.REJECTED, "reason": "bad_encapsulation"}
    if left <= 0 or (length is not None and (length > left or (expected is not None and length < expected))):
        facts |= {"status": Status.REJECTED, "reason": "truncated_pixels"}
    return facts


def _pixel_element(dataset: Dataset, file: Guard) -> tuple[int, int | None] | None:
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
    # Some writers mix: what stands where the VR should tells how this one element is encoded. As a length, `OW\0\0`
    # would be odd, which none is (PS3.5 section 7.1.1).
    explicit = element[4:8] in _EXPLICIT_PIXELS if implicit else b"AA" <= element[4:6] <= b"ZZ"
    if explicit and element[4:6] in LONG:
        offset, field = start + 12, element[8:12]
    else:
        offset, field = start + 8, element[6:8] if explicit else element[4:8]
    length = int.from_bytes(field, order)
    return offset, None if length == _UNDEFINED else length


def _lost_end(dataset: Dataset, guard: Guard, stopped: int, size: int) -> str | None:
    """Return why the end of the header is not read, None where it is: pydicom returns what came before, silently."""
    guard.check_end()
    if not len(dataset):
        return "truncated_header"
    end = 0
    for element in dataset.values():
        if isinstance(element, RawDataElement) and element.length != _UNDEFINED:
            end = max(end, element.value_tell + element.length)
    if end > size:
        return "truncated_header"
    if stopped < size:  # at the end of an item where there is none, or at a value whose end is not found
        guard.seek(max(0, stopped - len(_ITEM_ENDS[0])))
        return "stray_delimiter" if guard.read(len(_ITEM_ENDS[0])) in _ITEM_ENDS else "truncated_header"
    guard.seek(max(end, size - 7))
    rest = guard.read(7)
    # Fewer than 8 bytes after the last element are the beginning of a next one, unless they are padding.
    return "truncated_header" if 0 < size - end < 8 and rest.strip(b"\0\r\n ") else None


def expected_length(row: Row) -> int | None:
    """Return the bytes that native pixel values must have (PS3.5 section 8.1.1), None where the header cannot tell."""
    rows, columns, bits = row.get("Rows"), row.get("Columns"), row.get("BitsAllocated")
    if rows is None or columns is None or bits is None:
        return None
    samples = row.get("SamplesPerPixel") or 1
    frames = max(1, row.get("NumberOfFrames") or 1)
    total: int = rows * columns * samples * frames * bits
    if row.get("PhotometricInterpretation") == "YBR_FULL_422":
        total = total * 2 // 3  # two chroma samples serve two pixels
    return (total + 7) // 8
