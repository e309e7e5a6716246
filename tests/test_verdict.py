"""What findings do to the exit status, what a baseline keeps quiet, and the formats they are printed in."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cohort
from cohort.checks.finding import finding
from cohort.cli import cli
from cohort.errors import ConfigError
from cohort.findings import BY_CODE
from cohort.phantom import make_traps
from cohort.schema import FINDINGS
from cohort.verdict import FORMATS, as_text_of, read_baseline, unknown_before, violations, write_baseline

Row = dict[str, Any]

FOUND = [
    finding("GEO-MISSING-SLICE", "v1", missing=2),
    finding("PIX-CONSTANT", "v2", value=0.0, text='a "quoted", text'),
    finding("FILE-NOT-IMAGING", "a b/c#d?e.txt", size=3),
    finding("FILE-NOT-IMAGING", "line\nbreak\x1b[31m", size=3),
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over a series that lacks a slice."""
    folder = tmp_path_factory.mktemp("verdict")
    make_traps(folder / "images", names=["missing-slice"])
    assert call("run", folder / "images", "-o", folder / "out", "--scheduler", "sync").exit_code == 0
    return folder / "out"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(one) for one in arguments])


def check(out: Path, *arguments: object) -> Result:
    return call("check", out, "--scheduler", "sync", *arguments)


# -- conditions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "codes"),
    [
        ((), []),
        (("error",), ["GEO-MISSING-SLICE"]),
        (("warning",), ["GEO-MISSING-SLICE", "PIX-CONSTANT"]),
        (("info",), [row["code"] for row in FOUND]),
        (("error", "warning"), ["GEO-MISSING-SLICE", "PIX-CONSTANT"]),
        (("PIX-CONSTANT",), ["PIX-CONSTANT"]),
        (("error", "FILE-NOT-IMAGING"), ["GEO-MISSING-SLICE", "FILE-NOT-IMAGING", "FILE-NOT-IMAGING"]),
        (("LEAK-PATIENT",), []),
    ],
)
def test_a_condition_is_a_code_or_a_severity_and_worse(conditions: tuple[str, ...], codes: list[str]) -> None:
    assert [row["code"] for row in violations(FOUND, conditions)] == codes


def test_the_exit_status_is_3_where_a_condition_is_met_and_0_where_none_is(out: Path) -> None:
    met = check(out, "--fail-on", "error")
    assert met.exit_code == 3
    assert "GEO-MISSING-SLICE 1" in met.stderr
    assert check(out, "--fail-on", "GEO-MISSING-SLICE", "--fail-on", "LEAK-PATIENT").exit_code == 3
    assert check(out, "--fail-on", "LEAK-PATIENT").exit_code == 0
    assert check(out).exit_code == 0


def test_a_run_fails_too_once_everything_is_written(tmp_path: Path) -> None:
    make_traps(tmp_path / "images", names=["missing-slice"])
    done = call(
        "run", tmp_path / "images", "-o", tmp_path / "out", "--scheduler", "sync", "--fail-on", "error", "--json"
    )
    assert done.exit_code == 3
    assert json.loads(done.stdout)["stages"]["report"]
    assert (tmp_path / "out" / "report.html").is_file()


@pytest.mark.parametrize("condition", ["severe", "PIX-UNHEARD-OF", "Error", ""])
def test_what_is_neither_is_refused_before_any_work(condition: str, tmp_path: Path) -> None:
    done = call("run", tmp_path, "-o", tmp_path / "out", "--fail-on", condition)
    assert isinstance(done.exception, ConfigError)
    assert "error" in str(done.exception)
    assert not (tmp_path / "out").exists()


# -- baseline ----------------------------------------------------------------------------------------------


def test_what_the_baseline_has_is_neither_listed_nor_fails(out: Path, tmp_path: Path) -> None:
    baseline = tmp_path / "known.json"
    assert check(out, "--write-baseline", baseline).exit_code == 0
    again = check(out, "--baseline", baseline, "--fail-on", "info", "--format", "json")
    assert (again.exit_code, json.loads(again.stdout)) == (0, [])


def test_new_findings_fail_although_others_are_known(tmp_path: Path) -> None:
    write_baseline(tmp_path / "known.json", FOUND[:2])
    known = read_baseline(tmp_path / "known.json")
    worse = finding("GEO-MISSING-SLICE", "v1", missing=5)
    other = finding("GEO-MISSING-SLICE", "v3", missing=1)
    assert unknown_before([*FOUND, worse, other], known) == [*FOUND[2:], other]


def test_a_baseline_shows_no_subject_and_is_the_same_for_any_order(tmp_path: Path) -> None:
    write_baseline(tmp_path / "a.json", FOUND)
    write_baseline(tmp_path / "b.json", FOUND[::-1])
    text = (tmp_path / "a.json").read_text()
    assert text == (tmp_path / "b.json").read_text()
    assert [row["subject"] for row in FOUND if row["subject"] in text] == []


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"kind": "cohort findings baseline", "version": 2, "findings": {}}']
)
def test_a_file_that_is_no_baseline_is_refused(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "known.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match="--write-baseline makes one"):
        read_baseline(path)


# -- formats -----------------------------------------------------------------------------------------------


def test_csv_and_json_are_the_table(out: Path) -> None:
    table = cohort.open(out).findings.to_dict("records")
    assert list(csv.DictReader(io.StringIO(check(out, "--format", "csv").stdout))) == table
    found = json.loads(check(out, "--format", "json").stdout)
    assert found == [row | {"evidence": json.loads(row["evidence"])} for row in table]


def test_csv_keeps_quotes_and_line_breaks() -> None:
    rows = list(csv.DictReader(io.StringIO(as_text_of(FOUND, "csv"), newline="")))
    assert rows == FOUND
    assert list(rows[0]) == FINDINGS.names


def test_a_table_has_a_line_per_finding_and_no_control_characters() -> None:
    lines = as_text_of(FOUND, "table").splitlines()
    assert [line.split()[1] for line in lines] == [row["code"] for row in FOUND]
    assert "missing 2" in lines[0]
    assert "\x1b" not in as_text_of(FOUND, "table")
    assert as_text_of([], "table") == "none\n"


def test_sarif_has_a_rule_per_kind_and_a_result_per_finding() -> None:
    log = json.loads(as_text_of(FOUND, "sarif"))
    (run,) = log["runs"]
    rules, results = run["tool"]["driver"]["rules"], run["results"]
    assert log["version"] == "2.1.0"
    assert {rule["id"] for rule in rules} == {row["code"] for row in FOUND}
    levels = {"info": "note", "warning": "warning", "error": "error"}
    for row, result in zip(FOUND, results, strict=True):
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == row["code"]
        assert result["level"] == levels[row["severity"]]
        assert result["message"]["text"] == BY_CODE[row["code"]].hint
        assert result["properties"]["evidence"] == json.loads(row["evidence"])
    assert results[0]["locations"] == [{"logicalLocations": [{"name": "v1", "kind": "volume"}]}]
    place = results[2]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "a%20b/c%23d%3Fe.txt", "uriBaseId": "SOURCE"}
    prints = [result["partialFingerprints"]["cohortFinding/v1"] for result in results]
    assert len(set(prints)) == len(FOUND)


def test_every_format_is_offered_and_not_with_counts(out: Path) -> None:
    for form in FORMATS:
        assert check(out, "--format", form).exit_code == 0
    both = check(out, "--format", "csv", "--json")
    assert both.exit_code == 2
