"""What the cohort holds: modalities, scanners, encodings, patients, and what the headers lack."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from cohort.report import names, suppress
from cohort.schema import KEY_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cohort.report.safe import SafeRun

MOST_COLUMNS = 12
MOST_ROWS = 40
"""Rows shown of a table whose labels come from headers; the rest is added up."""

# Attributes that the standard knows for these modalities only: elsewhere their absence means nothing.
_ONLY_FOR = {
    "KVP": {"CT", "CR", "DX", "MG", "XA", "RF", "PX", "IO"},
    "ConvolutionKernel": {"CT"},
    "MagneticFieldStrength": {"MR"},
    "EchoTime": {"MR"},
    "RepetitionTime": {"MR"},
    "InversionTime": {"MR"},
    "FlipAngle": {"MR"},
    "Units": {"PT", "NM"},
    "RescaleType": {"CT", "CR", "DX", "MG", "PT"},
    "SpacingBetweenSlices": {"MR", "CT", "PT", "NM"},
    "SliceThickness": {"MR", "CT", "PT"},
}


def modalities(run: SafeRun) -> list[dict[str, Any]]:
    """Return series, volumes, objects and bytes per modality, most bytes first."""
    series = run.read("series", ["Modality", "n_files", "n_bytes"]).to_pylist()
    rows: dict[str, dict[str, Any]] = defaultdict(lambda: {"series": 0, "volumes": 0, "files": 0, "bytes": 0})
    for one in series:
        row = rows[names.label(one["Modality"])]
        row["series"] += 1
        row["files"] += one["n_files"] or 0
        row["bytes"] += one["n_bytes"] or 0
    for value in run.read("volumes", ["Modality"])["Modality"].to_pylist():
        rows[names.label(value)]["volumes"] += 1
    ranked = sorted(rows.items(), key=lambda item: (-item[1]["bytes"], item[0]))
    return _capped([{"label": label, **row} for label, row in ranked])


def _capped(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the first rows and add up the others, so that a hostile cohort cannot grow the page."""
    if len(rows) <= MOST_ROWS:
        return rows
    rest = rows[MOST_ROWS:]
    sums = {key: sum(row[key] for row in rest) for key in rest[0] if key != "label"}
    return [*rows[:MOST_ROWS], {"label": f"{len(rest)} more", **sums}]


def distribution(labels: Iterable[str] | Counter[str]) -> list[dict[str, Any]]:
    """Return the count of each label, most frequent first."""
    ranked = sorted(Counter(labels).items(), key=lambda item: (-item[1], item[0]))
    return _capped([{"label": label, "count": count} for label, count in ranked])


def scanners(run: SafeRun) -> dict[str, Any]:
    """Return what made the images, in series."""
    names_ = [
        "Manufacturer",
        "ManufacturerModelName",
        "MagneticFieldStrength",
        "KVP",
        "BodyPartExamined",
        "format",
    ]
    series = run.read("series", [*names_, "Modality"]).to_pylist()
    dicom = [one for one in series if one["format"] == "dicom"]
    models = [_model(names.label(s["Manufacturer"]), names.label(s["ManufacturerModelName"])) for s in dicom]
    return {
        "models": distribution(models),
        "body_parts": distribution(names.label(s["BodyPartExamined"]) for s in dicom),
        "field_strengths": _measured(dicom, "MagneticFieldStrength", "T", lambda s: s["Modality"] == "MR"),
        "kvp": _measured(dicom, "KVP", "kV", lambda s: s["Modality"] in _ONLY_FOR["KVP"]),
    }


def _model(maker: str, model: str) -> str:
    return maker if maker == model else f"{maker} \u00b7 {model}"


