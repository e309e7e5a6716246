"""Measure what one DICOM header costs: the walker, the pydicom path, and a naive Dask bag, on the same files.

Run as `python benchmarks/headers.py [FOLDER] [--files N] [--rounds N]`. Every round runs all methods in random
order in this process, with a warm file cache and the walker's memory of values cleared; a ratio is the median of
the ratios within the rounds. CPU time counts, not wall time: other load on the machine disturbs it less.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dask
import dask.bag
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom

from cohort.errors import RejectedError
from cohort.phantom import make_series
from cohort.readers import dicom, dicom_walker, without_warnings
from cohort.readers.base import HEAD_BYTES, Limits
from cohort.schema import DICOM_COLUMNS, FILES

_LIMITS = Limits(1 << 30, 1 << 26, 150_000)
_NAMES = [column.name for column in DICOM_COLUMNS]
_BASE = "pydicom"
_BAG_FILES = 1000  # the naive bag is slow: it gets no more than these
_BAG_PARTITION = 250  # files; the default of 100 partitions would cost more than the reading itself

Row = dict[str, Any]


def _pydicom_row(path: str) -> Row:
    with open(path, "rb", buffering=HEAD_BYTES) as file:
        return _by_pydicom(file, os.fstat(file.fileno()).st_size, file.read(HEAD_BYTES))


def _by_pydicom(file: Any, size: int, head: bytes) -> Row:
    try:
        return dicom.read_header(file, size, head, _LIMITS)
    except RejectedError as rejection:
        return {"status": "rejected", "reason": rejection.reason}


def _walker_row(path: str) -> Row:
    with open(path, "rb", buffering=HEAD_BYTES) as file:
        size, head = os.fstat(file.fileno()).st_size, file.read(HEAD_BYTES)
        try:
            return dicom_walker.walk_header(file, size, head)
        except dicom_walker.Fallback as fallback:
            return _by_pydicom(file, size, head) | {"fallback_reason": fallback.reason}


def _read_head(path: str) -> Row:
    with open(path, "rb", buffering=HEAD_BYTES) as file:
        return {"size": len(file.read(HEAD_BYTES))}


def _naive_row(path: str) -> Row:
    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    row: Row = {"path": path}
    for name in _NAMES:
        try:
            row[name] = str(dataset[name].value)
        except Exception:
            row[name] = None
    return row


def _plain(read: Callable[[str], Row]) -> Callable[[Sequence[str], Path], None]:
    def run(paths: Sequence[str], _out: Path) -> None:
        for path in paths:
            read(path)

    return run


def _walker_to_parquet(paths: Sequence[str], out: Path) -> None:
    columns: dict[str, list[Any]] = {name: [] for name in FILES.names}
    for path in paths:
        row = _walker_row(path)
        for name, values in columns.items():
            values.append(row.get(name))
    pq.write_table(pa.table(columns, schema=FILES.arrow()), out / "walker.parquet", compression="zstd")


def _naive_bag(paths: Sequence[str], out: Path) -> None:
    meta = pd.DataFrame({name: pd.Series(dtype="string") for name in ("path", *_NAMES)})
    with dask.config.set(scheduler="synchronous"):
        bag = dask.bag.from_sequence(list(paths), partition_size=_BAG_PARTITION).map(_naive_row)
        bag.to_dataframe(meta=meta).to_parquet(str(out / "naive"))


_METHODS: dict[str, Callable[[Sequence[str], Path], None]] = {
    _BASE: _plain(_pydicom_row),
    "walker": _plain(_walker_row),
    "walker, to Parquet": _walker_to_parquet,
    "naive bag, to Parquet": _naive_bag,
    "open and read 16 KiB": _plain(_read_head),
}


def _cost(name: str, paths: Sequence[str]) -> float:
    """Return microseconds of CPU per file of one pass."""
    if name.startswith("naive"):
        paths = paths[:_BAG_FILES]
    dicom_walker.clear()
    with tempfile.TemporaryDirectory() as out:
        start = time.process_time()
        _METHODS[name](paths, Path(out))
        return (time.process_time() - start) / len(paths) * 1e6


def _files(folder: Path, limit: int) -> list[str]:
    """Choose DICOM files of a folder; the same ones for the same folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                if file.read(132)[128:] == b"DICM":
                    found.append(str(path))
    random.Random(0).shuffle(found)
    return found[:limit]


def _fallbacks(paths: Sequence[str]) -> Counter[str]:
    return Counter(row["fallback_reason"] for row in map(_walker_row, paths) if "fallback_reason" in row)


def measure(paths: Sequence[str], rounds: int) -> dict[str, list[float]]:
    """Return the cost per file of every method in every round."""
    costs: dict[str, list[float]] = {name: [] for name in _METHODS}
    order = list(_METHODS)
    for name in order:
        _cost(name, paths[:50])  # imports and caches
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            costs[name].append(_cost(name, paths))
    return costs


def table(costs: dict[str, list[float]]) -> str:
    """Return the result as Markdown; `x` is how many times cheaper than pydicom."""
    lines = ["| method | CPU us/file [min-max] | files/s/core | x [min-max] |", "|---|---|---|---|"]
    for name, values in costs.items():
        middle = statistics.median(values)
        ratios = [base / value for base, value in zip(costs[_BASE], values, strict=True)]
        lines.append(
            f"| {name} | {middle:.0f} [{min(values):.0f}-{max(values):.0f}] | {1e6 / middle:.0f} "
            f"| {statistics.median(ratios):.1f} [{min(ratios):.1f}-{max(ratios):.1f}] |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", nargs="?", type=Path, help="DICOM files; a phantom series where there is none")
    parser.add_argument("--files", type=int, default=1000, help="at most so many files (default: 1000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default: 5)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made, without_warnings():
        folder = options.folder
        if folder is None:
            folder = Path(made) / "phantom"
            make_series(folder, files=options.files)
        paths = _files(folder, options.files)
        if not paths:
            parser.error(f"no DICOM file in {folder}")
        costs, reasons = measure(paths, options.rounds), _fallbacks(paths)
    versions = {"Python": platform.python_version(), "pydicom": pydicom.__version__, "dask": dask.__version__}
    versions |= {"pyarrow": pa.__version__, "parser": dicom_walker.PARSER}
    corpus = "phantom series" if options.folder is None else "files of a folder"
    print(f"{datetime.date.today()}: {len(paths)} {corpus}, {options.rounds} rounds, warm cache; ", end="")
    print(", ".join(f"{name} {version}" for name, version in versions.items()), end="\n\n")
    print(table(costs))
    naive = [
        slow / fast for slow, fast in zip(costs["naive bag, to Parquet"], costs["walker, to Parquet"], strict=True)
    ]
    print(f"\nTo Parquet, naive bag against walker: {statistics.median(naive):.1f}x", end=" ")
    print(f"[{min(naive):.1f}-{max(naive):.1f}]")
    print(f"Fallbacks: {reasons.total() / len(paths):.1%} {dict(reasons.most_common())}")


if __name__ == "__main__":
    main()
