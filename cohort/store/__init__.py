"""The run folder: names, versions, atomic commit, opening Parquet and Zarr.

Everything is written under a temporary name, flushed, synced and renamed. A stage is done when its commit
record `stages/<stage>.json` exists: it lists every artefact with size and SHA-256 and is written last.
Nothing that no record lists is ever read.
"""

from __future__ import annotations

from cohort.store.artefacts import Artefact, digest, inputs_of, table_of
from cohort.store.folder import STAGES, RunFolder
from cohort.store.pending import PendingVolume

__all__ = ["STAGES", "Artefact", "PendingVolume", "RunFolder", "digest", "inputs_of", "table_of"]
