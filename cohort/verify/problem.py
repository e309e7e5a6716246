"""What `verify` finds wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

DAMAGED, STRAY, INCONSISTENT = "damaged", "stray", "inconsistent"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is not as it was committed.

    Parameters
    ----------
    stage : str
        Stage that makes the artefact; `run` for `run.json` and `schema.json`.
    artefact : str
        Path below OUT.
    what : str
        What is wrong with it, in words and numbers; never a value of a header.
    kind : str
        `damaged`: not the bytes that were committed; making it again repairs it. `stray`: nothing that was committed,
        but where a reader of the whole folder would take it in. `inconsistent`: whole artefacts contradict each other,
        which no fault of a disk explains.
    """

    stage: str
    artefact: str
    what: str
    kind: str = DAMAGED

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {"stage": self.stage, "artefact": self.artefact, "what": self.what, "kind": self.kind}
