"""`cohort show --volumes`: the verdict of every volume in words, for people, programs and narrow terminals."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from running import config_with

import cohort
from cohort import listing, pipeline
from cohort.errors import ConfigError
from cohort.schema import VOLUMES

if TYPE_CHECKING:
    from pathlib import Path

    from cohort.phantom import PhantomTruth

Row = dict[str, Any]

REGULAR: Row = dict.fromkeys(VOLUMES.names) | {
    "status": "ok", "slices": 30, "timepoints": 1, "channels": 1, "regularly_spaced_3d_volume": True,
    "missing_slice_count": 0, "duplicate_slice_count": 0, "excluded_instance_count": 0, "tilt_degrees": 0.0,
    "in_plane_drift_mm": 0.0, "min_slice_gap_mm": 3.0, "max_slice_gap_mm": 3.0,
}  # fmt: skip


def failing(*checks: str, **columns: Any) -> Row:
    return REGULAR | {"regularly_spaced_3d_volume": False, "reason_not_regular": ", ".join(checks)} | columns


def volumes_in(rows: list[Row]) -> list[Row]:
    """The volumes of a run that holds just these."""

    class Folder:
        def read(self, table: str, columns: Any = None) -> pa.Table:
            return pa.Table.from_pylist(rows if table == "volumes" else [{"series_key": r["series_key"]} for r in rows])

    class Run:
        run_folder = Folder()

    return listing.volumes_of(Run())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "verdict", "why", "notes"),
    [
        (REGULAR, "regular", "", ""),
        (
            failing("uniform_slice_spacing", missing_slice_count=2, max_slice_gap_mm=9.0),
            "irregular", "2 slices missing, gaps 3 to 9 mm", "",
        ),
        (
            failing("uniform_slice_spacing", missing_slice_count=1, max_slice_gap_mm=6.0, duplicate_slice_count=1),
            "irregular", "1 slice missing, gaps 3 to 6 mm", "1 duplicate set aside",
        ),
        (
            failing("consistent_in_plane_col", tilt_degrees=20.0, in_plane_drift_mm=18.81),
            "irregular", "tilted by 20 degrees, slices drift 18.81 mm in the plane", "",
        ),
        (
            failing("consistent_in_plane_row", "consistent_in_plane_col", in_plane_drift_mm=1.5),
            "irregular", "slices drift 1.5 mm in the plane", "",
        ),
        (
            failing("single_orientation", "consistent_pixel_spacing", "siemens_mosaic"),
            "irregular", "several orientations, several pixel spacings, siemens mosaic", "",
        ),
        (REGULAR | {"regularly_spaced_3d_volume": None, "slices": 1}, "single", "", ""),
        (REGULAR | {"regularly_spaced_3d_volume": None}, "unjudged", "slice spacing unknown", ""),
        (
            REGULAR | {"status": "rejected", "reason": "truncated_pixels", "excluded_instance_count": 3},
            "unusable", "rejected: truncated pixels", "",
        ),
        (
            REGULAR | {"split_reason": "EchoTime", "excluded_instance_count": 1200, "channels": 3},
            "regular", "", "1,200 excluded, 3 channels, split by EchoTime",
        ),
        (REGULAR | {"reason": "whole_slide"}, "regular", "", "not read: whole slide"),
    ],
)  # fmt: skip
def test_verdict_and_reason_are_words_with_numbers(row: Row, verdict: str, why: str, notes: str) -> None:
    (found,) = volumes_in([row | {"volume_id": "a", "series_key": "s"}])
    assert (found["verdict"], found["why"], found["notes"]) == (verdict, why, notes)


def test_every_volume_is_listed_with_all_columns_and_the_numbers_of_the_report(run_out: Path) -> None:
    opened = cohort.open(run_out)
    rows = listing.volumes_of(opened)
    assert {row["volume_id"] for row in rows} == set(opened.volumes["volume_id"])
    assert set(VOLUMES.names) <= set(rows[0])
    assert rows == sorted(rows, key=lambda row: (row["Modality"], row["series"], row["volume"]))
    report = {volume["id"]: volume for volume in json.loads((run_out / "report.json").read_text())["volumes"]}
    assert set(report) == {row["volume"] for row in rows}
    for row in rows:
        shown = report[row["volume"]]
        assert shown["shape"] == [row[name] for name in ("rows", "columns", "slices", "timepoints", "channels")]
        assert shown["verdict"] == {"unjudged": "irregular"}.get(row["verdict"], row["verdict"])
    findings = opened.findings.query("scope == 'series'")
    numbers = {row["series_key"]: row["series"] for row in rows}
    kinds = {kind["code"]: kind for kind in json.loads((run_out / "report.json").read_text())["findings"]}
    for code, group in findings.groupby("code"):
        assert set(kinds[code]["subjects"]) <= {numbers[s] for s in group["subject"] if s in numbers}


def test_irregular_ones_alone_are_those_of_the_truth(run_out: Path, truth: PhantomTruth) -> None:
    rows = listing.volumes_of(cohort.open(run_out), irregular=True)
    assert sum(row["verdict"] == "irregular" for row in rows) == sum(v.regular is False for v in truth.volumes)
    assert {row["verdict"] for row in rows} <= {"irregular", "unjudged", "unusable"}


def test_a_modality_is_chosen_in_any_case_and_one_that_is_not_there_is_answered_with_those_that_are(
    run_out: Path,
) -> None:
    opened = cohort.open(run_out)
    some = listing.volumes_of(opened, ["ct", "PT"])
    assert {row["Modality"] for row in some} == {"CT", "PT"}
    assert len(some) == opened.volumes["Modality"].isin(["CT", "PT"]).sum()
    with pytest.raises(ConfigError, match=r"no volumes of modality XA; there are CR \(1\), CT \(\d+\)"):
        listing.volumes_of(opened, ["XA"])


def test_volumes_without_modality_are_listed_as_unknown(run_out: Path) -> None:
    opened = cohort.open(run_out)
    known = listing.volumes_of(opened, ["unknown"])
    assert len(known) == (opened.volumes["Modality"].fillna("unknown") == "unknown").sum()


def test_a_header_cannot_steer_the_terminal() -> None:
    row = REGULAR | {"volume_id": "a", "series_key": "s", "Modality": "\x1b[2JCT\r\n", "format": "dicom"}
    (found,) = volumes_in([row])
    text = listing.as_text([found])
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    assert len(text.splitlines()) == 3


# -- the command -------------------------------------------------------------------------------------------


def test_a_file_gets_one_aligned_line_a_volume_and_nothing_cut(run_out: Path, cohort_command: Any) -> None:
    done = cohort_command("show", str(run_out), "--volumes")
    assert done.returncode == 0, done.stderr
    head, titles, *lines = done.stdout.splitlines()
    assert len(lines) == len(cohort.open(run_out).volumes)
    assert re.match(r"\d+ volumes: \d+ regular, \d+ not regular, ", head)
    assert "\x1b" not in done.stdout
    place = titles.index("verdict")
    assert all(line[place - 1] == " " and line[place] != " " for line in lines)
    assert sum("not regular: 1 slice missing, gaps 2 to 4 mm" in line for line in lines) == 1


def test_json_holds_every_volume_and_no_nan(run_out: Path, cohort_command: Any) -> None:
    done = cohort_command("show", str(run_out), "--volumes", "--irregular", "--json")

    def refuse(text: str) -> None:
        raise AssertionError(text)

    rows = json.loads(done.stdout, parse_constant=refuse)
    assert [row["verdict"] for row in rows].count("irregular") >= 3
    assert all(len(row["volume_id"]) == 20 for row in rows)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_a_terminal_shows_all_within_its_width(run_out: Path, columns: int) -> None:
    text = on_a_terminal(["show", str(run_out), "--volumes"], columns)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert max(len(line) for line in plain.splitlines()) <= columns
    for number in range(1, len(cohort.open(run_out).volumes) + 1):
        assert f"V{number:04d}" in plain
    words = " ".join(plain.split())
    assert "tilted by" in words
    assert "1 slice" in words
    assert ("…" in plain) is False
    assert (" id " in plain.splitlines()[1]) == (columns >= 100)


def on_a_terminal(arguments: list[str], columns: int) -> str:
    """What the command writes to a terminal of that width."""
    master, slave = pty.openpty()
    environment = os.environ | {"COLUMNS": str(columns), "LINES": "40", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "cohort", *arguments], stdout=slave, stderr=subprocess.PIPE, env=environment
    ) as running:
        os.close(slave)
        blocks = []
        while True:
            try:
                block = os.read(master, 65536)
            except OSError:  # the other end is closed
                break
            if not block:
                break
            blocks.append(block)
    os.close(master)
    assert running.returncode == 0
    return b"".join(blocks).decode()


def test_misuse_is_told_in_one_line(run_out: Path, cohort_command: Any) -> None:
    done = cohort_command("show", str(run_out), "--volumes", "--modality", "XA")
    assert (done.returncode, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "there are CR (1)" in done.stderr
    done = cohort_command("show", str(run_out), "--irregular")
    assert done.returncode == 2
    assert "--volumes" in done.stderr


def test_a_run_without_volumes_says_so(tmp_path: Path, cohort_command: Any) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("nothing")
    pipeline.scan([str(tmp_path / "images")], tmp_path / "out", config_with())
    early = cohort_command("show", str(tmp_path / "out"), "--volumes")
    assert early.returncode == 1
    assert "cohort assemble" in early.stderr
    pipeline.stage("assemble", tmp_path / "out", config_with())
    assert cohort_command("show", str(tmp_path / "out"), "--volumes").stdout == "no volumes\n"
    assert cohort_command("show", str(tmp_path / "out"), "--volumes", "--irregular").stdout == "no irregular volumes\n"
    assert cohort_command("show", str(tmp_path / "out"), "--volumes", "--json").stdout == "[]\n"
    asked = cohort_command("show", str(tmp_path / "out"), "--volumes", "--modality", "CT")
    assert (asked.returncode, "no volumes at all" in asked.stderr) == (2, True)
