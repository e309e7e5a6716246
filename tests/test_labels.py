"""Labels: values under the labels of a mask equal those that NumPy picks, and only where the grids are one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pack_bits
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from running import config_with

import cohort
from cohort import pipeline
from cohort.errors import MissingStageError
from cohort.linking import offset_in, subject_of

Values = np.ndarray[Any, Any]

SLICES, ROWS, COLUMNS = 6, 10, 12
SPACING = (0.8, 0.5, 2.5)  # row, column, slice
FRAME = "1.2.826.1"
PADDING = -1000


def base(sop_class: str, uid: str, series: str, modality: str) -> Dataset:
    made = Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = sop_class
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
    made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID = "1.2.3", series, "P"
    made.Modality, made.FrameOfReferenceUID = modality, FRAME
    made.Rows, made.Columns, made.SamplesPerPixel = ROWS, COLUMNS, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    return made


def position(z: int) -> list[float]:
    return [-10.0, 20.0, 100.0 + SPACING[2] * z]


def ct(folder: Path, stored: Values, series: str = "1.2.3.1") -> None:
    """A CT of which the stored values begin at -24 HU, with padding."""
    for z in range(len(stored)):
        made = base("1.2.840.10008.5.1.4.1.1.2", f"{series}.{z}", series, "CT")
        made.BitsAllocated = made.BitsStored = 16
        made.HighBit, made.PixelRepresentation = 15, 1
        made.add_new("PixelPaddingValue", "SS", PADDING)
        made.RescaleSlope, made.RescaleIntercept = 1, -24
        made.PixelSpacing, made.SliceThickness = list(SPACING[:2]), 2.5
        made.ImagePositionPatient, made.ImageOrientationPatient = position(z), [1, 0, 0, 0, 1, 0]
        made.InstanceNumber = z + 1
        made.PixelData = stored[z].astype("<i2").tobytes()
        pydicom.dcmwrite(folder / f"{series}-{z}.dcm", made, enforce_file_format=True)


def group(sequence: str, **values: Any) -> Dataset:
    inner, outer = Dataset(), Dataset()
    for name, value in values.items():
        setattr(inner, name, value)
    setattr(outer, sequence, Sequence([inner]))
    return outer


def segmentation(path: Path, segments: dict[int, Values], series: str, shift: float = 0.0, frame: str = FRAME) -> None:
    """A binary segmentation; slices in which a segment is empty are left out."""
    made = base("1.2.840.10008.5.1.4.1.1.66.4", f"{series}.1", series, "SEG")
    made.FrameOfReferenceUID = frame
    made.BitsAllocated = made.BitsStored = 1
    made.HighBit = made.PixelRepresentation = 0
    made.SegmentationType = "BINARY"
    shared = group("PixelMeasuresSequence", PixelSpacing=list(SPACING[:2]), SliceThickness=2.5)
    shared.PlaneOrientationSequence = group(
        "PlaneOrientationSequence", ImageOrientationPatient=[1, 0, 0, 0, 1, 0]
    ).PlaneOrientationSequence
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    planes, frames = [], []
    for number, mask in segments.items():
        for z in np.flatnonzero(mask.any(axis=(1, 2))):
            x, y, height = position(int(z))
            one = group("PlanePositionSequence", ImagePositionPatient=[x + shift, y, height])
            one.SegmentIdentificationSequence = group(
                "SegmentIdentificationSequence", ReferencedSegmentNumber=number
            ).SegmentIdentificationSequence
            planes.append(one)
            frames.append(mask[z])
    made.PerFrameFunctionalGroupsSequence = Sequence(planes)
    made.NumberOfFrames = len(frames)
    made.PixelData = pack_bits(np.stack(frames).astype(np.uint8))
    made["PixelData"].VR = "OB"
    pydicom.dcmwrite(path, made, enforce_file_format=True)


def nifti(path: Path, values: Values, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
    """An image (x, y, z) of anisotropic voxels, oblique by nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([0.5, 0.8, 2.5, 1.0])
    affine[:3, 3] = origin
    made = nibabel.Nifti1Image(values, affine)
    made.header.set_xyzt_units("mm")
    made.set_sform(affine, 1)
    made.to_filename(path)


IMAGE = np.random.default_rng(1).integers(-100, 400, (SLICES, ROWS, COLUMNS)).astype(np.int16)
IMAGE[3, :2] = PADDING
FIRST = np.zeros(IMAGE.shape, bool)
FIRST[1:4, 0:5, 2:9] = True  # some of it lies on padding
SECOND = np.zeros(IMAGE.shape, bool)
SECOND[4, 6:, 6:] = True

