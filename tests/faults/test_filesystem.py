"""What a file system can do to a run: every object is a row with its status, and nothing is written outside OUT."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from bombs import nifti
from hostile_dicom import EXPLICIT, image
from running import config_with

import cohort
from cohort import pipeline
from cohort.headers import reading
from cohort.ingest import frames as ingest_frames
from cohort.sources import LocalSource

Place = os.PathLike[str] | str


class Case(NamedTuple):
    """One object: what makes it in a folder, what it stands for, and `status: reason` of its rows by their end."""

    make: Callable[[bytes], None]
    stands_for: str
    rows: dict[bytes, str]


def good(number: int = 0, uid: bytes | None = None) -> bytes:
    """A small CT image; `uid` in place of its identifiers."""
    value = b"1.2.3.%d" % number if uid is None else uid
    value += b"\0" * (len(value) % 2)
    return image(EXPLICIT, {tag: EXPLICIT.element(tag, "UI", value) for tag in (0x00080018, 0x0020000D, 0x0020000E)})


def _file(content: bytes, name: bytes, folder: bytes) -> None:
    with open(os.path.join(folder, name), "wb") as file:
        file.write(content)


def _link(target: bytes, name: bytes, folder: bytes) -> None:
    os.symlink(target, os.path.join(folder, name))


def _fifo(folder: bytes) -> None:
    os.mkfifo(os.path.join(folder, b"fifo.dcm"))


def _socket(folder: bytes) -> None:
    before = os.getcwd()
    os.chdir(folder)  # the name of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(b"socket.dcm")
    finally:
        os.chdir(before)


def _loop(folder: bytes) -> None:
    os.symlink(b"b.dcm", os.path.join(folder, b"a.dcm"))
    os.symlink(b"a.dcm", os.path.join(folder, b"b.dcm"))


def _folder_loop(folder: bytes) -> None:
    os.mkdir(os.path.join(folder, b"down"))
    os.symlink(b"..", os.path.join(folder, b"down", b"up"))
    _file(good(1), b"in.dcm", os.path.join(folder, b"down"))


def _sparse(folder: bytes) -> None:
    with open(os.path.join(folder, b"sparse.dcm"), "wb") as file:
        file.truncate(1 << 40)


def _sparse_image(folder: bytes) -> None:
    """Pixels of 4 GB that take no place on the disk, of an image of 8 bytes."""
    content = image(EXPLICIT, {0x7FE00010: EXPLICIT.header(0x7FE00010, "OW", 0xFFFFFFFE)})
    with open(os.path.join(folder, b"sparse.dcm"), "wb") as file:
        file.write(content)
        file.truncate(len(content) + 0xFFFFFFFE)


def _deep(folder: bytes) -> None:
    """A path of more than PATH_MAX, which no single call can open."""
    before = os.getcwd()
    os.chdir(folder)
    try:
        for _ in range(20):
            os.mkdir(b"d" * 250)
            os.chdir(b"d" * 250)
    finally:
        os.chdir(before)


def _hard_link(folder: bytes) -> None:
    _file(good(2), b"one.dcm", folder)
    os.link(os.path.join(folder, b"one.dcm"), os.path.join(folder, b"two.dcm"))


def _folder(folder: bytes) -> None:
    os.mkdir(os.path.join(folder, b"folder.dcm"))
    _file(good(3), b"in.dcm", os.path.join(folder, b"folder.dcm"))


NOT_REGULAR = "rejected: not_regular_file"
NAME = "row 27 (names that are no text)"
UID = "row 28, CVE-2026-32711, pynetdicom #823 (identifiers as names)"
CASES = {
    "a FIFO": Case(_fifo, "row 25 (dcmread hangs)", {b"fifo.dcm": NOT_REGULAR}),
    "a socket": Case(_socket, "row 25", {b"socket.dcm": NOT_REGULAR}),
    "a link to /dev/zero": Case(partial(_link, b"/dev/zero", b"z.dcm"), "row 25, finding 16", {b"z.dcm": NOT_REGULAR}),
    "a link to /dev/null": Case(partial(_link, b"/dev/null", b"n.dcm"), "row 25", {b"n.dcm": NOT_REGULAR}),
    "a link to a terminal": Case(partial(_link, b"/dev/tty", b"t.dcm"), "row 25", {b"t.dcm": NOT_REGULAR}),
    "a dangling link": Case(partial(_link, b"nowhere", b"d.dcm"), "row 25", {b"d.dcm": "unreadable: ENOENT"}),
    "a link to itself": Case(partial(_link, b"s.dcm", b"s.dcm"), "row 25", {b"s.dcm": "unreadable: ELOOP"}),
    "two links to each other": Case(
        _loop, "row 25", {b"a.dcm": "unreadable: ELOOP", b"b.dcm": "unreadable: ELOOP"}
    ),
    "a link to a folder above": Case(
        _folder_loop, "row 25 (329 entries instead of 8)", {b"down/up": NOT_REGULAR, b"down/in.dcm": "ok"}
    ),
    "a file that fails to be read": Case(
        partial(_link, b"/proc/self/mem", b"eio.dcm"), "row 26 (EIO)", {b"eio.dcm": "unreadable: Input/output error"}
    ),
    "a name that is not UTF-8": Case(partial(_file, good(10), b"\xff\xfe.dcm"), NAME, {b"\xff\xfe.dcm": "ok"}),
    "a name with a newline": Case(partial(_file, good(11), b"a\nb.dcm"), NAME, {b"a\nb.dcm": "ok"}),
    "a name with escapes": Case(partial(_file, good(12), b"\x1b[31m\x07.dcm"), NAME, {b"\x1b[31m\x07.dcm": "ok"}),
    "a name of 255 bytes": Case(partial(_file, good(13), b"n" * 255), NAME, {b"n" * 255: "ok"}),
    "a name of markup": Case(
        partial(_file, good(14), b"<script>alert(1)<%2Fscript>"), "row 29", {b"<script>alert(1)<%2Fscript>": "ok"}
    ),
    "a name of a formula": Case(partial(_file, good(15), b"=HYPERLINK()"), "row 30", {b"=HYPERLINK()": "ok"}),
    "a name of an option": Case(partial(_file, good(16), b"--help"), NAME, {b"--help": "ok"}),
    "a name like a backslash escape": Case(partial(_file, good(17), rb"\xff.dcm"), NAME, {rb"\xff.dcm": "ok"}),
    "a hidden file": Case(partial(_file, good(18), b".hidden"), "DESIGN 4", {b".hidden": "ok"}),
    "a path longer than PATH_MAX": Case(_deep, "CVE-2026-5442 (paths)", {b"d" * 250: "unreadable: ENAMETOOLONG"}),
    "a terabyte of nothing": Case(_sparse, "row 36", {b"sparse.dcm": "not_imaging: not_dicom_or_nifti"}),
    "pixels that take no place": Case(_sparse_image, "row 36", {b"sparse.dcm": "ok"}),
    "two names of one file": Case(_hard_link, "copies", {b"one.dcm": "ok", b"two.dcm": "ok"}),
    "a folder that looks like a file": Case(_folder, "names", {b"folder.dcm/in.dcm": "ok"}),
    "an empty file": Case(partial(_file, b"", b"empty.dcm"), "row 16", {b"empty.dcm": "not_imaging: empty_file"}),
    "a UID that leads up": Case(partial(_file, good(uid=b"../../../up"), b"u.dcm"), UID, {b"u.dcm": "ok"}),
    "a UID that is a path": Case(partial(_file, good(uid=b"/tmp/absolute"), b"u.dcm"), UID, {b"u.dcm": "ok"}),
    "a UID with NUL": Case(partial(_file, good(uid=b"1.2\0.3"), b"u.dcm"), UID, {b"u.dcm": "ok"}),
    "a UID of 300 characters": Case(partial(_file, good(uid=b"1." * 150), b"u.dcm"), UID, {b"u.dcm": "ok"}),
    "a UID with a newline": Case(partial(_file, good(uid=b"1.2\n3.4"), b"u.dcm"), UID, {b"u.dcm": "ok"}),
    "a NIfTI image of a name that leads up": Case(
        partial(_file, nifti(), b"..%2F..%2Fup.nii"), UID, {b"..%2F..%2Fup.nii": "ok"}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """All cases, a folder each, and the run over them."""
    top = tmp_path_factory.mktemp("filesystem")
    for number, case in enumerate(CASES.values()):
        folder = top / "images" / f"{number:02d}"
        folder.mkdir(parents=True)
        case.make(os.fsencode(folder))
    before = tree(top)
    pipeline.run([str(top / "images")], top / "out", config_with())
    after = {path for path in tree(top) if not path.startswith(b"out")}
    assert after == before, "something was written outside OUT"
    yield top / "images", top / "out"
    subprocess.run(["rm", "-rf", str(top / "images")], check=True)  # no path is too long for it


def tree(folder: Path) -> set[bytes]:
    return {
        os.path.relpath(os.path.join(place, name), os.fsencode(folder))
        for place, folders, files in os.walk(os.fsencode(folder))
        for name in (*folders, *files)
    }


@pytest.fixture(scope="module")
def rows(places: tuple[Path, Path]) -> dict[bytes, str]:
    table = cohort.open(places[1]).files.compute()
    found = zip(table["path_raw"], table["status"], table["reason"], strict=True)
    return {path: status if status == "ok" else f"{status}: {reason}" for path, status, reason in found}


@pytest.mark.parametrize("name", CASES)
def test_every_object_is_a_row_with_its_status(name: str, rows: dict[bytes, str]) -> None:
    number = list(CASES).index(name)
    prefix = b"%02d/" % number
    found = {path.removeprefix(prefix): status for path, status in rows.items() if path.startswith(prefix)}
    if b"d" * 250 in CASES[name].rows:  # the row is the folder that cannot be listed, wherever that is
        (path, status), *others = found.items()
        assert not others
        assert path.startswith(b"d" * 250)
        assert status == CASES[name].rows[b"d" * 250]
        return
    assert found == CASES[name].rows


def test_names_in_zarr_are_digests(places: tuple[Path, Path]) -> None:
    root = places[1] / "volumes.zarr"
    volumes = [path for modality in root.iterdir() if modality.is_dir() for path in modality.iterdir() if path.is_dir()]
    assert len(volumes) > 15
    assert all(len(path.name) >= 16 and set(path.name) <= set("0123456789abcdef") for path in volumes)


# -- files that change while they are read ------------------------------------------------------------------------


def statuses(out: Path, table: str = "files") -> list[tuple[str, str | None]]:
    found = getattr(cohort.open(out), table)
    found = found.compute() if table == "files" else found
    reasons = [None if pd.isna(reason) else reason for reason in found["reason"]]
    return list(zip(found["status"], reasons, strict=True))


def _grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _rewrite(path: Path) -> None:
    listed = path.stat()
    path.write_bytes(path.read_bytes().replace(b"CT", b"MR"))
    os.utime(path, ns=(listed.st_atime_ns, listed.st_mtime_ns + 1))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (_grow, ("changed", "changed")),
        (_rewrite, ("changed", "changed")),
        (lambda path: os.truncate(path, 200), ("changed", "changed")),
        (lambda path: path.unlink(), ("vanished", "vanished")),
        (lambda path: path.chmod(0), ("unreadable", "Permission denied")),
    ],
    ids=["grows", "rewritten", "cut", "vanishes", "forbidden"],
)
def test_what_happens_between_listing_and_reading_is_told(
    change: Callable[[Path], None], expected: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if expected[0] == "unreadable" and os.geteuid() == 0:
        pytest.skip("root may read everything")
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        (images / f"{number}.dcm").write_bytes(good(number))
    read = reading.parse_shard

    def parse_shard(*arguments: object) -> object:
        change(images / "1.dcm")
        return read(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr("cohort.headers.parse_shard", parse_shard)
        pipeline.run([str(images)], tmp_path / "out", config_with())
    assert statuses(tmp_path / "out") == [("ok", None), expected, ("ok", None)]

    # The next run sees the file as it is then.
    pipeline.run([str(images)], tmp_path / "out", config_with())
    after = statuses(tmp_path / "out")
    assert len(after) == (2 if expected[0] == "vanished" else 3)
    assert {status for status, _ in after} <= {"ok", "rejected", "unreadable"}


@pytest.mark.parametrize("error", [13, 5, 116], ids=["EACCES", "EIO", "ESTALE"])
def test_a_file_that_cannot_be_opened_is_unreadable(
    error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / "images" / f"{number}.dcm").write_bytes(good(number))
    opened = LocalSource.open

    def failing(self: LocalSource, path: bytes) -> object:
        if path == b"1.dcm":
            raise OSError(error, os.strerror(error))
        return opened(self, path)

    monkeypatch.setattr(LocalSource, "open", failing)
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config_with())
    assert statuses(tmp_path / "out") == [("ok", None), ("unreadable", os.strerror(error)), ("ok", None)]


def test_pixels_that_change_while_they_are_read_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(3):
        (images / f"{number}.dcm").write_bytes(good(number))
    opened = ingest_frames.open_frames

    def open_frames(file: object, row: dict[str, object], **limits: int) -> object:
        if row["path_raw"] == b"1.dcm":
            with (images / "1.dcm").open("r+b") as writer:
                writer.seek(-8, os.SEEK_END)
                writer.write(struct.pack("<4H", 1, 2, 3, 4))
            listed = (images / "1.dcm").stat()
            os.utime(images / "1.dcm", ns=(listed.st_atime_ns, listed.st_mtime_ns + 1))
        return opened(file, row, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr(ingest_frames, "open_frames", open_frames)
    pipeline.run([str(images)], tmp_path / "out", config_with())
    assert sorted(statuses(tmp_path / "out", "volumes"), key=str) == [
        ("changed", "changed"),
        ("ok", None),
        ("ok", None),
    ]


# -- disks that are full or cannot be written ---------------------------------------------------------------------


def run_command(images: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cohort", "run", str(images), "-o", str(out), "--scheduler", "sync"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_full_disk_ends_the_run_in_one_line_and_room_lets_it_go_on(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        images = tmp_path / "images"
        images.mkdir()
        for number in range(40):
            (images / f"{number}.dcm").write_bytes(good(number))
        done = run_command(images, disk / "out")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.strip().splitlines()[-1].startswith("error: ")
        assert "make room" in done.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        done = run_command(images, disk / "out")
        assert done.returncode == 0, done.stderr
        assert statuses(disk / "out") == [("ok", None)] * 40
        shutil.copytree(disk / "out", tmp_path / "resumed")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert cohort.open(tmp_path / "resumed").volumes["status"].tolist() == ["ok"] * 40


def test_a_place_that_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "0.dcm").write_bytes(good())
    done = run_command(images, Path("/proc/out"))
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
