"""Stage `scan`: list the source, read every header, write one row per object.

A manifest of shards goes to Parquet first; a Dask bag of shard numbers maps header parsing over it. Each task
reads its shard of the manifest, parses, writes its part of `files/` and returns counters alone.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from cohort.cluster import Step, completed, ignore
from cohort.config import MIB
from cohort.errors import ConservationError, SourceError
from cohort.schema import FILES, MANIFEST, Status
from cohort.sources import ObjectRef, open_source, printable
from cohort.store import Artefact, inputs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.readers import Row
    from cohort.sources import Source
    from cohort.store import RunFolder

_FIRST_SHARD = 64  # objects; shards double every `_GROWTH` of them up to `shard_size`
_GROWTH = 8
_VANISHED = (2, 20)  # ENOENT, ENOTDIR


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
    manifest = [_write_shard(run, number, shard) for number, shard in enumerate(_shards(sources, config, progress))]
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
    return run.commit("scan", inputs, artefacts, counts, extra={"sources": [source.root for source in sources]})


# -- listing -----------------------------------------------------------------------------------------------


def _shards(sources: Sequence[Source], config: Config, progress: Progress) -> Iterator[list[tuple[str, ObjectRef]]]:
    """Cut the listing into shards that depend on it alone, not on how many workers there are."""
    shard: list[tuple[str, ObjectRef]] = []
    number = listed = 0
    for source in sources:
        for ref in source.list():
            shard.append((source.root, ref))
            if len(shard) == min(config.scan.shard_size, _FIRST_SHARD << min(number // _GROWTH, 30)):
                yield shard
                listed, number, shard = listed + len(shard), number + 1, []
                progress(Step("list", listed, listed, "objects"))
    if shard:
        yield shard


def _write_shard(run: RunFolder, number: int, shard: list[tuple[str, ObjectRef]]) -> Artefact:
    import pyarrow as pa

    refs = [ref for _, ref in shard]
    columns = {
        "source": [root for root, _ in shard],
        "path": [printable(ref.path) for ref in refs],
        "path_raw": [ref.path for ref in refs],
        "size": [ref.size for ref in refs],
        "modified": [ref.modified for ref in refs],
        "problem": [ref.problem for ref in refs],
        "shard": [number] * len(refs),
    }
    table = pa.table(columns, schema=MANIFEST.arrow())
    inputs = [
        columns["source"],
        [ref.path.hex() for ref in refs],
        columns["size"],
        columns["modified"],
        columns["problem"],
    ]
    name = run.part_name("manifest", number, inputs)
    return run.existing_part(name) or run.write_table(name, table)


# -- reading -----------------------------------------------------------------------------------------------


def _read_shards(
    run: RunFolder, manifest: list[Artefact], config: Config, progress: Progress
) -> list[tuple[Artefact, dict[str, Any]]]:
    import dask.bag

    numbers = range(len(manifest))
    bag = dask.bag.from_sequence(numbers, npartitions=len(manifest))
    names = [artefact.path for artefact in manifest]
    bag = bag.map_partitions(partial(_read_partition, run=run, names=names, config=config))
    total = sum(artefact.rows or 0 for artefact in manifest)
    done = n_bytes = 0
    parts = []
    progress(Step("scan", 0, total, "files"))
    for number, artefact, counts in completed(bag):
        parts.append((number, artefact, counts))
        done, n_bytes = done + (artefact.rows or 0), n_bytes + counts["bytes"]
        progress(Step("scan", done, total, "files", n_bytes))
    parts.sort(key=lambda part: part[0])
    return [(artefact, counts) for _, artefact, counts in parts]


def _read_partition(
    numbers: Iterable[int], *, run: RunFolder, names: list[str], config: Config
) -> list[tuple[int, Artefact, dict[str, Any]]]:
    return [(number, *_read_shard(run, number, names[number], config)) for number in numbers]


def _read_shard(run: RunFolder, number: int, manifest_name: str, config: Config) -> tuple[Artefact, dict[str, Any]]:
    """Read one shard of the manifest and write its part of `files/`, unless an earlier run did."""
    import pyarrow.parquet as pq

    inputs = inputs_of(manifest_name, config.as_dict()["scan"], dict(config.modality))
    name = run.part_name("files", number, inputs)
    artefact = run.existing_part(name)
    if artefact is not None:
        table = pq.read_table(run.path / name, columns=["size", "status", "reason", "format", "is_image"])
        return artefact, _counts(table)
    table = _parse_shard(pq.read_table(run.path / manifest_name).to_pylist(), config)
    return run.write_table(name, table), _counts(table)


def _parse_shard(objects: list[dict[str, Any]], config: Config) -> pa.Table:
    import pyarrow as pa

    from cohort.readers import forget, without_warnings

    columns: dict[str, list[Any]] = {name: [] for name in FILES.names}
    with without_warnings():
        for entry in objects:
            row = _row(entry, config)
            for name, values in columns.items():
                values.append(row.get(name))
    forget()
    if len(columns["path"]) != len(objects):
        raise ConservationError("a shard lost rows")
    schema = FILES.arrow()
    try:
        return pa.table(columns, schema=schema)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        # One value that no column can hold must not cost the shard: its row says so, the others stay.
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return pa.concat_tables([_one_row(row, schema) for row in rows])


def _one_row(row: Row, schema: pa.Schema) -> pa.Table:
    """Return one row as a table; where a value does not fit its column, what was listed and the reason."""
    import pyarrow as pa

    try:
        return pa.table({name: [value] for name, value in row.items()}, schema=schema)
    except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
        kept = {name: row[name] for name in ("source", "path", "path_raw", "size", "modified", "format")}
        kept |= {"status": Status.REJECTED, "reason": "value_out_of_range", "is_image": False}
        return pa.table({name: [kept.get(name)] for name in schema.names}, schema=schema)


def _row(entry: dict[str, Any], config: Config) -> Row:
    """Read one object; whatever happens becomes a row."""
    listed = {name: entry[name] for name in ("source", "path", "path_raw", "size", "modified")}
    try:
        found = _found(entry, config)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # also a panic of a decoder written in Rust, or StopIteration, which ends a bag
        found = {
            "status": Status.REJECTED,
            "reason": f"unparsable_header: {type(error).__name__}",
            "is_image": False,
        }
    return listed | found


def _found(entry: dict[str, Any], config: Config) -> Row:
    if entry["problem"] == "not_regular_file":
        return {"status": Status.REJECTED, "reason": "not_regular_file", "is_image": False}
    if entry["problem"] is not None:
        return {"status": Status.UNREADABLE, "reason": entry["problem"], "is_image": False}
    from cohort.readers import read_header

    source = open_source(entry["source"])
    path: bytes = entry["path_raw"]
    try:
        with source.open(path) as file:
            row = read_header(
                file,
                entry["size"],
                os.fsdecode(os.path.basename(path)),
                neighbour=partial(_neighbour, source, os.path.dirname(path)),
                gzip_limit=config.scan.gzip_limit_mib * MIB,
                header_limit=config.scan.header_limit_mib * MIB,
                element_limit=config.scan.element_limit,
            )
    except OSError as error:
        if error.errno in _VANISHED:
            return {"status": Status.VANISHED, "reason": "vanished", "is_image": False}
        return {
            "status": Status.UNREADABLE,
            "reason": os.strerror(error.errno) if error.errno else "EIO",
            "is_image": False,
        }
    if row.get("format") == "nifti" and row.get("is_image") and not row.get("Modality"):
        row["Modality"] = _configured_modality(entry["path"], config)
    return row


def _neighbour(source: Source, folder: bytes, name: str, limit: int) -> bytes | None:
    try:
        with source.open(os.path.join(folder, os.fsencode(name))) as file:
            return file.read(limit)
    except OSError:
        return None


def _configured_modality(path: str, config: Config) -> str:
    from fnmatch import fnmatchcase

    return next((value for glob, value in config.modality.items() if fnmatchcase(path, glob)), "unknown")


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


def _totals(manifest: list[Artefact], parts: list[tuple[Artefact, dict[str, Any]]]) -> dict[str, Any]:
    """Add up the counters and hold them against what was listed."""
    totals: dict[str, Any] = {
        "objects": 0,
        "bytes": 0,
        "status": Counter(),
        "reasons": Counter(),
        "formats": Counter(),
        "images": 0,
    }
    for _, counts in parts:
        for key, value in counts.items():
            totals[key] += Counter(value) if isinstance(value, dict) else value
    listed = sum(artefact.rows or 0 for artefact in manifest)
    if not listed == totals["objects"] == sum(totals["status"].values()):
        raise ConservationError(
            f"{listed} objects were listed, but {totals['objects']} rows written; please report this"
        )
    return {key: dict(sorted(value.items())) if isinstance(value, Counter) else value for key, value in totals.items()}
