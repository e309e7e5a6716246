"""Progress on stderr, with rate and time left: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from cohort.cluster import Progress, Step

_PLAIN_SECONDS = 10.0  # between two lines of one stage in a log file


@contextmanager
def drawn() -> Iterator[Progress]:
    """Yield a progress that draws what it is told."""
    if not sys.stderr.isatty():
        yield _PlainLines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description:<9}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield _Drawing(bars)


class _Clock:
    """Rate and time left of one stage."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def words(self, step: Step) -> str:
        seconds = max(1e-3, time.monotonic() - self._start)
        rate = step.done / seconds
        text = f"{rate:,.0f} {step.unit}/s" if rate >= 10 else f"{rate:,.1f} {step.unit}/s"
        if step.n_bytes:
            text += f", {step.n_bytes / seconds / 1e6:,.1f} MB/s"
        if step.done < step.total:
            text += f", {_duration((step.total - step.done) / rate)} left" if rate else ""
        return text


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class _Drawing:
    """One bar a stage."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, tuple[TaskID, _Clock]] = {}

    def __call__(self, step: Step) -> None:
        if step.note:
            self._bars.console.print(step.note, highlight=False)
            return
        if step.stage not in self._tasks:
            self._tasks[step.stage] = (self._bars.add_task(step.stage, total=step.total, rate=""), _Clock())
        task, clock = self._tasks[step.stage]
        self._bars.update(task, completed=step.done, total=step.total, rate=clock.words(step))


class _PlainLines:
    """A line when a stage ends, and every ten seconds before."""

    def __init__(self) -> None:
        self._clocks: dict[str, _Clock] = {}
        self._last: dict[str, float] = {}

    def __call__(self, step: Step) -> None:
        if step.note:
            sys.stderr.write(f"{step.note}\n")
            return
        clock = self._clocks.setdefault(step.stage, _Clock())
        now = time.monotonic()
        due = now - self._last.setdefault(step.stage, now) >= _PLAIN_SECONDS
        ended = step.done >= step.total > 0 and step.stage != "list"
        if due or ended:
            self._last[step.stage] = now
            sys.stderr.write(f"{step.stage:<9} {step.done:,} of {step.total:,} {step.unit}, {clock.words(step)}\n")
            sys.stderr.flush()
