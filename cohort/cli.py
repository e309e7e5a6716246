"""The command line: one command, one call.

stdout is data, stderr is talk. Exit status: 0 done, 1 failed, 2 misuse (nothing written), 130 interrupted.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from cohort.commands import COMMANDS
from cohort.config import Config, load_config
from cohort.errors import CohortError, MisuseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cohort.cluster import Progress

_FAILED, _MISUSE, _INTERRUPTED = 1, 2, 130

Command = "Callable[..., Any]"


def run_command_line() -> NoReturn:
    """Run the command line and exit."""
    from cohort.schema import VERSION

    arguments = sys.argv[1:]
    if "--version" in arguments[:1]:
        click.echo(f"cohort {VERSION}")
        sys.exit(0)
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        cli.main(args=arguments, prog_name="cohort", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(_MISUSE)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted; run the same command again to go on from here")
        _leave(_INTERRUPTED)
    except MisuseError as error:
        _fail(error, _MISUSE)
    except CohortError as error:
        _fail(error, _FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if _debug():
            raise
        _say(f"error: {type(error).__name__} inside cohort; please report it (--debug shows where)")
        sys.exit(_FAILED)
    sys.exit(0)


def _as_interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _debug() -> bool:
    return "--debug" in sys.argv


def _fail(error: Exception, status: int) -> NoReturn:
    if _debug():
        raise error
    _say(f"error: {error}")
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """Exit at once: workers have been told, and their threads are not worth waiting for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _say(text: str) -> None:
    click.echo(text, err=True)


# -- options that several commands share -------------------------------------------------------------------

_config = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
    help="Options from a YAML file; see configs/laptop.yaml. Options given here win over it.",
)  # fmt: skip
_scheduler = click.option(
    "--scheduler", metavar="local|threads|sync|ADDRESS",
    help="Where the work runs: processes on this machine (local, the default), threads of this process, this thread "
    "alone (sync), or a Dask scheduler, e.g. tcp://host:8786. The results are the same.",
)  # fmt: skip
_scheduler_file = click.option(
    "--scheduler-file", metavar="FILE", help="File written by `dask scheduler --scheduler-file`."
)
_workers = click.option(
    "--workers", type=int, metavar="N", help="Processes of the local cluster. [default: one per core]"
)
_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
_debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
_restart = click.option(
    "--restart", is_flag=True, help="Begin anew in an OUT that holds a run; its results are removed."
)
_out = click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT",
    help="Folder for the results.",
)
_sources = click.argument("sources", nargs=-1, metavar="SOURCE...")
_run_folder = click.argument("out", type=click.Path(path_type=Path), metavar="OUT")


_SCANNING = ("include", "exclude", "follow_links", "extra_tags", "all_headers")


def _scan_options(command: Any) -> Any:
    options = (
        click.option(
            "--include",
            multiple=True,
            metavar="GLOB",
            help="List only paths that match, e.g. '*/CT/*'. Repeatable.",
        ),
        click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out paths that match. Repeatable."),
        click.option("--follow-links", is_flag=True, default=None, help="Follow links to directories; loops are cut."),
        click.option(
            "--extra-tag",
            "extra_tags",
            multiple=True,
            metavar="KEYWORD|gggg,eeee",
            help="Add a DICOM attribute as a column of files/: a keyword, e.g. StationName, or group and element in "
            "hexadecimal, private ones too, e.g. 0019,100C. Only the top level of an object is looked at. Repeatable.",
        ),
        click.option(
            "--all-headers",
            is_flag=True,
            default=None,
            help="Keep every DICOM header as a whole too, as DICOM JSON in the column header_json of files/. pydicom "
            "reads them: the scan takes 10 to 15 times as long.",
        ),
        click.option(
            "--no-archives",
            is_flag=True,
            help="Do not look into zip and tar archives; else their members are files like others.",
        ),
        click.option(
            "--from-file",
            metavar="FILE",
            help="Read the files named in FILE, one path a line or NUL-separated (find -print0); - is standard input. "
            "Paths are below SOURCE, or without one below the current folder. Folders in it are not walked.",
        ),
    )
    return functools.reduce(lambda found, option: option(found), reversed(options), command)


def _computing(command: Any) -> Any:
    """Add the options of every command that computes."""
    options = (_config, _scheduler, _scheduler_file, _workers, _json, _debug_option)
    return functools.reduce(lambda found, option: option(found), reversed(options), command)