T1 = np.random.default_rng(2).normal(100, 30, (COLUMNS, ROWS, SLICES)).astype(np.float32)
DSEG = np.random.default_rng(3).choice([0, 3, 17], T1.shape).astype(np.int16)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> cohort.Cohort:
    """A run over CT with segmentations, and over a BIDS data set with derivatives."""
    root = tmp_path_factory.mktemp("labelled")
    images = root / "images"
    images.mkdir()
    ct(images, IMAGE)
    segmentation(images / "seg.dcm", {4: FIRST, 9: SECOND}, "1.2.3.2")
    segmentation(images / "shifted.dcm", {1: SECOND}, "1.2.3.3", shift=0.2)
    segmentation(images / "elsewhere.dcm", {1: SECOND}, "1.2.3.4", frame="1.2.826.2")
    anat, derived = images / "bids/sub-01/anat", images / "bids/derivatives/tool/sub-01/anat"
    nifti(anat / "sub-01_T1w.nii.gz", T1)
    nifti(derived / "sub-01_dseg.nii.gz", DSEG)
    nifti(derived / "sub-01_desc-crop_dseg.nii.gz", DSEG[2:9, 1:, 2:5], (1.0, 0.8, 5.0))
    nifti(derived / "sub-01_desc-moved_dseg.nii.gz", DSEG, (0.25, 0.0, 0.0))
    nifti(derived / "sub-01_desc-empty_dseg.nii.gz", np.zeros_like(DSEG))
    nifti(derived / "sub-01_desc-soft_dseg.nii.gz", DSEG.astype(np.float32))
    nifti(images / "bids/sub-02/anat/sub-02_dseg.nii.gz", DSEG + 1)  # equal files would be copies
    nifti(images / "other/sub-01/anat/sub-01_dseg.nii.gz", DSEG + 2)  # the same subject name in another data set
    pipeline.run([str(images)], root / "out", config_with().with_options("reduce", labels=True))
    return cohort.open(root / "out")


def rows_of(opened: cohort.Cohort, path: str) -> list[dict[str, Any]]:
    """Rows of `labels` for the masks of one file."""
    parts = [opened.run_folder.read("frames").to_pandas()]
    frames = parts[0][parts[0]["path_raw"] == path.encode()]
    labels = opened.labels[opened.labels["mask_volume_id"].isin(frames["volume_id"])]
    return labels.sort_values("label").to_dict("records")


def test_segments_of_dicom_are_counted_where_they_lie(labelled: cohort.Cohort) -> None:
    rows = rows_of(labelled, "seg.dcm")
    assert [row["label"] for row in rows] == [4, 9]
    for row, mask in zip(rows, (FIRST, SECOND), strict=True):
        inside = IMAGE[mask]
        values = inside[inside != PADDING].astype(np.int64) - 24
        assert row["voxels"] == mask.sum()
        assert row["volume_ml"] == pytest.approx(mask.sum() * np.prod(SPACING) / 1000, rel=1e-9)
        assert (row["count"], row["padding_count"]) == (values.size, inside.size - values.size)
        assert (row["min"], row["max"], row["mean"]) == (values.min(), values.max(), values.sum() / values.size)
        assert row["p50"] == np.percentile(values, 50, method="inverted_cdf")
        assert (row["value_unit"], row["linked_by"]) == ("HU", "frame_of_reference")
    assert rows[0]["padding_count"] > 0


def test_labels_of_nifti_are_counted_where_they_lie(labelled: cohort.Cohort) -> None:
    whole = rows_of(labelled, "bids/derivatives/tool/sub-01/anat/sub-01_dseg.nii.gz")
    assert [row["label"] for row in whole] == [3, 17]
    cropped = rows_of(labelled, "bids/derivatives/tool/sub-01/anat/sub-01_desc-crop_dseg.nii.gz")
    for rows, image, mask in (
        (whole, T1, DSEG),
        (cropped, T1[2:9, 1:, 2:5], DSEG[2:9, 1:, 2:5]),
    ):
        for row in rows:
            values = image[mask == row["label"]].astype(np.float64)
            assert (row["voxels"], row["count"]) == (values.size, values.size)
            assert row["volume_ml"] == pytest.approx(values.size * 0.5 * 0.8 * 2.5 / 1000, rel=1e-6)
            assert row["mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert (row["min"], row["max"], row["linked_by"]) == (values.min(), values.max(), "name")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("shifted.dcm", "geometry_differs"),
        ("elsewhere.dcm", "no_image"),
        ("bids/derivatives/tool/sub-01/anat/sub-01_desc-moved_dseg.nii.gz", "geometry_differs"),
        ("bids/derivatives/tool/sub-01/anat/sub-01_desc-empty_dseg.nii.gz", "empty_mask"),
        ("bids/derivatives/tool/sub-01/anat/sub-01_desc-soft_dseg.nii.gz", "labels_not_whole"),
        ("bids/sub-02/anat/sub-02_dseg.nii.gz", "no_image"),
        ("other/sub-01/anat/sub-01_dseg.nii.gz", "no_image"),
    ],
)
def test_a_mask_that_lies_on_no_image_is_a_row_with_the_reason(labelled: cohort.Cohort, path: str, reason: str) -> None:
    rows = rows_of(labelled, path)
    assert [row["reason"] for row in rows] == [reason]
    assert np.isnan(rows[0]["label"])


