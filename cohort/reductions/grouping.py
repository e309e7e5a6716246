"""Which group a volume belongs to: any column of volumes, series or headers."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from cohort.errors import ConfigError
from cohort.schema import FILES, SERIES, VOLUMES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cohort.store import RunFolder

UNKNOWN = "unknown"
"""Name of the group of volumes without the attribute."""


def check_groupings(names: Sequence[str], asked: Iterable[str] = ()) -> None:
    """Raise ConfigError where a name is no column by which volumes can be grouped; `asked` are more of `files`."""
    known = {*VOLUMES.names, *SERIES.names, *FILES.names, *asked}
    for name in names:
        if name not in known:
            raise ConfigError(f"cannot group by `{name}`: no column of volumes, series or files has that name")


def groups_of(run: RunFolder, by: Sequence[str], volume_ids: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
    """Return the group of each volume.

    Parameters
    ----------
    run : RunFolder
        The run.
    by : sequence of str
        Columns of `volumes`, else of `series` (the consensus), else of `files` (the most frequent value).
    volume_ids : sequence of str, optional
        Volumes asked for; all by default.
    """
    from_volumes = [name for name in by if name in VOLUMES.names]
    table = run.read("volumes", list(dict.fromkeys(["volume_id", "series_key", *from_volumes])), volume_ids=volume_ids)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    keys = columns["series_key"]
    for name in by:
        if name not in columns:
            of_series = _by_series(run, name, set(keys))
            columns[name] = [of_series.get(key) for key in keys]
    values = zip(*(columns[name] for name in by), strict=True)
    return {volume: tuple(_text(v) for v in found) for volume, found in zip(columns["volume_id"], values, strict=True)}


def _by_series(run: RunFolder, name: str, keys: set[str]) -> dict[str, Any]:
    if name in SERIES.names:
        table = run.read("series", ["series_key", name])
        return dict(zip(table["series_key"].to_pylist(), table[name].to_pylist(), strict=True))
    counts: dict[str, Counter[Any]] = defaultdict(Counter)
    table = run.read("files", ["series_key", name])
    for key, value in zip(table["series_key"].to_pylist(), table[name].to_pylist(), strict=True):
        if key in keys and value is not None:
            counts[key][tuple(value) if isinstance(value, list) else value] += 1
    return {key: min(found.items(), key=lambda item: (-item[1], str(item[0])))[0] for key, found in counts.items()}


def _text(value: Any) -> str:
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, (list, tuple)):
        return "\\".join(_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