def _scanning(options: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: options[name] or None for name in _SCANNING}
    return chosen | {"archives": False if options["no_archives"] else None}


def _configured(config_file: Path | None, cluster: dict[str, Any], **sections: dict[str, Any]) -> Config:
    config = Config() if config_file is None else load_config(config_file)
    for name, changes in {"cluster": cluster, **sections}.items():
        config = config.with_options(name, **changes)
    return config


def _cluster(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.pop(name) for name in ("scheduler", "scheduler_file", "workers")}


class _Overview(click.Group):
    """The group, in the order of the work and with the one overview."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_help(self, context: click.Context) -> str:
        from cohort.commands import overview

        return overview().rstrip("\n")


@click.group(cls=_Overview, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Analyse a cohort of medical images."""


def _command(name: str) -> Callable[[Any], Any]:
    return cli.command(name, short_help=COMMANDS[name], help=_HELP[name])


_HELP = {
    "run": """Go the whole way: from folders of images to tables, Zarr and a report.

    SOURCE is a folder, a file or an archive (zip, tar); several may be given. DICOM and NIfTI are told by content,
    whatever they are called.
    OUT gets one row per file and per volume (Parquet), the volumes in Zarr, exact histograms, findings, and
    report.html, which may be shared: no names, no identifiers, no dates. The tables are private.

    The same command again goes on where an interrupted run ended.""",
    "show": """Summarise a run in the terminal: what became of the files, modalities, spacing, findings.

    With --volumes, list the volumes instead: size, slices x time points, spacing (row x column x slice), and whether
    each is a regular grid or why not. V0001 and S0001 are the volumes and series of the report; --json has all columns.
    The list is private: volume ids can be linked to the images.""",
    "demo": """Make a phantom cohort, run everything over it, say where the report is.

    The images are made of mathematics, no patient is in them; the truth about them is written beside them.""",
    "scan": "List the sources and read every header. No pixel is decoded.",
    "assemble": "Group images to series and volumes; judge their geometry.",
    "ingest": "Write the pixels of every volume to Zarr and count them in the same pass.",
    "reduce": "Merge the counts of the volumes to exact statistics per volume and per group.",
    "check": "Look for what is wrong with the data; write findings.",
    "report": "Write report.html and report.json, which may be shared.",
}


@_command("run")
@_sources
@_out
@_scan_options
@click.option("--no-pixels", is_flag=True, help="Stop before reading pixels; headers and geometry are still reported.")
@click.option(
    "--group-by",
    multiple=True,
    metavar="ATTRIBUTE",
    help="Store histograms by this attribute too, e.g. Manufacturer. Repeatable.",
)
@_restart
@_computing
def run(
    sources: tuple[str, ...],
    out: Path,
    config_file: Path | None,
    as_json: bool,
    restart: bool,
    **options: Any,
) -> None:
    """Go the whole way."""
    from cohort import pipeline

    config = _configured(
        config_file,
        _cluster(options),
        scan=_scanning(options),
        ingest={"pixels": False if options["no_pixels"] else None},
        reduce={"group_by": options["group_by"] or None},
    )
    with _progress() as progress:
        info = pipeline.run(sources, out, config, from_file=options["from_file"], restart=restart, progress=progress)
    _finished(out, info, as_json)


@_command("scan")
@_sources
@_out
@_scan_options
@_restart
@_computing
def scan(
    sources: tuple[str, ...],
    out: Path,
    config_file: Path | None,
    as_json: bool,
    restart: bool,
    **options: Any,
) -> None:
    """List and read headers."""
    from cohort import pipeline

    config = _configured(config_file, _cluster(options), scan=_scanning(options))
    with _progress() as progress:
        info = pipeline.scan(sources, out, config, from_file=options["from_file"], restart=restart, progress=progress)
    _counted("scan", info, as_json)


def _stage(
    name: str, out: Path, config_file: Path | None, as_json: bool, options: dict[str, Any], **extra: Any
) -> None:
    from cohort import pipeline
    from cohort.store import RunFolder

    cluster = _cluster(options)
    folder = RunFolder(out)
    folder.check_opened()
    base = pipeline.stored_config(folder) if config_file is None else load_config(config_file)
    config = base.with_options("cluster", **cluster)
    if options.get("group_by"):
        config = config.with_options("reduce", group_by=options["group_by"])
    with _progress() as progress:
        info = pipeline.stage(name, out, config, progress=progress, **extra)
    _counted(name, info, as_json)


