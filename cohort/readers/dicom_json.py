"""A whole DICOM header as text: the DICOM JSON model (PS3.18 annex F), as pydicom writes it, element by element."""

from __future__ import annotations

import io
import json
import math
from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from cohort.errors import RejectedError
from cohort.readers.base import DEFLATE, GZIP, HEAD_BYTES, Limits, Row, inflate_beginning
from cohort.readers.dicom import MAGIC, lacks_preamble, parse
from cohort.readers.dicom_guard import Deflated, Guard

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_JSON = 16 << 20  # bytes of text
MAX_BINARY = 1 << 10  # bytes of a value that is not text; longer ones are bulk data
MAX_HEADER = 256 << 20  # bytes; it is read into memory
MAX_SEQUENCE = 8 << 20  # bytes of a sequence of known length, which pydicom parses as a whole
MAX_ITEMS = 100_000  # of such sequences
MAX_ELEMENTS = 500_000
MAX_DEPTH = 64
_MAX_OMITTED = 1000  # different places; a hostile header could have any number

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_ITEM = {True: b"\xfe\xff\x00\xe0", False: b"\xff\xfe\xe0\x00"}  # tag of an item, by little endian


def header_json(file: BinaryIO, end: int, *, gzipped: bool, gzip_limit: int) -> Row:
    """Write one header, up to the pixels, as DICOM JSON.

    Keys ascend, there are no spaces, and group lengths are left out as the model demands. NaN and infinities, which
    JSON has not, are the texts "NaN", "Infinity" and "-Infinity".

    Parameters
    ----------
    file : BinaryIO
        The object; left open.
    end : int
        Where its header ends, in bytes.
    gzipped : bool
        Whether the whole object is a gzip stream.
    gzip_limit : int
        Largest size, in bytes, to which it is inflated.

    Returns
    -------
    Row
        `header_json`, null where it would be too large, and `header_json_omitted`: what it lacks, and why.
    """
    header = _Header()
    try:
        if end > MAX_HEADER:
            raise RejectedError("too_large")
        dataset = _parsed(inflate_beginning(file, GZIP, MAX_HEADER, gzip_limit)[0] if gzipped else file, gzip_limit)
        text = header.text(dataset)
    except RejectedError as rejection:
        return {"header_json": None, "header_json_omitted": [f"*={rejection.reason}"]}
    except Exception as error:
        return {"header_json": None, "header_json_omitted": [f"*={type(error).__name__}"]}
    return {"header_json": text, "header_json_omitted": header.omissions()}


def _parsed(file: BinaryIO, inflated_limit: int) -> Dataset:
    # The guard counts more than what is written: items, and what is read twice.
    limits, size = Limits(inflated_limit, 2 * MAX_HEADER, 4 * MAX_ELEMENTS), file.seek(0, io.SEEK_END)
    file.seek(0)
    origin = len(MAGIC) if lacks_preamble(file.read(HEAD_BYTES)) else 0
    try:
        return parse(Guard(file, size, limits, origin), longest=None)
    except Deflated as deflated:  # what pydicom inflates is looked at first: how large it is, and that it is whole
        inflate_beginning(file, DEFLATE, 0, min(MAX_HEADER, inflated_limit), deflated.start)
        file.seek(0)
        return pydicom.dcmread(file, stop_before_pixels=True)


class _LeftOutError(Exception):
    """One element is left out, for a reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Header:
    """Writes one header and keeps account of what it leaves out."""

    def __init__(self) -> None:
        self._omitted: Counter[str] = Counter()
        self._elements, self._items, self._characters = MAX_ELEMENTS, MAX_ITEMS, MAX_JSON

    def text(self, dataset: Dataset) -> str:
        """Return the JSON of file meta information and dataset; raises RejectedError where it is too large."""
        file_meta: Any = getattr(dataset, "file_meta", {})  # none where there is no preamble
        members = self._members(file_meta, "", 0) | self._members(dataset, "", 0)
        text = _object(dict(sorted(members.items())))  # what should be in group 0002 alone may be anywhere
        if len(text.encode()) > MAX_JSON:
            raise RejectedError("too_large")
        return text

    def omissions(self) -> list[str] | None:
        """Return `tag=reason` of what was left out, how often where more than once; tags of sequences in front."""
        return [f"{place} x{n}" if n > 1 else place for place, n in sorted(self._omitted.items())] or None

    def _members(self, dataset: Dataset, place: str, depth: int, *, counted: bool = False) -> dict[str, str]:
        members = {}
        for tag in sorted(dataset.keys()):
            if not tag & 0xFFFF:  # the length of a group
                continue
            self._elements -= 1
            if self._elements < 0:
                raise RejectedError("too_many_elements")
            name = f"{tag:08X}"
            here = place + name
            try:
                members[name] = self._element(dataset, tag, here, depth, counted=counted)
            except RejectedError:
                raise
            except _LeftOutError as left_out:
                self._omit(f"{here}={left_out.reason}")
            except Exception as error:
                self._omit(f"{here}={type(error).__name__}")
        return members

    def _element(self, dataset: Dataset, tag: BaseTag, here: str, depth: int, *, counted: bool) -> str:
        if tag in _PIXELS:
            raise _LeftOutError("pixels")
        raw: Any = dataset.get_item(tag)
        if isinstance(raw, RawDataElement) and not counted:
            self._check_items(raw)
        element = dataset[tag]
        if element.VR == "SQ":
            counted = counted or isinstance(raw, RawDataElement)
            return self._sequence(element.value, f"{here}.", depth + 1, counted=counted)
        if isinstance(element.value, bytes) and len(element.value) > MAX_BINARY:
            raise _LeftOutError("binary")
        text = _dumped(element.to_json_dict(None, 0))
        self._characters -= len(text)
        if self._characters < 0:
            raise RejectedError("too_large")
        return text

    def _check_items(self, raw: RawDataElement) -> None:
        """Leave out what may be a sequence too large for pydicom, which parses all of it at once."""
        if raw.VR not in (None, "SQ", "UN") or not isinstance(raw.value, bytes):
            return
        if len(raw.value) > MAX_SEQUENCE:
            raise _LeftOutError("too_large")
        items = raw.value.count(_ITEM[raw.is_little_endian])
        if items > self._items:
            raise _LeftOutError("too_many_items")
        self._items -= items

    def _sequence(self, items: Sequence, place: str, depth: int, *, counted: bool) -> str:
        if depth > MAX_DEPTH:
            raise _LeftOutError("too_deep")
        texts = [_object(self._members(item, place, depth, counted=counted)) for item in items]
        return '{"Value":[' + ",".join(texts) + '],"vr":"SQ"}'

    def _omit(self, text: str) -> None:
        known = text in self._omitted or len(self._omitted) < _MAX_OMITTED
        self._omitted[text if known else "more"] += 1


def _object(members: dict[str, str]) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in members.items()) + "}"


def _dumped(value: Any) -> str:
    try:
        text = _ENCODER.encode(value)
        text.encode()
    except ValueError:  # what JSON has not, or half of a surrogate pair
        return _ENCODER.encode(_plain(value))
    return text


def _plain(value: Any) -> Any:
    """Return the value in what JSON and UTF-8 can hold."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
