"""Two runs side by side: what came, went and changed, what drifted, and what occurs in both.

Stored tables and partials are all that is read; no image is opened. `measures` are the formulas, `side` is one run
as seen here, `series`, `drift` and `leakage` make plain data of two, `words` and `page` show it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.errors import OutputError, RunError

if TYPE_CHECKING:
    from pathlib import Path

    from cohort.places import Place

__all__ = ["as_text", "check_page", "compare", "render", "write_page"]


def compare(a: Place, b: Place) -> dict[str, Any]:
    """Compare two runs.

    Parameters
    ----------
    a, b : Place
        Run folders whose volumes are assembled. Of intensities and pixels only those are compared that both read.

    Returns
    -------
    dict
        `new_series`, `lost_series`, `changed_series`, `drift` (per modality and column: PSI, Kolmogorov-Smirnov and
        Wasserstein distance) and `leakage`. Identifiers are run-local; counts of patients are exact, so that this
        is not to be shared: `render` is.

    Raises
    ------
    OutputError
        If a folder is no run.
    MissingStageError
        If volumes were never assembled.
    """
    from cohort.compare import drift, leakage, series
    from cohort.compare.side import Side
    from cohort.store import RunFolder

    one, other = Side(RunFolder(a)), Side(RunFolder(b))
    groups = [set(side.volumes["group"]) for side in (one, other)]
    return {
        **series.compare_series(one, other),
        "drift": [*drift.intensity_drift(one, other), *drift.columns_drift(one, other)],
        "groups_only_in_a": sorted(groups[0] - groups[1]),
        "groups_only_in_b": sorted(groups[1] - groups[0]),
        "leakage": leakage.find_leakage(one, other),
        "series": {"a": len(one.series), "b": len(other.series)},
        "volumes": {"a": len(one.volumes), "b": len(other.volumes)},
        "provenance": {"a": one.safe.provenance(), "b": other.safe.provenance()},
    }


def as_text(found: dict[str, Any]) -> str:
    """Return a comparison as text for a terminal."""
    from cohort.compare import words

    return words.as_text(found)


def render(found: dict[str, Any], min_cell: int = 5) -> str:
    """Return a comparison as a page that may be shared: small counts of patients are withheld."""
    from cohort.compare import page

    return page.render(found, min_cell)


def check_page(path: Path) -> None:
    """Raise OutputError where a page cannot be written to a path; the work need not be done to know."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file for the page")
    if not path.parent.is_dir():
        raise OutputError(f"there is no folder {path.parent}; make it, or name another")


def write_page(path: Path, text: str) -> None:
    """Write a page under a temporary name and rename it; a page of that name is replaced."""
    temporary = path.with_name(f".tmp-{path.name}")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror or type(error).__name__}") from None
