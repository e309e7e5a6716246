"""What a command does with findings once they are there: lists them, writes a baseline, fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from cohort.cli.talk import say

if TYPE_CHECKING:
    from cohort.places import Place

_UNMET = 3
"""Exit status of a run that is done, but whose findings meet --fail-on."""


class Judge:
    """Takes `fail_on`, `baseline` and `write_baseline` out of the options, and refuses bad ones before any work.

    Parameters
    ----------
    out : Place
        The run folder.
    options : dict
        Of the command line.

    Raises
    ------
    ConfigError
        If a condition is none, or the baseline cannot be read.
    """

    def __init__(self, out: Place, options: dict[str, Any]) -> None:
        self._out = out
        self._conditions: tuple[str, ...] = options.pop("fail_on")
        baseline, self._target = options.pop("baseline"), options.pop("write_baseline")
        self._known: frozenset[str] = frozenset()
        if self._conditions or baseline is not None:
            from cohort import verdict

            verdict.check_conditions(self._conditions)
            self._known = frozenset() if baseline is None else verdict.read_baseline(baseline)

    def conclude(self, form: str | None = None) -> None:
        """List the new findings in a format, write the baseline, and exit with status 3 where a condition is met."""
        if form is None and not self._conditions and self._target is None:
            return
        from cohort import verdict
        from cohort.store import RunFolder

        found = verdict.findings_of(RunFolder(self._out))
        new = verdict.unknown_before(found, self._known)
        if form is not None:
            click.echo(verdict.as_text_of(new, form), nl=False)
        if self._target is not None:
            verdict.write_baseline(self._target, found)
            say(f"baseline: {len(found):,} findings")
        met = verdict.violations(new, self._conditions)
        if met:
            say(verdict.told(met, self._conditions))
            raise SystemExit(_UNMET)
