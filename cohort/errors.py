"""The tree of cohort's own exceptions.

CohortError
├── MisuseError              the call cannot be carried out as given; nothing was written (exit 2)
│   ├── ConfigError          an unknown key or an impossible value in the configuration
│   ├── SourceError          a source that is missing, empty or cannot be listed
│   ├── OutputError          OUT holds something else, or a run with other options
│   └── SchedulerError       no Dask scheduler at the address given
└── RunError                 the run could not be finished (exit 1)
    ├── ConservationError    rows and listed objects do not add up
    ├── MissingStageError    an earlier stage has not been committed
    └── FormatError          an artefact of another format version, or not committed

A bad *image* raises none of these: it becomes a row with a status and a reason. Readers signal it with
`RejectedError`, which never leaves the stage that called them.
"""


class CohortError(Exception):
    """Base of all errors meant for the user: one line that says what happened and what to do."""


class MisuseError(CohortError):
    """The call cannot be carried out as given; nothing was written."""


class ConfigError(MisuseError):
    """An unknown key or an impossible value in the configuration."""


class SourceError(MisuseError):
    """A source that is missing, empty or cannot be listed."""


class OutputError(MisuseError):
    """OUT holds something else, or a run made with other options."""


class SchedulerError(MisuseError):
    """No Dask scheduler at the address given."""


class RunError(CohortError):
    """The run could not be finished."""


class ConservationError(RunError):
    """Rows and listed objects do not add up: something was lost."""


class MissingStageError(RunError):
    """An earlier stage has not been committed."""


class FormatError(RunError):
    """An artefact of another format version, or one that was never committed."""


class RejectedError(Exception):
    """An object or volume that cannot be used, with the reason code that its row will carry.

    Parameters
    ----------
    reason : str
        Short code in lower case, such as ``truncated_pixels``. Never text from the file: messages of
        libraries quote patient data.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class QuarantinedError(RejectedError):
    """What killed the process that read it, twice: `crash`, `timeout` or `memory`. It is not tried again unasked."""
