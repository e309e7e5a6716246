"""Mutants of DICOM and NIfTI objects, by number, and what must hold of the row that each of them becomes.

`python tests/mutants.py START STOP` tries more of them than the tests do; `--real` takes real images as well.
"""

from __future__ import annotations

import gzip
import io
import os
import random
import signal
import struct
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import oracle
import pydicom
from comparing import COLUMNS, differences
from hostile_dicom import ENCODINGS, Encoding, image
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag
from random_headers import random_object

from cohort.phantom import make_cohort
from cohort.readers import Row, read_header
from cohort.schema import FILES, Status

SECONDS = 2.0  # of CPU time, for one mutant
_LARGEST_SEED = 1 << 16  # bytes
_RANDOM_SEEDS = 60
_REAL_SEEDS = 300
_HEADER = 3 << 10  # bytes at the beginning of an object, where most mutations are
_SMALLEST = 16  # bytes
_EDGES_16 = (0, 1, 2, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF)
_EDGES_32 = (0, 1, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0xE00DFFFE, 0xE0DDFFFE, 0xE000FFFE, 0x00107FE0)
_DELIMITERS = (0x52009229, 0x52009230, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010, 0x00020010, 0x00000000)
_VRS = [
    b"AE",
    b"CS",
    b"DS",
    b"IS",
    b"LO",
    b"OB",
    b"OW",
    b"PN",
    b"SQ",
    b"UI",
    b"UL",
    b"UN",
    b"US",
    b"UT",
    b"ZZ",
    b"\0\0",
]
_TAGS = [(tag >> 16, tag & 0xFFFF) for tag in (*map(Tag, (name for name, _ in COLUMNS)), *_DELIMITERS)]

# Reasons for which an object may be rejected that pydicom reads without a word
_REASONS = {
    "truncated_header",
    "truncated_pixels",
    "bad_encapsulation",  # items of pixels in a native transfer syntax: pydicom reads the header, and no pixel
    "stray_delimiter",
    "not_plausible_dicom",
    "too_many_elements",
    "too_deep",
    "long_value",
}


class Hang(BaseException):
    """A mutant took too long."""


@dataclass(frozen=True)
class Seed:
    """What mutants are made of."""

    name: str
    data: bytes
    starts: tuple[int, ...]
    """Where elements begin: mutations there say another tag, VR or length."""


# -- seeds -----------------------------------------------------------------------------------------------------


