"""The flow: what was listed, what became a regular volume, and why the rest did not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cohort.report import names
from cohort.schema import Status

if TYPE_CHECKING:
    import pyarrow as pa

    from cohort.report.safe import SafeRun

MOST_REASONS = 8
"""Reasons listed per step; the rest is added up."""

NOT_READ = "not read: "
"""Begins the reason where the pixels of a volume were not meant to be read."""

_LOST = {Status.UNREADABLE, Status.VANISHED, Status.CHANGED, Status.QUARANTINED}


def flow(run: SafeRun) -> list[dict[str, Any]]:
    """Return the steps, in order: unit, label, count, and the drops between the step before and this one.

    Steps of one unit subtract exactly. Where the unit changes (a multi-frame object holds many frames, a
    volume is made of many frames) nothing is subtracted and `drops` is empty.
    """
    return [*_objects(run), *_frames(run), *_volumes(run)]


def _step(
    unit: str, label: str, count: int, before: int | None = None, drops: Counter[str] | None = None
) -> dict[str, Any]:
    drops = Counter(drops or {})
    if before is not None and before - count - drops.total():
        # Conservation is asserted by the stages; if it ever failed, the page must not hide it.
        drops["unaccounted for"] = before - count - drops.total()
    ranked = sorted(drops.items(), key=lambda item: (-item[1], item[0]))
    listed = [{"reason": reason, "count": n} for reason, n in ranked[:MOST_REASONS]]
    if ranked[MOST_REASONS:]:
        rest = ranked[MOST_REASONS:]
        listed.append({"reason": f"{len(rest)} other reasons", "count": sum(n for _, n in rest)})
    return {"unit": unit, "label": label, "count": count, "drops": listed}


def grouped(table: pa.Table, keys: list[str]) -> list[dict[str, Any]]:
    """Return the different rows of `keys` with their `count_all`; the order is not defined."""
    rows: list[dict[str, Any]] = table.group_by(keys).aggregate([([], "count_all")]).to_pylist()
    return rows


def _objects(run: SafeRun) -> list[dict[str, Any]]:
    lost: Counter[str] = Counter()
    other: Counter[str] = Counter()
    no_pixels: Counter[str] = Counter()
    images = 0
    keys = ["status", "reason", "format", "is_image", "SOPClassUID"]
    rows = grouped(run.read("files", keys), keys)
    for row in rows:
        count, status = row["count_all"], row["status"]
        if status in _LOST:
            lost[names.reason(status, row["reason"])] += count
        elif status != Status.OK or not row["format"]:
            other[names.reason(status, row["reason"])] += count
        elif not row["is_image"]:
            no_pixels[names.sop_class(row["SOPClassUID"])] += count
        else:
            images += count
    listed = images + lost.total() + other.total() + no_pixels.total()
    readable = listed - lost.total()
    imaging = readable - other.total()
    return [
        _step("objects", "Listed", listed),
        _step("objects", "Readable", readable, listed, lost),
        _step("objects", "DICOM or NIfTI", imaging, readable, other),
        _step("objects", "With pixels", images, imaging, no_pixels),
    ]


def _frames(run: SafeRun) -> list[dict[str, Any]]:
    if not run.has("frames"):
        return []
    drops: Counter[str] = Counter()
    kept = 0
    for row in grouped(run.read("frames", ["role", "reason"]), ["role", "reason"]):
        if row["role"] == "image":
            kept += row["count_all"]
        else:
            # A copy needs no further reason: its role says it.
            code = None if row["reason"] == row["role"] else row["reason"]
            drops[names.reason(row["role"], code)] += row["count_all"]
    total = kept + drops.total()
    return [_step("frames", "In these images", total), _step("frames", "In volumes", kept, total, drops)]


def _volumes(run: SafeRun) -> list[dict[str, Any]]:
    columns = ["status", "reason", "slices", "regularly_spaced_3d_volume", "reason_not_regular"]
    volumes = run.read("volumes", columns, numbers=["volume_id"]).to_pylist()
    fate = _fate(run)
    assembled, stored, irregular = Counter[str](), Counter[str](), Counter[str]()
    regular = 0
    for volume in volumes:
        outcome = fate.get(volume["volume_id"]) if fate is not None else None
        if volume["status"] != Status.OK and (outcome is None or outcome[0] != Status.OK):
            assembled[names.reason(volume["status"], volume["reason"])] += 1
        elif fate is not None and (reason := _why_not_stored(outcome)):
            stored[reason] += 1
        elif volume["regularly_spaced_3d_volume"]:
            regular += 1
        else:
            irregular[why_not_regular(volume)] += 1
    usable = len(volumes) - assembled.total()
    steps = [
        _step("volumes", "Assembled", len(volumes)),
        _step("volumes", "Usable", usable, len(volumes), assembled),
    ]
    if fate is not None:
        steps.append(_step("volumes", "Stored in Zarr", usable - stored.total(), usable, stored))
    return [*steps, _step("volumes", "Regular 3-D grid", regular, steps[-1]["count"], irregular)]


def _fate(run: SafeRun) -> dict[int, tuple[str, str | None]] | None:
    """Return what became of each volume when its pixels were read, None where they were not."""
    if not run.has("outcomes"):
        return None
    rows = run.read("outcomes", ["status", "reason"], numbers=["volume_id"]).to_pylist()
    return {row["volume_id"]: (row["status"], row["reason"]) for row in rows}


def _why_not_stored(outcome: tuple[str, str | None] | None) -> str | None:
    """Return why the pixels of a usable volume are not in Zarr, None where they are; slides are described alone."""
    if outcome is None:
        return "not ingested"
    status, code = outcome
    if status != Status.OK:
        return names.reason(status, code)
    return f"{NOT_READ}{code.replace('_', ' ')}" if code else None


def why_not_regular(volume: dict[str, Any]) -> str:
    """Return why a volume is no regular 3-D grid: a single image, no positions to measure, or the failed checks."""
    if volume["regularly_spaced_3d_volume"] is None:
        return "single slice" if (volume["slices"] or 0) <= 1 else "positions unknown"
    checks = [check.strip().replace("_", " ") for check in (volume["reason_not_regular"] or "").split(",")]
    return f"fails {', '.join(checks)}" if any(checks) else "no reason recorded"
