"""From elements to the bytes of a DICOM file, fast: each element is encoded once per series."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr, write_data_element
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

PREAMBLE = b"\x00" * 128 + b"DICM"
IMPLEMENTATION_UID = UID("2.25.264184417190421870634185193417085214371")

# Value representations whose value is written as it reads: characters of the default repertoire.
_PLAIN_TEXT = frozenset({"CS", "DA", "DS", "IS", "TM", "UI"})

# Named, so that the bytes do not depend on which plug-ins happen to be installed.
_ENCODERS = {RLELossless: "pydicom", JPEG2000Lossless: "pylibjpeg"}


class EncodedHeader:
    """The elements of a header as bytes, so that a file costs only what is different in it.

    Parameters
    ----------
    header : Dataset
        Elements shared by the files of a series.
    syntax : UID
        Transfer syntax; the implicit one or any explicit little endian one.
    """

    def __init__(self, header: Dataset, syntax: UID = ExplicitVRLittleEndian) -> None:
        self.syntax = syntax
        self._implicit = syntax == ImplicitVRLittleEndian
        self._charset = convert_encodings(header.get("SpecificCharacterSet"))
        correct_ambiguous_vr(header, True)
        self._vr = {int(element.tag): str(element.VR) for element in header}
        self._encoded = {int(element.tag): self._encode(element) for element in header}
        self._meta = _meta_elements(syntax)

    def dataset_bytes(self, changes: Mapping[str, Any]) -> bytes:
        """Encode the data set with some elements changed; None takes an element out."""
        encoded = dict(self._encoded)
        for keyword, value in changes.items():
            tag = tag_for_keyword(keyword)
            assert tag is not None, keyword
            if value is None:
                encoded.pop(tag, None)
            else:
                encoded[tag] = self._changed(tag, value)
        return b"".join(encoded[tag] for tag in sorted(encoded))

    def file_bytes(self, sop_class: str, sop_uid: str, changes: Mapping[str, Any]) -> bytes:
        """Bytes of a whole file: preamble, file meta information, data set."""
        version, *others = self._meta
        # The elements in the order of their tags: version, class, instance, and the others.
        body = b"".join([version, _short(0x00020002, "UI", sop_class), _short(0x00020003, "UI", sop_uid), *others])
        meta = _short(0x00020000, "UL", struct.pack("<L", len(body))) + body
        return PREAMBLE + meta + self.dataset_bytes({"SOPInstanceUID": sop_uid, **changes})

    def _changed(self, tag: int, value: Any) -> bytes:
        if isinstance(value, DataElement | RawDataElement):
            return self._encode(value)
        vr = self._vr.get(tag) or dictionary_VR(tag)
        if vr in _PLAIN_TEXT and not self._implicit:
            return _short(tag, vr, "\\".join(map(str, value)) if isinstance(value, list) else str(value))
        return self._encode(DataElement(tag, vr, value))

    def _encode(self, element: DataElement | RawDataElement) -> bytes:
        stream = DicomBytesIO()
        stream.is_little_endian = True
        stream.is_implicit_VR = self._implicit
        write_data_element(stream, element, self._charset)
        return stream.getvalue()


def _short(tag: int, vr: str, value: str | bytes) -> bytes:
    """One explicit little endian element whose length fits 16 bits."""
    data = value.encode("ascii") if isinstance(value, str) else value
    data += (b"\x00" if vr == "UI" else b" ") * (len(data) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode("ascii"), len(data)) + data


def _meta_elements(syntax: UID) -> list[bytes]:
    """File meta information that all files share: the version, then what follows the instance UID."""
    version = struct.pack("<HH2sHL", 0x0002, 0x0001, b"OB", 0, 2) + b"\x00\x01"
    return [
        version,
        _short(0x00020010, "UI", syntax),
        _short(0x00020012, "UI", IMPLEMENTATION_UID),
        _short(0x00020013, "SH", "COHORT_PHANTOM"),
    ]


def pixel_element(frames: list[npt.NDArray[Any]], stored_bits: int, syntax: UID) -> DataElement:
    """PixelData of some frames, each of shape (channels, rows, columns)."""
    shown = [np.ascontiguousarray(np.moveaxis(frame, 0, -1)) for frame in frames]
    wide = shown[0].dtype.itemsize > 1
    if syntax not in _ENCODERS:
        raw = b"".join(frame.astype(frame.dtype.newbyteorder("<"), copy=False).tobytes() for frame in shown)
        return DataElement("PixelData", "OW" if wide else "OB", raw + b"\x00" * (len(raw) % 2))
    encoded = encapsulate([_compress(frame, stored_bits, syntax) for frame in shown])
    element = DataElement("PixelData", "OB", encoded)
    element.is_undefined_length = True
    return element


def _compress(frame: npt.NDArray[Any], stored_bits: int, syntax: UID) -> bytes:
    rows, columns, channels = frame.shape
    source = frame if channels > 1 else frame[..., 0]
    return get_encoder(syntax).encode(
        source,
        encoding_plugin=_ENCODERS[syntax],
        rows=rows,
        columns=columns,
        samples_per_pixel=channels,
        photometric_interpretation="RGB" if channels > 1 else "MONOCHROME2",
        planar_configuration=0,
        bits_allocated=8 * frame.dtype.itemsize,
        bits_stored=stored_bits,
        pixel_representation=int(frame.dtype.kind == "i"),
        number_of_frames=1,
    )
