"""The run folder: names, versions, atomic commit, opening Parquet and Zarr.

Everything is written under a temporary name, flushed, synced and renamed. A stage is done when its commit
record `stages/<stage>.json` exists: it lists every artefact with size and SHA-256 and is written last.
Nothing that no record lists is ever read. Records carry their own digest.
"""

from __future__ import annotations

from cohort.store.artefacts import Artefact, digest, digest_of_file, inputs_of, table_of
from cohort.store.folder import STAGES, RunFolder
from cohort.store.lock import FileLock
from cohort.store.parts import batches_of, footer_of, open_batches, open_part, read_part, read_partials
from cohort.store.pending import METADATA, PendingVolume, chunks_of
from cohort.store.seals import is_whole, sealed

__all__ = [
    "METADATA", "STAGES", "Artefact", "FileLock", "PendingVolume", "RunFolder", "batches_of", "chunks_of", "digest",
    "digest_of_file", "footer_of", "inputs_of", "is_whole", "open_batches", "open_part", "read_part", "read_partials",
    "sealed", "table_of",
]  # fmt: skip
