"""The command line: exit status, one line of error, nothing written where nothing should be."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from cohort.phantom import PhantomTruth


def one_line(done: Any) -> str:
    """The only line on stderr."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return str(lines[0])


@pytest.fixture
def image_folder(tmp_path: Path, truth: PhantomTruth) -> Path:
    import shutil

    folder = tmp_path / "images"
    shutil.copytree(truth.root / "traps" / "missing-slice", folder)
    return folder


def bad_calls(images: Path, out: Path) -> dict[str, tuple[list[str], str]]:
    """Name -> arguments, and a word the error must hold."""
    empty, taken, file = out.parent / "empty", out.parent / "taken", out.parent / "file"
    empty.mkdir()
    taken.mkdir()
    (taken / "thesis.txt").write_text("precious")
    file.write_text("x")
    unknown, wrong, broken = (out.parent / f"{name}.yaml" for name in ("unknown", "wrong", "broken"))
    unknown.write_text("scan: {shard_sise: 3}\n")
    wrong.write_text("scan: {shard_size: many}\n")
    broken.write_text("scan: [\n")
    colour = out.parent / "colour.yaml"
    colour.write_text("reduce: {group_by: [Colour]}\n")
    source, to = str(images), ["-o", str(out)]
    return {
        "missing source": (["run", str(out.parent / "nowhere"), *to], "does not exist"),
        "empty source": (["run", str(empty), *to], "nothing to read"),
        "nothing matches": (["run", source, *to, "--include", "*.xyz"], "nothing to read"),
        "source twice": (["run", source, source, *to], "overlap"),
        "source is a URL": (["run", "gopher://images", *to], "no such kind of place"),
        "out holds something else": (["run", source, "-o", str(taken)], "holds something else"),
        "out is a file": (["run", source, "-o", str(file)], "is a file"),
        "unknown key": (["run", source, *to, "--config", str(unknown)], "shard_sise"),
        "wrong type": (["run", source, *to, "--config", str(wrong)], "shard_size"),
        "not YAML": (["run", source, *to, "--config", str(broken)], "not valid YAML"),
        "no such config": (["run", source, *to, "--config", "nowhere.yaml"], "cannot read"),
        "nobody listens": (["run", source, *to, "--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler"),
        "bad address": (["run", source, *to, "--scheduler", "fastest"], "--scheduler fastest"),
        "no scheduler file": (["run", source, *to, "--scheduler-file", "nowhere.json"], "does not exist"),
        "no such column": (["run", source, *to, "--group-by", "Colour"], "Colour"),
        "no such tag": (["scan", source, *to, "--extra-tag", "0010,00zz"], "0010,00zz"),
        "tag is a column": (["run", source, *to, "--extra-tag", "0008,0060"], "`Modality`"),
        "tag is a sequence": (["run", source, *to, "--extra-tag", "ReferencedStudySequence"], "sequence"),
        "tag is bulk data": (["run", source, *to, "--extra-tag", "0028,1201"], "bulk data"),
        "no workers": (["run", source, *to, "--workers", "0"], "workers"),
        "show nothing": (["show", str(out)], "not a run folder"),
        "assemble nothing": (["assemble", str(out)], "not a run folder"),
        "demo into something else": (["demo", str(taken)], "holds something else"),
        "demo by no column": (["demo", str(out), "--config", str(colour)], "Colour"),
    }


NAMES = (
    "missing source", "empty source", "nothing matches", "source twice", "source is a URL", "out holds something else",
    "out is a file", "unknown key", "wrong type", "not YAML", "no such config", "nobody listens", "bad address",
    "no scheduler file", "no such column", "no such tag", "tag is a column", "tag is a sequence", "tag is bulk data",
    "no workers", "show nothing", "assemble nothing", "demo into something else", "demo by no column",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_misuse_is_one_line_and_writes_nothing(name: str, image_folder: Path, cohort_command: Any) -> None:
    out = image_folder.parent / "out"
    arguments, word = bad_calls(image_folder, out)[name]
    before = sorted(image_folder.parent.rglob("*"))
    done = cohort_command(*arguments)
    assert done.returncode == 2, done.stderr
    assert word in one_line(done)
    assert done.stdout == ""
    assert sorted(image_folder.parent.rglob("*")) == before


def test_the_names_are_all_of_them(image_folder: Path) -> None:
    assert set(bad_calls(image_folder, image_folder.parent / "out")) == set(NAMES)


def test_missing_arguments_are_misuse(cohort_command: Any) -> None:
    for arguments in (["run"], ["run", "x"], ["fly"], ["run", "x", "-o", "y", "--fast"]):
        done = cohort_command(*arguments)
        assert done.returncode == 2
        assert "Usage: cohort" in done.stderr


def test_a_run_says_where_its_report_is_and_can_be_shown(image_folder: Path, cohort_command: Any) -> None:
    out = image_folder.parent / "out"
    done = cohort_command("run", str(image_folder), "-o", str(out), "--scheduler", "sync")
    assert done.returncode == 0, done.stderr
    assert f"report: {out / 'report.html'}" in done.stderr
    assert "GEO-MISSING-SLICE" in done.stdout
    shown = cohort_command("show", str(out))
    assert shown.stdout == done.stdout
    assert "Colour" in one_line(cohort_command("reduce", str(out), "--group-by", "Colour"))
    data = json.loads(cohort_command("show", str(out), "--json").stdout)
    assert data["files"]["objects"] == 11
    assert data["modalities"][0]["irregular"] == 1
    assert [f["code"] for f in data["findings"] if f["severity"] == "error"] == ["GEO-MISSING-SLICE"]
    slices = next(s for s in data["spacing"] if s["axis"] == "slice")
    assert slices["median_mm"] == pytest.approx(2.0)


def test_stdout_is_json_alone_when_asked(image_folder: Path, cohort_command: Any) -> None:
    out = image_folder.parent / "out"
    done = cohort_command("run", str(image_folder), "-o", str(out), "--scheduler", "sync", "--json")
    assert set(json.loads(done.stdout)["stages"]) == {"scan", "assemble", "ingest", "reduce", "check", "report"}


def test_the_stages_one_by_one_are_the_run(image_folder: Path, cohort_command: Any) -> None:
    out, whole = image_folder.parent / "out", image_folder.parent / "whole"
    assert cohort_command("scan", str(image_folder), "-o", str(out), "--scheduler", "sync").returncode == 0
    for stage in ("assemble", "ingest", "reduce", "check", "report"):
        done = cohort_command(stage, str(out), "--scheduler", "sync", "--json")
        assert done.returncode == 0, done.stderr
        assert isinstance(json.loads(done.stdout), dict)
    assert cohort_command("run", str(image_folder), "-o", str(whole), "--scheduler", "sync").returncode == 0
    for name in ("volumes.parquet", "statistics/volumes.parquet", "findings.parquet", "report.html"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()


def test_a_stage_without_the_one_before_says_what_to_run(image_folder: Path, cohort_command: Any) -> None:
    out = image_folder.parent / "out"
    cohort_command("scan", str(image_folder), "-o", str(out), "--scheduler", "sync")
    done = cohort_command("ingest", str(out), "--scheduler", "sync")
    assert done.returncode == 1
    assert f"cohort assemble {out}" in one_line(done)


def test_other_options_on_a_begun_run_are_refused_by_name(image_folder: Path, cohort_command: Any) -> None:
    out = image_folder.parent / "out"
    run = ["run", str(image_folder), "-o", str(out), "--scheduler", "sync"]
    assert cohort_command(*run).returncode == 0
    before = (out / "run.json").read_bytes()
    done = cohort_command(*run, "--exclude", "*1.dcm")
    assert done.returncode == 2
    assert "scan.exclude" in one_line(done)
    assert "--restart" in done.stderr
    assert (out / "run.json").read_bytes() == before
    assert cohort_command(*run, "--exclude", "*1.dcm", "--restart").returncode == 0


def test_new_files_are_found_by_the_same_command(image_folder: Path, truth: PhantomTruth, cohort_command: Any) -> None:
    import shutil

    out = image_folder.parent / "out"
    run = ["run", str(image_folder), "-o", str(out), "--scheduler", "sync"]
    cohort_command(*run)
    shutil.copytree(truth.root / "traps" / "gantry-tilt", image_folder / "more")
    assert cohort_command(*run).returncode == 0
    data = json.loads(cohort_command("show", str(out), "--json").stdout)
    assert data["files"]["objects"] == 23
    assert data["assembled"]["volumes"] == 2


def test_out_inside_the_source_is_left_out(image_folder: Path, cohort_command: Any) -> None:
    out = image_folder / "out"
    for _ in range(2):
        done = cohort_command("run", str(image_folder), "-o", str(out), "--scheduler", "sync")
        assert done.returncode == 0, done.stderr
    data = json.loads(cohort_command("show", str(out), "--json").stdout)
    assert data["files"]["objects"] == 11


def _listening_to_interrupts() -> None:
    """In a process that a shell started in the background, Ctrl-C is ignored, and so it is in its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.cluster
@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(tmp_path: Path, cohort_command: Any, signal_: signal.Signals) -> None:
    from cohort.phantom import make_series

    make_series(tmp_path / "images", files=600, rows=16, columns=16)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "cohort", "run", str(tmp_path / "images"), "-o", str(out), "--workers", "1"]
    running = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_listening_to_interrupts
    )
    deadline = time.monotonic() + 60
    while not list(out.glob("files/part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal_)
    _, talk = running.communicate(timeout=60)
    assert running.returncode == 130, talk
    assert "run the same command again" in talk
    assert "Traceback" not in talk
    done = cohort_command(*command[3:])
    assert done.returncode == 0, done.stderr
    data = json.loads(cohort_command("show", str(out), "--json").stdout)
    assert data["files"]["status"] == {"ok": 600}


def test_help_explains_every_option(cohort_command: Any) -> None:
    for command in ("run", "scan", "show", "demo", "assemble", "ingest", "reduce", "check", "report"):
        done = cohort_command(command, "--help")
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        start = lines.index("Options:")
        options = [line for line in lines[start + 1 :] if line.startswith("  -")]
        assert options
        for i, line in enumerate(lines[start + 1 :], start + 1):
            if line.startswith("  -"):
                explained = len(line.strip().split("  ")) > 1 or lines[i + 1].startswith("      ")
                assert explained, line


def test_the_version_is_printed(cohort_command: Any) -> None:
    import cohort

    assert cohort_command("--version").stdout == f"cohort {cohort.__version__}\n"


def test_the_laptop_configuration_holds_every_default() -> None:
    from pathlib import Path

    import yaml

    from cohort.config import Config, load_config

    path = Path(__file__).parents[1] / "configs" / "laptop.yaml"
    assert load_config(path) == Config()
    shown = yaml.safe_load(path.read_text())
    defaults = json.loads(json.dumps(Config().as_dict()))
    assert shown == defaults
