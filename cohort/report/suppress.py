"""Small counts of patients are not shown, and cannot be worked out from what is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def count_text(count: int, min_cell: int) -> dict[str, Any]:
    """Return one count of patients for display; below `min_cell` the number is gone."""
    if 0 < count < min_cell:
        return {"count": None, "text": f"<{min_cell}"}
    return {"count": count, "text": f"{count:,}"}


def cells(counts: Mapping[str, int], min_cell: int) -> list[dict[str, Any]]:
    """Return the counts of patients per label, small ones suppressed, labels kept in their order.

    One hidden count could be worked out from the total and the others, and several that add up to less
    than `min_cell` nearly so; then the smallest of the remaining counts is withheld too and reads as
    at least `min_cell`, which it is.
    """
    hidden = {label for label, count in counts.items() if 0 < count < min_cell}
    withheld: set[str] = set()
    visible = sorted((label for label in counts if label not in hidden and counts[label]), key=lambda x: (counts[x], x))
    while hidden and visible and not _covered(hidden | withheld, counts, min_cell):
        withheld.add(visible.pop(0))
    return [{"label": label, **_cell(label, count, withheld, min_cell)} for label, count in counts.items()]


def _covered(gone: set[str], counts: Mapping[str, int], min_cell: int) -> bool:
    return len(gone) > 1 and sum(counts[label] for label in gone) >= min_cell


def _cell(label: str, count: int, withheld: set[str], min_cell: int) -> dict[str, Any]:
    if label in withheld:
        return {"count": None, "text": f"\u2265{min_cell}"}
    return count_text(count, min_cell)
