"""Listing finds every object once, in an order of names, and opens nothing that could block."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from cohort.errors import SourceError
from cohort.sources import LocalSource, ObjectRef, open_source, open_sources, printable


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def touch(path: Path, data: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def listed(root: Path, **options: Any) -> list[ObjectRef]:
    return list(LocalSource(root, **options).list())


def paths(root: Path, **options: Any) -> list[str]:
    return [os.fsdecode(ref.path) for ref in listed(root, **options)]


def problems(root: Path, **options: Any) -> dict[str, str | None]:
    return {os.fsdecode(ref.path): ref.problem for ref in listed(root, **options)}


# -- order and contents ------------------------------------------------------------------------------------


def test_objects_are_listed_in_the_order_of_their_names_files_before_folders(root: Path) -> None:
    for name in ("b/2", "b/10", "a/z/deep", "a/y", "c", ".hidden", "B", "a.txt"):
        touch(root / name)
    assert paths(root) == [".hidden", "B", "a.txt", "c", "a/y", "a/z/deep", "b/10", "b/2"]


def test_the_order_does_not_depend_on_how_the_files_were_made(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    names = [f"{a}/{b}" for a in "dbac" for b in ("x", "Y", "é", "1")]
    for name in names:
        touch(root / name)
    for name in reversed(names):
        touch(other / name)
    assert paths(root) == paths(other)
    assert sorted(paths(root)) == sorted(names)


def test_size_and_time_are_those_of_the_file(root: Path) -> None:
    path = touch(root / "a", b"12345")
    os.utime(path, ns=(1, 1_600_000_000_123_456_789))
    assert listed(root) == [ObjectRef(b"a", 5, 1_600_000_000_123_456_789, None)]


def test_an_empty_folder_holds_nothing(root: Path) -> None:
    (root / "empty" / "deeper").mkdir(parents=True)
    assert listed(root) == []


def test_a_single_file_is_a_source_of_one_object(root: Path) -> None:
    path = touch(root / "one.dcm", b"abc")
    touch(root / "two.dcm")
    source = LocalSource(path)
    (ref,) = source.list()
    assert (ref.path, ref.size, ref.problem) == (b"one.dcm", 3, None)
    with source.open(ref.path) as file:
        assert file.read() == b"abc"
    assert source.root == str(root)


def test_the_root_is_absolute(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert LocalSource(Path("images")).root == str(root)


# -- what is no plain file ---------------------------------------------------------------------------------


@pytest.mark.timeout(30)
def test_a_fifo_is_listed_and_never_opened(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (ref,) = listed(root)
    assert (ref.path, ref.size, ref.problem) == (b"pipe", 0, "not_regular_file")
    with pytest.raises(OSError, match="not a regular file"):
        LocalSource(root).open(b"pipe")


@pytest.mark.timeout(30)
def test_a_fifo_as_the_root_or_behind_a_link_does_not_block(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "link").symlink_to("pipe")
    assert problems(root) == {"link": "not_regular_file", "pipe": "not_regular_file"}
    assert problems(root / "pipe") == {"pipe": "not_regular_file"}


def test_a_socket_is_listed_and_cannot_be_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert problems(root) == {"s": "not_regular_file"}
        with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
            LocalSource(root).open(b"s")


@pytest.mark.timeout(30)
def test_a_device_is_listed_and_never_read(root: Path) -> None:
    (root / "zero").symlink_to("/dev/zero")
    (ref,) = listed(root)
    assert (ref.path, ref.size, ref.problem) == (b"zero", 0, "not_regular_file")
    with pytest.raises(OSError, match="not a regular file"):
        LocalSource(root).open(b"zero")


def test_a_link_to_a_file_is_read_as_the_file(root: Path, tmp_path: Path) -> None:
    touch(tmp_path / "outside", b"12")
    (root / "link").symlink_to(tmp_path / "outside")
    (ref,) = listed(root)
    assert (ref.size, ref.problem) == (2, None)


def test_a_dangling_link_and_a_link_to_itself_are_rows_with_their_errors(root: Path) -> None:
    (root / "dangling").symlink_to("nowhere")
    (root / "itself").symlink_to("itself")
    assert problems(root) == {"dangling": "ENOENT", "itself": "ELOOP"}
    assert problems(root, follow_links=True) == {"dangling": "ENOENT", "itself": "ELOOP"}


def test_links_to_folders_are_followed_only_when_asked(root: Path, tmp_path: Path) -> None:
    touch(tmp_path / "outside" / "a")
    (root / "link").symlink_to(tmp_path / "outside")
    assert problems(root) == {"link": "not_regular_file"}
    assert problems(root, follow_links=True) == {"link/a": None}


def test_loops_of_links_are_cut(root: Path) -> None:
    touch(root / "a" / "file")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "here").symlink_to(".")
    (root / "b").mkdir()
    (root / "b" / "to_a").symlink_to("../a")
    (root / "a" / "to_b").symlink_to("../b")
    found = problems(root, follow_links=True)
    assert {path: problem for path, problem in found.items() if problem is None} == {
        "a/file": None,
        "b/to_a/file": None,
    }
    assert set(found.values()) == {None, "not_regular_file"}


# -- errors ------------------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_listed_is_a_row(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(root / "closed" / "secret")
    touch(root / "open" / "a")
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if os.fsdecode(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert problems(root) == {"closed": "EACCES", "open/a": None}


def test_a_root_that_cannot_be_listed_is_a_row(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    source = LocalSource(root)
    monkeypatch.setattr(os, "scandir", refused)
    assert [(ref.path, ref.problem) for ref in source.list()] == [(b".", "EACCES")]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_listed_and_fails_on_open(root: Path) -> None:
    touch(root / "secret").chmod(0)
    assert problems(root) == {"secret": None}
    with pytest.raises(PermissionError):
        LocalSource(root).open(b"secret")


def test_a_file_that_vanished_fails_on_open(root: Path) -> None:
    path = touch(root / "a" / "gone")
    source = LocalSource(root)
    (ref,) = source.list()
    path.unlink()
    with pytest.raises(FileNotFoundError):
        source.open(ref.path)


def test_a_file_that_became_a_folder_fails_on_open(root: Path) -> None:
    path = touch(root / "a")
    source = LocalSource(root)
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="not a regular file"):
        source.open(b"a")


def test_missing_and_foreign_roots_are_refused(root: Path) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        open_sources([str(root / "nowhere")])
    with pytest.raises(SourceError, match="https://host/images"):
        open_sources(["https://host/images"])


def test_roots_that_overlap_are_refused(root: Path) -> None:
    path = touch(root / "a" / "b.dcm")
    (root / "link").symlink_to("a")
    (root / "ab").mkdir()
    for pair in ([root, root / "a"], [root / "a", root], [root, root], [path, root], [root / "link", root / "a"]):
        with pytest.raises(SourceError, match="overlap"):
            open_sources([str(entry) for entry in pair])
    assert len(open_sources([str(root / "a"), str(root / "ab")])) == 2  # a name that begins like another is no parent


# -- what is left out --------------------------------------------------------------------------------------


def test_the_results_inside_the_source_are_left_out(root: Path) -> None:
    touch(root / "out" / "run.json")
    touch(root / "out" / "files" / "part")
    touch(root / "outer" / "a")
    touch(root / "deep" / "out" / "b")
    assert paths(root, skip=root / "out") == ["deep/out/b", "outer/a"]
    assert paths(root, skip=root.parent / "elsewhere") == ["deep/out/b", "out/run.json", "out/files/part", "outer/a"]


def test_the_results_are_left_out_under_another_name_too(root: Path, tmp_path: Path) -> None:
    touch(root / "out" / "run.json")
    alias = tmp_path / "alias"
    alias.symlink_to(root)
    assert paths(root, skip=alias / "out") == []
    assert paths(alias, skip=root / "out") == []


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        ((), (), ["a.dcm", "b.txt", "x/c.dcm", "x/tmp/d.dcm"]),
        (("*.dcm",), (), ["a.dcm", "x/c.dcm", "x/tmp/d.dcm"]),
        (("x/*",), (), ["x/c.dcm", "x/tmp/d.dcm"]),
        ((), ("*/tmp/*",), ["a.dcm", "b.txt", "x/c.dcm"]),
        (("*.dcm",), ("x/*",), ["a.dcm"]),
        (("*.txt", "a*"), (), ["a.dcm", "b.txt"]),
        (("*.DCM",), (), []),
    ],
)
def test_globs_choose_by_the_path_below_the_root(
    root: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    for name in ("a.dcm", "b.txt", "x/c.dcm", "x/tmp/d.dcm"):
        touch(root / name)
    assert paths(root, include=include, exclude=exclude) == expected


# -- names -------------------------------------------------------------------------------------------------

ODD_NAMES = [
    b"caf\xe9.dcm",
    b"line\nbreak",
    b"tab\tand\x07bell",
    "Größe µ".encode(),
    b"back\\slash",
    b" space ",
    b"\xff\xfe",
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_of_any_bytes_are_listed_exactly_and_can_be_opened(root: Path, name: bytes) -> None:
    with open(os.path.join(os.fsencode(root), name), "wb") as file:  # noqa: PTH118 - exact bytes
        file.write(name)
    (ref,) = listed(root)
    assert (ref.path, ref.problem) == (name, None)
    with LocalSource(root).open(ref.path) as file:
        assert file.read() == name


@pytest.mark.parametrize("name", [*ODD_NAMES, "no\u00a0break".encode(), "全角\u3000空白".encode()])
def test_a_root_of_any_name_can_be_opened_again_by_the_name_it_was_listed_under(tmp_path: Path, name: bytes) -> None:
    folder = tmp_path / os.fsdecode(name)
    touch(folder / "a", b"content")
    (source,) = open_sources([str(folder)])
    with open_source(source.root).open(b"a") as file:
        assert file.read() == b"content"


def test_printable_paths_can_be_stored_as_utf8() -> None:
    assert printable(b"caf\xe9") == "caf\\xe9"
    assert printable(b"a\nb\tc") == "a\nb\tc"
    assert printable("Größe/µ".encode()) == "Größe/µ"
    for name in ODD_NAMES:
        printable(name).encode("utf-8")
