"""The type of the values in Zarr: as narrow as they allow, and exact whatever they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pydicom
import pytest
from running import config_with

import cohort
from cohort import headers, ingest, reductions, volumes
from cohort.phantom import make_series
from cohort.schema import FORMAT_VERSION
from cohort.sources import open_sources
from cohort.store import RunFolder


def with_pixels(folder: Path, change: dict[int, int], **attributes: Any) -> list[np.ndarray]:
    """Write a small CT series of 16 bits; slice -> a stored value put into it. Returns the values, slice by slice."""
    make_series(folder, seed=3, modality="CT", files=6, rows=16, columns=20)
    values = []
    for number, path in enumerate(sorted(folder.rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        for name, value in attributes.items():
            setattr(dataset, name, value)
        kind = np.int16 if dataset.PixelRepresentation else np.uint16
        stored = np.frombuffer(dataset.PixelData, kind).reshape(16, 20).copy()
        if number in change:
            stored[7, 9] = change[number]
        dataset.PixelData = stored.tobytes()
        dataset.save_as(path)
        values.append(stored.astype(np.int64) * int(dataset.RescaleSlope) + int(dataset.RescaleIntercept))
    return values


def ingested(folder: Path, out: Path) -> cohort.Cohort:
    """All stages up to the statistics; the report has nothing to do with it."""
    run, config = RunFolder(out), config_with()
    run.write_json("run.json", {"format_version": FORMAT_VERSION})
    with dask.config.set(scheduler="synchronous"):
        headers.scan(run, open_sources([str(folder)]), config)
        for stage in (volumes.assemble, ingest.ingest, reductions.reduce):
            stage(run, config)
    return cohort.open(out)


@pytest.mark.parametrize(
    ("change", "attributes", "dtype"),
    [
        ({}, {"BitsStored": 16, "HighBit": 15}, "int16"),
        ({0: -32768}, {"BitsStored": 16, "HighBit": 15, "RescaleIntercept": "-1024"}, "int32"),
        ({5: -32768}, {"BitsStored": 16, "HighBit": 15, "RescaleIntercept": "-1"}, "int32"),
        ({3: 32767}, {"BitsStored": 16, "HighBit": 15, "RescaleIntercept": "0"}, "int16"),
        ({3: 32767}, {"BitsStored": 16, "HighBit": 15, "RescaleIntercept": "1"}, "int32"),
        ({3: 16384}, {"BitsStored": 16, "HighBit": 15, "RescaleSlope": "2", "RescaleIntercept": "-1"}, "int16"),
        ({3: 16384}, {"BitsStored": 16, "HighBit": 15, "RescaleSlope": "2", "RescaleIntercept": "0"}, "int32"),
    ],
)
def test_values_are_exact_in_the_narrowest_type(
    tmp_path: Path, change: dict[int, int], attributes: dict[str, Any], dtype: str
) -> None:
    true = np.stack(with_pixels(tmp_path / "images", change, **attributes))
    opened = ingested(tmp_path / "images", tmp_path / "out")
    row = opened.volumes.iloc[0]
    volume = opened.volume(row.volume_id)
    found = volume.data.compute(scheduler="sync")
    assert (row["dtype"], str(found.dtype)) == (dtype, dtype)
    assert sorted(map(int, found.ravel())) == sorted(map(int, true.ravel()))
    assert {frame.tobytes() for frame in found.astype(np.int64)} == {frame.tobytes() for frame in true}
    statistics = opened.statistics.iloc[0]
    assert (statistics["min"], statistics["max"]) == (true.min(), true.max())
    assert statistics["mean"] == pytest.approx(true.mean(), rel=1e-12)


def test_chunks_are_of_nearly_one_size(tmp_path: Path) -> None:
    from cohort.ingest.layout import Layout

    for slices in (1, 2, 7, 16, 17, 100, 198, 4001):
        layout = Layout((1, 1, slices, 512, 512), 2, 8)
        count = -(-slices // layout.slab)
        assert layout.slab <= 16
        assert count == -(-slices // 16)  # no more files than before
        assert count * layout.slab - slices < count  # less than a slice of each chunk is filled up
        assert layout.object_count == count


def test_counts_of_the_first_pass_are_those_of_the_voxels(tmp_path: Path) -> None:
    with_pixels(tmp_path / "images", {5: -32768}, BitsStored=16, HighBit=15, RescaleIntercept="-1")
    opened = ingested(tmp_path / "images", tmp_path / "out")
    histogram = opened.histogram()
    values: da.Array = opened.voxels("CT")
    bins, counts = np.unique(values.compute(scheduler="sync"), return_counts=True)
    np.testing.assert_array_equal(histogram["value_low"], bins)
    np.testing.assert_array_equal(histogram["count"], counts)
