"""A list of files stands for the walk: the same objects, and an error that quotes no path."""

from __future__ import annotations

import io
import os
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packing import packed

from cohort.errors import SourceError
from cohort.sources import ArchiveLimits, LocalSource, ObjectRef, open_sources

ROOMY = ArchiveLimits(members=1000, member_bytes=1 << 40, ratio=10_000)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name in ("b.dcm", "a/2", "a/1", "a/deep/3", "z/4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def listed(root: Path | None, lines: bytes, place: Path, **options: Any) -> list[ObjectRef]:
    (place / "list").write_bytes(lines)
    roots = [] if root is None else [str(root)]
    (source,) = open_sources(roots, from_file=str(place / "list"), archives=ROOMY, **options)
    return list(source.list())


def paths(*arguments: Any, **options: Any) -> list[str]:
    return [os.fsdecode(ref.path) for ref in listed(*arguments, **options)]


def test_only_what_is_listed_is_an_object(root: Path, tmp_path: Path) -> None:
    assert paths(root, b"a/1\nz/4\n", tmp_path) == ["a/1", "z/4"]
    assert listed(root, b"a/1\n", tmp_path) == [ref for ref in LocalSource(root).list() if ref.path == b"a/1"]


def test_empty_lines_copies_and_spellings_do_not_count(root: Path, tmp_path: Path) -> None:
    absolute = os.fsencode(root / "a" / "1")
    lines = [b"", b"a/1", b"./a/1", b"a//1", b"a/deep/../1", absolute, b"", b"b.dcm", b""]
    assert paths(root, b"\n".join(lines), tmp_path) == ["b.dcm", "a/1"]


def test_lines_may_be_separated_by_nul(root: Path, tmp_path: Path) -> None:
    (root / "line\nbreak").write_bytes(b"")
    assert paths(root, b"a/1\0line\nbreak\0", tmp_path) == ["line\nbreak", "a/1"]
    assert paths(root, b"line\nbreak\0", tmp_path) == ["line\nbreak"]


@pytest.mark.parametrize("name", [b"caf\xe9", b" space ", b"tab\t", b"back\\slash", b"\xff\xfe", b"return\r"])
def test_names_are_exact(root: Path, tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.path.join(os.fsencode(root), name))).write_bytes(b"12")  # noqa: PTH118
    (ref,) = listed(root, name + b"\n", tmp_path)
    assert (ref.path, ref.size, ref.problem) == (name, 2, None)


NAME = st.text("aB1.-é ", min_size=1, max_size=4).filter(lambda name: name.strip(".") and name != ".")
TREES = st.sets(st.lists(NAME, min_size=1, max_size=3).map("/".join), min_size=1, max_size=10).filter(
    lambda tree: not any(other.startswith(path + "/") for path in tree for other in tree)
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES, seed=st.integers(0, 100))
def test_a_list_of_everything_in_any_order_is_the_walk(
    tmp_path_factory: pytest.TempPathFactory, tree: set[str], seed: int
) -> None:
    place = tmp_path_factory.mktemp("walk")
    for name in tree:
        (place / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "tree" / name).write_bytes(b"")
    lines = sorted(tree)
    random.Random(seed).shuffle(lines)
    assert listed(place / "tree", "\n".join(lines).encode(), place) == list(LocalSource(place / "tree").list())


def test_what_is_gone_and_what_is_no_file_are_rows(root: Path, tmp_path: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "dangling").symlink_to("nowhere")
    (root / "link").symlink_to("a")
    found = listed(root, b"gone\nb.dcm/below\na\nlink\npipe\ndangling\n.\n", tmp_path)
    assert {os.fsdecode(ref.path): ref.problem for ref in found} == {
        ".": "folder",
        "a": "folder",
        "link": "folder",
        "b.dcm/below": "vanished",
        "gone": "vanished",
        "pipe": "not_regular_file",
        "dangling": "ENOENT",
    }


@pytest.mark.parametrize("line", [b"../other", b"/etc/passwd", b"a/../../secret", b"../images2/x"])
def test_a_line_that_leads_out_is_refused_by_its_number_alone(root: Path, tmp_path: Path, line: bytes) -> None:
    with pytest.raises(SourceError, match="line 3 of the list") as caught:
        listed(root, b"a/1\n\n" + line + b"\n", tmp_path)
    assert os.fsdecode(line) not in str(caught.value)


