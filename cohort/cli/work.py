"""The commands that compute: the whole way, and each stage alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cohort.cli.group import command
from cohort.cli.judge import Judge
from cohort.cli.options import (
    cluster_options,
    computing,
    config_option,
    configured,
    debug_option,
    json_option,
    judging,
    out_option,
    restart_option,
    retry_option,
    run_folder_argument,
    scan_options,
    scanning,
    scheduler_option,
    sources_argument,
    thumbnails_option,
    workers_option,
)
from cohort.cli.talk import counted, finished, foreseen, progress_bar
from cohort.config import load_config

if TYPE_CHECKING:
    from cohort.places import Place


@command("run")
@sources_argument
@out_option
@scan_options
@click.option("--no-pixels", is_flag=True, help="Stop before reading pixels; headers and geometry are still reported.")
@click.option(
    "--group-by",
    multiple=True,
    metavar="ATTRIBUTE",
    help="Store histograms by this attribute too, e.g. Manufacturer. Repeatable.",
)
@thumbnails_option
@restart_option
@retry_option
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check the call, say which files are new, which stages would run and where (the job script, the manifest); "
    "write nothing.",
)
@judging
@computing
def run(
    sources: tuple[str, ...],
    out: Place,
    config_file: Path | None,
    as_json: bool,
    restart: bool,
    retry_quarantined: bool,
    dry_run: bool,
    **options: Any,
) -> None:
    """Go the whole way."""
    from cohort import pipeline

    judge = Judge(out, options)
    config = configured(
        config_file,
        cluster_options(options),
        scan=scanning(options),
        ingest={"pixels": False if options["no_pixels"] else None},
        reduce={"group_by": options["group_by"] or None},
        report={"thumbnails": options["thumbnails"] or None},
    )
    if dry_run:
        foreseen(pipeline.dry_run(sources, out, config, from_file=options["from_file"], restart=restart), as_json)
        return
    with progress_bar() as progress:
        info = pipeline.run(
            sources,
            out,
            config,
            from_file=options["from_file"],
            restart=restart,
            retry_quarantined=retry_quarantined,
            progress=progress,
        )
    finished(out, info, as_json)
    judge.conclude()


@command("scan")
@sources_argument
@out_option
@scan_options
@restart_option
@computing
def scan(
    sources: tuple[str, ...],
    out: Place,
    config_file: Path | None,
    as_json: bool,
    restart: bool,
    **options: Any,
) -> None:
    """List and read headers."""
    from cohort import pipeline

    config = configured(config_file, cluster_options(options), scan=scanning(options))
    with progress_bar() as progress:
        info = pipeline.scan(sources, out, config, from_file=options["from_file"], restart=restart, progress=progress)
    counted("scan", info, as_json)


def _stage(
    name: str,
    out: Place,
    config_file: Path | None,
    as_json: bool,
    options: dict[str, Any],
    *,
    sections: dict[str, dict[str, Any]] | None = None,
    quiet: bool = False,
    **extra: Any,
) -> None:
    from cohort import pipeline
    from cohort.store import RunFolder

    cluster = cluster_options(options)
    folder = RunFolder(out)
    folder.check_opened()
    base = pipeline.stored_config(folder) if config_file is None else load_config(config_file)
    config = base.with_options("cluster", **cluster)
    reducing = {name: options.get(name) or None for name in ("group_by", "ranges", "foregrounds", "labels")}
    config = config.with_options("reduce", **reducing)
    for section, values in (sections or {}).items():
        config = config.with_options(section, **values)
    with progress_bar() as progress:
        info = pipeline.stage(name, out, config, progress=progress, **extra)
    if not quiet:
        counted(name, info, as_json)


@command("assemble")
@run_folder_argument
@computing
def assemble(out: Place, config_file: Path | None, as_json: bool, **options: Any) -> None:
    """Group images to volumes."""
    _stage("assemble", out, config_file, as_json, options)


@command("ingest")
@run_folder_argument
@retry_option
@computing
def ingest(out: Place, config_file: Path | None, as_json: bool, retry_quarantined: bool, **options: Any) -> None:
    """Write pixels to Zarr."""
    _stage("ingest", out, config_file, as_json, options, retry_quarantined=retry_quarantined)


@command("reduce")
@run_folder_argument
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
@click.option(
    "--range",
    "ranges",
    multiple=True,
    metavar="LOW,HIGH",
    help="Store histograms of the values from LOW to HIGH too, e.g. -200,300. Repeatable.",
)
@click.option(
    "--foreground",
    "foregrounds",
    multiple=True,
    metavar="otsu|>VALUE",
    help="Store histograms of the foreground too: above Otsu's threshold of each volume, or above a value. Repeatable.",
)
@click.option(
    "--labels",
    is_flag=True,
    help="Count what images hold under the labels of the masks on their grid too: per label a histogram and its mL.",
)
@computing
def reduce(out: Place, config_file: Path | None, as_json: bool, from_voxels: bool, **options: Any) -> None:
    """Merge counts."""
    _stage("reduce", out, config_file, as_json, options, from_voxels=from_voxels)


@command("check")
@run_folder_argument
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "sarif"]),
    help="Print the findings instead of counts. They are private: subjects are paths and identifiers.",
)
@judging
@computing
def check(out: Place, config_file: Path | None, as_json: bool, form: str | None, **options: Any) -> None:
    """Look for findings."""
    if form is not None and as_json:
        raise click.UsageError("--json prints counts, --format prints findings; choose one, e.g. --format json")
    judge = Judge(out, options)
    _stage("check", out, config_file, as_json, options, quiet=form is not None)
    judge.conclude(form)


@command("report")
@run_folder_argument
@click.option(
    "--card",
    type=click.Choice(["claim"]),
    help="Print a card instead of counts: the items of CLAIM (data sources, de-identification, missing data, flow, "
    "demographics) as Markdown for a methods section.",
)
@click.option("--min-cell", type=click.IntRange(1), help="Counts of fewer patients are withheld.  [default: 5]")
@thumbnails_option
@computing
def report(
    out: Place, config_file: Path | None, as_json: bool, card: str | None, min_cell: int | None, **options: Any
) -> None:
    """Write the report."""
    if card is not None and as_json:
        raise click.UsageError("--card prints Markdown; leave out --json, or read report.json")
    shown = {"min_cell": min_cell, "thumbnails": options["thumbnails"] or None}
    _stage("report", out, config_file, as_json, options, sections={"report": shown}, quiet=bool(card))
    if card is not None:
        from cohort.report import claim_card

        click.echo(claim_card((out / "report.json").read_text(encoding="utf-8")), nl=False)


@command("demo")
@click.argument("out", type=click.Path(path_type=Path), metavar="[OUT]", default="demo")
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed makes another cohort.")
@click.option(
    "--patients",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    help="Patients with clean series.",
)
@restart_option
@config_option
@scheduler_option
@workers_option
@json_option
@debug_option
def demo(
    out: Path, seed: int, config_file: Path | None, patients: int, restart: bool, as_json: bool, **options: Any
) -> None:
    """Run over a phantom cohort."""
    from cohort import demonstration

    config = configured(config_file, options)
    with progress_bar() as progress:
        info = demonstration.demonstrate(out, seed, patients, config, restart=restart, progress=progress)
    finished(out / "out", info, as_json)
