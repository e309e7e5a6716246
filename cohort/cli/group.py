"""The group of all commands, with the one overview."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cohort.commands import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable


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


def command(name: str) -> Callable[[Any], Any]:
    """Add a function to the group under a name of `COMMANDS`."""
    return cli.command(name, short_help=COMMANDS[name], help=_HELP[name])


_HELP = {
    "run": """Go the whole way: from folders of images to tables, Zarr and a report.

    SOURCE is a folder, a file, an archive (zip, tar) or a bucket (s3://, gs://, az://); several may be given. DICOM
    and NIfTI are told by content, whatever they are called.
    OUT gets one row per file and per volume (Parquet), the volumes in Zarr, exact histograms, findings, and
    report.html, which may be shared: no names, no identifiers, no dates. The tables are private.

    The same command again goes on where an interrupted run ended.""",
    "show": """Summarise a run in the terminal: what became of the files, modalities, spacing, findings.

    With --volumes, list the volumes instead: size, slices x time points, spacing (row x column x slice), and whether
    each is a regular grid or why not. V0001 and S0001 are the volumes and series of the report; --json has all columns.
    The list is private: volume ids can be linked to the images.""",
    "compare": """Compare two runs: a cohort and its later state, or two parts of it that should share nothing.

    From stored tables and counts alone: series that are new in B, lost from A or changed; how far every column drifted
    per modality (PSI, Kolmogorov-Smirnov, Wasserstein; voxels by their exact histograms); patients, studies and pixels
    that both hold (leakage). S0001, V0001 and P0001 are numbers of the report of either run.

    What is printed has exact counts of patients and is private; the page of --html may be shared like the report.""",
    "phi": """List the different values of every text attribute, for a person who looks for names in them.

    The private counterpart of the report: never share what it prints. With each attribute stands what the Basic Profile
    of DICOM (PS3.15 Annex E) does to it; what it would change comes first. After `cohort scan --all-headers` private
    attributes and those in sequences are listed too.""",
    "verify": """Check a run: every file against the SHA-256 of its commit, every image in Zarr against its own, tables
    against each other (rows, keys, every voxel counted). Nothing is written, and a run under way is not disturbed.

    Exit status 0 and one line when all is whole; 3 and a list when something is wrong. `cohort run` as before makes
    again whatever is missing or damaged. What only --deep can see, a changed bit inside of a chunk, it makes again
    after --repair.""",
    "export": """Write one volume as NIfTI: modality values as they are in Zarr, with the affine (RAS, mm).

    VOLUME_ID is that of `volumes`, its first digits, or the number of the report (V0001); `cohort show OUT --volumes`
    lists all three. FILE is new and ends in .nii or .nii.gz. A sheared volume keeps its shear, in the sform. The file
    is as private as the images.""",
    "demo": """Make a phantom cohort, run everything over it, say where the report is.

    The images are made of mathematics, no patient is in them; the truth about them is written beside them.""",
    "scan": "List the sources and read every header. No pixel is decoded.",
    "assemble": "Group images to series and volumes; judge their geometry.",
    "ingest": "Write the pixels of every volume to Zarr and count them in the same pass.",
    "reduce": "Merge the counts of the volumes to exact statistics per volume and per group.",
    "check": "Look for what is wrong with the data; write findings.",
    "report": "Write report.html and report.json, which may be shared.",
    "bench": """Measure what this machine gives: scan, assemble, ingest and reduce on 1, 2, 4... worker processes.

    Phantom images with headers of full size are made once in OUT/images (about 600 MB by default; a minute in all on
    2 cores), or --source names your own. A table is printed; bench.json and a chart, bench.svg, go to OUT. The floor of
    the machine, which no program can beat, is measured beside them.""",
}
