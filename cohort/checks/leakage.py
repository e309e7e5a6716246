"""Findings on leakage: what occurs in several splits of a data set."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from cohort.checks.finding import finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cohort.config import CheckOptions

Row = dict[str, Any]

_SUBJECT = re.compile(r"(?:^|/)(sub-[0-9A-Za-z]+)(?:_|/|$)")


def columns_of(options: CheckOptions) -> tuple[str, ...]:
    """Return the columns of `files` that tell the splits."""
    named = (options.split_column,) if options.split_column else ()
    return tuple(
        dict.fromkeys(("series_key", "path", "format", "PatientID", "StudyInstanceUID", "is_image", "status", *named))
    )


def splits_of(rows: Iterable[Row], options: CheckOptions) -> Iterator[tuple[Row, str]]:
    """Yield each image with the split it is in; those in none are passed over.

    Parameters
    ----------
    rows : iterable of dict
        Rows of `files` with `columns_of`.
    options : CheckOptions
        The split is the value of `split_column`, or else what the one group of `split_pattern` matches in the path.
    """
    pattern = re.compile(options.split_pattern) if options.split_pattern else None
    for row in rows:
        split = row[options.split_column] if options.split_column else None
        if split is None and pattern is not None:
            match = pattern.search(row["path"])
            split = match[1] if match else None
        if isinstance(split, list):
            split = "\\".join(str(part) for part in split)
        if split not in (None, ""):
            yield row, str(split)


def check_leakage(images: Iterable[tuple[Row, str]], contents: Mapping[str, list[tuple[str, str]]]) -> Iterator[Row]:
    """Yield the patients, studies and voxels that occur in several splits.

    Parameters
    ----------
    images : iterable of (dict, str)
        Images with their splits, as `splits_of` gives them. A NIfTI image has its patient from the BIDS name.
    contents : mapping
        Series key -> volume and digest of its voxels; constant volumes left out.
    """
    patients: dict[str, set[str]] = defaultdict(set)
    studies: dict[tuple[str, str], set[str]] = defaultdict(set)
    series: dict[str, set[str]] = defaultdict(set)
    owners: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row, split in images:
        patient = (row["PatientID"] or "").strip() or _bids_subject(row)
        if patient:
            patients[patient].add(split)
        if row["StudyInstanceUID"]:
            study = (patient or "", row["StudyInstanceUID"])
            studies[study].add(split)
            owners[study].add(row["series_key"])
        series[row["series_key"]].add(split)
    for patient, splits in patients.items():
        if len(splits) > 1:
            yield finding("LEAK-PATIENT", patient, splits=sorted(splits))
    for study, splits in studies.items():
        if len(splits) > 1:
            for key in owners[study]:
                yield finding("LEAK-STUDY", key, splits=sorted(splits))
    yield from _same_voxels(series, contents)


def _bids_subject(row: Row) -> str | None:
    match = _SUBJECT.search(row["path"]) if row["format"] == "nifti" else None
    return match[1] if match else None


def _same_voxels(series: Mapping[str, set[str]], contents: Mapping[str, list[tuple[str, str]]]) -> Iterator[Row]:
    splits: dict[str, set[str]] = defaultdict(set)
    volumes: dict[str, list[str]] = defaultdict(list)
    for key, found in series.items():
        for volume, digest in contents.get(key, ()):
            splits[digest] |= found
            volumes[digest].append(volume)
    for digest, found in splits.items():
        if len(found) > 1:
            for volume in volumes[digest]:
                yield finding("LEAK-PIXELS", volume, splits=sorted(found), volumes=len(volumes[digest]))
