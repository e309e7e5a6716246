"""Which decoder takes which transfer syntax, and encapsulated frames read through it.

pydicom's decoders are asked frame by frame, with the attributes of `frames` instead of a data set: the header is
not parsed again, and no more than one frame is held.
"""

from __future__ import annotations

import zlib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from cohort.errors import RejectedError
from cohort.readers.base import without_warnings
from cohort.readers.dicom_elements import DEFLATED_FRAMES
from cohort.readers.dicom_fragments import Fragments
from cohort.readers.dicom_imagecodecs import CODECS
from cohort.readers.dicom_layout import layout_of, to_rgb, unpacked, used_bits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cohort.readers.dicom_layout import PixelLayout


_PYDICOM = "pydicom.pixels.decoders."
_IMAGECODECS = ("imagecodecs", "cohort.readers.dicom_imagecodecs", "decode_frame", "imagecodecs")
_PILLOW = ("pillow", _PYDICOM + "pillow", "_decode_frame", "pillow")
_PYJPEGLS = ("pyjpegls", _PYDICOM + "pyjpegls", "_decode_frame", "pyjpegls")
_OPENJPEG = ("pylibjpeg", _PYDICOM + "pylibjpeg", "_decode_frame", "pylibjpeg-openjpeg")
_RLE = ("pylibjpeg", _PYDICOM + "pylibjpeg", "_decode_frame", "pylibjpeg-rle")
_PYTHON_RLE = ("pydicom", _PYDICOM + "rle", "_decode_frame", "pydicom")
_GDCM = ("gdcm", _PYDICOM + "gdcm", "_decode_frame", "python-gdcm")

# The first that is installed is taken: fastest first. imagecodecs works outside the GIL, which the others hold.
_PLUGINS: dict[str, tuple[tuple[str, str, str, str], ...]] = {
    str(JPEGBaseline8Bit): (_IMAGECODECS, _PILLOW, _GDCM),
    str(JPEGExtended12Bit): (_IMAGECODECS, _GDCM, _PILLOW),
    **dict.fromkeys((str(JPEGLossless), str(JPEGLosslessSV1)), (_IMAGECODECS, _GDCM)),
    **dict.fromkeys((str(JPEGLSLossless), str(JPEGLSNearLossless)), (_IMAGECODECS, _PYJPEGLS)),
    **dict.fromkeys((str(JPEG2000Lossless), str(JPEG2000)), (_IMAGECODECS, _OPENJPEG)),
    **dict.fromkeys((str(HTJ2KLossless), str(HTJ2KLosslessRPCL), str(HTJ2K)), (_IMAGECODECS, _OPENJPEG)),
    str(RLELossless): (_RLE, _PYTHON_RLE),
}
_OPTIONS = {
    "rows": "Rows",
    "columns": "Columns",
    "bits_allocated": "BitsAllocated",
    "pixel_representation": "PixelRepresentation",
}


