"""One finding as a row of `findings`."""

from __future__ import annotations

import json
from typing import Any

from cohort.findings import BY_CODE

Row = dict[str, Any]


def finding(code: str, subject: str, **evidence: Any) -> Row:
    """Return a finding of a known kind.

    Parameters
    ----------
    code : str
        A code of `cohort.findings.KINDS`.
    subject : str
        Key of the subject in its table.
    **evidence
        The numbers behind it; None is left out.
    """
    kind = BY_CODE[code]
    given = {name: value for name, value in evidence.items() if value is not None}
    return {
        "code": code,
        "severity": str(kind.severity),
        "scope": kind.scope,
        "subject": subject,
        "evidence": json.dumps(given, sort_keys=True, allow_nan=False),
        "hint": kind.hint,
        "cluster": str(kind.cluster),
    }
