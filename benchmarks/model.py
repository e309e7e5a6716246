"""What a cohort costs: seconds of a worker per file, byte, volume and task, fitted and held against another cohort.

Run as `scripts/bench model`. Phantom cohorts of different numbers of files, sizes of slices and shards go through every
stage on one worker; the costs are fitted to their times (non-negative least squares on relative errors). Three cohorts
that were not fitted, one of them larger than all others, tell how far the model can be trusted. What 10^6 to 10^8
objects would take follows from it: nothing of that size was run; buckets are as `--latency` and `--bandwidth` say.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.workers import cluster_of
from cohort.bench.measure import run_stage
from cohort.checks import CHECKS
from cohort.config import ClusterOptions, Config
from cohort.phantom import make_series
from cohort.provenance import versions
from cohort.store import RunFolder

STAGES = ("scan", "assemble", "ingest", "reduce", "check", "report")
COSTS = ("fixed", "file", "megabyte", "volume", "task")


@dataclass(frozen=True)
class Shape:
    """A phantom cohort: files, rows and columns of each, and how many are a shard of the scan."""

    files: int
    size: int
    shard: int = 2000


FITTED = (
    Shape(500, 32), Shape(2000, 32), Shape(2000, 32, shard=50), Shape(6000, 32), Shape(500, 256), Shape(1500, 256),
    Shape(300, 512), Shape(900, 512), Shape(3000, 64, shard=200),
)  # fmt: skip
HELD_BACK = (Shape(4000, 64), Shape(1000, 384), Shape(12_000, 128))


@dataclass(frozen=True)
class Measured:
    """One stage of one cohort: what there was of each thing that costs, and the seconds."""

    stage: str
    shape: Shape
    amounts: dict[str, float]
    seconds: float


def measure(shape: Shape, work: Path, rounds: int) -> list[Measured]:
    """Run all stages on one worker; the fastest round counts, since noise only adds."""
    images, out = work / "images", work / "out"
    shutil.rmtree(images, ignore_errors=True)
    make_series(images, files=shape.files, rows=shape.size, columns=shape.size)
    seconds: dict[str, float] = {}
    with cluster_of(1, 1) as client:
        config = Config(cluster=ClusterOptions(scheduler=client.scheduler.address))
        config = config.with_options("scan", shard_size=shape.shard)
        for _ in range(rounds):
            shutil.rmtree(out, ignore_errors=True)
            for stage in STAGES:
                start = time.perf_counter()
                run_stage(stage, images, out, config)
                took = time.perf_counter() - start
                seconds[stage] = min(took, seconds.get(stage, took))
    run = RunFolder(out)
    counts = run.committed("scan")["counts"]
    volumes = run.committed("assemble")["counts"]["volumes"]
    parts = {
        "scan": len(run.parts("files")),
        "assemble": len(run.parts("frames")),
        "ingest": len(run.parts("partials")),
        "reduce": len(run.parts("partials")),
        "check": len(CHECKS),
    }
    return [
        Measured(stage, shape, {"fixed": 1.0, "file": counts["objects"], "megabyte": counts["bytes"] / 1e6,
                                "volume": volumes, "task": parts.get(stage, 1)}, took)
        for stage, took in seconds.items()
    ]  # fmt: skip


def fit(rows: list[Measured]) -> dict[str, float]:
    """Return the costs of one stage; none is negative."""
    amounts = np.array([[row.amounts[name] / row.seconds for name in COSTS] for row in rows])
    return dict(zip(COSTS, _non_negative(amounts, np.ones(len(rows))).tolist(), strict=True))


def _non_negative(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the x >= 0 for which a @ x is nearest to b, by trying which of few columns count."""
    best, found = np.inf, np.zeros(a.shape[1])
    for chosen in range(1, 1 << a.shape[1]):
        columns = [i for i in range(a.shape[1]) if chosen >> i & 1]
        x, *_ = np.linalg.lstsq(a[:, columns], b, rcond=None)
        error = float(np.sum((a[:, columns] @ x - b) ** 2))
        if np.all(x >= 0) and error < best - 1e-12:
            best, found = error, np.zeros(a.shape[1])
            found[columns] = x
    return found


def predicted(costs: dict[str, float], amounts: dict[str, float]) -> float:
    """Return the seconds of one worker."""
    return sum(costs[name] * amounts[name] for name in COSTS)


