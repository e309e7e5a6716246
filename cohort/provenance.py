"""`run.json`: what a run was made from, by what, when, and what each stage counted."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from cohort import isolation, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cohort.config import Config
    from cohort.store import RunFolder

LIBRARIES = (
    "dask", "distributed", "pydicom", "nibabel", "numpy", "pandas", "pyarrow", "zarr", "numcodecs", "isal",
    "pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "imagecodecs", "altair", "vl-convert-python",
)  # fmt: skip


class Journal:
    """Writes `run.json` and `schema.json`; where a run does nothing, it leaves them as they are.

    Parameters
    ----------
    folder : RunFolder
        The run folder, whose lock is held.
    config : Config
        All options.
    """

    def __init__(self, folder: RunFolder, config: Config) -> None:
        self._folder = folder
        self._config = config
        decoders = config.ingest.isolate and isolation.is_available()
        self._now = {
            "machine": {
                "host": platform.node(),
                "pid": os.getpid(),
                "python": platform.python_version(),
                "cores": os.cpu_count(),
                "decoders": "in child processes" if decoders else "in the workers",
            },
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def begin(self, sources: Sequence[str], from_file: bool | None = None) -> None:
        """Write down what the run is made from: from here on OUT is a run folder.

        Parameters
        ----------
        sources : sequence of str
            Roots.
        from_file : bool, optional
            Whether a list of paths is read; by default as before.
        """
        from cohort.readers import asked_columns

        info = self._folder.known_info()
        text = json.dumps(schema.as_json(asked_columns(self._config.scan)), indent=1, sort_keys=True) + "\n"
        described = self._folder.write_text_once("schema.json", text)
        made_from = {
            "format_version": schema.FORMAT_VERSION,
            "cohort_version": schema.VERSION,
            "config": self._config.as_dict(),
            "sources": list(sources),
            "from_file": info.get("from_file", False) if from_file is None else from_file,
            "versions": versions(),
            "stages": info.get("stages", {}),
            "artefacts": [described.as_dict()],
        }
        made_from = json.loads(json.dumps(made_from))
        if any(info.get(key) != value for key, value in made_from.items()):
            self._folder.write_info(info | made_from | self._now)

    def timed(self, stage: str, work: Callable[[], dict[str, Any]]) -> None:
        """Run a stage, and write down how long it took and what it counted, unless there was nothing to do.

        Parameters
        ----------
        stage : str
            Its name.
        work : callable
            Returns the commit record.
        """
        start = time.monotonic()
        before = self._folder.record(stage)
        record = work()
        self._folder.sweep_parts(stage)
        info = self._folder.known_info()
        known = info["stages"].get(stage)
        if before != record or known is None or known["counts"] != record["counts"]:
            info["stages"][stage] = {"seconds": round(time.monotonic() - start, 3), "counts": record["counts"]}
            self._folder.write_info(info | self._now)


def versions(libraries: Iterable[str] = LIBRARIES) -> dict[str, str]:
    """Return the versions of the libraries that are installed here."""
    found = {}
    for name in libraries:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # an extra that is not installed
            continue
    return found
