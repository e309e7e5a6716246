"""Parquet files below OUT, opened wherever they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohort.schema import PARTIALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq

    from cohort.places import Place


def open_part(part: Place) -> pq.ParquetFile:
    """Open one Parquet file; what is read of it later is asked for by ranges."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(_opened(part), pre_buffer=isinstance(part, Path))


def footer_of(part: Place) -> pq.FileMetaData:
    """Return the footer of one Parquet file."""
    import pyarrow.parquet as pq

    return pq.read_metadata(_opened(part))


def read_part(part: Place, columns: Sequence[str] | None = None, filters: Any = None) -> pa.Table:
    """Read one Parquet file, or some of its columns and rows.

    Parameters
    ----------
    part : Place
        Its place.
    columns : sequence of str, optional
        Which columns.
    filters : list of tuple or pyarrow.compute.Expression, optional
        Which rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    named = None if columns is None else list(columns)
    if isinstance(part, Path):
        return pq.read_table(part, columns=named, filters=filters, partitioning=None)
    if named is not None and filters is None:
        return open_part(part).read(columns=named, use_threads=False)
    # Not as a file of Python: the threads that read ahead of a filter may outlive the interpreter, and abort it.
    return pq.read_table(pa.BufferReader(part.read_bytes()), columns=named, filters=filters, partitioning=None)


def open_batches(file: Place) -> pa.ipc.RecordBatchFileReader:
    """Open a file of Arrow batches; those that are read are asked for by ranges."""
    import pyarrow as pa

    return pa.ipc.open_file(str(file) if isinstance(file, Path) else file.open("rb"))


def batches_of(
    parts: Sequence[Place], columns: Sequence[str], wanted: Any = None, rows: int = 1 << 17
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of some Parquet files; of folders no more than a few batches are in memory, of buckets a file."""
    import pyarrow.dataset as ds

    folders = [part for part in parts if isinstance(part, Path)]
    if folders:
        yield from ds.dataset(folders).to_batches(columns=list(columns), filter=wanted, batch_size=rows)
    for part in parts[len(folders) :]:
        yield from read_part(part, columns, wanted).to_batches(max_chunksize=rows)


def read_partials(part: Place) -> Iterator[dict[str, Any]]:
    """Yield the rows of one part of `partials`, bins and counts as arrays and not as Python numbers."""
    table = read_part(part, columns=PARTIALS.names)
    plain = table.drop_columns(["bins", "counts"]).to_pylist()
    for row, bins, counts in zip(plain, table["bins"], table["counts"], strict=True):
        yield row | {"bins": bins.values.to_numpy(), "counts": counts.values.to_numpy()}


def _opened(part: Place) -> Any:
    """Return what Arrow opens: the path of a file, or an object as a file of Python."""
    return part if isinstance(part, Path) else part.open("rb")
