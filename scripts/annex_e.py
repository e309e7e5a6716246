"""Write cohort/schema/annex_e.csv, or with --check tell whether it is up to date.

The attributes and action codes are those of PS3.15 Table E.1-1, edition 2026c, as dicom-anonymizer (BSD) read them
from the standard; what the table says of groups (curves, overlays, private attributes) is in `cohort.schema.annex_e`.
Checked when it was made: all 619 attributes of another reading, of September 2024 (idiscore), have the same code, and
so have all but four of 429 of a reading of 2020 (dicom-standard), which were changed since. Keywords are pydicom's.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c as table
from pydicom.datadict import keyword_for_tag

PLACE = Path(__file__).parents[1] / "cohort" / "schema" / "annex_e.csv"
CODES = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip


def rows() -> list[str]:
    """Return the lines of the table, by tag; repeating groups are left out."""
    found = {tag: code for name, code in CODES.items() for tag in getattr(table, name) if len(tag) == 2}
    return [f"{group:04X},{element:04X},{keyword_for_tag((group, element))},{code}"
            for (group, element), code in sorted(found.items())]  # fmt: skip


def main() -> int:
    """Write the table, or compare it."""
    text = "\n".join(["group,element,keyword,action", *rows()]) + "\n"
    if "--check" not in sys.argv:
        PLACE.write_text(text, encoding="utf-8")
        return 0
    same = PLACE.read_text(encoding="utf-8") == text
    sys.stdout.write("up to date\n" if same else "cohort/schema/annex_e.csv differs: run scripts/annex_e.py\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
