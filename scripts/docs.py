"""Write the pages that come from the code, or with --check tell whether they are up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from cohort import schema

PAGES = {Path(__file__).parents[1] / "docs" / "tables.md": schema.as_markdown}


def main() -> int:
    """Write or compare every page; returns the exit status."""
    stale = [page for page, make in PAGES.items() if not page.is_file() or page.read_text(encoding="utf-8") != make()]
    if "--check" in sys.argv:
        for page in stale:
            sys.stderr.write(f"docs/{page.name} is out of date; run: .venv/bin/python scripts/docs.py\n")
        return 1 if stale else 0
    for page in stale:
        page.write_text(PAGES[page](), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
