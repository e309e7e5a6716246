"""Which images are the same: nothing different is ever set aside as a copy."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from running import config_with

import cohort
from cohort import pipeline

if TYPE_CHECKING:
    from pathlib import Path


def assembled(folder: Path, out: Path) -> cohort.Cohort:
    pipeline.scan([str(folder)], out, config_with())
    pipeline.stage("assemble", out, config_with())
    return cohort.open(out)


def mask(value: int) -> np.ndarray:
    """A mask of zeros but for one voxel in its middle."""
    values = np.zeros((64, 64, 20), np.uint8)
    values[32, 32, 10] = value
    return values


@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "hdr"])
def test_images_that_differ_only_in_the_middle_are_two(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "images").mkdir()
    kind = nibabel.Nifti1Pair if suffix == "hdr" else nibabel.Nifti1Image
    for value in (1, 2):
        nibabel.save(kind(mask(value), np.eye(4)), tmp_path / "images" / f"mask{value}.{suffix}")
    volumes = assembled(tmp_path / "images", tmp_path / "out").volumes
    assert len(volumes) == 2
    assert volumes["volume_id"].is_unique
    assert (volumes["duplicate_slice_count"] == 0).all()


def test_a_compressed_copy_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    nibabel.save(nibabel.Nifti1Image(mask(1), np.eye(4)), tmp_path / "images" / "a.nii.gz")
    shutil.copy(tmp_path / "images" / "a.nii.gz", tmp_path / "images" / "b.nii.gz")
    volumes = assembled(tmp_path / "images", tmp_path / "out").volumes
    assert volumes["duplicate_slice_count"].tolist() == [1]


def test_dicom_without_identity_is_never_taken_for_a_copy(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for value in (1, 2):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID, dataset.Modality = CTImageStorage, "CT"
        dataset.Rows = dataset.Columns = 256
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, 0
        pixels = np.zeros((256, 256), np.uint16)
        pixels[128, 128] = value
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(
            tmp_path / "images" / f"{value}.dcm", enforce_file_format=False, implicit_vr=False, little_endian=True
        )
        assert (tmp_path / "images" / f"{value}.dcm").stat().st_size > 2 * 256 * 256
    opened = assembled(tmp_path / "images", tmp_path / "out")
    assert opened.run_folder.read("frames", ["role"])["role"].to_pylist() == ["image", "image"]
    assert opened.volumes["volume_id"].is_unique


def test_an_image_without_its_pixels_is_a_finding() -> None:
    from cohort.checks.files import check_file

    row = {"path": "a", "size": 9, "format": "dicom", "status": "ok", "reason": None, "unparsed": None}
    row |= {"is_image": False, "Rows": 4, "Columns": 4, "BitsAllocated": 16}
    assert [found["code"] for found in check_file(row)] == ["PIX-MISSING"]
    assert list(check_file(row | {"is_image": True})) == []
    assert list(check_file(row | {"Rows": None})) == []
