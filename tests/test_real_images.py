"""A run over the real images: nothing is lost, and the numbers are those of a plain loop."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import oracle
import pandas as pd
import pytest

import cohort

pytestmark = pytest.mark.real

SERIES = 30  # at least so many real CT and MR series are compared voxel by voxel


@pytest.fixture(scope="module")
def opened(real_out: Path) -> cohort.Cohort:
    return cohort.open(real_out)


@pytest.fixture(scope="module")
def files(opened: cohort.Cohort) -> pd.DataFrame:
    columns = ["path", "status", "reason", "format", "is_image", "TransferSyntaxUID", "nifti_magic"]
    return opened.run_folder.read("files", columns).to_pandas().set_index("path")


def test_rows_are_the_files_of_the_tree(files: pd.DataFrame, real_images: Path) -> None:
    tree = {str(p.relative_to(real_images)) for p in real_images.rglob("*") if p.is_file()}
    assert set(files.index) == tree
    assert files.index.is_unique


def readable_dicom(path: Path) -> bool:
    """Whether pydicom reads the header and, where there are native pixels, has as many as the header promises."""
    import pydicom

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            dataset = pydicom.dcmread(path)
            if "PixelData" in dataset and not dataset.file_meta.TransferSyntaxUID.is_compressed:
                _ = dataset.pixel_array
        except NotImplementedError:
            return True  # read, but not decoded
        except Exception:
            return False
    return True


def test_what_pydicom_reads_is_ok(files: pd.DataFrame, real_images: Path) -> None:
    """Headers that end early, or hold nothing, are the exception: pydicom returns what there is, silently."""
    wrong = []
    for path, row in files[(files["status"] != "ok") & (files["reason"] != "empty_file")].iterrows():
        if readable_dicom(real_images / str(path)):
            wrong.append((path, row["reason"]))
    assert {reason for _, reason in wrong} <= {"truncated_header", "not_plausible_dicom"}, wrong
    for path, _ in wrong:
        assert "trunc" in str(path) or "only_preamble" in str(path), path


def test_what_nibabel_reads_is_ok(files: pd.DataFrame, real_images: Path) -> None:
    import nibabel

    wrong = []
    for path in files.index[files["status"] != "ok"]:
        if not str(path).endswith((".nii", ".nii.gz", ".hdr", ".hdr.gz")):
            continue
        try:
            image = nibabel.load(real_images / str(path))
            if isinstance(image, nibabel.Nifti1Pair):
                np.asanyarray(image.dataobj)
                wrong.append(path)
        except Exception:
            continue
    assert wrong == []


def test_every_volume_has_an_outcome(opened: cohort.Cohort) -> None:
    volumes = opened.volumes
    stored = volumes["zarr_path"].notna()
    assert (volumes["status"][stored] == "ok").all()
    assert volumes["reason"][~stored].notna().all()
    info = json.loads((opened.run_folder.path / "run.json").read_text())
    assert info["stages"]["ingest"]["counts"]["volumes"] == len(volumes)
    assert volumes["volume_id"].is_unique


def test_single_frame_series_are_conserved(opened: cohort.Cohort) -> None:
    frames = opened.run_folder.read("frames", ["series_key", "path_raw", "source", "role", "frame"]).to_pandas()
    files = opened.run_folder.read("files", ["path_raw", "is_image", "status", "series_key"]).to_pandas()
    images = files[files["is_image"] & (files["status"] == "ok")]
    assert set(frames["path_raw"]) == set(images["path_raw"])
    assert not frames.duplicated(["path_raw", "frame"]).any()


def test_ct_and_mr_equal_a_plain_loop(opened: cohort.Cohort, real_images: Path) -> None:
    volumes = opened.volumes
    wanted = volumes[
        volumes["Modality"].isin(["CT", "MR"])
        & (volumes["format"] == "dicom")
        & volumes["zarr_path"].notna()
        & (volumes["channels"] == 1)
        & ~volumes["dtype"].fillna("").str.startswith("float")
    ]
    frames = opened.run_folder.read("frames", ["volume_id", "path_raw", "frame", "role"]).to_pandas()
    frames = frames[frames["role"] == "image"].groupby("volume_id")
    statistics = opened.statistics.set_index("volume_id")
    histogram = opened.histogram(by="volume_id").groupby("volume_id")
    compared = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, on real headers
        for row in wanted.itertuples():
            sources = frames.get_group(row.volume_id)
            places = [
                (path, number)
                for path, frame in zip(sources["path_raw"], sources["frame"], strict=True)
                for number in (range(row.timepoints) if pd.isna(frame) else [int(frame)])
            ]
            values = [oracle.modality_values(real_images / os.fsdecode(path), frame) for path, frame in places]
            known = oracle.statistics(values)
            found = statistics.loc[row.volume_id]
            for field in ("count", "padding_count", "min", "max", "mean", *oracle.PERCENTS):
                assert found[field] == known[field], (row.volume_id, field)
            bins = histogram.get_group(row.volume_id)
            assert dict(zip(bins["value_low"], bins["count"], strict=True)) == dict(known["histogram"])
            compared.add(row.SeriesInstanceUID)
    assert len(compared) >= SERIES


def test_the_spacing_of_plain_stacks_is_that_of_their_positions(opened: cohort.Cohort, real_images: Path) -> None:
    """Sorted gaps of IPP along the normal, straight from the headers."""
    volumes = opened.volumes
    regular = volumes[volumes["regularly_spaced_3d_volume"].fillna(False).astype(bool) & (volumes["format"] == "dicom")]
    columns = ["path_raw", "ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames", "mosaic_slices"]
    headers = opened.run_folder.read("files", columns).to_pandas().set_index("path_raw")
    frames = opened.run_folder.read("frames", ["volume_id", "path_raw", "role", "timepoint"]).to_pandas()
    frames = frames[(frames["role"] == "image") & (frames["timepoint"] == 0)].groupby("volume_id")
    compared = 0
    for row in regular.itertuples():
        rows = headers.loc[frames.get_group(row.volume_id)["path_raw"]]
        if (rows["NumberOfFrames"].fillna(1) > 1).any() or rows["mosaic_slices"].notna().any():
            continue
        positions = np.array(rows["ImagePositionPatient"].to_list())
        cosines = np.array(rows["ImageOrientationPatient"].iloc[0])
        gaps = np.diff(np.sort(positions @ np.cross(cosines[:3], cosines[3:])))
        assert row.spacing_slice_mm == pytest.approx(float(np.median(gaps)), abs=2e-3)
        compared += 1
    assert compared >= SERIES


def test_nifti_voxels_equal_nibabel(opened: cohort.Cohort, real_images: Path) -> None:
    import dask
    import nibabel

    frames = opened.run_folder.read("frames", ["volume_id", "path_raw", "role", "format"]).to_pandas()
    frames = frames[(frames["format"] == "nifti") & (frames["role"] == "image")].set_index("volume_id")["path_raw"]
    stored = opened.volumes.set_index("volume_id").loc[list(frames.index)]
    stored = stored[stored["zarr_path"].notna()]
    compared = Counter[str]()
    for volume_id, row in stored.iterrows():
        try:
            image = nibabel.load(real_images / os.fsdecode(frames[volume_id]))
        except nibabel.filebasedimages.ImageFileError:
            continue  # nibabel goes by the suffix
        if image.get_data_dtype().fields or image.get_data_dtype().kind == "c":
            continue
        with np.errstate(all="ignore"):
            known = np.asanyarray(image.dataobj).astype(np.float64)
        volume = opened.volume(str(volume_id))
        with dask.config.set(scheduler="sync"):
            found = volume.data.compute().astype(np.float64)
        known = known.T.reshape(found.shape) if known.size == found.size else known.T
        assert np.allclose(found, known, rtol=1e-6, atol=0, equal_nan=True), frames[volume_id]
        compared[row["dtype"]] += 1
    assert compared.total() >= 50


def test_the_report_shows_no_identifier_of_a_real_patient(opened: cohort.Cohort) -> None:
    columns = ["PatientID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SeriesDescription"]
    headers = opened.run_folder.read("files", columns).to_pandas()
    secrets = {v for name in columns for v in headers[name].dropna() if len(v) > 8} - {
        "0123456789"
    }  # digits occur in any script
    for name in ("report.html", "report.json"):
        text = (opened.run_folder.path / name).read_text()
        shown = {secret for secret in secrets if secret in text}
        assert shown == set()
