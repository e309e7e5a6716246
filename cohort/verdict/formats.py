"""Findings as text: a table, CSV, JSON, and SARIF for code hosts and viewers."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cohort.findings import BY_CODE, KINDS
from cohort.schema import FINDINGS, VERSION
from cohort.verdict.baseline import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Row = dict[str, Any]

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {"info": "note", "warning": "warning", "error": "error"}
_SHOWN = 60  # characters of a subject in a table


def as_table(rows: Sequence[Row]) -> str:
    """Return one line per finding, in columns."""
    lines = [(row["severity"], row["code"], _shortened(row["subject"]), _evidence(row)) for row in rows] or [
        ("none", "", "", "")
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(3)]
    return "".join(
        "  ".join((*(cell.ljust(width) for cell, width in zip(line[:3], widths, strict=True)), line[3])).rstrip() + "\n"
        for line in lines
    )


def _shortened(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= _SHOWN else f"...{plain[3 - _SHOWN :]}"


def _evidence(row: Row) -> str:
    given = json.loads(row["evidence"])
    return ", ".join(f"{name} {_number(value)}" for name, value in given.items())


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=True).strip('"')


def as_csv(rows: Sequence[Row]) -> str:
    """Return the columns of the table as CSV (RFC 4180, lines ended by a line feed)."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FINDINGS.names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(rows: Sequence[Row]) -> str:
    """Return a list of findings; the evidence is an object."""
    return json.dumps([row | {"evidence": json.loads(row["evidence"])} for row in rows], indent=1) + "\n"


def as_sarif(rows: Sequence[Row]) -> str:
    """Return a log of SARIF 2.1.0 (OASIS): a rule per kind that occurs, a result per finding.

    The subject of a finding on a file is an artifact below `SOURCE`, any other a logical location. The fingerprint is
    that of baselines, so that a viewer knows a finding again.
    """
    occurring = {row["code"] for row in rows}
    rules = [
        {
            "id": kind.code,
            "shortDescription": {"text": kind.hint},
            "fullDescription": {"text": kind.rule},
            "defaultConfiguration": {"level": _LEVELS[kind.severity]},
            "properties": {"cluster": str(kind.cluster)},
        }
        for kind in KINDS
        if kind.code in occurring
    ]
    number = {rule["id"]: i for i, rule in enumerate(rules)}
    results = [
        {
            "ruleId": row["code"],
            "ruleIndex": number[row["code"]],
            "level": _LEVELS[row["severity"]],
            "message": {"text": BY_CODE[row["code"]].hint},
            "locations": [_location(row)],
            "partialFingerprints": {"cohortFinding/v1": fingerprint(row)},
            "properties": {"evidence": json.loads(row["evidence"])},
        }
        for row in rows
    ]
    driver = {"name": "cohort", "semanticVersion": VERSION, "rules": rules}
    log = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    return json.dumps(log, indent=1) + "\n"


def _location(row: Row) -> Row:
    if row["scope"] == "file":
        place = {"uri": quote(row["subject"], errors="surrogateescape"), "uriBaseId": "SOURCE"}
        return {"physicalLocation": {"artifactLocation": place}}
    return {"logicalLocations": [{"name": row["subject"], "kind": row["scope"]}]}


FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {
    "table": as_table,
    "csv": as_csv,
    "json": as_json,
    "sarif": as_sarif,
}


def as_text_of(rows: Sequence[Row], form: str) -> str:
    """Return findings in one of `FORMATS`."""
    return FORMATS[form](rows)
