"""A Zarr volume on its way: written out of sight, seen once it is committed."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cohort.errors import FormatError
from cohort.store.artefacts import sync

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import zarr

_SYNCS = 16  # flushes under way at once


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
        chunks = sum(1 for p in (self.temporary / "0" / "c").glob("**/*") if p.is_file())
        expected = int(record["chunks"])
        if chunks != expected:
            raise FormatError(f"{chunks} chunks written, {expected} expected; the disk may be full")
        text = json.dumps(dict(record), indent=1, sort_keys=True) + "\n"
        (self.temporary / "commit.json").write_text(text, encoding="utf-8")
        _sync_all([*self.temporary.glob("**/*"), self.temporary])
        if self.final.exists():
            shutil.rmtree(self.final)
        self.temporary.rename(self.final)
        sync(self.final.parent)

    def drop(self) -> None:
        """Remove what was written so far."""
        shutil.rmtree(self.temporary, ignore_errors=True)


def _sync_all(paths: list[Path]) -> None:
    """Flush files and folders at once, so that the disk and its journal wait for all of them together."""
    with ThreadPoolExecutor(_SYNCS) as pool:
        list(pool.map(sync, paths))
