"""cohort: what is in a heap of medical images, and can it be trusted.

>>> import cohort
>>> cohort.run(["~/images"], "out")        # doctest: +SKIP
>>> c = cohort.open("out")                 # doctest: +SKIP
>>> c.volumes; c.histogram(by="Modality")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cohort.cohort import Cohort, Volume
    from cohort.cohort import open_run as open  # noqa: A004
    from cohort.config import Config, load_config
    from cohort.errors import CohortError, MisuseError, RunError
    from cohort.pipeline import run
    from cohort.reductions import array_histogram as exact_histogram
    from cohort.schema import VERSION

    __version__ = VERSION

__all__ = [
    "Cohort",
    "CohortError",
    "Config",
    "MisuseError",
    "RunError",
    "Volume",
    "__version__",
    "exact_histogram",
    "load_config",
    "open",
    "run",
]

# Where each public name lives; loaded at first use, so that `import cohort` costs nothing.
_PLACES = {
    "Cohort": ("cohort.cohort", "Cohort"),
    "CohortError": ("cohort.errors", "CohortError"),
    "Config": ("cohort.config", "Config"),
    "MisuseError": ("cohort.errors", "MisuseError"),
    "RunError": ("cohort.errors", "RunError"),
    "Volume": ("cohort.cohort", "Volume"),
    "__version__": ("cohort.schema", "VERSION"),
    "exact_histogram": ("cohort.reductions", "array_histogram"),
    "load_config": ("cohort.config", "load_config"),
    "open": ("cohort.cohort", "open_run"),
    "run": ("cohort.pipeline", "run"),
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'cohort' has no attribute {name!r}")
    from importlib import import_module

    module, attribute = _PLACES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
