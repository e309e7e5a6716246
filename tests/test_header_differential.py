"""Every column of every DICOM header equals what plain pydicom reads; what differs is listed, with the reason."""

from __future__ import annotations

import gzip
import io
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import oracle
import pydicom
import pytest
from comparing import COLUMNS, differences
from random_headers import random_object

from cohort.phantom import PhantomTruth
from cohort.readers import Row, forget, read_header, without_warnings

_BUNDLED = Path(pydicom.__file__).parent / "data"
_RANDOM, _CHUNK = 4500, 500
_LONG = 1 << 20  # bytes of one value: the longest that is converted

# Objects whose rows differ from what pydicom reads: the columns, and why. None: all of them.
EXPLAINED: dict[str, tuple[set[str] | None, str]] = {
    "no_preamble.dcm": (None, "begins with DICM; the preamble was cut off, and pydicom takes DICM for a tag"),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with without_warnings():
        yield
    forget()


def read(data: bytes) -> Row:
    return read_header(io.BytesIO(data), len(data), "x", neighbour=lambda name, limit: None, gzip_limit=1 << 30)


def compare(data: bytes) -> tuple[Row, dict[str, tuple[Any, Any]]]:
    row = read(data)
    gzipped = row["container"] == "gzip"
    header = oracle.header(gzip.decompress(data) if gzipped else data, COLUMNS)
    return row, differences(row, header, stored=not gzipped)


def compare_tree(root: Path) -> int:
    """Compare all DICOM files below a folder; return how many there are."""
    compared = 0
    explained = set()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if read(data).get("format") != "dicom":
            continue
        if read(data).get("reason") == "gzip_truncated":
            continue
        row, found = compare(data)
        compared += 1
        if path.name in EXPLAINED and found:
            columns, why = EXPLAINED[path.name]
            assert columns is None or set(found) == columns, (path.name, why)
            explained.add(path.name)
            continue
        assert not found, (path.name, row["parser"])
    print(f"{compared} files compared, explained: {sorted(explained)}")  # noqa: T201
    return compared


def test_bundled_files() -> None:
    assert compare_tree(_BUNDLED) > 150


@pytest.mark.real
def test_real_files() -> None:
    folder = os.environ.get("COHORT_DATA")
    if not folder:
        pytest.skip("COHORT_DATA names no folder with real images")
    assert compare_tree(Path(folder)) > 1000


def test_phantoms(truth: PhantomTruth) -> None:
    assert compare_tree(truth.root) > 500


@pytest.mark.parametrize("start", range(0, _RANDOM, _CHUNK))
def test_random_headers(start: int) -> None:
    """With the phantoms above they are 5,000 well-formed objects: all of them are read, and none differs."""
    different: dict[int, Any] = {}
    parsers: Counter[str] = Counter()
    for seed in range(start, start + _CHUNK):
        row, found = compare(random_object(seed))
        parsers[row["parser"].split()[0]] += 1
        if found or row["status"] != "ok":
            different[seed] = row["status"], row.get("reason"), found
    assert not different
    assert parsers["walker"] > 0.6 * _CHUNK  # both readers are held against pydicom
    assert parsers["pydicom"] > 0.1 * _CHUNK
