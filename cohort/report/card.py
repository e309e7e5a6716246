"""The cohort card: what a description of a cohort must say beyond its counts and its flow.

The items follow the reporting guidelines CLAIM (Mongan 2020, Radiol Artif Intell 2:e200029) and METRIC
(Schwabe 2024, npj Digit Med 7:203). Series, not images, are counted; patients are suppressed where few.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cohort.report import contents, names, suppress
from cohort.report.flow import grouped

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cohort.report.safe import SafeRun

MOST_VARIANTS = 60
"""Acquisition variants listed; the rest is added up."""

# What makes an acquisition: attribute, digits kept, unit. Digits, because scanners write 4.999999.
_PARAMETERS: tuple[tuple[str, int, str], ...] = (
    ("MagneticFieldStrength", 2, "T"),
    ("KVP", 0, "kV"),
    ("ConvolutionKernel", 0, ""),
    ("RepetitionTime", 0, "ms"),
    ("EchoTime", 1, "ms"),
    ("InversionTime", 0, "ms"),
    ("FlipAngle", 0, "\u00b0"),
    ("SliceThickness", 2, "mm"),
)
_SHORT = {
    "MagneticFieldStrength": "field", "KVP": "tube", "ConvolutionKernel": "kernel", "RepetitionTime": "TR",
    "EchoTime": "TE", "InversionTime": "TI", "FlipAngle": "flip", "SliceThickness": "thickness",
}  # fmt: skip


def body_parts(run: SafeRun, min_cell: int) -> list[dict[str, Any]]:
    """Return series and patients per modality and body part, most series first."""
    table = run.read("series", ["Modality", "BodyPartExamined"], numbers=["PatientID"])
    table = _without_empty(table, ["Modality", "BodyPartExamined"])
    keys = ["Modality", "BodyPartExamined"]
    found = table.group_by(keys).aggregate([([], "count_all"), ("PatientID", "count_distinct")]).to_pylist()
    rows = [
        {
            "modality": names.label(row["Modality"]),
            "body_part": names.label(row["BodyPartExamined"]),
            "series": row["count_all"],
            "patients": suppress.count_text(row["PatientID_count_distinct"], min_cell)["text"],
        }
        for row in found
    ]
    rows.sort(key=lambda row: (-row["series"], row["modality"], row["body_part"]))
    return rows[: contents.MOST_ROWS]


def kernels(run: SafeRun) -> list[dict[str, Any]]:
    """Return the reconstruction kernels of CT, in series."""
    table = run.read("series", ["Modality", "ConvolutionKernel"])
    joined = pa.table({"kernel": _joined(table["ConvolutionKernel"]), "modality": table["Modality"]})
    counts: Counter[str] = Counter()
    for row in grouped(joined.filter(pc.equal(joined["modality"], "CT")), ["kernel"]):
        counts[names.label(row["kernel"])] += row["count_all"]
    return contents.distribution(counts)


def geometry(run: SafeRun) -> list[dict[str, Any]]:
    """Return quartiles per modality of field of view and obliquity of the usable volumes."""
    measured = [
        "rows",
        "columns",
        "slices",
        "spacing_row_mm",
        "spacing_col_mm",
        "spacing_slice_mm",
        "obliquity_degrees",
    ]
    table = run.read("volumes", ["Modality", "status", *measured])
    table = table.filter(pc.equal(table["status"], "ok"))
    label = _labels(table["Modality"])
    value = {name: np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)) for name in measured}
    extents = {
        "field_of_view_rows_mm": value["rows"] * value["spacing_row_mm"],
        "field_of_view_columns_mm": value["columns"] * value["spacing_col_mm"],
        "coverage_mm": value["slices"] * value["spacing_slice_mm"],
        "obliquity_degrees": value["obliquity_degrees"],
    }
    found = [
        {"label": name, "volumes": int((label == name).sum())}
        | {key: quartiles(values[label == name]) for key, values in extents.items()}
        for name in sorted(set(label.tolist()))
    ]
    found.sort(key=lambda row: (-row["volumes"], row["label"]))
    return found[: contents.MOST_COLUMNS]


def quartiles(values: NDArray[np.float64]) -> dict[str, Any] | None:
    """Return extremes and quartiles (inverted CDF: values that occur), None where there is no finite value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    marks = np.percentile(finite, [0, 25, 50, 75, 100], method="inverted_cdf")
    keys = ("min", "p25", "p50", "p75", "max")
    return {"count": len(finite)} | {key: round(float(mark), 3) for key, mark in zip(keys, marks, strict=True)}


