"""Measure threads against processes, and one worker against two, stage by stage.

Run as `scripts/bench workers [FOLDER] [--rounds N]`. Phantom series of CT, MR and PET, or the images of a folder, go
through scan, assemble, ingest and reduce on clusters of one process, of two processes, and of one process of two
threads, in turns. Start-up is not timed. A ratio is the median of those within the rounds. Beside it stands where the
time went: the share of the cores that workers and client kept busy; what neither used is waiting.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, LocalCluster

from benchmarks._corpus import multiply, phantoms
from cohort.bench.measure import run_stage, warm
from cohort.config import ClusterOptions, Config
from cohort.provenance import versions

STAGES = ("scan", "assemble", "ingest", "reduce")
KINDS = {"1 process": (1, 1), "2 processes": (2, 1), "2 threads": (1, 2)}


@dataclasses.dataclass(frozen=True)
class Took:
    """Seconds of a stage: by the clock, of CPU in the workers, of CPU in the client."""

    wall: float
    workers: float
    client: float


@contextmanager
def cluster_of(processes: int, threads: int) -> Iterator[Client]:
    """Start a cluster whose workers have imported what the stages import."""
    with (
        LocalCluster(
            n_workers=processes, threads_per_worker=threads, processes=True, memory_limit=0,
            dashboard_address="127.0.0.1:0", silence_logs=50,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        client.wait_for_workers(processes)
        client.run(warm)
        yield client


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def stages(images: Path, out: Path, client: Client, last: str) -> dict[str, Took]:
    """Run the stages up to one on a cluster that is there."""
    shutil.rmtree(out, ignore_errors=True)
    config = Config(cluster=ClusterOptions(scheduler=client.scheduler.address))
    found = {}
    for stage in STAGES[: STAGES.index(last) + 1]:
        before, own = sum(client.run(_cpu).values()), _cpu()
        start = time.perf_counter()
        run_stage(stage, images, out, config)
        wall = time.perf_counter() - start
        found[stage] = Took(wall, sum(client.run(_cpu).values()) - before, _cpu() - own)
    return found


def measure(images: Path, work: Path, rounds: int, last: str) -> dict[str, list[dict[str, Took]]]:
    """Measure all kinds of clusters in turns, each round in another order."""
    found: dict[str, list[dict[str, Took]]] = {kind: [] for kind in KINDS}
    names = list(KINDS)
    with cluster_of(1, 1) as client:  # fills the caches
        stages(images, work / "out", client, last)
    for number in range(rounds):
        for kind in names[number % len(names) :] + names[: number % len(names)]:
            with cluster_of(*KINDS[kind]) as client:
                found[kind].append(stages(images, work / "out", client, last))
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return found


def table_of(found: dict[str, list[dict[str, Took]]]) -> str:
    """Return the medians as a table in Markdown."""
    lines = ["| stage | cluster | seconds | times as fast [min-max] | workers busy | client busy |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: |")
    for stage in found["1 process"][0]:
        for kind, (processes, threads) in KINDS.items():
            took = [one[stage] for one in found[kind]]
            ratios = [base[stage].wall / one.wall for base, one in zip(found["1 process"], took, strict=True)]
            wall = statistics.median(one.wall for one in took)
            busy = statistics.median(one.workers / one.wall for one in took) / (processes * threads)
            client = statistics.median(one.client / one.wall for one in took)
            lines.append(f"| {stage} | {kind} | {wall:.2f} | {statistics.median(ratios):.2f} "
                         f"[{min(ratios):.2f}-{max(ratios):.2f}] | {busy:.0%} | {client:.0%} |")  # fmt: skip
    return "\n".join(lines)


def main() -> int:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="images; phantom series where there is none")
    parser.add_argument("--files", type=int, default=12_000, help="phantom files (default: 12000)")
    parser.add_argument("--size", type=int, default=64, help="rows and columns of a phantom slice (default: 64)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--multiply", type=int, help="multiply the DICOM files of the folder to so many")
    parser.add_argument("--last", choices=STAGES, default=STAGES[-1], help="the last stage (default: reduce)")
    parser.add_argument("--work", type=Path, help="folder for what is made (default: the system's)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work, images = Path(folder), options.folder
        if images is None:
            images = work / "images"
            phantoms(images, options.files, options.size)
        elif options.multiply:
            images = work / "images"
            multiply(options.folder, images, options.multiply)
        found = measure(images, work, options.rounds, options.last)
    names = ("cohort", "dask", "distributed", "zarr", "pyarrow")
    known = ", ".join(f"{name} {number}" for name, number in versions(names).items())
    if options.folder is None:
        what = f"{options.files:,} phantom files of {options.size} x {options.size}"
    else:
        what = f"{options.multiply or sum(1 for path in images.rglob('*') if path.is_file()):,} files of a folder"
    cores = f"{os.cpu_count()} cores"
    print(f"{datetime.date.today()}: Python {platform.python_version()}, {known}, {cores}")
    print(f"\n{what}, {options.rounds} rounds\n")
    print(table_of(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
