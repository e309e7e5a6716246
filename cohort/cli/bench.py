"""The command that measures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cohort.cli.group import command
from cohort.cli.options import debug_option, json_option
from cohort.cli.talk import progress_bar, say


@command("bench")
@click.argument("out", type=click.Path(path_type=Path), metavar="[OUT]", default="bench")
@click.option(
    "--source", type=click.Path(path_type=Path, exists=True), metavar="FOLDER", help="Measure on these images instead."
)
@click.option("--files", type=click.IntRange(8, 1_000_000), default=6000, show_default=True, help="Phantom images.")
@click.option("--workers", metavar="N,N...", help="Numbers of processes. [default: 1, 2, 4... up to the cores]")
@click.option(
    "--compare", "compared", nargs=2, type=click.Path(path_type=Path), metavar="A.json B.json",
    help="Measure nothing: say how many times faster B is.",
)  # fmt: skip
@json_option
@debug_option
def bench(
    out: Path, source: Path | None, files: int, workers: str | None, compared: tuple[Path, Path] | None, as_json: bool
) -> None:
    """Measure the stages."""
    from cohort import bench as benchmark

    found: dict[str, Any]
    if compared:
        found = benchmark.compare(*compared)
        click.echo(
            json.dumps(found, indent=1, sort_keys=True) if as_json else benchmark.comparison_text(found), nl=as_json
        )
        return
    with progress_bar() as progress:
        found = benchmark.bench(out, source, files=files, workers=_numbers(workers), progress=progress)
    click.echo(json.dumps(found, indent=1, sort_keys=True) if as_json else benchmark.as_text(found), nl=as_json)
    say(f"\nwritten: {out / 'bench.json'}, {out / 'bench.svg'}")


def _numbers(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise click.UsageError("--workers: give numbers of processes, such as 1,2,4") from None
