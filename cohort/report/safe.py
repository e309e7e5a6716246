"""The gate: the only module of the report that reads tables, and the one place that knows privacy classes.

`safe` columns pass as they are. `coarse` ones leave only as years or age groups, `identifier` ones only as
run-local numbers or as a count of different values; `text` and `path` ones never leave.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cohort import schema
from cohort.errors import RunError
from cohort.schema import Privacy

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class PrivacyError(RunError):
    """The report asked for a column that it may not show: a mistake in the report, not in the data."""


class SafeRun:
    """A run folder seen through the privacy classes of the data dictionary.

    Parameters
    ----------
    run : RunFolder
        The run; no other module of the report holds it.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._numbers: dict[str, pa.Array] = {}

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
            "versions": {str(k): str(v) for k, v in sorted((info.get("versions") or {}).items())},
        }

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
            Columns of class `safe`, returned as they are.
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
        arrays = {name: raw.column(name) for name in columns}
        arrays |= {name: _mapped(raw.column(name), year) for name in years}
        arrays |= {name: _mapped(raw.column(name), age_group) for name in age_groups}
        arrays |= {name: self._numbered(name, raw.column(name)) for name in numbers}
        return pa.table(arrays)

    def modality_histograms(self) -> pa.Table:
        """Return the histograms per Modality; other groups may be identifiers and stay behind."""
        table = self._run.read("histograms", schema.HISTOGRAMS.names)
        return table.filter(pc.equal(table["group_by"], "Modality")).drop_columns(["group_by"])

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

    def count_distinct(self, table: str, column: str) -> int:
        """Count the different values of an identifier; absent and empty ones do not count."""
        _check(table, [column], Privacy.IDENTIFIER)
        values = self._run.read(table, [column])[column]
        return len(_present(pc.unique(values)))

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


def _mapped(values: pa.ChunkedArray, make_coarse: Any) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([make_coarse(v) for v in values.to_pylist()], pa.string())])


def year(date: str | None) -> str | None:
    """Return the year of a DICOM date, None where there is no plausible one."""
    text = (date or "")[:4]
    return text if text.isascii() and text.isdigit() and "1900" <= text <= "2100" else None


def age_group(age: str | None) -> str | None:
    """Return the decade of a DICOM age string, one group from 90 on, None where it cannot be read."""
    text = (age or "").strip().upper()
    if not text or not text[:-1].isascii() or not text[:-1].isdigit() or text[-1] not in _AGE_UNITS:
        return None
    decade = int(int(text[:-1]) * _AGE_UNITS[text[-1]]) // 10 * 10
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
