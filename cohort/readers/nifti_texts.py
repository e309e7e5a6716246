"""Texts that a NIfTI image carries: free fields and extensions of its header, and its JSON sidecar.

They are kept for a reviewer alone: converters and people write names, dates and accession numbers there.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

from cohort.readers.base import Row, inflate_head, is_gzip
from cohort.readers.dicom_names import is_name
from cohort.schema import PERSONS

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELDS = ("descrip", "aux_file", "intent_name", "db_name")
_READ = 1 << 20  # bytes of a file in which extensions are looked for
_LONGEST, _MOST = 4096, 1000  # characters of one text, texts of one sidecar
_SMALLEST_EXTENSION = 8
_NO_CONTROLS = bytes((0, *range(9, 14), *range(32, 256)))


def header_texts(header: Any) -> Row:
    """Return the free fields of a header; bytes that are not UTF-8 are backslash-escaped."""
    return {
        f"nifti_{name}": text
        for name in _FIELDS
        if name in header and (text := _text(header[name].item()))  # NIfTI-2 has no db_name
    }


def extensions(file: BinaryIO, head: bytes, inner: bytes, length: int, row: Row) -> Row:
    """Return codes and texts of the extensions of a header (nifti1.h, "extended header").

    Parameters
    ----------
    file : BinaryIO
        The object; left open, at any position.
    head, inner : bytes
        Its first bytes as stored, and inflated where it is gzipped.
    length : int
        Bytes of the header.
    row : Row
        What its fields say.
    """
    if not inner[length : length + 1].strip(b"\0"):
        return {}
    offset = row["nifti_vox_offset"]
    single = row["nifti_magic"].startswith("n+")
    end = int(min(max(offset, 0), _READ)) if single and offset == offset else _READ  # the values follow, or nothing
    data = inner
    if end > len(inner):
        file.seek(0)
        data = file.read(_READ)
        data = inflate_head(data, end) if is_gzip(head) else data
    found = list(_extensions(data[:end], length + 4, ">" if row["nifti_big_endian"] else "<"))
    return {
        "nifti_extension_codes": [code for code, _ in found] or None,
        "nifti_extension_texts": [text for _, raw in found if (text := _text(raw))] or None,
    }


def _extensions(data: bytes, pos: int, order: str) -> Iterator[tuple[int, bytes]]:
    """Yield code and content of the extensions from `pos` on, up to one that cannot be."""
    while pos + _SMALLEST_EXTENSION <= len(data):
        size, code = struct.unpack_from(f"{order}ii", data, pos)
        if size < _SMALLEST_EXTENSION:
            return
        yield code, data[pos + _SMALLEST_EXTENSION : pos + size]
        pos += size


def _text(raw: bytes) -> str | None:
    """Return bytes as text where they are one; what stands behind a NUL is text too."""
    if _is_binary(raw):
        return None
    return raw.decode("utf-8", "backslashreplace").replace("\0", " ").strip()[:_LONGEST] or None


def _is_binary(raw: bytes) -> bool:
    """Tell whether a tenth of some bytes are control characters: compressed data, not words."""
    controls = raw.translate(None, delete=_NO_CONTROLS)
    return 10 * len(controls) > len(raw)


# -- sidecars ----------------------------------------------------------------------------------------------


def sidecar_texts(data: dict[str, Any]) -> Row:
    """Return the texts of a sidecar by their keys, as JSON, and which of them name persons."""
    found: dict[str, list[str]] = {}
    for number, (key, text) in enumerate(_strings(data, "")):
        if number < _MOST:
            found.setdefault(key, []).append(text)
    if not found:
        return {}
    patient = found.get("PatientID", [""])[0]
    named = [key for key in PERSONS if any(is_name(text) and text != patient for text in found.get(key, ()))]
    return {"sidecar_texts": json.dumps(found, sort_keys=True), "names_filled": "\\".join(named) or None}


def _strings(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the texts below a value of JSON, each with the keys that lead to it."""
    if isinstance(value, str):
        text = value.encode("utf-8", "backslashreplace").decode("utf-8").strip()[:_LONGEST]
        if text:
            yield key, text
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one, key)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _strings(one, f"{key} > {name}" if key else str(name))
