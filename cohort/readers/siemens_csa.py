"""Values of the CSA header, the private element in which Siemens says what a mosaic holds.

Its layout was never published; it is described by nibabel (doc/source/dicom/siemens_csa.rst) and SPM
(spm_dicom_headers.m). A table of tags follows a short head; every tag has a name and items of text.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from cohort.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_TAGS = 1000  # real headers have about 100
MAX_ITEMS = 2000  # of one tag; there is one for every slice at most

_MAGIC = b"SV10"  # of the second version; the first one has none
_HEAD = struct.Struct("<2I")
_TAG = struct.Struct("<64si4s3i")
_ITEM = struct.Struct("<4i")


def read_csa(data: bytes, wanted: Collection[str]) -> dict[str, list[str]]:
    """Read tags of a CSA header.

    Parameters
    ----------
    data : bytes
        Value of the element, of either version.
    wanted : collection of str
        Names of the tags; the rest is passed over.

    Returns
    -------
    dict
        Name -> its items as text, those without a value left out.

    Raises
    ------
    RejectedError
        If the bytes are no such header, or end inside it.
    """
    second = data.startswith(_MAGIC)
    found: dict[str, list[str]] = {}
    try:
        pos = 8 if second else 0
        tags, _ = _HEAD.unpack_from(data, pos)
        if not 0 < tags <= MAX_TAGS:
            raise RejectedError("csa_damaged")
        pos += _HEAD.size
        surplus = 0
        for number in range(tags):
            raw_name, _, _, _, items, _ = _TAG.unpack_from(data, pos)
            if not 0 <= items <= MAX_ITEMS:
                raise RejectedError("csa_damaged")
            if number == 0 and not second:
                surplus = items  # the first version adds it to every length
            pos, values = _items(data, pos + _TAG.size, items, surplus, second=second)
            name = raw_name.split(b"\0", 1)[0].decode("latin-1")
            if name in wanted:
                found[name] = [text for value in values if (text := _text(value))]
                if len(found) == len(wanted):
                    break
    except struct.error:
        raise RejectedError("csa_damaged") from None
    return found


def _items(data: bytes, pos: int, items: int, surplus: int, *, second: bool) -> tuple[int, list[bytes]]:
    """Return where the items of one tag end, and their values."""
    values = []
    for _ in range(items):
        fields = _ITEM.unpack_from(data, pos)
        pos += _ITEM.size
        length = fields[1] if second else fields[0] - surplus
        if length < 0 or pos + length > len(data):
            if second:
                raise RejectedError("csa_damaged")
            break  # the first version ends a tag so
        values.append(data[pos : pos + length])
        pos += -(-length // 4) * 4
    return pos, values


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("latin-1").strip()
