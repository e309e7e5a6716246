"""What a stage tells while it works."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Step:
    """Progress of a stage: what has been done so far, of how much. A `note` is said once, as it is."""

    stage: str
    done: int
    total: int
    unit: str
    n_bytes: int = 0
    note: str = ""


class Progress(Protocol):
    """Is told of every step; the command line draws it, a library call ignores it."""

    def __call__(self, step: Step) -> None:
        """Take note of a step."""
        ...


def ignore(step: Step) -> None:
    """Take no note of a step."""
