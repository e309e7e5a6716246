"""What a command says: results on stdout, talk on stderr."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.cluster import Progress
    from cohort.forecast import Forecast
    from cohort.places import Place


def say(text: str) -> None:
    """Say something on stderr."""
    click.echo(text, err=True)


def finished(out: Place, info: dict[str, Any], as_json: bool) -> None:
    """Print what a whole run found, and where its report is."""
    if as_json:
        click.echo(json.dumps({"out": str(out), "stages": info["stages"]}, indent=1, sort_keys=True))
        return
    from cohort import summary
    from cohort.cohort import open_run

    click.echo(summary.as_text(summary.summarise(open_run(out))), nl=False)
    say(f"\nreport: {out / 'report.html'}")


def foreseen(found: Forecast, as_json: bool) -> None:
    """Print what a run would do."""
    from cohort import forecast

    click.echo(json.dumps(found.as_dict(), indent=1) if as_json else forecast.as_text(found))


def counted(name: str, info: dict[str, Any], as_json: bool) -> None:
    """Print the counts of one stage."""
    counts = info["stages"][name]["counts"]
    if as_json:
        click.echo(json.dumps(counts, indent=1, sort_keys=True))
        return
    for key, value in counts.items():
        text = ", ".join(f"{k} {v:,}" for k, v in value.items()) if isinstance(value, dict) else f"{value:,}"
        click.echo(f"{key:<10} {text or '-'}")


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress]:
    """Draw progress on stderr: a bar on a terminal, a line now and then elsewhere."""
    from cohort.progress import drawn

    with drawn() as progress:
        yield progress
