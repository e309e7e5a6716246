"""The listing of the sources, cut into shards: the manifest."""

from __future__ import annotations

import hashlib
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING

from cohort.cluster import Step
from cohort.schema import MANIFEST
from cohort.sources import INSIDE, ObjectRef, printable
from cohort.store import Artefact, read_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from cohort.cluster import Progress
    from cohort.config import Config
    from cohort.sources import Source
    from cohort.store import RunFolder

_FIRST_SHARD = 64  # objects; every second shard is four times as large as the one before, up to `shard_size`
_LARGEST_SHIFT = 30


def shards_of(
    sources: Sequence[Source], before: Before, config: Config, progress: Progress
) -> Iterator[list[tuple[str, ObjectRef]]]:
    """Cut the listing into shards that depend on it alone, not on how many workers there are."""
    shard: list[tuple[str, ObjectRef]] = []
    number = listed = 0
    for source in sources:
        for ref in source.list(partial(before.members, source.root)):
            shard.append((source.root, ref))
            if len(shard) == min(config.scan.shard_size, _FIRST_SHARD << min(number // 2 * 2, _LARGEST_SHIFT)):
                yield shard
                listed, number, shard = listed + len(shard), number + 1, []
                progress(Step("list", listed, listed, "objects"))
    if shard:
        yield shard


class Before:
    """What the last scan found in archives: those that have not changed need not be walked again.

    Parameters
    ----------
    run : RunFolder
        Whose manifest is read, where one was committed.
    listing : str
        Digest of the options of the listing; others would find something else.
    """

    def __init__(self, run: RunFolder, listing: str) -> None:
        record = run.record("scan")
        same = record is not None and (record["extra"] or {}).get("listing") == listing
        self._parts = run.parts("manifest") if same else []

    def members(self, root: str, archive: ObjectRef) -> Iterator[ObjectRef] | None:
        """Return an archive and its members as they were listed, None where it is new or has changed."""
        place = self._archives.get((root, archive.path))
        if place is None:
            return None
        rows = self._rows(root, archive.path, *place)
        first = next(rows)
        return chain([first], rows) if (first.size, first.modified) == (archive.size, archive.modified) else None

    @cached_property
    def _archives(self) -> dict[tuple[str, bytes], tuple[int, int]]:
        """Root and path of every archive -> its part and row."""
        found = {}
        for number, part in enumerate(self._parts):
            table = read_part(part, columns=["source", "path_raw", "problem"])
            for row, problem in enumerate(table["problem"].to_pylist()):
                if (
                    problem is not None
                    and problem.startswith("archive")
                    and INSIDE not in table["path_raw"][row].as_py()
                ):
                    found[table["source"][row].as_py(), table["path_raw"][row].as_py()] = number, row
        return found

    def _rows(self, root: str, archive: bytes, number: int, row: int) -> Iterator[ObjectRef]:
        """Yield the row of an archive and those of its members, which follow it."""
        import pyarrow as pa

        names = ["source", "path_raw", "size", "modified", "problem"]
        for part in self._parts[number:]:
            table = read_part(part, columns=names).slice(row)
            table = table.set_column(3, "modified", table["modified"].cast(pa.int64()))
            for source, path, *rest in zip(*(column.to_pylist() for column in table.columns), strict=True):
                if source != root or not (path == archive or path.startswith(archive + INSIDE)):
                    return
                yield ObjectRef(path, *rest)
            row = 0


def write_shard(run: RunFolder, number: int, shard: list[tuple[str, ObjectRef]]) -> Artefact:
    """Write one part of the manifest, unless an earlier run did."""
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
    inputs = _digest(table)
    name = run.part_name("manifest", number, inputs)
    return run.existing_part(name) or run.write_tables(name, table.schema, [table], plain=True)


def _digest(table: pa.Table) -> str:
    """Return the SHA-256 of what a table holds: of the buffers of its columns, which were made from lists just now."""
    found = hashlib.sha256()
    for column in table.columns:
        for chunk in column.chunks:
            for buffer in chunk.buffers():
                found.update(b"none" if buffer is None else buffer)
                found.update(b"|")
    return found.hexdigest()
