"""What a run would do: the files it would read, the stages it would go through, and where. Nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from cohort.cluster import plan
from cohort.headers import Changes, changes
from cohort.verify import DAMAGED, check_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cohort.config import Config
    from cohort.sources import Source
    from cohort.store import RunFolder

RUN, AGAIN, KEPT = "run", "again", "kept"


class Forecast(NamedTuple):
    """What a run would do."""

    files: Changes
    stages: dict[str, str]
    """Of each whether it would run, run again, or be kept."""
    damaged: int
    """Artefacts that are not as they were committed, and would be made again."""
    where: str
    """Where the work would run; for SLURM with the script of a job, for Kubernetes with the manifest."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return self._asdict() | {"files": self.files._asdict()}


def forecast(
    run: RunFolder, sources: Sequence[Source], config: Config, stages: Sequence[str], *, restart: bool
) -> Forecast:
    """Say what a run would do.

    Parameters
    ----------
    run : RunFolder
        OUT; new, or of a run with the same sources and options.
    sources : sequence of Source
        Roots; they are listed to their end.
    config : Config
        All options.
    stages : sequence of str
        What the run would go through, in order.
    restart : bool
        Whether it would begin anew.
    """
    where = plan(config.cluster, config.task_mib())
    found = changes(run, sources, config)
    if restart:
        everything = Changes(found.new + found.changed + found.unchanged, 0, 0, 0)
        return Forecast(everything, dict.fromkeys(stages, RUN), 0, where)
    damaged = [problem for problem in check_bytes(run) if problem.kind == DAMAGED] if run.known_info() else []
    broken = {problem.stage for problem in damaged}
    states, kept = {}, not (found.new or found.changed or found.vanished)
    for stage in stages:
        done = run.record(stage) is not None
        kept = kept and done and stage not in broken
        states[stage] = KEPT if kept else AGAIN if done else RUN
    return Forecast(found, states, len(damaged), where)


def as_text(found: Forecast) -> str:
    """Return a forecast in words."""
    files = found.files
    parts = {"new": files.new, "changed": files.changed, "as before": files.unchanged}
    told = ", ".join(f"{count:,} {name}" for name, count in parts.items() if count)
    lines = [f"files    {told}" + (f"; {files.vanished:,} vanished" if files.vanished else "")]
    if found.damaged:
        lines.append(f"repair   {found.damaged:,} artefacts are not as they were committed")
    for state in (RUN, AGAIN, KEPT):
        named = [stage for stage, its in found.stages.items() if its == state]
        if named:
            note = "; of files as before nothing is read again" if state == AGAIN and files.unchanged else ""
            lines.append(f"{state:<8} {', '.join(named)}{note}")
    return "\n".join([*lines, f"on       {found.where}"])
