"""The command that tells whether a run folder is whole."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from cohort.cli.group import command
from cohort.cli.options import debug_option, json_option, run_folder_argument
from cohort.cli.talk import say

if TYPE_CHECKING:
    from cohort.places import Place
    from cohort.verify import Problem

_WRONG = 3


@command("verify")
@run_folder_argument
@click.option("--deep", is_flag=True, help="Read every chunk of every image too, and compute its digest again.")
@click.option("--repair", "mend", is_flag=True, help="Take away what is damaged: `cohort run` makes it again.")
@json_option
@debug_option
def verify(out: Place, deep: bool, mend: bool, as_json: bool) -> None:
    """Check a run."""
    from cohort import verify as checking
    from cohort.store import RunFolder

    run = RunFolder(out)
    run.check_usable()
    run.check_begun()
    problems = checking.verify(run, deep=deep)
    if mend and problems:
        with run.locked():
            checking.repair(run, problems)
    if as_json:
        found = {"whole": not problems, "deep": deep, "problems": [problem.as_dict() for problem in problems]}
        click.echo(json.dumps(found, indent=1, sort_keys=True))
    elif problems:
        for problem in problems:
            click.echo(f"{problem.kind:<12} {problem.stage:<8} {problem.artefact}: {problem.what}")
    else:
        click.echo(f"{out} is whole: {checking.described(run, deep=deep)}")
    if problems:
        say(_advice(problems, deep=deep, mended=mend))
        sys.exit(_WRONG)


def _advice(problems: list[Problem], *, deep: bool, mended: bool) -> str:
    from cohort.verify import INCONSISTENT

    stages = ", ".join(dict.fromkeys(problem.stage for problem in problems if problem.kind != INCONSISTENT))
    if not stages:
        return (
            "every file is as it was committed, but the tables disagree; please report this, and begin with --restart"
        )
    if mended:
        return f"taken away; `cohort run` with the same sources and options makes it again ({stages})"
    first = "after `cohort verify --deep --repair`, " if deep else ""
    return f"{first}`cohort run` with the same sources and options makes it again ({stages})"
