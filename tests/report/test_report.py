"""The report shows what the tables hold, and nothing that could name a patient."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from fake_run import FakeRun, canary, empty_run, make_run

from cohort import report, schema
from cohort.config import ReportOptions
from cohort.errors import MissingStageError
from cohort.report import contents, flow, intensity, page, safe, shapes, suppress
from cohort.schema import Privacy
from cohort.store import RunFolder

OPTIONS = ReportOptions()
HOSTILE = '<script>alert("x")</script>&{{ 7 * 7 }}'


@pytest.fixture(scope="module")
def built() -> tuple[str, str]:
    return report.build(make_run(), OPTIONS)


def own_text(html: str) -> str:
    """Return the page without the library and style sheets."""
    return re.sub(r"<(script|style)>.*?</\1>", "", html, flags=re.DOTALL)


def test_same_tables_give_the_same_bytes(built: tuple[str, str]) -> None:
    assert report.build(make_run(), OPTIONS) == built


def test_order_of_rows_does_not_matter(built: tuple[str, str]) -> None:
    run = make_run()
    for name, table in run.tables.items():
        order = np.random.default_rng(1).permutation(table.num_rows)
        run.tables[name] = table.take(pa.array(order))
    assert report.build(run, OPTIONS)[1] == built[1]


def test_where_it_ran_does_not_matter(built: tuple[str, str]) -> None:
    run = make_run()
    run.config = {"scan": {"shard_size": 2000}, "cluster": {"workers": 64, "scheduler": "tcp://elsewhere"}}
    assert report.build(run, OPTIONS) == built


def test_another_configuration_has_another_digest(built: tuple[str, str]) -> None:
    run = make_run()
    run.config = {"scan": {"shard_size": 1}}
    digest = json.loads(report.build(run, OPTIONS)[1])["provenance"]["config_sha256"]
    assert digest != json.loads(built[1])["provenance"]["config_sha256"]


def test_no_canary_leaves_the_tables(built: tuple[str, str]) -> None:
    run = make_run()
    for name, table in run.tables.items():
        for column in getattr(schema, name.upper()).columns:
            if column.privacy in (Privacy.TEXT, Privacy.PATH, Privacy.IDENTIFIER) and column.name not in (
                "volume_id",
                "series_key",
                "SeriesInstanceUID",
                "StudyInstanceUID",
                "PatientID",
                "subject",
            ):
                value = table[column.name][0].as_py()
                text = value[0] if isinstance(value, list) else value
                text = text.decode() if isinstance(text, bytes) else text
                assert text == canary(name, column.name, 0)
    for text in built:
        assert "CNRY" not in text


def test_dates_and_ages_are_coarse(built: tuple[str, str]) -> None:
    for text in map(own_text, built):
        assert not re.search(r"20(16|17|18|19)0917", text)
        assert "093Y" not in text
        assert "90+" in text
        assert "93" not in {cell["label"] for cell in json.loads(built[1])["card"]["patients"]["age_groups"]}


@pytest.mark.parametrize("privacy", [Privacy.TEXT, Privacy.PATH, Privacy.IDENTIFIER, Privacy.COARSE])
def test_gate_refuses_every_column_that_is_not_safe(privacy: Privacy) -> None:
    gate = safe.SafeRun(make_run())
    for table in schema.TABLES:
        for column in table.columns:
            if column.privacy is privacy:
                with pytest.raises(safe.PrivacyError, match=column.name):
                    gate.read(table.name, [column.name])


def test_gate_refuses_numbers_and_years_of_free_text() -> None:
    gate = safe.SafeRun(make_run())
    for wrong in (
        {"numbers": ["SeriesDescription"]},
        {"years": ["SeriesDescription"]},
        {"age_groups": ["PatientID"]},
    ):
        with pytest.raises(safe.PrivacyError):
            gate.read("series", **wrong)
    with pytest.raises(safe.PrivacyError):
        gate.count_distinct("series", "SeriesDescription")


def test_only_groups_of_modality_leave_the_histograms() -> None:
    assert "CNRYgroup" not in safe.SafeRun(make_run()).modality_histograms()["group"].to_pylist()


@pytest.mark.parametrize(
    ("age", "group"),
    [
        ("034Y", "30-39"),
        ("006M", "0-9"),
        ("089Y", "80-89"),
        ("090Y", "90+"),
        ("119Y", "90+"),
        ("", None),
        (None, None),
        ("Y", None),
        ("²34Y", None),
    ],
)
def test_age_groups(age: str | None, group: str | None) -> None:
    assert safe.age_group(age) == group


def test_years() -> None:
    assert [safe.year(d) for d in ("20190314", "2019.03.14", "", None, "99991231", "x")] == [
        "2019",
        "2019",
        None,
        None,
        None,
        None,
    ]


def test_small_counts_of_patients_are_suppressed(built: tuple[str, str]) -> None:
    patients = json.loads(built[1])["card"]["patients"]
    sexes = {cell["label"]: cell for cell in patients["sex"]}
    assert sexes["O"] == {"label": "O", "count": None, "text": "<5"}
    cells = [cell for name in ("sex", "age_groups", "years") for cell in patients[name]]
    assert all(cell["count"] is None or cell["count"] >= 5 for cell in cells)
    assert "&lt;5" in built[0]


def test_a_single_hidden_count_cannot_be_worked_out() -> None:
    shown = {cell["label"]: cell["text"] for cell in suppress.cells({"F": 7, "M": 20, "O": 1}, 5)}
    assert shown == {"F": "withheld", "M": "20", "O": "<5"}
    shown = {cell["label"]: cell["text"] for cell in suppress.cells({"a": 1, "b": 1, "c": 9, "d": 30}, 5)}
    assert shown == {"a": "<5", "b": "<5", "c": "withheld", "d": "30"}


def test_few_patients_are_not_counted() -> None:
    run = make_run(PatientID="CNRYone")
    assert json.loads(report.build(run, OPTIONS)[1])["card"]["patients"]["text"] == "<5"


def test_hostile_header_text_stays_text() -> None:
    run = make_run(Manufacturer=HOSTILE, BodyPartExamined="</script><img src=x onerror=alert(1)>")
    table = run.tables["volumes"]
    place = table.schema.get_field_index("Modality")
    names = pa.array(["</script><b>" for _ in range(table.num_rows)])
    run.tables["volumes"] = table.set_column(place, table.schema.field(place), names)
    html, _ = report.build(run, OPTIONS)
    assert "<script>alert" not in html
    assert "<img" not in own_text(html)
    assert "</script><b>" not in html
    assert "&lt;script&gt;alert" in html
    assert "49" not in re.findall(r"alert.{0,60}", own_text(html))[0]
    # As many elements as without hostile text: the library, two scripts of the page and two blocks of data.
    assert html.count("</script>") == 5


def test_empty_cohort_renders() -> None:
    html, text = report.build(empty_run(), OPTIONS)
    assert "the cohort is empty" in html
    assert json.loads(text)["card"]["files"] == 0


def test_scan_and_assembly_are_enough() -> None:
    full = make_run(pixels=False)
    run = FakeRun({name: full.tables[name] for name in ("files", "series", "volumes")})
    html, _ = report.build(run, OPTIONS)
    assert "Pixels were not read" in html
    assert "checks have not been run" in html


def test_without_volumes_the_stage_is_named_missing() -> None:
    with pytest.raises(MissingStageError):
        report.build(FakeRun({"files": make_run().tables["files"]}), OPTIONS)


def test_page_is_small(built: tuple[str, str]) -> None:
    assert len(built[0].encode()) < 2_000_000


def test_page_stays_small_when_every_header_value_differs() -> None:
    run = make_run()
    for table, column in (
        ("series", "Manufacturer"),
        ("series", "Modality"),
        ("volumes", "Modality"),
        ("volumes", "value_unit"),
    ):
        found = run.tables[table]
        long = pa.array([f"{number:04d}" + "\u4e2d" * 5000 for number in range(found.num_rows)])
        place = found.schema.get_field_index(column)
        run.tables[table] = found.set_column(place, found.schema.field(place), long)
    many = run.tables["histograms"]
    copies = [many.set_column(1, many.schema.field(1), pa.array([f"M{i}"] * many.num_rows)) for i in range(12)]
    run.tables["histograms"] = pa.concat_tables([many, *copies])
    assert len(report.build(run, OPTIONS)[0].encode()) < 5_000_000


def test_nothing_is_loaded(built: tuple[str, str]) -> None:
    text = own_text(built[0])
    assert not re.search(r"""(src|href|action|data|poster)\s*=\s*["']?\s*(https?:)?//""", text)
    assert not re.search(r"""(src|href)=["'](?!#)""", text)
    style = re.search(r"<style>(.*?)</style>", built[0], re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_policy_names_every_script_and_nothing_else(built: tuple[str, str]) -> None:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', built[0])
    assert found is not None
    policy = found[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", built[0], re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", built[0], re.DOTALL)
    assert page.policy(scripts, styles) == policy
    assert "style=" not in own_text(built[0])


def test_every_step_of_the_flow_is_accounted_for() -> None:
    steps = flow.flow(safe.SafeRun(make_run()))
    for before, step in itertools.pairwise(steps):
        if before["unit"] == step["unit"]:
            assert before["count"] - step["count"] == sum(drop["count"] for drop in step["drops"])
            assert all(drop["count"] > 0 for drop in step["drops"])
            assert "unaccounted for" not in {drop["reason"] for drop in step["drops"]}
    assert [step["unit"] for step in steps] == ["objects"] * 4 + ["frames"] * 2 + ["volumes"] * 4


def test_the_flow_counts_as_stored_what_is_stored(run_out: Path) -> None:
    (stored,) = (step for step in flow.flow(safe.SafeRun(make_run())) if step["label"] == "Stored in Zarr")
    assert {"reason": "not read: whole slide", "count": 1} in stored["drops"]
    run = RunFolder(run_out)
    counts = {step["label"]: step["count"] for step in flow.flow(safe.SafeRun(run))}
    assert counts["Stored in Zarr"] == run.committed("ingest")["counts"]["stored"]


def test_the_kinds_of_the_first_sentence_add_up() -> None:
    data = json.loads(report.build(make_run(), OPTIONS)[1])
    sentence, *kinds = re.split(": |, | and ", data["verdict"].split(".")[0])
    assembled = next(step["count"] for step in data["flow"] if step["label"] == "Assembled")
    assert f"form {assembled:,} volumes" in sentence
    assert "1 whose pixels are not read" in kinds
    assert sum(int(kind.split()[0].replace(",", "")) for kind in kinds) == assembled


def test_what_has_no_positions_is_not_said_to_fail_a_check() -> None:
    unknown = {"regularly_spaced_3d_volume": None, "reason_not_regular": None}
    assert flow.why_not_regular(unknown | {"slices": 25}) == "positions unknown"
    assert flow.why_not_regular(unknown | {"slices": 1}) == "single slice"


def test_bars_of_integers_keep_every_voxel() -> None:
    random = np.random.default_rng(3)
    for _ in range(50):
        stride = int(random.integers(1, 9))
        low = np.unique(random.integers(-3000, 4000, random.integers(1, 2000)) * stride).astype(float)
        counts = random.integers(1, 10**9, len(low))
        _check_bars(low, low, counts, integer=True)


def test_bars_of_floats_keep_every_voxel() -> None:
    random = np.random.default_rng(4)
    for _ in range(50):
        values = random.lognormal(random.normal(0, 20), random.uniform(0.001, 4), 3000).astype(np.float32)
        keys = np.unique(values.view(np.uint32) >> 14)
        low, high = ((keys + step).astype(np.uint32) << 14 for step in (0, 1))
        edges = [edge.astype(np.uint32).view(np.float32).astype(float) for edge in (low, high)]
        _check_bars(*edges, random.integers(1, 10**9, len(keys)), integer=False)


def _check_bars(low: np.ndarray, high: np.ndarray, counts: np.ndarray, integer: bool) -> None:
    grid = intensity.display_grid(low, high, counts, integer)
    merged = intensity.merge(low, counts, grid)
    assert merged["below"] + merged["above"] + sum(bar["count"] for bar in merged["bars"]) == counts.sum()
    assert merged["below"] + merged["above"] <= 0.002 * counts.sum() + 1
    assert len(merged["bars"]) <= grid["bars"] <= intensity.MOST_BARS
    # No stored bin is cut: it lies in one bar, as a whole.
    for bar in merged["bars"]:
        inside = (low >= bar["low"]) & (low < bar["high"])
        assert counts[inside].sum() == bar["count"]
        assert (high[inside] <= bar["high"]).all()


def test_percentiles_are_the_inverted_cdf() -> None:
    values = np.random.default_rng(5).integers(-50, 900, 10_001)
    low, counts = np.unique(values, return_counts=True)
    found = intensity.percentiles(low.astype(float), low.astype(float), counts)
    for name, percent in schema.PERCENTILES.items():
        assert found[name] == np.percentile(values, percent, method="inverted_cdf")


def test_merged_moments_are_those_of_all_values() -> None:
    random = np.random.default_rng(6)
    parts = [random.normal(random.normal(0, 100), 5, int(n)) for n in random.integers(2, 500, 9)]
    rows = [
        {
            "count": len(p),
            "mean": float(p.mean()),
            "std": float(p.std()),
            "min": float(p.min()),
            "max": float(p.max()),
            "padding_count": 1,
            "nan_count": 0,
            "inf_count": None,
        }
        for p in parts
    ]
    found, pooled = intensity._moments(rows), np.concatenate(parts)
    assert found["mean"] == pytest.approx(pooled.mean(), rel=1e-12)
    assert found["std"] == pytest.approx(pooled.std(), rel=1e-12)
    assert (found["count"], found["padding"], found["inf"]) == (len(pooled), 9, 0)


def test_merged_spacings_keep_their_counts() -> None:
    random = np.random.default_rng(7)
    counts = contents.Counter(
        {float(v): int(n) for v, n in zip(random.uniform(0.1, 9, 5000), random.integers(1, 9, 5000), strict=True)}
    )
    points = shapes._merged(counts)
    assert len(points) <= shapes.MOST_VALUES
    assert sum(point["count"] for point in points) == counts.total()


def test_odd_numbers_do_not_stop_the_report() -> None:
    run = make_run()
    odd = [float("nan"), float("inf"), -1.0, 0.0, 1e300]
    for table, column in (
        ("volumes", "spacing_slice_mm"),
        ("volumes", "slice_thickness_mm"),
        ("spacing", "value_low_mm"),
    ):
        found = run.tables[table]
        place = found.schema.get_field_index(column)
        values = pa.array([odd[n % len(odd)] for n in range(found.num_rows)])
        run.tables[table] = found.set_column(place, found.schema.field(place), values)
    found = run.tables["histograms"]
    last = found.slice(0, 1).to_pylist()[0] | {
        "kind": "float",
        "value_low": 3.398e38,
        "value_high": float("inf"),
    }
    run.tables["histograms"] = pa.concat_tables([found, pa.Table.from_pylist([last], schema=found.schema)])
    json.loads(report.build(run, OPTIONS)[1])


def test_title_is_text() -> None:
    html, _ = report.build(make_run(), dataclasses.replace(OPTIONS, title="A <b>title</b>"))
    assert "A &lt;b&gt;title&lt;/b&gt;" in html


def test_importing_the_report_is_light() -> None:
    import subprocess
    import sys

    heavy = "{'altair', 'vl_convert', 'jinja2', 'pandas', 'pyarrow'}"
    code = f"import sys, cohort.report; print(*({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""
