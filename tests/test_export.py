"""`cohort export`: what it writes is what nibabel and SimpleITK read, voxel by voxel and in the same place."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from running import config_with

import cohort
from cohort import pipeline
from cohort.errors import FormatError, MisuseError
from cohort.export import export_nifti
from cohort.phantom import PhantomTruth
from cohort.readers.nifti_write import NiftiImage, write_nifti

if TYPE_CHECKING:
    from collections.abc import Callable

RIGID = np.array([[0.0, -0.8, 0.6 * 2, 10], [0.9, 0.0, 0.0, -20], [0.0, 0.6, 0.8 * 2, 30.5], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def opened(run_out: Path) -> cohort.Cohort:
    return cohort.open(run_out)


def stored(opened: cohort.Cohort) -> list[dict[str, Any]]:
    rows = opened.run_folder.read("volumes").to_pylist()
    return [row for row in rows if row["zarr_path"] is not None]


def voxels_of(volume: Any) -> np.ndarray:
    """Time, channel, slice, row, column, whichever of them the volume has."""
    values = np.asarray(volume.data.compute(scheduler="sync"))
    return values.reshape([values.shape[volume.axes.index(axis)] if axis in volume.axes else 1 for axis in "tczyx"])


def by_nibabel(image: Any) -> np.ndarray:
    """The same axes of what nibabel read."""
    voxels: Any = np.asanyarray(image.dataobj)
    if voxels.dtype.fields:
        voxels = np.stack([voxels[name].reshape((*voxels.shape, 1)[:4]) for name in voxels.dtype.fields], axis=-1)
    return np.transpose(voxels.reshape(voxels.shape + (1,) * (5 - voxels.ndim)), (3, 4, 2, 1, 0))


def by_simpleitk(image: Any) -> np.ndarray:
    """The same axes of what SimpleITK read."""
    import SimpleITK

    width, height, *deep = image.GetSize()
    depth, times = (*deep, 1, 1)[:2]
    values = SimpleITK.GetArrayFromImage(image)
    return np.moveaxis(values.reshape(times, depth, height, width, -1), -1, 1)


def test_nibabel_reads_back_every_volume(opened: cohort.Cohort, tmp_path: Path) -> None:
    kinds = set()
    for row in stored(opened):
        path = tmp_path / f"{row['volume_id']}.nii"
        export_nifti(opened, row["volume_id"], path)
        volume, image = opened.volume(row["volume_id"]), nibabel.load(path)
        voxels = by_nibabel(image)
        assert voxels.dtype == volume.dtype
        np.testing.assert_array_equal(voxels, voxels_of(volume))
        if volume.affine_ras is None:
            assert (image.header["sform_code"], image.header["qform_code"]) == (0, 0)
        else:
            np.testing.assert_allclose(image.affine, volume.affine_ras, rtol=1e-6, atol=1e-4)
            assert image.header["sform_code"] == 1
        expected = [volume.spacing_mm[1], volume.spacing_mm[0], volume.spacing_mm[2]]
        for zoom, step in zip(image.header.get_zooms()[:3], expected, strict=True):
            regular = row["regularly_spaced_3d_volume"] is not False  # else the step of the affine is the mean gap
            assert step is None or not regular or zoom == pytest.approx(step, rel=1e-3)
        if row["timepoint_step_ms"]:
            assert image.header.get_zooms()[3] == pytest.approx(row["timepoint_step_ms"] / 1000)
            assert image.header.get_xyzt_units() == ("mm", "sec")
        kinds.add((voxels.dtype.name, len(volume.axes), bool(image.header["qform_code"])))
        path.unlink()
    assert {"uint8", "int16", "uint16", "float32"} <= {name for name, _, _ in kinds}
    assert {2, 3, 4} <= {axes for _, axes, _ in kinds}
    assert {True, False} == {rigid for _, _, rigid in kinds}


def test_simpleitk_reads_back_every_rigid_volume(opened: cohort.Cohort, tmp_path: Path) -> None:
    SimpleITK = pytest.importorskip("SimpleITK", reason="needs the extra test")
    compared = 0
    for row in stored(opened):
        path = tmp_path / f"{row['volume_id']}.nii"
        export_nifti(opened, row["volume_id"], path)
        if not nibabel.load(path).header["qform_code"]:
            continue
        volume = opened.volume(row["volume_id"])
        image = SimpleITK.ReadImage(str(path))
        np.testing.assert_array_equal(by_simpleitk(image), voxels_of(volume))
        assert volume.affine_lps is not None
        n = image.GetDimension()
        direction = np.array(image.GetDirection()).reshape(n, n)[:3, :3] * np.array(image.GetSpacing())[:3]
        np.testing.assert_allclose(direction, volume.affine_lps[:3, :3], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(image.GetOrigin()[:3], volume.affine_lps[:3, 3], rtol=1e-5, atol=1e-4)
        compared += 1
        path.unlink()
    assert compared >= 30


# -- what the header can and cannot say --------------------------------------------------------------------


def write(path: Path, values: np.ndarray, affine: Any = RIGID, **options: Any) -> Any:
    """Write (t, c, z, y, x) and open it with nibabel."""
    image = NiftiImage(
        values.shape, values.dtype, affine, (1.0, 2.0, 3.0), options.pop("time_step_ms", None), **options
    )  # type: ignore[arg-type]
    write_nifti(path, image, lambda t, channels, slices: values[t, channels, slices])
    return nibabel.load(path)


@pytest.mark.parametrize("name", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_every_type_is_kept(tmp_path: Path, name: str, ending: str) -> None:
    values = np.random.default_rng(5).integers(0, 256, (2, 1, 5, 4, 3, 8), np.uint8)
    typed = np.ascontiguousarray(values[..., : np.dtype(name).itemsize]).view(name)[..., 0]
    image = write(tmp_path / f"image{ending}", typed)
    assert image.header.get_data_dtype() == np.dtype(name)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.transpose(typed[:, 0], (3, 2, 1, 0)))


def test_a_long_image_is_nifti_2(tmp_path: Path) -> None:
    for length, kind in ((32767, nibabel.Nifti1Image), (32768, nibabel.Nifti2Image)):
        image = write(tmp_path / f"{length}.nii", np.arange(length, dtype=np.int32).reshape(1, 1, 1, 1, -1))
        assert type(image) is kind
        assert image.shape == (length, 1, 1)
        np.testing.assert_allclose(image.affine, RIGID, rtol=1e-7)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj).ravel(), np.arange(length))


def test_shear_is_kept_in_the_sform_alone(tmp_path: Path) -> None:
    sheared = RIGID.copy()
    sheared[:3, 2] += 0.3 * RIGID[:3, 1]
    values = np.zeros((1, 1, 20, 30, 40), np.int16)
    image = write(tmp_path / "sheared.nii", values, sheared)
    np.testing.assert_allclose(image.affine, sheared, rtol=1e-6)
    assert (image.header["sform_code"], image.header["qform_code"]) == (1, 0)
    rigid = write(tmp_path / "rigid.nii", values)
    assert (rigid.header["sform_code"], rigid.header["qform_code"]) == (1, 1)
    np.testing.assert_allclose(rigid.get_qform(), RIGID, atol=1e-5)


def test_a_mirrored_affine_has_a_qform_too(tmp_path: Path) -> None:
    mirrored = RIGID @ np.diag([1, 1, -1, 1])
    image = write(tmp_path / "mirrored.nii", np.zeros((1, 1, 3, 4, 5), np.uint8), mirrored)
    np.testing.assert_allclose(image.get_qform(), mirrored, atol=1e-5)


def test_time_and_channels_have_their_dimensions(tmp_path: Path) -> None:
    values = np.random.default_rng(1).normal(size=(3, 2, 4, 5, 6)).astype(np.float32)
    image = write(tmp_path / "vector.nii", values, time_step_ms=1500.0)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), np.transpose(values, (4, 3, 2, 0, 1)))
    assert image.header.get_intent()[0] == "vector"
    assert image.header.get_xyzt_units() == ("mm", "sec")
    assert image.header["pixdim"][4] == 1.5


def test_slabs_make_the_same_file_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(2).integers(0, 255, (2, 3, 7, 5, 6), np.uint8)
    write(tmp_path / "whole.nii", values)
    monkeypatch.setattr("cohort.readers.nifti_write._SLAB_BYTES", 200)
    write(tmp_path / "slabs.nii", values)
    assert (tmp_path / "whole.nii").read_bytes() == (tmp_path / "slabs.nii").read_bytes()


def test_nothing_is_left_of_a_file_that_could_not_be_finished(tmp_path: Path) -> None:
    def read(t: int, channels: slice, slices: slice) -> np.ndarray:
        raise OSError(28, "No space left on device")

    image = NiftiImage((1, 1, 2, 2, 2), np.dtype(np.int16), None, (None, None, None), None)
    with pytest.raises(OSError, match="No space"):
        write_nifti(tmp_path / "image.nii", image, read)
    assert list(tmp_path.iterdir()) == []


# -- the command -------------------------------------------------------------------------------------------


def test_the_number_of_the_report_and_the_first_digits_will_do(opened: cohort.Cohort, tmp_path: Path) -> None:
    row = min(stored(opened), key=lambda row: row["volume_id"])
    ids = sorted(opened.volumes.volume_id)
    number = f"V{ids.index(row['volume_id']) + 1:04d}"
    done = [export_nifti(opened, name, tmp_path / f"{name}.nii") for name in (row["volume_id"][:8], number)]
    assert [found["volume_id"] for found in done] == [row["volume_id"]] * 2
    one, two = (
        hashlib.sha256((tmp_path / f"{name}.nii").read_bytes()).digest() for name in (row["volume_id"][:8], number)
    )
    assert one == two
    for name, words in (("", "no volume"), ("V9999", "no volume"), ("xyz", "no volume")):
        with pytest.raises(MisuseError, match=words):
            export_nifti(opened, name, tmp_path / "none.nii")


def test_an_irregular_grid_is_told_of(opened: cohort.Cohort, tmp_path: Path) -> None:
    row = next(row for row in stored(opened) if row["missing_slice_count"])
    assert "missing" in export_nifti(opened, row["volume_id"], tmp_path / "a.nii")["notes"][0]


def test_a_damaged_volume_is_refused(opened: cohort.Cohort, tmp_path: Path, run_out: Path) -> None:
    import shutil

    copy = tmp_path / "out"
    shutil.copytree(run_out, copy)
    row = stored(opened)[0]
    chunk = next(
        path for path in sorted((copy / "volumes.zarr" / row["zarr_path"] / "0" / "c").rglob("*")) if path.is_file()
    )
    damaged = bytearray(chunk.read_bytes())
    damaged[len(damaged) // 2] ^= 4
    chunk.write_bytes(damaged)
    with pytest.raises(FormatError, match="damaged"):
        export_nifti(cohort.open(copy), row["volume_id"], tmp_path / "a.nii")
    assert not list(tmp_path.glob("*a.nii*"))


def test_the_command_says_what_it_wrote(
    run_out: Path, opened: cohort.Cohort, tmp_path: Path, cohort_command: Callable[..., Any]
) -> None:
    row = stored(opened)[0]
    done = cohort_command("export", str(run_out), row["volume_id"], "--nifti", str(tmp_path / "a.nii.gz"), "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["volume_id"] == row["volume_id"]
    assert nibabel.load(tmp_path / "a.nii.gz").shape[:2] == (row["columns"], row["rows"])


@pytest.mark.parametrize("case", ["no volume", "exists", "no name for a NIfTI file", "no folder"])
def test_misuse_writes_nothing(case: str, opened: cohort.Cohort, tmp_path: Path) -> None:
    name, path = stored(opened)[0]["volume_id"], tmp_path / "a.nii"
    if case == "no volume":
        name = "ffff0000"
    if case == "exists":
        path.write_text("precious")
    if case == "no name for a NIfTI file":
        path = tmp_path / "a.png"
    if case == "no folder":
        path = tmp_path / "nowhere" / "a.nii"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(MisuseError, match=case):
        export_nifti(opened, name, path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_volume_without_pixels_is_misuse_too(
    truth: PhantomTruth, tmp_path: Path, cohort_command: Callable[..., Any]
) -> None:
    config = config_with().with_options("ingest", pixels=False)
    pipeline.run([str(truth.root / "traps" / "missing-slice")], tmp_path / "out", config)
    name = cohort.open(tmp_path / "out").volumes.volume_id[0]
    done = cohort_command("export", str(tmp_path / "out"), name, "--nifti", str(tmp_path / "a.nii"))
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [done.stderr.strip()]
    assert "has no pixels in Zarr" in done.stderr
    assert not (tmp_path / "a.nii").exists()
