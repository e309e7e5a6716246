"""Small counts of a table of patients whose totals are shown elsewhere: hidden so that sums do not give them away.

Of two partitions, what one hides could be worked out from the other and from the whole cohort. So this asks what
somebody could conclude who knows all that is shown, and withholds one number more until no small one is certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.report import suppress

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    Cell = tuple[str, str]
    Bounds = dict[Cell, tuple[float, float]]

_ALL = ""
"""Label of the row and of the column of totals."""


def crossed(
    counts: Mapping[str, Mapping[str, int]], rows_gone: Collection[str], columns_gone: Collection[str], min_cell: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the counts of patients by row and column, small ones suppressed.

    Parameters
    ----------
    counts : mapping of str to mapping of str to int
        Row -> column -> count; all rows have the same columns.
    rows_gone, columns_gone : collection of str
        Rows and columns whose totals are not shown.
    min_cell : int
        Smaller counts are hidden.

    Returns
    -------
    dict
        Row -> its cells with `label`, `count` (None where it is gone) and `text`.
    """
    columns = list(next(iter(counts.values()), {}))
    values = {(row, column): counts[row][column] for row in counts for column in columns}
    lines = [[(row, column) for column in columns] for row in counts]
    lines += [[(row, column) for row in counts] for column in columns]
    totals = [(row, _ALL) for row in counts] + [(_ALL, column) for column in columns]
    gone_totals = {(row, _ALL) for row in rows_gone} | {(_ALL, column) for column in columns_gone}
    sums = {total: sum(values[place] for place in line) for total, line in zip(totals, lines, strict=True)}
    every = {**values, **sums}
    gone, blank = {place for place, count in values.items() if 0 < count < min_cell}, False
    pairs = list(zip(lines, totals, strict=True))
    while certain := _certain(every, pairs, gone | gone_totals, gone_totals, min_cell):
        near = _near(certain, pairs, gone)
        if not near:
            blank = True  # all is hidden, and still known by the totals: then not even that it is few is told
            break
        gone.add(min(near, key=lambda place: (values[place] == 0, values[place], place)))
    return {
        row: [
            {"label": column, "count": None, "text": suppress.WITHHELD} if blank
            else {"label": column, **suppress.cell(values[row, column], (row, column) in gone, min_cell)}
            for column in columns
        ]
        for row in counts
    }  # fmt: skip


def _certain(
    every: Mapping[Cell, int],
    lines: list[tuple[list[Cell], Cell]],
    hidden: set[Cell],
    gone_totals: set[Cell],
    min_cell: int,
) -> list[set[Cell]]:
    """Return the small counts that are certain though hidden, and all that are; nothing where no small one is."""
    bounds = {place: _first_bounds(count, place in hidden, min_cell) for place, count in every.items()}
    told = {place for place in hidden if bounds[place][0] == bounds[place][1]}  # less than 2 is 1
    _conclude(bounds, lines)
    certain = {place for place in hidden - told if bounds[place][0] == bounds[place][1]}
    secrets = {place for place in certain if 0 < every[place] < min_cell or place in gone_totals}
    return [secrets, certain, set(every)] if secrets else []


def _near(certain: list[set[Cell]], lines: list[tuple[list[Cell], Cell]], gone: set[Cell]) -> set[Cell]:
    """Return what may be withheld next: beside a secret, else beside what gave it away, else anywhere."""
    for known in certain:
        near = {place for line, total in lines if known & {*line, total} for place in line} - gone
        if near:
            return near
    return set()


def _first_bounds(count: int, hidden: bool, min_cell: int) -> tuple[float, float]:
    """Return the least and largest number that what is shown of a count can mean."""
    if not hidden:
        return count, count
    return (1, min_cell - 1) if 0 < count < min_cell else (0, float("inf"))


def _conclude(bounds: Bounds, lines: Iterable[tuple[list[Cell], Cell]]) -> None:
    """Narrow bounds by the sums of lines until nothing new follows."""
    lines, again = list(lines), True
    while again:
        again = False
        for line, total in lines:
            lows, highs = (sum(bounds[place][side] for place in line) for side in (0, 1))
            narrowed = {total: (lows, highs)}
            for place in line:
                low = bounds[place][0]
                others = sum(bounds[other][1] for other in line if other != place)
                narrowed[place] = (bounds[total][0] - others, bounds[total][1] - (lows - low))
            for place, (low, high) in narrowed.items():
                new = max(low, bounds[place][0]), min(high, bounds[place][1])
                again |= new != bounds[place]
                bounds[place] = new
