"""The order of the stages, resume and provenance."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from cohort.cluster import Needs, Step, alone, check_workers, connect, ignore
from cohort.config import MIB, Config, config_from
from cohort.errors import OutputError, RunError, SourceError
from cohort.forecast import Forecast, forecast
from cohort.places import ObjectPath, place_of, word_of
from cohort.provenance import LIBRARIES, Journal, versions
from cohort.sources import ArchiveLimits, glimpses, open_sources
from cohort.store import RunFolder, inputs_of
from cohort.verify import DAMAGED, check_bytes, repair

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cohort.cluster import Progress
    from cohort.config import ScanOptions
    from cohort.places import Place
    from cohort.sources import ObjectRef, Source
    from cohort.store import Artefact

_RESULT_SECTIONS = ("modality", "scan", "assemble", "ingest", "reduce", "check", "report")
_NO_RESULT = ("ingest.pixels",)  # how far a run goes, not what it finds


def run(
    sources: Sequence[str], out: str | Place, config: Config | None = None, *,
    from_file: str | None = None, restart: bool = False, retry_quarantined: bool = False, progress: Progress = ignore,
) -> dict[str, Any]:  # fmt: skip
    """Go the whole way: list, scan, assemble, ingest, reduce, check, report.

    Parameters
    ----------
    sources : sequence of str
        Folders or files.
    out : str or Place
        Run folder, or a prefix in a bucket (`s3://bucket/prefix`);
        new, empty, or of an earlier run with the same sources and options, which is continued.
    config : Config, optional
        All options.
    from_file : str, optional
        File with the paths to read, `-` for standard input; below the one source named, or none.
    restart : bool
        Begin anew in a folder that holds a run.
    retry_quarantined : bool
        Try again the volumes that an earlier run quarantined.
    progress : Progress
        Told of every step.

    Returns
    -------
    dict
        What `run.json` holds.

    Raises
    ------
    MisuseError
        If the call cannot be carried out as given; nothing was written.
    """
    return _from_source(
        sources, out, config or Config(), None,
        from_file=from_file, restart=restart, retry_quarantined=retry_quarantined, progress=progress,
    )  # fmt: skip


def scan(
    sources: Sequence[str], out: str | Place, config: Config | None = None, *,
    from_file: str | None = None, restart: bool = False, progress: Progress = ignore,
) -> dict[str, Any]:  # fmt: skip
    """List the sources and read every header; the first stage alone. Parameters as of `run`."""
    return _from_source(
        sources, out, config or Config(), ("scan",), from_file=from_file, restart=restart, progress=progress
    )


def stage(
    name: str, out: str | Place, config: Config | None = None, *, progress: Progress = ignore, **options: Any
) -> dict[str, Any]:
    """Run one stage after `scan` on a run folder.

    Parameters
    ----------
    name : str
        assemble, ingest, reduce, check or report.
    out : str or Place
        The run folder.
    config : Config, optional
        Options; those of the run by default.
    progress : Progress
        Told of every step.
    **options
        Further arguments of the stage, such as `from_voxels` of `reduce`.
    """
    folder = RunFolder(place_of(out))
    folder.check_opened()
    known = stored_config(folder)
    chosen = config or known
    upstream = _RESULT_SECTIONS[: _RESULT_SECTIONS.index(name)]
    _refuse_differences(folder, known, chosen, upstream)
    check_options(chosen)
    roots = folder.info().get("sources", [])
    with _room_needed(folder), folder.locked(), connect(chosen.cluster, chosen.task_mib(), progress) as client:
        check_workers(client, _needs(folder, chosen, roots))
        _mend(folder, progress)
        journal = Journal(folder, chosen)
        journal.begin(roots)
        journal.timed(name, lambda: _STAGES[name](folder, chosen, progress, **options))
    return folder.info()


def _mend(folder: RunFolder, progress: Progress) -> None:
    """Take away what is not as it was committed, so that the stages make it again."""
    damaged = [problem for problem in check_bytes(folder) if problem.kind == DAMAGED]
    if damaged:
        progress(Step("repair", len(damaged), len(damaged), "artefacts"))
        repair(folder, damaged)


def dry_run(
    sources: Sequence[str], out: str | Place, config: Config | None = None, *,
    from_file: str | None = None, restart: bool = False,
) -> Forecast:  # fmt: skip
    """Check a call of `run` as far as it goes without a worker, and say what it would do; nothing is written.

    Raises
    ------
    MisuseError
        If the call cannot be carried out as given.
    """
    chosen = config or Config()
    folder = RunFolder(place_of(out))
    opened = _check(sources, folder, chosen, from_file)
    if not restart:
        _refuse_another_run(folder, chosen, [source.root for source in opened], from_file is not None)
    return forecast(folder, opened, chosen, _stages_of(chosen), restart=restart)


def _stages_of(config: Config) -> list[str]:
    return [name for name in ("scan", *_STAGES) if name != "ingest" or config.ingest.pixels]


def check_options(config: Config) -> None:
    """Raise ConfigError for attributes and views asked for that do not exist."""
    from cohort import checks
    from cohort.readers import asked_columns
    from cohort.reductions import check_groupings, views_of

    asked = [column.name for column in asked_columns(config.scan)]
    views_of(config.reduce)
    check_groupings(config.reduce.group_by, asked)
    checks.check_options(config.check, asked)


def stored_config(folder: RunFolder) -> Config:
    """Return the configuration a run was made with."""
    return config_from(folder.info().get("config", {}))


def _from_source(
    roots: Sequence[str],
    out: str | Place,
    config: Config,
    stages: Sequence[str] | None,
    *,
    from_file: str | None,
    restart: bool,
    progress: Progress,
    retry_quarantined: bool = False,
) -> dict[str, Any]:
    folder = RunFolder(place_of(out))
    sources = _check(roots, folder, config, from_file)
    listed = [source.root for source in sources]
    if not restart:
        _refuse_another_run(folder, config, listed, from_file is not None)
    with connect(config.cluster, config.task_mib(), progress) as client:
        check_workers(client, _needs(folder, config, listed))
        with _room_needed(folder), folder.locked() as lock:
            if not restart:  # another run may have begun meanwhile
                _refuse_another_run(folder, config, listed, from_file is not None)
            else:
                folder.clear()
            folder.sweep()
            _mend(folder, progress)
            journal = Journal(folder, config)
            journal.begin(listed, from_file is not None)
            for name in stages or _stages_of(config):
                lock.check()
                if name == "scan":
                    journal.timed(name, lambda: _scan(folder, sources, config, progress))
                else:
                    extra = {"retry_quarantined": retry_quarantined} if name == "ingest" else {}
                    journal.timed(name, partial(_STAGES[name], folder, config, progress, **extra))
    return folder.info()


def _needs(folder: RunFolder, config: Config, roots: Sequence[str]) -> Needs:
    """Return what every worker must have."""
    return Needs(partial(versions, ("cohort", *LIBRARIES)), config.task_mib(), folder.path, partial(glimpses, roots))


def _check(roots: Sequence[str], folder: RunFolder, config: Config, from_file: str | None) -> list[Source]:
    """Raise MisuseError where the call cannot be carried out; nothing has been written then."""
    folder.check_usable()
    check_options(config)
    options = config.scan
    sources = open_sources(
        roots,
        skip=folder.path,
        follow_links=options.follow_links,
        include=options.include,
        exclude=options.exclude,
        archives=_archive_limits(options),
        from_file=from_file,
    )
    # An archive is something to read, unless globs choose among its members.
    known = None if options.include or options.exclude else _alone
    if not any(True for source in sources for _ in source.list(known)):
        named = ", ".join(roots) or "the list"
        raise SourceError(f"nothing to read in {named}; check the path and the include and exclude globs")
    return sources


def _refuse_another_run(folder: RunFolder, config: Config, sources: list[str], from_file: bool) -> None:
    """Raise OutputError where OUT was begun with other sources, or with options that give other results."""
    info = folder.known_info()
    if not info:
        return
    if info.get("sources", sources) != sources:
        raise OutputError(f"{folder.path} is a run over other sources; name a new folder, or begin anew with --restart")
    if info.get("from_file", False) != from_file:
        raise OutputError(
            f"{folder.path} was begun {'without' if from_file else 'with'} --from-file; "
            "name a new folder, or begin anew with --restart"
        )
    _refuse_differences(folder, stored_config(folder), config, _RESULT_SECTIONS)


def _archive_limits(options: ScanOptions) -> ArchiveLimits | None:
    if not options.archives:
        return None
    return ArchiveLimits(options.archive_members, options.archive_member_mib * MIB, options.archive_ratio)


def _alone(archive: ObjectRef) -> list[ObjectRef]:
    """Tell of an archive without looking into it."""
    return [archive]


def _refuse_differences(folder: RunFolder, before: Config, now: Config, sections: Sequence[str]) -> None:
    """Raise OutputError naming the options that would alter the results of a run that has begun."""
    old, new = (_flat({name: config.as_dict()[name] for name in sections}) for config in (before, now))
    different = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key) and key not in _NO_RESULT)
    if different:
        named = ", ".join(f"{key} ({old.get(key)!r} before, {new.get(key)!r} now)" for key in different)
        raise OutputError(
            f"{folder.path} was begun with other options: {named}; use the same, or begin anew with --restart"
        )


def _flat(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return {key: value for key, value in found.items() if value not in ({}, [])}


# -- stages ------------------------------------------------------------------------------------------------


def _scan(folder: RunFolder, sources: Sequence[Source], config: Config, progress: Progress) -> dict[str, Any]:
    from cohort import headers

    return headers.scan(folder, sources, config, progress)


def _assemble(folder: RunFolder, config: Config, progress: Progress) -> dict[str, Any]:
    from cohort import volumes

    return volumes.assemble(folder, config, progress)


def _ingest(
    folder: RunFolder, config: Config, progress: Progress, *, retry_quarantined: bool = False
) -> dict[str, Any]:
    from cohort import ingest

    return ingest.ingest(folder, config, progress, retry_quarantined=retry_quarantined)


def _reduce(folder: RunFolder, config: Config, progress: Progress, *, from_voxels: bool = False) -> dict[str, Any]:
    from cohort import reductions

    return reductions.reduce(folder, config, progress, from_voxels=from_voxels)


def _check_tables(folder: RunFolder, config: Config, progress: Progress) -> dict[str, Any]:
    from cohort import checks

    return checks.check(folder, config, progress)


def _report(folder: RunFolder, config: Config, progress: Progress) -> dict[str, Any]:
    from cohort import report

    inputs = inputs_of({**config.as_dict()["report"], "layout": report.LAYOUT}, folder.committed("check"))
    if folder.is_current("report", inputs):
        return folder.committed("report")
    artefacts = alone(partial(_compose, folder, config))
    return folder.commit("report", inputs, artefacts, {"bytes": sum(a.size for a in artefacts)})


def _compose(folder: RunFolder, config: Config) -> list[Artefact]:
    from cohort import report

    page, data = report.build(folder, config.report, config.check)
    return [folder.write_text("report.html", page), folder.write_text("report.json", data)]


_STAGES: dict[str, Callable[..., dict[str, Any]]] = {
    "assemble": _assemble,
    "ingest": _ingest,
    "reduce": _reduce,
    "check": _check_tables,
    "report": _report,
}


@contextmanager
def _room_needed(folder: RunFolder) -> Iterator[None]:
    """Say what to do where OUT cannot be written to: sources are only read, and their errors are rows."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG):
            if isinstance(folder.path, ObjectPath):
                raise RunError(
                    f"cannot read or write the results: {word_of(error)}; run the same command again to go on"
                ) from None
            raise
        reason = os.strerror(error.errno)
        raise RunError(f"cannot write the results: {reason}; make room and run the same command again") from None
