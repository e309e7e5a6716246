"""The shuffle: rows of `files` come together by series, through files on the disk.

A task scatters a run of parts: it writes their rows to one file, a batch for each bucket. The task that assembles a
bucket gathers its batches from all those files. Buckets cut the range of series keys, so the order of series does not
depend on how many buckets there are. Neither client nor scheduler sees a row: to them a bucket is a number.
"""

from __future__ import annotations

import json
import math
from functools import cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from cohort.cluster import Step, completed
from cohort.schema import FILES, KEY_ATTRIBUTES
from cohort.store import footer_of, open_batches, open_part
from cohort.volumes.frames import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa

    from cohort.cluster import Progress
    from cohort.places import Place
    from cohort.store import RunFolder

Row = dict[str, Any]

_KEY_DIGITS = 8  # hex digits of the series key that choose its bucket
_NAMES = list(dict.fromkeys((*COLUMNS, *KEY_ATTRIBUTES)))
_POSITIONS = "frame_ImagePositionPatient.list.element"  # its values are three for each frame of a multi-frame object


def count_buckets(run: RunFolder, bucket_rows: int) -> int:
    """Return how many buckets of about so many frames the parts of `files` make; their footers tell."""
    frames, place = 0, None
    for part in run.parts("files"):
        footer = footer_of(part)
        if place is None:
            place = next(i for i in range(footer.num_columns) if footer.schema.column(i).path == _POSITIONS)
        values = sum(footer.row_group(i).column(place).num_values for i in range(footer.num_row_groups))
        frames += max(footer.num_rows, values // 3)
    return max(1, math.ceil(frames / bucket_rows))


# -- scatter -----------------------------------------------------------------------------------------------


def scatter(run: RunFolder, scratch: str, buckets: int, progress: Progress) -> int:
    """Scatter the rows of `files` over buckets.

    Parameters
    ----------
    run : RunFolder
        Its committed parts of `files` are read.
    scratch : str
        Folder below OUT for the scattered files.
    buckets : int
        Number of buckets; one needs no shuffle.
    progress : Progress
        Told of every file.

    Returns
    -------
    int
        Number of scattered files, 0 where the parts of `files` are the one bucket as they are.
    """
    if buckets == 1:
        return 0
    parts = run.parts("files")
    files = min(buckets, len(parts))
    runs = [(i, parts[i * len(parts) // files : (i + 1) * len(parts) // files]) for i in range(files)]
    task = partial(_scatter, run=run, scratch=scratch, buckets=buckets)
    for done, _ in enumerate(completed(runs, task), 1):
        progress(Step("shuffle", done, files, "files"))
    return files


def _scatter(some: tuple[int, list[Place]], *, run: RunFolder, scratch: str, buckets: int) -> None:
    number, parts = some
    run.write_scratch(_name(scratch, number), partial(_scatter_run, parts=parts, buckets=buckets))


def _name(scratch: str, number: int) -> str:
    return f"{scratch}/rows-{number:05d}.arrow"


def _scatter_run(path: Path, *, parts: list[Place], buckets: int) -> None:
    """Write the rows of some parts to one file: batches of one bucket each; the schema says of which."""
    import numpy as np
    import pyarrow as pa

    table = pa.concat_tables([_images(part) for part in parts]).combine_chunks()
    keys = table["series_key"].to_pylist()
    chosen = np.array([int(key[:_KEY_DIGITS], 16) * buckets >> 4 * _KEY_DIGITS for key in keys], dtype=np.int64)
    present = np.unique(chosen).tolist()
    batches = [(b, batch) for b in present for batch in table.take(np.flatnonzero(chosen == b)).to_batches()]
    layout = table.schema.with_metadata({"buckets": json.dumps([bucket for bucket, _ in batches])})
    with pa.ipc.new_file(str(path), layout, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        for _, batch in batches:
            writer.write_batch(batch)


def _images(part: Place) -> pa.Table:
    """Read what assembling needs of the objects that belong to a series."""
    table = open_part(part).read(columns=_NAMES, use_threads=False)
    return table.filter(table["series_key"].is_valid()).select(_NAMES).cast(_layout())


@cache
def _layout() -> pa.Schema:
    """Return the schema of the rows, without the descriptions that every batch would carry."""
    import pyarrow as pa

    return pa.schema([pa.field(field.name, field.type) for field in FILES.arrow(_NAMES)])


# -- gather ------------------------------------------------------------------------------------------------


def gather(run: RunFolder, scratch: str, files: int, bucket: int) -> pa.Table:
    """Return the rows of one bucket, series after series, as listed within a series.

    Parameters
    ----------
    run : RunFolder
        The run.
    scratch : str
        Folder of the scattered files.
    files : int
        What `scatter` returned.
    bucket : int
        Number of the bucket.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if files == 0:
        tables = [_images(part) for part in run.parts("files")]
    else:
        tables = [t for number in range(files) for t in _scattered(run.path / _name(scratch, number), bucket)]
    table = pa.concat_tables([_layout().empty_table(), *tables]).combine_chunks()
    return table.take(pc.sort_indices(table["series_key"]))  # stable


def _scattered(path: Place, bucket: int) -> Iterator[pa.Table]:
    import pyarrow as pa

    with open_batches(path) as file:
        for i, owner in enumerate(json.loads(file.schema.metadata[b"buckets"])):
            if owner == bucket:
                yield pa.Table.from_batches([file.get_batch(i)]).replace_schema_metadata(None)


def rows_by_series(table: pa.Table) -> Iterator[list[Row]]:
    """Yield the rows of each series of a gathered table; only one series is in memory as rows."""
    import numpy as np

    keys = np.array(table["series_key"].to_pylist(), dtype=object)
    cuts = (1 + np.flatnonzero(keys[1:] != keys[:-1])).tolist()
    for start, stop in pairwise([0, *cuts, len(keys)] if len(keys) else []):
        yield _rows(table.slice(start, stop - start))


def _rows(table: pa.Table) -> list[Row]:
    """Return a table as rows; columns that are null throughout, most of them, are not converted one by one."""
    empty: Row = {}
    names, columns = [], []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count == len(column):
            empty[name] = None
        else:
            names.append(name)
            columns.append(column.to_pylist())
    return [empty | dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
