"""A run folder in memory: tables with the schemas of the data dictionary and made-up values."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from cohort import schema
from cohort.errors import MissingStageError
from cohort.findings import BY_CODE
from cohort.schema import Privacy

SEED = 20260101
PRIVATE = (Privacy.TEXT, Privacy.PATH, Privacy.IDENTIFIER)


@dataclass
class FakeRun:
    """What the report may assume about a run folder."""

    tables: dict[str, pa.Table]
    config: dict[str, Any] = field(default_factory=lambda: {"scan": {"shard_size": 2000}, "cluster": {"workers": 4}})
    path: Path = Path("OUT-CNRY")

    def read(self, table: str, columns: Any = None) -> pa.Table:
        if table not in self.tables:
            raise MissingStageError(f"no {table}")
        found = self.tables[table]
        return found if columns is None else found.select(list(columns))

    def has(self, table: str) -> bool:
        return table in self.tables

    def record(self, stage: str) -> dict[str, Any] | None:
        return None

    def info(self) -> dict[str, Any]:
        return {
            "format_version": schema.FORMAT_VERSION,
            "cohort_version": "0.1.0",
            "config": self.config,
            "source": ["/CNRY/source"],
            "host": "CNRYhost",
            "versions": {"dask": "2026.8.0", "numpy": "2.4.6", "pydicom": "3.0.2", "zarr": "3.2.1"},
            "stages": {"scan": {"seconds": 12.5}},
        }


# Modality, unit, (rows, columns, slices), (row, col, slice mm), thickness, volumes, maker, model, body part
PROTOCOLS = (
    ("CT", "HU", (512, 512, 120), (0.703125, 0.703125, 1.25), 1.25, 22, "SIEMENS", "SOMATOM Force", "CHEST"),
    (
        "CT",
        "HU",
        (512, 512, 48),
        (0.976562, 0.976562, 5.0),
        5.0,
        8,
        "GE MEDICAL SYSTEMS",
        "Revolution CT",
        "ABDOMEN",
    ),
    (
        "MR",
        "arbitrary",
        (256, 256, 176),
        (1.0, 1.0, 1.0),
        1.0,
        12,
        "Philips Medical Systems",
        "Ingenia",
        "HEAD",
    ),
    ("MR", "arbitrary", (320, 320, 24), (0.6875, 0.6875, 4.4), 4.0, 6, "SIEMENS", "Prisma", "HEAD"),
    ("PT", "BQML", (200, 200, 90), (4.07283, 4.07283, 3.0), 3.0, 6, "SIEMENS", "Biograph128", "WHOLEBODY"),
    (
        "US",
        "arbitrary",
        (600, 800, 1),
        (0.21, 0.21, None),
        None,
        5,
        "Philips Medical Systems",
        "EPIQ 7C",
        "HEART",
    ),
    ("CR", "arbitrary", (2140, 1760, 1), (0.143, 0.143, None), None, 4, "Agfa", "ADC_51xx", "CHEST"),
    (None, "unknown", (64, 64, 36), (3.4, 3.4, 3.5), None, 3, None, None, None),
)
SYNTAX = {
    "CT": "1.2.840.10008.1.2.1",
    "MR": "1.2.840.10008.1.2.4.70",
    "PT": "1.2.840.10008.1.2",
    "US": "1.2.840.10008.1.2.4.50",
}


def canary(table: str, column: str, row: int) -> str:
    return f"CNRY{table}{column}{row:06d}"


def table_of(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Build a table; every private column that a row does not give holds a canary."""
    table = getattr(schema, name.upper())
    columns = {}
    for column in table.columns:
        private = column.privacy in PRIVATE
        values = []
        for number, row in enumerate(rows):
            value = row.get(column.name)
            if value is None and private and column.name not in row:
                text = canary(name, column.name, number)
                value = [text] if column.type == "list<string>" else text.encode() if column.type == "binary" else text
            values.append(value)
        columns[column.name] = values
    return pa.table(columns, schema=table.arrow())


