"""Volumes in Zarr as other programs see them: OME-Zarr 0.5 without our package (extra `test-ngff`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import cohort
from cohort.ingest.layout import translation_of

# These libraries deprecate each other; what they warn of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

_UNITS = {"t": "millisecond", "z": "millimeter", "y": "millimeter", "x": "millimeter"}


@pytest.fixture(scope="module")
def opened(run_out: Path) -> cohort.Cohort:
    return cohort.open(run_out)


@pytest.fixture(scope="module")
def volumes(opened: cohort.Cohort) -> list[dict[str, Any]]:
    """Every volume in Zarr: its row, its folder and its true values."""
    rows = [row for row in opened.run_folder.read("volumes").to_pylist() if row["zarr_path"] is not None]
    for row in rows:
        row["folder"] = opened.run_folder.path / "volumes.zarr" / row["zarr_path"]
        row["values"] = opened.volume(row["volume_id"]).data.compute(scheduler="sync")
        row["axes"] = opened.volume(row["volume_id"]).axes
    return rows


def one_of_each(volumes: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One volume of each combination of axes and type."""
    seen = set()
    for row in volumes:
        kind = (row["axes"], row["dtype"], row["affine_lps"] is None)
        if kind not in seen:
            seen.add(kind)
            yield row


def scale_of(row: dict[str, Any]) -> list[float]:
    known = {
        "t": row["timepoint_step_ms"], "c": 1.0, "z": row["spacing_slice_mm"], "y": row["spacing_row_mm"],
        "x": row["spacing_col_mm"],
    }  # fmt: skip
    return [known[axis] or 1.0 for axis in row["axes"]]


def test_every_volume_says_what_the_specification_asks_for(volumes: list[dict[str, Any]]) -> None:
    # https://ngff.openmicroscopy.org/0.5: axes, datasets, coordinateTransformations, dimension_names
    for row in volumes:
        group = json.loads((row["folder"] / "zarr.json").read_text())
        array = json.loads((row["folder"] / "0" / "zarr.json").read_text())
        assert (group["zarr_format"], group["node_type"]) == (3, "group")
        ome = group["attributes"]["ome"]
        assert set(ome) == {"version", "multiscales"}
        assert ome["version"] == "0.5"
        (multiscale,) = ome["multiscales"]
        axes = [axis["name"] for axis in multiscale["axes"]]
        assert axes == list(array["dimension_names"]) == [axis for axis in "tczyx" if axis in axes]
        assert [axis["type"] for axis in multiscale["axes"] if axis["name"] in "zyx"] in (["space"] * 3, ["space"] * 2)
        for axis in multiscale["axes"]:
            assert axis.get("unit") in (None, _UNITS.get(axis["name"]))
        (dataset,) = multiscale["datasets"]
        scale, translation = dataset["coordinateTransformations"]  # one scale, then one translation
        assert (dataset["path"], scale["type"], translation["type"]) == ("0", "scale", "translation")
        assert scale["scale"] == scale_of(row)
        assert len(translation["translation"]) == len(axes) == len(array["shape"])
        assert [codec["name"] for codec in array["codecs"]][-1] == "crc32c"


def test_the_translation_is_the_first_voxel_along_the_axes_of_the_image() -> None:
    axial = np.array([[0.5, 0, 0, -10], [0, 0.75, 0, -20], [0, 0, 2, 30], [0, 0, 0, 1]])
    assert translation_of(axial.ravel().tolist()) == (30, -20, -10)
    # rows run towards posterior, columns towards the feet, slices towards the left (LPS)
    sagittal = np.array([[0, 0, 2.0, -40], [0.5, 0, 0, -20], [0, -0.75, 0, 90], [0, 0, 0, 1]])
    assert translation_of(sagittal.ravel().tolist()) == pytest.approx((-40, -90, -20))
    for affine, steps in ((axial, (2, 0.75, 0.5)), (sagittal, (2, 0.75, 0.5))):
        # coordinates are places: any two voxels are as far apart as the affine has them
        index = np.array([3, 5, 7])
        place = affine[:3, :3] @ index[::-1] + affine[:3, 3]
        coordinates = np.array(translation_of(affine.ravel().tolist())) + index * steps
        assert np.linalg.norm(coordinates) == pytest.approx(np.linalg.norm(place))


