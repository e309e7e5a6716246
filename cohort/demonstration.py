"""`cohort demo`: a phantom cohort, and a run over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cohort import pipeline
from cohort.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from cohort.cluster import Progress
    from cohort.config import Config


def demonstrate(
    out: Path, seed: int, patients: int, config: Config, *, restart: bool, progress: Progress
) -> dict[str, Any]:
    """Make `out/images` and `out/truth.json`, and run over them into `out/out`.

    Raises
    ------
    OutputError
        If `out` holds something else.
    """
    import shutil

    from cohort.phantom import make_cohort

    pipeline.check_options(config)
    images, truth = out / "images", out / "truth.json"
    if out.exists() and not truth.is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} holds something else; name a new folder")
    if restart or not truth.is_file():
        for folder in (images, out / "out"):
            shutil.rmtree(folder, ignore_errors=True)
        make_cohort(images, seed=seed, patients=patients).save(truth)
    return pipeline.run([str(images)], out / "out", config, progress=progress)
