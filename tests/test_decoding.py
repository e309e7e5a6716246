"""Frames of every transfer syntax: equal to what other decoders and the uncompressed originals say."""

from __future__ import annotations

import io
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_color_lut

from cohort.errors import RejectedError
from cohort.readers import dicom_codecs, open_frames, read_header, without_warnings
from cohort.schema import FRAMES

if TYPE_CHECKING:
    from collections.abc import Iterator

BUNDLED = Path(pydicom.__file__).parent / "data" / "test_files"
LIMIT = 1 << 28
EXTENDED, LOSSLESS = "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.70"
NEEDS_FAST = {  # neither Pillow nor any other plug-in that pydicom knows and we want decodes them
    "JPEG-lossy.dcm": EXTENDED,
    "JPGExtended.dcm": EXTENDED,
    "SC_rgb_jpeg_gdcm.dcm": LOSSLESS,
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("pydicom").disabled = True
    yield
    logging.getLogger("pydicom").disabled = False


@pytest.fixture
def _without_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = dicom_codecs.installed
    monkeypatch.setattr(dicom_codecs, "installed", lambda name: None if name == "imagecodecs" else found(name))


def row_of(block: bytes) -> dict[str, Any]:
    """The row of `frames` of an object."""
    with without_warnings():
        row = read_header(io.BytesIO(block), len(block), "x", neighbour=lambda *_: None, gzip_limit=LIMIT)
    return {name: row.get(name) for name in FRAMES.names} | {"status": row["status"], "is_image": row["is_image"]}


def frames_of(block: bytes, **changes: Any) -> tuple[np.ndarray[Any, Any], str]:
    """All frames of an object and the decoder."""
    row = row_of(block) | changes
    reader = open_frames(io.BytesIO(block), row, gzip_limit=LIMIT)
    try:
        return np.stack([reader.read(n) for n in range(max(1, row["NumberOfFrames"] or 1))]), reader.decoder
    finally:
        reader.close()


def known(path: Path) -> np.ndarray[Any, Any] | None:
    """What pydicom makes of a file, None where it makes nothing; one frame more than it has axes for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path, force=True)
            values = dataset.pixel_array
            if dataset.PhotometricInterpretation == "PALETTE COLOR":
                values = apply_color_lut(values, dataset)
        except Exception:
            return None
    return values if int(dataset.get("NumberOfFrames") or 1) > 1 else values[np.newaxis]


def same(found: np.ndarray[Any, Any], truth: np.ndarray[Any, Any]) -> bool:
    return found.dtype == truth.dtype.newbyteorder("=") and np.array_equal(found, truth)


BUNDLED_IMAGES = sorted(p for p in BUNDLED.rglob("*.dcm") if p.stat().st_size < 4 << 20)


def check_bundled(path: Path) -> str | None:
    """Compare one file; the decoder where there was something to compare."""
    block = path.read_bytes()
    row = row_of(block)
    if row["status"] != "ok" or not row["is_image"]:
        return None
    truth = known(path)
    if truth is None:
        return None
    found, decoder = frames_of(block)
    assert same(found, truth), path.name
    return decoder


def test_every_bundled_image_is_what_pydicom_makes_of_it() -> None:
    decoders = [decoder for path in BUNDLED_IMAGES if (decoder := check_bundled(path))]
    assert len(decoders) >= 50
    assert {decoder.split()[0] for decoder in decoders} == {"native", "imagecodecs", "pylibjpeg-rle"}


@pytest.mark.usefixtures("_without_imagecodecs")
def test_every_bundled_image_is_what_pydicom_makes_of_it_without_imagecodecs() -> None:
    decoders = [decoder for path in BUNDLED_IMAGES if path.name not in NEEDS_FAST and (decoder := check_bundled(path))]
    assert len(decoders) >= 50
    assert {decoder.split()[0] for decoder in decoders} == {
        "native", "pillow", "pyjpegls", "pylibjpeg-openjpeg", "pylibjpeg-rle",
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(NEEDS_FAST))
def test_a_missing_decoder_is_named(name: str, request: pytest.FixtureRequest) -> None:
    block = (BUNDLED / name).read_bytes()
    assert frames_of(block)[1].endswith(" jpeg")
    request.getfixturevalue("_without_imagecodecs")
    with pytest.raises(RejectedError) as rejection:
        frames_of(block)
    assert rejection.value.reason == f"no_decoder: {pydicom.uid.UID(NEEDS_FAST[name]).name}"


def test_a_syntax_that_is_in_no_dictionary_is_not_quoted() -> None:
    block = (BUNDLED / "SC_rgb_jpeg_gdcm.dcm").read_bytes()
    for syntax in ("1.2.3.4.SMITH", "1.2.840.10008.1.1"):
        with pytest.raises(RejectedError) as rejection:
            frames_of(block, TransferSyntaxUID=syntax)
        assert rejection.value.reason == "no_decoder: unknown"
