"""Mutants of real headers: nothing escapes, nothing hangs, and nothing is lost that pydicom would have read."""

from __future__ import annotations

import itertools
import os

import mutants
import pytest

_MUTANTS, _CHUNK = 20_000, 5_000
_REAL_MUTANTS = 2_000


@pytest.mark.parametrize("start", range(0, _MUTANTS, _CHUNK))
def test_mutants(start: int) -> None:
    check(range(start, start + _CHUNK), real=False)


@pytest.mark.real
def test_mutants_of_real_files() -> None:
    if not os.environ.get("COHORT_DATA"):
        pytest.skip("COHORT_DATA names no folder of real images")
    check(range(_REAL_MUTANTS), real=True)


def check(numbers: range, *, real: bool) -> None:
    outcomes, wrong = mutants.judged_in_processes(numbers, real=real)
    print("\n".join(f"{count:6}  {outcome}" for outcome, count in outcomes.most_common()))  # noqa: T201
    assert not wrong
    assert outcomes.total() == len(numbers)
    for outcome in ("ok None, walker", "ok None, pydicom", "rejected truncated_header, pydicom"):
        assert outcomes[outcome] > len(numbers) // 50, outcome  # mutants of every fate, or little is tried


def test_a_mutant_depends_on_its_number_alone() -> None:
    first = [mutants.mutant(number)[1] for number in (0, 7, 12_345)]
    mutants.seeds.cache_clear()
    assert [mutants.mutant(number)[1] for number in (0, 7, 12_345)] == first


def test_a_hang_would_be_noticed() -> None:
    with pytest.raises(mutants.Hang), mutants.deadline():
        sum(number for number in itertools.count())


def test_a_lost_value_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    read = mutants.read
    monkeypatch.setattr(mutants, "read", lambda data: read(data) | {"Modality": None})
    with pytest.raises(AssertionError, match="Modality"):
        mutants.judge(mutants.seeds(real=False)[0].data)
