"""A comparison -> one HTML page that may be shared: nothing is loaded, no script runs."""

from __future__ import annotations

from importlib import resources
from typing import Any

import markupsafe

from cohort.compare import words
from cohort.report import page, suppress

_TEMPLATES = resources.files("cohort.compare") / "templates"

MOST_ROWS = 200
"""Rows of a table on the page; the rest is counted."""

Row = dict[str, Any]


def render(found: Row, min_cell: int) -> str:
    """Return the page; no patient is named, not even by a run-local number, and small counts are withheld."""
    rows = words.ranked(found["drift"])
    leakage = found["leakage"]
    patients = suppress.count_text(leakage["patients"], min_cell)["text"]
    items = [item for item in leakage["items"] if item["kind"] != "patient"]
    told = words.leakage_sentence(leakage, patients)
    sheet = page.style()
    html = page.environment(_text).get_template("compare.html.j2").render(
        found=found,
        sentences=(words.series_sentence(found), words.drift_sentence(found), told),
        drift=[_told(row, min_cell) for row in rows[:MOST_ROWS]],
        more_drift=max(0, len(rows) - MOST_ROWS),
        patients=patients,
        items=items[:MOST_ROWS],
        more_items=max(0, len(items) - MOST_ROWS),
        most=MOST_ROWS,
        min_cell=min_cell,
        policy=page.policy([], [sheet]),
        style=markupsafe.Markup(sheet),  # noqa: S704 - our own file
    )  # fmt: skip
    return html.strip() + "\n"


def _text(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _told(row: Row, min_cell: int) -> Row:
    """Return a row of `drift` as the page shows it; shares of few patients could be counted back, and stay behind."""
    few = min(row["patients_a"], row["patients_b"]) < min_cell
    shares = [] if few else [row["shares_a"], row["shares_b"]]
    return {**row, "verdict": words.verdict(row), "bars": _bars(*shares) if shares else []}


def _bars(a: list[float], b: list[float]) -> list[Row]:
    """Return the bars of both, side by side in a field of 100 x 24: A above the line, B below."""
    step, tall = 100 / len(a), 12 / max(*a, *b)
    return [
        {"x": round(step * i, 2), "width": round(step * 0.84, 2), "up": round(tall * p, 2), "down": round(tall * q, 2)}
        for i, (p, q) in enumerate(zip(a, b, strict=True))
    ]
