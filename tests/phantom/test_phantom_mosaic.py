"""nibabel, and a plain loop, find in the mosaics what the truth claims."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pydicom
import pytest

from cohort.phantom import PhantomTruth, PhantomVolume

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel warns that its DICOM readers are experimental
    from nibabel.nicom import csareader, dicomwrappers

ALL = ("mosaic-reversed", "mosaic-siemens", "mosaic-uih")
SIEMENS = ALL[:2]


def volume_named(truth: PhantomTruth, name: str) -> PhantomVolume:
    (volume,) = (volume for volume in truth.volumes if volume.name == name)
    return volume


def images(truth: PhantomTruth, name: str) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted((truth.root / "traps" / name).iterdir())]


@pytest.mark.parametrize("name", SIEMENS)
def test_nibabel_finds_the_voxels_and_where_they_lie(phantom: PhantomTruth, name: str) -> None:
    volume = volume_named(phantom, name)
    for time, image in enumerate(images(phantom, name)):
        wrapper = dicomwrappers.wrapper_from_data(image)
        assert isinstance(wrapper, dicomwrappers.MosaicWrapper)
        values = np.moveaxis(wrapper.get_unscaled_data(), 2, 0)
        affine = wrapper.affine
        if name == "mosaic-reversed":  # the truth has slices along the normal
            values = values[::-1]
            affine = affine @ [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, len(values) - 1], [0, 0, 0, 1]]
        np.testing.assert_array_equal(values, volume.voxels()[time, 0])
        normal = np.cross(*np.array(image.ImageOrientationPatient, float).reshape(2, 3))
        np.testing.assert_allclose(affine[:3, 2], normal * 3.6, atol=1e-6)
        np.testing.assert_allclose(affine[:3, 3], [-60.0, -55.0, -120.0], atol=1e-5)
        assert volume.spacing_slice_mm == 3.6


@pytest.mark.parametrize("name", SIEMENS)
def test_the_csa_header_is_one_to_nibabel(phantom: PhantomTruth, name: str) -> None:
    header: dict[str, Any] = csareader.get_csa_header(images(phantom, name)[0], "image")
    assert header["type"] == 2
    assert csareader.get_n_mosaic(header) == volume_named(phantom, name).slices


def test_the_uih_frames_are_the_tiles(phantom: PhantomTruth) -> None:
    volume = volume_named(phantom, "mosaic-uih")
    for time, image in enumerate(images(phantom, "mosaic-uih")):
        assert "ImagePositionPatient" not in image
        block = image.private_block(0x0065, "Image Private Header")
        frames = block[0x51].value
        assert int(block[0x50].value) == len(frames) == volume.slices == 6
        assert (image.Rows, image.Columns) == (2 * volume.rows, 3 * volume.columns)
        for k in range(len(frames)):
            top, left = k // 3 * volume.rows, k % 3 * volume.columns
            tile = image.pixel_array[top : top + volume.rows, left : left + volume.columns]
            np.testing.assert_array_equal(tile, volume.voxels()[time, 0, k])
        gaps = np.diff([np.array(frame.ImagePositionPatient, float) for frame in frames], axis=0)
        np.testing.assert_allclose(np.linalg.norm(gaps, axis=1), 3.6, atol=1e-5)


def test_the_stripped_one_has_no_private_header(phantom: PhantomTruth) -> None:
    for image in images(phantom, "mosaic-stripped"):
        assert "MOSAIC" in image.ImageType
        assert not [element for element in image if element.tag.group == 0x0029]
