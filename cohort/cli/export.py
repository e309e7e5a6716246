"""The command that takes a volume out of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cohort.cli.group import command
from cohort.cli.options import debug_option, json_option, run_folder_argument
from cohort.cli.talk import say

if TYPE_CHECKING:
    from cohort.places import Place


@command("export")
@run_folder_argument
@click.argument("volume", metavar="VOLUME_ID")
@click.option("--nifti", required=True, type=click.Path(path_type=Path), metavar="FILE", help="A new .nii or .nii.gz.")
@json_option
@debug_option
def export(out: Place, volume: str, nifti: Path, as_json: bool) -> None:
    """Write one volume as NIfTI."""
    from cohort.cohort import open_run
    from cohort.export import export_nifti

    done = export_nifti(open_run(out), volume, nifti)
    for note in done["notes"]:
        say(f"note: {note}")
    size = "x".join(str(length) for length in reversed(done["shape"]))
    text = f"{done['path']}: {size} {done['dtype']}, NIfTI-{done['version']}"
    click.echo(json.dumps(done, indent=1, sort_keys=True) if as_json else text)
