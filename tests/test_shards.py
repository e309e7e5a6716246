"""Chunks packed into shards: fewer files, the same values, and no less certain."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr
from running import config_with

import cohort
from cohort import pipeline
from cohort.ingest.layout import Layout
from cohort.phantom import make_series
from cohort.store import RunFolder
from cohort.verify import verify

if TYPE_CHECKING:
    from cohort.phantom import PhantomTruth

SLICE_KIB = 2  # of the series: 32 x 32 of 16 bits
STATISTICS = ("statistics/volumes.parquet", "statistics/histograms.parquet")


def config_of(**ingest: Any) -> Any:
    config = config_with()
    return dataclasses.replace(
        config, ingest=dataclasses.replace(config.ingest, chunk_mib=3 * SLICE_KIB / 1024, **ingest)
    )


@pytest.fixture(scope="module")
def images(truth: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A series of many chunks, one with padding, and one in NIfTI with time points."""
    folder = tmp_path_factory.mktemp("images")
    make_series(folder / "series", files=50, rows=32, columns=32)
    for name in ("padding", "nifti-big-endian", "enhanced-copy", "single-slice"):
        shutil.copytree(truth.root / "traps" / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def plain(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "out"
    pipeline.run([str(images)], out, config_of())
    return out


@pytest.fixture
def sharded(images: Path, tmp_path: Path) -> Path:
    pipeline.run([str(images)], tmp_path / "out", config_of(shard_mib=12 * SLICE_KIB / 1024))
    return tmp_path / "out"


def stored(out: Path) -> dict[str, list[Path]]:
    """The files that hold voxels, by image."""
    opened = cohort.open(out)
    paths = opened.volumes["zarr_path"].dropna()
    return {path: sorted(p for p in (out / "volumes.zarr" / path / "0/c").rglob("*") if p.is_file()) for path in paths}


def test_shards_hold_the_same_values_in_fewer_files(plain: Path, sharded: Path) -> None:
    before, after = stored(plain), stored(sharded)
    assert before.keys() == after.keys()
    longest = max(before, key=lambda path: len(before[path]))
    assert (len(before[longest]), len(after[longest])) == (17, 5)  # 50 slices by 3, and these by 4
    for path in before:
        there, here = (zarr.open_array(out / "volumes.zarr" / path / "0", mode="r") for out in (plain, sharded))
        np.testing.assert_array_equal(here[...], there[...])
        assert here.shards is not None
    for name in STATISTICS:
        assert (sharded / name).read_bytes() == (plain / name).read_bytes()


def test_counting_them_again_gives_the_same_bytes(sharded: Path) -> None:
    before = [(sharded / name).read_bytes() for name in STATISTICS]
    pipeline.stage("reduce", sharded, config_of(shard_mib=12 * SLICE_KIB / 1024), from_voxels=True)
    assert [(sharded / name).read_bytes() for name in STATISTICS] == before


def test_what_is_wrong_with_a_shard_is_found(sharded: Path) -> None:
    assert verify(RunFolder(sharded), deep=True) == []
    path, (first, *_) = max(stored(sharded).items(), key=lambda item: len(item[1]))
    whole, array = first.read_bytes(), zarr.open_array(sharded / "volumes.zarr" / path / "0", mode="r")
    expected, silent = array[...], []
    bits = {*range(100), *range(len(whole) * 8 - 1600, len(whole) * 8), *range(0, len(whole) * 8, 97)}
    for bit in sorted(bits):  # the index lies at the end
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        first.write_bytes(damaged)
        try:
            if not np.array_equal(array[...], expected):
                silent.append(bit)
        except Exception:
            continue
    assert silent == []


@pytest.mark.parametrize("slices", [1, 2, 7, 16, 17, 100, 198, 4001])
def test_shards_are_whole_chunks_of_nearly_one_size(slices: int) -> None:
    layout = Layout((1, 1, slices, 512, 512), 2, 8, 64)
    depth = layout.chunks[-3] if slices > 1 else 1
    assert depth <= 16
    assert layout.slab % depth == 0
    assert layout.slab <= 128
    assert layout.object_count == -(-slices // layout.slab)
    assert layout.shards is not None
    assert layout.shards[-3] == layout.slab if slices > 1 else len(layout.shards) == 2
