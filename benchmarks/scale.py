"""Measure how time and memory grow with the cohort, stage by stage, where no file is read.

Run as `scripts/bench scale [--volumes N ...]`. Manifests of five times as many objects, none of which exists, are
listed, planned and written (`plan`); then the rows of so many phantom volumes of five images go through `assemble`,
`reduce`, `check` and `report`, each by its command on a local cluster, and through `show`. The scheduler of a local
cluster lives in the client's process: one peak of memory holds both. Every stage is a process of its own.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks._made_up import IMAGES_OF_A_VOLUME, MadeUpRun, MadeUpSource, make_template
from cohort import headers
from cohort.cluster import connect
from cohort.config import ClusterOptions, Config
from cohort.provenance import versions
from cohort.store import RunFolder

VOLUMES = (200, 2_000, 20_000, 200_000)
STAGES = ("assemble", "reduce", "check", "report")
MOST_MB = 500
_SAMPLED_SECONDS = 0.05


@dataclass(frozen=True)
class Measured:
    """One stage of one size: seconds, and the peaks of memory in MB."""

    stage: str
    objects: int
    seconds: float
    client_mb: float
    worker_mb: float


def measure(stage: str, objects: int, words: list[str]) -> Measured:
    """Run a command and watch the memory of its process and of the largest of its children."""
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    client = worker = 0.0
    while process.poll() is None:
        client = max(client, _peak_mb(watched.pid))
        for child in _children(watched):
            worker = max(worker, _peak_mb(child.pid))
        time.sleep(_SAMPLED_SECONDS)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{stage} of {objects:,} objects failed: {process.stderr.read() if process.stderr else ''}")
    return Measured(stage, objects, round(seconds, 2), round(client), round(worker))


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _peak_mb(pid: int) -> float:
    """Return the peak of resident memory of a process so far (VmHWM)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM")), 0.0)


def plan(objects: int, out: Path) -> None:
    """List so many objects, none of which exists, and write a row for each."""
    root = out / "source"
    root.mkdir(parents=True)
    with connect(ClusterOptions()):
        headers.scan(RunFolder(out / "run"), [MadeUpSource(root, objects)], Config())  # type: ignore[list-item]


def sizes(volumes: list[int], work: Path) -> list[Measured]:
    """Measure every stage at every size."""
    template = make_template(work / "template")
    command = [sys.executable, "-m", "cohort"]
    found = []
    for count in volumes:
        objects = count * IMAGES_OF_A_VOLUME
        out = work / f"out-{count}"
        planned = work / "plan"
        words = [sys.executable, "-m", "benchmarks.scale", "--plan", str(objects), "--work", str(planned)]
        found.append(measure("plan", objects, words))
        shutil.rmtree(planned)
        made = MadeUpRun(out, template, count)
        made.scan()
        for stage in STAGES:
            if stage == "reduce":
                made.ingest()
            found.append(measure(stage, objects, [*command, stage, str(out), "--scheduler", "local", "--json"]))
        found.append(measure("show", objects, [*command, "show", str(out), "--json"]))
        for one in found[-len(STAGES) - 2 :]:
            print(one, file=sys.stderr, flush=True)
        shutil.rmtree(out)
    return found


def table_of(found: list[Measured]) -> str:
    """Return a table in Markdown: a row for each stage, a column for each size."""
    columns = sorted({one.objects for one in found})
    lines = ["| objects | " + " | ".join(f"{objects:,}" for objects in columns) + " |"]
    lines.append("| --- |" + " ---: |" * len(columns))
    for stage in ("plan", *STAGES, "show"):
        cells = [one for objects in columns for one in found if (one.stage, one.objects) == (stage, objects)]
        texts = [f"{one.seconds:,.1f} s, {one.client_mb:,.0f} / {one.worker_mb:,.0f} MB" for one in cells]
        lines.append(f"| {stage} | " + " | ".join(texts) + " |")
    return "\n".join(lines)


def draw(found: list[Measured], chart: Path) -> None:
    """Draw seconds and the memory of the client against the objects, both axes logarithmic, as SVG."""
    import altair as alt
    import pandas as pd

    frame = pd.DataFrame([asdict(one) for one in found])
    base = alt.Chart(frame).mark_line(point=True).encode(
        x=alt.X("objects:Q", scale=alt.Scale(type="log"), axis=alt.Axis(format="~s", grid=False)),
        color=alt.Color("stage:N", sort=["plan", *STAGES, "show"], title=None),
    )  # fmt: skip
    seconds = base.encode(y=alt.Y("seconds:Q", scale=alt.Scale(type="log"), title="seconds, with the start"))
    memory = base.encode(y=alt.Y("client_mb:Q", scale=alt.Scale(domain=[0, MOST_MB]), title="client and scheduler, MB"))
    both = alt.hconcat(seconds.properties(width=360, height=260), memory.properties(width=360, height=260))
    both.configure_view(stroke=None).save(str(chart))


def main() -> int:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, nargs="+", default=list(VOLUMES))
    parser.add_argument("--json", type=Path, help="write the figures here too")
    parser.add_argument("--chart", type=Path, help="draw them here too, as SVG")
    parser.add_argument("--work", type=Path, help="folder for what is made (default: the system's)")
    parser.add_argument("--plan", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan is not None:
        plan(options.plan, options.work)
        return 0
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        found = sizes(options.volumes, Path(folder))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n", encoding="utf-8")
    if options.chart:
        draw(found, options.chart)
    most = max(one.client_mb for one in found)
    names = ("cohort", "dask", "distributed", "pyarrow", "pandas")
    known = ", ".join(f"{name} {number}" for name, number in versions(names).items())
    print(f"{datetime.date.today()}: Python {platform.python_version()}, {known}, {os.cpu_count()} cores\n")
    print("Seconds, and the peaks of memory of client with scheduler / largest worker.\n")
    print(table_of(found))
    print(f"\n{'met' if most < MOST_MB else 'NOT met'}: client and scheduler below {MOST_MB} MB (at most {most:,.0f})")
    return 0 if most < MOST_MB else 1


if __name__ == "__main__":
    sys.exit(main())
