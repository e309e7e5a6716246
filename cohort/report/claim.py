"""The cohort card as Markdown for the methods section of a paper, by the items of CLAIM.

CLAIM: Checklist for Artificial Intelligence in Medical Imaging (Mongan 2020, Radiol Artif Intell 2:e200029).
The numbers of the items are those of 2020: 7 data sources, 10 selection of data subsets, 12 de-identification,
13 missing data, 21 and 22 partitions, 33 flow, 34 demographics. What a tool cannot know is left as a
bracketed note to the author.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort.report import names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MOST_MISSING = 15
"""Attributes listed as missing."""


def markdown(data: dict[str, Any]) -> str:
    """Return the items of CLAIM that the data of a report can fill.

    Parameters
    ----------
    data : dict
        The content of `report.json`.
    """
    parts = (_sources, _deidentification, _missing, _flow, _demographics, _made)
    return "\n\n".join("\n".join(part(data)) for part in parts) + "\n"


def _sources(data: dict[str, Any]) -> Iterable[str]:
    card, patients = data["card"], data["card"]["patients"]
    yield "## Data sources (CLAIM 7)"
    yield ""
    years = f", acquired {_years(patients)}" if patients["first_year"] else ""
    yield (
        f"The cohort holds {card['files']:,} objects ({names.size(card['bytes'])}) of {patients['text']} patients in "
        f"{card['studies']:,} studies and {card['series']:,} series{years}. "
        "[Where and why the images were acquired, and under which approval.]"
    )
    yield ""
    rows = [(r["modality"], r["body_part"], f"{r['series']:,}", r["patients"]) for r in card["body_parts"]]
    yield from _table(("Modality", "Body part", "Series", "Patients"), rows)
    yield ""
    yield from _table(("Scanner", "Series"), [(r["label"], f"{r['count']:,}") for r in data["scanners"]["models"]])


def _years(patients: dict[str, Any]) -> str:
    first, last = patients["first_year"], patients["last_year"]
    return str(first) if first == last else f"{first}\u2013{last}"


def _deidentification(data: dict[str, Any]) -> Iterable[str]:
    status = data["card"]["privacy"]
    yield "## De-identification (CLAIM 12)"
    yield ""
    claims = ", ".join(f"{r['label']} in {r['count']:,}" for r in status["claims"]["PatientIdentityRemoved"])
    yield (
        f"PatientIdentityRemoved (0012,0062), in DICOM series: {claims or 'no DICOM series'}. "
        "[Method of de-identification.]"
    )
    yield ""
    if status["findings"] is None:
        yield "The headers were not checked for what could name a patient."
    elif not status["findings"]:
        yield "No finding about identities in headers or pixels."
    else:
        yield from _table(
            ("Finding", "Subjects", "Meaning"), [(k["code"], k["text"], k["hint"]) for k in status["findings"]]
        )


def _missing(data: dict[str, Any]) -> Iterable[str]:
    found = data["missingness"]
    yield "## Missing data (CLAIM 13)"
    yield ""
    heads = [f"{m} ({n:,})" for m, n in zip(found["modalities"], found["images"], strict=True)]
    rows = [row for row in found["rows"] if any(row["shares"])][:MOST_MISSING]
    if not rows:
        yield "No key attribute is missing in any image."
        return
    yield "Share of DICOM images without an attribute; a dash where it does not belong to the modality."
    yield ""
    yield from _table(
        ("Attribute", *heads),
        [(r["attribute"], *("\u2013" if s is None else f"{100 * s:.1f} %" for s in r["shares"])) for r in rows],
    )


def _flow(data: dict[str, Any]) -> Iterable[str]:
    yield "## Flow (CLAIM 33)"
    yield ""
    rows = [
        (
            step["unit"],
            step["label"],
            f"{step['count']:,}",
            "; ".join(f"{d['count']:,} {d['reason']}" for d in step["drops"]),
        )
        for step in data["flow"]
    ]
    yield from _table(("Unit", "Step", "Count", "Left before this step"), rows)


def _demographics(data: dict[str, Any]) -> Iterable[str]:
    patients = data["card"]["patients"]
    yield "## Demographics (CLAIM 34)"
    yield ""
    yield (
        f"{patients['text']} patients; {patients['series_without_id']:,} series name none. "
        f"Counts below {data['min_cell']} are withheld."
    )
    for title, cells in (("Sex", "sex"), ("Age, years", "age_groups"), ("Year of study", "years")):
        yield ""
        yield from _table((title, "Patients"), [(cell["label"], cell["text"]) for cell in patients[cells]])
    yield ""
    yield from _partitions(data)


_NO_SPLIT = (
    "The configuration names no split (`check.split_column`, `check.split_pattern`): one partition is described here. "
    "[Partitions, and the level at which they are disjoint (CLAIM 21, 22).]"
)


def _partitions(data: dict[str, Any]) -> Iterable[str]:
    """Yield who is in which partition (CLAIM 34), and what several of them share (CLAIM 22)."""
    found = data["card"]["partitions"]
    yield "### By partition (CLAIM 21, 22, 34)"
    yield ""
    if found is None:
        yield _NO_SPLIT
        return
    rows = found["rows"]
    sizes = [(row["label"], *(row[name]["text"] for name in ("patients", "studies", "series"))) for row in rows]
    yield from _table(("Partition", "Patients", "Studies", "Series"), sizes)
    heads = [row["label"] for row in rows]
    for title, name in (("Sex", "sex"), ("Age, years", "age_groups")):
        cells = [[cell["label"] for cell in rows[0][name]], *([cell["text"] for cell in row[name]] for row in rows)]
        yield ""
        yield from _table((title, *heads), list(zip(*cells, strict=True)))
    yield ""
    yield from _disjoint(data)
    yield ""
    yield "[How the partitions were chosen (CLAIM 21).]"


def _disjoint(data: dict[str, Any]) -> Iterable[str]:
    """Yield the level at which partitions are disjoint, as far as it was looked at."""
    leaks, several = data["card"]["leakage"], data["card"]["partitions"]["patients_in_several"]
    yield f"Patients in several partitions: {several['text']}; each counts in every one."
    if leaks is None:
        yield "Whether partitions share studies or images was not checked."
    elif not leaks:
        pixels = "" if data["intensity"] is None else " and no image with the same voxels"
        yield f"No patient, no study{pixels} was found in two partitions."
    else:
        yield ""
        yield from _table(("Finding", "Subjects", "Meaning"), [(k["code"], k["text"], k["hint"]) for k in leaks])


def _made(data: dict[str, Any]) -> Iterable[str]:
    made = data["provenance"]
    yield (
        f"Counted with cohort {made['cohort_version']}, configuration {made['config_sha256'][:12]}, "
        f"input {(made['input_sha256'] or 'unknown')[:12]}."
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    if not rows:
        yield f"{heads[0]}: none."
        return
    yield "| " + " | ".join(_cell(head) for head in heads) + " |"
    yield "|" + "|".join(" --- " for _ in heads) + "|"
    for row in rows:
        yield "| " + " | ".join(_cell(cell) for cell in row) + " |"


def _cell(text: str) -> str:
    """Return text that cannot end a cell or begin markup."""
    return "".join("\\" + c if c in "\\`*_[]<>|&!#~" else c for c in " ".join(text.split()))
