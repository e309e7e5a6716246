"""Options that several commands share, and the configuration they make."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import click

from cohort.config import Config, load_config
from cohort.places import is_url, place_of

config_option = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), metavar="FILE",
    help="Options from a YAML file; see configs/laptop.yaml. Options given here win over it.",
)  # fmt: skip
scheduler_option = click.option(
    "--scheduler", metavar="local|threads|sync|slurm|kubernetes|ADDRESS",
    help="Where the work runs: processes on this machine (local, the default), threads of this process, this thread "
    "alone (sync), jobs of SLURM, pods of Kubernetes (see configs/), or a Dask scheduler, e.g. tls://host:8786. The "
    "results are the same.",
)  # fmt: skip
scheduler_file_option = click.option(
    "--scheduler-file", metavar="FILE", help="File written by `dask scheduler --scheduler-file`."
)
workers_option = click.option(
    "--workers", type=int, metavar="N",
    help="Worker processes to start. [default: local ones, one per core that the memory has room for]",
)  # fmt: skip
insecure_option = click.option(
    "--insecure", is_flag=True, default=None, help="Allow plain TCP to a scheduler on another machine."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
debug_option = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
thumbnails_option = click.option(
    "--thumbnails",
    is_flag=True,
    help="Put pictures of volumes on the page, never of kinds that often carry text. Look at them before sharing.",
)
restart_option = click.option(
    "--restart", is_flag=True, help="Begin anew in an OUT that holds a run; its results are removed."
)
retry_option = click.option(
    "--retry-quarantined", is_flag=True, help="Try again the volumes whose decoding crashed, hung or ate memory."
)


class PlaceType(click.ParamType[Any]):
    """A folder, or a prefix in a bucket."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a `Path` or `ObjectPath`; raises OutputError for a URL that names no place."""
        return place_of(value) if isinstance(value, str) and is_url(value) else Path(value)


out_option = click.option(
    "-o",
    "--out",
    required=True,
    type=PlaceType(),
    metavar="OUT",
    help="Folder for the results, or a prefix in a bucket: s3://BUCKET/PREFIX.",
)
sources_argument = click.argument("sources", nargs=-1, metavar="SOURCE...")
run_folder_argument = click.argument("out", type=PlaceType(), metavar="OUT")


_SCANNING = ("include", "exclude", "follow_links", "extra_tags", "all_headers")


def scan_options(command: Any) -> Any:
    """Add the options of the commands that scan."""
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


def judging(command: Any) -> Any:
    """Add the options of the commands after which findings may fail."""
    options = (
        click.option(
            "--fail-on",
            multiple=True,
            metavar="SEVERITY|CODE",
            help="End with exit status 3 where a finding is as bad as this (info, warning or error) or has this code, "
            "e.g. LEAK-PATIENT. Repeatable.",
        ),
        click.option(
            "--baseline",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Findings known before, written by --write-baseline: they neither fail nor are they listed.",
        ),
        click.option(
            "--write-baseline",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Write the findings of this run as a baseline. It holds digests alone.",
        ),
    )
    return functools.reduce(lambda found, option: option(found), reversed(options), command)


def computing(command: Any) -> Any:
    """Add the options of every command that computes."""
    options = (
        config_option,
        scheduler_option,
        scheduler_file_option,
        workers_option,
        insecure_option,
        json_option,
        debug_option,
    )
    return functools.reduce(lambda found, option: option(found), reversed(options), command)


def scanning(options: dict[str, Any]) -> dict[str, Any]:
    """Return what the options of `scan_options` say, as section `scan` of the configuration."""
    chosen = {name: options[name] or None for name in _SCANNING}
    return chosen | {"archives": False if options["no_archives"] else None}


def configured(config_file: Path | None, cluster: dict[str, Any], **sections: dict[str, Any]) -> Config:
    """Return the configuration of a file, with the options of the command line in its sections."""
    config = Config() if config_file is None else load_config(config_file)
    for name, changes in {"cluster": cluster, **sections}.items():
        config = config.with_options(name, **changes)
    return config


def cluster_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take the section `cluster` out of the options of a command."""
    return {name: options.pop(name) for name in ("scheduler", "scheduler_file", "workers", "insecure")}
