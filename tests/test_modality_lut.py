"""Modality LUT: values equal those of pydicom, per instance; what is no table is a reason."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from running import config_with

import cohort
from cohort import pipeline
from cohort.errors import RejectedError
from cohort.readers.dicom_lut import read_table

ROWS, COLUMNS = 5, 7


def image(number: int = 1, *, lut: Dataset | None, signed: int = 0, padding: int | None = None) -> Dataset:
    """A film of which the scanner says by a table what its values mean."""
    made = Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{number}"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID = "1.2.3", f"1.2.3.{number}", "P"
    made.Modality = "CR"
    made.Rows, made.Columns, made.SamplesPerPixel = ROWS, COLUMNS, 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, signed
    if padding is not None:
        made.add_new("PixelPaddingValue", "SS" if signed else "US", padding)
    if lut is not None:
        made.ModalityLUTSequence = [lut]
    stored = np.random.default_rng(number).integers(-300 if signed else 0, 300, (ROWS, COLUMNS))
    made.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
    return made


def table(entries: list[int], first: int = 0, bits: int = 16, kind: str | None = "OD", signed: int = 0) -> Dataset:
    item = Dataset()
    vr = "SS" if signed else "US"
    item.add_new("LUTDescriptor", vr, [len(entries) if len(entries) < 65536 else 0, first, bits])
    if kind is not None:
        item.ModalityLUTType = kind
    dtype = np.uint8 if bits == 8 else "<u2"
    item.add_new("LUTData", "OW", np.array(entries, dtype).tobytes())
    return item


def written(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> io.BytesIO:
    made.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    pydicom.dcmwrite(file, made, enforce_file_format=True)
    return file


def by_pydicom(made: Dataset) -> np.ndarray[Any, Any]:
    file = written(made)
    file.seek(0)
    dataset = pydicom.dcmread(file)
    return np.asarray(apply_modality_lut(dataset.pixel_array, dataset))


def run_of(folder: Path, out: Path, *images: Dataset, **reduce: Any) -> cohort.Cohort:
    folder.mkdir()
    for number, made in enumerate(images):
        (folder / f"{number}.dcm").write_bytes(written(made).getvalue())
    pipeline.run([str(folder)], out, config_with())
    return cohort.open(out)


@given(
    st.lists(st.integers(0, 65_535), min_size=1, max_size=400),
    st.integers(0, 200),
    st.sampled_from([ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
)
def test_values_are_those_of_pydicom(entries: list[int], first: int, syntax: str) -> None:
    made = image(lut=table(entries, first))
    file = written(made, syntax)
    found = read_table(file, {"container": None, "PixelRepresentation": 0}, 1 << 20)
    stored = np.frombuffer(made.PixelData, "<u2").reshape(ROWS, COLUMNS)
    np.testing.assert_array_equal(found.apply(stored), by_pydicom(made))


def test_stored_values_below_and_above_the_table_have_its_ends() -> None:
    found = read_table(
        written(image(lut=table([10, 20, 30], 100))), {"container": None, "PixelRepresentation": 0}, 1 << 20
    )
    assert found.apply(np.array([0, 99, 100, 101, 102, 103, 65_535], np.uint16)).tolist() == [
        10, 10, 10, 20, 30, 30, 30,
    ]  # fmt: skip


def test_signed_values_are_looked_up_from_a_signed_first_one() -> None:
    made = image(lut=table([1, 2, 3, 4], -2, signed=1), signed=1)
    found = read_table(written(made), {"container": None, "PixelRepresentation": 1}, 1 << 20)
    assert found.first == -2
    assert found.apply(np.array([-300, -2, -1, 0, 1, 300], np.int16)).tolist() == [1, 1, 2, 3, 4, 4]


def test_tables_of_bytes_and_of_all_values_are_read() -> None:
    row = {"container": None, "PixelRepresentation": 0}
    assert read_table(written(image(lut=table([7, 8, 9, 255], bits=8))), row, 1 << 20).values.tolist() == [7, 8, 9, 255]
    whole = read_table(written(image(lut=table(list(range(65_535, -1, -1))))), row, 1 << 20)
    assert whole.apply(np.array([0, 65_535], np.uint16)).tolist() == [65_535, 0]


def test_big_endian_tables_are_turned() -> None:
    made = image(lut=table([258, 772]))
    made.ModalityLUTSequence[0].LUTData = np.array([258, 772], ">u2").tobytes()
    made.PixelData = b"\0" * len(made.PixelData)
    found = read_table(written(made, ExplicitVRBigEndian), {"container": None, "PixelRepresentation": 0}, 1 << 20)
    assert found.values.tolist() == [258, 772]


@pytest.mark.parametrize("fault", ["short", "bits", "no_data", "no_descriptor"])
def test_what_is_no_table_is_refused(fault: str) -> None:
    item = table([1, 2, 3])
    if fault == "short":
        item.LUTDescriptor = [30, 0, 16]
    elif fault == "bits":
        item.LUTDescriptor = [3, 0, 17]
    else:
        delattr(item, "LUTData" if fault == "no_data" else "LUTDescriptor")
    with pytest.raises(RejectedError, match="bad_modality_lut"):
        read_table(written(image(lut=item)), {"container": None, "PixelRepresentation": 0}, 1 << 20)


def test_a_run_stores_counts_and_names_what_the_tables_say(tmp_path: Path) -> None:
    """One image a volume: each with a table of its own, one with padding, one whose table is none, one without."""
    first, second = table([v * v % 5000 for v in range(300)]), table(list(range(300, 0, -1)), kind=None)
    broken = table([1, 2])
    broken.LUTDescriptor = [30, 0, 16]
    made = [image(1, lut=first), image(2, lut=second, padding=7), image(3, lut=broken), image(4, lut=None)]
    stored = np.frombuffer(made[1].PixelData, "<u2")
    assert (stored == 7).sum() == 0  # put one there: of the same value as the image has after the table
    pixels = stored.copy()
    pixels[0] = 7
    made[1].PixelData = pixels.tobytes()
    opened = run_of(tmp_path / "in", tmp_path / "out", *made)
    table_of = opened.volumes.set_index("SeriesInstanceUID")
    assert table_of["value_source"].to_dict() == {
        "1.2.3.1": "modality_lut", "1.2.3.2": "modality_lut", "1.2.3.3": "modality_lut", "1.2.3.4": "stored",
    }  # fmt: skip
    assert table_of["value_unit"].to_dict() == {
        "1.2.3.1": "OD", "1.2.3.2": "arbitrary", "1.2.3.3": "OD", "1.2.3.4": "arbitrary",
    }  # fmt: skip
    assert table_of.loc["1.2.3.3", ["status", "reason"]].tolist() == ["rejected", "bad_modality_lut"]
    for uid, image_of in (("1.2.3.1", made[0]), ("1.2.3.2", made[1])):
        volume = opened.volume(table_of.loc[uid, "volume_id"])
        assert volume.dtype == np.uint16
        np.testing.assert_array_equal(volume.compute().squeeze(), by_pydicom(image_of))
    counts = opened.statistics.set_index("volume_id").loc[table_of.loc["1.2.3.2", "volume_id"]]
    assert (counts["count"], counts["padding_count"]) == (ROWS * COLUMNS - 1, 1)
    statistics = tmp_path / "out" / "statistics"
    before = {name: (statistics / name).read_bytes() for name in ("volumes.parquet", "histograms.parquet")}
    pipeline.stage("reduce", tmp_path / "out", from_voxels=True)
    for name, content in before.items():
        assert (statistics / name).read_bytes() == content


def test_ct_has_hounsfield_units_only_where_the_table_says_so(tmp_path: Path) -> None:
    made = [image(number, lut=table([1, 2, 3], kind=kind)) for number, kind in ((1, "HU"), (2, "US"), (3, None))]
    for one in made:
        one.Modality = "CT"
    units = run_of(tmp_path / "in", tmp_path / "out", *made).volumes.set_index("SeriesInstanceUID")["value_unit"]
    assert units.to_dict() == {"1.2.3.1": "HU", "1.2.3.2": "unknown", "1.2.3.3": "unknown"}
