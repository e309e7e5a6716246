"""Images whose decoding crashes, hangs or eats memory are quarantined; their neighbours are not touched."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from poisoning import KINDS, POISON, config, make_images, outcomes

import cohort
from cohort import isolation, pipeline
from cohort.config import ClusterOptions, Config, IngestOptions

pytestmark = pytest.mark.skipif(not isolation.is_available(), reason="the system does not bound a process")

_ONCE = 109


@pytest.fixture
def struck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let decoders misbehave; returns the file where they say so."""
    monkeypatch.setenv("PYTHONPATH", str(POISON))
    monkeypatch.setenv("POISON_LOG", str(tmp_path / "log"))
    isolation.close_idle()
    return tmp_path / "log"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The outcomes of the good images alone."""
    folder = tmp_path_factory.mktemp("clean")
    make_images(folder / "images", 40, ())
    pipeline.run([str(folder / "images")], folder / "out", config("sync"))
    return outcomes(folder / "out")


@pytest.mark.parametrize(
    ("scheduler", "count"),
    [("sync", 4), ("threads", 2), pytest.param("local", 3, marks=pytest.mark.cluster)],
)
def test_poison_is_quarantined_and_its_neighbours_are_read(
    scheduler: str, count: int, clean: pd.DataFrame, struck: Path, tmp_path: Path
) -> None:
    kinds = dict(list(KINDS.items())[:count])
    make_images(tmp_path / "images", 40, tuple(kinds))
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config(scheduler, 2 if scheduler == "local" else None))
    found = outcomes(tmp_path / "out")
    bad = found[found.status == "quarantined"]
    assert dict(zip(bad["columns"], bad.reason, strict=True)) == kinds
    assert len(struck.read_text().split()) == 2 * len(kinds)  # each is tried again once, in a fresh child
    good = found[found.status == "ok"]
    assert len(good) == len(clean)
    assert good.equals(clean.loc[good.index])


def test_poison_is_tried_again_only_when_asked(struck: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "images", 4, (101,))
    sources, out, chosen = [str(tmp_path / "images")], tmp_path / "out", config("sync")
    first = pipeline.run(sources, out, chosen)
    assert first["stages"]["ingest"]["counts"]["status"] == {"ok": 4, "quarantined": 1}
    pipeline.run(sources, out, chosen)
    assert struck.read_text().split() == ["crash"] * 2
    pipeline.run(sources, out, chosen, retry_quarantined=True)
    assert struck.read_text().split() == ["crash"] * 4
    before = outcomes(out)

    # once the decoder is mended, the volume is read, and the others are as they were
    isolation.close_idle()
    with pytest.MonkeyPatch.context() as mended:
        mended.delenv("PYTHONPATH")
        info = pipeline.run(sources, out, chosen, retry_quarantined=True)
    assert info["stages"]["ingest"]["counts"]["status"] == {"ok": 5}
    after = outcomes(out)
    assert (after.status == "ok").all()
    same = before[before.status == "ok"]
    assert after.loc[same.index].equals(same)
    assert cohort.open(out).histogram()["count"].sum() == sum(16 * int(columns) for columns in after["columns"])


def test_a_crash_that_does_not_repeat_is_none(struck: Path, tmp_path: Path) -> None:
    make_images(tmp_path / "images", 2, (_ONCE,))
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config("sync"))
    assert (outcomes(tmp_path / "out").status == "ok").all()
    assert struck.read_text().split() == ["once", "once"]


def test_what_is_isolated_is_what_is_not(tmp_path: Path) -> None:
    """The same voxels, statistics and decoders with and without child processes."""
    make_images(tmp_path / "images", 10, ())
    tables = []
    for isolate in (True, False):
        out = tmp_path / f"out-{isolate}"
        pipeline.run([str(tmp_path / "images")], out, Config(
            cluster=ClusterOptions(scheduler="sync"), ingest=IngestOptions(isolate=isolate)
        ))  # fmt: skip
        run_ = cohort.open(out)
        tables.append((run_.volumes, pd.read_parquet(out / "statistics" / "volumes.parquet")))
    assert tables[0][0].equals(tables[1][0])
    assert tables[0][1].equals(tables[1][1])
