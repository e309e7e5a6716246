"""The report: aggregate tables and privacy-safe columns -> one HTML page and its numbers as JSON.

`safe` is the only module that touches the run folder; `summary` and its neighbours turn tables into plain
data (`report.json`); `charts` and `page` turn plain data into the page. Nothing here starts Dask or writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cohort.config import CheckOptions, ReportOptions
    from cohort.store import RunFolder

__all__ = ["LAYOUT", "build", "claim_card"]

LAYOUT = 8
"""Counts up when the page or `report.json` change, so that a report made before is made anew."""


def build(run: RunFolder, options: ReportOptions, check: CheckOptions | None = None) -> tuple[str, str]:
    """Return the report as HTML and its numbers as JSON.

    The same tables, configuration and library versions give the same bytes: no time, host or random id.

    Parameters
    ----------
    run : RunFolder
        A run whose stages `scan` and `assemble` are committed; what later stages add is shown if it is there.
    options : ReportOptions
        Title, the smallest count of patients that is shown, and whether there are pictures.
    check : CheckOptions, optional
        Names the split, if any: who is in which partition is counted.

    Returns
    -------
    tuple of str
        Text of `report.html` and of `report.json`.

    Raises
    ------
    MissingStageError
        If the headers or volumes were never committed.
    """
    import json

    from cohort.report import page, safe, summary, thumbnails

    seen = safe.SafeRun(run, options.min_cell)
    data = summary.summarise(seen, options, check)
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"
    return page.render(data, thumbnails.contact_sheet(seen) if options.thumbnails else None), text


def claim_card(text: str) -> str:
    """Return the items of CLAIM that `report.json` can fill, as Markdown for a methods section.

    Parameters
    ----------
    text : str
        Text of `report.json`.
    """
    import json

    from cohort.report import claim

    return claim.markdown(json.loads(text))
