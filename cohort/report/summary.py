"""Tables -> plain data: the cohort card, which is also `report.json`."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from cohort.report import card, contents, explore, flow, intensity, names, partitions, shapes, suppress

if TYPE_CHECKING:
    from cohort.config import CheckOptions, ReportOptions
    from cohort.report.safe import SafeRun

MOST_FINDINGS = 200
MOST_SUBJECTS = 30
"""Run-local subjects listed per kind of finding."""

_SEVERITIES = ("error", "warning", "info")


def summarise(run: SafeRun, options: ReportOptions, check: CheckOptions | None = None) -> dict[str, Any]:
    """Return everything the page shows as plain data, in a fixed order, without anything private."""
    volumes = shapes.volume_rows(run)
    kinds, codes = _findings(run, options.min_cell)
    cube = explore.cube(volumes, options.min_cell)
    cells = dict(zip((volume["volume_id"] for volume in volumes), cube.pop("places"), strict=True))
    data: dict[str, Any] = {
        "title": options.title,
        "min_cell": options.min_cell,
        "card": _card(run, options.min_cell, kinds)
        | {"partitions": partitions.partitions(run, check, options.min_cell)},
        "flow": flow.flow(run),
        "modalities": contents.modalities(run),
        "scanners": contents.scanners(run),
        "encodings": contents.encodings(run),
        "shapes": shapes.shapes(volumes),
        "spacing": shapes.spacing(run, volumes),
        "spacing_against_thickness": shapes.spacing_against_thickness(volumes),
        "intensity": _intensity(run, volumes),
        "explore": cube,
        "verdicts": shapes.verdicts(volumes),
        "volumes": shapes.volume_table(volumes, codes, cells),
        "findings": kinds,
        "missingness": contents.missingness(run),
        "provenance": run.provenance(),
    }
    data["verdict"] = _verdict(data)
    return data


def _card(run: SafeRun, min_cell: int, kinds: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return what describes the cohort as a whole."""
    return {
        **contents.totals(run),
        "patients": contents.patients(run, min_cell),
        "body_parts": card.body_parts(run, min_cell),
        "kernels": card.kernels(run),
        "geometry": card.geometry(run),
        "variants": card.variants(run, min_cell),
        "labels": card.labels(run),
        "duplicate_frames": card.duplicates(run),
        "privacy": card.privacy(run, kinds),
        "leakage": card.leakage(kinds),
    }


def _intensity(run: SafeRun, volumes: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return histograms and moments, None where no pixels were read."""
    if not (run.has("statistics") and run.has("histograms")):
        return None
    modality_of = {volume["volume_id"]: volume["label"] for volume in volumes}
    found = intensity.histograms(run)
    return {
        "moments": intensity.moments(run, modality_of),
        "histograms": found[: intensity.MOST_ENTRIES],
        "histograms_left_out": max(0, len(found) - intensity.MOST_ENTRIES),
    }


def _findings(run: SafeRun, smallest: int) -> tuple[list[dict[str, Any]] | None, dict[int, list[str]]]:
    """Return the kinds of findings with their subjects, and the codes found on each volume."""
    if not run.has("findings"):
        return None, {}
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    codes: dict[int, set[str]] = defaultdict(set)
    keys = ("severity", "code", "scope", "cluster", "hint")
    for row in run.findings().to_pylist():
        groups[tuple(names.plain(row[key]) for key in keys)].append(row)
        if row["scope"] == "volume" and row["volume"]:
            codes[row["volume"]].add(names.plain(row["code"]))
    kinds: list[dict[str, Any]] = []
    for key, rows in groups.items():
        listed = _subjects(rows)
        kinds.append(
            {
                **dict(zip(keys, key, strict=True)),
                **suppress.count_text(len({row["distinct"] for row in rows}), smallest if key[2] == "patient" else 0),
                "subjects": listed[:MOST_SUBJECTS],
                "more_subjects": max(0, len(listed) - MOST_SUBJECTS),
            }
        )
    kinds.sort(key=lambda kind: (_severity_rank(kind["severity"]), -(kind["count"] or 0), kind["code"]))
    return kinds[:MOST_FINDINGS], {number: sorted(found) for number, found in codes.items()}


def _severity_rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _subjects(rows: list[dict[str, Any]]) -> list[str]:
    """Return run-local identifiers of volumes and series; files and the cohort have none."""
    found = {names.local("V", row["volume"]) for row in rows if row["scope"] == "volume" and row["volume"]}
    found |= {names.local("S", row["series"]) for row in rows if row["scope"] == "series" and row["series"]}
    return sorted(found)


def _verdict(data: dict[str, Any]) -> str:
    """Return one sentence: how much is usable, and whether anything demands a look."""
    card = data["card"]
    if not card["files"]:
        return "No objects were listed: the cohort is empty."
    images = next(step["count"] for step in data["flow"] if step["label"] == "With pixels")
    if not images:
        return f"None of {names.thousands(card['files'])} objects is an image that could be read."
    parts = [_usable(data["flow"], images)]
    if data["findings"] is not None:
        errors = [kind for kind in data["findings"] if kind["severity"] == "error"]
        parts.append(_demands(errors))
    return " ".join(parts)


def _usable(steps: list[dict[str, Any]], images: int) -> str:
    volumes = [step for step in steps if step["unit"] == "volumes"]
    assembled, regular = volumes[0]["count"], volumes[-1]["count"]
    start = f"{names.counted(images, 'image')} form {names.counted(assembled, 'volume')}"
    single = sum(drop["count"] for drop in volumes[-1]["drops"] if drop["reason"] == "single slice")
    rest = volumes[-2]["count"] - regular - single
    not_read = sum(
        drop["count"] for step in volumes for drop in step["drops"] if drop["reason"].startswith(flow.NOT_READ)
    )
    unusable = assembled - volumes[-2]["count"] - not_read
    kinds = [f"{names.thousands(regular)} regular 3-D grids" if regular != 1 else "1 regular 3-D grid"]
    kinds += [names.counted(single, "single-slice image")] if single else []
    kinds += [f"{names.thousands(rest)} irregular"] if rest else []
    kinds += [f"{names.thousands(not_read)} whose pixels are not read"] if not_read else []
    kinds += [f"{names.thousands(unusable)} unusable"] if unusable else []
    joined = kinds[0] if len(kinds) == 1 else ", ".join(kinds[:-1]) + " and " + kinds[-1]
    return f"{start}: {joined}."


def _demands(errors: list[dict[str, Any]]) -> str:
    if not errors:
        return "No finding of severity error."
    if len(errors) == 1:
        return "One kind of finding is an error, to be settled before use."
    return f"{len(errors)} kinds of findings are errors, to be settled before use."
