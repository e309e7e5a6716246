"""Two measurements against each other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cohort.errors import SourceError

if TYPE_CHECKING:
    from pathlib import Path

_RATES = ("files_per_s", "mb_per_s", "voxels_per_s")


def compare(first: Path, second: Path) -> dict[str, Any]:
    """Return for every stage and number of workers in both how many times faster the second is.

    Raises
    ------
    SourceError
        If a file is not what `cohort bench` writes.
    """
    a, b = _loaded(first), _loaded(second)
    rows = []
    theirs = {(row["stage"], row["workers"]): row for row in b["stages"]}
    for row in a["stages"]:
        other = theirs.get((row["stage"], row["workers"]))
        if other is not None:
            ratios = {name: other[name] / row[name] if row[name] and other[name] else None for name in _RATES}
            rows.append({"stage": row["stage"], "workers": row["workers"], **ratios})
    floor = {name: b["floor"][name] / value for name, value in a["floor"].items() if b["floor"].get(name)}
    return {"machines": [a["machine"], b["machine"]], "stages": rows, "floor": floor}


def _loaded(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if {"machine", "stages", "floor"} <= found.keys():
            return dict(found)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    except (ValueError, AttributeError):
        pass
    raise SourceError(f"{path} is no result of `cohort bench`; name the bench.json that it wrote")
