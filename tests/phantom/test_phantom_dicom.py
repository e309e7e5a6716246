"""A plain loop over pydicom finds in the files what the truth claims."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from cohort.phantom import PhantomTruth, PhantomVolume, make_series

# What tells the volumes of one folder apart; a volume that is not named here has the folder for itself.
SPLITS: dict[str, Callable[[Dataset], bool]] = {
    "localizer-in-series": lambda header: "LOCALIZER" not in header.ImageType,
    "patient-0003-mr-echo-1": lambda header: float(header.EchoTime) == 12.0,
    "patient-0003-mr-echo-2": lambda header: float(header.EchoTime) == 98.5,
    "two-acquisitions-1": lambda header: header.AcquisitionNumber == 1,
    "two-acquisitions-2": lambda header: header.AcquisitionNumber == 2,
    "two-acquisitions-offset-1": lambda header: header.AcquisitionNumber == 1,
    "two-acquisitions-offset-2": lambda header: header.AcquisitionNumber == 2,
}

# Copied from the description of each trap, not from the code that writes it.
SPACING = {
    "coronal": 2.0,
    "exact-duplicates": 2.0,
    "gantry-tilt": 4.698463,
    "localizer-in-series": 2.0,
    "missing-slice": 2.0,
    "oblique": 2.0,
    "orientation-jitter": 2.0,
    "single-slice": None,
    "spacing-tag-lies": 2.0,
    "two-acquisitions-offset-2": 2.0,
    "variable-spacing": 2.0,
}


def read(path: Path) -> Dataset:
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    header = pydicom.dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return header


def images_of(truth: PhantomTruth, volume: PhantomVolume) -> list[Dataset]:
    """Instances of the volume, exact copies left out."""
    belongs = SPLITS.get(volume.name, lambda header: True)
    found = {}
    for file in truth.files:
        if file.path.rsplit("/", 1)[0] == volume.path and file.is_image and file.status == "ok":
            header = read(truth.root / file.path)
            if belongs(header):
                found[header.SOPInstanceUID] = header
    return list(found.values())


def normal(cosines: object) -> npt.NDArray[np.float64]:
    values = np.array(cosines, dtype=float)
    return np.cross(values[:3], values[3:])


def single_frames(images: list[Dataset]) -> npt.NDArray[np.float64]:
    """Modality values of single-frame images, sorted by time and place along the normal."""

    def place(header: Dataset) -> tuple[int, float]:
        along = 0.0
        if "ImagePositionPatient" in header:
            along = float(normal(images[0].ImageOrientationPatient) @ np.array(header.ImagePositionPatient, float))
        return header.get("TemporalPositionIdentifier", 1), along

    frames = []
    for header in sorted(images, key=place):
        stored = header.pixel_array.astype(float)
        stored = stored[None] if stored.ndim == 2 else np.moveaxis(stored, -1, 0)
        slope = float(header.get("RescaleSlope", 1)) or 1.0
        frames.append(stored * slope + float(header.get("RescaleIntercept", 0)))
    times = len({header.get("TemporalPositionIdentifier", 1) for header in images})
    stacked = np.stack(frames)
    return np.moveaxis(stacked.reshape(times, -1, *stacked.shape[1:]), 1, 2)


def multi_frame(header: Dataset) -> npt.NDArray[np.float64]:
    """Modality values of one enhanced object, sorted along the normal."""
    shared = header.SharedFunctionalGroupsSequence[0]
    across = normal(shared.PlaneOrientationSequence[0].ImageOrientationPatient)
    placed = []
    for frame, groups in zip(header.pixel_array, header.PerFrameFunctionalGroupsSequence, strict=True):
        owner = groups if "PixelValueTransformationSequence" in groups else shared
        rescale = owner.PixelValueTransformationSequence[0]
        values = frame.astype(float) * float(rescale.RescaleSlope) + float(rescale.RescaleIntercept)
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        placed.append((float(across @ position), values))
    return np.stack([values for _, values in sorted(placed, key=lambda pair: pair[0])])[None, None]


def dicom_volumes(truth: PhantomTruth) -> list[PhantomVolume]:
    """DICOM volumes of a frame a slice; mosaics have a test of their own."""
    return [volume for volume in truth.volumes if volume.format == "dicom" and volume.tiles == 1]


def test_pixels_are_the_claimed_modality_values(phantom: PhantomTruth) -> None:
    for volume in dicom_volumes(phantom):
        images = images_of(phantom, volume)
        if "SharedFunctionalGroupsSequence" in images[0]:
            values = multi_frame(images[0])
        elif volume.modality == "US":
            values = np.moveaxis(images[0].pixel_array.astype(float), -1, 1)[:, :, None]
        else:
            values = single_frames(images)
        np.testing.assert_array_equal(values, volume.voxels(), err_msg=volume.name)


def test_headers_are_of_realistic_size(phantom: PhantomTruth) -> None:
    for volume in dicom_volumes(phantom):
        header = images_of(phantom, volume)[0]
        assert len(header) >= 100, volume.name
        assert any(element.tag.is_private and element.VR == "SQ" for element in header) or (
            header.file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
        )


def test_headers_say_what_the_truth_says(phantom: PhantomTruth) -> None:
    for volume in dicom_volumes(phantom):
        for header in images_of(phantom, volume):
            assert header.SeriesInstanceUID == volume.series_uid
            assert header.Modality == volume.modality
            assert (header.Rows, header.Columns) == (volume.rows, volume.columns)
            assert header.SamplesPerPixel == volume.channels
            assert header.get("PixelPaddingValue") == volume.padding_value


def test_spacing_follows_from_the_positions(phantom: PhantomTruth) -> None:
    for volume in dicom_volumes(phantom):
        images = images_of(phantom, volume)
        if "ImagePositionPatient" not in images[0]:
            continue
        across = normal(images[0].ImageOrientationPatient)
        places = np.unique(np.round([across @ np.array(header.ImagePositionPatient, float) for header in images], 4))
        assert len(places) == volume.slices, volume.name
        assert [float(value) for value in images[0].PixelSpacing] == [
            volume.spacing_row_mm,
            volume.spacing_col_mm,
        ]
        if volume.slices == 1:
            assert volume.spacing_slice_mm is None
            continue
        gaps = np.diff(places)
        assert np.median(gaps) == pytest.approx(volume.spacing_slice_mm, abs=1e-3)
        # The axes along the stack drift only where the gantry is tilted.
        even = np.ptp(gaps) < 0.01
        assert volume.regular == (even and volume.tilt_degrees == 0.0), volume.name


def test_spacing_of_the_traps_is_the_described_one(phantom: PhantomTruth) -> None:
    volumes = {volume.name: volume for volume in phantom.volumes}
    assert {name: volumes[name].spacing_slice_mm for name in SPACING} == SPACING
    assert volumes["gantry-tilt"].tilt_degrees == pytest.approx(20.0)
    assert {volume.name for volume in phantom.volumes if volume.tilt_degrees != 0.0} == {"gantry-tilt"}


def test_tilted_positions_lean_by_twenty_degrees(phantom: PhantomTruth) -> None:
    (tilted,) = (volume for volume in phantom.volumes if volume.name == "gantry-tilt")
    images = images_of(phantom, tilted)
    places = np.array(sorted([float(v) for v in header.ImagePositionPatient] for header in images))
    step = np.diff(places, axis=0)[0]
    assert np.linalg.norm(step) == pytest.approx(5.0)
    cosine = abs(normal(images[0].ImageOrientationPatient) @ step) / np.linalg.norm(step)
    assert np.degrees(np.arccos(cosine)) == pytest.approx(20.0, abs=1e-4)


def test_the_second_acquisition_lies_where_described(phantom: PhantomTruth) -> None:
    volumes = {volume.name: volume for volume in phantom.volumes}

    def lowest(name: str) -> float:
        return min(float(header.ImagePositionPatient[2]) for header in images_of(phantom, volumes[name]))

    assert lowest("two-acquisitions-2") == lowest("two-acquisitions-1")
    assert lowest("two-acquisitions-offset-2") - lowest("two-acquisitions-offset-1") == pytest.approx(0.7)


def test_spacing_without_a_stack(phantom: PhantomTruth) -> None:
    for volume in dicom_volumes(phantom):
        header = images_of(phantom, volume)[0]
        claimed = [volume.spacing_row_mm, volume.spacing_col_mm]
        if volume.modality == "US":
            region = header.SequenceOfUltrasoundRegions[0]
            assert [10 * region.PhysicalDeltaY, 10 * region.PhysicalDeltaX] == pytest.approx(claimed)
        elif volume.modality in ("CR", "MG"):
            assert list(header.ImagerPixelSpacing) == claimed
            assert "PixelSpacing" not in header
        elif volume.modality == "OT":
            assert claimed == [None, None]
            assert not {"PixelSpacing", "ImagerPixelSpacing", "ImagePositionPatient"} & set(header.dir())


def test_padding_is_the_padding_value_and_nothing_else(phantom: PhantomTruth) -> None:
    (padded,) = (volume for volume in phantom.volumes if volume.padding_value is not None)
    images = sorted(images_of(phantom, padded), key=lambda header: header.ImagePositionPatient[2])
    stored = np.stack([header.pixel_array == header.PixelPaddingValue for header in images])
    np.testing.assert_array_equal(stored[None, None], padded.padding_mask())
    assert set(np.unique(padded.voxels()[padded.padding_mask()])) == {-3024.0}


def test_values_differ_between_timepoints(phantom: PhantomTruth) -> None:
    (dynamic,) = (volume for volume in phantom.volumes if volume.name.endswith("mr-dynamic"))
    values = dynamic.voxels()
    assert dynamic.timepoints == 3
    assert values[2].mean() > values[1].mean() > values[0].mean()


def test_enhanced_copy_equals_the_classic_scan(phantom: PhantomTruth) -> None:
    volumes = {volume.name: volume for volume in phantom.volumes}
    classic, enhanced = volumes["enhanced-copy-classic"], volumes["enhanced-copy-multiframe"]
    np.testing.assert_array_equal(classic.voxels(), enhanced.voxels())
    assert classic.series_uid != enhanced.series_uid


def test_uids_are_unique_but_for_the_copies(phantom: PhantomTruth) -> None:
    seen: dict[str, list[str]] = {}
    for file in phantom.files:
        if file.format == "dicom" and file.status == "ok" and file.is_image:
            seen.setdefault(str(read(phantom.root / file.path).SOPInstanceUID), []).append(file.path)
    repeated = [paths for paths in seen.values() if len(paths) > 1]
    assert len(repeated) == 2
    for first, second in repeated:
        assert (phantom.root / first).read_bytes() == (phantom.root / second).read_bytes()


def test_series_uid_is_shared_by_two_patients_in_one_trap_only(phantom: PhantomTruth) -> None:
    owners: dict[str, set[str]] = {}
    for volume in dicom_volumes(phantom):
        owners.setdefault(str(volume.series_uid), set()).add(images_of(phantom, volume)[0].PatientID)
    assert [len(patients) for patients in owners.values() if len(patients) > 1] == [2]


def test_people_are_varied(phantom: PhantomTruth) -> None:
    headers = [images_of(phantom, volume)[0] for volume in dicom_volumes(phantom) if "patient-" in volume.name]
    assert "092Y" in {header.PatientAge for header in headers}
    assert any(str(header.PatientName) == "FANTÔME^ÉMILIE" for header in headers)
    assert {str(header.PatientSex) for header in headers} == {"F", "M", "O"}
    assert len({header.Manufacturer for header in headers}) >= 6


def test_instance_numbers_of_the_order_traps(phantom: PhantomTruth) -> None:
    volumes = {volume.name: volume for volume in phantom.volumes}

    def numbers(name: str) -> list[object]:
        images = images_of(phantom, volumes[name])
        ordered = sorted(images, key=lambda header: float(header.ImagePositionPatient[2]))
        return [header.get("InstanceNumber", "absent") for header in ordered]

    assert numbers("reversed-order") == list(range(12, 0, -1))
    shuffled = numbers("instance-number-shuffled")
    assert shuffled != sorted(shuffled)  # type: ignore[type-var]
    assert set(shuffled) == set(range(1, 13))
    assert set(numbers("instance-number-missing")) == {None, "absent"}


def test_broken_files_are_broken_as_described(phantom: PhantomTruth) -> None:
    traps = phantom.root / "traps"
    cut = pydicom.dcmread(traps / "dicom-truncated-pixels/broken.dcm")
    expected = cut.Rows * cut.Columns * 2
    with pytest.raises((ValueError, EOFError)):
        _ = cut.pixel_array
    assert len(cut.PixelData) < expected
    text = pydicom.dcmread(traps / "text-in-number/IM0001.dcm").get_item("SliceThickness")
    assert text.value == b"abc "
    assert pydicom.dcmread(traps / "spacing-tag-lies/IM0001.dcm").SpacingBetweenSlices == 5
    assert pydicom.dcmread(traps / "slope-zero/IM0001.dcm").RescaleSlope == 0
    for name in ("structured-report/report.dcm", "dicomdir/DICOMDIR"):
        assert "PixelData" not in pydicom.dcmread(traps / name)


def test_series_for_benchmarks_are_sound(tmp_path: Path) -> None:
    truth = make_series(tmp_path / "series", files=120, rows=16, columns=24)
    for volume in truth.volumes:
        images = images_of(truth, volume)
        assert len(images[0]) >= 100
        np.testing.assert_array_equal(single_frames(images), volume.voxels())
