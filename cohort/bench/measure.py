"""Run the stages on 1, 2, 4... workers over the same images and time each."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
from typing import TYPE_CHECKING, Any

from cohort import pipeline
from cohort.bench.floor import machine_floor, read_once
from cohort.cluster import Step, connect, ignore
from cohort.config import ClusterOptions, Config
from cohort.errors import ConfigError, OutputError
from cohort.store import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cohort.cluster import Progress

STAGES = ("scan", "assemble", "ingest", "reduce")

_SIZES = {"CT": (256, 256), "MR": (192, 192), "PT": (128, 128)}
_MODALITIES = ("CT", "MR", "CT", "PT")

Row = dict[str, Any]


def bench(
    out: Path, source: Path | None, *, files: int = 6000, workers: Sequence[int] = (), progress: Progress = ignore
) -> Row:
    """Measure the stages, and the floor of the machine beside them.

    Parameters
    ----------
    out : Path
        New folder, or one of an earlier bench: its phantom images are used again. Written: `bench.json`,
        `bench.svg`.
    source : Path or None
        Images to measure on; None: phantom series are made, with headers of full size.
    files : int
        Number of phantom images.
    workers : sequence of int
        Numbers of worker processes, one thread each; by default 1, 2, 4... up to the cores.
    progress : Progress
        Told of every step.

    Returns
    -------
    dict
        `machine`, `versions`, `corpus`, `stages` (one entry a stage and number of workers: `files_per_s`, `mb_per_s`,
        `voxels_per_s`, `efficiency`, `max_rss_mb`, `bytes_read_per_file`, `seconds`) and `floor`.

    Raises
    ------
    OutputError
        If `out` holds something else.
    """
    chosen = sorted(set(workers or _powers(os.cpu_count() or 1)))
    if chosen[0] < 1:
        raise ConfigError("--workers: give numbers of processes from 1, such as 1,2,4")
    _check(out)
    images = source if source is not None else _phantoms(out, files, progress)
    n_bytes = read_once(images)  # whatever was in the cache before, all of it that fits is now
    rows: list[Row] = []
    for number, count in enumerate(chosen):
        progress(Step("bench", number, len(chosen), "clusters"))
        rows += _measured(images, out / "run", count)
    _add_efficiency(rows)
    progress(Step("bench", len(chosen), len(chosen), "clusters"))
    found = {
        "machine": _machine(),
        "versions": RunFolder(out / "run").info()["versions"],
        "corpus": {"files": rows[0]["files"], "bytes": n_bytes, "phantom": source is None},
        "stages": rows,
        "floor": machine_floor(images),
    }
    shutil.rmtree(out / "run")
    (out / "bench.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    _draw(out, rows)
    return found


def _draw(out: Path, rows: list[Row]) -> None:
    from cohort.report.scaling import scaling_chart

    (out / "bench.svg").write_text(scaling_chart(rows), encoding="utf-8")


def _powers(cores: int) -> list[int]:
    """Return 1, 2, 4... and the number of cores."""
    return sorted({1 << i for i in range(cores.bit_length()) if 1 << i <= cores} | {cores})


def _check(out: Path) -> None:
    known = {"images", "images.json", "run", "bench.json", "bench.svg"}
    if out.exists() and (not out.is_dir() or {path.name for path in out.iterdir()} - known):
        raise OutputError(f"{out} holds something else; name a new folder")


def _phantoms(out: Path, files: int, progress: Progress) -> Path:
    """Write the phantom images, unless they are there; their number is written last."""
    from cohort.phantom import make_series

    images, done = out / "images", out / "images.json"
    if done.is_file() and json.loads(done.read_text(encoding="utf-8")) == {"files": files}:
        return images
    done.unlink(missing_ok=True)
    shutil.rmtree(images, ignore_errors=True)
    each = -(-files // len(_MODALITIES))
    for number, modality in enumerate(_MODALITIES):
        progress(Step("phantom", number * each, files, "files"))
        rows, columns = _SIZES[modality]
        count = min(each, files - number * each)
        if count > 0:
            folder = images / f"{number}-{modality}"
            make_series(folder, seed=number, modality=modality, files=count, rows=rows, columns=columns)
    progress(Step("phantom", files, files, "files"))
    done.write_text(json.dumps({"files": files}), encoding="utf-8")
    return images


# -- one cluster -------------------------------------------------------------------------------------------


def _measured(images: Path, run: Path, workers: int) -> list[Row]:
    """Run the stages on a cluster of so many processes; its start is not timed."""
    local = Config(cluster=ClusterOptions(scheduler="local", workers=workers))
    if run.exists():
        shutil.rmtree(run)
    rows = []
    with connect(local.cluster) as client:
        assert client is not None
        client.wait_for_workers(workers)
        client.run(warm)
        address = dataclasses.replace(local.cluster, scheduler=client.scheduler.address, workers=None)
        config = dataclasses.replace(local, cluster=address)
        for stage in STAGES:
            before = client.run(_usage, reset=True)
            info = run_stage(stage, images, run, config)
            after = client.run(_usage)
            rows.append(_row(stage, workers, info, before, after))
    voxels = _voxels(RunFolder(run))
    for row in rows:
        if row["stage"] in ("ingest", "reduce"):
            row["voxels_per_s"] = voxels / row["seconds"]
    return rows


def _voxels(run: RunFolder) -> int:
    """Return how many voxels were counted or left out."""
    table = run.read("statistics", ["count", "padding_count", "nan_count", "inf_count"])
    return sum(sum(column.to_pylist()) for column in table.columns)


def _row(stage: str, workers: int, info: Row, before: dict[str, Row], after: dict[str, Row]) -> Row:
    scanned = info["stages"]["scan"]["counts"]
    seconds = info["stages"][stage]["seconds"]
    read = sum(after[name]["read"] - before[name]["read"] for name in after if name in before)
    files, n_bytes = scanned["objects"], scanned["bytes"]
    return {
        "stage": stage,
        "workers": workers,
        "seconds": seconds,
        "files": files,
        "files_per_s": files / seconds,
        "mb_per_s": n_bytes / seconds / 1e6,
        "voxels_per_s": None,
        "bytes_read_per_file": read / files if stage in ("scan", "ingest") else None,
        "max_rss_mb": max(usage["peak"] for usage in after.values()) / 1e6,
    }


def warm() -> None:
    """Import in a worker what the stages import, so that the first of them does not pay for it."""
    from importlib import import_module

    ours = ("headers", "volumes", "ingest", "reductions", "readers.dicom", "readers.nifti")
    for name in (*(f"cohort.{name}" for name in ours), "dask.array", "pandas", "pyarrow.dataset", "zarr"):
        import_module(name)


def run_stage(stage: str, images: Path, run: Path, config: Config) -> Row:
    """Run one stage on a cluster that is there; returns `run.json`."""
    return pipeline.scan([str(images)], run, config) if stage == "scan" else pipeline.stage(stage, run, config)


def _usage(*, reset: bool = False) -> Row:
    """Return the peak of the resident memory of this process and the bytes it has read, both from /proc (Linux)."""
    from pathlib import Path

    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        counters = Path("/proc/self/io").read_text(encoding="ascii")
    except OSError:
        return {"peak": 0, "read": 0}
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
    read = next(line for line in counters.splitlines() if line.startswith("rchar")).split()[1]
    return {"peak": int(peak) * 1024, "read": int(read)}


def _add_efficiency(rows: list[Row]) -> None:
    """Add the share of the ideal speed: that of the fewest workers times their number."""
    fewest = min(row["workers"] for row in rows)
    base = {row["stage"]: row["files_per_s"] / fewest for row in rows if row["workers"] == fewest}
    for row in rows:
        row["efficiency"] = row["files_per_s"] / (base[row["stage"]] * row["workers"])


def _machine() -> Row:
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    from pathlib import Path

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
