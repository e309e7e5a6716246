"""Two runs compared: what was changed on purpose is found, and nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from running import config_with
from small_cohort import Changes, values_of, write_cohort, write_patient

from cohort import compare, pipeline
from cohort.errors import MissingStageError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

SHIFTED = Changes(shift=300, kvp=80.0, spacing=5.0, manufacturer="GE MEDICAL SYSTEMS")
OVERLAP = (0, 1)
ALIAS = 2


def ran(source: Path, out: Path) -> Path:
    pipeline.run([str(source)], out, config_with())
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One distribution in two halves, and a shifted cohort that shares patients and pixels with the first."""
    root = tmp_path_factory.mktemp("compare")
    write_cohort(root / "one", range(8))
    write_cohort(root / "other", range(20, 28))
    write_cohort(root / "shifted", range(40, 47), SHIFTED)
    write_cohort(root / "shifted", OVERLAP)
    write_patient(root / "shifted", ALIAS, identity="XYZ")  # the pixels of a patient under another name
    return {name: ran(root / name, root / f"{name}-out") for name in ("one", "other", "shifted")}


@pytest.fixture(scope="module")
def shifted(runs: dict[str, Path]) -> dict[str, Any]:
    return compare.compare(runs["one"], runs["shifted"])


def drifted(found: dict[str, Any]) -> set[str]:
    return {row["column"] for row in found["drift"] if row["drifted"]}


def test_a_known_shift_is_found_and_nothing_else(shifted: dict[str, Any]) -> None:
    assert drifted(shifted) == {"intensity", "KVP", "spacing_slice_mm", "Manufacturer"}


def test_two_halves_of_one_distribution_do_not_drift(runs: dict[str, Path]) -> None:
    found = compare.compare(runs["one"], runs["other"])
    assert drifted(found) == set()
    assert {name: found["leakage"][name] for name in ("patients", "studies", "pixels", "items")} == {
        "patients": 0, "studies": 0, "pixels": 0, "items": [],
    }  # fmt: skip


def test_intensities_drift_by_the_values_themselves(shifted: dict[str, Any]) -> None:
    a = np.concatenate([values_of(n).ravel() for n in range(8)]) - 1024.0
    of_b = [values_of(n, 300) for n in range(40, 47)] + [values_of(n) for n in (*OVERLAP, ALIAS)]
    b = np.concatenate([one.ravel() for one in of_b]) - 1024.0
    every = np.union1d(a, b)
    apart = np.abs(
        np.searchsorted(np.sort(a), every, "right") / a.size - np.searchsorted(np.sort(b), every, "right") / b.size
    )
    row = next(row for row in shifted["drift"] if row["column"] == "intensity")
    assert row["ks"] == pytest.approx(apart.max(), abs=1e-12)
    assert row["wasserstein"] == pytest.approx(np.sum(apart[:-1] * np.diff(every)), rel=1e-9)
    assert (row["median_a"], row["unit"]) == (np.percentile(a, 50, method="inverted_cdf"), "HU")


def test_known_overlap_is_leakage(shifted: dict[str, Any]) -> None:
    leakage = shifted["leakage"]
    assert (leakage["patients"], leakage["studies"], leakage["pixels"]) == (2, 2, 3)
    kinds = [item["kind"] for item in leakage["items"]]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {"patient": 2, "study": 2, "pixels": 3}


def test_images_of_one_value_are_no_leakage(tmp_path: Path) -> None:
    for name, patient in (("a", 1), ("b", 2)):
        write_patient(tmp_path / name, patient, Changes(shift=9000))  # clipped: all 4095
    found = compare.compare(ran(tmp_path / "a", tmp_path / "a-out"), ran(tmp_path / "b", tmp_path / "b-out"))
    assert (found["leakage"]["pixels"], found["leakage"]["constant"]) == (0, 1)
    assert drifted(found) == set()


def test_series_that_came_went_and_changed(tmp_path: Path) -> None:
    write_cohort(tmp_path / "a", range(4))
    write_cohort(tmp_path / "b", (0, 4))
    write_patient(tmp_path / "b", 1, Changes(shift=10))
    write_patient(tmp_path / "b", 2, Changes(kvp=100.0))
    (tmp_path / "b" / "PAT002" / "2.dcm").unlink()
    a, b = ran(tmp_path / "a", tmp_path / "a-out"), ran(tmp_path / "b", tmp_path / "b-out")
    found = compare.compare(a, b)
    assert (len(found["new_series"]), len(found["lost_series"]), found["same_series"]) == (1, 1, 1)
    assert sorted(row["changed"] for row in found["changed_series"]) == [["images", "KVP"], ["pixels"]]
    back = compare.compare(b, a)
    assert (back["new_series"], back["lost_series"]) == (found["lost_series"], found["new_series"])


def test_a_run_compared_with_itself_is_the_same(runs: dict[str, Path]) -> None:
    found = compare.compare(runs["one"], runs["one"])
    assert (found["new_series"], found["lost_series"], found["changed_series"]) == ([], [], [])
    assert all(row["psi"] == 0 and not row["ks"] and not row["wasserstein"] for row in found["drift"])
    assert found["leakage"]["pixels"] == 8


def test_the_command_prints_json_and_writes_a_page(runs: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    words = [sys.executable, "-m", "cohort", "compare", str(runs["one"]), str(runs["shifted"])]
    done = subprocess.run([*words, "--json", "--html", str(page)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found.keys() >= {"new_series", "lost_series", "changed_series", "drift", "leakage"}
    assert found["drift"][0].keys() >= {"group", "column", "psi", "ks", "wasserstein"}
    for text in (done.stdout, done.stderr, page.read_text(encoding="utf-8")):
        assert "PAT0" not in text
        assert "NAME^" not in text
        assert "1.2.3." not in text


def test_the_terminal_says_what_drifted_first(shifted: dict[str, Any]) -> None:
    lines = compare.as_text(shifted).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("drift"))
    assert all(line.endswith("  drift") for line in lines[start + 2 : start + 6])
    assert "In both: 2 patients, 2 studies, 3 images by pixels." in lines


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)


def test_the_page_withholds_few_patients_and_runs_nothing(shifted: dict[str, Any]) -> None:
    html = compare.render(shifted)
    assert shifted["leakage"]["patients"] == 2
    assert "In both: &lt;5 patients, 2 studies" in html
    assert "P000" not in html
    parser = _Page()
    parser.feed(html)
    assert not parser.tags & {"script", "img", "link", "iframe", "object"}
    assert "default-src 'none'" in unescape(html)
    assert html == compare.render(shifted)


def test_shares_of_few_patients_stay_behind(shifted: dict[str, Any]) -> None:
    assert 'class="of-a"' in compare.render(shifted)
    assert 'class="of-a"' not in compare.render(shifted, min_cell=50)


def test_what_cannot_be_compared_is_said(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not a run folder"):
        compare.compare(runs["one"], tmp_path / "nothing")
    source = write_cohort(tmp_path / "source", [1])
    config = config_with()
    pipeline.scan([str(source)], tmp_path / "scanned", config)
    with pytest.raises(MissingStageError, match="assemble"):
        compare.compare(runs["one"], tmp_path / "scanned")
