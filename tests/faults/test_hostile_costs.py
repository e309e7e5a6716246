"""What the hostile objects of the catalogue cost: each is read, and its pixels are, by a process of its own.

The bombs have this test in `test_header_bombs`, with those of other encodings.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hostile_catalogue import catalogue, is_bomb

CASES = {name: case for name, case in catalogue().items() if not is_bomb(name)}
HEADER_SECONDS, HEADER_MIB = 2.0, 300
PIXEL_SECONDS, PIXEL_MIB = 10.0, 400
"""CPU time, and memory with Python and all imports: far below `decode_seconds` and `decode_memory_mib`."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What every case came to, and what that cost."""
    top = tmp_path_factory.mktemp("costs")
    script = Path(__file__).parents[1] / "reading_child.py"
    with subprocess.Popen(
        [sys.executable, str(script), "--pixels"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin
        assert reader.stdout
        found = {}
        for number, (title, case) in enumerate(CASES.items()):
            folder = top / str(number)
            folder.mkdir()
            files = case.files(number)
            for name, data in files.items():
                (folder / name).write_bytes(data)
            print(folder / next(iter(files)), file=reader.stdin, flush=True)
            found[title] = json.loads(reader.stdout.readline())
        reader.stdin.close()
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_header_costs_little(name: str, told: dict[str, dict[str, Any]]) -> None:
    assert told[name]["outcome"] == CASES[name].row
    assert told[name]["seconds"] < HEADER_SECONDS
    assert told[name]["peak_mib"] < HEADER_MIB


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.volume is not None])
def test_pixels_cost_no_more_than_they_may(name: str, told: dict[str, dict[str, Any]]) -> None:
    """All frames are decoded in the process that is measured; what is no RejectedError would be a crash of it."""
    assert told[name]["pixels"] in ("ok", "rejected")
    assert told[name]["pixel_seconds"] < PIXEL_SECONDS
    assert told[name]["pixel_peak_mib"] < PIXEL_MIB
