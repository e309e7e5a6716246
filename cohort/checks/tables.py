"""What the checks look at: rows of the tables, a batch at a time, and what images of one header have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.store import batches_of, read_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cohort.store import RunFolder

Row = dict[str, Any]

_BATCH_ROWS = 4096
"""Rows that are Python objects at a time: a cohort has no size here."""


def rows_of(run: RunFolder, table: str, columns: Sequence[str], wanted: Any = None) -> Iterator[Row]:
    """Yield the rows of a table; no more than a batch is in memory.

    Parameters
    ----------
    run : RunFolder
        Has the table.
    table : str
        Its name.
    columns : sequence of str
        Which columns.
    wanted : pyarrow.compute.Expression, optional
        Which rows.
    """
    parts = run.parts(table)
    if not parts:
        return
    for batch in batches_of(parts, columns, wanted, _BATCH_ROWS):
        yield from batch.to_pylist()


def distinct_rows(run: RunFolder, table: str, columns: Sequence[str], wanted: Any = None) -> Iterator[Row]:
    """Yield each combination of values once per part of a table, with the number of its rows as `images`.

    Lists of text are joined by a backslash, as DICOM has them. Images of a series differ in little: of a million
    headers some ten thousand combinations stay.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for part in run.parts(table):
        found = read_part(part, columns=list(columns), filters=wanted)
        for number, field in enumerate(found.schema):
            if pa.types.is_list(field.type):
                found = found.set_column(number, field.name, pc.binary_join(found[field.name], "\\"))
        yield from (
            found.group_by(columns).aggregate([([], "count_all")]).rename_columns({"count_all": "images"}).to_pylist()
        )
