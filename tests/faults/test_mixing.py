"""Hostile files change nothing of the good ones, whatever runs over them; `scripts/soak cohort` tries it at length."""

from __future__ import annotations

from pathlib import Path

import pytest
from mixing import Mixed, difference, mix


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Mixed:
    return mix(tmp_path_factory.mktemp("mixed"), 40)


@pytest.mark.parametrize(
    ("scheduler", "shard_size"),
    [("sync", 7), ("threads", 16), ("sync", 2000), pytest.param("local", 16, marks=pytest.mark.cluster)],
)
def test_good_files_are_found_as_without_the_hostile_ones(
    scheduler: str, shard_size: int, mixed: Mixed, tmp_path: Path
) -> None:
    assert difference(mixed, tmp_path / "out", scheduler, shard_size) == ""


def test_a_difference_would_be_seen(mixed: Mixed, tmp_path: Path) -> None:
    image = next(path for path in sorted(mixed.images.rglob("*.dcm")) if not path.name.startswith("spoilt"))
    whole = image.read_bytes()
    try:
        image.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
        assert difference(mixed, tmp_path / "changed", "sync", 2000) == "the volumes of the good files are others"
        image.write_bytes(whole[:-2])
        assert difference(mixed, tmp_path / "cut", "sync", 2000) == "a good file is not ok"
    finally:
        image.write_bytes(whole)
