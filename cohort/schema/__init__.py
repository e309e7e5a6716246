"""The data dictionary: every column of every table, once.

Name, type, unit, source (DICOM tag or NIfTI field), description and privacy class live here; the Arrow
schemas, `schema.json`, `docs/tables.md` and the columns the report may read are all derived from it.
Columns taken from DICOM keep the DICOM keyword; derived ones are snake_case with the unit in the name.
"""

from cohort.schema.export import as_json, as_markdown
from cohort.schema.headers import (
    DICOM_COLUMNS,
    FRAME_COLUMNS,
    HEADER_COLUMNS,
    ITEM_COLUMNS,
    NIFTI_COLUMNS,
    PATIENT_NAMES,
    PERSONS,
)
from cohort.schema.model import FORMAT_VERSION, VERSION, Column, Privacy, Status, Table
from cohort.schema.tables import (
    FILES,
    FINDINGS,
    FRAMES,
    HISTOGRAMS,
    KEY_ATTRIBUTES,
    LABELS,
    MANIFEST,
    OUTCOMES,
    PARTIALS,
    PERCENTILES,
    SERIES,
    SPACING,
    STATISTICS,
    TABLES,
    VOLUMES,
)

__all__ = [
    "DICOM_COLUMNS",
    "FILES",
    "FINDINGS",
    "FORMAT_VERSION",
    "FRAMES",
    "FRAME_COLUMNS",
    "HEADER_COLUMNS",
    "HISTOGRAMS",
    "ITEM_COLUMNS",
    "KEY_ATTRIBUTES",
    "LABELS",
    "MANIFEST",
    "NIFTI_COLUMNS",
    "OUTCOMES",
    "PARTIALS",
    "PATIENT_NAMES",
    "PERCENTILES",
    "PERSONS",
    "SERIES",
    "SPACING",
    "STATISTICS",
    "TABLES",
    "VERSION",
    "VOLUMES",
    "Column",
    "Privacy",
    "Status",
    "Table",
    "as_json",
    "as_markdown",
]
