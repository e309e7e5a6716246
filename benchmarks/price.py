"""What safety costs: CPU and wall time of `cohort run` as it is, and without what guards it.

Run as `scripts/bench price [IMAGES] [--rounds N]`. Runs over IMAGES (made CT images, native and 512 x 512, where none
are given) alternate between the two in this process, pixels and all. CPU time counts the children. Left out are

- fsync of files and folders,
- the digests of what is committed, and of what lies there when a run begins,
- child processes for decoders,
- the walk through encapsulated frames and codestream headers before a decoder is asked,
- the look whether a file is as it was listed.

Not left out, because they cannot be told apart from reading itself: the bounds within the header walker, the CRC of
gzip streams and of chunks. Nor the digest of the voxels, which findings are made of, unless `--digests`.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.isolation import SYNTAXES, make_series, seconds
from cohort import isolation, pipeline
from cohort.config import ClusterOptions, Config, IngestOptions
from cohort.headers import reading
from cohort.ingest import frames
from cohort.ingest import writing as ingest_writing
from cohort.readers import dicom_codestream
from cohort.store import pending, writing

_NO_DIGEST = "0" * 64


class _NoDigest:
    """Stands where a digest of voxels would be computed."""

    def __init__(self, _: bytes = b"") -> None: ...

    def update(self, _: Any) -> None: ...

    def hexdigest(self) -> str:
        return _NO_DIGEST


@contextmanager
def unguarded(*, digests: bool) -> Iterator[None]:
    """Leave out what guards a run."""

    def nothing(*_: Any, **__: Any) -> None:
        return None

    def no_digest(_: Any) -> str:
        return _NO_DIGEST

    targets: list[tuple[Any, str, Callable[..., Any]]] = [
        (writing, "sync", nothing), (pending, "sync", nothing),
        (writing, "digest_of_file", no_digest), (pending, "digest_of_file", no_digest),
        (pipeline, "_mend", nothing),
        (dicom_codestream, "check_pixels", nothing),
        (reading, "_has_changed", lambda *_: False), (frames, "check_unchanged", nothing),
    ]  # fmt: skip
    patches = [mock.patch.object(*target) for target in targets]
    if digests:
        patches.append(mock.patch.object(ingest_writing, "hashlib", mock.Mock(wraps=hashlib, sha256=_NoDigest)))
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def cost(images: Path, *, guarded: bool, digests: bool) -> tuple[float, float]:
    """CPU and wall seconds of one run."""
    config = Config(cluster=ClusterOptions(scheduler="sync"), ingest=IngestOptions(isolate=guarded))
    with tempfile.TemporaryDirectory() as folder:
        before, began = seconds(), time.perf_counter()
        if guarded:
            pipeline.run([str(images)], Path(folder) / "out", config)
        else:
            with unguarded(digests=digests):
                pipeline.run([str(images)], Path(folder) / "out", config)
        isolation.close_idle()  # only the time of children that have ended is known
        return seconds() - before, time.perf_counter() - began


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100, help="images made where none are given (default: 100)")
    parser.add_argument("--digests", action="store_true", help="leave out the digest of the voxels too")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        images = chosen.images
        if images is None:
            images = Path(folder) / "images"
            make_series(images, SYNTAXES["native"], chosen.count)
        pairs = []
        for number in range(chosen.rounds + 1):
            order = (False, True) if number % 2 else (True, False)
            found = {guarded: cost(images, guarded=guarded, digests=chosen.digests) for guarded in order}
            if number:  # the first is a warm-up
                pairs.append((found[False], found[True]))
    print("| | without | as it is | price, median of pairs [min-max] |\n|---|---|---|---|")
    for place, name in enumerate(("CPU", "wall")):
        price = sorted(100 * (b[place] / a[place] - 1) for a, b in pairs)
        without, within = (statistics.median(pair[which][place] for pair in pairs) for which in (0, 1))
        print(
            f"| {name} | {without:.2f} s | {within:.2f} s | "
            f"{statistics.median(price):+.1f} % [{price[0]:+.1f} to {price[-1]:+.1f}] |"
        )


if __name__ == "__main__":
    main()
