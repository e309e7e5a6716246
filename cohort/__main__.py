"""The command `cohort`, and `python -m cohort`.

The overview is answered from the table of commands alone: loading click takes three times as long as starting
the interpreter (docs/decisions/0002-instant-help.md).
"""

from __future__ import annotations

import sys

from cohort.commands import overview


def main() -> None:
    """Run the command line."""
    arguments = sys.argv[1:]
    if not arguments or arguments in (["--help"], ["-h"]):
        sys.stdout.write(overview())
        return
    from cohort.cli import run_command_line

    run_command_line()


if __name__ == "__main__":
    main()
