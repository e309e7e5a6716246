"""Cohorts with hostile files among good ones: what is found of the good ones is what is found without the others."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pandas as pd
from bombs import bombs
from hostile_pixels import hostile

import cohort
from cohort import pipeline
from cohort.config import ClusterOptions, Config, ScanOptions
from cohort.phantom import make_series

SCHEDULERS = ("sync", "threads", "local")
SHARDS = (7, 50, 200, 500, 2000)
_MODALITIES = ("CT", "MR", "PT")
_PIXEL_PART = 2  # of the hostile files one in so many has hostile pixels, the others hostile headers


class Hostile(NamedTuple):
    """A hostile file by its path, and the statuses, of its row and of its volume, that may come of it."""

    path: str
    outcome: str
    of_pixels: bool


class Mixed(NamedTuple):
    """Files, and what was found of the good ones alone."""

    images: Path
    files: int
    hostile: list[Hostile]
    volumes: pd.DataFrame
    statistics: pd.DataFrame


def mix(folder: Path, files: int) -> Mixed:
    """Write a cohort with one hostile file in a hundred; run over the good ones first."""
    bad = max(4, files // 100)
    images = folder / "images"
    share = (files - bad) // len(_MODALITIES)
    for number, modality in enumerate(_MODALITIES):
        count = files - bad - share * (len(_MODALITIES) - 1) if not number else share
        make_series(images / modality, seed=number, modality=modality, files=count, rows=16, columns=16)
    pipeline.run([str(images)], folder / "alone", Config(cluster=ClusterOptions(scheduler="sync")))
    return Mixed(images, files, _spoil(images, bad), *_found(folder / "alone"))


def _spoil(images: Path, count: int) -> list[Hostile]:
    """Put hostile files among the good ones, some of every kind there is."""
    headers = [(name, bomb) for name, bomb in bombs().items() if bomb.outcome != "ok"]
    pixels = list(hostile().items())
    folders = sorted({path.parent for path in images.rglob("*.dcm")})
    written = []
    for number in range(count):
        folder = folders[number * len(folders) // count]
        if number % _PIXEL_PART:
            _, case = pixels[number * len(pixels) // count]
            path, content, outcome = folder / f"spoilt-{number}.dcm", case.make(number), case.outcome
        else:
            _, bomb = headers[number * len(headers) // count]
            path, content, outcome = folder / f"spoilt-{number}-{bomb.file_name}", bomb.make(), bomb.outcome
        path.write_bytes(content)
        written.append(Hostile(path.relative_to(images).as_posix(), outcome, bool(number % _PIXEL_PART)))
    return written


def difference(mixed: Mixed, out: Path, scheduler: str, shard_size: int) -> str:
    """Run over all files; return what is not as it must be, nothing where all is well."""
    pipeline.run([str(mixed.images)], out, Config(
        scan=ScanOptions(shard_size=shard_size),
        cluster=ClusterOptions(scheduler=scheduler, workers=None if scheduler == "sync" else 2),
    ))  # fmt: skip
    files = cohort.open(out).files.compute()
    expected = {path.relative_to(mixed.images).as_posix() for path in mixed.images.rglob("*") if path.is_file()}
    if len(files) != mixed.files or set(files.path) != expected:
        return f"{len(files)} rows of {mixed.files} files"
    bad = {one.path for one in mixed.hostile}
    if set(files[~files.path.isin(bad)].status) != {"ok"}:
        return "a good file is not ok"
    volumes, statistics = _found(out)
    good = mixed.volumes.index
    if not volumes.loc[volumes.index.intersection(good)].equals(mixed.volumes):
        return "the volumes of the good files are others"
    if not statistics.loc[statistics.index.intersection(good)].equals(mixed.statistics):
        return "the statistics of the good files are others"
    return _outcomes(mixed, files.set_index("path"), out)


def _outcomes(mixed: Mixed, files: pd.DataFrame, out: Path) -> str:
    """Return which hostile file did not end as it should."""
    volumes = cohort.open(out).volumes
    told = {_said(row.status, row.reason) for row in volumes.itertuples() if row.status != "ok"}
    for one in mixed.hostile:
        row = files.loc[one.path]
        found = _said(row.status, row.reason)
        if found != one.outcome and not (one.of_pixels and found == "ok" and one.outcome in told):
            return f"{one.path} is {found}, not {one.outcome}"
    return ""


def _said(status: str, reason: str | None) -> str:
    return str(status) if pd.isna(reason) else f"{status}: {reason}"


def _found(out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the volumes and what was counted of each, by volume."""
    tables = (out / "volumes.parquet", out / "statistics" / "volumes.parquet")
    volumes, counted = (  # types that nulls do not change
        pd.read_parquet(table, dtype_backend="numpy_nullable").set_index("volume_id").sort_index() for table in tables
    )
    return volumes, counted
