"""Findings on single objects: what became of them, and values that could not be converted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.checks.finding import finding
from cohort.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]

COLUMNS = ("path", "size", "format", "status", "reason", "unparsed", "is_image", "Rows", "Columns", "BitsAllocated")


def check_file(row: Row) -> Iterator[Row]:
    """Yield the findings on one row of `files`."""
    status, reason, path = row["status"], row["reason"], row["path"]
    if status == Status.NOT_IMAGING:
        if reason == "archive_not_opened":
            yield finding("FILE-ARCHIVE", path, size=row["size"])
        elif reason != "archive":  # of those the members are looked at
            yield finding("FILE-NOT-IMAGING", path, size=row["size"])
    elif status == Status.REJECTED:
        codes = {"truncated_header": "FILE-TRUNCATED-HEADER", "truncated_pixels": "PIX-TRUNCATED"}
        yield finding(codes.get(reason, "FILE-REJECTED"), path, size=row["size"], reason=reason)
    elif status == Status.QUARANTINED:
        yield finding("FILE-QUARANTINED", path, size=row["size"], reason=reason)
    elif status in (Status.CHANGED, Status.VANISHED):
        yield finding("FILE-CHANGED", path, size=row["size"], status=status)
    elif status != Status.OK:
        yield finding("FILE-UNREADABLE", path, status=status, reason=reason)
    elif not row["is_image"] and row["Rows"] and row["Columns"] and row["BitsAllocated"]:
        yield finding("PIX-MISSING", path, rows=row["Rows"], columns=row["Columns"], size=row["size"])
    if row["unparsed"]:
        yield finding("HDR-UNPARSED", path, attributes=sorted(text.split("=", 1)[0] for text in row["unparsed"]))
