"""Measure the way from pixels to Zarr and statistics, against what others make of the same files.

`scripts/bench pixels [FOLDER] [--rounds N] [--files N]` takes the DICOM files of FOLDER (series of CT and MR of full
size, made here, where none is given) and measures, every round all methods in random order:

- a plain loop of pydicom and NumPy: `dcmread`, `pixel_array`, rescale, `np.histogram`; it writes nothing;
- dcm2niix, writing uncompressed NIfTI;
- SimpleITK, reading every file and counting its values; it writes nothing;
- the floor: read the bytes of every file, count the pixels at offsets known before; it writes nothing;
- the least a run has to do: the floor, and the pixels are hashed, compressed by the codec of the run and written, 16
  frames at once; no header is read, no value converted, no row written;
- the same, stored as they are;
- cohort from the files to Zarr and statistics (scan, assemble, ingest, reduce), in this process;
- the same by one and by two worker processes; starting them is not counted.

Every method runs in a process of its own, which has imported what it needs. CPU time counts where that is all there is,
wall time where workers are compared: other load on the machine disturbs the first less. A ratio is the median of those
within the rounds. Files lie in the page cache.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pydicom
import SimpleITK
from numcodecs.blosc import Blosc

from benchmarks._alone import alone
from benchmarks._corpus import dicom_files
from cohort import counting, headers, ingest, reductions, volumes
from cohort.bench.measure import warm
from cohort.cluster import connect
from cohort.config import ClusterOptions, Config
from cohort.phantom import make_series
from cohort.sources import open_sources
from cohort.store import RunFolder

NAIVE, DCM2NIIX, SITK, FLOOR = "pydicom + NumPy loop", "dcm2niix", "SimpleITK + counting", "read and count (floor)"
LEAST, LEAST_RAW = "read, count, hash, compress, write", "read, count, hash, write as they are"
OURS, ONE, TWO = "cohort, this process", "cohort, 1 worker", "cohort, 2 workers"
_FRAMES = 16  # of 512 x 512: 8 MiB
_STAGES: dict[str, Callable[[RunFolder, Path, Config], Any]] = {
    "scan": lambda run, folder, config: headers.scan(run, open_sources([str(folder)]), config),
    "assemble": lambda run, _, config: volumes.assemble(run, config),
    "ingest": lambda run, _, config: ingest.ingest(run, config),
    "reduce": lambda run, _, config: reductions.reduce(run, config),
}


@dataclass(frozen=True)
class Cost:
    """Seconds of CPU, of this process and its children, and of the clock; by stage where there are any."""

    cpu: float
    wall: float
    stages: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Corpus:
    """Files to measure on, and where the pixels of each lie."""

    folder: Path
    files: list[Path]
    places: list[tuple[Path, int, int]]
    pixels: int
    n_bytes: int
    config: Config


def full_size(out: Path, files: int) -> None:
    """Write series of 100 slices: CT of 512 x 512, and four times as many files of MR of 256 x 256."""
    make_series(out / "ct", seed=1, modality="CT", files=files, rows=512, columns=512)
    make_series(out / "mr", seed=2, modality="MR", files=4 * files, rows=256, columns=256)


def corpus_of(folder: Path, config: Config) -> Corpus:
    """Look once at every file: what is not native 16 bit is left out of all methods."""
    files, places, pixels = [], [], 0
    for path in dicom_files(folder):
        with open(path, "rb") as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
            length = 2 * dataset.Rows * dataset.Columns
        files.append(path)
        places.append((path, path.stat().st_size - length, length))
        pixels += length // 2
    return Corpus(folder, files, places, pixels, sum(path.stat().st_size for path in files), config)


def naive(corpus: Corpus, _out: Path) -> dict[str, tuple[float, float]]:
    """Read, rescale and count file by file with pydicom and NumPy."""
    counts: dict[str, Any] = {}
    for path in corpus.files:
        dataset = pydicom.dcmread(path)
        values = dataset.pixel_array * float(dataset.get("RescaleSlope", 1)) + float(dataset.get("RescaleIntercept", 0))
        found, _ = np.histogram(values, bins=4096, range=(-1024, 3072))
        counts[dataset.Modality] = counts.get(dataset.Modality, 0) + found
    return {}


def dcm2niix(corpus: Corpus, out: Path) -> dict[str, tuple[float, float]]:
    """Convert with dcm2niix."""
    command = [
        str(Path(sys.executable).with_name("dcm2niix")),
        "-z",
        "n",
        "-f",
        "%j",
        "-o",
        str(out),
        str(corpus.folder),
    ]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return {}


def simpleitk(corpus: Corpus, _out: Path) -> dict[str, tuple[float, float]]:
    """Read file by file with SimpleITK, count with NumPy."""
    counts = np.zeros(1 << 17, np.int64)
    for path in corpus.files:
        image = SimpleITK.ReadImage(str(path))  # kept: the view does not keep it
        values = SimpleITK.GetArrayViewFromImage(image)
        keys = np.asarray(values, np.int64).ravel() + (1 << 16)  # rescaled: 16 bits and an intercept
        counts += np.bincount(keys, minlength=1 << 17)
    return {}


def floor(corpus: Corpus, _out: Path) -> dict[str, tuple[float, float]]:
    """Read the bytes and count the pixels, knowing where they lie."""
    counts = np.zeros(1 << 16, np.int64)
    for path, offset, length in corpus.places:
        with open(path, "rb", buffering=0) as file:
            file.read(offset)
            found = np.bincount(np.frombuffer(file.read(length), np.uint16))
        counts[: found.size] += found
    return {}


def least(corpus: Corpus, out: Path) -> dict[str, tuple[float, float]]:
    """Read, count, hash, compress and write the pixels, knowing where they lie."""
    options = corpus.config.ingest
    codec = Blosc(cname=options.compression, clevel=options.compression_level, shuffle=Blosc.BITSHUFFLE)
    return _hashed_and_written(corpus, out, codec.encode)


def least_raw(corpus: Corpus, out: Path) -> dict[str, tuple[float, float]]:
    """Read, count, hash and write the pixels, knowing where they lie."""
    return _hashed_and_written(corpus, out, memoryview)


def _hashed_and_written(corpus: Corpus, out: Path, encode: Callable[[Any], Any]) -> dict[str, tuple[float, float]]:
    content = hashlib.sha256()
    for first in range(0, len(corpus.places), _FRAMES):
        places = corpus.places[first : first + _FRAMES]
        frames = np.empty(sum(length for *_, length in places) // 2, np.uint16)
        block, start = memoryview(frames).cast("B"), 0
        for path, offset, length in places:
            with open(path, "rb", buffering=0) as file:
                file.seek(offset)
                file.readinto(block[start : start + length])
            start += length
        counting.count_values(frames)
        content.update(block)
        (out / str(first)).write_bytes(encode(frames))
    return {}


def ours(corpus: Corpus, out: Path) -> dict[str, tuple[float, float]]:
    """Go from the files to Zarr and statistics; returns CPU and wall seconds by stage."""
    return ours_once(RunFolder(out), corpus.folder, corpus.config)


def ours_once(run: RunFolder, folder: Path, config: Config) -> dict[str, tuple[float, float]]:
    """Go from the files of a folder to Zarr and statistics."""
    spent = {}
    for name, stage in _STAGES.items():
        cpu, wall = time.process_time(), time.perf_counter()
        stage(run, folder, config)
        spent[name] = (time.process_time() - cpu, time.perf_counter() - wall)
    return spent


_METHODS = {
    NAIVE: naive, DCM2NIIX: dcm2niix, SITK: simpleitk, FLOOR: floor, LEAST: least, LEAST_RAW: least_raw,
    OURS: ours, ONE: ours, TWO: ours,
}  # fmt: skip


def measure(name: str, corpus: Corpus) -> Cost:
    """Run one method once, in a process of its own."""
    cost: Cost = alone(_measured, name, corpus)
    return cost


def _measured(name: str, corpus: Corpus) -> Cost:
    method = _METHODS[name]
    warm()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        out.mkdir()
        if name in (ONE, TWO):
            with connect(ClusterOptions(workers=1 if name == ONE else 2)) as client:
                client.run(warm)
                return _timed(method, corpus, out)
        with dask.config.set(scheduler="synchronous"):
            return _timed(method, corpus, out)


def _timed(method: Callable[[Corpus, Path], dict[str, tuple[float, float]]], corpus: Corpus, out: Path) -> Cost:
    before, wall = _cpu(), time.perf_counter()
    stages = method(corpus, out)
    return Cost(_cpu() - before, time.perf_counter() - wall, stages)


def _cpu() -> float:
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, who))


def _spread(values: list[float], digits: int = 2) -> str:
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}-{max(values):.{digits}f}]"


def _ratio(costs: dict[str, list[Cost]], over: str, under: str, clock: str) -> str:
    pairs = zip(costs[over], costs[under], strict=True)
    return _spread([getattr(a, clock) / getattr(b, clock) for a, b in pairs])


def _tables(corpus: Corpus, costs: dict[str, list[Cost]]) -> str:
    mb, mvox = corpus.n_bytes / 1e6, corpus.pixels / 1e6
    lines = ["| | CPU s | wall s | MB/s (CPU) | Mvoxel/s (CPU) |", "|---|---|---|---|---|"]
    for name, many in costs.items():
        cpu, wall = [cost.cpu for cost in many], [cost.wall for cost in many]
        speed = [f"{size / statistics.median(cpu):.0f}" for size in (mb, mvox)] if name not in (ONE, TWO) else ["", ""]
        shown = _spread(cpu) if name not in (ONE, TWO) else ""  # that of workers is not seen from here
        lines.append(f"| {name} | {shown} | {_spread(wall)} | {speed[0]} | {speed[1]} |")
    lines += [
        "",
        "| stage, this process | CPU s | MB/s | Mvoxel/s | wall s, 1 worker | 2 workers | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for stage in _STAGES:
        cpu = [cost.stages[stage][0] for cost in costs[OURS]]
        one, two = ([cost.stages[stage][1] for cost in costs[name]] for name in (ONE, TWO))
        middle = statistics.median(cpu)
        ratio = _spread([a / b for a, b in zip(one, two, strict=True)])
        speed = f"{mb / middle:.0f} | {mvox / middle:.0f}"
        lines.append(f"| {stage} | {_spread(cpu)} | {speed} | {_spread(one)} | {_spread(two)} | {ratio} |")
    return "\n".join(lines)


def _ratios(costs: dict[str, list[Cost]]) -> str:
    lines = ["| ratio, median within rounds [min-max] | CPU, one process | wall, 2 workers |", "|---|---|---|"]
    for peer in (NAIVE, DCM2NIIX, SITK, FLOOR, LEAST, LEAST_RAW):
        lines.append(f"| {peer} / cohort | {_ratio(costs, peer, OURS, 'cpu')} | {_ratio(costs, peer, TWO, 'wall')} |")
    lines.append(f"| 1 worker / 2 workers | | {_ratio(costs, ONE, TWO, 'wall')} |")
    lines += [f"| {NAIVE} / {limit} | {_ratio(costs, NAIVE, limit, 'cpu')} | |" for limit in (LEAST, LEAST_RAW)]
    return "\n".join(lines)


def versions() -> str:
    """Return the versions of what was measured."""
    names = ("pydicom", "numpy", "zarr", "numcodecs", "dask", "SimpleITK", "dcm2niix")
    return ", ".join(f"{name} {version(name)}" for name in names)


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=400, help="CT files to make; MR are four times as many")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compression", default=Config().ingest.compression, help="codec in Zarr (default: zstd)")
    options = parser.parse_args()
    config = Config().with_options("ingest", compression=options.compression)
    made = None
    if options.folder is None:
        made = Path(tempfile.mkdtemp())
        full_size(made, options.files)
    try:
        for folder in sorted(p for p in (options.folder or made).iterdir() if p.is_dir()):
            _report(corpus_of(folder, config), options.rounds)
    finally:
        if made is not None:
            shutil.rmtree(made)


def _report(corpus: Corpus, rounds: int) -> None:
    costs: dict[str, list[Cost]] = {name: [] for name in _METHODS}
    order = list(_METHODS)
    measure(FLOOR, corpus)  # into the cache
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            costs[name].append(measure(name, corpus))
    load = os.getloadavg()[1]
    codec = corpus.config.ingest.compression
    print(f"## {corpus.folder.name}: {len(corpus.files):,} files, {corpus.n_bytes / 1e6:.0f} MB, {codec}\n")
    print(
        f"{rounds} rounds; {os.cpu_count()} cores, load {load:.1f}; Python {platform.python_version()}, {versions()}\n"
    )
    print(_tables(corpus, costs), _ratios(costs), sep="\n\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
