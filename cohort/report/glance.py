"""The card at the top of the page: one line for each thing that a reader asks first."""

from __future__ import annotations

from typing import Any

from cohort.report import names
from cohort.report.vocabulary import OTHER

_SERIOUS = ("error", "warning")


def glance(data: dict[str, Any]) -> list[dict[str, str]]:
    """Return term, answer, remark and the section that tells more, in reading order."""
    card = data["card"]
    rows = [
        ("Modality \u00d7 body part", *_parts(card["body_parts"]), "contents"),
        ("Scanners", *_first(data["scanners"]["models"], "model"), "contents"),
        ("Sex", _cells(card["patients"]["sex"]), "patients", "patients"),
        ("Age in years", _cells(card["patients"]["age_groups"]), "patients; 90 and above are one group", "patients"),
        ("Slice spacing", *_spacing(data["spacing"]), "shapes"),
        ("Field of view", *_extent(card["geometry"]), "shapes"),
        ("Acquisition variants", *_variants(card["variants"]), "variants"),
        ("Labels", *_labels(card["labels"]), "contents"),
        ("Copies", *_copies(card["duplicate_frames"]), "flow"),
        ("Leakage", *_kinds(card["leakage"], "no finding", "parts of the cohort share items"), "findings"),
        ("Identities", *_kinds(card["privacy"]["findings"], "no finding", "read before sharing images"), "privacy"),
        ("Most often missing", *_missing(data["missingness"]), "missing"),
    ]
    keys = ("term", "answer", "remark", "section")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def _parts(rows: list[dict[str, Any]]) -> tuple[str, str]:
    told = [row for row in rows if names.NOT_GIVEN not in (row["modality"], row["body_part"])]
    shown = [f"{row['modality']} {row['body_part'].lower()} {row['series']:,}" for row in told[:3]]
    return ", ".join(shown) or names.NOT_GIVEN, _more(len(rows) - len(shown), "further pair", "series")


def _first(rows: list[dict[str, Any]], noun: str) -> tuple[str, str]:
    told = [row for row in rows if names.NOT_GIVEN not in row["label"] and OTHER not in row["label"]]
    shown = [f"{row['label']} {row['count']:,}" for row in told[:2]]
    return ", ".join(shown) or names.NOT_GIVEN, _more(len(rows) - len(shown), f"further {noun}", "series")


def _more(count: int, noun: str, unit: str) -> str:
    return unit if count <= 0 else f"{unit}; {names.counted(count, noun)}"


def _cells(cells: list[dict[str, Any]]) -> str:
    return ", ".join(f"{cell['label'].replace('-', chr(0x2013))}: {cell['text']}" for cell in cells) or names.NOT_GIVEN


def _spacing(rows: list[dict[str, Any]]) -> tuple[str, str]:
    shown = [f"{r['label']} {names.number(r['p50'])} mm" for r in rows if r["axis"] == "slice"][:3]
    return ", ".join(shown) or names.NOT_GIVEN, "median of the volumes"


def _extent(rows: list[dict[str, Any]]) -> tuple[str, str]:
    shown = [
        f"{row['label']} {names.number(round(row['field_of_view_columns_mm']['p50']))} mm"
        for row in rows
        if row["field_of_view_columns_mm"]
    ]
    oblique = [row["obliquity_degrees"]["max"] for row in rows if row["obliquity_degrees"]]
    remark = (
        f"median width; oblique by up to {names.number(round(max(oblique), 1))}\u00b0" if oblique else "median width"
    )
    return ", ".join(shown[:3]) or names.NOT_GIVEN, remark


def _variants(found: dict[str, Any]) -> tuple[str, str]:
    if not found["rows"]:
        return "none", "sets of parameters"
    top = found["rows"][0]
    return f"{found['different']:,}", f"most frequent: {top['modality']}, {top['parameters']}, {top['series']:,} series"


def _labels(found: dict[str, int]) -> tuple[str, str]:
    volumes, contours = found["label_volumes"], found["contour_series"]
    if not volumes and not contours:
        return "none", "no label map, no contours"
    return f"{names.counted(volumes, 'label map')}", f"{names.thousands(contours)} series of contours"


def _copies(count: int | None) -> tuple[str, str]:
    return ("not looked for", "") if count is None else (names.counted(count, "frame"), "set aside")


def _kinds(kinds: list[dict[str, Any]] | None, none: str, remark: str) -> tuple[str, str]:
    if kinds is None:
        return "not checked", "run cohort check"
    serious = [kind for kind in kinds if kind["severity"] in _SERIOUS]
    shown = serious or kinds
    if not shown:
        return none, "which is no proof"
    return ", ".join(f"{kind['code']} {kind['text']}" for kind in shown[:3]), remark


def _missing(found: dict[str, Any]) -> tuple[str, str]:
    lacking = [row["attribute"] for row in found["rows"] if any(row["shares"])]
    return ", ".join(lacking[:3]) or "nothing", f"of {len(found['rows'])} key attributes" if found["rows"] else ""