def variants(run: SafeRun, min_cell: int) -> dict[str, Any]:
    """Return the acquisition variants: each different set of parameters per modality and body part."""
    attributes = [name for name, _, _ in _PARAMETERS]
    table = run.read("series", ["Modality", "BodyPartExamined", "format", *attributes], numbers=["PatientID"])
    table = table.filter(pc.equal(table["format"], "dicom")).drop_columns(["format"])
    columns = {name: table[name] for name in ("PatientID", "Modality", "BodyPartExamined")}
    for name, digits, _ in _PARAMETERS:
        column = table[name]
        columns[name] = _joined(column) if pa.types.is_list(column.type) else pc.round(column, digits)
    keys = ["Modality", "BodyPartExamined", *attributes]
    tidy = _without_empty(pa.table(columns), ["Modality", "BodyPartExamined", "ConvolutionKernel"])
    found = tidy.group_by(keys).aggregate([([], "count_all"), ("PatientID", "count_distinct")]).to_pylist()
    rows = [_variant(row, min_cell) for row in found if any(row[name] is not None for name in attributes)]
    rows.sort(key=lambda row: (-row["series"], row["modality"], row["body_part"], row["parameters"]))
    return {
        "different": len(rows),
        "rows": rows[:MOST_VARIANTS],
        "series_not_listed": sum(row["series"] for row in rows[MOST_VARIANTS:]),
    }


def _variant(row: dict[str, Any], min_cell: int) -> dict[str, Any]:
    words = []
    for name, _, unit in _PARAMETERS:
        value = row[name]
        if value is not None:
            told = names.number(value) if isinstance(value, float) else names.label(value)
            words.append(f"{_SHORT[name]} {told}" + ("" if unit == "\u00b0" else "\u00a0" if unit else "") + unit)
    return {
        "modality": names.label(row["Modality"]),
        "body_part": names.label(row["BodyPartExamined"]),
        "parameters": ", ".join(words),
        "series": row["count_all"],
        "patients": suppress.count_text(row["PatientID_count_distinct"], min_cell)["text"],
    }


def labels(run: SafeRun) -> dict[str, int]:
    """Return how many volumes are label maps and how many series are contours."""
    unit = run.read("volumes", ["value_unit"])["value_unit"]
    modality = run.read("series", ["Modality"])["Modality"]
    return {
        "label_volumes": int(pc.sum(pc.equal(unit, "label")).as_py() or 0),
        "segmentation_series": int(pc.sum(pc.equal(modality, "SEG")).as_py() or 0),
        "contour_series": int(pc.sum(pc.equal(modality, "RTSTRUCT")).as_py() or 0),
    }


def duplicates(run: SafeRun) -> int | None:
    """Return the frames set aside as copies; None where volumes were not assembled into frames."""
    if not run.has("frames"):
        return None
    return int(pc.sum(pc.equal(run.read("frames", ["role"])["role"], "duplicate")).as_py() or 0)


def privacy(run: SafeRun, kinds: list[dict[str, Any]] | None) -> dict[str, Any]:
    """Return what headers claim about de-identification and burned-in text, and the findings about it."""
    claimed = ("PatientIdentityRemoved", "BurnedInAnnotation")
    table = run.read("series", ["format", *claimed])
    table = table.filter(pc.equal(table["format"], "dicom"))
    said = {name: contents.distribution(_labels(table[name]).tolist()) for name in claimed}
    return {"claims": said, "findings": _kinds(kinds, "PHI-")}


def leakage(kinds: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Return the findings about what parts of the cohort share; None where nothing was checked."""
    return _kinds(kinds, "LEAK-")


def _kinds(kinds: list[dict[str, Any]] | None, prefix: str) -> list[dict[str, Any]] | None:
    if kinds is None:
        return None
    keys = ("code", "severity", "scope", "text", "hint")
    return [{key: kind[key] for key in keys} for kind in kinds if kind["code"].startswith(prefix)]


def _labels(values: pa.ChunkedArray) -> NDArray[np.object_]:
    """Return labels of a column, each different value named once."""
    coded = pc.fill_null(values, "").combine_chunks().dictionary_encode()
    told = np.array([names.label(value) for value in coded.dictionary.to_pylist()], object)
    return told[coded.indices.to_numpy()] if len(told) else told


def _joined(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return lists of words as DICOM writes them, with backslashes."""
    return pc.binary_join(values, "\\")


def _without_empty(table: pa.Table, columns: list[str]) -> pa.Table:
    """Return the table with empty words as null: both mean that nothing is said."""
    for name in columns:
        place = table.schema.get_field_index(name)
        value = pc.if_else(
            pc.equal(pc.utf8_trim_whitespace(table[name]), ""), pa.scalar(None, pa.string()), table[name]
        )
        table = table.set_column(place, name, value)
    return table
