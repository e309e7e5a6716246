"""Frames decoded by imagecodecs, as a decoding plug-in of pydicom, which it has none of.

pydicom's own part stays as it is for every plug-in: colour space, planes, sign and unused bits. What is asked of
the plug-in is the samples as the codestream holds them, without a change of colour that the header does not tell.
"""

from __future__ import annotations

import importlib.util
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from pydicom.pixels.decoders.base import DecodeRunner

CODECS = {
    str(JPEGBaseline8Bit): "jpeg",
    str(JPEGExtended12Bit): "jpeg",
    str(JPEGLossless): "jpeg",
    str(JPEGLosslessSV1): "jpeg",
    str(JPEGLSLossless): "jpegls",
    str(JPEGLSNearLossless): "jpegls",
    str(JPEG2000Lossless): "jpeg2k",
    str(JPEG2000): "jpeg2k",
    str(HTJ2KLossless): "htj2k",
    str(HTJ2KLosslessRPCL): "htj2k",
    str(HTJ2K): "jpeg2k",  # OpenJPH lets values past the end of their type wrap around, OpenJPEG clips them
}
"""Transfer syntax -> codec of imagecodecs."""

DECODER_DEPENDENCIES = dict.fromkeys(CODECS, ("imagecodecs>=2025.3",))
"""What pydicom asks of a plug-in."""

_ADOBE, _START_OF_SCAN, _ALONE = 0xEE, 0xDA, (0x01, *range(0xD0, 0xD9))
_RGB, _YBR = 0, 1  # transform of an Adobe marker


def is_available(uid: str) -> bool:
    """Tell whether imagecodecs is installed and knows a transfer syntax."""
    return str(uid) in CODECS and importlib.util.find_spec("imagecodecs") is not None


def decode_frame(src: bytes, runner: DecodeRunner) -> bytes:
    """Return the samples of one frame, pixel by pixel; the runner is told how they are to be read."""
    codec = CODECS[str(runner.transfer_syntax)]
    values = _decoded(src, codec)
    expected = (runner.rows, runner.columns)
    if values.shape[:2] != expected or values.size != runner.rows * runner.columns * runner.samples_per_pixel:
        raise ValueError("the codestream has another size than the header")
    runner.set_option("planar_configuration", 0)
    runner.set_option("bits_allocated", 8 * values.dtype.itemsize)
    photometric = runner.photometric_interpretation
    if codec == "jpeg" and runner.samples_per_pixel == 3:
        told = adobe_transform(src)
        if told == _RGB:
            runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)
        elif told == _YBR and photometric == PhotometricInterpretation.RGB:
            runner.set_option("photometric_interpretation", PhotometricInterpretation.YBR_FULL)
    elif photometric in (PhotometricInterpretation.YBR_ICT, PhotometricInterpretation.YBR_RCT):
        runner.set_option("photometric_interpretation", PhotometricInterpretation.RGB)  # undone by the decoder
    return values.tobytes()


def _decoded(src: bytes, codec: str) -> NDArray[Any]:
    import imagecodecs

    if codec == "jpegls":
        return np.asarray(imagecodecs.jpegls_decode(src))
    if codec == "jpeg2k":
        return np.asarray(imagecodecs.jpeg2k_decode(src))
    if codec == "htj2k":
        return np.asarray(imagecodecs.htj2k_decode(src))
    # Naming the same colour space on both sides leaves the components as they are.
    space = "YCBCR" if _components(src) == 3 else None
    return np.asarray(imagecodecs.jpeg_decode(src, colorspace=space, outcolorspace=space))


def adobe_transform(src: bytes) -> int | None:
    """Return the colour transform of an Adobe marker: 0 none, 1 YCbCr; None where there is no such marker."""
    for marker, body in _segments(src):
        if marker == _ADOBE and body.startswith(b"Adobe") and len(body) >= 12:
            return body[11]
    return None


def _components(src: bytes) -> int:
    for marker, body in _segments(src):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:
            return body[5]
    return 1


def _segments(src: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield marker and content of the segments of a JPEG stream, up to the first scan (ISO/IEC 10918-1 annex B)."""
    position = 2
    while position + 4 <= len(src) and src[position] == 0xFF:
        marker = src[position + 1]
        if marker == 0xFF or marker in _ALONE:  # fill, or a marker without content
            position += 1 if marker == 0xFF else 2
            continue
        if marker == _START_OF_SCAN:
            return
        length = struct.unpack_from(">H", src, position + 2)[0]
        yield marker, src[position + 4 : position + 2 + length]
        position += 2 + length
