"""Stage `scan`: list the source, read every header, write one row per object.

A manifest of shards goes to Parquet first; a Dask bag of shards maps header parsing over it. Each task reads its
shard of the manifest, parses, writes its part of `files/` and returns counters alone.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from cohort.cluster import Step, completed, ignore
from cohort.errors import ConservationError, SourceError
from cohort.headers.changes import Changes, changes
from cohort.headers.listing import Before, shards_of, write_shard
from cohort.headers.reading import parse_shard
from cohort.schema import FILES, Status
from cohort.store import Artefact, inputs_of, read_part

__all__ = ["Changes", "changes", "scan"]

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.sources import Source
    from cohort.store import RunFolder


def scan(run: RunFolder, sources: Sequence[Source], config: Config, progress: Progress = ignore) -> dict[str, Any]:
    """List the sources and read every header.

    Parameters
    ----------
    run : RunFolder
        Where `manifest/` and `files/` go.
    sources : sequence of Source
        Roots to list, in order.
    config : Config
        Sections `scan` and `modality` are used.
    progress : Progress
        Told of every shard.

    Returns
    -------
    dict
        The commit record; `counts` holds objects, bytes, and rows by status and reason.

    Raises
    ------
    SourceError
        If there is nothing to list.
    ConservationError
        If rows and listed objects do not add up.
    """
    listing = inputs_of(config.as_dict()["scan"])
    shards = shards_of(sources, Before(run, listing), config, progress)
    manifest = [write_shard(run, number, shard) for number, shard in enumerate(shards)]
    if not manifest:
        roots = ", ".join(source.root for source in sources)
        raise SourceError(f"nothing to read in {roots}; check the path and the include and exclude globs")
    inputs = inputs_of(config.as_dict()["scan"], dict(config.modality), [a.as_dict() for a in manifest])
    if run.is_current("scan", inputs):
        record = run.record("scan")
        assert record is not None
        return record
    parts = _read_shards(run, manifest, config, progress)
    counts = _totals(manifest, parts)
    artefacts = manifest + [part for part, _ in parts]
    extra = {"sources": [source.root for source in sources], "listing": listing}
    return run.commit("scan", inputs, artefacts, counts, extra=extra)


def _read_shards(
    run: RunFolder, manifest: list[Artefact], config: Config, progress: Progress
) -> list[tuple[Artefact, dict[str, Any]]]:
    shards = [(number, artefact.path) for number, artefact in enumerate(manifest)]
    total = sum(artefact.rows or 0 for artefact in manifest)
    done = n_bytes = 0
    parts = []
    progress(Step("scan", 0, total, "files"))
    for number, artefact, counts in completed(shards, partial(_read_shard, run=run, config=config)):
        parts.append((number, artefact, counts))
        done, n_bytes = done + (artefact.rows or 0), n_bytes + counts["bytes"]
        progress(Step("scan", done, total, "files", n_bytes))
    parts.sort(key=lambda part: part[0])
    return [(artefact, counts) for _, artefact, counts in parts]


def _read_shard(shard: tuple[int, str], *, run: RunFolder, config: Config) -> tuple[int, Artefact, dict[str, Any]]:
    """Read one shard of the manifest and write its part of `files/`, unless an earlier run did."""
    from cohort.readers import asked_columns

    number, manifest_name = shard
    inputs = inputs_of(manifest_name, config.as_dict()["scan"], dict(config.modality))
    name = run.part_name("files", number, inputs)
    artefact = run.existing_part(name)
    if artefact is not None:
        table = read_part(run.path / name, columns=["size", "status", "reason", "format", "is_image"])
        return number, artefact, _counts(table)
    objects = read_part(run.path / manifest_name)
    files = FILES.with_columns(asked_columns(config.scan))
    counts: list[dict[str, Any]] = []

    def counted() -> Iterator[pa.Table]:
        for table in parse_shard(objects, files, config):
            counts.append(_counts(table))
            yield table

    artefact = run.write_tables(name, files.arrow(), counted(), plain=True)
    if artefact.rows != objects.num_rows:
        raise ConservationError("a shard lost rows")
    return number, artefact, _added(counts)


# -- counting ----------------------------------------------------------------------------------------------


def _counts(table: pa.Table) -> dict[str, Any]:
    """Count the rows of one part: small, mergeable, all that comes back from a task."""
    status, reason = table["status"].to_pylist(), table["reason"].to_pylist()
    formats, images = table["format"].to_pylist(), table["is_image"].to_pylist()
    sizes = table["size"].to_pylist()
    return {
        "objects": table.num_rows,
        "bytes": sum(sizes),
        "status": dict(Counter(status)),
        "reasons": dict(Counter(f"{s}: {r}" for s, r in zip(status, reason, strict=True) if s != Status.OK)),
        "formats": dict(Counter(f for f, s in zip(formats, status, strict=True) if f is not None and s == Status.OK)),
        "images": sum(bool(i) and s == Status.OK for i, s in zip(images, status, strict=True)),
    }


def _added(parts: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Add up counters."""
    totals: dict[str, Any] = {
        "objects": 0,
        "bytes": 0,
        "status": Counter(),
        "reasons": Counter(),
        "formats": Counter(),
        "images": 0,
    }
    for counts in parts:
        for key, value in counts.items():
            totals[key] += Counter(value) if isinstance(value, dict) else value
    return {key: dict(sorted(value.items())) if isinstance(value, Counter) else value for key, value in totals.items()}


def _totals(manifest: list[Artefact], parts: list[tuple[Artefact, dict[str, Any]]]) -> dict[str, Any]:
    """Add up the counters and hold them against what was listed."""
    totals = _added(counts for _, counts in parts)
    listed = sum(artefact.rows or 0 for artefact in manifest)
    if not listed == totals["objects"] == sum(totals["status"].values()):
        raise ConservationError(
            f"{listed} objects were listed, but {totals['objects']} rows written; please report this"
        )
    return totals
