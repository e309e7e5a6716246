"""What has changed in the sources since they were last listed."""

from __future__ import annotations

import hashlib
from array import array
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from cohort.headers.listing import Before
from cohort.store import inputs_of, read_part

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from cohort.config import Config
    from cohort.sources import Source
    from cohort.store import RunFolder

Entry = tuple[str, bytes, int, int, str | None]
"""Source, path, size, time of modification, problem: what the manifest holds of an object."""


class Changes(NamedTuple):
    """Objects by what became of them since the last listing."""

    new: int
    changed: int
    vanished: int
    unchanged: int


def changes(run: RunFolder, sources: Sequence[Source], config: Config) -> Changes:
    """List the sources and hold them against the manifest of a run; nothing is written.

    Parameters
    ----------
    run : RunFolder
        The run; without a committed scan everything is new.
    sources : sequence of Source
        Roots to list.
    config : Config
        Section `scan` is used.
    """
    before = Before(run, inputs_of(config.as_dict()["scan"]))
    now, now_states = _digests(_listed(sources, before))
    then, then_states = _digests(_in_manifest(run))
    _, here, there = np.intersect1d(now, then, assume_unique=True, return_indices=True)
    unchanged = int((now_states[here] == then_states[there]).sum())
    return Changes(len(now) - len(here), len(here) - unchanged, len(then) - len(there), unchanged)


def _listed(sources: Sequence[Source], before: Before) -> Iterator[Entry]:
    for source in sources:
        for ref in source.list(partial(before.members, source.root)):
            yield source.root, ref.path, ref.size, ref.modified, ref.problem


def _in_manifest(run: RunFolder) -> Iterator[Entry]:
    import pyarrow as pa

    if run.record("scan") is None:
        return
    names = ["source", "path_raw", "size", "modified", "problem"]
    for part in run.parts("manifest"):
        table = read_part(part, columns=names)
        table = table.set_column(3, "modified", table["modified"].cast(pa.int64()))
        yield from zip(*(column.to_pylist() for column in table.columns), strict=True)


def _digests(entries: Iterable[Entry]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return for every object 64 bits that stand for its place, and 64 for its state: millions fit in memory."""
    places, states = array("Q"), array("Q")
    for source, path, size, modified, problem in entries:
        place = b"%b\0%b" % (source.encode("utf-8", "backslashreplace"), path)
        places.append(_bits(place))
        states.append(_bits(b"%d %d %b" % (size, modified, (problem or "").encode())))
    return np.array(places, np.uint64), np.array(states, np.uint64)


def _bits(text: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")
