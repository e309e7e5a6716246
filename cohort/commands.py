"""The commands and what each is for: all that `cohort --help` needs."""

COMMANDS = {
    "run": "Go the whole way: from folders of images to tables, Zarr and a report.",
    "show": "Summarise a run in the terminal.",
    "compare": "Tell what came, went and drifted between two runs, and what both hold.",
    "phi": "List what headers say in words, for a person who looks for names. Private.",
    "verify": "Check that every result is whole and that the tables agree.",
    "export": "Write one volume as NIfTI.",
    "demo": "Make a phantom cohort, run everything over it, say where the report is.",
    "scan": "List the sources and read every header.",
    "assemble": "Group images to series and volumes; judge their geometry.",
    "ingest": "Write the pixels of every volume to Zarr and count them.",
    "reduce": "Merge the counts to exact statistics.",
    "check": "Look for what is wrong with the data.",
    "report": "Write the page that can be shared.",
    "bench": "Measure what this machine gives, for one worker and for more.",
}

_HEAD = """Usage: cohort [OPTIONS] COMMAND [ARGS]...

  What is in a heap of medical images (DICOM and NIfTI), and can it be trusted.

  cohort run ~/images -o out    then open out/report.html

Options:
  --version   Show the version and exit.
  -h, --help  Show this message and exit.

Commands:
"""


def overview() -> str:
    """Return what `cohort --help` prints."""
    width = max(len(name) for name in COMMANDS)
    return _HEAD + "".join(f"  {name:<{width}}  {text}\n" for name, text in COMMANDS.items())
