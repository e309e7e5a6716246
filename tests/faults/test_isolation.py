"""A child process may crash, hang, eat memory and lie: its parent goes on, and knows why."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cohort import isolation
from cohort.errors import QuarantinedError
from cohort.isolation import ChildLimits, Lease, close_idle, sandbox

MIB = 1 << 20
pytestmark = pytest.mark.skipif(not isolation.is_available(), reason="the system does not bound a process")


@pytest.fixture
def lease() -> Iterator[Lease]:
    close_idle()
    lease = Lease("odd_services:serve", ChildLimits(1, 128 * MIB))
    yield lease
    lease.close()
    close_idle()


def ask(lease: Lease, wanted: str, **more: object) -> dict[str, object]:
    return lease.ask({"wanted": wanted, **more}, MIB)[0]


def test_answers_come_back_whole(lease: Lease) -> None:
    answer, block = lease.ask({"wanted": "echo", "text": "Müller\udcff\n", "size": MIB}, MIB)
    assert answer["said"] == "Müller\udcff\n"
    assert block == b"x" * MIB
    assert answer["pid"] != os.getpid()


def test_a_child_serves_many_requests_and_many_leases(lease: Lease) -> None:
    pids = {ask(lease, "echo")["pid"] for _ in range(3)}
    lease.close()
    other = Lease("odd_services:serve", ChildLimits(1, 128 * MIB))
    pids.add(ask(other, "echo")["pid"])
    other.close()
    assert len(pids) == 1


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ("segfault", "crash"),
        ("memory", "memory"),
        ("native memory", "memory"),
        ("spin", "timeout"),
        ("exit", "crash"),
        ("garbage", "memory"),
    ],
)
def test_a_death_has_its_reason_and_costs_nothing_else(wanted: str, reason: str, lease: Lease) -> None:
    before = ask(lease, "echo")["pid"]
    with pytest.raises(QuarantinedError) as death:
        ask(lease, wanted)
    assert death.value.reason == reason
    assert ask(lease, "echo")["pid"] != before


def test_who_sleeps_is_ended_by_the_clock(lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "_WAITS", 1)
    with pytest.raises(QuarantinedError, match="timeout"):
        ask(lease, "sleep")


def test_a_death_that_does_not_repeat_is_forgiven(lease: Lease, tmp_path: Path) -> None:
    before = ask(lease, "echo")["pid"]
    assert ask(lease, "segfault", unless=str(tmp_path / "once"))["pid"] != before


def test_the_time_is_that_of_one_request(lease: Lease) -> None:
    """A child that has used seconds of CPU time is allowed as many again."""
    pids = {ask(lease, "echo", size=MIB)["pid"] for _ in range(2000)}
    assert len(pids) == 1


def test_what_a_child_prints_is_no_answer_and_is_shown_nowhere(lease: Lease, capfd: pytest.CaptureFixture[str]) -> None:
    assert ask(lease, "print")["pid"] == ask(lease, "echo")["pid"]
    assert capfd.readouterr() == ("", "")


def test_an_answer_that_is_too_long_is_not_taken(lease: Lease) -> None:
    with pytest.raises(QuarantinedError, match="memory"):
        ask(lease, "echo", size=MIB + 1)


def test_signals_are_for_the_parent_and_nothing_is_dumped(lease: Lease) -> None:
    assert ask(lease, "signals") == {"core": 0}


def test_of_what_is_raised_the_type_comes_back_alone(lease: Lease) -> None:
    assert ask(lease, "raise") == {"rejected": "undecodable: GeneratorExit"}


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    script = (
        f"import os, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from cohort.isolation import ChildLimits, Lease\n"
        "lease = Lease('odd_services:serve', ChildLimits(1, 1 << 27))\n"
        "print(lease.ask({'wanted': 'echo'}, 99)[0]['pid'], flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    child = int(done.stdout)
    for _ in range(10_000):
        if not Path(f"/proc/{child}").exists() or _is_dead(child):
            return
        os.sched_yield()
        subprocess.run(["true"], check=True)
    raise AssertionError("the child outlived its parent")


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True
