"""What `cohort show` says: a run as plain data, and as text for a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cohort.reductions.grouping import UNKNOWN
from cohort.report import vocabulary
from cohort.schema import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cohort.cohort import Cohort

Row = dict[str, Any]


def summarise(cohort: Cohort) -> Row:
    """Return counts, modalities, spacing and findings of a run as plain data."""
    found: Row = {"files": (cohort.record("scan") or {}).get("counts", {})}
    assembled = cohort.record("assemble")
    if assembled is None:
        return found
    found["assembled"] = assembled["counts"]
    found["modalities"] = _modalities(cohort)
    ingested = cohort.record("ingest")
    found["ingested"] = ingested["counts"] if ingested else None
    if cohort.record("reduce") is not None:
        found["values"] = _values(cohort) if ingested else []
        found["spacing"] = _spacing(cohort)
    checked = cohort.record("check")
    if checked is not None:
        found["findings"] = _findings(cohort)
    return found


def _modalities(cohort: Cohort) -> list[Row]:
    names = ["Modality", "series_key", "n_files", "n_bytes", "zarr_path", "regularly_spaced_3d_volume"]
    volumes = cohort.run_folder.read("volumes", names).to_pandas()
    rows = []
    for modality, group in volumes.groupby(volumes["Modality"].fillna("-").map(_modality), sort=True):
        judged = group["regularly_spaced_3d_volume"].dropna()
        rows.append({
            "modality": str(modality),
            "series": int(group["series_key"].nunique()),
            "volumes": len(group),
            "files": int(group["n_files"].sum()),
            "bytes": int(group["n_bytes"].sum()),
            "stored": int(group["zarr_path"].notna().sum()),
            "regular": int(judged.astype(bool).sum()),
            "irregular": int((~judged.astype(bool)).sum()),
        })  # fmt: skip
    return rows


def _modality(value: str) -> str:
    return _known("Modality", value)


def _known(attribute: str, value: str) -> str:
    """Return a word of a header where it is a known one: this text is pasted into tickets and kept in logs."""
    return value if value in ("-", UNKNOWN) or vocabulary.is_known(attribute, value) else vocabulary.OTHER


def _values(cohort: Cohort) -> list[Row]:
    """Return the moments and percentiles that `reduce` stored per Modality."""
    stored = json.loads((cohort.run_folder.path / "statistics" / "summary.json").read_text(encoding="utf-8"))
    named = ("group", "value_unit")
    return [
        {"modality": _modality(row["group"]), "unit": _known("value_unit", row["value_unit"])}
        | {name: value for name, value in row.items() if name not in named}
        for row in stored["Modality"]
    ]


def _spacing(cohort: Cohort) -> list[Row]:
    frame = cohort.run_folder.read("spacing").to_pandas()
    frame["group"] = frame["group"].map(_modality)
    rows = []
    for (group, axis), values in frame.groupby(["group", "axis"], sort=True):
        ordered = values.groupby("value_low_mm", as_index=False)["count"].sum()
        total = int(ordered["count"].sum())
        middle = ordered["value_low_mm"][ordered["count"].cumsum() >= total / 2].iloc[0]
        rows.append({
            "modality": group, "axis": axis, "count": total, "distinct": len(ordered),
            "min_mm": float(ordered["value_low_mm"].iloc[0]), "median_mm": float(middle),
            "max_mm": float(ordered["value_low_mm"].iloc[-1]),
        })  # fmt: skip
    return rows


def _findings(cohort: Cohort) -> list[Row]:
    kinds = ["severity", "code", "hint"]
    grouped = cohort.run_folder.read("findings", kinds).group_by(kinds).aggregate([([], "count_all")])
    order = {severity: place for place, severity in enumerate(("error", "warning", "info"))}
    found: list[Row] = grouped.rename_columns({"count_all": "count"}).to_pylist()
    return sorted(found, key=lambda row: (order[row["severity"]], row["code"]))


# -- text --------------------------------------------------------------------------------------------------


def as_text(found: Row) -> str:
    """Return the summary as text, tables aligned."""
    parts = [_files_text(found["files"])]
    if "modalities" in found:
        names = ("series", "volumes", "files", "bytes", "stored", "regular", "irregular")
        heads = ("modality", "series", "volumes", "files", "MB", "in Zarr", "regular", "not regular")
        rows = [{**m, "bytes": f"{m['bytes'] / 1e6:,.1f}"} for m in found["modalities"]]
        parts.append(aligned(heads, [(m["modality"], *(m[name] for name in names)) for m in rows]))
    if found.get("values"):
        numbers = ("min", "p1", "p50", "p99", "max", "mean", "std")
        value_rows = [
            (v["modality"], v["unit"], v["count"], *(_number(v[n]) for n in numbers)) for v in found["values"]
        ]
        value_heads = ("modality", "unit", "voxels", "min", "p1", "median", "p99", "max", "mean", "std")
        parts.append("values, exact over all voxels\n" + aligned(value_heads, value_rows))
    if found.get("spacing"):
        lengths = ("min_mm", "median_mm", "max_mm")
        cells = [
            (s["modality"], s["axis"], s["count"], s["distinct"], *(_number(s[n]) for n in lengths))
            for s in found["spacing"]
        ]
        parts.append(
            "spacing, mm\n" + aligned(("modality", "axis", "count", "distinct", "min", "median", "max"), cells)
        )
    if "findings" in found:
        lines = [(f["severity"], f["code"], f["count"], f["hint"]) for f in found["findings"]]
        finding_heads = ("severity", "code", "count", "what to do")
        parts.append("findings\n" + (aligned(finding_heads, lines, left=(0, 1, 3)) if lines else "  none\n"))
    return "\n".join(parts)


def _files_text(counts: Row) -> str:
    if not counts:
        return "no files scanned yet\n"
    lines = [f"{counts['objects']:,} files, {counts['bytes'] / 1e6:,.1f} MB, {counts['images']:,} images"]
    lines += [f"  {counts['status'].get(status, 0):>9,}  {status}" for status in Status if counts["status"].get(status)]
    lines += [f"  {count:>9,}  {reason}" for reason, count in counts["reasons"].items()]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.6g}"


def printable(text: str) -> str:
    """Return text without what could steer a terminal: header values may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in text)


def aligned(heads: Sequence[str], rows: list[tuple[Any, ...]], left: Sequence[int] = (0, 1)) -> str:
    """Align a table: text to the left, numbers to the right."""
    texts = [
        heads,
        *(tuple(f"{cell:,}" if isinstance(cell, int) else printable(str(cell)) for cell in row) for row in rows),
    ]
    widths = [max(len(row[i]) for row in texts) for i in range(len(heads))]
    text_columns = {i for i in left if not rows or isinstance(rows[0][i], str)}
    lines = []
    for row in texts:
        cells = (
            c.ljust(w) if i in text_columns else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines) + "\n"
