"""The page in a browser: no request, no error, charts drawn, in both schemes and at every width."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from fake_run import empty_run, make_run

from cohort import report
from cohort.config import ReportOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    hostile = '<img src=x onerror="window.broken = 1">'
    html, _ = report.build(make_run(Manufacturer=hostile, Modality=hostile), ReportOptions())
    return _written(tmp_path_factory.mktemp("report"), html)


def _written(folder: Path, html: str) -> str:
    (folder / "report.html").write_text(html, encoding="utf-8")
    return (folder / "report.html").as_uri()


def _opened(browser: Any, address: str, **options: Any) -> tuple[Any, list[str]]:
    """Open the page and return it with everything that should not have happened."""
    tab = browser.new_page(**options)
    trouble: list[str] = []
    tab.on("console", lambda message: trouble.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda request: trouble.append(request.url) if request.url != address else None)
    tab.goto(address)
    tab.wait_for_selector("html[data-charts=drawn]")
    return tab, trouble


@pytest.mark.parametrize("width", [1440, 768, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_draws_without_a_request_or_an_error(browser: Any, address: str, width: int, scheme: str) -> None:
    tab, trouble = _opened(browser, address, viewport={"width": width, "height": 900}, color_scheme=scheme)
    assert trouble == []
    places = tab.locator("[data-chart]").count()
    assert places >= 8
    assert tab.locator("[data-chart] svg").count() == places
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("window.broken") is None
    tab.close()


def test_charts_follow_the_scheme(browser: Any, address: str) -> None:
    tab, _ = _opened(browser, address, color_scheme="light")
    colour = "getComputedStyle(document.querySelector('[data-chart=histogram-0] .mark-rect path')).fill"
    light = tab.evaluate(colour)
    tab.emulate_media(color_scheme="dark")
    assert tab.evaluate(colour) != light
    tab.close()


def test_counts_switch_between_logarithmic_and_linear(browser: Any, address: str) -> None:
    tab, trouble = _opened(browser, address)
    tab.check("input[name=scale][value=linear]")
    tab.wait_for_selector("[data-chart=histogram-0][data-drawn=linear]")
    assert trouble == []
    tab.close()


def test_tooltips_show_hostile_text_as_text(browser: Any, address: str) -> None:
    tab, trouble = _opened(browser, address)
    place = tab.locator("[data-chart=slices]")
    place.scroll_into_view_if_needed()
    place.locator(".mark-symbol path").first.hover(force=True)
    tab.wait_for_selector("#vg-tooltip-element.visible")
    assert "<img" not in tab.locator("#vg-tooltip-element").inner_html()
    assert trouble == []
    tab.close()


def test_findings_filter_search_and_sort(browser: Any, address: str) -> None:
    tab, _ = _opened(browser, address)
    rows = tab.locator("#findings-table tbody tr:visible")
    every = rows.count()
    tab.uncheck("input[data-severity=info]")
    assert 0 < rows.count() < every
    tab.fill("[data-table=findings-table] [data-search]", "geo tilt")
    assert rows.count() == 1
    tab.fill("[data-table=findings-table] [data-search]", "")
    tab.click("#findings-table thead button >> text=Subjects")
    counts = [
        int(text.replace(",", "")) for text in tab.locator("#findings-table tbody tr td:nth-child(4)").all_inner_texts()
    ]
    assert counts == sorted(counts)
    tab.close()


def test_empty_cohort_opens(browser: Any, tmp_path: Path) -> None:
    tab, trouble = _opened(browser, _written(tmp_path, report.build(empty_run(), ReportOptions())[0]))
    assert trouble == []
    tab.close()
