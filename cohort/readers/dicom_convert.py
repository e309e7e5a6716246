"""Values of DICOM elements, converted once by rules equal to pydicom's.

Whatever pydicom would repair, guess or fail at is not converted here: `Fallback` hands the object to pydicom.
"""

from __future__ import annotations

import re
from collections.abc import Sized
from struct import Struct
from typing import Any

from pydicom.charset import python_encoding


class Fallback(Exception):  # noqa: N818 - a request to the caller, not an error
    """The object is left to pydicom.

    Parameters
    ----------
    reason : str
        Why, as a code that tells nothing of the patient.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


Number = int | float

AMBIGUOUS = b"US or SS"
"""VR that the dictionary leaves open: it depends on PixelRepresentation."""

AS_TEXT = "text"
"""Kind of a column that holds a list of texts, whatever the VR."""

_UNKNOWN = b"UN"
_UNKNOWN_LIMIT = 0xFFFF  # pydicom looks up the VR of shorter values only
_EXACT = 2**53  # pydicom sends larger IS through a float
_MEMO_LIMIT = 4096
_LONGEST_KEPT = 1 << 10  # bytes: what is longer is hardly ever seen again
_PLAIN_TEXT = frozenset((b"AS", b"CS", b"DA", b"DT", b"TM"))
_SPLIT_TEXT = frozenset((b"LO", b"SH", b"UC"))
_LONG_TEXT = frozenset((b"LT", b"ST", b"UT"))
_NAME = b"PN"
_TEXT = _SPLIT_TEXT | _LONG_TEXT | {_NAME}  # in the character set of the object
_NUMBERS = {
    vr: Struct("<" + code)
    for vr, code in (
        (b"US", "H"),
        (b"SS", "h"),
        (b"UL", "I"),
        (b"SL", "i"),
        (b"FL", "f"),
        (b"FD", "d"),
    )
}
_SHIFTS = re.compile(rb"[\x0e\x0f\x1b]")  # switch the character set within a value
_CODECS = {"": "latin-1", "ISO_IR 6": "latin-1", "ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8"}

_memos: list[dict[Any, Any]] = []


def new_memo() -> dict[Any, Any]:
    """Return a place for values seen: raw bytes to value. They are shared, so they must not be changed."""
    memo: dict[Any, Any] = {}
    _memos.append(memo)
    return memo


def clear() -> None:
    """Forget all values seen: they may tell of patients."""
    for memo in _memos:
        memo.clear()


def remember(memo: dict[Any, Any], key: Sized, value: Any) -> None:
    """Keep one value, within the limits."""
    if len(key) > _LONGEST_KEPT:
        return
    if len(memo) >= _MEMO_LIMIT:
        memo.clear()
    memo[key] = value


def codec_of(raw: bytes) -> str | None:
    """Return the codec for a value of SpecificCharacterSet.

    None stands for a character set of which the ASCII part alone is read here. Terms that pydicom does not
    know raise `Fallback`.
    """
    text = raw.decode("latin-1").rstrip(" \x00")
    codec = _CODECS.get(text)
    if codec is None and not all(term in python_encoding for term in text.split("\\")):
        raise Fallback("charset")
    return codec


def depends_on_charset(vr: bytes, raw: bytes) -> bool:
    """Tell whether a value may mean something else in another object."""
    return not raw.isascii() and vr in _TEXT


def effective_vr(vr: bytes, dictionary_vr: bytes, length: int) -> bytes:
    """Return the VR by which pydicom converts: that of the dictionary where UN is stored."""
    return dictionary_vr if vr == _UNKNOWN and length < _UNKNOWN_LIMIT else vr


def convert(vr: bytes, kind: str, raw: bytes, codec: str | None) -> Any:
    """Convert one value to the type of its column.

    Parameters
    ----------
    vr : bytes
        Value representation.
    kind : str
        Type of the column, or `AS_TEXT`.
    raw : bytes
        The value as stored.
    codec : str or None
        Of the text; None: ASCII alone is certain.
    """
    if kind == AS_TEXT:
        return _texts(vr, raw, codec)
    if vr == b"DS":
        return _shaped(_decimals(raw), kind)
    if vr == b"IS":
        return _shaped(_integers(raw), kind)
    if vr in _NUMBERS:
        return _shaped(_unpacked(vr, raw), kind)
    return _words(_items(vr, raw, codec), kind)


def convert_ambiguous(kind: str, raw: bytes, representation: Any) -> Any:
    """Convert a value whose sign depends on PixelRepresentation."""
    if raw and (len(raw) != 2 or representation is None):
        raise Fallback("value")
    return convert(b"SS" if representation else b"US", kind, raw, None)


def _items(vr: bytes, raw: bytes, codec: str | None) -> list[str]:
    """Split text; what is padding differs from VR to VR in pydicom."""
    if vr in _PLAIN_TEXT:
        return raw.decode("latin-1").rstrip(" \x00").split("\\")
    if vr == b"UI":
        return [item.strip() for item in raw.decode("latin-1").rstrip(" \x00").split("\\")]
    if vr in _SPLIT_TEXT:
        return [item.rstrip("\x00 ") for item in _decoded(raw, codec).split("\\")]
    if vr in _LONG_TEXT:
        return [_decoded(raw, codec).rstrip("\x00 ")]
    if vr == _NAME:  # component groups that are empty at the end are dropped
        return [item.rstrip("=") for item in _decoded(raw.rstrip(b"\x00 "), codec).split("\\")]
    if vr == b"AE":
        return [item.strip() for item in raw.decode("latin-1").split("\\")]
    if vr == b"UR":
        return [raw.decode("latin-1").rstrip()]
    raise Fallback("value_representation")


def _decoded(raw: bytes, codec: str | None) -> str:
    if _SHIFTS.search(raw):
        raise Fallback("charset")
    if raw.isascii():
        return raw.decode("ascii")
    if codec is None:
        raise Fallback("charset")
    try:
        return raw.decode(codec)
    except UnicodeError:
        raise Fallback("charset") from None


def _words(items: list[str], kind: str) -> Any:
    if kind == "list<string>":
        return [] if items == [""] else items
    if kind == "string" and len(items) == 1:
        return items[0]
    if items == [""]:  # a number without a value
        return _none(kind)
    raise Fallback("value")


def _none(kind: str) -> Any:
    if kind.startswith("list<"):
        return []
    return "" if kind == "string" else None


def _unpacked(vr: bytes, raw: bytes) -> list[Number]:
    layout = _NUMBERS[vr]
    if len(raw) % layout.size:
        raise Fallback("value")
    return [number for (number,) in layout.iter_unpack(raw)]


def _texts(vr: bytes, raw: bytes, codec: str | None) -> list[str]:
    """Return values as text: numbers as they are stored, where that is text."""
    if vr in _NUMBERS:
        return [str(number) for number in _unpacked(vr, raw)]
    if vr in (b"DS", b"IS"):
        numbers = _decimals(raw) if vr == b"DS" else _integers(raw)  # falls back where one is none
        return [item.strip() for item in raw.decode("latin-1").rstrip(" \x00").split("\\")] if numbers else []
    items = _items(vr, raw, codec)
    return [] if items == [""] else items


def _decimals(raw: bytes) -> list[Number]:
    text = raw.decode("latin-1").strip().rstrip(" \x00")
    if not text:
        return []
    try:
        return [float(item) for item in text.split("\\")]
    except ValueError:
        raise Fallback("value") from None


def _integers(raw: bytes) -> list[Number]:
    text = raw.decode("latin-1").rstrip(" \x00")
    if not text:
        return []
    return [_integer(item) for item in text.split("\\")]


def _integer(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = _whole(text)
    if not -_EXACT <= number <= _EXACT:
        raise Fallback("value")
    return number


def _whole(value: str | float) -> int:
    """Return the integer that a float, or its text, stands for."""
    try:
        number = float(value)
        whole = int(number)
    except (ValueError, OverflowError):
        raise Fallback("value") from None
    if whole != number or not -_EXACT <= whole <= _EXACT:
        raise Fallback("value")
    return whole


def _shaped(numbers: list[Number], kind: str) -> Any:
    """Give numbers the type of the column, or fall back where pydicom's would not fit."""
    if kind == "list<float64>":
        return [float(number) for number in numbers]
    if kind == "list<int64>":
        return [number if isinstance(number, int) else _whole(number) for number in numbers]
    if not numbers:
        return _none(kind)
    if len(numbers) > 1 or kind in ("string", "list<string>"):
        raise Fallback("value")
    if kind == "float64":
        return float(numbers[0])
    return numbers[0] if isinstance(numbers[0], int) else _whole(numbers[0])
