"""Write the pages that come from the code, or with --check tell whether they are up to date."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

from cohort import findings, schema
from cohort.phantom import describe_traps

ROOT = Path(__file__).parents[1]

_TRAPS = """# Traps

Series that trip a naive reader. The phantom writes each of them with its truth (`cohort.phantom.make_traps`), the tests
hold `cohort` to that truth (`tests/test_traps.py`: spacing, shape, verdict, counts, reasons, affine, voxels), and a
benchmark asks other tools the same. Unless the trap says otherwise, the stack is 12 axial slices 2 mm apart.

To write them all into a folder, and to ask the tools again:

```
.venv/bin/python -c "from cohort.phantom import make_traps; make_traps('traps')"
scripts/bench peers                 # all, about three minutes; or name some: scripts/bench peers gantry-tilt oblique
```

{traps}

Those named `copies` are written three ways, each a series of its own: single frames, an enhanced object, and an object
converted from single frames (Legacy Converted Enhanced). All three give the same volumes, voxels and statistics.

## The traps and other tools

{title}. Every tool is run as its users run it, on a folder that holds one trap alone:

- cohort: `scan` and `assemble`;
- SimpleITK: `ImageSeriesReader` over the GDCM series of the folder;
- dcm2niix: the command with its defaults;
- dicom2nifti: `convert_directory`;
- highdicom: `get_volume_from_series`, for a multi-frame object `Image.get_volume`.

**right**: every stack has the true slices and spacing; time points may be one image or several, and a localizer an
image of its own. A stack that is no regular grid must also be flagged: a warning will do, or a corrected copy.
**right, warns**: it said besides that something is wrong. **wrong**: another number of slices or another spacing, which
the cell gives; *wrong, warns*: it said that something is amiss. **refuses**: an error or no output, never counted as
wrong. Traps of values and text are not asked: geometry alone is compared. The images are synthetic, with few private
elements: a tool that reads the private headers of a maker may do better on real images of that maker.

{result}
"""


def traps_page() -> str:
    """Return the page of the traps: what each is, and the newest result of the benchmark against other tools."""
    newest = max((ROOT / "benchmarks" / "results").glob("*-peers.md"))
    _, _, title, result = newest.read_text(encoding="utf-8").split("\n\n", 3)
    lines = "\n".join(f"| {name} | {what} |" for name, what in describe_traps().items())
    return _TRAPS.format(traps=f"| trap | what it is |\n|---|---|\n{lines}", title=title, result=result.strip())


_HOSTILE = """# Hostile objects

{dicom} DICOM and {nifti} NIfTI objects that code makes, each with the CVE, the issue, or the finding it stands for.
`tests/faults/test_hostile.py` runs `cohort` over all of them at once, with good images among them: each must end as
this table says, the good images must be what they are alone, and nothing that is printed, reported or given as a reason
may repeat a word of a header. `tests/faults/test_hostile_costs.py` and `tests/test_header_bombs.py` hold what each
costs: a header below 2 s and 300 MB, pixels within their deadline and cap. "Row N" and "finding N" are those of the
measurements of what plain libraries do, which the project began with.

What an object may cost is set in the configuration ([configs/laptop.yaml](../configs/laptop.yaml) has each with its
reason); no file of the real set is refused by the defaults.

{table}
"""


def hostile_page() -> str:
    """Return the page of the hostile objects: what each stands for, and what must become of it."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "faults")]
    catalogue = import_module("hostile_catalogue")
    cases = catalogue.catalogue()
    lines = ["| object | stands for | its row | its volume |", "|---|---|---|---|"]
    for name, case in cases.items():
        why = f" ({case.why})" if case.why else ""
        lines.append(f"| {_cell(name)} | {_cell(case.stands_for)} | {case.row}{_cell(why)} | {case.volume or ''} |")
    nifti = sum(map(catalogue.is_nifti, cases))
    return _HOSTILE.format(dicom=len(cases) - nifti, nifti=nifti, table="\n".join(lines))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {
    ROOT / "docs" / "findings.md": findings.as_markdown,
    ROOT / "docs" / "hostile.md": hostile_page,
    ROOT / "docs" / "tables.md": schema.as_markdown,
    ROOT / "docs" / "traps.md": traps_page,
}


def main() -> int:
    """Write or compare every page; returns the exit status."""
    stale = [page for page, make in PAGES.items() if not page.is_file() or page.read_text(encoding="utf-8") != make()]
    if "--check" in sys.argv:
        for page in stale:
            sys.stderr.write(f"docs/{page.name} is out of date; run: .venv/bin/python scripts/docs.py\n")
        return 1 if stale else 0
    for page in stale:
        page.write_text(PAGES[page](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
