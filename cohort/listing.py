"""What `cohort show --volumes` says: every volume with its verdict, and why, in words with numbers."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from cohort.errors import ConfigError, MisuseError
from cohort.schema import Status
from cohort.summary import aligned, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cohort.cohort import Cohort

Row = dict[str, Any]

UNKNOWN = "unknown"
"""Modality of volumes that have none."""

_HEADS = ("volume", "series", "id", "modality", "size", "slices", "spacing, mm", "verdict")
_SHORT_ID = 8  # digits of volume_id; --json has all
_WIDE = 100  # columns of a terminal from which the short id has its place

# What the checks say when they fail, where no number says it better.
_WORDS = {
    "single_orientation": "several orientations",
    "orthogonal_orientation": "axes not at right angles",
    "unique_slice_positions": "slices at one place",
    "consistent_pixel_spacing": "several pixel spacings",
    "consistent_image_dimensions": "several sizes",
}


def volumes_of(cohort: Cohort, modalities: Sequence[str] = (), *, irregular: bool = False) -> list[Row]:
    """Return the volumes of a run as plain data.

    Parameters
    ----------
    cohort : Cohort
        The run; assembled.
    modalities : sequence of str
        Modalities wanted, in any case; all by default.
    irregular : bool
        Only volumes that are no regular grid although they have several slices, and unusable ones.

    Returns
    -------
    list of dict
        All columns of `volumes`, with `volume` and `series` (the numbers that the report has for them), `verdict`
        (regular, irregular, single, unjudged or unusable), and in words `why` and `notes`, what was set aside and
        what tells the volume from others of its series; by modality, series and volume.

    Raises
    ------
    ConfigError
        If there are no volumes of a modality asked for.
    """
    rows = cohort.run_folder.read("volumes").to_pylist()
    series = _numbers("S", cohort.run_folder.read("series", ["series_key"])["series_key"].to_pylist())
    names = _numbers("V", [row["volume_id"] for row in rows])
    found = []
    for row in rows:
        finite = {name: _finite(value) for name, value in row.items()}
        place = {"volume": names[row["volume_id"]], "series": series[row["series_key"]]}
        words = {"verdict": verdict_of(row), "why": ", ".join(_against(row)), "notes": ", ".join(_beside(row))}
        found.append(place | words | finite | {"Modality": printable(row["Modality"] or UNKNOWN)})
    wanted = _chosen(modalities, Counter(row["Modality"] for row in found))
    kept = [row for row in found if not wanted or row["Modality"] in wanted]
    kept = [row for row in kept if not irregular or row["verdict"] not in ("regular", "single")]
    return sorted(kept, key=lambda row: (row["Modality"], row["series_key"], row["volume_id"]))


def named_volume(cohort: Cohort, name: str) -> Row:
    """Return the row of `volumes` that a name means: its id, the first digits of it, or its number (V0001).

    Raises
    ------
    MisuseError
        If there is no such volume, or more than one.
    """
    ids = cohort.run_folder.read("volumes", ["volume_id"])["volume_id"].to_pylist()
    numbers = _numbers("V", ids)
    found = [i for i in ids if name in (i, numbers[i])] or [i for i in ids if name and i.startswith(name)]
    if len(found) != 1:
        many = f"{len(found)} volumes begin with {name}" if found else f"there is no volume {name}"
        raise MisuseError(f"{many}; `cohort show {cohort.run_folder.path} --volumes` lists them")
    row: Row = cohort.run_folder.read("volumes", volume_ids=found).to_pylist()[0]
    return row


def why_irregular(row: Row) -> str:
    """Return in words why a row of `volumes` is no regular grid; empty where it is one."""
    return ", ".join(_against(row))


def _numbers(prefix: str, keys: list[str]) -> dict[str, str]:
    """Return the run-local names of keys: the place among all in order, as in the report."""
    return {key: f"{prefix}{number:04d}" for number, key in enumerate(sorted(set(keys)), 1)}


def _finite(value: Any) -> Any:
    """Return a value that JSON can hold."""
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _chosen(wanted: Sequence[str], known: Counter[str]) -> set[str]:
    """Return the modalities meant; raises ConfigError that names those there are."""
    found = set()
    for name in wanted:
        same = [modality for modality in known if modality.casefold() == name.casefold()]
        if not same:
            there = ", ".join(f"{modality} ({count:,})" for modality, count in sorted(known.items()))
            raise ConfigError(f"no volumes of modality {name}; there are {there or 'no volumes at all'}")
        found.update(same)
    return found


# -- verdict -----------------------------------------------------------------------------------------------


def verdict_of(row: Row) -> str:
    """Return in one word what a volume is: regular, irregular, single, unjudged or unusable."""
    if row["status"] != Status.OK:
        return "unusable"
    if row["regularly_spaced_3d_volume"] is None:
        return "single" if (row["slices"] or 0) <= 1 else "unjudged"
    return "regular" if row["regularly_spaced_3d_volume"] else "irregular"


def _against(row: Row) -> Iterator[str]:
    """Yield what keeps the volume from being a regular grid."""
    verdict = verdict_of(row)
    if verdict == "unusable":
        yield f"{row['status']}: {(row['reason'] or 'no reason recorded').replace('_', ' ')}"
    if verdict == "unjudged":
        yield "slice spacing unknown"
    if verdict != "irregular":
        return
    failing = [name.strip() for name in (row["reason_not_regular"] or "").split(",") if name.strip()]
    if row["missing_slice_count"]:
        yield f"{_counted(row['missing_slice_count'], 'slice')} missing"
    if "uniform_slice_spacing" in failing:
        yield f"gaps {_number(row['min_slice_gap_mm'])} to {_number(row['max_slice_gap_mm'])} mm"
    if row["tilt_degrees"]:
        yield f"tilted by {_number(row['tilt_degrees'])} degrees"
    if any(name.startswith("consistent_in_plane") for name in failing) and row["in_plane_drift_mm"]:
        yield f"slices drift {_number(row['in_plane_drift_mm'])} mm in the plane"
    for name in failing:
        if not name.startswith(("uniform_slice_spacing", "consistent_in_plane")):
            yield _WORDS.get(name, name.replace("_", " "))


def _beside(row: Row) -> Iterator[str]:
    """Yield what was set aside, and what tells the volume from others of its series."""
    if row["status"] == Status.OK and row["reason"]:
        yield f"not read: {row['reason'].replace('_', ' ')}"
    if row["duplicate_slice_count"]:
        yield f"{_counted(row['duplicate_slice_count'], 'duplicate')} set aside"
    if row["excluded_instance_count"] and row["status"] == Status.OK:
        yield f"{row['excluded_instance_count']:,} excluded"
    if (row["channels"] or 1) > 1:
        yield f"{row['channels']} channels"
    if row["split_reason"]:
        yield f"split by {row['split_reason']}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.4g}"


# -- text --------------------------------------------------------------------------------------------------


def as_text(rows: list[Row], *, irregular: bool = False) -> str:
    """Return the volumes as text for a file or another program: one line each, aligned, nothing cut."""
    if not rows:
        return headline(rows, irregular=irregular) + "\n"
    return f"{headline(rows, irregular=irregular)}\n{aligned(_HEADS, [_cells(row) for row in rows], left=range(8))}"


def draw(rows: list[Row], *, irregular: bool = False) -> None:
    """Draw the volumes on the terminal, as wide as it is; the verdict wraps."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(headline(rows, irregular=irregular))
    if not rows:
        return
    shown = [i for i, head in enumerate(_HEADS) if head != "id" or console.width >= _WIDE]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for i in shown:
        table.add_column(_HEADS[i], no_wrap=_HEADS[i] != "verdict")
    styles = {"irregular": "red", "unusable": "red", "unjudged": "yellow"}
    for row in rows:
        cells = [Text(cell) for cell in _cells(row)]
        cells[-1].stylize(styles.get(row["verdict"], ""))
        table.add_row(*(cells[i] for i in shown))
    console.print(table)


