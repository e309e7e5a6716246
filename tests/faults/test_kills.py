"""Whatever is killed, and when: nothing half written can be read, and one more run ends with the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from killing import MIX, kills, mixed


@pytest.mark.cluster
def test_a_run_that_loses_its_process_or_a_worker_ends_with_the_same_bytes(tmp_path: Path) -> None:
    faults = kills(tmp_path, ["writing", "worker"], 6, files=40)
    assert [fault.wrong for fault in faults] == ["", ""]


def test_the_mix_of_kills_is_that_asked_for() -> None:
    kinds = mixed(65, 1)
    assert {kind: kinds.count(kind) for kind in MIX} == MIX
    assert kinds == mixed(65, 1)
