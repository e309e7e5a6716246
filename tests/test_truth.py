"""Volumes of the real images against dcm2niix: every series equal, but those that docs/dcm2niix.md explains."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import oracle
import pytest

import cohort

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "dcm2niix.md"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    """The script that compares, which lies outside the package."""
    spec = importlib.util.spec_from_file_location("truth", ROOT / "benchmarks" / "truth.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table(real_images: Path) -> Path:
    """What dcm2niix wrote: named by COHORT_TRUTH, or beside the images."""
    path = Path(os.environ.get("COHORT_TRUTH") or real_images.parent / "truth.csv")
    if not path.is_file():
        pytest.skip("COHORT_TRUTH names no table of what dcm2niix made of the real images")
    return path


@pytest.mark.real
def test_every_series_is_that_of_dcm2niix_or_explained(real_images: Path, table: Path, benchmark: ModuleType) -> None:
    cases = list(benchmark.compare(real_images, table))
    different = {case.row for case in cases if not case.equal}
    explained = {line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")}
    explained -= {"| source | SeriesInstanceUID | cohort | dcm2niix |"}
    assert different - explained == set(), "not explained"
    assert explained - different == set(), "explained, but no difference any more"
    said = re.search(r"(\d+) of (\d+) are equal", PAGE.read_text(encoding="utf-8"))
    assert said is not None
    assert (int(said[1]), int(said[2])) == (len(cases) - len(different), len(cases))
    assert len(cases) - len(different) >= 100


def test_images_are_equal_where_their_axes_and_time_points_are(benchmark: ModuleType) -> None:
    image = benchmark.Image((64, 48, 10), (3.0, 3.0, 2.5), 1)
    turned = benchmark.Image((10, 64, 48), (2.501, 3.0, 3.0), 1)
    assert image.equals(turned)
    assert not image.equals(benchmark.Image((64, 48, 10), (3.0, 3.0, 2.6), 1))
    assert not image.equals(benchmark.Image((64, 48, 11), (3.0, 3.0, 2.5), 1))
    assert not image.equals(benchmark.Image((64, 48, 10), (3.0, 3.0, 2.5), 2))
    assert not image.equals(benchmark.Image((64, 48, 10), (2.5, 3.0, 3.0), 1))
    flat = benchmark.Image((64, 48, 1), (3.0, 3.0, None), 1)
    assert flat.equals(benchmark.Image((64, 48, 1), (None, None, None), 1))
    case = benchmark.Case("source", "1.2.3", (image, flat), (flat, turned))
    assert case.equal
    assert not benchmark.Case("source", "1.2.3", (image, flat), (flat, flat)).equal
    assert not benchmark.Case("source", "1.2.3", (image,), (image, image)).equal
    assert case.row == "| source | 1.2.3 | 64x48x1 + 64x48x10 at 2.5 mm | 10x64x48 at 3 mm + 64x48x1 |"


# -- mosaics, voxel by voxel -------------------------------------------------------------------------------

CONVERTED = {"dcm_qa_12bit": 3, "dcm_qa_nih": 4, "dcm_qa_ts": 1, "dcm_qa_uih": 2}
"""Sources whose mosaics the set has as NIfTI files too, and how many volumes of mosaics each holds."""


@pytest.mark.real
@pytest.mark.parametrize("source", CONVERTED)
def test_mosaics_are_voxel_by_voxel_where_dcm2niix_puts_them(real_images: Path, real_out: Path, source: str) -> None:
    opened = cohort.open(real_out)
    frames = opened.run_folder.read("frames", ["volume_id", "path_raw", "mosaic_grid"]).to_pandas()
    paths = frames["path_raw"].str.decode("utf-8")
    mosaics = sorted(set(frames["volume_id"][frames["mosaic_grid"].notna() & paths.str.startswith(f"dicom/{source}/")]))
    assert len(mosaics) == CONVERTED[source]
    converted = [nibabel.load(path) for path in sorted((real_images / "nifti" / source).glob("*.nii"))]
    for volume_id in mosaics:
        volume = opened.volume(volume_id)
        values: Any = np.moveaxis(volume.data.compute(scheduler="sync"), (-1, -2, -3), (0, 1, 2))
        assert any(
            oracle.same_image(values, volume.affine_ras, np.asanyarray(image.dataobj), image.affine)
            for image in converted
        ), volume_id