def installed(distribution: str) -> str | None:
    """Return the version of a distribution, None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def decoder_for(syntax: str, stored: int) -> tuple[Decoder, str]:
    """Choose the decoder of a transfer syntax.

    Parameters
    ----------
    syntax : str
        Transfer syntax UID.
    stored : int
        BitsStored: what decodes eight bits need not decode twelve.

    Returns
    -------
    tuple of Decoder and str
        The decoder, and its name and version as `volumes.decoder` has them.

    Raises
    ------
    RejectedError
        `no_decoder: <name of the syntax>`.
    """
    for label, module, function, distribution in _PLUGINS.get(syntax, ()):
        number = installed(distribution)
        if number is None or (syntax == JPEGExtended12Bit and label == "pillow" and stored != 8):
            continue
        codec = f" {CODECS[syntax]}" if label == "imagecodecs" else ""
        return _decoder(syntax, label, module, function), f"{distribution} {number}{codec}"
    raise RejectedError(no_decoder(syntax))


def no_decoder(syntax: str) -> str:
    """Return the reason where there is none; it quotes no header."""
    return f"no_decoder: {syntax_name(syntax)}"


@cache
def _decoder(syntax: str, label: str, module: str, function: str) -> Decoder:
    """Return a decoder of our own with one plug-in: pydicom's are the process's."""
    decoder = Decoder(UID(syntax))
    decoder.add_plugin(label, (module, function))
    return decoder


def syntax_name(syntax: str) -> str:
    """Return the name of a transfer syntax, `unknown` for one that the dictionary lacks: it may say anything."""
    if syntax == DEFLATED_FRAMES:
        return "Deflated Image Frame Compression"
    uid = UID(syntax)
    return uid.name if uid.name != syntax and uid.is_transfer_syntax else "unknown"


class EncapsulatedFrames:
    """Frames that are compressed one by one, found by the tags of their fragments.

    Parameters
    ----------
    file : BinaryIO
        The object; closed by `close`.
    row : mapping
        A row of `frames`, with `pixel_offset`.

    Raises
    ------
    RejectedError
        If nothing decodes the syntax, or the fragments do not make the frames.
    """

    def __init__(self, file: BinaryIO, row: Mapping[str, Any]) -> None:
        self._file = file
        self._layout = layout = layout_of(row)
        self._syntax = str(row["TransferSyntaxUID"])
        self._decoder: Decoder | None = None
        if self._syntax == DEFLATED_FRAMES:
            self.decoder = f"zlib {zlib.ZLIB_RUNTIME_VERSION}"
        else:
            self._decoder, self.decoder = decoder_for(self._syntax, layout.stored)
        self._fragments: Fragments | None = None
        self._offset = int(row["pixel_offset"])
        self._options: dict[str, Any] = {option: row.get(name) for option, name in _OPTIONS.items()}
        self._options |= {
            "bits_stored": layout.stored,
            "samples_per_pixel": layout.samples,
            "photometric_interpretation": layout.photometric,
            "planar_configuration": int(layout.planar),
            "number_of_frames": 1,
        }

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one frame; whatever a decoder throws becomes a reason."""
        if self._fragments is None:
            self._fragments = Fragments(self._file, self._offset, self._layout.frames)
        block = self._fragments.read(frame)
        try:
            if self._decoder is None:
                return _from_bytes(_inflated(block, self._layout), self._layout)
            with without_warnings():
                if self._layout.allocated == 1 and self._syntax == RLELossless:
                    return unpacked(self._packed(block), self._layout)
                return np.asarray(self._decoder.as_array(encapsulate([block]), index=0, **self._options)[0])
        except (KeyboardInterrupt, SystemExit, GeneratorExit, RejectedError):
            raise
        except BaseException as error:  # a decoder written in Rust panics past Exception
            raise RejectedError(f"undecodable: {type(error).__name__}") from None

    def _packed(self, block: bytes) -> bytes:
        """Return the bytes of a run-length encoded frame of single bits: for the codec they are a row of bytes."""
        assert self._decoder is not None
        count = (self._layout.pixels * self._layout.samples + 7) // 8
        options = self._options | {"rows": 1, "columns": count, "samples_per_pixel": 1}
        options |= {"bits_allocated": 8, "bits_stored": 8, "pixel_representation": 0}
        options |= {"photometric_interpretation": "MONOCHROME2"}
        return np.asarray(self._decoder.as_array(encapsulate([block]), index=0, **options)[0]).tobytes()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _inflated(block: bytes, layout: PixelLayout) -> bytes:
    """Return the bytes of a deflated frame, never more than a frame has."""
    size = (layout.pixels * layout.samples * layout.allocated + 7) // 8
    data = zlib.decompressobj(wbits=-15).decompress(block, size + 1)
    if len(data) < size:
        raise RejectedError("truncated_pixels")
    return data[:size]


def _from_bytes(block: bytes, layout: PixelLayout) -> NDArray[Any]:
    """Return a frame from its uncompressed bytes, little endian."""
    if layout.allocated == 1:
        return unpacked(block, layout)
    values: NDArray[Any] = np.frombuffer(block, f"<{'i' if layout.signed else 'u'}{layout.allocated // 8}")
    if layout.planar:
        values = np.moveaxis(values.reshape(layout.samples, layout.rows, layout.columns), 0, -1)
    else:
        values = values.reshape(layout.shape)
    return to_rgb(used_bits(values, layout), layout.photometric)
