"""Hostile texts of either side on the page of a comparison: they are not told, and told they would be text."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from payloads import PAYLOADS
from running import config_with
from small_cohort import Changes, write_cohort

from cohort import compare, pipeline, schema
from cohort.store import RunFolder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# Our own words decide what is compared, and our digests what is the same; all other text comes from files.
OURS = {
    "format", "container", "status", "reason", "split_reason", "reason_not_regular", "kind", "role", "dtype", "parser",
    "fallback_reason", "modality_source", "spacing_source", "volume_id", "series_key", "instance_key", "content_sha256",
    "exact_sum", "exact_sum_of_squares",
}  # fmt: skip
TABLES = ("files", "series", "volumes", "partials")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that share three patients, one of whom changed."""
    root = tmp_path_factory.mktemp("hostile")
    write_cohort(root / "a", range(6))
    write_cohort(root / "b", range(3, 9))
    write_cohort(root / "b" / "more", [11], Changes(kvp=80.0))
    outs = []
    for name in ("a", "b"):
        outs.append(root / f"{name}-out")
        pipeline.run([str(root / name)], outs[-1], config_with())
    return outs


def poison(out: Path, words: Sequence[str]) -> set[str]:
    """Put a word into every text attribute of the tables of a run; return the columns."""
    run, changed = RunFolder(out), set()
    for name in TABLES:
        for path in run.parts(name):
            table = pq.read_table(path, partitioning=None)
            for column in getattr(schema, name.upper()).columns:
                if column.type not in ("string", "list<string>") or column.name in OURS:
                    continue
                changed.add(f"{name}.{column.name}")
                texts: list[Any] = [words[row % len(words)] for row in range(table.num_rows)]
                place = table.schema.get_field_index(column.name)
                field = table.schema.field(place)
                values = [[text] for text in texts] if column.type == "list<string>" else texts
                table = table.set_column(place, field, pa.array(values, field.type))
            pq.write_table(table, path)
    return changed


def test_hostile_texts_of_both_sides_are_not_told(runs: list[Path], tmp_path: Path) -> None:
    outs = [shutil.copytree(out, tmp_path / out.name) for out in runs]
    changed = [poison(out, PAYLOADS[number:] + PAYLOADS[:number]) for number, out in enumerate(outs)]
    assert changed[0] == changed[1]
    assert len(changed[0]) > 90
    found = compare.compare(*outs)
    assert len(found["drift"]) > 5
    assert found["leakage"]["items"]
    page = compare.render(found, 1)
    for word in PAYLOADS:
        part = max(re.split(r"[^\w.=/:;*{}$'-]+", word), key=len)  # as it is in every escaping
        if len(part) > 7:
            assert part not in page
        for text in (page, json.dumps(found), compare.as_text(found)):
            assert word not in text


def told(found: Any, words: Sequence[str], seen: list[str]) -> Any:
    """Return a comparison in which every text is the next of the words, the names of its tables aside."""
    if isinstance(found, dict):
        return {key: told(value, words, seen) for key, value in found.items()}
    if isinstance(found, list):
        return [told(value, words, seen) for value in found]
    if not isinstance(found, str):
        return found
    seen.append(words[len(seen) % len(words)])
    return seen[-1]


def test_payloads_on_the_page_run_nothing_and_add_no_element(runs: list[Path], tmp_path: Path) -> None:
    """The filter is not what holds here: all that a comparison says in words is a payload."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = next((p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None)
    if program is None:
        pytest.skip("no Chromium on PATH")
    found, seen = compare.compare(*runs), []
    addresses = []
    for words in (["word"], PAYLOADS):
        page = tmp_path / f"{len(addresses)}.html"
        page.write_text(compare.render(told(found, words, seen), 1), encoding="utf-8")
        addresses.append(page.as_uri())
    assert set(seen) == {"word", *PAYLOADS}
    counts = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for address in addresses:
            tab, trouble = browser.new_page(), []
            tab.on("console", lambda message: trouble.append(message.text))  # noqa: B023 - of this round alone
            tab.on("pageerror", lambda error: trouble.append(str(error)))  # noqa: B023
            tab.on("request", lambda request: trouble.append(request.url))  # noqa: B023
            tab.goto(address)
            assert trouble == [address]
            assert tab.evaluate("window.broken") is None
            counts.append(
                tab.evaluate("""() => { const n = {};
                for (const e of document.querySelectorAll('*')) n[e.tagName] = (n[e.tagName] || 0) + 1; return n; }""")
            )
            text = " ".join(tab.locator("body").text_content().split())
            tab.close()
        browser.close()
    assert counts[0] == counts[1]
    assert sum(" ".join(word.split())[:40] in text for word in PAYLOADS) >= 25
