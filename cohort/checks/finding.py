"""One finding as a row of `findings`, and many observations as one finding."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from cohort.findings import BY_CODE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Row = dict[str, Any]


class Seen(NamedTuple):
    """What a check saw in some images of a series.

    Parameters
    ----------
    code : str
        A code of `cohort.findings.KINDS`.
    evidence : dict
        The numbers behind it.
    """

    code: str
    evidence: Row


def finding(code: str, subject: str, **evidence: Any) -> Row:
    """Return a finding of a known kind.

    Parameters
    ----------
    code : str
        A code of `cohort.findings.KINDS`.
    subject : str
        Key of the subject in its table.
    **evidence
        The numbers behind it; None is left out. JSON knows neither NaN nor infinity (RFC 8259 section 6): they become
        text.
    """
    kind = BY_CODE[code]
    given = {name: _spelled(value) for name, value in evidence.items() if value is not None}
    return {
        "code": code,
        "severity": str(kind.severity),
        "scope": kind.scope,
        "subject": subject,
        "evidence": json.dumps(given, sort_keys=True, allow_nan=False),
        "hint": kind.hint,
        "cluster": str(kind.cluster),
    }


def _spelled(value: Any) -> Any:
    """Return a value with what is not finite in it as text: headers hold NaN, and must not end the run."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {name: _spelled(part) for name, part in value.items()}
    return [_spelled(part) for part in value] if isinstance(value, (list, tuple)) else value


def gathered(seen: Iterable[tuple[str, int, Seen]]) -> Iterator[Row]:
    """Yield one finding per subject and code, whatever the order in which its images were seen.

    Parameters
    ----------
    seen : iterable of (str, int, Seen)
        Subject, number of images, what was seen in them. The evidence of a finding is the first by its text, and the
        number of all its images.
    """
    found: dict[tuple[str, str], tuple[int, str]] = {}
    for subject, images, (code, evidence) in seen:
        key = (code, subject)
        text = json.dumps(evidence, sort_keys=True)
        before, first = found.get(key, (0, text))
        found[key] = (before + images, min(first, text))
    for (code, subject), (images, text) in found.items():
        yield finding(code, subject, images=images, **json.loads(text))
