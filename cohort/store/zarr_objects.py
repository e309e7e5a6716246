"""Zarr's store of objects, as results are written to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from zarr.storage import ObjectStore

from cohort.places import ATTEMPTS, of_results, pause_after

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class WrittenObjects(ObjectStore[Any]):
    """A store whose failures to write are those of the run, not of the image that is written."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write one chunk or document."""
        with of_results():
            await super().set(key, value)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read one chunk or document, again where the answer is cut."""
        for attempt in range(ATTEMPTS):
            try:
                return await super().get(key, prototype, byte_range)
            except Exception as error:
                await asyncio.sleep(pause_after(error, attempt))
        raise AssertionError

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write nothing: Zarr would make groups of all prefixes above the image, OUT's and the bucket's own too."""
