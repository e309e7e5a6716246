"""Measure what the header scan costs, against pydicom and against a naive Dask pipeline on the same files.

`scripts/bench headers [FOLDER] [--files N]` multiplies the DICOM files of FOLDER (phantom series where none is
given) to N files, each copy with identifiers of its own, and measures

- warm: every round runs all methods on all files, in random order, in this process. CPU time counts, not wall time:
  other load on the machine disturbs it less. A ratio is the median of those within the rounds.
- cold: the page cache is dropped before each pass (as root; without, the passes are left out). Wall time counts.
- a manifest of `--rows` made-up objects, planned and submitted to a local cluster: the graph and the client's memory.

The naive pipeline is `bag.from_sequence(paths).map(row of dcmread(stop_before_pixels)).to_dataframe().to_parquet`, the
row holding the same DICOM columns as texts.
"""

from __future__ import annotations

import argparse
import datetime
import gc
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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
import dask.bag
import distributed
import pandas as pd
import pyarrow as pa
import pydicom

import cohort
from benchmarks._corpus import dicom_files, multiply, phantoms
from benchmarks._made_up import MadeUpSource
from cohort import headers
from cohort.cluster import connect
from cohort.cluster.running import bag_of
from cohort.config import ClusterOptions, Config
from cohort.readers import forget, read_header, without_warnings
from cohort.readers.base import HEAD_BYTES
from cohort.readers.dicom_frames import PLACES
from cohort.schema import DICOM_COLUMNS
from cohort.sources import open_sources
from cohort.store import RunFolder

_GZIP_LIMIT = 1 << 30
_NAMES = [column.name for column in DICOM_COLUMNS]
_NAIVE, _SCAN, _READ = "naive bag to Parquet", "cohort scan, to committed Parquet", "open and read 16 KiB"
_PYDICOM, _WALK, _LIST = "dcmread(stop_before_pixels) alone", "cohort rows alone", "list"
_NAIVE_PARTITION = 250  # files; the default of 100 partitions costs more where they are small
_DROP = Path("/proc/sys/vm/drop_caches")

Row = dict[str, Any]
Measured = dict[str, list[float]]


def _naive_row(path: str) -> Row:
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    row: Row = {"path": path}
    for name in _NAMES:
        try:
            value = dataset.get(name)
            row[name] = None if value is None else str(value)
        except Exception:
            row[name] = None
    return row | _naive_frames(dataset)


def _naive_frames(dataset: pydicom.Dataset) -> Row:
    """Return what the functional groups say of every frame."""
    found: dict[str, list[str]] = {name: [] for name in PLACES}
    for group in dataset.get("PerFrameFunctionalGroupsSequence") or ():
        for name, places in PLACES.items():
            for *sequences, attribute in places:
                item = group
                for sequence in sequences:
                    item = (item.get(sequence) or [pydicom.Dataset()])[0]
                if attribute in item:
                    found[name].append(str(item[attribute].value))
                    break
    return {f"frame_{name}": "|".join(values) or None for name, values in found.items()}


def _naive(folder: Path, out: Path) -> None:
    meta = pd.DataFrame(
        {name: pd.Series(dtype="string") for name in ("path", *_NAMES, *(f"frame_{name}" for name in PLACES))}
    )
    paths = [os.path.join(base, name) for base, _, names in os.walk(folder) for name in names]
    bag = dask.bag.from_sequence(paths, partition_size=_NAIVE_PARTITION).map(_naive_row)
    bag.to_dataframe(meta=meta).to_parquet(str(out / "naive"))


def _scan(folder: Path, out: Path) -> None:
    (out / "run").mkdir()
    headers.scan(RunFolder(out / "run"), open_sources([str(folder)]), Config())


def _each(read: Callable[[str], Any]) -> Callable[[Path, Path], None]:
    def run(folder: Path, _out: Path) -> None:
        for base, _, names in os.walk(folder):
            for name in names:
                read(os.path.join(base, name))

    return run


def _row(path: str) -> Row:
    with open(path, "rb", buffering=HEAD_BYTES) as file:
        size = os.fstat(file.fileno()).st_size
        return read_header(file, size, path, neighbour=lambda _name, _limit: None, gzip_limit=_GZIP_LIMIT)


def _rows(folder: Path, out: Path) -> None:
    _each(_row)(folder, out)
    forget()


