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


WITHHELD = "withheld"
"""Text of a count that is hidden for another one's sake; it says nothing of the number."""


def cells(counts: Mapping[str, int], min_cell: int) -> list[dict[str, Any]]:
    """Return the counts of patients per label, small ones suppressed, labels kept in their order.

    One hidden count could be worked out from the total and the others, and so could several that add up to as little
    or as much as they can; then the smallest of the remaining counts is withheld too.
    """
    hidden = {label for label, count in counts.items() if 0 < count < min_cell}
    withheld: set[str] = set()
    visible = sorted((label for label in counts if label not in hidden and counts[label]), key=lambda x: (counts[x], x))
    while hidden and visible and not _covered(hidden, withheld, counts, min_cell):
        withheld.add(visible.pop(0))
    return [{"label": label, **cell(count, label in withheld, min_cell)} for label, count in counts.items()]


def _covered(hidden: set[str], withheld: set[str], counts: Mapping[str, int], min_cell: int) -> bool:
    """Tell whether counts that are gone leave a choice to whoever knows their sum."""
    together = sum(counts[label] for label in hidden | withheld)
    fewest, most = len(hidden) + len(withheld), len(hidden) * (min_cell - 1)
    several = fewest > 1 and together >= min_cell
    return several and together > fewest and (bool(withheld) or together < most)


def cell(count: int, withheld: bool, min_cell: int) -> dict[str, Any]:
    """Return one count for display: as it is, as less than `min_cell`, or withheld."""
    if withheld and not 0 < count < min_cell:
        return {"count": None, "text": WITHHELD}
    return count_text(count, min_cell)
