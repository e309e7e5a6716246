"""A row of `files` against what plain pydicom reads of the same bytes."""

from __future__ import annotations

import math
from typing import Any

from oracle import Header

from cohort.readers import Row
from cohort.schema import DICOM_COLUMNS, FRAME_COLUMNS, ITEM_COLUMNS

COLUMNS = [(column.name, column.type) for column in DICOM_COLUMNS]
ABSENT = "absent"
_FILLED_FROM = {
    "AcquisitionNumber": "FrameAcquisitionNumber",
    "EchoTime": "EffectiveEchoTime",
    "TriggerTime": "NominalCardiacTriggerDelayTime",
}
_FILLED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope")
_FILLED += ("RescaleIntercept", "StackID", "InStackPositionNumber", "DiffusionBValue", *_FILLED_FROM)
_FILLED += ("DiffusionGradientOrientation", "FrameReferenceTime", "KVP")
_WIDTHS = {
    "ImagePositionPatient": 3,
    "ImageOrientationPatient": 6,
    "PixelSpacing": 2,
    "DiffusionGradientOrientation": 3,
}
_NOTHING = {"list<float64>": math.nan, "list<int64>": 0, "list<string>": ""}
_COMPARED = [name for name, _ in COLUMNS] + [column.name for column in (*FRAME_COLUMNS, *ITEM_COLUMNS)]
_COMPARED += ["TransferSyntaxUID", "is_image", "pixel_offset", "pixel_length", "us_spacing_row_mm", "us_spacing_col_mm"]


def same(left: Any, right: Any) -> bool:
    """Equality that knows types and takes NaN as equal to itself."""
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))


def differences(row: Row, header: Header, *, stored: bool = True) -> dict[str, tuple[Any, Any]]:
    """Columns that differ, with what the row says and what pydicom says; not `stored`: the object was compressed."""
    expected = expected_row(header, stored=stored)
    found = {}
    for name in _COMPARED:
        if not same(row.get(name), expected.get(name)):
            found[name] = (row.get(name), expected.get(name))
    for name in ("empty_tags", "unparsed"):
        listed = {text.split("=", 1)[0] for text in row.get(name) or ()}
        for other in listed ^ expected[name]:
            found[f"{name}: {other}"] = (other in listed, other in expected[name])
    return found


def expected_row(header: Header, *, stored: bool) -> Row:
    """The row as the data dictionary words it, from what pydicom reads."""
    row: Row = dict(header.values)
    row["empty_tags"] = {name for name, value in row.items() if value is None}
    row["unparsed"] = header.unparsed
    row["TransferSyntaxUID"] = header.transfer_syntax
    row["is_image"] = header.pixels is not None
    if header.pixels is None:
        return row
    row["pixel_offset"], row["pixel_length"] = header.pixels if stored else (None, None)
    for column in FRAME_COLUMNS:
        values = header.frames.get(column.name.removeprefix("frame_"))
        if values is not None:
            row[column.name] = flattened(column.name.removeprefix("frame_"), column.type, values)
    for name in _FILLED:
        values = header.frames.get(_FILLED_FROM.get(name, name))
        if row.get(name) is None and values and all(value == values[0] for value in values):
            row[name] = values[0]
    for name, value in header.common.items():
        if row.get(name) is None and value is not None:
            row[name] = value
    if row.get("SliceVector"):
        for name, value in header.detector.items():
            if row.get(name) is None and value is not None and len(value) == _WIDTHS[name]:
                row[name] = value
    row |= header.items
    if header.region:
        row["us_spacing_row_mm"], row["us_spacing_col_mm"] = header.region
    return row


def flattened(name: str, kind: str, values: list[Any]) -> list[Any]:
    width, nothing = _WIDTHS.get(name), _NOTHING[kind]
    if width is None:
        return [nothing if value is None else value for value in values]
    return [number for value in values for number in (value if value and len(value) == width else [nothing] * width)]
