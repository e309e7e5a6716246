"""A run in which every text holds a payload."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
from fake_run import FakeRun, make_run

from cohort import schema

if TYPE_CHECKING:
    from collections.abc import Sequence

# Our own words decide what is drawn; everything else that is text comes from files.
OURS = {
    "format", "container", "status", "reason", "split_reason", "reason_not_regular", "kind", "axis", "group_by", "role",
    "code", "severity", "scope", "cluster", "dtype", "stored_dtype", "parser", "fallback_reason", "modality_source",
    "spacing_source", "problem", "mosaic_problem", "evidence",
}  # fmt: skip
KEYS = {"volume_id", "series_key", "instance_key", "subject", "PatientID"}


def poisoned(words: Sequence[str]) -> FakeRun:
    """Return the run of `make_run` with a word in every text attribute, all words in each."""
    run = make_run()
    for name, table in run.tables.items():
        for column in getattr(schema, name.upper()).columns:
            if column.type not in ("string", "list<string>") or column.name in OURS | KEYS:
                continue
            texts: list[str | list[str]] = [words[row % len(words)] for row in range(table.num_rows)]
            if column.type == "list<string>":
                texts = [[str(text)] for text in texts]
            place = table.schema.get_field_index(column.name)
            field = table.schema.field(place)
            table = table.set_column(place, field, pa.array(texts, field.type))
        run.tables[name] = table
    return run
