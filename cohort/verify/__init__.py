"""Tell whether every committed artefact is whole and whether the tables agree: `cohort verify`.

Everything is held against what was written down when it was committed: files against size and SHA-256, records
against the digest they carry, images in Zarr against their commit record, tables against each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cohort.places import remove_tree
from cohort.store import STAGES, read_part
from cohort.verify.artefacts import RUN, check_files, check_records, committed_files
from cohort.verify.problem import DAMAGED, INCONSISTENT, STRAY, Problem
from cohort.verify.tables import check_tables
from cohort.verify.volumes import check_volumes, content_digest

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cohort.store import RunFolder

__all__ = [
    "DAMAGED",
    "INCONSISTENT",
    "STRAY",
    "Problem",
    "check_bytes",
    "content_digest",
    "described",
    "repair",
    "verify",
]


def verify(run: RunFolder, *, deep: bool = False) -> list[Problem]:
    """Return what is wrong with a run folder; an empty list where it is whole. Nothing is written.

    Parameters
    ----------
    run : RunFolder
        The run.
    deep : bool
        Read every chunk of every image and compute the digest of its values again.
    """
    problems = check_bytes(run, deep=deep)
    if all(problem.kind != DAMAGED for problem in problems):  # of damaged tables nothing can be told
        problems += sorted(check_tables(run))
    return problems


def check_bytes(run: RunFolder, *, deep: bool = False) -> list[Problem]:
    """Return what has other bytes than were committed: all that making it again would repair."""
    problems = [*check_records(run), *check_files(run)]
    broken = {problem.artefact for problem in problems}
    files = committed_files(run)
    told = {"volumes.parquet", "stages/assemble.json", "stages/ingest.json"}  # what tells of the images
    if files.get("volumes.parquet", ("", {}))[0] == "ingest" and not told & broken:
        problems += check_volumes(run, deep=deep)
    return sorted(set(problems), key=lambda problem: (_rank(problem.stage), problem))


def described(run: RunFolder, *, deep: bool) -> str:
    """Return in words what a whole run was held against."""
    images = run.committed("ingest")["counts"]["stored"] if run.record("ingest") else 0
    read = ", every chunk read" if deep and images else ""
    return f"{len(committed_files(run)):,} files and {images:,} images{read}"


def _rank(stage: str) -> int:
    return -1 if stage == RUN else STAGES.index(stage)


def repair(run: RunFolder, problems: Iterable[Problem]) -> None:
    """Take away what is damaged or stray and the commits that tell of it, so that a run makes just that again.

    Parameters
    ----------
    run : RunFolder
        The run, whose lock is held.
    problems : iterable of Problem
        Of `check_bytes`.
    """
    repairable = [problem for problem in problems if problem.kind != INCONSISTENT]
    damaged = [problem for problem in repairable if problem.kind == DAMAGED]
    _drop_outcomes(run, {p.artefact.removeprefix("volumes.zarr/") for p in damaged})
    run.withdraw({problem.stage for problem in damaged} - {RUN})
    for problem in repairable:
        path = run.path / problem.artefact
        if path.is_dir():
            remove_tree(path)
        elif problem.artefact != "run.json":  # without it OUT would be no run folder; it is written over
            path.unlink(missing_ok=True)


def _drop_outcomes(run: RunFolder, zarr_paths: set[str]) -> None:
    """Remove the parts of `outcomes` that tell of images which are damaged: their batches are done again."""
    import pyarrow as pa

    for path in (run.path / name for name in run.part_files("statistics/outcomes")):
        try:
            told = set(read_part(path, columns=["zarr_path"])["zarr_path"].to_pylist())
        except (OSError, pa.ArrowInvalid):
            told = zarr_paths
        if told & zarr_paths:
            path.unlink()
