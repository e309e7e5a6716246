"""The images of a run: one Zarr group each, seen once its commit record is there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cohort.errors import FormatError
from cohort.places import ObjectPath, children_of, remove_tree
from cohort.store.pending import COMMIT, FileVolume, ObjectVolume, PendingVolume, zarr_place
from cohort.store.seals import is_whole
from cohort.store.writing import Folder

if TYPE_CHECKING:
    import zarr

    from cohort.places import Place
    from cohort.store.artefacts import Artefact

_GROUP = json.dumps({"attributes": {}, "zarr_format": 3, "node_type": "group"}, indent=2)


class ImageFolder(Folder):
    """A run folder, as far as its images go: they are below `volumes.zarr`."""

    def open_volume(self, zarr_path: str) -> zarr.Array[Any]:
        """Open the array of a committed volume, read-only.

        Parameters
        ----------
        zarr_path : str
            `zarr_path` of the volume: its folder below `volumes.zarr`.

        Raises
        ------
        FormatError
            If the volume was never committed: a missing chunk would read as zeros.
        """
        import zarr

        folder = self.path / "volumes.zarr" / zarr_path
        if not (folder / COMMIT).is_file():
            raise FormatError("the volume has no commit record; run `cohort ingest` again")
        array = zarr.open_array(**zarr_place(folder / "0"), mode="r")
        assert isinstance(array, zarr.Array)
        return array

    def volume_attributes(self, zarr_path: str) -> dict[str, Any]:
        """Return the attributes of a committed volume: `ome` and `cohort`."""
        described = json.loads((self.path / "volumes.zarr" / zarr_path / "zarr.json").read_bytes())
        attributes: dict[str, Any] = described.get("attributes", {})
        return attributes

    def volume_commit(self, zarr_path: str) -> dict[str, Any] | None:
        """Return the commit record of a volume, None where there is none, or a damaged one."""
        path = self.path / "volumes.zarr" / zarr_path / COMMIT
        if not path.is_file():
            return None
        text = path.read_bytes()
        data: dict[str, Any] | None = json.loads(text) if is_whole(text) else None
        return data

    def new_volume(self, zarr_path: str) -> PendingVolume:
        """Begin a volume; it becomes visible with its `commit`."""
        final = self.path / "volumes.zarr" / zarr_path
        return ObjectVolume(final) if isinstance(final, ObjectPath) else FileVolume(final)

    def volume_folders(self) -> list[str]:
        """Return the names below `volumes.zarr` of the images there, committed or not."""
        return [
            f"{modality.name}/{image.name}"
            for modality in self._modality_folders()
            for image in children_of(modality)[0]
            if not image.name.startswith(".")
        ]

    def _modality_folders(self) -> list[Place]:
        return [path for path in children_of(self.path / "volumes.zarr")[0] if not path.name.startswith(".")]

    def keep_volumes(self, zarr_paths: set[str]) -> list[Artefact]:
        """Remove images that are not of this run any more, and describe the hierarchy as Zarr groups.

        Returns
        -------
        list of Artefact
            What describes the groups.
        """
        if not (self.path / "volumes.zarr").is_dir():
            return []
        for name in self.volume_folders():
            if name not in zarr_paths:
                remove_tree(self.path / "volumes.zarr" / name)
        groups = ["", *(f"{path.name}/" for path in self._modality_folders())]
        return [self.write_text_once(f"volumes.zarr/{group}zarr.json", _GROUP) for group in groups]
