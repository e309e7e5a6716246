"""The gate: the only module of the report that reads tables, and the one place that knows privacy classes.

`safe` columns pass; what headers say in words passes only where it is a known word or many patients share it
(`vocabulary`). `coarse` columns leave only as years or age groups, `identifier` ones only as run-local numbers
or as a count of different values; `text` and `path` ones never leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cohort import schema
from cohort.checks.leakage import splits_of
from cohort.errors import RunError
from cohort.reductions.grouping import UNKNOWN
from cohort.report import vocabulary
from cohort.schema import Privacy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from cohort.config import CheckOptions
    from cohort.store import RunFolder

OLDEST_AGE = 90
"""Ages from here on are one group (HIPAA 164.514(b)(2)(i)(C))."""

# The table that has one row per thing, by the column that identifies it elsewhere too.
_NUMBERED_IN = {
    "volume_id": "volumes",
    "series_key": "series",
    "PatientID": "series",
    "StudyInstanceUID": "series",
}

# Years in one unit of DICOM's age string nnnD, nnnW, nnnM, nnnY.
_AGE_UNITS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}


# Derived columns that repeat what a header says, by the attribute whose words they hold.
_WORDS_OF = {"value_unit": "value_unit", "group": "Modality"}


class PrivacyError(RunError):
    """The report asked for a column that it may not show: a mistake in the report, not in the data."""


class SafeRun:
    """A run folder seen through the privacy classes of the data dictionary.

    Parameters
    ----------
    run : RunFolder
        The run; no other module of the report holds it.
    min_cell : int
        Patients that have to share a word of a header for it to be shown where it is not a known one.
    """

    def __init__(self, run: RunFolder, min_cell: int = 5) -> None:
        self._run = run
        self._min_cell = min_cell
        self._numbers: dict[str, pa.Array] = {}
        self._shared: dict[str, frozenset[Any]] = {}

    def has(self, table: str) -> bool:
        """Tell whether a table has been committed."""
        return self._run.has(table)

    def provenance(self) -> dict[str, Any]:
        """Return what may be shown of run.json: versions and the digest of the configuration."""
        info = self._run.info()
        return {
            "cohort_version": str(info.get("cohort_version", "unknown")),
            "format_version": int(info.get("format_version", schema.FORMAT_VERSION)),
            "config_sha256": config_digest(info.get("config") or {}),
            "input_sha256": self.fingerprint(),
            "versions": {str(k): str(v) for k, v in sorted((info.get("versions") or {}).items())},
        }

    def fingerprint(self) -> str:
        """Return a digest of what was listed: sizes, and the keys of the images, wherever they lie."""
        import hashlib

        raw = self._run.read("files", ["instance_key", "size"])
        pairs = pc.binary_join_element_wise(
            pc.fill_null(raw["instance_key"], ""), pc.cast(pc.fill_null(raw["size"], -1), pa.string()), " "
        )
        digest = hashlib.sha256()
        for one in pairs.take(pc.sort_indices(pairs)).chunks:
            digest.update("\n".join(one.to_pylist()).encode() + b"\n" if len(one) else b"")
        return digest.hexdigest()

    def read(
        self,
        table: str,
        columns: Sequence[str] = (),
        *,
        years: Sequence[str] = (),
        age_groups: Sequence[str] = (),
        numbers: Sequence[str] = (),
    ) -> pa.Table:
        """Read columns of a table, each made as harmless as its class demands.

        Parameters
        ----------
        table : str
            Name of the table.
        columns : sequence of str
            Columns of class `safe`. Words and measures of headers that are neither known nor shared by
            enough patients are replaced: by `other`, by null.
        years, age_groups : sequence of str
            Columns of class `coarse`, returned as a year or an age group.
        numbers : sequence of str
            Columns of class `identifier`, returned as numbers from 1 that mean something in this run only.

        Raises
        ------
        PrivacyError
            If a column has another class than the way it is asked for.
        MissingStageError
            If the stage that writes the table is not committed.
        """
        _check(table, columns, Privacy.SAFE)
        _check(table, (*years, *age_groups), Privacy.COARSE)
        _check(table, numbers, Privacy.IDENTIFIER)
        names = [*columns, *years, *age_groups, *numbers]
        raw = self._run.read(table, names)
        arrays = {name: self._told(table, name, raw.column(name)) for name in columns}
        arrays |= {name: _mapped(raw.column(name), year, pa.string()) for name in years}
        arrays |= {name: _mapped(raw.column(name), age_group, pa.string()) for name in age_groups}
        arrays |= {name: self._numbered(name, raw.column(name)) for name in numbers}
        return pa.table(arrays)

    def modality_histograms(self) -> pa.Table:
        """Return the histograms of all values per Modality; other groups may be identifiers and stay behind."""
        table = self._run.read("histograms", schema.HISTOGRAMS.names)
        chosen = pc.and_(pc.equal(table["group_by"], "Modality"), pc.equal(table["view"], "all"))
        table = table.filter(chosen).drop_columns(["group_by", "view"])
        told = {name: self._told("histograms", name, table[name]) for name in table.column_names}
        keys = [name for name in told if name != "count"]  # groups that became one are one
        return pa.table(told).group_by(keys).aggregate([("count", "sum")]).rename_columns({"count_sum": "count"})

    def findings(self) -> pa.Table:
        """Return the findings, their subjects as run-local numbers (null where the scope has none)."""
        columns = ["code", "severity", "scope", "hint", "cluster"]
        _check("findings", columns, Privacy.SAFE)
        raw = self._run.read("findings", [*columns, "subject"])
        volume = self._numbered("volume_id", raw["subject"])
        series = self._numbered("series_key", raw["subject"])
        distinct = pc.rank(raw["subject"].combine_chunks(), tiebreaker="dense") if raw.num_rows else volume
        found = {name: raw[name] for name in columns}
        return pa.table(found | {"volume": volume, "series": series, "distinct": distinct})

    def partitions(self, options: CheckOptions) -> tuple[pa.Table, list[str]] | None:
        """Return which series have images in which partition, None where the configuration names no split.

        Parameters
        ----------
        options : CheckOptions
            Section `check`; a split is what `cohort.checks.leakage.splits_of` finds by it.

        Returns
        -------
        tuple of pyarrow.Table and list of str, or None
            `series` (run-local number) and `partition` (place in the list), each pair once; and what partitions may be
            called: by their name where it is a usual one, else by a run-local number. Paths name patients at times.
        """
        if not options.split_column and not options.split_pattern:
            return None
        pairs = sorted({(row["series_key"], split) for row, split in splits_of(self._images(options), options)})
        found = sorted({split for _, split in pairs}, key=vocabulary.partition_order)
        unusual = iter(range(1, len(found) + 1))
        labels = [s.strip() if vocabulary.is_partition(s) else f"unnamed {next(unusual)}" for s in found]
        keys = pa.chunked_array([pa.array([key for key, _ in pairs], pa.string())])
        place = {split: number for number, split in enumerate(found)}
        places = pa.array([place[split] for _, split in pairs], pa.int64())
        return pa.table({"series": self._numbered("series_key", keys), "partition": places}), labels

    def _images(self, options: CheckOptions) -> Iterator[dict[str, Any]]:
        """Yield what tells the split of each image."""
        column = [options.split_column] if options.split_column else []
        path = ["path"] if options.split_pattern else []
        raw = self._run.read("files", list(dict.fromkeys(["series_key", "is_image", "status", *column, *path])))
        fine = pc.and_(pc.equal(raw["is_image"], True), pc.equal(raw["status"], str(schema.Status.OK)))
        for batch in raw.filter(pc.fill_null(fine, False)).to_batches(max_chunksize=4096):
            yield from batch.to_pylist()

    def count_distinct(self, table: str, column: str) -> int:
        """Count the different values of an identifier; absent and empty ones do not count."""
        _check(table, [column], Privacy.IDENTIFIER)
        values = self._run.read(table, [column])[column]
        return len(_present(pc.unique(values)))

    def middle_slice(self, volume: int) -> NDArray[Any] | None:
        """Return the middle slice of a volume by its run-local number, None where its pixels are not stored.

        Returns
        -------
        array or None
            (rows, columns), or (rows, columns, channels); of several points in time the first.
        """
        volume_id = self._numbers["volume_id"][volume - 1].as_py()
        (zarr_path,) = self._run.read("volumes", ["zarr_path"], volume_ids=[volume_id])["zarr_path"].to_pylist()
        if zarr_path is None:
            return None
        stored = self._run.open_volume(zarr_path)
        axes = [axis["name"] for axis in self._run.volume_attributes(zarr_path)["ome"]["multiscales"][0]["axes"]]
        places = {"t": 0, "z": stored.shape[axes.index("z")] // 2 if "z" in axes else 0}
        values = np.asarray(stored[tuple(places.get(axis, slice(None)) for axis in axes)])
        left = [axis for axis in axes if axis not in places]
        return values.transpose([left.index(axis) for axis in ("y", "x", "c") if axis in left])

    def _told(self, table: str, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a safe column without the words that could name a patient."""
        attribute = _attribute(table, name)
        if attribute is None:
            return values
        return _mapped(values, lambda value: self._word(attribute, value), values.type)

    def _word(self, attribute: str, value: Any) -> Any:
        """Return one value of a header as it may be shown."""
        # What has no modality is called by a word of ours where it is grouped, and in NIfTI.
        if value is None or (attribute == "Modality" and value == UNKNOWN):
            return None
        if isinstance(value, float | int):
            fine = vocabulary.is_plausible(attribute, value) or value in self._values_shared(attribute)
            return value if fine else None
        if isinstance(value, list):
            return [self._word(attribute, one) for one in value]
        fine = not value.strip() or vocabulary.is_known(attribute, value) or value in self._values_shared(attribute)
        return value if fine else vocabulary.OTHER

    def _values_shared(self, attribute: str) -> frozenset[Any]:
        """Return the values of an attribute that at least `min_cell` patients have, as their series say."""
        if attribute not in self._shared:
            self._shared[attribute] = self._count_sharers(attribute)
        return self._shared[attribute]

    def _count_sharers(self, attribute: str) -> frozenset[Any]:
        table = "series" if attribute in schema.SERIES.names else "volumes"
        if attribute not in getattr(schema, table.upper()).names:
            return frozenset()
        raw = self._run.read(table, [attribute, "series_key"])
        patients = self._run.read("series", ["series_key", "PatientID"])
        patients = patients.filter(pc.fill_null(pc.not_equal(patients["PatientID"], ""), False))
        place = pc.index_in(raw["series_key"], value_set=patients["series_key"].combine_chunks())
        flat = pa.table({"value": raw[attribute], "patient": patients["PatientID"].take(place)})
        if pa.types.is_list(flat.schema.field("value").type):
            flat = _flattened(flat)
        flat = flat.filter(pc.is_valid(flat["patient"]))
        counted = flat.group_by("value").aggregate([("patient", "count_distinct")])
        enough = counted.filter(pc.greater_equal(counted["patient_count_distinct"], max(1, self._min_cell)))
        return frozenset(enough["value"].to_pylist())

    def _numbered(self, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return 1 + the place of each value among those of the table that owns the identifier."""
        if name not in self._numbers:
            if name not in _NUMBERED_IN:
                raise PrivacyError(f"no run-local numbers are defined for the identifier {name}")
            owner = self._run.read(_NUMBERED_IN[name], [name])[name]
            known = _present(pc.unique(owner))
            self._numbers[name] = known.take(pc.sort_indices(known))
        places = pc.index_in(values, value_set=self._numbers[name])
        return pc.add(pc.cast(places, pa.int64()), 1)


def _present(values: pa.Array) -> pa.Array:
    return values.filter(pc.fill_null(pc.not_equal(values, ""), False))


def _check(table: str, names: Sequence[str], privacy: Privacy) -> None:
    known = getattr(schema, table.upper())
    for name in names:
        found = known.column(name).privacy
        if found is not privacy:
            raise PrivacyError(f"the report may not read {table}.{name} as {privacy}: it is {found}")


def _attribute(table: str, name: str) -> str | None:
    """Return the attribute whose words a column holds, None where they are our own or a count."""
    column = getattr(schema, table.upper()).column(name)
    if name in _WORDS_OF:
        return _WORDS_OF[name]
    text = column.type in ("string", "list<string>")
    return name if column.source != "derived" and (text or name in vocabulary.RANGES) else None


def _flattened(table: pa.Table) -> pa.Table:
    lists = table["value"].combine_chunks()
    return pa.table({"value": lists.flatten(), "patient": table["patient"].take(pc.list_parent_indices(lists))})


def _mapped(values: pa.ChunkedArray, change: Callable[[Any], Any], type_: pa.DataType) -> pa.ChunkedArray:
    """Return a column with every different value changed once."""
    if pa.types.is_list(values.type):
        changed = {}
        found = values.to_pylist()
        keys = [None if one is None else tuple(one) for one in found]
        for key, one in zip(keys, found, strict=True):
            if key not in changed:
                changed[key] = change(one)
        return pa.chunked_array([pa.array([changed[key] for key in keys], type_)])
    coded = values.combine_chunks().dictionary_encode()
    told = pa.array([change(value) for value in coded.dictionary.to_pylist()], type_)
    return pa.chunked_array([told.take(coded.indices)])


def year(date: str | None) -> str | None:
    """Return the year of a DICOM date, None where there is no plausible one."""
    text = (date or "")[:4]
    return text if text.isascii() and text.isdigit() and "1900" <= text <= "2100" else None


def age_in_years(age: str | None) -> float | None:
    """Return the years of a DICOM age string, None where it cannot be read. As it is, it is not to be shown."""
    text = (age or "").strip().upper()
    if not text or not text[:-1].isascii() or not text[:-1].isdigit() or text[-1] not in _AGE_UNITS:
        return None
    return int(text[:-1]) * _AGE_UNITS[text[-1]]


def age_group(age: str | None) -> str | None:
    """Return the decade of a DICOM age string, one group from 90 on, None where it cannot be read."""
    years = age_in_years(age)
    if years is None:
        return None
    decade = int(years) // 10 * 10
    return f"{OLDEST_AGE}+" if decade >= OLDEST_AGE else f"{decade}-{decade + 9}"


def config_digest(config: dict[str, Any]) -> str:
    """Return the SHA-256 of the part of a configuration that decides results, as canonical JSON.

    Where the work ran (`cluster`) and where things lie (sources, OUT) are left out, so that the same
    question asked elsewhere has the same digest.
    """
    import hashlib
    import json

    elsewhere = {"cluster", "source", "sources", "out", "output", "path", "paths"}
    kept = {key: value for key, value in config.items() if key not in elsewhere}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
