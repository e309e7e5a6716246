"""Which group a volume belongs to: any column of volumes, series or headers."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from cohort.errors import ConfigError
from cohort.reductions.tree import reduce_parts
from cohort.schema import FILES, SERIES, VOLUMES
from cohort.store import footer_of, open_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cohort.places import Place
    from cohort.store import RunFolder

Headers = dict[str, dict[str, Any]]
"""Series key -> name of the column -> value."""

ValueCounts = dict[tuple[str, str], Counter[Any]]
"""(series key, name of the column) -> how often each value occurs."""

UNKNOWN = "unknown"
"""Name of the group of volumes without the attribute."""


def check_groupings(names: Sequence[str], asked: Iterable[str] = ()) -> None:
    """Raise ConfigError where a name is no column by which volumes can be grouped; `asked` are more of `files`."""
    known = {*VOLUMES.names, *SERIES.names, *FILES.names, *asked}
    for name in names:
        if name not in known:
            raise ConfigError(f"cannot group by `{name}`: no column of volumes, series or files has that name")


def buckets_of(run: RunFolder) -> list[int]:
    """Return for each part of the partials the bucket of `volumes` and `series` that it is of, from footers alone.

    Ingest cuts the volumes of a bucket, in order, into batches of one part each: a part need not look for its own among
    all volumes, which would cost the square of the cohort.
    """
    import numpy as np

    (path,) = run.parts("volumes")
    footer = footer_of(path)
    ends = np.cumsum([footer.row_group(i).num_rows for i in range(footer.num_row_groups)])
    rows = [footer_of(part).num_rows for part in run.parts("outcomes")]
    starts = np.cumsum([0, *rows])[: len(rows)]
    found: list[int] = np.searchsorted(ends, starts, side="right").tolist()
    return found


def groups_of(
    run: RunFolder,
    by: Sequence[str],
    volume_ids: Sequence[str] | None = None,
    of_files: Headers | None = None,
    bucket: int | None = None,
) -> dict[str, tuple[str, ...]]:
    """Return the group of each volume.

    Parameters
    ----------
    run : RunFolder
        The run.
    by : sequence of str
        Columns of `volumes`, else of `series` (the consensus), else of `files` (the most frequent value).
    volume_ids : sequence of str, optional
        Volumes asked for; all by default.
    of_files : dict, optional
        What `header_values` returned, at least of the series of these volumes.
    bucket : int, optional
        The bucket that these volumes are in.
    """
    from_volumes = [name for name in by if name in VOLUMES.names]
    table = run.read("volumes", list(dict.fromkeys(["volume_id", "series_key", *from_volumes])), volume_ids, bucket)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    keys = columns["series_key"]
    for name in by:
        if name not in columns and name in SERIES.names:
            series = run.read("series", ["series_key", name], bucket=bucket)
            of_series = dict(zip(series["series_key"].to_pylist(), series[name].to_pylist(), strict=True))
            columns[name] = [of_series[key] for key in keys]
        elif name not in columns:
            columns[name] = [(of_files or {}).get(key, {}).get(name) for key in keys]
    values = zip(*(columns[name] for name in by), strict=True)
    return {volume: tuple(_text(v) for v in found) for volume, found in zip(columns["volume_id"], values, strict=True)}


def header_values(run: RunFolder, by: Sequence[str]) -> Headers:
    """Return per series the most frequent values of those columns that only `files` has, from one pass over it."""
    names = [name for name in by if name not in VOLUMES.names and name not in SERIES.names]
    parts = run.parts("files")
    if not names or not parts:
        return {}
    counted = reduce_parts(partial(_count_values, names=tuple(names)), _add_values, parts)
    found: Headers = {}
    for (key, name), counts in counted.items():
        found.setdefault(key, {})[name] = min(counts.items(), key=lambda item: (-item[1], str(item[0])))[0]
    return found


def _count_values(part: Place, *, names: tuple[str, ...]) -> ValueCounts:

    found: ValueCounts = defaultdict(Counter)
    table = open_part(part).read(columns=["series_key", *names])
    keys = table["series_key"].to_pylist()
    for name in names:
        for key, value in zip(keys, table[name].to_pylist(), strict=True):
            if key is not None and value is not None:
                found[key, name][tuple(value) if isinstance(value, list) else value] += 1
    return dict(found)


def _add_values(states: list[ValueCounts]) -> ValueCounts:
    found: ValueCounts = defaultdict(Counter)
    for state in states:
        for key, counts in state.items():
            found[key].update(counts)
    return dict(found)


def _text(value: Any) -> str:
    if value is None or value == "":
        return UNKNOWN
    if isinstance(value, (list, tuple)):
        return "\\".join(_text(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
