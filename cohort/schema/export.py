"""The data dictionary for people and other tools: JSON beside the tables, Markdown in the docs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.schema.model import FORMAT_VERSION, Table
from cohort.schema.tables import FILES, TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cohort.schema.model import Column


_EXTRA_TAGS = (
    "Every `--extra-tag` adds a `private` column: named by the DICOM keyword, `tag_gggg_eeee` where there is none or",
    "where one keyword names many tags; typed by VR and VM of the dictionary as the columns above; `list<string>` for",
    "private and unknown tags, whose values are text as pydicom gives it. Only the top level of an object is looked at.",
)


def as_json(asked: Iterable[Column] = ()) -> dict[str, Any]:
    """Return the dictionary as plain data, in the manner of BigQuery's schema files.

    Parameters
    ----------
    asked : iterable of Column
        Columns of `files` that a run was asked for, beyond the dictionary.
    """
    files = FILES.with_columns(asked)
    return {
        "format_version": FORMAT_VERSION,
        "tables": {table.name: _table(files if table is FILES else table) for table in TABLES},
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "description": table.description,
        "columns": [
            {
                "name": c.name,
                "type": c.type,
                "unit": c.unit,
                "source": c.source,
                "description": c.description,
                "privacy": str(c.privacy),
            }
            for c in table.columns
        ],
    }


def as_markdown() -> str:
    """Return the dictionary as the page `docs/tables.md`."""
    lines = [
        "# Tables of a run folder",
        "",
        "Generated from `cohort/schema` by `scripts/docs.py`; do not edit.",
        "",
        "Privacy: `safe` columns may be shown in the report, `coarse` ones made coarse (age groups, years),",
        "`identifier`, `text`, `path` and `private` ones never.",
    ]
    for table in TABLES:
        lines += ["", f"## {table.name}", "", f"{table.description}.", ""]
        lines += _markdown(table.columns)
        if table.optional:
            lines += ["", "With `--all-headers`, also:", "", *_markdown(table.optional)]
        if table is FILES:
            lines += ["", *_EXTRA_TAGS]
    return "\n".join(lines) + "\n"


def _markdown(columns: Iterable[Column]) -> list[str]:
    return ["| column | type | unit | source | privacy | description |", "|---|---|---|---|---|---|"] + [
        f"| `{c.name}` | {c.type} | {c.unit or ''} | {c.source} | {c.privacy} | {c.description} |" for c in columns
    ]
