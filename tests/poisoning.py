"""Cohorts with images on which a decoder crashes, hangs or eats memory."""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from hostile_pixels import RLE, compressed, items, rle, run

import cohort
from cohort import isolation, pipeline
from cohort.config import ClusterOptions, Config, IngestOptions

POISON = Path(__file__).parent / "faults" / "poison"
KINDS = {101: "crash", 103: "memory", 105: "timeout", 107: "memory"}  # by columns, as in poison/sitecustomize.py


class Cost(NamedTuple):
    """What one run cost, its children included."""

    cpu: float
    wall: float


class Poisoned(NamedTuple):
    """What became of good images with and without poisonous ones among them."""

    statuses: Counter[str]
    reasons: Counter[str]
    wrong: str
    clean: Cost
    poisoned: Cost


def write_image(folder: Path, number: int, columns: int) -> None:
    """Write one image; by its columns it is poison or not."""
    pixels = items(rle((run(16 * columns),)))
    (folder / f"{number:05d}.dcm").write_bytes(compressed(RLE, pixels, columns=columns, number=number))


def make_images(folder: Path, good: int, poison: tuple[int, ...]) -> None:
    """So many good images, with the poisonous ones spread among them."""
    folder.mkdir()
    for number in range(good):
        write_image(folder, number, 24 + number % 50)
    for place, columns in enumerate(poison):
        write_image(folder, 90_000 + place, columns)
        (folder / f"{90_000 + place:05d}.dcm").rename(folder / f"{place * good // len(poison):05d}-{columns}.dcm")


def config(scheduler: str, workers: int | None = None) -> Config:
    """Options under which a misbehaving decoder is given up soon."""
    return Config(
        cluster=ClusterOptions(scheduler=scheduler, workers=workers),
        ingest=IngestOptions(decode_seconds=1, decode_memory_mib=256, batch_mib=8),
    )


def outcomes(out: Path) -> pd.DataFrame:
    """What became of every volume."""
    return cohort.open(out).volumes.set_index("volume_id")[["columns", "status", "reason", "content_sha256"]]


def poison(folder: Path, files: int) -> Poisoned:
    """Run over good images, and over the same with five of each kind of poison among them."""
    five = tuple(columns for columns in (101, 103, 105) for _ in range(5))
    make_images(folder / "clean", files - len(five), ())
    make_images(folder / "poisoned", files - len(five), five)
    clean = _timed(folder / "clean", folder / "clean-out")
    with pytest.MonkeyPatch.context() as struck:
        struck.setenv("PYTHONPATH", str(POISON))
        struck.setenv("POISON_LOG", str(folder / "log"))
        isolation.close_idle()
        poisoned = _timed(folder / "poisoned", folder / "poisoned-out")
        isolation.close_idle()
    found, expected = outcomes(folder / "poisoned-out"), outcomes(folder / "clean-out")
    good, bad = found[found.status == "ok"], found[found.status == "quarantined"]
    wrong = ""
    if not good.sort_index().equals(expected.sort_index()):
        wrong = "the good images are not what they are without the poison"
    elif [KINDS[int(columns)] for columns in bad["columns"]] != list(bad.reason):
        wrong = "a reason is another one"
    elif (len(good), len(bad)) != (files - len(five), len(five)):
        wrong = "an image is lost"
    return Poisoned(Counter(found.status), Counter(bad.reason), wrong, clean, poisoned)


def _timed(images: Path, out: Path) -> Cost:
    began, before = time.perf_counter(), _cpu()
    pipeline.run([str(images)], out, config("sync"))
    isolation.close_idle()  # only the time of children that have ended is known
    return Cost(_cpu() - before, time.perf_counter() - began)


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
