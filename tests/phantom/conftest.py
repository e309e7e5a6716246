from __future__ import annotations

from pathlib import Path

import pytest

from cohort.phantom import PhantomTruth, make_cohort


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    """The default cohort, made once."""
    root: Path = tmp_path_factory.mktemp("phantom") / "images"
    return make_cohort(root)
