"""Measure what statistics over the volumes in Zarr cost, against reading and decoding the Zarr alone.

`scripts/bench reductions [FOLDER] [--rounds N] [--files N]` ingests the series of FOLDER (of full size, made here where
none is given) once, and measures in every round, in random order and in this process:

- reading and decoding every chunk with zarr, nothing else: the floor of whatever counts voxels;
- `reduce --from-voxels`: every voxel counted again, and all tables written;
- `reduce` from the partials that `ingest` left, with all tables written;
- `c.histogram(by=...)` from partials, two attributes;
- `da.histogram` of all voxels of a modality, which needs the range before and loses what lies outside;
- SimpleITK's StatisticsImageFilter on volumes in memory: minimum, maximum, mean, sigma; no histogram, no reading.

Each is measured in a process of its own. CPU time counts; a ratio is the median of those within the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import SimpleITK
import zarr

import cohort
from benchmarks._alone import alone
from benchmarks.pixels import full_size, ours_once, versions
from cohort import reductions
from cohort.config import Config
from cohort.store import RunFolder

_READ, _VOXELS, _PARTIALS = "read and decode alone (floor)", "reduce --from-voxels", "reduce, from partials"
_BY, _DASK, _SITK = "c.histogram(by=two attributes)", "da.histogram of all voxels", "SimpleITK statistics, in memory"


def _arrays(run: RunFolder) -> list[zarr.Array[Any]]:
    rows = run.read("volumes", ["zarr_path"])["zarr_path"].to_pylist()
    return [run.open_volume(path) for path in rows if path is not None]


def _read(run: RunFolder) -> None:
    for array in _arrays(run):
        depth = array.chunks[-3] if array.ndim > 2 else 1
        for start in range(0, array.shape[-3], depth):
            array[..., start : start + depth, :, :]


def _from_voxels(run: RunFolder) -> None:
    reductions.reduce(run, Config(), from_voxels=True)


def _from_partials(run: RunFolder) -> None:
    run.withdraw(("reduce",))
    reductions.reduce(run, Config())


def _histogram(run: RunFolder) -> None:
    cohort.open(run.path).histogram(by=["Modality", "Manufacturer"])


def _dask_histogram(run: RunFolder) -> None:
    voxels = [da.from_array(a, chunks=a.chunks, name=False).ravel() for a in _arrays(run)]
    da.histogram(da.concatenate(voxels), bins=4096, range=(-1024, 3072))[0].compute()


def _simpleitk(run: RunFolder) -> None:
    for image in _in_memory(run.path):
        SimpleITK.StatisticsImageFilter().Execute(image)


@cache
def _in_memory(path: Path) -> list[Any]:
    return [SimpleITK.GetImageFromArray(np.asarray(array[...])) for array in _arrays(RunFolder(path))]


_METHODS: dict[str, Callable[[RunFolder], None]] = {
    _READ: _read, _VOXELS: _from_voxels, _PARTIALS: _from_partials, _BY: _histogram, _DASK: _dask_histogram,
    _SITK: _simpleitk,
}  # fmt: skip


def _costs(run: RunFolder, rounds: int) -> dict[str, list[float]]:
    costs: dict[str, list[float]] = {name: [] for name in _METHODS}
    order = list(_METHODS)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            costs[name].append(alone(_cost, name, run.path))
    return costs


def _cost(name: str, out: Path) -> float:
    """Return the CPU time of the third call: what is imported, loaded and cached by then is no part of it."""
    run = RunFolder(out)
    with dask.config.set(scheduler="synchronous"):
        for _ in range(2):
            _METHODS[name](run)
        start = time.process_time()
        _METHODS[name](run)
        return time.process_time() - start


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} [{min(values):.2f}-{max(values):.2f}]"


def _report(folder: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as temporary, dask.config.set(scheduler="synchronous"):
        run = RunFolder(Path(temporary) / "out")
        run.path.mkdir()
        run.write_json("run.json", {"format_version": cohort.schema.FORMAT_VERSION})
        ours_once(run, folder, Config())
        n_bytes = sum(array.nbytes for array in _arrays(run))
        stored = sum(path.stat().st_size for path in (run.path / "volumes.zarr").rglob("c/**/*") if path.is_file())
        costs = _costs(run, rounds)
    print(f"## {folder.name}: {n_bytes / 1e6:.0f} MB of voxels, {stored / 1e6:.0f} MB in Zarr\n")
    print(f"{rounds} rounds; {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}; ", end="")
    print(f"Python {platform.python_version()}, {versions()}\n")
    print("| | CPU s | MB/s | times the floor |\n|---|---|---|---|")
    for name, many in costs.items():
        ratios = [a / b for a, b in zip(many, costs[_READ], strict=True)]
        print(f"| {name} | {_spread(many)} | {n_bytes / 1e6 / statistics.median(many):.0f} | {_spread(ratios)} |")
    print(flush=True)


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=400, help="CT files to make; MR are four times as many")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    made = None
    if options.folder is None:
        made = Path(tempfile.mkdtemp())
        full_size(made, options.files)
    try:
        for folder in sorted(p for p in (options.folder or made).iterdir() if p.is_dir()):
            _report(folder, options.rounds)
    finally:
        if made is not None:
            shutil.rmtree(made)


if __name__ == "__main__":
    main()