@cache
def seeds(*, real: bool) -> tuple[Seed, ...]:
    """Small objects of all kinds."""
    with tempfile.TemporaryDirectory() as folder:
        make_cohort(Path(folder) / "phantom", seed=5)
        found = {f"phantom {path.name}": path.read_bytes() for path in _one_a_folder(Path(folder))}
    found |= {f"bundled {path.name}": path.read_bytes() for path in _bundled()}
    found |= {f"random {number}": random_object(number) for number in range(_RANDOM_SEEDS)}
    for name, encoding in ENCODINGS.items():
        found[f"nested {name}"] = image(encoding, _nested(encoding))
    found["gzip"] = gzip.compress(found["random 0"], mtime=0)
    if real:
        paths = sorted(path for path in Path(os.environ["COHORT_DATA"]).rglob("*") if path.is_file())
        small = [path for path in paths if 132 < path.stat().st_size < _LARGEST_SEED]
        found |= {f"real {path}": path.read_bytes() for path in small[:: max(1, len(small) // _REAL_SEEDS)]}
    small_ones = {name: data for name, data in sorted(found.items()) if len(data) < _LARGEST_SEED}
    return tuple(Seed(name, data, _starts(data)) for name, data in small_ones.items())


def _one_a_folder(root: Path) -> list[Path]:
    folders = {path.parent: path for path in sorted(root.rglob("*")) if path.is_file()}
    return list(folders.values())


def _bundled() -> list[Path]:
    root = Path(pydicom.__file__).parent / "data"
    return [path for path in sorted(root.rglob("*")) if path.suffix in (".dcm", "") and path.is_file()]


def _nested(encoding: Encoding) -> dict[int, bytes]:
    """Sequences within sequences, and functional groups."""
    leaf = encoding.element(0x00081150, "UI", b"1.2\0") + encoding.element(0x00081155, "UI", b"1.2.3\0")
    inner = encoding.sequence(0x0040A730, encoding.item(leaf) + encoding.open_item(leaf), open_=True)
    place = encoding.sequence(0x00209113, encoding.item(encoding.element(0x00200032, "DS", b"0\\0\\2 ")), open_=False)
    return {
        0x00080096: encoding.sequence(0x00080096, encoding.open_item(leaf + inner) + encoding.item(leaf), open_=True),
        0x00280008: encoding.element(0x00280008, "IS", b"2 "),
        0x00400275: encoding.sequence(0x00400275, encoding.item(inner), open_=False),
        0x52009230: encoding.sequence(0x52009230, encoding.item(place) + encoding.open_item(place), open_=True),
        0x7FE00010: encoding.element(0x7FE00010, "OW", bytes(16)),
    }


def _starts(data: bytes) -> tuple[int, ...]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    except Exception:
        return ()
    places = [element.value_tell - 8 for element in dataset.values() if hasattr(element, "value_tell")]
    return tuple(place for place in places if 0 <= place < len(data) - 12)


# -- mutations -------------------------------------------------------------------------------------------------


def mutant(number: int, *, real: bool = False) -> tuple[Seed, bytes]:
    """The mutant of that number, and the object it was made of."""
    chance = random.Random(number)
    pool = seeds(real=real)
    seed = pool[number % len(pool)]
    data = bytearray(seed.data)
    for _ in range(chance.choice((1, 1, 1, 1, 2, 3, 8))):
        if len(data) >= _SMALLEST:
            chance.choice(_MUTATIONS)(Mutation(data, seed, chance, pool))
    return seed, bytes(data)


@dataclass
class Mutation:
    """Where, and with what chance, an object changes."""

    data: bytearray
    seed: Seed
    chance: random.Random
    pool: tuple[Seed, ...]

    def place(self) -> int:
        """At an element, in the header, or anywhere."""
        kind, last = self.chance.random(), len(self.data) - 8
        if kind < 0.4 and self.seed.starts:
            return min(self.chance.choice(self.seed.starts), last - 4)
        return self.chance.randrange(min(_HEADER, last) if kind < 0.9 else last)

    def element(self) -> slice:
        """A whole element; an empty place where none is known."""
        starts = self.seed.starts
        if len(starts) < 2:
            place = self.place()
            return slice(place, place)
        number = self.chance.randrange(len(starts) - 1)
        return slice(starts[number], starts[number + 1])


def _flip(m: Mutation) -> None:
    place = m.place()
    m.data[place] = m.chance.choice((m.chance.randrange(256), m.data[place] ^ 1 << m.chance.randrange(8)))


def _edge(m: Mutation) -> None:
    place = m.place()
    if m.chance.random() < 0.5:
        m.data[place : place + 2] = struct.pack("<H", m.chance.choice(_EDGES_16))
    else:
        m.data[place : place + 4] = struct.pack(m.chance.choice("<>") + "I", m.chance.choice(_EDGES_32))


def _representation(m: Mutation) -> None:
    place = m.place() + 4  # in implicit VR the length stands there
    m.data[place : place + 2] = m.chance.choice(_VRS)


def _header(m: Mutation) -> None:
    m.data[m.place() + m.chance.randrange(8)] = m.chance.randrange(256)


def _tag(m: Mutation) -> None:
    place = m.place()
    m.data[place : place + 4] = struct.pack("<HH", *m.chance.choice(_TAGS))


def _delete(m: Mutation) -> None:
    place = m.place()
    del m.data[place : place + m.chance.choice((1, 2, 4, 8, 64, 500))]


def _insert(m: Mutation) -> None:
    place = m.place()
    m.data[place:place] = m.chance.choice((m.chance.randbytes(m.chance.choice((1, 2, 8, 64))), bytes(8), b"1.2\\"))


def _repeat(m: Mutation) -> None:
    place = m.place()
    m.data[place:place] = m.data[place : place + m.chance.choice((2, 8, 30, 200))]


def _cut(m: Mutation) -> None:
    del m.data[m.chance.randrange(len(m.data)) :]


def _splice(m: Mutation) -> None:
    other = m.chance.choice(m.pool)
    m.data[m.place() :] = other.data[m.chance.choice(other.starts or (0,)) :]


def _drop(m: Mutation) -> None:
    del m.data[m.element()]


def _copy(m: Mutation) -> None:
    place = m.element().start
    m.data[place:place] = m.data[m.element()]


def _replace(m: Mutation) -> None:
    m.data[m.element()] = m.data[m.element()]


_MUTATIONS: tuple[Callable[[Mutation], None], ...] = (
    *(_flip, _edge, _representation, _header, _tag, _delete, _insert, _repeat),
    *(_cut, _splice, _drop, _copy, _replace),
)


# -- judgement -------------------------------------------------------------------------------------------------


def read(data: bytes) -> Row:
    return read_header(io.BytesIO(data), len(data), "a.dcm", neighbour=lambda name, limit: None, gzip_limit=1 << 26)


@contextmanager
def deadline() -> Iterator[None]:
    """Raise `Hang` after so much CPU time; pytest's own timer is left alone."""

    def stop(*_: Any) -> None:
        raise Hang(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def judge(data: bytes) -> str:
    """Read an object and hold its row against plain pydicom; return what became of it, raise AssertionError."""
    with deadline():
        row = read(data)
    assert set(row) <= set(FILES.names), "unknown columns"
    assert (row["status"] == Status.OK) == (row.get("reason") is None), "a row is ok or has a reason"
    if row.get("format") == "nifti":
        return f"nifti {row['status']}"
    if row.get("container") == "gzip":
        return _judge_gzip(data, row)
    if row.get("format") != "dicom":
        assert not _known(data), "no DICOM to us, but to pydicom"
        return str(row["status"])
    return _judge_dicom(data, row)


def _known(data: bytes) -> bool:
    """Whether pydicom takes it for DICOM without being forced."""
    try:
        pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
    except InvalidDicomError:
        return False
    except Exception:
        return True
    return True


def _judge_gzip(data: bytes, row: Row) -> str:
    raw = _inflated(data)
    if raw is None:
        assert row["status"] != Status.OK or row.get("format") != "dicom", "damaged gzip is ok"
        return "gzip damaged"
    return _judge_dicom(raw, row, stored=False) if row.get("format") == "dicom" else "gzip of no DICOM"


def _inflated(data: bytes) -> bytes | None:
    """Members of a gzip stream; what follows them is ignored, as gzip does."""
    found = b""
    try:
        while data.startswith(b"\x1f\x8b\x08"):
            member = zlib.decompressobj(wbits=31)
            found += member.decompress(data)
            if not member.eof:
                return None
            data = member.unused_data
    except zlib.error:
        return None
    return found


def _judge_dicom(data: bytes, row: Row, *, stored: bool = True) -> str:
    reason = str(row.get("reason"))
    try:
        header = oracle.header(data, COLUMNS)
    except Exception as error:
        return f"{row['status']}, pydicom raises {type(error).__name__}"
    if row["status"] == Status.REJECTED:
        assert reason in _REASONS, f"pydicom reads it, rejected as {reason}"
        if "parser" not in row:  # nothing could be made of it
            return f"rejected {reason}"
    if not data.startswith(b"DICM") or data[128:132] == b"DICM":
        found = differences(row, header, stored=stored)
        if "PixelRepresentation" in header.unparsed:  # pydicom hands it down to items, and has no sequence without it
            found = {name: pair for name, pair in found.items() if pair[1] is not None}
        assert not found, f"{row['status']} {reason} by {row['parser']}, {row.get('fallback_reason')}: {found}"
    return f"{row['status']} {reason}, {row['parser'].split()[0]}"


def judged(numbers: range, *, real: bool = False) -> tuple[Counter[str], dict[int, str]]:
    """Judge mutants; return how many became what, and what is wrong with which."""
    outcomes: Counter[str] = Counter()
    wrong: dict[int, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number in numbers:
            seed, data = mutant(number, real=real)
            try:
                outcomes[judge(data)] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                wrong[number] = f"{seed.name}: {type(error).__name__}: {error}"
    return outcomes, wrong


def judged_in_processes(numbers: range, *, real: bool = False) -> tuple[Counter[str], dict[int, str]]:
    """Judge mutants on all cores."""
    parts = [numbers[start : start + 500] for start in range(0, len(numbers), 500)]
    outcomes: Counter[str] = Counter()
    wrong: dict[int, str] = {}
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for some, bad in pool.map(partial(judged, real=real), parts):
            outcomes += some
            wrong |= bad
    return outcomes, wrong


if __name__ == "__main__":
    found, failures = judged_in_processes(range(int(sys.argv[1]), int(sys.argv[2])), real="--real" in sys.argv)
    for outcome, count in found.most_common():
        print(f"{count:8}  {outcome}")  # noqa: T201
    for index, what in failures.items():
        print(index, what[:600])  # noqa: T201
    print(f"{sum(found.values())} as they should be, {len(failures)} not")  # noqa: T201
