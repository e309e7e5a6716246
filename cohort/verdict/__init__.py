"""Whether a run is good enough: its findings against what may not occur, and against those known before."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cohort.errors import ConfigError
from cohort.findings import BY_CODE, Severity
from cohort.verdict.baseline import read_baseline, unknown_before, write_baseline
from cohort.verdict.formats import FORMATS, as_text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cohort.store import RunFolder

__all__ = [
    "FORMATS", "as_text_of", "check_conditions", "findings_of", "read_baseline", "told", "unknown_before", "violations",
    "write_baseline",
]  # fmt: skip

Row = dict[str, Any]

_SEVERITIES = tuple(str(severity) for severity in Severity)


def findings_of(run: RunFolder) -> list[Row]:
    """Return the findings of a run, in the order of their table."""
    rows: list[Row] = run.read("findings").to_pylist()
    return rows


def check_conditions(conditions: Iterable[str]) -> None:
    """Raise ConfigError where a condition is neither a severity nor the code of a kind of finding."""
    for condition in conditions:
        if condition not in _SEVERITIES and condition not in BY_CODE:
            prefix = condition.split("-", maxsplit=1)[0]
            near = [code for code in BY_CODE if code.startswith(f"{prefix}-")]
            known = (
                ", ".join((*_SEVERITIES, *near)) if near else f"{', '.join(_SEVERITIES)}, or a code of docs/findings.md"
            )
            raise ConfigError(f"--fail-on {condition} is neither a severity nor a code; known are {known}")


def violations(found: Iterable[Row], conditions: Sequence[str]) -> list[Row]:
    """Return the findings that meet a condition: its code, or a severity as bad as it or worse."""
    levels = [_SEVERITIES.index(condition) for condition in conditions if condition in _SEVERITIES]
    least = min(levels, default=len(_SEVERITIES))
    return [row for row in found if row["code"] in conditions or _SEVERITIES.index(row["severity"]) >= least]


def told(met: Sequence[Row], conditions: Sequence[str]) -> str:
    """Say in a line which findings meet the conditions."""
    counts = Counter(row["code"] for row in met)
    listed = ", ".join(f"{code} {count:,}" for code, count in counts.most_common(5))
    more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
    return f"{len(met):,} findings meet --fail-on {','.join(conditions)}: {listed}{more}"
