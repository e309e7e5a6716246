"""nibabel finds in the NIfTI files what the truth claims."""

from __future__ import annotations

import json
import warnings

import nibabel as nib
import numpy as np
import pytest

from cohort.phantom import PhantomTruth, PhantomVolume

MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


def nifti_volumes(truth: PhantomTruth) -> list[PhantomVolume]:
    volumes = [volume for volume in truth.volumes if volume.format == "nifti"]
    assert len(volumes) >= 14
    return volumes


def test_voxels_are_the_claimed_ones(phantom: PhantomTruth) -> None:
    for volume in nifti_volumes(phantom):
        values = np.asarray(nib.load(phantom.root / volume.path).get_fdata())
        values = values[..., None] if values.ndim == 3 else values
        expected = volume.voxels()[:, 0]  # time, z, y, x
        np.testing.assert_allclose(np.transpose(values, (3, 2, 1, 0)), expected, rtol=1e-6, err_msg=volume.name)


def test_spacing_is_that_of_the_affine(phantom: PhantomTruth) -> None:
    for volume in nifti_volumes(phantom):
        image = nib.load(phantom.root / volume.path)
        scale = MM_PER_UNIT[int(image.header["xyzt_units"]) & 7]
        lengths = scale * np.linalg.norm(image.affine[:3, :3], axis=0)
        claimed = (volume.spacing_col_mm, volume.spacing_row_mm, volume.spacing_slice_mm)
        for length, spacing in zip(lengths, claimed, strict=True):
            assert np.isnan(length) if spacing is None else length == pytest.approx(spacing, rel=1e-6), volume.name


def test_each_trap_is_in_its_header(phantom: PhantomTruth) -> None:
    def header(name: str) -> nib.Nifti1Header:
        (volume,) = (volume for volume in phantom.volumes if volume.name == name)
        # The raw bytes: nibabel mends pixdim while loading an image.
        cls = nib.Nifti2Header if name == "nifti-version-2" else nib.Nifti1Header
        with open(phantom.root / volume.path, "rb") as stream:
            return cls.from_fileobj(stream, check=False)

    bare = header("nifti-no-orientation")
    assert (int(bare["sform_code"]), int(bare["qform_code"])) == (0, 0)
    both = header("nifti-forms-disagree")
    assert int(both["sform_code"]) > 0
    assert int(both["qform_code"]) > 0
    assert not np.allclose(both.get_sform(), both.get_qform(), atol=0.1)
    assert header("nifti-pixdim-zero")["pixdim"][3] == 0
    assert np.isnan(header("nifti-pixdim-nan")["pixdim"][3])
    assert int(header("nifti-units-unknown")["xyzt_units"]) == 0
    assert int(header("nifti-micron")["xyzt_units"]) & 7 == 3
    assert np.isnan(header("nifti-slope-nan")["scl_slope"])
    assert header("nifti-big-endian").endianness == ">"
    assert int(header("nifti-version-2")["sizeof_hdr"]) == 540


def test_forms_agree_where_no_trap_says_otherwise(phantom: PhantomTruth) -> None:
    for volume in nifti_volumes(phantom):
        header = nib.load(phantom.root / volume.path).header
        if int(header["sform_code"]) and int(header["qform_code"]):
            agree = np.allclose(header.get_sform(), header.get_qform(), atol=1e-3)
            assert agree == ("NII-SFORM-QFORM" not in volume.findings), volume.name


def test_functional_series_has_time_and_a_scale(phantom: PhantomTruth) -> None:
    (bold,) = (volume for volume in phantom.volumes if volume.name == "bids-bold")
    header = nib.load(phantom.root / bold.path).header
    assert bold.timepoints == header["dim"][4] == 6
    assert header["pixdim"][4] == 2.0
    assert header.get_data_dtype() == np.int16
    assert header["scl_slope"] not in (0.0, 1.0)


def test_sidecars_are_in_seconds(phantom: PhantomTruth) -> None:
    sidecar = json.loads((phantom.root / "clean/bids/sub-01/anat/sub-01_T1w.json").read_text(encoding="utf-8"))
    assert sidecar["Modality"] == "MR"
    assert sidecar["EchoTime"] < 0.1


def test_a_pair_counts_once(phantom: PhantomTruth) -> None:
    rows = {file.path: file for file in phantom.files if file.path.startswith("clean/pair/")}
    assert {path: row.is_image for path, row in rows.items()} == {
        "clean/pair/atlas.hdr": True,
        "clean/pair/atlas.img": False,
    }


def test_the_truncated_image_is_too_short(phantom: PhantomTruth) -> None:
    image = nib.load(phantom.root / "traps/nifti-truncated/image.nii")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((OSError, ValueError)):
            image.get_fdata()
