"""The benchmark against other tools judges their answers as it says."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cohort.phantom import PhantomVolume, make_traps

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "peers.py"


@pytest.fixture(scope="module")
def peers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["peers"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[PhantomVolume]]:
    names = ["coronal", "missing-slice", "localizer-in-series", "copies-dynamic", "us-clip"]
    truth = make_traps(tmp_path_factory.mktemp("peers") / "images", names=names)
    return {name: [v for v in truth.volumes if v.path.startswith(f"traps/{name}")] for name in names}


def answer(peers: ModuleType, *stacks: tuple[int, int, int, float, float, float], **said: Any) -> Any:
    made = [peers.Stack(((rows, a), (columns, b), (slices, c))) for rows, columns, slices, a, b, c in stacks]
    return peers.Answer(tuple(made), **said)


TRUE = (32, 24, 12, 1.5, 1.25, 2.0)
HOLE = (32, 24, 11, 1.5, 1.25, 2.0)


@pytest.mark.parametrize(
    ("trap", "stacks", "said", "expected"),
    [
        ("coronal", [TRUE], {}, "right"),
        ("coronal", [TRUE], {"warned": True}, "right, warns"),
        ("coronal", [(12, 32, 24, 2.0, 1.5, 1.25)], {}, "right"),  # turned
        ("coronal", [(32, 24, 12, 1.5, 1.25, 2.5)], {}, "**wrong**: 12 x 2.5"),
        ("coronal", [(32, 24, 12, 1.0, 1.0, 2.0)], {}, "**wrong**: 12 x 2 of 1 by 1 mm"),
        ("coronal", [TRUE, TRUE], {}, "**wrong**: 2 of 12 x 2"),
        ("coronal", [], {"error": "ValueError: no | volume"}, "refuses: ValueError: no / volume"),
        ("missing-slice", [HOLE], {"warned": True}, "right"),
        ("missing-slice", [HOLE], {}, "**wrong**: 11 x 2, says nothing"),
        ("missing-slice", [(32, 24, 11, 1.5, 1.25, 2.2)], {"warned": True}, "**wrong**, warns: 11 x 2.2"),
        ("localizer-in-series", [TRUE, (48, 40, 1, 2.0, 2.0, 5.0)], {}, "right"),  # an image of its own
        ("localizer-in-series", [(32, 24, 13, 1.5, 1.25, 2.0)], {}, "**wrong**: 13 x 2"),
    ],
)
def test_an_answer_is_judged_against_the_truth(
    peers: ModuleType,
    volumes: dict[str, list[PhantomVolume]],
    trap: str,
    stacks: list[Any],
    said: dict[str, Any],
    expected: str,
) -> None:
    assert peers.verdict(answer(peers, *stacks, **said), volumes[trap]) == expected


def test_time_points_may_be_one_image_or_several_and_are_no_slices(
    peers: ModuleType, volumes: dict[str, list[PhantomVolume]]
) -> None:
    classic = [volume for volume in volumes["copies-dynamic"] if volume.path.endswith("classic")]
    assert peers.described(classic) == "12 x 2, 3 times"
    assert peers.verdict(answer(peers, TRUE, TRUE, TRUE), classic) == "right"
    assert peers.verdict(answer(peers, (32, 24, 36, 1.5, 1.25, 2.0)), classic) == "**wrong**: 36 x 2"
    clip = volumes["us-clip"]
    assert peers.described(clip) == "1 of 0.4 by 0.3 mm, 6 times"
    assert peers.verdict(answer(peers, *[(32, 24, 1, 0.4, 0.3, 1.0)] * 6), clip) == "right"
    uneven = replace(classic[0], regular=False, reason_not_regular="uniform_slice_spacing")
    assert peers.described([uneven]) == "12 x 2, 3 times, uneven"


def test_the_benchmark_runs_where_no_other_tool_is_installed() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "gantry-tilt", "coronal"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| 2 cases |  | 2 right |")
    assert "| gantry-tilt | 12 x 4.698, 20 degrees | right |" in done.stdout
