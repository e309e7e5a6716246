"""The command line: one command, one call.

stdout is data, stderr is talk. Exit status: 0 done, 1 failed, 2 misuse (nothing written), 3 done, but `--fail-on` was
met or `verify` found something wrong, 130 interrupted (resumable).
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

import click

from cohort.cli import bench, export, look, verify, work  # noqa: F401 (their commands join the group)
from cohort.cli.group import cli
from cohort.cli.talk import say
from cohort.errors import CohortError, MisuseError

_FAILED, _MISUSE, _INTERRUPTED = 1, 2, 130


def run_command_line() -> NoReturn:
    """Run the command line and exit."""
    from cohort.schema import VERSION

    arguments = sys.argv[1:]
    if "--version" in arguments[:1]:
        click.echo(f"cohort {VERSION}")
        sys.exit(0)
    signal.signal(signal.SIGTERM, _as_interrupt)
    try:
        cli.main(args=arguments, prog_name="cohort", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        sys.exit(_MISUSE)
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say("interrupted; run the same command again to go on from here")
        _leave(_INTERRUPTED)
    except MisuseError as error:
        _fail(error, _MISUSE)
    except CohortError as error:
        _fail(error, _FAILED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        if _debug():
            raise
        say(f"error: {type(error).__name__} inside cohort; please report it (--debug shows where)")
        sys.exit(_FAILED)
    sys.exit(0)


def _as_interrupt(number: int, frame: Any) -> NoReturn:
    raise KeyboardInterrupt


def _debug() -> bool:
    return "--debug" in sys.argv


def _fail(error: Exception, status: int) -> NoReturn:
    if _debug():
        raise error
    say(f"error: {error}")
    sys.exit(status)


def _leave(status: int) -> NoReturn:
    """Exit at once: workers have been told, and their threads are not worth waiting for."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
