"""The commands that look at a run and write nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from cohort.cli.group import command
from cohort.cli.options import debug_option, json_option, run_folder_argument


@command("show")
@run_folder_argument
@click.option("--volumes", is_flag=True, help="List every volume with its verdict.")
@click.option("--irregular", is_flag=True, help="With --volumes: only those that are no regular grid, or unusable.")
@click.option(
    "--modality", "modalities", multiple=True, metavar="NAME", help="With --volumes: only these, e.g. CT. Repeatable."
)
@json_option
@debug_option
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