def test_a_source_may_be_named_by_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    lines = os.fsencode(root / "a" / "1") + b"\n" + os.fsencode(tmp_path / "link" / "b.dcm")
    assert paths(tmp_path / "link", lines, tmp_path) == ["b.dcm", "a/1"]


def test_without_a_source_the_root_is_the_folder_in_common(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root / "a")

    def opened(lines: bytes) -> tuple[str, list[bytes]]:
        (tmp_path / "list").write_bytes(lines)
        (source,) = open_sources([], from_file=str(tmp_path / "list"))
        return source.root, [ref.path for ref in source.list()]

    assert opened(b"1\n2\n") == (str(root / "a"), [b"1", b"2"])
    assert opened(b"deep/3\n") == (str(root / "a" / "deep"), [b"3"])
    assert opened(b"1\n../z/4\n") == (str(root), [b"a/1", b"z/4"])
    assert opened(os.fsencode(root / "b.dcm")) == (str(root), [b"b.dcm"])
    assert opened(b"gone/away/x\ngone/away/y") == (str(root / "a"), [b"gone/away/x", b"gone/away/y"])


def test_archives_of_a_list_are_opened_and_members_may_be_chosen(root: Path, tmp_path: Path) -> None:
    for ending in (".zip", ".tgz"):
        (root / f"c{ending}").write_bytes(packed({"x": b"1", "in/y": b"22", "../z": b"333"}, ending))
    assert paths(root, b"c.zip\nc.zip!/x\n", tmp_path) == ["c.zip", "c.zip!/x", "c.zip!/in/y", "c.zip!/../z"]
    found = listed(root, b"c.zip!/in/y\nc.zip!/../z\nc.zip!/gone\nc.tgz!/x\nb.dcm!/x\nno.zip!/x", tmp_path)
    assert {os.fsdecode(ref.path): (ref.size, ref.problem) for ref in found} == {
        "c.zip!/in/y": (2, None),
        "c.zip!/../z": (3, None),
        "c.zip!/gone": (0, "vanished"),
        "c.tgz!/x": (1, None),
        "b.dcm!/x": (0, "vanished"),
        "no.zip!/x": (0, "vanished"),
    }
    archive = root / "c.zip"
    assert {ref.modified for ref in found if ref.path.startswith(b"c.zip") and ref.size} == {archive.stat().st_mtime_ns}


def test_the_root_without_a_source_is_never_inside_an_archive(root: Path, tmp_path: Path) -> None:
    (root / "c.zip").write_bytes(packed({"in/x": b"1"}, ".zip"))
    (tmp_path / "list").write_bytes(os.fsencode(root / "c.zip") + b"!/in/x")
    (source,) = open_sources([], from_file=str(tmp_path / "list"), archives=ROOMY)
    assert source.root == str(root)
    assert [ref.path for ref in source.list()] == [b"c.zip!/in/x"]


def test_globs_choose_among_the_list(root: Path, tmp_path: Path) -> None:
    assert paths(root, b"a/1\na/2\nz/4\ngone/1", tmp_path, include=["*1"]) == ["a/1", "gone/1"]
    assert paths(root, b"a/1\na/2\nz\n", tmp_path, exclude=["a/*", "z"]) == []


def test_the_results_inside_the_source_are_left_out(root: Path, tmp_path: Path) -> None:
    assert paths(root, b"a/1\na/deep/3\nb.dcm", tmp_path, skip=root / "a") == ["b.dcm"]


def test_the_list_may_come_from_standard_input(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a/1\n")))
    (source,) = open_sources([str(root)], from_file="-")
    assert [ref.path for ref in source.list()] == [b"a/1"] == [ref.path for ref in source.list()]


@pytest.mark.parametrize("lines", [b"", b"\n\n", b"\0\0"])
def test_an_empty_list_is_refused(root: Path, tmp_path: Path, lines: bytes) -> None:
    with pytest.raises(SourceError, match="names no file"):
        listed(root, lines, tmp_path)


def test_calls_that_cannot_be_meant_are_refused(root: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"a/1")
    for roots, word in {
        (str(root / "a"), str(root / "z")): "one SOURCE",
        (str(root / "b.dcm"),): "is a file",
        (str(root / "nowhere"),): "does not exist",
    }.items():
        with pytest.raises(SourceError, match=word):
            open_sources(roots, from_file=str(tmp_path / "list"))
    with pytest.raises(SourceError, match="cannot read the list"):
        open_sources([str(root)], from_file=str(tmp_path / "nowhere"))
    with pytest.raises(SourceError, match="no source given"):
        open_sources([])