def _measured(
    series: list[dict[str, Any]], name: str, unit: str, applies: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """Return a distribution of numbers in their own order, what is not given at the end."""
    counts: Counter[float | None] = Counter(s[name] for s in series if s[name] is not None or applies(s))
    ranked = sorted(counts.items(), key=lambda item: (item[0] is None, item[0] or 0))
    rows = [{"label": names.NOT_GIVEN if v is None else f"{names.number(v)} {unit}", "count": n} for v, n in ranked]
    return _capped(rows)


def encodings(run: SafeRun) -> dict[str, Any]:
    """Return formats and transfer syntaxes, in objects."""
    files = run.read("files", ["format", "container", "TransferSyntaxUID", "size", "is_image"])
    keys = ["format", "container", "TransferSyntaxUID", "is_image"]
    groups = files.group_by(keys).aggregate([([], "count_all"), ("size", "sum")]).to_pylist()
    formats: Counter[str] = Counter()
    syntaxes: Counter[str] = Counter()
    shown = {"dicom": "DICOM", "nifti": "NIfTI", None: "neither"}
    for row in groups:
        packed = f", {names.label(row['container'])}" if row["container"] else ""
        formats[shown.get(row["format"], names.label(row["format"])) + packed] += row["count_all"]
        if row["format"] == "dicom" and row["is_image"]:
            syntaxes[names.transfer_syntax(row["TransferSyntaxUID"])] += row["count_all"]
    return {"formats": distribution(formats), "transfer_syntaxes": distribution(syntaxes)}


def totals(run: SafeRun) -> dict[str, int]:
    """Return the counts of the cohort card that are not of patients."""
    import pyarrow.compute as pc

    size = run.read("files", ["size"])["size"]
    return {
        "files": len(size),
        "bytes": int(pc.sum(size).as_py() or 0),
        "series": len(run.read("series", ["format"])),
        "volumes": len(run.read("volumes", ["format"])),
        "studies": run.count_distinct("series", "StudyInstanceUID"),
    }


def patients(run: SafeRun, min_cell: int) -> dict[str, Any]:
    """Return the patients by sex, age group and year of study, small counts suppressed."""
    rows = run.read("series", years=["StudyDate"], numbers=["PatientID"]).to_pylist()
    persons = demographics(run)
    pairs = {(row["PatientID"], row["StudyDate"]) for row in rows if None not in row.values()}
    years = Counter(year for _, year in pairs)
    return {
        **suppress.count_text(len(persons), min_cell),
        "series_without_id": sum(row["PatientID"] is None for row in rows),
        "sex": suppress.cells(counted(persons.values(), "sex"), min_cell),
        "age_groups": suppress.cells(counted(persons.values(), "age_groups"), min_cell),
        "years": suppress.cells(dict(sorted(years.items())), min_cell),
        "first_year": min(years, default=None),
        "last_year": max(years, default=None),
    }


def demographics(run: SafeRun) -> dict[int, dict[str, str]]:
    """Return `sex` and `age_groups` of each patient by run-local number.

    A patient seen twice belongs to the age group of most of the series.
    """
    rows = run.read("series", ["PatientSex"], age_groups=["PatientAge"], numbers=["PatientID"]).to_pylist()
    by_patient: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["PatientID"] is not None:
            by_patient[row["PatientID"]].append(row)
    return {
        patient: {"sex": _usual(group, "PatientSex"), "age_groups": _usual(group, "PatientAge")}
        for patient, group in by_patient.items()
    }


def counted(persons: Iterable[dict[str, str]], name: str) -> dict[str, int]:
    """Return the patients per `sex` or per one of the `age_groups`, in the order of a table."""
    counts = Counter(person[name] for person in persons)
    return dict(sorted(counts.items(), key=_by_age if name == "age_groups" else _unknown_last))


def _usual(rows: list[dict[str, Any]], name: str) -> str:
    """Return the most frequent value, the first in order among equals, so that row order does not matter."""
    counts = Counter(row[name] for row in rows if row[name])
    return names.label(min(counts, key=lambda value: (-counts[value], value))) if counts else names.NOT_GIVEN


def _unknown_last(item: tuple[str, int]) -> tuple[bool, Any]:
    return item[0] == names.NOT_GIVEN, item[0]


def _by_age(item: tuple[str, int]) -> tuple[bool, Any]:
    digits = item[0].split("-")[0].rstrip("+")
    return item[0] == names.NOT_GIVEN, int(digits) if digits.isdigit() else 0


def missingness(run: SafeRun) -> dict[str, Any]:
    """Return the share of DICOM images that lack each key attribute, per modality.

    `null` marks an attribute that does not belong to the modality and is absent from it throughout.
    """
    import pyarrow.compute as pc

    counted = [f"{name}_missing" for name in KEY_ATTRIBUTES]
    table = run.read("series", ["Modality", "format", "n_images", *counted])
    table = table.filter(pc.and_(pc.equal(table["format"], "dicom"), pc.greater(table["n_images"], 0)))
    sums = table.group_by("Modality").aggregate([(name, "sum") for name in ("n_images", *counted)]).to_pylist()
    groups = sorted(sums, key=lambda row: (-row["n_images_sum"], names.label(row["Modality"])))
    left_out, groups = max(0, len(groups) - MOST_COLUMNS), groups[:MOST_COLUMNS]
    rows: list[dict[str, Any]] = []
    for name in KEY_ATTRIBUTES:
        missing = [int(group[f"{name}_missing_sum"] or 0) for group in groups]
        shares = [_share(name, group, count) for group, count in zip(groups, missing, strict=True)]
        rows.append({"attribute": name, "missing": missing, "shares": shares})
    rows.sort(key=lambda row: (-sum(s or 0 for s in row["shares"]), row["attribute"]))
    return {
        "modalities": [names.label(group["Modality"]) for group in groups],
        "modalities_left_out": left_out,
        "images": [int(group["n_images_sum"]) for group in groups],
        "rows": rows,
    }


def _share(name: str, group: dict[str, Any], missing: int) -> float | None:
    images = int(group["n_images_sum"])
    if missing >= images and name in _ONLY_FOR and group["Modality"] not in _ONLY_FOR[name]:
        return None
    return round(missing / images, 6)
