"""What a column and a table are, and the words for what became of an object."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

VERSION = "0.1.0"
"""Version of cohort."""

FORMAT_VERSION = 3
"""Version of the run folder. A reader refuses another one by name."""


class Status(StrEnum):
    """What became of an object or a volume. Every one has exactly one status."""

    OK = "ok"
    NOT_IMAGING = "not_imaging"
    REJECTED = "rejected"
    QUARANTINED = "quarantined"
    UNREADABLE = "unreadable"
    VANISHED = "vanished"
    CHANGED = "changed"


class Privacy(StrEnum):
    """Who may see a column. The report reads `SAFE` columns as they are and `COARSE` ones made coarse."""

    SAFE = "safe"  # technical or aggregate values
    COARSE = "coarse"  # ages (90+ capped) and dates (years)
    IDENTIFIER = "identifier"  # shown only as a run-local number
    TEXT = "text"  # free text: never shown
    PATH = "path"  # where things lie: never shown
    PRIVATE = "private"  # what a user asked for, and may hold anything: never shown


@dataclass(frozen=True)
class Column:
    """One column: `type` is written as Arrow does (`int64`, `list<float64>`, `timestamp[ns]`...)."""

    name: str
    type: str
    description: str
    source: str = "derived"
    unit: str | None = None
    privacy: Privacy = Privacy.SAFE


@dataclass(frozen=True)
class Table:
    """One table of the run folder; `optional` columns are there where a run was asked for them."""

    name: str
    description: str
    columns: tuple[Column, ...]
    optional: tuple[Column, ...] = ()

    @property
    def names(self) -> list[str]:
        """Names of the columns, in order."""
        return [column.name for column in self.columns]

    def column(self, name: str) -> Column:
        """Return the column `name`; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def with_columns(self, asked: Iterable[Column]) -> Table:
        """Return the table as a run has it that was asked for further columns."""
        return replace(self, columns=(*self.columns, *asked))

    def arrow(self, names: Iterable[str] | None = None) -> pa.Schema:
        """Return the Arrow schema, with description, unit and source as metadata of each field."""
        import pyarrow as pa

        chosen = self.columns if names is None else [self.column(name) for name in names]
        fields = [pa.field(c.name, _arrow_type(c.type), metadata=_metadata(c)) for c in chosen]
        return pa.schema(fields, metadata={"cohort.table": self.name, "cohort.format_version": str(FORMAT_VERSION)})


def _arrow_type(text: str) -> pa.DataType:
    import pyarrow as pa

    if text.startswith("list<"):
        return pa.list_(_arrow_type(text.removeprefix("list<").removesuffix(">")))
    if text == "timestamp[ns]":
        return pa.timestamp("ns", tz="UTC")
    return pa.type_for_alias(text)


def _metadata(column: Column) -> dict[str, str]:
    entries = {
        "description": column.description,
        "unit": column.unit,
        "source": column.source,
        "privacy": str(column.privacy),
    }
    return {key: value for key, value in entries.items() if value is not None}
