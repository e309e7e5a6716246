"""Cohorts that exist as tables only: a source that lists objects nobody wrote, and a run folder of any size.

The rows are those of a phantom cohort that was really scanned and counted, repeated under other identities.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cohort.config import Config
from cohort.phantom import make_cohort
from cohort.pipeline import run as run_pipeline
from cohort.provenance import Journal
from cohort.schema import FILES, MANIFEST, OUTCOMES, PARTIALS, VOLUMES, Status
from cohort.sources import ObjectRef
from cohort.store import RunFolder, inputs_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cohort.store import Artefact

IMAGES_OF_A_VOLUME = 5
SERIES_OF_A_PATIENT = 3
_SERIES_OF_A_PART = 400
_VOLUMES_OF_A_PART = 500
_OF_A_SERIES = ("SeriesInstanceUID", "FrameOfReferenceUID")
_OF_A_PATIENT = ("StudyInstanceUID", "PatientID")
_OF_AN_IMAGE = ("SOPInstanceUID", "instance_key")


class MadeUpSource:
    """A source of objects that do not exist: listing and planning are measured, not reading.

    Parameters
    ----------
    root : Path
        A folder.
    objects : int
        So many are listed.
    """

    def __init__(self, root: Path, objects: int) -> None:
        self.root, self._objects = str(root), objects

    def list(self, _known: Any = None) -> Iterator[ObjectRef]:
        """Yield the objects, in order."""
        for number in range(self._objects):
            yield ObjectRef(
                b"site-%03d/patient-%05d/series/%07d.dcm" % (number % 100, number // 300, number), 1 << 19, 0
            )


def make_template(folder: Path) -> RunFolder:
    """Run over a phantom cohort without traps: its rows are what is repeated."""
    images, out = folder / "images", folder / "out"
    make_cohort(images, seed=1, patients=4, traps=False)
    run_pipeline([str(images)], out, Config().with_options("cluster", scheduler="sync"))
    return RunFolder(out)


class MadeUpRun:
    """A run folder of so many volumes, whose scan and ingest are made up; the other stages can be run on it.

    Parameters
    ----------
    path : Path
        OUT.
    template : RunFolder
        Of `make_template`.
    volumes : int
        Series of one volume of `IMAGES_OF_A_VOLUME` images.
    """

    def __init__(self, path: Path, template: RunFolder, volumes: int) -> None:
        self.folder, self._template, self._volumes = RunFolder(path), template, volumes
        self._images = _whole_series(template)

    def scan(self) -> None:
        """Write `run.json`, the manifest and the rows of all images."""
        Journal(self.folder, Config()).begin([str(self._template.path.parent / "images")], from_file=False)
        artefacts: list[Artefact] = []
        for number, first in enumerate(range(0, self._volumes, _SERIES_OF_A_PART)):
            table = self._part(np.arange(first, min(first + _SERIES_OF_A_PART, self._volumes)))
            columns = {name: table[name] for name in MANIFEST.names if name in table.column_names}
            lacking = {name: pa.nulls(len(table), MANIFEST.arrow().field(name).type) for name in MANIFEST.names}
            lacking["shard"] = pa.array(np.full(len(table), number), MANIFEST.arrow().field("shard").type)
            manifest = pa.table({n: columns.get(n, lacking[n]) for n in MANIFEST.names}, schema=MANIFEST.arrow())
            for name, rows, layout in (("manifest", manifest, MANIFEST), ("files", table, FILES)):
                made = self.folder.part_name(name, number, number)
                artefacts.append(self.folder.write_tables(made, layout.arrow(), [rows], plain=name == "files"))
        images = self._volumes * IMAGES_OF_A_VOLUME
        counts = {"objects": images, "bytes": images << 19, "status": {"ok": images}, "reasons": {},
                  "formats": {"dicom": images}, "images": images}  # fmt: skip
        self.folder.commit("scan", inputs_of("made up"), artefacts, counts)

    def _part(self, numbers: Any) -> pa.Table:
        """Return the rows of some series, by their numbers."""
        templates = self._images.num_rows // IMAGES_OF_A_VOLUME
        within = np.arange(IMAGES_OF_A_VOLUME)
        rows = (numbers[:, None] % templates * IMAGES_OF_A_VOLUME + within).ravel()
        table = self._images.take(pa.array(rows))
        series = np.repeat(numbers, IMAGES_OF_A_VOLUME)
        images = series * IMAGES_OF_A_VOLUME + np.tile(within, len(numbers))
        new: dict[str, list[Any]] = {name: [f"2.25.{name[0]}{n}" for n in series] for name in _OF_A_SERIES}
        new |= {name: [f"2.25.{name[0]}{n // SERIES_OF_A_PATIENT}" for n in series] for name in _OF_A_PATIENT}
        new |= {name: [hashlib.sha256(b"%d" % n).hexdigest()[:32] for n in images] for name in _OF_AN_IMAGE}
        new["series_key"] = [hashlib.sha256(b"series %d" % n).hexdigest()[:32] for n in series]
        new["path"] = [f"{n // 1000:05d}/{n:07d}/{image}.dcm" for n, image in zip(series, images, strict=True)]
        new["path_raw"] = [path.encode() for path in new["path"]]
        return _replaced(table, new)

    def ingest(self) -> None:
        """Write the counts and outcomes of all volumes that were assembled, and enter them."""
        known = self._template.read("partials")
        kinds = known.filter(pc.equal(known["channel"], 0)).combine_chunks()
        (volumes,) = self.folder.parts("volumes")
        file = pq.ParquetFile(volumes)
        artefacts: list[Artefact] = []
        entered: list[pa.Table] = []
        number = 0
        for bucket in range(file.num_row_groups):
            table = file.read_row_group(bucket)
            digests = [hashlib.sha256(key.encode()).hexdigest() for key in table["volume_id"].to_pylist()]
            table = _replaced(table, {"content_sha256": digests, "decoder": ["raw"] * len(table)})
            entered.append(table)
            for first in range(0, len(table), _VOLUMES_OF_A_PART):
                rows = table.slice(first, _VOLUMES_OF_A_PART)
                partials = kinds.take(pa.array((np.arange(len(rows)) + number) % len(kinds)))
                same = {"volume_id": rows["volume_id"].to_pylist(), "value_unit": rows["value_unit"].to_pylist()}
                artefacts += [
                    self.folder.write_table(self.folder.part_name("partials", number, number),
                                            _replaced(partials, same).cast(PARTIALS.arrow()), delta=("bins", "counts")),
                    self.folder.write_table(self.folder.part_name("outcomes", number, number),
                                            rows.select(OUTCOMES.names).cast(OUTCOMES.arrow())),
                ]  # fmt: skip
                number += 1
        artefacts.append(self.folder.write_tables("volumes.parquet", VOLUMES.arrow(), entered))
        counts = {"volumes": self._volumes, "status": {"ok": self._volumes}, "reasons": {}, "stored": 0}
        self.folder.commit("ingest", inputs_of("made up"), artefacts, counts)


def _whole_series(template: RunFolder) -> pa.Table:
    """Return the first images of every series that is one volume of single images, series after series."""
    volumes = template.read("volumes").to_pylist()
    wanted = {
        row["series_key"] for row in volumes
        if row["status"] == Status.OK and row["timepoints"] == 1 and row["slices"] == row["n_files"]
        and row["slices"] >= IMAGES_OF_A_VOLUME and row["split_reason"] is None
    }  # fmt: skip
    files = template.read("files", FILES.names)
    files = files.filter(pc.is_in(files["series_key"], pa.array(sorted(wanted), pa.string())))
    files = files.take(pc.sort_indices(files, [("series_key", "ascending"), ("InstanceNumber", "ascending")]))
    keys = files["series_key"].to_pylist()
    starts = [i for i, key in enumerate(keys) if i == 0 or key != keys[i - 1]]
    return files.take(pa.array([start + i for start in starts for i in range(IMAGES_OF_A_VOLUME)])).combine_chunks()


def _replaced(table: pa.Table, columns: dict[str, list[Any]]) -> pa.Table:
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        field = table.schema.field(place)
        table = table.set_column(place, field, pa.array(values, field.type))
    return table