def volumes_and_series() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    random = np.random.default_rng(SEED)
    volumes, series = [], []
    for protocol in PROTOCOLS:
        modality, unit, (rows, columns, slices), spacing, thickness, count, maker, model, part = protocol
        for _ in range(count):
            number = len(volumes)
            patient = number % 23
            frames = max(1, int(slices + random.integers(-6, 7))) if slices > 1 else 1
            key = {"series_key": f"CNRYskey{number:04d}", "SeriesInstanceUID": f"1.2.CNRY.{number}"}
            dicom = modality is not None
            volumes.append(
                key
                | {
                    "volume_id": f"CNRYvol{(number * 7919) % 10007:05d}",
                    "Modality": modality,
                    "format": "dicom" if dicom else "nifti",
                    "status": "ok",
                    "rows": rows,
                    "columns": columns,
                    "slices": frames,
                    "timepoints": 4 if not dicom else 1,
                    "channels": 3 if modality == "US" else 1,
                    "dtype": "float32" if modality == "PT" else "int16",
                    "value_unit": unit,
                    "spacing_row_mm": spacing[0],
                    "spacing_col_mm": spacing[1],
                    "spacing_slice_mm": spacing[2],
                    "slice_thickness_mm": thickness,
                    "regularly_spaced_3d_volume": slices > 1,
                    "duplicate_slice_count": 0,
                    "excluded_instance_count": 0,
                    "n_files": frames if dicom else 1,
                    "n_bytes": frames * rows * columns * 2,
                }
            )
            volume = volumes[-1]
            series.append(
                key
                | {
                    "format": volume["format"],
                    "n_files": volume["n_files"],
                    "n_images": volume["n_files"],
                    "n_bytes": volume["n_bytes"],
                    "n_volumes": 1,
                    "Modality": modality,
                    "PatientID": f"CNRYpat{patient:03d}" if dicom else None,
                    "StudyInstanceUID": f"1.3.CNRY.{patient}.{number % 2}" if dicom else None,
                    "PatientSex": ("O" if patient == 9 else "F" if patient % 2 else "M") if dicom else None,
                    "PatientAge": f"{[93, 97, 34, 48, 55, 61, 67, 72][patient % 8]:03d}Y" if dicom else None,
                    "StudyDate": f"{2016 + patient % 4}0917" if dicom else None,
                    "Manufacturer": maker,
                    "ManufacturerModelName": model,
                    "BodyPartExamined": part,
                    "MagneticFieldStrength": (3.0 if number % 3 else 1.5) if modality == "MR" else None,
                    "KVP": 120.0 if modality == "CT" else None,
                }
                | {
                    f"{name}_missing": _missing(name, modality, volume["n_files"], number)
                    for name in schema.KEY_ATTRIBUTES
                }
            )
    return _with_trouble(volumes), series


def _missing(name: str, modality: str | None, images: int, number: int) -> int:
    mine = {
        "KVP": "CT",
        "ConvolutionKernel": "CT",
        "EchoTime": "MR",
        "RepetitionTime": "MR",
        "FlipAngle": "MR",
        "MagneticFieldStrength": "MR",
        "InversionTime": "MR",
        "Units": "PT",
    }
    if modality is None or mine.get(name, modality) != modality or name in ("Laterality", "BurnedInAnnotation"):
        return images
    return images // 3 if name in ("ProtocolName", "ContrastBolusAgent", "BodyPartExamined") and number % 4 == 0 else 0


