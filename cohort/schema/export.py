"""The data dictionary for people and other tools: JSON beside the tables, Markdown in the docs."""

from __future__ import annotations

from typing import Any

from cohort.schema.model import FORMAT_VERSION, Table
from cohort.schema.tables import TABLES


def as_json() -> dict[str, Any]:
    """Return the dictionary as plain data, in the manner of BigQuery's schema files."""
    return {
        "format_version": FORMAT_VERSION,
        "tables": {table.name: _table(table) for table in TABLES},
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
        "`identifier`, `text` and `path` ones never.",
    ]
    for table in TABLES:
        lines += ["", f"## {table.name}", "", f"{table.description}.", ""]
        lines += ["| column | type | unit | source | privacy | description |", "|---|---|---|---|---|---|"]
        lines += [
            f"| `{c.name}` | {c.type} | {c.unit or ''} | {c.source} | {c.privacy} | {c.description} |"
            for c in table.columns
        ]
    return "\n".join(lines) + "\n"