def test_a_mask_on_the_grid_of_no_image_is_a_finding(labelled: cohort.Cohort) -> None:
    found = labelled.findings
    found = found[found["code"] == "LBL-GEOMETRY-DISAGREES"]
    frames = labelled.run_folder.read("frames").to_pandas()
    paths = dict(zip(frames["volume_id"], frames["path_raw"], strict=True))
    evidence = {paths[row["subject"]].decode(): json.loads(row["evidence"]) for row in found.to_dict("records")}
    moved = "bids/derivatives/tool/sub-01/anat/sub-01_desc-moved_dseg.nii.gz"
    assert set(evidence) == {"shifted.dcm", moved}
    assert evidence[moved]["corners_mm"] == 0.25
    assert evidence[moved]["mask_spacing_mm"] == [0.5, 0.8, 2.5]
    assert evidence[moved]["mask_size"] == evidence[moved]["image_size"] == [COLUMNS, ROWS, SLICES]


def test_every_mask_has_a_row(labelled: cohort.Cohort) -> None:
    masks = labelled.volumes[(labelled.volumes["Modality"] == "SEG") & labelled.volumes["zarr_path"].notna()]
    assert set(labelled.labels["mask_volume_id"]) == set(masks["volume_id"])


def test_histograms_of_labels_are_stored_per_modality(labelled: cohort.Cohort) -> None:
    stored = labelled.run_folder.read("histograms").to_pandas()
    inside = IMAGE[FIRST]
    expected = Counter((inside[inside != PADDING].astype(int) - 24).tolist())
    rows = stored[(stored["group"] == "CT") & (stored["view"] == "label 4")]
    assert dict(zip(rows["value_low"], rows["count"], strict=True)) == expected
    everything = stored[stored["view"] == "all"].groupby("group")["count"].sum()
    assert everything["CT"] == (IMAGE != PADDING).sum(), "labels are no part of all values"


def test_labels_do_not_depend_on_the_slabs(
    labelled: cohort.Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cohort.reductions import labels

    before = labelled.labels
    monkeypatch.setattr(labels, "_SLAB_VOXELS", 1)
    monkeypatch.setattr(labels, "_LINKS_PER_PART", 1)
    run = labelled.run_folder
    with run.scratch("test") as scratch:
        table, _ = labels.label_statistics(run, ["Modality"], scratch)
    import pandas as pd

    pd.testing.assert_frame_equal(pd.read_parquet(run.path / table.path), before, check_dtype=False)


def test_a_run_that_did_not_ask_says_how_to(run_out: Path) -> None:
    with pytest.raises(MissingStageError, match="--labels"):
        cohort.open(run_out).labels  # noqa: B018


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz", ("", "sub-01_ses-2")),
        ("ds/derivatives/x/sub-01/anat/sub-01_desc-brain_mask.nii", ("ds", "sub-01")),
        ("a/imagesTr/case_12_0000.nii.gz", ("a", "case_12")),
        ("a/labelsTr/case_12.nii.gz", ("a", "case_12")),
        ("b/patient7.nii", ("b", "patient7")),
        ("b/patient7_seg.nii.gz", ("b", "patient7")),
        ("b/patient7-lesion-mask.hdr", ("b", "patient7")),
    ],
)
def test_names_tell_the_subject(path: str, expected: tuple[str, str]) -> None:
    assert subject_of(path) == expected


def grid(shape: tuple[int, int, int], affine: Values, **changes: Any) -> dict[str, Any]:
    slices, rows, columns = shape
    return {
        "slices": slices, "rows": rows, "columns": columns, "affine_lps": affine.ravel().tolist(), "format": "nifti",
        "regularly_spaced_3d_volume": True,
    } | changes  # fmt: skip


def test_grids_must_be_one() -> None:
    affine = np.array([[0.0, 2.0, 0.0, 5.0], [1.0, 0.0, 0.0, -3.0], [0.0, 0.0, -3.0, 7.0], [0.0, 0.0, 0.0, 1.0]])
    image = grid((9, 8, 7), affine)
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ [1, 2, 3]  # column, row, slice
    assert offset_in(grid((9, 8, 7), affine), image) == (0, 0, 0)
    assert offset_in(grid((2, 3, 4), moved), image) == (3, 2, 1)
    assert offset_in(grid((6, 6, 6), moved), image) == (3, 2, 1)
    assert offset_in(grid((7, 6, 6), moved), image) is None, "it sticks out"
    assert offset_in(grid((2, 3, 4), affine @ np.diag([1, 1, -1, 1])), image) is None, "it is turned"
    assert offset_in(grid((2, 3, 4), affine @ np.diag([1, 1.1, 1, 1])), image) is None, "other voxels"
    assert offset_in(grid((2, 1, 1), affine @ np.diag([1, 1, 1.5, 1])), image) is None, "other slices"
    assert offset_in(grid((1, 3, 4), affine @ np.diag([1, 1, 1.5, 1])), image) == (0, 0, 0), "one slice has no gap"
    irregular = grid((2, 3, 4), affine, regularly_spaced_3d_volume=False)
    assert offset_in(irregular, image) is None
    assert offset_in(grid((2, 3, 4), affine), image | {"affine_lps": None}) is None
