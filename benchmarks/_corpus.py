"""Corpora to measure on: the DICOM files of a folder, multiplied, each copy with identifiers of its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cohort.phantom import make_series
from cohort.readers import read_header, without_warnings

_IDENTIFIERS = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
_MODALITIES, _PHANTOMS = ("CT", "MR", "PT"), 500
_DIGITS = 8  # of a UID that differ from copy to copy; its length stays


def dicom_files(folder: Path) -> list[Path]:
    """Return the files that have a DICOM preamble, sorted."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                if file.read(132)[128:] == b"DICM":
                    found.append(path)
    return found


def multiply(folder: Path, out: Path, files: int) -> None:
    """Write copies of the DICOM files of `folder` until there are `files`, one tree below `out` per round.

    Every copy is a series of its own: what is remembered of one copy does not help with the next.
    """
    originals = [(path, path.relative_to(folder), _identifiers(path)) for path in dicom_files(folder)]
    if not originals:
        raise SystemExit(f"no DICOM file in {folder}")
    for number in range(files):
        copy, place = divmod(number, len(originals))
        path, relative, identifiers = originals[place]
        data = path.read_bytes()
        for uid in identifiers:
            data = data.replace(uid, _renamed(uid, copy))
        target = out / f"copy-{copy:04d}" / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def phantoms(out: Path, files: int, size: int = 64) -> None:
    """Write phantom series of CT, MR and PET by turns until there are `files`."""
    for number, start in enumerate(range(0, files, _PHANTOMS)):
        modality = _MODALITIES[number % len(_MODALITIES)]
        count = min(_PHANTOMS, files - start)
        make_series(out / f"{number:04d}", files=count, seed=number, modality=modality, rows=size, columns=size)


def _identifiers(path: Path) -> list[bytes]:
    with without_warnings(), open(path, "rb") as file:
        row = read_header(
            file, path.stat().st_size, path.name, neighbour=lambda _name, _limit: None, gzip_limit=1 << 30
        )
    found = (row.get(name) for name in _IDENTIFIERS)
    return [uid.encode() for uid in found if uid and len(uid) > 2 * _DIGITS]


def _renamed(uid: bytes, copy: int) -> bytes:
    digest = hashlib.sha256(b"%b/%d" % (uid, copy)).digest()
    return uid[:-_DIGITS] + b"%08d" % (int.from_bytes(digest[:8], "big") % 10**_DIGITS)
