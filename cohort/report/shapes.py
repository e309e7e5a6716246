"""The grids: shapes, spacing, and the verdict on geometry."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from cohort.report import names
from cohort.report.flow import why_not_regular
from cohort.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.report.safe import SafeRun

MOST_VALUES = 60
"""Different spacings drawn per modality and axis; more are merged on a logarithmic grid."""
MOST_MODALITIES = 12
OTHER = "other modalities"
"""Label of what is beyond `MOST_MODALITIES`: hostile headers must not grow the page."""
MOST_SHAPES = 12
MOST_VOLUMES = 200
MOST_POINTS = 600

AXES = ("row", "col", "slice", "thickness", "gap")

_COLUMNS = [
    "Modality", "status", "reason", "split_reason", "rows", "columns", "slices", "timepoints", "channels",
    "spacing_row_mm", "spacing_col_mm", "spacing_slice_mm", "slice_thickness_mm",
    "regularly_spaced_3d_volume", "reason_not_regular",
]  # fmt: skip


def volume_rows(run: SafeRun) -> list[dict[str, Any]]:
    """Return the volumes with run-local numbers, and what became of them when their pixels were read."""
    rows: list[dict[str, Any]] = run.read("volumes", _COLUMNS, numbers=["volume_id", "series_key"]).to_pylist()
    studied = run.read("series", years=["StudyDate"], numbers=["series_key", "PatientID"]).to_pylist()
    when = {row["series_key"]: row for row in studied}
    fate = {}
    if run.has("outcomes"):
        outcomes = run.read("outcomes", ["status", "reason"], numbers=["volume_id"]).to_pylist()
        fate = {row["volume_id"]: row for row in outcomes}
    for row in rows:
        later = fate.get(row["volume_id"])
        if later is not None:
            row |= {"status": later["status"], "reason": later["reason"]}
        row["verdict"] = _verdict(row)
        of_series = when.get(row["series_key"], {})
        row |= {"year": of_series.get("StudyDate"), "patient": of_series.get("PatientID")}
        row["label"] = names.label(row["Modality"])
    counts = Counter(row["label"] for row in rows)
    kept = set(sorted(counts, key=lambda label: (-counts[label], label))[:MOST_MODALITIES])
    for row in rows:
        row["label"] = row["label"] if row["label"] in kept else OTHER
    return rows


def _verdict(row: dict[str, Any]) -> str:
    if row["status"] != Status.OK:
        return "unusable"
    regular = row["regularly_spaced_3d_volume"]
    if regular is None and (row["slices"] or 0) <= 1:
        return "single"
    return "regular" if regular else "irregular"


def verdicts(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return per modality how many volumes are regular grids, single slices, irregular or unusable."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for volume in volumes:
        groups[volume["label"]].append(volume)
    rows = []
    for label, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        kinds = Counter(volume["verdict"] for volume in group)
        reasons = Counter(why_not_regular(volume) for volume in group if volume["verdict"] == "irregular")
        ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:5]
        counts = {kind: kinds[kind] for kind in ("regular", "single", "irregular", "unusable")}
        rows.append(
            {
                "label": label,
                "volumes": len(group),
                **counts,
                "reasons": [{"reason": r, "count": n} for r, n in ranked],
            }
        )
    return rows


def volume_table(
    volumes: list[dict[str, Any]], codes: dict[int, list[str]], cells: dict[int, list[int]]
) -> list[dict[str, Any]]:
    """Return the volumes to look at first, at most `MOST_VOLUMES`, with the codes of their findings.

    `cells` is the cell of the cube each volume lies in.
    """
    order = {"irregular": 0, "unusable": 1, "regular": 2, "single": 3}
    ranked = sorted(volumes, key=lambda v: (order[v["verdict"]], -len(codes.get(v["volume_id"], ())), v["volume_id"]))
    return [
        {
            "id": names.local("V", volume["volume_id"]),
            "modality": volume["label"],
            "shape": [volume[name] for name in ("rows", "columns", "slices", "timepoints", "channels")],
            "spacing_mm": [_rounded(volume[f"spacing_{axis}_mm"]) for axis in ("row", "col", "slice")],
            "verdict": volume["verdict"],
            "reason": _reason(volume),
            "findings": codes.get(volume["volume_id"], []),
            "cell": cells[volume["volume_id"]],
        }
        for volume in ranked[:MOST_VOLUMES]
    ]


def _reason(volume: dict[str, Any]) -> str:
    if volume["verdict"] == "unusable":
        return names.reason(volume["status"], volume["reason"])
    return why_not_regular(volume) if volume["verdict"] == "irregular" else ""


def _rounded(value: float | None) -> float | None:
    return round(value, 4) if value is not None and math.isfinite(value) else None


def shapes(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return per modality the matrix sizes and the number of slices of the volumes."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for volume in volumes:
        groups[volume["label"]].append(volume)
    rows = []
    for label, group in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        matrices = Counter((v["rows"] or 0, v["columns"] or 0) for v in group)
        ranked = sorted(matrices.items(), key=lambda item: (-item[1], item[0]))
        slices = Counter(v["slices"] or 0 for v in group)
        rows.append(
            {
                "label": label,
                "volumes": len(group),
                "matrices": [{"rows": r, "columns": c, "count": n} for (r, c), n in ranked[:MOST_SHAPES]],
                "different_matrices": len(matrices),
                "slices": _summary(slices),
                "slice_counts": _merged(slices),
                "with_timepoints": sum(1 for v in group if (v["timepoints"] or 1) > 1),
                "most_timepoints": max((v["timepoints"] or 1 for v in group), default=1),
                "with_channels": sum(1 for v in group if (v["channels"] or 1) > 1),
            }
        )
    return rows


def spacing(run: SafeRun, volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the spacings per modality and axis: exact quartiles, and points to draw."""
    counts: dict[tuple[str, str], Counter[float]] = defaultdict(Counter)
    known = {volume["label"] for volume in volumes}
    for group, axis, value, count in _measured(run, volumes):
        if value is not None and math.isfinite(value) and value >= 0:
            counts[group if group in known else OTHER, axis][value] += count
    weight: Counter[str] = Counter()
    for (label, _), values in counts.items():
        weight[label] += values.total()
    return [
        {"label": label, "axis": axis, **_summary(values), "points": _merged(values)}
        for label in sorted(weight, key=lambda label: (-weight[label], label))
        for axis in AXES
        if (values := counts.get((label, axis), Counter()))
    ]