def headline(rows: list[Row], *, irregular: bool = False) -> str:
    """Return how many volumes of each verdict there are, in one line."""
    if not rows:
        return "no irregular volumes" if irregular else "no volumes"
    kinds = Counter(row["verdict"] for row in rows)
    words = {
        "regular": "regular", "irregular": "not regular", "single": "of a single slice", "unjudged": "without verdict",
        "unusable": "unusable",
    }  # fmt: skip
    parts = [f"{kinds[kind]:,} {word}" for kind, word in words.items() if kinds[kind]]
    return f"{_counted(len(rows), 'volume')}: {', '.join(parts)}"


def _cells(row: Row) -> tuple[str, ...]:
    slices = f"{row['slices'] if row['slices'] is not None else '-'}"
    if (row["timepoints"] or 1) > 1:
        slices += f"x{row['timepoints']}"
    steps = [row[f"spacing_{axis}_mm"] for axis in ("row", "col", "slice")]
    spacing = "x".join("-" if step is None else f"{step:.3g}" for step in steps)
    verdicts = {"irregular": "not regular", "single": "single slice", "unjudged": "no verdict"}
    verdict = verdicts.get(row["verdict"], str(row["verdict"]))
    verdict += f": {row['why']}" if row["why"] else ""
    return (
        row["volume"], row["series"], row["volume_id"][:_SHORT_ID], row["Modality"],
        "-" if row["rows"] is None else f"{row['rows']}x{row['columns']}", slices,
        "-" if steps == [None] * 3 else spacing, f"{verdict}; {row['notes']}" if row["notes"] else verdict,
    )  # fmt: skip
