"""Counts of volumes, as ingest left them: bins and counts as arrays, not as a million Python numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.schema import PARTIALS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def read_partials(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one part of `partials`, bins and counts as arrays."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=PARTIALS.names, partitioning=None)
    plain = table.drop_columns(["bins", "counts"]).to_pylist()
    for row, bins, counts in zip(plain, table["bins"], table["counts"], strict=True):
        yield row | {"bins": bins.values.to_numpy(), "counts": counts.values.to_numpy()}