def costs_table(costs: dict[str, dict[str, float]]) -> str:
    """Return the costs of all stages in Markdown."""
    lines = ["| stage | fixed, s | a file, us | a MB, ms | a volume, ms | a task, ms |", "| --- |" + " ---: |" * 5]
    scales = {"fixed": 1.0, "file": 1e6, "megabyte": 1e3, "volume": 1e3, "task": 1e3}
    for stage, of_stage in costs.items():
        cells = [f"{of_stage[name] * scales[name]:,.2f}" if of_stage[name] else "-" for name in COSTS]
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def validation_table(costs: dict[str, dict[str, float]], rows: list[Measured]) -> str:
    """Return predictions for cohorts that were not fitted beside what they took."""
    shapes = list(dict.fromkeys(row.shape for row in rows))
    heads = " | ".join(f"{shape.files:,} files of {shape.size} x {shape.size}" for shape in shapes)
    lines = [f"| stage | {heads} |", "| --- |" + " ---: |" * len(shapes)]
    for stage in (*STAGES, "all"):
        cells = []
        for shape in shapes:
            some = [row for row in rows if row.shape == shape and stage in (row.stage, "all")]
            took, told = sum(r.seconds for r in some), sum(predicted(costs[r.stage], r.amounts) for r in some)
            cells.append(f"{took:.2f} s, model {told:.2f} s ({told / took - 1:+.0%})")
        lines.append(f"| {stage} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def outlook_table(costs: dict[str, dict[str, float]], given: argparse.Namespace) -> str:
    """Return hours for large cohorts of CT slices of 512 x 512 in volumes of 100, on several workers."""
    lines = ["| objects | workers | scan, disk | scan, bucket | ingest, disk | ingest, bucket | the rest |"]
    lines.append("| ---: | ---: |" + " ---: |" * 5)
    for objects in (10**6, 10**7, 10**8):
        amounts = {"fixed": 1.0, "file": objects, "megabyte": objects * 0.527, "volume": objects / 100,
                   "task": objects / 2000}  # fmt: skip
        batches = amounts | {"task": amounts["megabyte"] / 64}
        for workers in (1, 16, 128):
            scan = predicted(costs["scan"], amounts) / workers
            ingest = predicted(costs["ingest"], batches) / workers
            requests = objects * given.latency / given.at_once / workers
            bandwidth = amounts["megabyte"] / given.bandwidth / workers
            shared = sum(predicted(costs[name], amounts) for name in ("assemble", "reduce")) / workers
            alone = sum(predicted(costs[name], amounts) for name in ("check", "report"))
            cells = (scan, max(scan, requests), ingest, max(ingest, bandwidth), shared + alone)
            lines.append(f"| {objects:,} | {workers} | " + " | ".join(_duration(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} d"


def main() -> int:
    """Measure, fit, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.03, help="seconds to the first byte of an object")
    parser.add_argument("--at-once", type=int, default=32, help="requests of a worker under way")
    parser.add_argument("--bandwidth", type=float, default=100.0, help="MB/s of a worker from the bucket")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--work", type=Path, help="folder for what is made (default: the system's)")
    options = parser.parse_args()
    measured: dict[Shape, list[Measured]] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for shape in (*FITTED, *HELD_BACK):
            measured[shape] = measure(shape, Path(folder), options.rounds)
            print(shape, *(f"{one.stage} {one.seconds:.2f}" for one in measured[shape]), file=sys.stderr, flush=True)
    fitted = [row for shape in FITTED for row in measured[shape]]
    costs = {stage: fit([row for row in fitted if row.stage == stage]) for stage in STAGES}
    if options.json:
        everything: Any = {"costs": costs, "measured": [asdict(row) for rows in measured.values() for row in rows]}
        options.json.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    names = ("cohort", "dask", "distributed", "zarr", "pyarrow")
    known = ", ".join(f"{name} {number}" for name, number in versions(names).items())
    print(f"{datetime.date.today()}: Python {platform.python_version()}, {known}, {os.cpu_count()} cores\n")
    print(costs_table(costs))
    print("\nCohorts that were not fitted:\n")
    print(validation_table(costs, [row for shape in HELD_BACK for row in measured[shape]]))
    print(f"\nBy the model, {options.latency * 1000:.0f} ms to the first byte, {options.at_once} requests and "
          f"{options.bandwidth:.0f} MB/s a worker:\n")  # fmt: skip
    print(outlook_table(costs, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