def _with_trouble(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for number, reason in (
        (3, "uniform_slice_spacing"),
        (11, "uniform_slice_spacing"),
        (25, "consistent_in_plane_row"),
        (40, "uniform_slice_spacing,unique_slice_positions"),
    ):
        volumes[number] |= {"regularly_spaced_3d_volume": False, "reason_not_regular": reason}
    volumes[3] |= {"missing_slice_count": 2}
    volumes[33] |= {"status": "rejected", "reason": "missing_position", "regularly_spaced_3d_volume": None}
    for number in range(5):
        volumes[number]["spacing_slice_mm"] = 1.0
    return volumes


def files(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [
        {
            "size": 524_288 + 1000 * (n % 3),
            "format": v["format"],
            "status": "ok",
            "is_image": True,
            "container": "gzip" if v["format"] == "nifti" else None,
            "Modality": v["Modality"],
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2" if v["format"] == "dicom" else None,
            "TransferSyntaxUID": SYNTAX.get(v["Modality"], "1.2.840.10008.1.2.1") if v["format"] == "dicom" else None,
            "StudyDate": "20160917",
            "PatientAge": "093Y",
        }
        for v in volumes
        for n in range(v["n_files"])
    ]
    other = (
        (9, "not_imaging", None, None, None),
        (14, "rejected", "truncated_pixels", "dicom", None),
        (3, "rejected", "truncated_header", "dicom", None),
        (2, "unreadable", "EACCES", None, None),
        (1, "quarantined", "timeout", None, None),
        (6, "ok", None, "dicom", "1.2.840.10008.5.1.4.1.1.88.67"),
        (2, "ok", None, "dicom", "1.2.840.10008.5.1.4.1.1.481.3"),
    )
    for count, status, reason, format_, sop in other:
        rows += [
            {
                "size": 12_000,
                "status": status,
                "reason": reason,
                "format": format_,
                "SOPClassUID": sop,
                "is_image": False,
            }
        ] * count
    return rows


def frames(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = [
        {"volume_id": v["volume_id"], "role": "image", "format": v["format"]}
        for v in volumes
        for _ in range(v["slices"])
    ]
    rows += [{"volume_id": volumes[40]["volume_id"], "role": "duplicate", "reason": "same_position"}] * 6
    rows += [{"volume_id": volumes[0]["volume_id"], "role": "excluded", "reason": "other_orientation"}] * 3
    return rows


def ct_histogram() -> list[dict[str, Any]]:
    random = np.random.default_rng(SEED)
    parts = [(-1000, 12, 4e6), (-850, 60, 1.6e6), (-95, 22, 1.1e6), (45, 28, 1.9e6), (300, 260, 2.2e5)]
    values = np.concatenate([random.normal(mean, std, int(n / 20)) for mean, std, n in parts]).round().clip(-1024, 3071)
    value, count = np.unique(values, return_counts=True)
    return [
        {
            "group": "CT",
            "channel": 0,
            "value_unit": "HU",
            "kind": "integer",
            "value_low": float(v),
            "value_high": float(v),
            "count": int(n) * 20,
        }
        for v, n in zip(value, count, strict=True)
    ]


def keyed(values: Any) -> tuple[Any, Any]:
    """Edges of the bins of float32 values that share their top 18 bits (non-negative ones)."""
    keys = values.astype(np.float32).view(np.uint32) >> 14
    return (keys << 14).astype(np.uint32).view(np.float32), ((keys + 1) << 14).astype(np.uint32).view(np.float32)


def pt_histogram() -> list[dict[str, Any]]:
    values = np.random.default_rng(SEED).lognormal(6.5, 1.4, 300_000)
    edges, count = np.unique(np.stack(keyed(values)), axis=1, return_counts=True)
    return [
        {
            "group": "PT",
            "channel": 0,
            "value_unit": "BQML",
            "kind": "float",
            "value_low": float(low),
            "value_high": float(high),
            "count": int(n) * 7,
        }
        for low, high, n in zip(*edges, count, strict=True)
    ]


def small_histogram(group: str | None, unit: str, channels: int, top: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(SEED + top)
    rows = []
    for channel in range(channels):
        values = random.gamma(1.6 + 0.5 * channel, top / 9, 60_000).round().clip(0, top)
        for value, count in zip(*np.unique(values, return_counts=True), strict=True):
            rows.append(
                {
                    "group": group,
                    "channel": channel,
                    "value_unit": unit,
                    "kind": "integer",
                    "value_low": float(value),
                    "value_high": float(value),
                    "count": int(count) * 11,
                }
            )
    return rows


def histograms() -> list[dict[str, Any]]:
    rows = ct_histogram() + small_histogram("MR", "arbitrary", 1, 1800) + pt_histogram()
    rows += small_histogram("US", "arbitrary", 3, 255) + small_histogram("CR", "arbitrary", 1, 4095)
    rows += small_histogram(None, "unknown", 1, 900)
    rows = [{"group_by": "Modality", "view": "all", **row} for row in rows]
    return [*rows, rows[0] | {"group_by": "PatientID", "group": "CNRYgroup"}]


def statistics(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for number, volume in enumerate(volumes):
        if volume["status"] == "ok":
            count = volume["rows"] * volume["columns"] * volume["slices"]
            rows.append(
                {
                    "volume_id": volume["volume_id"],
                    "value_unit": volume["value_unit"],
                    "count": count,
                    "padding_count": 100 * number,
                    "nan_count": 0,
                    "inf_count": 0,
                    "min": -1000.0,
                    "max": 2000.0 + number,
                    "mean": -300.0 + number,
                    "std": 410.0,
                }
            )
    return rows


def spacing(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {
        "row": "spacing_row_mm",
        "col": "spacing_col_mm",
        "slice": "spacing_slice_mm",
        "thickness": "slice_thickness_mm",
    }
    rows = []
    for (axis, name), volume in itertools.product(names.items(), volumes):
        value = volume[name]
        if value is not None:
            rows.append(
                {
                    "group": volume["Modality"],
                    "axis": axis,
                    "value_low_mm": value,
                    "value_high_mm": value,
                    "count": 1,
                }
            )
    for volume in volumes:
        if volume["spacing_slice_mm"]:
            value = volume["spacing_slice_mm"]
            rows.append(
                {
                    "group": volume["Modality"],
                    "axis": "gap",
                    "value_low_mm": value,
                    "value_high_mm": value,
                    "count": volume["slices"] - 1,
                }
            )
    return [*rows, {"group": "CT", "axis": "gap", "value_low_mm": 2.5, "value_high_mm": 2.5, "count": 2}]


def findings(volumes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chosen = [
        ("GEO-MISSING-SLICE", [volumes[3]["volume_id"]]),
        ("GEO-IRREGULAR", [volumes[n]["volume_id"] for n in (3, 11, 25, 40)]),
        ("GEO-TILT", [volumes[25]["volume_id"]]),
        ("GEO-DUPLICATE-SLICE", [volumes[40]["volume_id"]]),
        ("PIX-TRUNCATED", [f"CNRYfile{n}" for n in range(14)]),
        ("FILE-TRUNCATED-HEADER", [f"CNRYfile{n}" for n in range(14, 17)]),
        ("FILE-NOT-IMAGING", ["CNRYcohort"]),
        ("GEO-SPACING-TAG-DISAGREES", [v["volume_id"] for v in volumes[30:48]]),
        ("HDR-MISSING", [volumes[n]["series_key"] for n in range(0, 40, 4)]),
        ("NII-NO-ORIENTATION", [v["volume_id"] for v in volumes[-3:]]),
        ("ID-CONFLICTING-SOP", ["CNRYcohort"]),
        ("PHI-BURNED-IN-RISK", [v["series_key"] for v in volumes if v["Modality"] == "US"]),
    ]
    return [
        {
            "code": code,
            "severity": str(BY_CODE[code].severity),
            "scope": BY_CODE[code].scope,
            "subject": subject,
            "evidence": "{}",
            "hint": BY_CODE[code].hint,
            "cluster": str(BY_CODE[code].cluster),
        }
        for code, subjects in chosen
        for subject in subjects
    ]


def make_run(pixels: bool = True, **series_values: Any) -> FakeRun:
    """Return a run of 66 volumes; `series_values` replace values of every series."""
    volumes, series = volumes_and_series()
    for row in series:
        row |= series_values
    tables = {
        "files": table_of("files", files(volumes)),
        "series": table_of("series", series),
        "volumes": table_of("volumes", volumes),
        "frames": table_of("frames", frames(volumes)),
        "findings": table_of("findings", findings(volumes)),
    }
    if pixels:
        outcomes = [{"volume_id": v["volume_id"], "status": "ok"} for v in volumes if v["status"] == "ok"]
        outcomes[20] |= {"status": "rejected", "reason": "decoder_failed"}
        outcomes[21] |= {"reason": "whole_slide"}
        tables |= {
            "outcomes": table_of("outcomes", outcomes),
            "statistics": table_of("statistics", statistics(volumes)),
            "histograms": table_of("histograms", histograms()),
            "spacing": table_of("spacing", spacing(volumes)),
        }
    return FakeRun(tables)


def empty_run() -> FakeRun:
    """Return a run over an empty source: all tables, no rows."""
    return FakeRun({table.name: table.arrow().empty_table() for table in schema.TABLES})
