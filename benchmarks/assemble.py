"""Measure `assemble` on header rows without files: time, memory of the client and of the workers.

Run as `python benchmarks/assemble.py [--rows N ...] [--workers N]`. The rows are those of phantom images, read once and
repeated with other identities and places: stacks of 30 to 300 slices of several modalities, some 4-D, some of several
echoes or directions, some with slices missing, copies, a localizer or tilt; beside them multi-frame, projection and
NIfTI images, and files that are none. They go into a run folder as `scan` commits them. Every size is made and
assembled in processes of its own, so that a peak is that of this size alone. CPU time is given beside wall time:
other load on the machine disturbs it less.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pyarrow as pa

from cohort.cluster import connect
from cohort.config import ClusterOptions, Config
from cohort.phantom import make_cohort
from cohort.readers import key_of, read_header
from cohort.schema import FILES, Status
from cohort.store import RunFolder
from cohort.volumes import assemble

_SHARD = 2000
_LAYOUT = FILES.arrow()
_KINDS = ("plain", "missing", "time", "echoes", "directions", "copies", "localizer", "tilt")
_SHARES = (0.78, 0.05, 0.05, 0.03, 0.03, 0.02, 0.02, 0.02)
_MODALITIES, _MODALITY_SHARES = ("CT", "MR", "PT"), (0.5, 0.35, 0.15)
_ONLY = {"echoes": "MR", "directions": "MR", "tilt": "CT"}
_SINGLE_SHARE = 0.3  # of all series: one object each
_SERIES_PER_PATIENT = 6
_NO_IMAGE = 0.01  # of all rows

Row = dict[str, Any]
Columns = dict[str, Any]


# -- rows --------------------------------------------------------------------------------------------------


def _templates(folder: Path) -> tuple[list[Row], list[Row]]:
    """Return header rows of phantom images: of stacks by CT, MR and PT, and of images that are one object."""
    make_cohort(folder, traps=False)
    rows: dict[Any, Row] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            row = read_header(file, path.stat().st_size, path.name, neighbour=lambda *_: None, gzip_limit=1 << 24)
        if row.get("is_image") and row["status"] == Status.OK:
            rows.setdefault(row.get("SeriesInstanceUID") or path, row | {"size": path.stat().st_size})
    stacks = [r for r in rows.values() if r.get("ImagePositionPatient") and not r.get("NumberOfFrames")]
    return stacks, [r for r in rows.values() if r not in stacks]


def _places(rng: np.random.Generator, kind: str, count: int) -> Columns:
    """Return what differs from file to file of a stack: the place, and what repeats it."""
    step = float(rng.choice([1.0, 1.25, 2.0, 3.0, 5.0]))
    repeats = {"time": 5, "echoes": 2, "directions": 6}.get(kind, 1)
    slices = max(2, count // repeats)
    repetition, place = np.divmod(np.arange(slices * repeats), slices)
    if kind == "missing":
        place = np.delete(place, rng.integers(1, slices - 1, 2))
        repetition = repetition[: len(place)]
    if kind == "copies":
        place, repetition = np.append(place, place[:2]), np.append(repetition, [0, 0])
    position = np.stack([np.full(len(place), -120.0), np.full(len(place), -110.0), -300 + step * place], axis=1)
    position[:, 1] += 0.3 * position[:, 2] if kind == "tilt" else 0.0
    orientation = np.tile([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], (len(place), 1))
    if kind == "localizer":
        orientation[0] = [1.0, 0.0, 0.0, 0.0, 0.0, -1.0]
    columns: Columns = {
        "ImagePositionPatient": np.round(position, 4).tolist(),
        "ImageOrientationPatient": orientation.tolist(),
        "InstanceNumber": np.arange(1, len(place) + 1).tolist(),
        "SliceLocation": position[:, 2].tolist(),
        "SliceThickness": [step] * len(place),
    }
    if kind == "time":
        columns["TemporalPositionIdentifier"] = (repetition + 1).tolist()
    if kind == "echoes":
        columns |= {"EchoTime": (12.0 + 80.0 * repetition).tolist(), "EchoNumbers": (repetition[:, None] + 1).tolist()}
    if kind == "directions":
        columns["DiffusionBValue"] = np.where(repetition, 1000.0, 0.0).tolist()
        columns["DiffusionGradientOrientation"] = [
            [float(np.cos(r)), float(np.sin(r)), 0.0] if r else None for r in repetition
        ]
    return columns


def _series(number: int, stacks: list[Row], singles: list[Row]) -> tuple[Row, Columns]:
    """Return one series: what its files share, and what differs."""
    rng = np.random.default_rng(number)
    patient = f"BENCH-{number // _SERIES_PER_PATIENT:07d}"
    study, uid = (f"2.25.{number // k}.{k}" for k in (_SERIES_PER_PATIENT, 1))
    folder = f"{patient}/{number % _SERIES_PER_PATIENT}"
    if rng.random() < _SINGLE_SHARE:
        template = singles[rng.integers(len(singles))]
        columns: Columns = {"InstanceNumber": [1]}
    else:
        kind = str(rng.choice(_KINDS, p=_SHARES))
        modality = _ONLY.get(kind) or str(rng.choice(_MODALITIES, p=_MODALITY_SHARES))
        fitting = [row for row in stacks if row["Modality"] == modality]
        template = fitting[rng.integers(len(fitting))]
        columns = _places(rng, kind, int(rng.integers(30, 301)))
    count = len(columns["InstanceNumber"])
    names = [f"{uid}.{i}" for i in range(1, count + 1)]
    if count > 2 and columns["ImagePositionPatient"][-1] == columns["ImagePositionPatient"][1]:  # copies
        names[-2:] = names[:2]
        columns["InstanceNumber"][-2:] = [1, 2]
    paths = [f"{folder}/IM{i:05d}.dcm" for i in range(count)]
    columns |= {
        "path": paths,
        "path_raw": [path.encode() for path in paths],
        "size": [int(template["size"]) + 2 * (i % 7) for i in range(count)],
        "instance_key": [key_of(name) for name in names],
    }
    shared = template | {"modified": 0}
    if template["format"] == "dicom":
        columns["SOPInstanceUID"] = names
        shared |= {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": uid}
        shared["series_key"] = key_of(patient, study, uid)
    else:
        shared["series_key"] = columns["instance_key"][0]
        del columns["InstanceNumber"]
    return shared, columns


def _table(shared: Row, columns: Columns, count: int) -> pa.Table:
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.repeat(pa.scalar(shared.get(field.name), field.type), count)
        for field in _LAYOUT
    ]
    return pa.table(arrays, schema=_LAYOUT)


def _tables(rows: int, source: str, stacks: list[Row], singles: list[Row]) -> Iterator[pa.Table]:
    """Yield tables of whole series, as their folders are listed, and of files that are no images."""
    left, number = rows, 0
    while left:
        shared, columns = _series(number, stacks, singles)
        made = _table(shared | {"source": source}, columns, len(columns["path"])).slice(0, left)
        yield made
        left, number = left - made.num_rows, number + 1
        others = min(left, round(_NO_IMAGE * made.num_rows))
        if others:
            paths = [f"{columns['path'][0]}.{i}.txt" for i in range(others)]
            row = {"size": 10, "modified": 0, "status": Status.NOT_IMAGING, "is_image": False}
            listed = {"path": paths, "path_raw": [p.encode() for p in paths]}
            yield _table(row | {"source": source, "reason": "not_dicom_or_nifti"}, listed, others)
            left -= others


def _shards(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    kept: list[pa.Table] = []
    for table in tables:
        kept.append(table)
        while sum(t.num_rows for t in kept) >= _SHARD:
            whole = pa.concat_tables(kept)
            yield whole.slice(0, _SHARD)
            kept = [whole.slice(_SHARD)]
    if any(t.num_rows for t in kept):
        yield pa.concat_tables(kept)


def make(out: Path, rows: int) -> None:
    """Write a run folder in which `scan` is committed with so many rows; the files themselves are not there."""
    out.mkdir(parents=True, exist_ok=True)
    run = RunFolder(out)
    with tempfile.TemporaryDirectory() as folder:
        stacks, singles = _templates(Path(folder) / "images")
    artefacts, status, images = [], Counter(), 0
    for number, table in enumerate(_shards(_tables(rows, str(out.resolve()), stacks, singles))):
        artefacts.append(run.write_table(run.part_name("files", number, rows), table))
        status.update(table["status"].to_pylist())
        images += sum(table["is_image"].to_pylist())
    run.write_json("run.json", {"format_version": 1, "config": Config().as_dict(), "stages": {}})
    run.commit("scan", str(rows), artefacts, {"objects": rows, "images": images, "status": dict(status)})


# -- measuring ---------------------------------------------------------------------------------------------


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _usage() -> tuple[float, float]:
    return time.process_time(), _peak_mb()


def measure(out: Path, workers: int) -> Row:
    """Assemble on a local cluster and return what it took."""
    config = Config()
    with connect(ClusterOptions(scheduler="local", workers=workers)) as client:
        assert client is not None
        before, base = client.run(_usage), _peak_mb()
        start, cpu = time.perf_counter(), time.process_time()
        record = assemble(RunFolder(out), config)
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        after = client.run(_usage)
    return {
        "rows": record["counts"]["rows"],
        "series": record["counts"]["series"],
        "volumes": record["counts"]["volumes"],
        "regular": record["counts"]["regular"],
        "seconds": seconds,
        "client_cpu": cpu,
        "worker_cpu": sum(after[w][0] - before[w][0] for w in after),
        "client_base_mb": base,
        "client_mb": _peak_mb(),
        "worker_mb": max(peak for _, peak in after.values()),
    }


def _in_process_of_its_own(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Measure every size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000], help="header rows (default: 100000)")
    parser.add_argument("--workers", type=int, default=2, help="processes of the local cluster (default: 2)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep the run folders there, and use those kept")
    parser.add_argument("--step", choices=("make", "measure"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step == "make":
        return make(options.keep, options.rows[0])
    if options.step == "measure":
        return print(json.dumps(measure(options.keep, options.workers)))
    print(f"{datetime.date.today()}: {options.workers} workers of {os.cpu_count()} cores; Python", end=" ")
    print(f"{platform.python_version()}, dask {dask.__version__}, pyarrow {pa.__version__}", end="\n\n")
    print("| rows | series | volumes | wall s | rows/s | CPU s, workers | CPU s, client | client peak MB (growth) "
          "| worker peak MB |\n|---|---|---|---|---|---|---|---|---|")  # fmt: skip
    with tempfile.TemporaryDirectory() as made:
        for rows in options.rows:
            out = (options.keep or Path(made)) / str(rows)
            if not (out / "run.json").exists():
                _in_process_of_its_own("--step", "make", "--keep", str(out), "--rows", str(rows))
            (out / "stages" / "assemble.json").unlink(missing_ok=True)
            step = ("--step", "measure", "--keep", str(out), "--workers", str(options.workers))
            f = json.loads(_in_process_of_its_own(*step))
            print(
                f"| {rows:,} | {f['series']:,} | {f['volumes']:,} | {f['seconds']:.1f} | {rows / f['seconds']:,.0f} "
                f"| {f['worker_cpu']:.1f} | {f['client_cpu']:.1f} "
                f"| {f['client_mb']:.0f} ({f['client_mb'] - f['client_base_mb']:.0f}) | {f['worker_mb']:.0f} |",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
