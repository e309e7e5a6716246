"""The commands that look at runs and leave them as they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cohort.cli.group import command
from cohort.cli.options import PlaceType, debug_option, json_option, run_folder_argument
from cohort.cli.talk import say

if TYPE_CHECKING:
    from cohort.places import Place


@command("show")
@run_folder_argument
@click.option("--volumes", is_flag=True, help="List every volume with its verdict.")
@click.option("--irregular", is_flag=True, help="With --volumes: only those that are no regular grid, or unusable.")
@click.option(
    "--modality", "modalities", multiple=True, metavar="NAME", help="With --volumes: only these, e.g. CT. Repeatable."
)
@json_option
@debug_option
def show(out: Place, volumes: bool, irregular: bool, modalities: tuple[str, ...], as_json: bool) -> None:
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


def _show_volumes(out: Place, modalities: tuple[str, ...], irregular: bool, as_json: bool) -> None:
    from cohort import listing
    from cohort.cohort import open_run

    rows = listing.volumes_of(open_run(out), modalities, irregular=irregular)
    if as_json:
        click.echo(json.dumps(rows, indent=1, sort_keys=True, allow_nan=False))
    elif sys.stdout.isatty():
        listing.draw(rows, irregular=irregular)
    else:
        click.echo(listing.as_text(rows, irregular=irregular), nl=False)


@command("compare")
@click.argument("a", type=PlaceType(), metavar="A")
@click.argument("b", type=PlaceType(), metavar="B")
@click.option("--html", type=click.Path(path_type=Path), metavar="FILE", help="Write a page too, which may be shared.")
@click.option(
    "--min-cell", type=click.IntRange(1), default=5, show_default=True,
    help="Counts of fewer patients are withheld on the page.",
)  # fmt: skip
@json_option
@debug_option
def compare(a: Place, b: Place, html: Path | None, min_cell: int, as_json: bool) -> None:
    """Compare two runs."""
    from cohort import compare as comparing

    if html is not None:
        comparing.check_page(html)
    found = comparing.compare(a, b)
    click.echo(json.dumps(found, indent=1, sort_keys=True) if as_json else comparing.as_text(found), nl=as_json)
    if html is not None:
        comparing.write_page(html, comparing.render(found, min_cell))
        say(f"{html} may be shared")


@command("phi")
@run_folder_argument
@click.option("--most", type=click.IntRange(1), default=20, show_default=True, help="Values printed per attribute.")
@json_option
@debug_option
def phi(out: Place, most: int, as_json: bool) -> None:
    """List texts of headers."""
    from cohort import phi as texts
    from cohort.store import RunFolder

    found = texts.review(RunFolder(out))
    click.echo(json.dumps(found, indent=1, sort_keys=True) if as_json else texts.as_text(found, most), nl=as_json)
    if not found["all_headers"]:
        say("only attributes of the tables; scan with --all-headers to see those in sequences and private ones too")
