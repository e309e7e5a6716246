"""Read objects as a scan does, each in a process of its own, and tell what became of it and what it cost.

Paths come by line on standard input, answers go by line to standard output. Every object is read by a fork, which
begins with what Python and the imports take: the peak it reports holds them too. With `--pixels` it goes on to the
frames of the object, one after the other, and tells what they cost beside.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import traceback
from pathlib import Path
from typing import Any

from cohort.config import Config, IngestOptions
from cohort.errors import RejectedError
from cohort.headers.reading import rows_of
from cohort.ingest.frames import VolumeFrames
from cohort.readers import dicom_codestream, dicom_mosaic, dicom_pixels, dicom_walker, nifti, without_warnings
from cohort.schema import FILES, FRAMES, VOLUMES, Status
from cohort.values import plan_values
from cohort.volumes.dicom_volumes import assemble_series
from cohort.volumes.nifti_volumes import assemble_image

_IMPORTED = (dicom_walker, dicom_codestream, dicom_mosaic, dicom_pixels, nifti)
_FRAMES = 100  # of a volume that are read: a bomb is one in its first
_SECONDS = 20  # of CPU time; then the fork is killed
_ADDRESSES = 4 << 30


def main() -> None:
    for line in sys.stdin:
        path = Path(line.rstrip("\n"))
        child = os.fork()
        if not child:
            try:
                print(json.dumps(answer(path)), flush=True)  # noqa: T201
                os._exit(0)
            except Exception:
                traceback.print_exc()
            finally:
                os._exit(1)
        status = os.waitpid(child, 0)[1]
        if status:
            print(json.dumps({"outcome": f"died of {status}"}), flush=True)  # noqa: T201


def answer(path: Path) -> dict[str, object]:
    resource.setrlimit(resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
    name, found = path.name, path.stat()
    entry = {"source": str(path.parent), "path": name, "path_raw": name.encode()}
    entry |= {"size": found.st_size, "modified": found.st_mtime_ns}
    before = seconds()
    with without_warnings():
        row = next(rows_of([entry | {"problem": None}], Config()))
    outcome = ": ".join(str(row[part]) for part in ("status", "reason") if row.get(part))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # KiB to MiB
    told: dict[str, object] = {"outcome": outcome, "seconds": seconds() - before, "peak_mib": peak}
    if "--pixels" in sys.argv and row["status"] == Status.OK and row["is_image"]:
        before = seconds()
        with without_warnings():
            told["pixels"] = read_pixels(dict.fromkeys(FILES.names) | entry | row)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        told |= {"pixel_seconds": seconds() - before, "pixel_peak_mib": peak}
    return told


def read_pixels(row: dict[str, Any]) -> str:
    """Read frames in this process, as `ingest` does without isolation; tell whether they were refused."""
    volumes, frames = (assemble_image if row["format"] == "nifti" else assemble_series)([row])
    volume, config = dict.fromkeys(VOLUMES.names) | volumes[0], Config(ingest=IngestOptions(isolate=False))
    if volume["status"] != Status.OK or volume["reason"]:
        return "rejected"
    frames = [dict.fromkeys(FRAMES.names) | row | frame for frame in frames]
    try:
        with VolumeFrames(volume, frames, config) as stack:
            plan = plan_values(stack.first(), frames, volume)
            for z in range(min(volume["slices"], _FRAMES)):
                stack.slab(0, z, z + 1, plan)
    except RejectedError:
        return "rejected"
    return "ok"


def seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


main()
