"""A Zarr volume on its way: written out of sight, seen once it is committed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cohort.errors import FormatError
from cohort.store.artefacts import TEMPORARY, digest_of_file, sync
from cohort.store.seals import sealed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr

METADATA = ("zarr.json", "0/zarr.json")
"""What Zarr knows of an image: its digests are in the commit record, as chunks have checksums and this has none."""

_SYNCS = 16  # flushes under way at once
_TRIES = 20  # to put a folder in the place of another, while the same task runs elsewhere too


@dataclass(frozen=True)
class PendingVolume:
    """A volume being written, out of sight until committed."""

    final: Path
    temporary: Path

    def create(
        self, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, dimension_names: Sequence[str],
        attributes: Mapping[str, Any], compression_level: int,
    ) -> zarr.Array[Any]:  # fmt: skip
        """Create group and array `0` (Zarr v3): zstd after bit shuffling, a CRC-32C per chunk, no chunk left out."""
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        group = zarr.create_group(self.temporary, zarr_format=3, attributes=dict(attributes))
        array = group.create_array(
            "0",
            shape=shape,
            chunks=chunks,
            dtype=dtype,
            dimension_names=list(dimension_names),
            compressors=[
                BloscCodec(cname="zstd", clevel=compression_level, shuffle="bitshuffle"),
                Crc32cCodec(),
            ],
            fill_value=0,
            config={"write_empty_chunks": True},
        )
        assert isinstance(array, zarr.Array)
        return array

    def update_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace the attributes of the group, in its document: opening it by zarr takes six times as long."""
        path = self.temporary / "zarr.json"
        document = json.loads(path.read_text(encoding="utf-8")) | {"attributes": dict(attributes)}
        path.write_text(json.dumps(document, indent=2, allow_nan=False), encoding="utf-8")

    def commit(self, record: Mapping[str, Any]) -> None:
        """Count the chunks, write the commit record, sync and rename."""
        chunks, size = chunks_of(self.temporary)
        expected = int(record["chunks"])
        if chunks != expected:
            raise FormatError(f"{chunks} chunks written, {expected} expected; the disk may be full")
        metadata = {name: digest_of_file(self.temporary / name) for name in METADATA}
        text = sealed(dict(record) | {"chunk_bytes": size, "metadata": metadata})
        (self.temporary / "commit.json").write_text(text, encoding="utf-8")
        _sync_all([*self.temporary.glob("**/*"), self.temporary])
        _replace_folder(self.temporary, self.final)
        sync(self.final.parent)

    def drop(self) -> None:
        """Remove what was written so far."""
        shutil.rmtree(self.temporary, ignore_errors=True)


def chunks_of(folder: Path) -> tuple[int, int]:
    """Return how many chunks an image has on the disk, and their size in bytes."""
    sizes = [path.stat().st_size for path in (folder / "0" / "c").glob("**/*") if path.is_file()]
    return len(sizes), sum(sizes)


def _replace_folder(temporary: Path, final: Path) -> None:
    """Rename a folder, in the place of one that may be there: the same task may run twice at the same time."""
    for left in reversed(range(_TRIES)):
        try:
            temporary.rename(final)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not left:
                raise
        former = final.with_name(f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-former")
        with contextlib.suppress(FileNotFoundError):  # the other one was faster
            final.rename(former)
        shutil.rmtree(former, ignore_errors=True)


def _sync_all(paths: list[Path]) -> None:
    """Flush files and folders at once, so that the disk and its journal wait for all of them together."""
    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(sync, paths))