def _read_head(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    os.read(descriptor, HEAD_BYTES)
    os.close(descriptor)


def _list(folder: Path, _out: Path) -> None:
    for source in open_sources([str(folder)]):
        for _ in source.list():
            pass


_METHODS: dict[str, Callable[[Path, Path], None]] = {
    _NAIVE: _naive,
    _PYDICOM: _each(lambda path: pydicom.dcmread(path, stop_before_pixels=True, force=True)),
    _SCAN: _scan,
    _WALK: _rows,
    _LIST: _list,
    _READ: _each(_read_head),
}


def _cost(method: str, folder: Path, files: int, clock: Callable[[], float]) -> float:
    """Return microseconds per file of one pass over a folder."""
    gc.collect()
    with tempfile.TemporaryDirectory() as out, dask.config.set(scheduler="synchronous"):
        start = clock()
        _METHODS[method](folder, Path(out))
        return (clock() - start) / files * 1e6


def _warm(folder: Path, files: int, rounds: int) -> Measured:
    """Return the CPU time per file of every method in every round."""
    costs: Measured = {name: [] for name in _METHODS}
    order = list(_METHODS)
    _cost(_READ, folder, files, time.process_time)  # into the cache
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            costs[name].append(_cost(name, folder, files, time.process_time))
    return costs


def _cold(folder: Path, files: int, rounds: int) -> Measured:
    """Return the wall time per file of the scan and of reading the heads, with an empty page cache."""
    costs: Measured = {_READ: [], _SCAN: []}
    for number in range(rounds):
        for name in (_READ, _SCAN) if number % 2 else (_SCAN, _READ):
            os.sync()
            _DROP.write_text("3", encoding="ascii")
            costs[name].append(_cost(name, folder, files, time.perf_counter))
    return costs


def _ratios(costs: Measured, over: str, under: str) -> str:
    ratios = [a / b for a, b in zip(costs[over], costs[under], strict=True)]
    return f"{statistics.median(ratios):.1f} [{min(ratios):.1f}-{max(ratios):.1f}]"


def _table(costs: Measured, unit: str) -> str:
    lines = [f"| | {unit} us/file [min-max] | files/s |", "|---|---|---|"]
    for name, values in costs.items():
        middle = statistics.median(values)
        lines.append(f"| {name} | {middle:.0f} [{min(values):.0f}-{max(values):.0f}] | {1e6 / middle:,.0f} |")
    return "\n".join(lines)


def _breakdown(costs: Measured) -> str:
    middle = {name: statistics.median(values) for name, values in costs.items()}
    rest = middle[_SCAN] - middle[_WALK] - middle[_LIST]
    return (
        f"Of the scan's {middle[_SCAN]:.0f} us: list {middle[_LIST]:.0f}, open and read {middle[_READ]:.0f}, "
        f"walk and convert {middle[_WALK] - middle[_READ]:.0f}, tables, Parquet and commit {rest:.0f}."
    )


def _fallbacks(folder: Path) -> str:
    rows = [_row(str(path)) for path in dicom_files(folder)]
    reasons = Counter(row["fallback_reason"] for row in rows if row.get("fallback_reason"))
    return f"Fallbacks to pydicom: {reasons.total() / len(rows):.1%} of {len(rows)} {dict(reasons.most_common())}"


# -- a large manifest ----------------------------------------------------------------------------------------


def _plan(rows: int) -> None:
    """Scan a made-up source on a local cluster; print the graph's size and the memory of this process."""
    graphs: list[int] = []
    completed = headers.completed

    def measured(parts: Sequence[Any], work: Callable[[Any], Any]) -> Iterator[Any]:
        graphs.append(len(distributed.protocol.pickle.dumps(dict(bag_of(parts, work).dask))))
        return completed(parts, work)

    headers.completed = measured
    with tempfile.TemporaryDirectory() as folder:
        out, root = Path(folder) / "run", Path(folder) / "source"
        out.mkdir()
        root.mkdir()
        with connect(ClusterOptions()):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            start = time.perf_counter()
            record = headers.scan(RunFolder(out), [MadeUpSource(root, rows)], Config())
            seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{record['counts']['objects']:,} rows: graph {max(graphs) / 1e6:.2f} MB, client {peak:.0f} MB at its peak "
        f"({before:.0f} MB before), {seconds:.0f} s to list, plan, submit and write all rows (no file exists)"
    )


# -- command line --------------------------------------------------------------------------------------------


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, help="DICOM files to multiply; phantoms where there is none")
    parser.add_argument("--files", type=int, default=6000, help="so many files in all (default: 6000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the manifest (default: 1000000; 0: none)")
    parser.add_argument("--work", type=Path, help="folder for the files (default: the system's)")
    parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        _plan(options.plan)
        return
    work = Path(tempfile.mkdtemp(dir=options.work))
    try:
        if options.folder is None:
            phantoms(work, options.files)
        else:
            multiply(options.folder, work, options.files)
        _report(options, work)
    finally:
        shutil.rmtree(work)


def _report(options: argparse.Namespace, work: Path) -> None:
    versions = {"cohort": cohort.__version__, "Python": platform.python_version(), "pydicom": pydicom.__version__}
    versions |= {"dask": dask.__version__, "pyarrow": pa.__version__, "pandas": pd.__version__}
    corpus = "phantom files" if options.folder is None else "files multiplied from a folder"
    print(f"{datetime.date.today()}: {options.files:,} {corpus}, {options.rounds} rounds; ", end="")
    print(", ".join(f"{name} {version}" for name, version in versions.items()), end="\n\n")
    with without_warnings():
        print(_fallbacks(options.folder or work), end="\n\n")
        warm = _warm(work, options.files, options.rounds)
        print(_table(warm, "warm, CPU"), end="\n\n")
        print(f"Naive pipeline / cohort scan, per core, warm: {_ratios(warm, _NAIVE, _SCAN)}x. {_breakdown(warm)}\n")
        if os.access(_DROP, os.W_OK):
            cold = _cold(work, options.files, options.rounds)
            print(_table(cold, "cold, wall"), end="\n\n")
            print(f"Cohort scan / reading 16 KiB, cold: {_ratios(cold, _SCAN, _READ)}x\n")
    sys.stdout.flush()
    if options.rows:
        subprocess.run([sys.executable, "-m", "benchmarks.headers", "--plan", str(options.rows)], check=True)


if __name__ == "__main__":
    main()
