"""A Zarr volume on its way: written out of sight, seen once it is committed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal

from cohort.errors import FormatError
from cohort.places import ObjectPath, files_below, of_results, remove_tree
from cohort.store.artefacts import TEMPORARY, digest_of_file, sync
from cohort.store.seals import sealed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr

    from cohort.places import Place

METADATA = ("zarr.json", "0/zarr.json")
"""What Zarr knows of an image: its digests are in the commit record, as chunks have checksums and this has none."""

COMMIT = "commit.json"
"""Name of the commit record of an image."""

_SYNCS = 16  # flushes under way at once
_TRIES = 20  # to put a folder in the place of another, while the same task runs elsewhere too


class PendingVolume:
    """A volume being written, out of sight until committed.

    Parameters
    ----------
    temporary : Place
        Where it is written.
    """

    def __init__(self, temporary: Place) -> None:
        self.temporary = temporary

    def create(
        self, shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, dimension_names: Sequence[str],
        attributes: Mapping[str, Any], codec: tuple[Literal["zstd", "lz4"], int],
        shards: tuple[int, ...] | None = None,
    ) -> zarr.Array[Any]:  # fmt: skip
        """Create group and array `0` (Zarr v3): Blosc with bit shuffling, a CRC-32C per chunk, no chunk left out.

        `codec` is the name of the codec within Blosc and its level. Shards, where wanted, are whole chunks, and should
        be written whole.
        """
        import zarr
        from zarr.codecs import BloscCodec, Crc32cCodec

        group = zarr.create_group(**zarr_place(self.temporary), zarr_format=3, attributes=dict(attributes))
        array = group.create_array(
            "0",
            shape=shape,
            chunks=chunks,
            shards=shards,
            dtype=dtype,
            dimension_names=list(dimension_names),
            compressors=[
                BloscCodec(cname=codec[0], clevel=codec[1], shuffle="bitshuffle"),
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
        """Count the chunks, or shards, and write the commit record: from now on the volume is seen."""
        chunks, size = chunks_of(self.temporary)
        expected = int(record["chunks"])
        if chunks != expected:
            raise FormatError(f"{chunks} chunks written, {expected} expected; the disk may be full")
        metadata = {name: digest_of_file(self.temporary / name) for name in METADATA}
        text = sealed(dict(record) | {"chunk_bytes": size, "metadata": metadata})
        (self.temporary / COMMIT).write_text(text, encoding="utf-8")

    def drop(self) -> None:
        """Remove what was written so far, unless it was committed."""
        remove_tree(self.temporary)


class FileVolume(PendingVolume):
    """A volume in a folder: written under a temporary name, flushed, renamed."""

    def __init__(self, final: Path) -> None:
        self._folder = final.parent / f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}-{final.name}"
        super().__init__(self._folder)
        self._final = final

    def commit(self, record: Mapping[str, Any]) -> None:
        """Write the commit record, sync and rename."""
        super().commit(record)
        _sync_all([*self._folder.glob("**/*"), self._folder])
        _replace_folder(self._folder, self._final)
        sync(self._final.parent)


class ObjectVolume(PendingVolume):
    """A volume in a bucket: written where it will be, seen with its commit record, which comes last."""

    def create(self, *args: Any, **options: Any) -> zarr.Array[Any]:
        """Remove what another attempt left, its commit record first, and create group and array."""
        with of_results():
            (self.temporary / COMMIT).unlink(missing_ok=True)
            remove_tree(self.temporary)
            return super().create(*args, **options)

    def update_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace the attributes of the group."""
        with of_results():
            super().update_attributes(attributes)

    def commit(self, record: Mapping[str, Any]) -> None:
        """Write the commit record."""
        with of_results():
            super().commit(record)

    def drop(self) -> None:
        """Remove what was written so far, unless it was committed."""
        with of_results():
            if not (self.temporary / COMMIT).is_file():
                super().drop()


def zarr_place(place: Place) -> dict[str, Any]:
    """Return what tells Zarr where a group or array is: `store`, and of objects `path` in it."""
    if not isinstance(place, ObjectPath):
        return {"store": place}
    from cohort.store.zarr_objects import WrittenObjects

    return {"store": WrittenObjects(place.store), "path": place.key}


def chunks_of(folder: Place) -> tuple[int, int]:
    """Return how many chunks, or shards, an image has, and their size in bytes."""
    sizes = [size for _, size in files_below(folder / "0/c")]
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
