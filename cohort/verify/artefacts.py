"""Files against the records that list them: there, whole, and no others."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cohort.store import STAGES, digest_of_file, is_whole
from cohort.verify.problem import STRAY, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.store import RunFolder

RUN = "run"
"""Stands for a stage where `run.json` and `schema.json` are meant."""


def check_records(run: RunFolder) -> Iterator[Problem]:
    """Yield what is wrong with `run.json`, `schema.json` and the commit records of the stages."""
    info = _record(run, "run.json")
    if info is None and (run.path / "run.json").is_file():  # a run that begins has none yet
        yield Problem(RUN, "run.json", "is damaged")
    told = (info or {}).get("stages", {})
    for artefact in (info or {}).get("artefacts", ()):
        yield from _check_file(run, RUN, artefact)
    for stage in STAGES:
        name = f"stages/{stage}.json"
        if not (run.path / name).is_file():
            if stage in told:
                yield Problem(stage, name, "is missing, though run.json tells of its results")
            continue
        record = _record(run, name)
        if record is None:
            yield Problem(stage, name, "is damaged")
        elif stage in told and told[stage]["counts"] != record["counts"]:
            yield Problem(RUN, "run.json", f"tells other counts of {stage} than its commit record")


def _record(run: RunFolder, name: str) -> dict[str, Any] | None:
    """Return a record, None where it is not what was written."""
    try:
        text = (run.path / name).read_bytes()
    except OSError:
        return None
    data: dict[str, Any] | None = json.loads(text) if is_whole(text) else None
    return data


def committed_files(run: RunFolder) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every artefact of every whole commit record: path -> stage and description.

    A file that a later stage completed counts as that stage left it.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for stage in STAGES:
        record = _record(run, f"stages/{stage}.json")
        found |= {artefact["path"]: (stage, artefact) for artefact in (record or {}).get("artefacts", ())}
    return found


def check_files(run: RunFolder) -> Iterator[Problem]:
    """Yield committed files that are missing or have other bytes, and parts that no commit lists."""
    listed = committed_files(run)
    for stage, artefact in listed.values():
        yield from _check_file(run, stage, artefact)
    for folder, stage in run.part_folders():
        if not (run.path / "stages" / f"{stage}.json").is_file():
            continue  # under way: its parts are not listed yet
        for name in run.part_files(folder):
            if name not in listed and not name.startswith(f"{folder}/."):
                yield Problem(stage, name, "is listed by no commit", STRAY)


def _check_file(run: RunFolder, stage: str, artefact: dict[str, Any]) -> Iterator[Problem]:
    path = run.path / artefact["path"]
    try:
        size = path.stat().st_size
        if size != artefact["size"]:
            what = f"has {size} bytes, {artefact['size']} were committed"
        elif digest_of_file(path) != artefact["sha256"]:
            what = "has other content than was committed (SHA-256)"
        else:
            return
    except OSError as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    yield Problem(stage, artefact["path"], what)
