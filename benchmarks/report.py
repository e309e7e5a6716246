"""Measure the report over made-up tables: how it grows with the volumes, and how soon a browser shows it.

Run as `python benchmarks/report.py [--volumes N ...]`. The tables are those of the report's tests, repeated with other
identities, spacings, slices, findings and dates; no image is made. Every size is built in a process of its own, so that
a peak of memory is that of this size alone. The page is opened five times in headless Chromium, where there is one: the
time is from the call to the last chart drawn, and the median is told.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "report"))

from fake_run import FakeRun, make_run  # the tests' made-up run

from cohort import report
from cohort.config import ReportOptions

SIZES = (1, 20_000, 1_000_000)
VOLUMES_OF_A_PATIENT = 3
MOST_BYTES, MOST_SECONDS = 5_000_000, 2.0
OPENED = 5
_KEYS = ("volume_id", "series_key", "SeriesInstanceUID")
_OF_PATIENTS = ("PatientID", "StudyInstanceUID")
_ALL_DRAWN = """document.querySelectorAll('[data-chart]').length ===
    document.querySelectorAll('[data-chart] svg').length"""


def with_volumes(count: int) -> FakeRun:
    """Return the run of the tests with this many volumes, each a series of its own."""
    run, random = make_run(), np.random.default_rng(20261126)
    for name in ("series", "volumes", "outcomes", "statistics"):
        table = run.tables[name]
        table = table.take(pa.array(np.arange(count) % table.num_rows))
        columns: dict[str, Any] = {key: [f"{key}{n:07d}" for n in range(count)] for key in _KEYS}
        columns |= {key: [f"{key}{n // VOLUMES_OF_A_PATIENT:07d}" for n in range(count)] for key in _OF_PATIENTS}
        if name == "series":
            columns["StudyDate"] = [f"{2000 + n % 25}0101" for n in range(count)]
        if name == "volumes":
            columns |= {f"spacing_{axis}_mm": random.uniform(0.3, 5, count) for axis in ("row", "col", "slice")}
            columns["slices"] = random.integers(1, 600, count)
        run.tables[name] = _replaced(table, columns)
    findings = run.tables["findings"]
    findings = findings.take(pa.array(np.arange(count) % findings.num_rows))
    run.tables["findings"] = _replaced(findings, {"subject": [f"volume_id{n:07d}" for n in range(count)]})
    return run


def _replaced(table: pa.Table, columns: dict[str, Any]) -> pa.Table:
    for name, values in columns.items():
        if name in table.column_names:
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), pa.array(values, table.schema.field(place).type))
    return table


def build(count: int, page: Path) -> dict[str, Any]:
    """Build one report; returns its size, CPU time and peak of memory."""
    run = with_volumes(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    html, text = report.build(run, ReportOptions())
    seconds = time.process_time() - start
    page.write_text(html, encoding="utf-8")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"volumes": count, "html": len(html.encode()), "json": len(text), "cpu_seconds": seconds,
            "tables_mb": before / 1024, "peak_mb": peak / 1024}  # fmt: skip


def open_page(page: Path) -> float | None:
    """Return the median of seconds until every chart is drawn; None without Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    times = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(OPENED):
            tab = browser.new_page(viewport={"width": 1440, "height": 900})
            start = time.perf_counter()
            tab.goto(page.as_uri())
            while not tab.evaluate(_ALL_DRAWN):  # the page's policy forbids what wait_for_function does
                tab.wait_for_timeout(5)
            times.append(time.perf_counter() - start)
            tab.close()
        browser.close()
    return statistics.median(times)


def main() -> int:
    """Measure every size and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--volumes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(build(options.one, options.page)))
        return 0
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, Python {platform.python_version()}, {platform.machine()}\n")
    print("| volumes | report.html, MB | report.json, MB | CPU, s | tables, MB | peak, MB | open, s |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    worst = True
    with tempfile.TemporaryDirectory() as folder:
        for count in options.volumes:
            page = Path(folder) / f"{count}.html"
            words = [sys.executable, "-m", "benchmarks.report", "--one", str(count), "--page", str(page)]
            found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
            seconds = open_page(page)
            opened = "no Chromium" if seconds is None else f"{seconds:.2f}"
            print(f"| {count:,} | {found['html'] / 1e6:.2f} | {found['json'] / 1e6:.2f} | {found['cpu_seconds']:.1f} "
                  f"| {found['tables_mb']:.0f} | {found['peak_mb']:.0f} | {opened} |", flush=True)  # fmt: skip
            worst &= found["html"] <= MOST_BYTES and (seconds is None or seconds < MOST_SECONDS)
    print(
        f"\n{'met' if worst else 'NOT met'}: at most {MOST_BYTES / 1e6:.0f} MB, open in less than {MOST_SECONDS:.0f} s"
    )
    return 0 if worst else 1


if __name__ == "__main__":
    sys.exit(main())