def test_plain_zarr_opens_a_volume(volumes: list[dict[str, Any]]) -> None:
    for row in one_of_each(volumes):
        stored = zarr.open_group(row["folder"], mode="r")["0"]
        assert isinstance(stored, zarr.Array)
        np.testing.assert_array_equal(stored[...], row["values"])


def test_the_folder_of_volumes_is_one_hierarchy(opened: cohort.Cohort, volumes: list[dict[str, Any]]) -> None:
    root = zarr.open_group(opened.run_folder.path / "volumes.zarr", mode="r")
    found = {f"{modality}/{name}" for modality, group in root.groups() for name, _ in group.groups()}
    assert found == {row["zarr_path"] for row in volumes}


def test_ome_zarr_models_accepts_every_volume(volumes: list[dict[str, Any]]) -> None:
    models = pytest.importorskip("ome_zarr_models", reason="needs the extra test-ngff")
    for row in volumes:
        image = models.v05.Image.from_zarr(zarr.open_group(row["folder"], mode="r"))
        (multiscale,) = image.attributes.ome.multiscales
        assert [axis.name for axis in multiscale.axes] == list(row["axes"])
        scale, translation = multiscale.datasets[0].coordinateTransformations
        assert list(scale.scale) == scale_of(row)
        assert translation.type == "translation"


def test_ome_zarr_py_reads_axes_units_and_values(volumes: list[dict[str, Any]]) -> None:
    pytest.importorskip("ome_zarr", reason="needs the extra test-ngff")
    from ome_zarr.io import parse_url
    from ome_zarr.reader import Reader

    for row in one_of_each(volumes):
        location = parse_url(str(row["folder"]), mode="r")
        assert location is not None
        (node,) = [node for node in Reader(location)() if node.data]
        np.testing.assert_array_equal(np.asarray(node.data[0]), row["values"])
        assert [axis["name"] for axis in node.metadata["axes"]] == list(row["axes"])
        assert node.metadata["coordinateTransformations"][0][0]["scale"] == scale_of(row)
        assert row["affine_lps"] is None or node.metadata["axes"][-1]["unit"] == "millimeter"


def test_the_reader_of_napari_finds_scale_and_values(volumes: list[dict[str, Any]]) -> None:
    napari_ome_zarr = pytest.importorskip("napari_ome_zarr", reason="needs the extra test-ngff")
    for row in one_of_each(volumes):
        read = napari_ome_zarr.napari_get_reader(str(row["folder"]))
        assert read is not None
        ((data, metadata, kind),) = read(str(row["folder"]))
        values = np.asarray(data[0])
        scale = scale_of(row)
        assert kind == "image"
        np.testing.assert_array_equal(values, row["values"])
        if "c" in row["axes"]:  # a layer per channel: the axis is named, and left out of the place
            assert metadata["channel_axis"] == row["axes"].index("c")
            scale.pop(row["axes"].index("c"))
        assert list(metadata["scale"])[-len(scale) :] == pytest.approx(scale)  # it drops the translation
        assert list(metadata["axis_labels"])[-2:] == ["y", "x"]
        assert row["affine_lps"] is None or list(metadata["units"])[-2:] == ["millimeter"] * 2


def test_xarray_opens_a_volume_with_its_dimensions(volumes: list[dict[str, Any]]) -> None:
    xarray = pytest.importorskip("xarray", reason="needs the extra test-ngff")
    for row in one_of_each(volumes):
        with xarray.open_zarr(row["folder"], consolidated=False) as dataset:
            assert dataset["0"].dims == row["axes"]
            np.testing.assert_array_equal(dataset["0"].values, row["values"])
