"""The cohort card says what the tables hold, with few patients withheld, and prints as the items of CLAIM."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
from fake_run import empty_run, make_run, volumes_and_series

from cohort import report
from cohort.config import ReportOptions
from cohort.report import card, claim, glance, safe

OPTIONS = ReportOptions()


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.build(make_run(), OPTIONS)[1])
    return found


def test_pairs_of_modality_and_body_part_are_counted(data: dict[str, Any]) -> None:
    _, series = volumes_and_series()
    expected = Counter((s["Modality"] or "not given", s["BodyPartExamined"] or "not given") for s in series)
    assert {(r["modality"], r["body_part"]): r["series"] for r in data["card"]["body_parts"]} == dict(expected)


def test_variants_are_the_different_sets_of_parameters(data: dict[str, Any]) -> None:
    _, series = volumes_and_series()
    keys = ("Modality", "BodyPartExamined", "MagneticFieldStrength", "KVP")
    dicom = [s for s in series if s["format"] == "dicom" and (s["MagneticFieldStrength"] or s["KVP"])]
    expected = Counter(tuple(s[key] for key in keys) for s in dicom)
    found = data["card"]["variants"]
    assert found["different"] == len(expected)
    assert sorted(row["series"] for row in found["rows"]) == sorted(expected.values())
    assert "tube 120\u00a0kV" in {row["parameters"] for row in found["rows"]}


def test_few_patients_of_a_variant_are_withheld() -> None:
    few = card.variants(safe.SafeRun(make_run()), 100)["rows"]
    assert {row["patients"] for row in few} == {"<100"}


def test_field_of_view_is_extent_times_spacing(data: dict[str, Any]) -> None:
    volumes, _ = volumes_and_series()
    for row in data["card"]["geometry"]:
        of = [v for v in volumes if (v["Modality"] or "not given") == row["label"] and v["status"] == "ok"]
        widths = np.sort([v["columns"] * v["spacing_col_mm"] for v in of])
        assert row["field_of_view_columns_mm"]["max"] == pytest.approx(widths[-1], abs=1e-3)
        assert row["field_of_view_columns_mm"]["p50"] == pytest.approx(widths[(len(widths) - 1) // 2], abs=1e-3)


def test_the_fingerprint_is_of_the_input_not_of_its_order() -> None:
    run = make_run()
    first = safe.SafeRun(run).fingerprint()
    run.tables["files"] = run.tables["files"].take(list(reversed(range(run.tables["files"].num_rows))))
    assert safe.SafeRun(run).fingerprint() == first
    run.tables["files"] = run.tables["files"].slice(1)
    assert safe.SafeRun(run).fingerprint() != first


def test_claim_has_every_item_and_every_number(data: dict[str, Any]) -> None:
    text = claim.markdown(data)
    for item in ("CLAIM 7", "CLAIM 12", "CLAIM 13", "CLAIM 33", "CLAIM 34"):
        assert item in text
    for step in data["flow"]:
        assert f"| {step['label']} | {step['count']:,} |" in text
    for cell in data["card"]["patients"]["sex"]:
        assert f"| {cell['label']} | {cell['text'].replace('<', chr(92) + '<')} |" in text
    assert "CNRY" not in text


def test_claim_of_hostile_words_has_as_many_cells(data: dict[str, Any]) -> None:
    assert claim._cell("a|b\n<script> [x](y) `c`") == "a\\|b \\<script\\> \\[x\\](y) \\`c\\`"


def test_claim_of_an_empty_cohort() -> None:
    assert "0 objects" in claim.markdown(json.loads(report.build(empty_run(), OPTIONS)[1]))


def test_every_line_of_the_card_leads_to_a_section(data: dict[str, Any]) -> None:
    html, _ = report.build(make_run(), OPTIONS)
    rows = glance.glance(data)
    assert len(rows) == 12
    for row in rows:
        assert row["answer"]
        assert f'id="{row["section"]}"' in html
