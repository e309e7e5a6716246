"""A comparison in words: what the terminal prints, and sentences that the page uses too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.summary import aligned

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_LINES = 20
"""Rows of a table in the terminal; `--json` has all."""

FEWEST = 5
"""Patients a side with which a drift can be told from chance: 2 of the 252 ways to part 5 + 5 are as extreme."""

Row = dict[str, Any]


def as_text(found: Row) -> str:
    """Return the comparison as text, tables aligned."""
    parts = [series_sentence(found) + "\n"]
    if found["changed_series"]:
        changes = [(one["a"], one["b"], ", ".join(one["changed"])) for one in found["changed_series"]]
        parts.append(_table("changed series", ("A", "B", "what changed"), changes, (0, 1, 2)))
    parts.append(drift_sentence(found) + "\n")
    if found["drift"]:
        heads = ("modality", "column", "PSI", "KS", "Wasserstein", "unit", "median A", "median B", "verdict")
        drifts = [_drift_line(one) for one in ranked(found["drift"])]
        parts.append(_table("drift, the largest first", heads, drifts, (0, 1, 5, 8)))
    leakage = found["leakage"]
    parts.append(leakage_sentence(leakage) + "\n")
    if leakage["items"]:
        items = [(one["kind"], ", ".join(one["a"]), ", ".join(one["b"])) for one in leakage["items"]]
        parts.append(_table("in both", ("kind", "in A", "in B"), items, (0, 1, 2)))
    return "\n".join(parts)


def _table(title: str, heads: tuple[str, ...], rows: Sequence[tuple[Any, ...]], left: tuple[int, ...]) -> str:
    rest = len(rows) - MOST_LINES
    text = f"{title}\n{aligned(heads, list(rows[:MOST_LINES]), left)}"
    return text + (f"  and {rest:,} more; --json has all\n" if rest > 0 else "")


def _drift_line(one: Row) -> tuple[str, ...]:
    return (
        one["group"],
        one["column"],
        f"{one['psi']:.3f}",
        "-" if one["ks"] is None else f"{one['ks']:.3f}",
        "-" if one["wasserstein"] is None else f"{one['wasserstein']:.4g}",
        one["unit"] or "-",
        "-" if one["median_a"] is None else f"{one['median_a']:.6g}",
        "-" if one["median_b"] is None else f"{one['median_b']:.6g}",
        verdict(one),
    )


def ranked(rows: list[Row]) -> list[Row]:
    """Return what drifted first, and then the largest PSI."""
    return sorted(rows, key=lambda row: (not row["drifted"], -row["psi"], row["group"], row["column"]))


def verdict(row: Row) -> str:
    """Return what a row of `drift` says in a word or three."""
    if row["drifted"]:
        return "drift"
    if row["p_value"] is None:
        return "stable"
    return "too few to tell" if min(row["patients_a"], row["patients_b"]) < FEWEST else "within chance"


def series_sentence(found: Row) -> str:
    """Return how many series came, went and changed."""
    new, lost, changed = (len(found[f"{kind}_series"]) for kind in ("new", "lost", "changed"))
    return f"{new:,} new series, {lost:,} lost, {changed:,} changed, {found['same_series']:,} as before."


def drift_sentence(found: Row) -> str:
    """Return how many columns drifted, and what could not be compared."""
    drifted = sum(row["drifted"] for row in found["drift"])
    text = f"{drifted:,} of {len(found['drift']):,} columns drifted."
    for side in ("a", "b"):
        if found[f"groups_only_in_{side}"]:
            text += f" Only {side.upper()} has {', '.join(found[f'groups_only_in_{side}'])}."
    return text


def leakage_sentence(leakage: Row, patients: str | None = None) -> str:
    """Return what occurs in both; `patients` is their number as it may be told."""
    told = f"{leakage['patients']:,}" if patients is None else patients
    pixels = "pixels were not read in both" if leakage["pixels"] is None else f"{leakage['pixels']:,} images by pixels"
    text = f"In both: {told} patients, {leakage['studies']:,} studies, {pixels}."
    if leakage["constant"]:
        text += f" Images of one value are alike and left out ({leakage['constant']:,})."
    return text
