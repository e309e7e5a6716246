"""The run folder: names, versions, atomic commit, opening Parquet and Zarr.

Everything is written under a temporary name, flushed, synced and renamed. A stage is done when its commit
record `stages/<stage>.json` exists: it lists every artefact with size and SHA-256 and is written last.
Nothing that no record lists is ever read.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cohort import schema
from cohort.errors import FormatError, MissingStageError, OutputError
from cohort.places import ObjectPath, children_of, word_of
from cohort.store.artefacts import Artefact, digest
from cohort.store.images import ImageFolder
from cohort.store.parts import footer_of, open_part, read_part
from cohort.store.seals import is_damaged, sealed
from cohort.store.writing import OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import pyarrow as pa

    from cohort.places import Place

STAGES = ("scan", "assemble", "ingest", "reduce", "check", "report")

# Where each table lies, and the stage whose commit makes it readable.
_PLACES: dict[str, tuple[str, str]] = {
    "manifest": ("manifest", "scan"),
    "files": ("files", "scan"),
    "series": ("series.parquet", "assemble"),
    "volumes": ("volumes.parquet", "assemble"),
    "frames": ("frames", "assemble"),
    "outcomes": ("statistics/outcomes", "ingest"),
    "partials": ("statistics/partials", "ingest"),
    "statistics": ("statistics/volumes.parquet", "reduce"),
    "histograms": ("statistics/histograms.parquet", "reduce"),
    "labels": ("statistics/labels.parquet", "reduce"),
    "spacing": ("statistics/spacing.parquet", "reduce"),
    "findings": ("findings.parquet", "check"),
}

_PARQUET: dict[str, Any] = {"compression": "zstd", "compression_level": 3}
# A fifth larger than by zstd, and written in two thirds of the time (a tenth of the scan's for `files`).
_PLAIN = {"compression": "lz4", "compression_level": None, "use_dictionary": False, "write_statistics": False}


class RunFolder(ImageFolder):
    """The folder of one run, or its prefix in a bucket.

    Parameters
    ----------
    path : Place
        OUT. Nothing is created until the first write.
    """

    # -- what is there -------------------------------------------------------------------------------------

    def check_usable(self) -> None:
        """Raise OutputError unless OUT is new, empty or a run folder of this format version."""
        with self._reachable():
            if self.path.is_file():
                raise OutputError(f"{self.path} is a file; name a folder for the results")
            if not self.path.exists() or self._is_run():
                return
            if any(not path.name.startswith(OURS) for found in children_of(self.path) for path in found):
                raise OutputError(f"{self.path} holds something else; name a new or empty folder with -o")

    def check_begun(self) -> None:
        """Raise OutputError unless OUT is a run folder, be its `run.json` damaged."""
        with self._reachable():
            if not self.path.is_dir() or not self._is_run():
                raise OutputError(f"{self.path} is not a run folder; make one with: cohort run SOURCE -o {self.path}")

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        """Say what to do where a bucket does not answer."""
        try:
            yield
        except OSError as error:
            if not isinstance(self.path, ObjectPath):
                raise
            raise OutputError(
                f"cannot use {self.path}: {word_of(error)}; check its name and the credentials of the environment"
            ) from None

    def clear(self) -> None:
        """Remove everything a run wrote, and nothing else; OUT must be new, empty or a run folder."""
        self.check_usable()
        self.take_away()

    def _is_run(self) -> bool:
        if not (self.path / "run.json").is_file():
            return False
        if is_damaged((self.path / "run.json").read_bytes()):
            return True
        version = self.info().get("format_version")
        if version != schema.FORMAT_VERSION:
            raise OutputError(
                f"{self.path} has format version {version}, this cohort writes {schema.FORMAT_VERSION}; "
                "use the version that made it, or a new folder"
            )
        return True

    def check_opened(self) -> None:
        """Raise OutputError unless OUT is a run folder that can be read."""
        self.check_begun()
        self.info()

    def info(self) -> dict[str, Any]:
        """Return `run.json`; empty before the first write."""
        path = self.path / "run.json"
        if not path.is_file():
            return {}
        text = path.read_bytes()
        if is_damaged(text):
            raise OutputError(f"{path} is damaged; `cohort run` with the same sources and options writes it anew")
        data = json.loads(text)
        return data if isinstance(data, dict) else {}

    def known_info(self) -> dict[str, Any]:
        """Return `run.json`; empty where there is none, or a damaged one: a run writes it anew."""
        path = self.path / "run.json"
        return {} if path.is_file() and is_damaged(path.read_bytes()) else self.info()

    def write_info(self, data: Mapping[str, Any]) -> None:
        """Write `run.json`, with its own digest, where it says anything new."""
        self.write_text_once("run.json", sealed(data))

    def record(self, stage: str) -> dict[str, Any] | None:
        """Return the commit record of a stage, None where it has not been committed."""
        path = self.path / "stages" / f"{stage}.json"
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        if is_damaged(text):
            raise FormatError(f"{path} is damaged; run the same command again to make it anew")
        data: dict[str, Any] = json.loads(text)
        if data.get("format_version") != schema.FORMAT_VERSION:
            raise FormatError(
                f"stage {stage} has format version {data.get('format_version')}; begin anew with --restart"
            )
        return data

    def committed(self, stage: str) -> dict[str, Any]:
        """Return the commit record of a stage; raises MissingStageError where there is none."""
        record = self.record(stage)
        if record is None:
            raise MissingStageError(f"{self.path} has no results of `{stage}` yet; run: cohort {stage} {self.path}")
        return record

    def is_current(self, stage: str, inputs: str) -> bool:
        """Tell whether a stage was committed from these inputs and all it wrote is still there."""
        record = self.record(stage)
        if record is None or record["inputs"] != inputs:
            return False
        sizes = {a["path"]: a["size"] for a in record["artefacts"]}
        for later in STAGES[STAGES.index(stage) + 1 :]:  # `ingest` completes volumes.parquet
            following = self.record(later)
            sizes |= {a["path"]: a["size"] for a in following["artefacts"] if a["path"] in sizes} if following else {}
        return all(self._has_size(name, size) for name, size in sizes.items())

    def _has_size(self, name: str, size: int) -> bool:
        path = self.path / name
        return path.is_file() and path.stat().st_size == size

    # -- reading -------------------------------------------------------------------------------------------

    def has(self, table: str) -> bool:
        """Tell whether a table has been committed."""
        return self.record(_PLACES[table][1]) is not None and bool(self.parts(table))

    def parts(self, table: str) -> list[Place]:
        """Return the committed Parquet files of a table, in order."""
        place, stage = _PLACES[table]
        return [
            self.path / a["path"]
            for a in self.committed(stage)["artefacts"]
            if a["path"] == place or a["path"].startswith(place + "/")
        ]

    def layout(self, table: str, columns: Sequence[str] | None = None) -> pa.Schema:
        """Return the Arrow schema of a table as this run has it, with the columns it was asked for, or of some columns.

        Raises
        ------
        KeyError
            If there is no such column.
        """
        import pyarrow as pa

        known, parts = getattr(schema, table.upper()), self.parts(table)
        if not parts or (columns is not None and set(columns) <= set(known.names)):
            return known.arrow(columns)
        fields = {field.name: field for field in (*open_part(parts[0]).schema_arrow, *known.arrow())}
        names = [*known.names, *(name for name in fields if name not in known.names)] if columns is None else columns
        return pa.schema([fields[name] for name in names], metadata=known.arrow([]).metadata)

    def read(
        self,
        table: str,
        columns: Sequence[str] | None = None,
        volume_ids: Sequence[str] | None = None,
        bucket: int | None = None,
    ) -> pa.Table:
        """Read a table, or some columns or volumes of it, or one bucket of `series` or `volumes`, whole."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = self.layout(table, columns)
        chosen = None
        if volume_ids is not None:
            chosen = pc.field("volume_id").isin(pa.array(list(volume_ids), pa.string()))
        if bucket is not None:
            (path,) = self.parts(table)
            names = wanted.names if chosen is None else list(dict.fromkeys((*wanted.names, "volume_id")))
            found = open_part(path).read_row_group(bucket, columns=names)
            return (found if chosen is None else found.filter(chosen)).select(wanted.names).cast(wanted)
        tables = [read_part(path, columns=wanted.names, filters=chosen) for path in self.parts(table)]
        return (
            pa.concat_tables([t.select(wanted.names).cast(wanted) for t in tables]) if tables else wanted.empty_table()
        )

    def read_files(self, artefacts: Iterable[Artefact], column: str) -> Iterator[Any]:
        """Yield the values of one column of some Parquet files below OUT."""
        for artefact in artefacts:
            yield from read_part(self.path / artefact.path, columns=[column])[column].to_pylist()

    # -- writing -------------------------------------------------------------------------------------------

    def write_table(self, name: str, table: pa.Table, *, delta: Sequence[str] = ()) -> Artefact:
        """Write one Parquet file below OUT, atomically; the same table gives the same bytes.

        Parameters
        ----------
        name : str
            Path below OUT.
        table : pa.Table
            The rows.
        delta : sequence of str
            Lists of ascending integers, stored as differences.
        """
        import pyarrow.parquet as pq

        def write(temporary: Path) -> None:
            options = dict(_PARQUET)
            if delta:
                options["use_dictionary"] = [name for name in table.column_names if name not in delta]
                options["column_encoding"] = {f"{name}.list.element": "DELTA_BINARY_PACKED" for name in delta}
            pq.write_table(table, temporary, **options)

        return self._write(name, write, rows=table.num_rows)

    def write_tables(
        self, name: str, layout: pa.Schema, tables: Iterable[pa.Table], *, plain: bool = False
    ) -> Artefact:
        """Write tables one after the other to one Parquet file below OUT, atomically; only one is in memory.

        A `plain` file has neither dictionaries nor statistics, and is compressed by LZ4: where there are many
        columns it is written in a third of the time, and little larger.
        """
        import pyarrow.parquet as pq

        rows = 0
        options = _PARQUET | (_PLAIN if plain else {})

        def write(temporary: Path) -> None:
            nonlocal rows
            with pq.ParquetWriter(temporary, layout, **options) as writer:
                for table in tables:
                    same = table.schema.equals(layout, check_metadata=True)  # a cast costs as much as writing ten rows
                    writer.write_table(table if same else table.cast(layout))
                    rows += table.num_rows

        artefact = self._write(name, write)
        return Artefact(artefact.path, artefact.size, artefact.sha256, rows)

    def part_name(self, table: str, number: int, inputs: Any) -> str:
        """Name of a part; it carries the digest of what it was made from, so existing means done."""
        return f"{_PLACES[table][0]}/part-{number:05d}-{digest(inputs)[:12]}.parquet"

    def existing_part(self, name: str) -> Artefact | None:
        """Return a part written earlier, None where it is missing or cannot be opened."""
        import pyarrow as pa

        path = self.path / name
        try:
            rows = footer_of(path).num_rows
        except (OSError, pa.ArrowInvalid):
            return None
        return self.artefact_of(path, name, rows)

    def commit(
        self,
        stage: str,
        inputs: str,
        artefacts: Iterable[Artefact],
        counts: Mapping[str, Any],
        extra: Any = None,
    ) -> dict[str, Any]:
        """Write the commit record of a stage and remove parts of earlier inputs."""
        kept = sorted(artefacts, key=lambda a: a.path)
        record = {
            "format_version": schema.FORMAT_VERSION,
            "stage": stage,
            "inputs": inputs,
            "artefacts": [a.as_dict() for a in kept],
            "counts": dict(counts),
            "extra": extra,
        }
        self.write_text(f"stages/{stage}.json", sealed(record))
        self.sweep_parts(stage)
        return self.committed(stage)

    def withdraw(self, stages: Iterable[str]) -> None:
        """Take back the commit of stages whose inputs are about to change."""
        for stage in stages:
            (self.path / "stages" / f"{stage}.json").unlink(missing_ok=True)

    def part_folders(self) -> list[tuple[str, str]]:
        """Return the folders of tables in parts, each with the stage that writes it."""
        return [(place, stage) for place, stage in _PLACES.values() if not place.endswith(".parquet")]

    def part_files(self, folder: str) -> list[str]:
        """Return the names below OUT of the parts that are in a folder, committed or not."""
        found = children_of(self.path / folder)[1]
        return [f"{folder}/{path.name}" for path in found if path.name.endswith(".parquet")]

    def sweep_parts(self, stage: str) -> None:
        """Remove the parts that a stage did not commit: of earlier inputs, or of a run that was interrupted."""
        kept = {artefact["path"] for artefact in self.committed(stage)["artefacts"]}
        for folder in (place for place, owner in self.part_folders() if owner == stage):
            for name in self.part_files(folder):
                if name not in kept:
                    (self.path / name).unlink(missing_ok=True)
