"""Records that tell whether they are whole: JSON with the digest of itself.

A table has its digest in the commit record of its stage. The records themselves, and `run.json`, carry their own, so
that nothing else in the run folder varies with them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cohort.store.artefacts import digest

if TYPE_CHECKING:
    from collections.abc import Mapping

SEAL = "sha256"
"""Key of the digest: of the canonical JSON of all other keys."""


def sealed(data: Mapping[str, Any]) -> str:
    """Return plain data as JSON text with its digest in it; the same data gives the same text."""
    plain = {key: value for key, value in json.loads(json.dumps(dict(data))).items() if key != SEAL}
    return json.dumps(plain | {SEAL: digest(plain)}, indent=1, sort_keys=True, ensure_ascii=True) + "\n"


def is_whole(text: bytes) -> bool:
    """Tell whether a text is one that `sealed` made, to the last byte."""
    try:
        data = json.loads(text)
    except ValueError:
        return False
    return isinstance(data, dict) and sealed(data).encode() == text


def is_damaged(text: bytes) -> bool:
    """Tell whether a text is no JSON, or has a digest that is not its own."""
    try:
        data = json.loads(text)
    except ValueError:
        return True
    return isinstance(data, dict) and SEAL in data and not is_whole(text)
