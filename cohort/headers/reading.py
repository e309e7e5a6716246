"""From the objects of one shard to rows of `files`."""

from __future__ import annotations

import errno
import gc
import os
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from cohort.config import MIB
from cohort.errors import ConservationError, SourceError
from cohort.schema import Status
from cohort.sources import INSIDE, damage_of, open_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow as pa

    from cohort.config import Config
    from cohort.readers import Row
    from cohort.schema import Table
    from cohort.sources import Source

Entry = dict[str, Any]
"""A row of the manifest."""

_LISTED = ("source", "path", "path_raw", "size", "modified")
_AHEAD = 32  # files opened before they are read: a disk serves many requests in the time of a few
_COLLECTED = (100_000, 20, 20)  # containers made before the collector looks for cycles; what pydicom reads has some
_MOST_CHARACTERS = 64 << 20  # of whole headers held in memory
_VANISHED = (errno.ENOENT, errno.ENOTDIR)


def parse_shard(objects: pa.Table, files: Table, config: Config) -> Iterator[pa.Table]:
    """Yield the rows of one shard, in one table unless whole headers make it too large for the memory.

    Parameters
    ----------
    objects : pa.Table
        A part of the manifest.
    files : Table
        Layout of the rows.
    config : Config
        Sections `scan` and `modality` are used.
    """
    import pyarrow as pa

    from cohort.readers import forget, without_warnings

    listed, characters = objects.select(_LISTED), 0
    modified = objects["modified"].cast(pa.int64())  # as a time it would cost more than to read a header
    entries = objects.set_column(objects.column_names.index("modified"), "modified", modified).to_pylist()
    found = _Columns(files, listed)
    with without_warnings(), _seldom_collected():
        for row in rows_of(entries, config):
            found.add(row)
            characters += len(row.get("header_json") or "")
            if characters > _MOST_CHARACTERS:
                yield found.table()
                listed, characters = listed.slice(found.count), 0
                found = _Columns(files, listed)
        if found.count != listed.num_rows:
            raise ConservationError("a shard lost rows")
        yield found.table()
    forget()


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Let the collector of cycles look on less often: rows hold none, and to search them costs a tenth of a scan."""
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECTED)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Columns:
    """Rows taken apart as they come: a row has a third of the columns, and thousands of rows would fill the memory.

    Parameters
    ----------
    files : Table
        Layout of the rows.
    listed : pa.Table
        What was listed of the objects.
    """

    def __init__(self, files: Table, listed: pa.Table) -> None:
        self.count = 0
        self._files, self._listed = files, listed
        self._values: dict[str, list[Any]] = {
            name: [None] * listed.num_rows for name in files.names if name not in _LISTED
        }

    def add(self, row: Row) -> None:
        """Add what was read of the next object."""
        values, number = self._values, self.count
        for name, value in row.items():
            values[name][number] = value
        self.count += 1

    def table(self) -> pa.Table:
        """Put what was listed and what was read of the objects so far beside each other."""
        return self._table(0, self.count)

    def _table(self, start: int, stop: int) -> pa.Table:
        import pyarrow as pa

        columns: dict[str, Any] = {name: self._listed[name].slice(start, stop - start) for name in _LISTED}
        columns |= {name: values[start:stop] for name, values in self._values.items()}
        try:
            return pa.table(columns, schema=self._files.arrow())
        except (pa.ArrowException, OverflowError, UnicodeError, ValueError, TypeError):
            if stop - start > 1:  # one value that no column can hold must not cost the shard
                return pa.concat_tables([self._table(number, number + 1) for number in range(start, stop)])
            kept = {"status": Status.REJECTED, "reason": "value_out_of_range", "is_image": False}
            for name, values in self._values.items():
                if name != "format":
                    values[start] = kept.get(name)
            return self._table(start, stop)


def rows_of(entries: Iterable[Entry], config: Config) -> Iterator[Row]:
    """Yield a row for every object, in order, whatever happens."""
    return _Reader(config).rows(entries)


class _Reader:
    """Reads objects, one row each."""

    def __init__(self, config: Config) -> None:
        from cohort.readers import extra_columns, read_header

        scan = config.scan
        self._config = config
        self._sources: dict[str, Source] = {}
        self._read_header = partial(
            read_header,
            gzip_limit=scan.gzip_limit_mib * MIB,
            header_limit=scan.header_limit_mib * MIB,
            element_limit=scan.element_limit,
            extra=extra_columns(scan.extra_tags),
            all_headers=scan.all_headers,
        )

    def rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        """Yield the rows of objects, in order; files are opened a little ahead."""
        waiting: deque[tuple[Entry, BinaryIO | Exception | None]] = deque()
        for entry in entries:
            waiting.append((entry, self._opened(entry)))
            if len(waiting) > _AHEAD:
                yield self._row(*waiting.popleft())
        while waiting:
            yield self._row(*waiting.popleft())

    def _opened(self, entry: Entry) -> BinaryIO | Exception | None:
        """Open a file; None for a member of an archive, which is opened in its turn, and for what is not opened."""
        if entry["problem"] is not None or INSIDE in entry["path_raw"]:
            return None
        try:
            return self._source(entry).open(entry["path_raw"])
        except Exception as error:
            return error

    def _source(self, entry: Entry) -> Source:
        root = entry["source"]
        source = self._sources.get(root)
        if source is None:
            source = self._sources[root] = open_source(root)
        return source

    def _row(self, entry: Entry, opened: BinaryIO | Exception | None) -> Row:
        try:
            return self._found(entry, opened)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # also a panic of a decoder in Rust, or StopIteration, which ends a bag
            return _rejected(f"unparsable_header: {type(error).__name__}")

    def _found(self, entry: Entry, opened: BinaryIO | Exception | None) -> Row:
        if entry["problem"] is not None:
            return {"status": _status_of(entry["problem"]), "reason": entry["problem"], "is_image": False}
        try:
            if isinstance(opened, Exception):
                raise opened
            with opened or self._source(entry).open(entry["path_raw"]) as file:
                row = self._read(entry, file)
                if _has_changed(entry, file):  # what was read is of no one state of it
                    return {"status": Status.CHANGED, "reason": "changed", "is_image": False}
        except SourceError:  # the root itself is gone
            return _vanished()
        except OSError as error:
            if error.errno in _VANISHED:
                return _vanished()
            reason = os.strerror(error.errno) if error.errno else "EIO"
            return {"status": Status.UNREADABLE, "reason": reason, "is_image": False}
        if row.get("format") == "nifti" and row.get("is_image") and not row.get("Modality"):
            row["Modality"] = _configured_modality(entry["path"], self._config)
            row["modality_source"] = None if row["Modality"] == "unknown" else "configuration"
        return row

    def _read(self, entry: Entry, file: BinaryIO) -> Row:
        folder, _, name = entry["path_raw"].rpartition(b"/")
        neighbour = partial(_neighbour, self._source(entry), folder)
        row: Row = {}
        try:
            row = self._read_header(file, entry["size"], os.fsdecode(name), neighbour=neighbour)
        except OSError:
            if damage_of(file) is None:
                raise
        damage = damage_of(file)  # a reader may have made something else of it
        return row if damage is None else _rejected(damage) | {"format": row.get("format")}


def _has_changed(entry: Entry, file: BinaryIO) -> bool:
    """Tell whether a file on a disk is not as it was listed; where there is no file, other means tell."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns) != (entry["size"], entry["modified"])


def _rejected(reason: str) -> Row:
    return {"status": Status.REJECTED, "reason": reason, "is_image": False}


def _vanished() -> Row:
    return {"status": Status.VANISHED, "reason": "vanished", "is_image": False}


def _status_of(problem: str) -> Status:
    """Return what becomes of an object that is not opened."""
    if problem == "archive":  # its members have rows of their own
        return Status.NOT_IMAGING
    if problem == "vanished":
        return Status.VANISHED
    return Status.UNREADABLE if problem in errno.errorcode.values() else Status.REJECTED


def _neighbour(source: Source, folder: bytes, name: str, limit: int) -> bytes | None:
    try:
        with source.open(os.path.join(folder, os.fsencode(name))) as file:
            return file.read(limit)
    except OSError:
        return None


def _configured_modality(path: str, config: Config) -> str:
    from fnmatch import fnmatchcase

    return next((value for glob, value in config.modality.items() if fnmatchcase(path, glob)), "unknown")
