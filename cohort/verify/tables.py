"""Tables against each other: rows against counters, keys, and the laws of conservation."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from cohort.counting import ALL
from cohort.schema import Status
from cohort.store import footer_of, read_part
from cohort.verify.problem import INCONSISTENT, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cohort.store import RunFolder

Row = dict[str, Any]


def check_tables(run: RunFolder) -> Iterator[Problem]:
    """Yield where whole tables contradict each other or their commit records."""
    steps: tuple[tuple[str, Callable[[RunFolder], Iterator[str]]], ...] = (
        ("scan", _scan), ("assemble", _assemble), ("assemble", _frames), ("ingest", _ingest), ("reduce", _reduce),
        ("check", _check), ("report", _report),
    )  # fmt: skip
    for stage, step in steps:
        if run.record(stage) is not None:
            yield from (Problem(stage, f"stages/{stage}.json", what, INCONSISTENT) for what in step(run))


def _differs(what: str, found: Any, expected: Any) -> Iterator[str]:
    if found != expected:
        yield f"{what}: {_short(found)}, but {_short(expected)} expected"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _rows(run: RunFolder, stage: str) -> Iterator[str]:
    """Hold the footer of every table of a stage against the rows committed."""
    for artefact in run.committed(stage)["artefacts"]:
        if artefact["rows"] is not None and artefact["path"] != "volumes.parquet":
            yield from _differs(f"rows of {artefact['path']}", _length(run, artefact["path"]), artefact["rows"])


def _length(run: RunFolder, name: str) -> int:
    return int(footer_of(run.path / name).num_rows)


def _scan(run: RunFolder) -> Iterator[str]:

    yield from _rows(run, "scan")
    counts = run.committed("scan")["counts"]
    manifest, files = run.parts("manifest"), run.parts("files")
    yield from _differs("parts of files", len(files), len(manifest))
    status: Counter[str] = Counter()
    total = n_bytes = images = 0
    for listed, read in zip(manifest, files, strict=False):
        identity = ["source", "path_raw", "size", "modified"]
        rows = read_part(read, columns=[*identity, "status", "is_image"])
        if not read_part(listed, columns=identity).equals(rows.select(identity)):
            yield f"{read.name} holds other objects than {listed.name} lists"
        found = rows["status"].to_pylist()
        status.update(found)
        total, n_bytes = total + rows.num_rows, n_bytes + sum(rows["size"].to_pylist())
        images += sum(bool(i) and s == Status.OK for i, s in zip(rows["is_image"].to_pylist(), found, strict=True))
    yield from _differs("objects", total, counts["objects"])
    yield from _differs("objects by status", dict(status), counts["status"])
    yield from _differs("bytes", n_bytes, counts["bytes"])
    yield from _differs("images", images, counts["images"])


def _assemble(run: RunFolder) -> Iterator[str]:
    yield from _rows(run, "assemble")
    counts = run.committed("assemble")["counts"]
    volumes = run.read("volumes", ["volume_id", "series_key", "regularly_spaced_3d_volume"]).to_pylist()
    series = {
        row["series_key"]: row["n_volumes"] for row in run.read("series", ["series_key", "n_volumes"]).to_pylist()
    }
    yield from _differs("series", len(series), counts.get("series", 0))
    yield from _differs("volumes", len(volumes), counts.get("volumes", 0))
    yield from _differs("volume ids that occur twice", len(volumes) - len({row["volume_id"] for row in volumes}), 0)
    strange = {row["series_key"] for row in volumes} - series.keys()
    yield from _differs("volumes of a series that is not in series.parquet", len(strange), 0)
    of_series = Counter(row["series_key"] for row in volumes)
    wrong = sum(of_series[key] != n for key, n in series.items())
    yield from _differs("series whose n_volumes is not the number of their volumes", wrong, 0)
    regular = sum(bool(row["regularly_spaced_3d_volume"]) for row in volumes)
    yield from _differs("regular volumes", regular, counts.get("regular", 0))


def _frames(run: RunFolder) -> Iterator[str]:
    """Every image is in `frames`, every frame is of an image and of a volume."""
    volumes = {
        row["volume_id"]: row["frames_part"] for row in run.read("volumes", ["volume_id", "frames_part"]).to_pylist()
    }
    roles: Counter[str] = Counter()
    seen: set[int] = set()
    strange = 0
    for number, part in enumerate(run.parts("frames")):
        table = read_part(part, columns=["volume_id", "role", "source", "path_raw"])
        roles.update(table["role"].to_pylist())
        strange += sum(volumes.get(volume) != number for volume in set(table["volume_id"].to_pylist()))
        seen.update(_keys(table))
    images: set[int] = set()
    for part in run.parts("files"):
        wanted = [("is_image", "==", True), ("status", "==", str(Status.OK))]
        images.update(_keys(read_part(part, columns=["source", "path_raw"], filters=wanted)))
    yield from _differs("frames by role", dict(roles), run.committed("assemble")["counts"].get("roles", {}))
    yield from _differs("volumes that frames name but volumes.parquet puts elsewhere", strange, 0)
    yield from _differs("images that are in no part of frames", len(images - seen), 0)
    yield from _differs("objects in frames that are no image", len(seen - images), 0)


def _keys(table: Any) -> set[int]:
    return {hash(key) for key in zip(table["source"].to_pylist(), table["path_raw"].to_pylist(), strict=True)}


def _ingest(run: RunFolder) -> Iterator[str]:
    """Every volume has its outcome; every image has partials, and these count every voxel."""
    yield from _rows(run, "ingest")
    names = ["volume_id", "status", "reason", "zarr_path", "content_sha256"]
    volumes, outcomes = (run.read(table, names) for table in ("volumes", "outcomes"))
    if not volumes.equals(outcomes.cast(volumes.schema)):
        yield "volumes.parquet and statistics/outcomes tell different outcomes"
    counts = run.committed("ingest")["counts"]
    rows = outcomes.to_pylist()
    yield from _differs("volumes by status", dict(Counter(row["status"] for row in rows)), counts["status"])
    stored = {row["volume_id"] for row in rows if row["zarr_path"] is not None}
    yield from _differs("volumes in Zarr", len(stored), counts["stored"])
    voxels, channels = _partial_voxels(run)
    yield from _differs("volumes with partials but no image", len(voxels.keys() - stored), 0)
    yield from _differs("images without partials", len(stored - voxels.keys()), 0)
    axes = ["rows", "columns", "slices", "timepoints", "channels"]
    wrong = 0
    for row in run.read("volumes", ["volume_id", *axes]).to_pylist():
        if row["volume_id"] in voxels:
            expected = 1
            for name in axes:
                expected *= row[name] or 1
            wrong += voxels[row["volume_id"]] != expected or channels[row["volume_id"]] != (row["channels"] or 1)
    yield from _differs("volumes whose partials do not count every voxel", wrong, 0)


def _partial_voxels(run: RunFolder) -> tuple[Counter[str], Counter[str]]:

    voxels: Counter[str] = Counter()
    channels: Counter[str] = Counter()
    names = ["volume_id", "counts", "padding_count", "nan_count", "inf_count"]
    for part in run.parts("partials"):
        for row in read_part(part, columns=names).to_pylist():
            voxels[row["volume_id"]] += sum(row["counts"]) + sum(row[name] for name in names[2:])
            channels[row["volume_id"]] += 1
    return voxels, channels


def _reduce(run: RunFolder) -> Iterator[str]:
    yield from _rows(run, "reduce")
    if run.record("ingest") is None or not run.has("statistics"):
        return
    counts = run.committed("reduce")["counts"]
    names = ["volume_id", "count", "padding_count", "nan_count", "inf_count"]
    statistics = run.read("statistics", names).to_pylist()
    voxels, _ = _partial_voxels(run)
    found = {row["volume_id"]: sum(row[name] for name in names[1:]) for row in statistics}
    yield from _differs("volumes with statistics", len(statistics), counts["volumes"])
    wrong = sum(found.get(volume) != n for volume, n in voxels.items()) + len(found.keys() - voxels.keys())
    yield from _differs("volumes whose statistics do not count what their partials do", wrong, 0)
    values = sum(row["count"] for row in statistics)
    yield from _differs("values in statistics", values, counts["values"])
    groups: Counter[str] = Counter()
    for row in run.read("histograms", ["group_by", "view", "count"]).to_pylist():
        if row["view"] == ALL:  # other views are parts of the values, or the values on another scale
            groups[row["group_by"]] += row["count"]
    for name, total in groups.items():
        yield from _differs(f"values in the histograms by {name}", total, values)


def _check(run: RunFolder) -> Iterator[str]:
    yield from _rows(run, "check")
    counts = run.committed("check")["counts"]
    severity = Counter(run.read("findings", ["severity"])["severity"].to_pylist())
    yield from _differs("findings by severity", dict(severity), counts["severity"])


def _report(run: RunFolder) -> Iterator[str]:
    listed = {artefact["path"] for artefact in run.committed("report")["artefacts"]}
    yield from _differs("files of the report", sorted(listed), ["report.html", "report.json"])