@_command("assemble")
@_run_folder
@_computing
def assemble(out: Path, config_file: Path | None, as_json: bool, **options: Any) -> None:
    """Group images to volumes."""
    _stage("assemble", out, config_file, as_json, options)


@_command("ingest")
@_run_folder
@_computing
def ingest(out: Path, config_file: Path | None, as_json: bool, **options: Any) -> None:
    """Write pixels to Zarr."""
    _stage("ingest", out, config_file, as_json, options)


@_command("reduce")
@_run_folder
@click.option(
    "--from-voxels",
    is_flag=True,
    help="Count the voxels in Zarr again instead of merging what ingest counted.",
)
@click.option(
    "--group-by",
    multiple=True,
    metavar="ATTRIBUTE",
    help="Store histograms by this attribute too. Repeatable.",
)
@_computing
def reduce(out: Path, config_file: Path | None, as_json: bool, from_voxels: bool, **options: Any) -> None:
    """Merge counts."""
    _stage("reduce", out, config_file, as_json, options, from_voxels=from_voxels)


@_command("check")
@_run_folder
@_computing
def check(out: Path, config_file: Path | None, as_json: bool, **options: Any) -> None:
    """Look for findings."""
    _stage("check", out, config_file, as_json, options)


@_command("report")
@_run_folder
@_computing
def report(out: Path, config_file: Path | None, as_json: bool, **options: Any) -> None:
    """Write the report."""
    _stage("report", out, config_file, as_json, options)


@_command("show")
@_run_folder
@click.option("--volumes", is_flag=True, help="List every volume with its verdict.")
@click.option("--irregular", is_flag=True, help="With --volumes: only those that are no regular grid, or unusable.")
@click.option(
    "--modality", "modalities", multiple=True, metavar="NAME", help="With --volumes: only these, e.g. CT. Repeatable."
)
@_json
@_debug_option
def show(out: Path, volumes: bool, irregular: bool, modalities: tuple[str, ...], as_json: bool) -> None:
    """Summarise a run."""
    from cohort import summary
    from cohort.cohort import open_run

    if volumes:
        _show_volumes(out, modalities, irregular, as_json)
        return
    if irregular or modalities:
        raise click.UsageError("--irregular and --modality choose among volumes; add --volumes")
    found = summary.summarise(open_run(out))
    click.echo(json.dumps(found, indent=1, sort_keys=True) if as_json else summary.as_text(found), nl=as_json)


def _show_volumes(out: Path, modalities: tuple[str, ...], irregular: bool, as_json: bool) -> None:
    from cohort import listing
    from cohort.cohort import open_run

    rows = listing.volumes_of(open_run(out), modalities, irregular=irregular)
    if as_json:
        click.echo(json.dumps(rows, indent=1, sort_keys=True, allow_nan=False))
    elif sys.stdout.isatty():
        listing.draw(rows, irregular=irregular)
    else:
        click.echo(listing.as_text(rows, irregular=irregular), nl=False)


@_command("demo")
@click.argument("out", type=click.Path(path_type=Path), metavar="[OUT]", default="demo")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed makes another cohort.")
@click.option(
    "--patients",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Patients with clean series.",
)
@_restart
@_config
@_scheduler
@_workers
@_json
@_debug_option
def demo(
    out: Path, seed: int, config_file: Path | None, patients: int, restart: bool, as_json: bool, **options: Any
) -> None:
    """Run over a phantom cohort."""
    from cohort import demonstration

    config = _configured(config_file, options)
    with _progress() as progress:
        info = demonstration.demonstrate(out, seed, patients, config, restart=restart, progress=progress)
    _finished(out / "out", info, as_json)


# -- talk --------------------------------------------------------------------------------------------------


def _finished(out: Path, info: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"out": str(out), "stages": info["stages"]}, indent=1, sort_keys=True))
        return
    from cohort import summary
    from cohort.cohort import open_run

    click.echo(summary.as_text(summary.summarise(open_run(out))), nl=False)
    _say(f"\nreport: {out / 'report.html'}")


def _counted(name: str, info: dict[str, Any], as_json: bool) -> None:
    counts = info["stages"][name]["counts"]
    if as_json:
        click.echo(json.dumps(counts, indent=1, sort_keys=True))
        return
    for key, value in counts.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else f"{value:,}"
        click.echo(f"{key:<10} {text or '-'}")


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Draw progress on stderr: a bar on a terminal, a line now and then elsewhere."""
    from cohort.progress import drawn

    with drawn() as progress:
        yield progress
