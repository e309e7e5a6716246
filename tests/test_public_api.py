"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cohort

HEAVY = ("dask", "pandas", "pydicom", "nibabel", "zarr", "pyarrow", "numpy", "distributed", "click")


def test_the_public_names_are_sorted_and_exist() -> None:
    assert cohort.__all__ == sorted(cohort.__all__)
    for name in cohort.__all__:
        assert getattr(cohort, name) is not None


def test_exactly_these_names_are_public() -> None:
    assert cohort.__all__ == [
        "Cohort", "CohortError", "Config", "MisuseError", "RunError", "Volume", "__version__", "exact_histogram",
        "load_config", "open", "run",
    ]  # fmt: skip
    assert dir(cohort) == cohort.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        cohort.nothing  # noqa: B018


@pytest.mark.parametrize(
    "code", ["import cohort", "import sys; sys.argv[1:] = ['--help']; from cohort.__main__ import main; main()"]
)
def test_import_and_help_load_nothing_heavy(code: str) -> None:
    program = f"{code}\nimport sys\nprint(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_the_overview_is_what_click_would_print() -> None:
    from click.testing import CliRunner

    from cohort.cli import cli
    from cohort.commands import COMMANDS, overview

    assert CliRunner().invoke(cli, ["--help"], prog_name="cohort").output == overview()
    assert set(cli.commands) == set(COMMANDS)
    for name, command in cli.commands.items():
        assert command.short_help == COMMANDS[name]