def _measured(run: SafeRun, volumes: list[dict[str, Any]]) -> Iterator[tuple[str, str, float | None, int]]:
    """Yield modality, axis, value and count: as merged, or from the volumes where nothing was merged."""
    if run.has("spacing"):
        for row in run.read("spacing", ["group", "axis", "value_low_mm", "count"]).to_pylist():
            yield names.label(row["group"]), row["axis"], row["value_low_mm"], row["count"]
        return
    for volume in volumes:
        for axis in AXES[:4]:
            name = "slice_thickness_mm" if axis == "thickness" else f"spacing_{axis}_mm"
            if volume["status"] == Status.OK:
                yield volume["label"], axis, volume[name], 1


def _summary(counts: Counter[Any]) -> dict[str, Any]:
    """Return count, extremes and quartiles (inverted CDF: always a value that occurs)."""
    ordered = sorted(counts.items())
    total = counts.total()
    found = {}
    for name, share in (("min", 0.0), ("p25", 0.25), ("p50", 0.5), ("p75", 0.75), ("max", 1.0)):
        seen = 0
        for value, count in ordered:
            seen += count
            if seen >= share * total:
                found[name] = value
                break
    return {"count": total, "different": len(ordered), **found}


def _merged(counts: Counter[Any]) -> list[dict[str, Any]]:
    """Return values with their counts, near ones merged until there are few enough; counts are preserved."""
    points = [(float(value), float(value), count) for value, count in sorted(counts.items())]
    ratio = 1.02
    while len(points) > MOST_VALUES:
        merged: list[tuple[float, float, int]] = []
        for low, high, count in points:
            if merged and merged[-1][0] > 0 and high <= merged[-1][0] * ratio:
                merged[-1] = (merged[-1][0], high, merged[-1][2] + count)
            else:
                merged.append((low, high, count))
        points, ratio = merged, ratio**1.5
    return [{"low": low, "high": high, "count": count} for low, high, count in points]


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def spacing_against_thickness(volumes: list[dict[str, Any]]) -> dict[str, Any]:
    """Return volumes with both a slice spacing and a thickness, counted on a grid of 0.1 mm or coarser."""
    both = [
        (v["label"], v["spacing_slice_mm"], v["slice_thickness_mm"])
        for v in volumes
        if v["status"] == Status.OK and _positive(v["spacing_slice_mm"]) and _positive(v["slice_thickness_mm"])
    ]
    grid = 0.1
    while True:
        counts = Counter((label, round(s / grid), round(t / grid)) for label, s, t in both)
        if len(counts) <= MOST_POINTS:
            break
        grid *= 2
    points = [
        {"label": label, "spacing": round(s * grid, 4), "thickness": round(t * grid, 4), "count": n}
        for (label, s, t), n in sorted(counts.items())
    ]
    # Half a per cent: scanners round what they write.
    gap = sum(1 for _, s, t in both if s > t * 1.005)
    overlap = sum(1 for _, s, t in both if s < t * 0.995)
    return {"grid_mm": grid, "volumes": len(both), "gap": gap, "overlap": overlap, "points": points}
