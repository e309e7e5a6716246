"""Archives are listed like folders, read in place, and cannot be made to fill memory or to lie about a byte."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import struct
import tarfile
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packing import ENDINGS, TAR_MODES, entries_of, packed, tar_of, tar_with, zip_of

from cohort.sources import ArchiveLimits, LocalSource, ObjectRef, archives, damage_of, limits, streams, verify, zips
from cohort.sources.tars import TarContents

ROOMY = ArchiveLimits(members=1_000_000, member_bytes=1 << 40, ratio=10_000)
TREE = {
    "a.dcm": b"first",
    "sub/b.dcm": b"second" * 5000,
    "sub/deep/c": b"",
    "sub/deep/ü d.nii.gz": bytes(range(256)) * 99,
}


@pytest.fixture(autouse=True)
def nothing_at_hand() -> None:
    archives._at_hand.clear()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def source(root: Path, **options: Any) -> LocalSource:
    return LocalSource(root, **({"archives": ROOMY} | options))


def refs(root: Path, **options: Any) -> dict[str, ObjectRef]:
    found = list(source(root, **options).list())
    named = {os.fsdecode(ref.path): ref for ref in found}
    assert len(named) == len(found)
    return named


def problems(root: Path, **options: Any) -> dict[str, str | None]:
    return {path: ref.problem for path, ref in refs(root, **options).items()}


def content(root: Path, path: str) -> bytes:
    with source(root).open(os.fsencode(path)) as file:
        data = file.read()
        verify(file)
        return data


def inside(root: Path, archive: str) -> dict[str, bytes]:
    """Name -> bytes of every member that can be opened."""
    start = archive + "!/"
    return {
        path.removeprefix(start): content(root, path)
        for path, ref in refs(root).items()
        if path.startswith(start) and ref.problem is None
    }


# -- members are objects -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_members_follow_their_archive_in_its_order(root: Path, ending: str) -> None:
    (root / f"cohort{ending}").write_bytes(packed(TREE, ending))
    (root / "z").write_bytes(b"beside")
    os.utime(root / f"cohort{ending}", ns=(1, 1_600_000_000_123_456_789))
    found = list(source(root).list())
    outer = f"cohort{ending}"
    size = (root / outer).stat().st_size
    assert found[0] == ObjectRef(outer.encode(), size, 1_600_000_000_123_456_789, "archive")
    assert [(os.fsdecode(ref.path), ref.size) for ref in found[1:-1]] == [
        (f"{outer}!/{name}", len(data)) for name, data in TREE.items()
    ]
    assert {(ref.modified, ref.problem) for ref in found[1:-1]} == {(1_600_000_000_123_456_789, None)}
    assert found[-1].path == b"z"
    assert inside(root, outer) == TREE


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_may_be_the_source_itself(root: Path, ending: str) -> None:
    path = root / f"cohort{ending}"
    path.write_bytes(packed(TREE, ending))
    (root / "other").write_bytes(b"not asked for")
    assert list(refs(path)) == [path.name, *(f"{path.name}!/{name}" for name in TREE)]
    assert content(path, f"{path.name}!/a.dcm") == b"first"


NAME = st.binary(min_size=1, max_size=12).filter(lambda name: not set(name) & {0, 47} and name not in (b".", b".."))
FOLDERS = st.dictionaries(
    st.lists(NAME, min_size=1, max_size=3).map(b"/".join), st.binary(max_size=2000), min_size=1, max_size=8
).filter(lambda tree: not any(other.startswith(path + b"/") for path in tree for other in tree))


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=FOLDERS)
def test_any_tree_as_a_tar_has_the_objects_of_its_folder(
    tmp_path_factory: pytest.TempPathFactory, ending: str, tree: dict[bytes, bytes]
) -> None:
    folder = write_tree(tmp_path_factory.mktemp("tree"), tree)
    archive = folder.parent / f"packed{ending}"
    with tarfile.open(archive, TAR_MODES[ending]) as tar:
        tar.add(folder, ".")
    compare(folder, archive)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=FOLDERS, compression=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2]))
def test_any_tree_as_a_zip_has_the_objects_of_its_folder(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, bytes], compression: int
) -> None:
    tree = {path.hex().encode(): data for path, data in tree.items()}  # zipfile writes text alone
    folder = write_tree(tmp_path_factory.mktemp("tree"), tree)
    archive = folder.parent / "packed.zip"
    archive.write_bytes(zip_of({path.decode(): data for path, data in tree.items()}, compression))
    compare(folder, archive)


def write_tree(place: Path, tree: dict[bytes, bytes]) -> Path:
    base = os.fsencode(place / "tree")
    for path, data in tree.items():
        full = os.path.join(base, path)  # noqa: PTH118 - exact bytes
        os.makedirs(os.path.dirname(full), exist_ok=True)  # noqa: PTH103, PTH120
        with open(full, "wb") as file:
            file.write(data)
    return place / "tree"


def compare(folder: Path, archive: Path) -> None:
    """Every file of a folder, by its exact name, size and bytes, is a member of the archive, and nothing else is."""

    def everything(place: Path, start: bytes, limits: ArchiveLimits | None) -> dict[bytes, tuple[int, bytes]]:
        found = {}
        for ref in source(place, archives=limits).list():
            if ref.problem != "archive":
                with source(place).open(ref.path) as file:
                    found[ref.path.removeprefix(start)] = ref.size, file.read()
        return found

    members = everything(archive, os.fsencode(archive.name) + b"!/", ROOMY)
    assert members == everything(folder, b"", None)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000))
def test_members_are_seekable_like_files(tmp_path: Path, ending: str, seed: int) -> None:
    choose = random.Random(seed)
    data = choose.randbytes(choose.randrange(1, 100_000))
    (tmp_path / f"x{ending}").write_bytes(packed({"before": b"1" * 700, "x": data, "after": b"2" * 700}, ending))
    plain = io.BytesIO(data)
    with source(tmp_path).open(f"x{ending}!/x".encode()) as member:
        for _ in range(12):
            offset = choose.randrange(len(data))
            whence = choose.choice([os.SEEK_SET, os.SEEK_END])
            offset = -offset if whence == os.SEEK_END else offset
            assert member.seek(offset, whence) == plain.seek(offset, whence)
            count = choose.choice([0, 1, 100, 40_000])
            assert member.read(count) == plain.read(count)
        verify(member)
        assert damage_of(member) is None


def test_a_member_cannot_be_sought_before_its_beginning(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of({"x": b"abc"}))
    with source(root).open(b"a.zip!/x") as member, pytest.raises(OSError):  # noqa: PT011
        member.seek(-1)


def test_what_is_gone_is_not_found(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of({"x": b"abc"}))
    for path in (b"a.zip!/y", b"a.zip!/x/y", b"b.zip!/x", b"a.zip!/", b"b.zip!/nul\0", b"plain!/x"):
        with pytest.raises(FileNotFoundError):
            source(root).open(path)
    assert content(root, "a.zip!/x") == b"abc"
    (root / "a.zip").unlink()
    with pytest.raises(OSError):  # noqa: PT011
        source(root).open(b"a.zip!/x")


def test_a_changed_archive_is_opened_anew(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of({"x": b"old"}))
    assert inside(root, "a.zip") == {"x": b"old"}
    (root / "a.zip").write_bytes(zip_of({"x": b"newer", "y": b""}))
    assert inside(root, "a.zip") == {"x": b"newer", "y": b""}


# -- which files are archives ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["A.ZIP", "a.Tar", "x.tar.GZ", "x.tgz", "x.tbz2", "x.tbz", "x.txz", "x.tar.xz", ".zip"]
)
@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz", ".tar.bz2"])
def test_the_content_decides_where_the_name_allows(root: Path, name: str, ending: str) -> None:
    (root / name).write_bytes(packed({"x": b"abc"}, ending))
    assert inside(root, name) == {"x": b"abc"}


@pytest.mark.parametrize("name", ["cohort", "cohort.bin", "cohort.zip.part", "cohort.zi", "zip", "x.nii.gz", "x.gz"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_an_archive_under_another_name_is_a_file(root: Path, name: str, ending: str) -> None:
    (root / name).write_bytes(packed(TREE, ending))
    assert problems(root) == {name: None}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(
    "data", [b"", b"text" * 400, b"PK", b"PKno" * 300, bytes(100), b"\x1f\x8b", b"BZ", b"\xfd7zXZ", b"DICM" * 300]
)
def test_a_file_that_is_no_archive_is_a_file_whatever_its_name(root: Path, ending: str, data: bytes) -> None:
    (root / f"x{ending}").write_bytes(data)
    assert problems(root) == {f"x{ending}": None}


def test_a_compressed_file_that_is_no_tar_is_a_file(root: Path) -> None:
    (root / "x.tgz").write_bytes(gzip.compress(b"text" * 400))
    (root / "y.tgz").write_bytes(gzip.compress(b"short"))
    assert problems(root) == {"x.tgz": None, "y.tgz": None}


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_archive_is_one(root: Path, ending: str) -> None:
    (root / f"x{ending}").write_bytes(packed({}, ending))
    assert problems(root) == {f"x{ending}": "archive"}


def test_archives_may_be_left_alone(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of(TREE))
    assert problems(root, archives=None) == {"a.zip": None}


def test_an_archive_in_an_archive_is_a_member(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of({"b.zip": zip_of(TREE), "b.zip!/x": b"odd name"}))
    assert problems(root) == {"a.zip": "archive", "a.zip!/b.zip": None, "a.zip!/b.zip!/x": None}
    assert content(root, "a.zip!/b.zip!/x") == b"odd name"


def test_a_folder_with_the_name_of_the_members_keeps_it(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of({"x": b"packed"}))
    (root / "a.zip!").mkdir()
    (root / "a.zip!" / "x").write_bytes(b"plain")
    (root / "c.tar!").mkdir()
    (root / "c.tar!" / "b.zip").write_bytes(zip_of({"x": b"inner"}))
    assert problems(root) == {"a.zip": None, "a.zip!/x": None, "c.tar!/b.zip": "archive", "c.tar!/b.zip!/x": None}
    assert content(root, "a.zip!/x") == b"plain"
    assert content(root, "c.tar!/b.zip!/x") == b"inner"


def test_a_link_to_an_archive_is_the_archive_and_a_fifo_is_none(root: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(zip_of({"x": b"abc"}))
    (root / "link.zip").symlink_to(tmp_path / "real")
    os.mkfifo(root / "pipe.zip")
    (root / "gone.zip").symlink_to("nowhere")
    (root / "folder.zip").mkdir()
    assert problems(root) == {
        "gone.zip": "ENOENT",
        "link.zip": "archive",
        "link.zip!/x": None,
        "pipe.zip": "not_regular_file",
    }


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (("*.dcm",), (), ["a.zip!/a.dcm", "a.zip!/sub/b.dcm"]),
        (("*.zip",), (), ["a.zip"]),
        (("*/sub/*",), (), ["a.zip!/sub/b.dcm", "a.zip!/sub/deep/c", "a.zip!/sub/deep/ü d.nii.gz"]),
        ((), ("*/sub/*",), ["a.zip", "a.zip!/a.dcm"]),
        ((), ("*.zip",), []),
        ((), ("*",), []),
    ],
)
def test_globs_choose_among_members(
    root: Path, include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    (root / "a.zip").write_bytes(zip_of(TREE))
    assert list(refs(root, include=include, exclude=exclude)) == expected


def test_damage_is_listed_though_a_glob_would_leave_it_out(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of(TREE)[:-30])
    assert problems(root, include=("*.dcm",)) == {"a.zip": "archive_damaged"}
    assert problems(root, exclude=("*.zip",)) == {}


# -- odd members -------------------------------------------------------------------------------------------


def test_names_are_data(root: Path) -> None:
    names = ["/etc/passwd", "../../outside", "a/../b", "C:\\x", "a//b", "line\nbreak", " ", "!/", "ü"]
    (root / "a.zip").write_bytes(zip_of({name: name.encode() for name in names}))
    (root / "a.tar").write_bytes(tar_of({name: name.encode() for name in names}))
    assert [path.removeprefix("a.zip!/") for path in refs(root) if path.startswith("a.zip!/")] == names
    assert inside(root, "a.tar") == {name: name.encode() for name in names}
    assert inside(root, "a.zip") == {name: name.encode() for name in names}


def test_names_that_are_not_utf8_are_kept_byte_by_byte(root: Path) -> None:
    plain, odd = b"NAME-HERE.dcm", b"cafe\xe9\xff\0\x80 .dcm"
    (root / "a.zip").write_bytes(zip_of({plain.decode(): b"zipped"}).replace(plain, odd))
    odd_tar = b"caf\xe9\xff.dcm"
    (root / "a.tar").write_bytes(tar_of({os.fsdecode(odd_tar): b"taped"}, form=tarfile.GNU_FORMAT))
    assert [ref.path for ref in source(root).list()] == [b"a.tar", b"a.tar!/" + odd_tar, b"a.zip", b"a.zip!/" + odd]
    with source(root).open(b"a.zip!/" + odd) as file:
        assert file.read() == b"zipped"
    with source(root).open(b"a.tar!/" + odd_tar) as file:
        assert file.read() == b"taped"


@pytest.mark.parametrize("ending", ENDINGS)
def test_members_of_one_name_are_all_kept(root: Path, ending: str) -> None:
    pairs = [("x", b"one"), ("x", b"two"), ("x!2", b"three"), ("x", b"four"), ("./x", b"five")]
    pairs = pairs[: 4 if ending == ".zip" else 5]
    (root / f"a{ending}").write_bytes(packed(pairs, ending))
    expected = {"x": b"one", "x!2": b"two", "x!2!2": b"three", "x!3": b"four", "x!4": b"five"}
    found = inside(root, f"a{ending}")
    assert found == {name: data for name, data in expected.items() if ending != ".zip" or name != "x!4"}


def test_folders_are_no_objects(root: Path) -> None:
    (root / "a.zip").write_bytes(zip_of({"f/": b"", "f/x": b"1", "g/": b"data behind the name of a folder"}))
    folder = tarfile.TarInfo("f")
    folder.type = tarfile.DIRTYPE
    (root / "b.tar").write_bytes(tar_with((folder, b"")))
    assert list(refs(root)) == ["a.zip", "a.zip!/f/x", "a.zip!/g/", "b.tar"]


def test_links_and_devices_in_a_tar_are_rows_and_a_second_name_is_a_file(root: Path) -> None:
    def entry(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return info, b""

    real = tarfile.TarInfo("./real")
    real.size = 5
    (root / "a.tar").write_bytes(
        tar_with(
            (real, b"12345"),
            entry("again", tarfile.LNKTYPE, "./real"),
            entry("lost", tarfile.LNKTYPE, "nowhere"),
            entry("soft", tarfile.SYMTYPE, "real"),
            entry("out", tarfile.SYMTYPE, "/etc/passwd"),
            entry("tty", tarfile.CHRTYPE),
            entry("disk", tarfile.BLKTYPE),
            entry("pipe", tarfile.FIFOTYPE),
            entry("label", b"V"),
        )
    )
    odd = ("lost", "soft", "out", "tty", "disk", "pipe", "label")
    assert problems(root) == {"a.tar": "archive", "a.tar!/real": None, "a.tar!/again": None} | {
        f"a.tar!/{name}": "not_regular_file" for name in odd
    }
    assert inside(root, "a.tar") == {"real": b"12345", "again": b"12345"}
    with pytest.raises(OSError, match="not a member"):
        source(root).open(b"a.tar!/soft")


def test_a_link_in_a_zip_is_a_row(root: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        modes = {"link": 0o120777, "file": 0o100644, "folder/": 0o040755, "piped": 0o010600, "pipe": 0o010600}
        for name, mode in modes.items():
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            archive.writestr(info, b"" if name in ("folder/", "pipe") else b"target")
    (root / "a.zip").write_bytes(out.getvalue())
    assert problems(root) == {
        "a.zip": "archive",
        "a.zip!/link": "not_regular_file",
        "a.zip!/file": None,
        "a.zip!/piped": None,  # `program | zip a.zip -` notes the pipe it came from
        "a.zip!/pipe": "not_regular_file",
    }


def test_a_sparse_member_is_a_row(root: Path) -> None:
    info = tarfile.TarInfo("sparse")
    info.size = 3
    info.pax_headers = {"GNU.sparse.map": "0,3", "GNU.sparse.size": "1000000"}
    (root / "a.tar").write_bytes(tar_with((info, b"abc")))
    assert problems(root) == {"a.tar": "archive", "a.tar!/sparse": "sparse_member"}


def test_what_cannot_be_unpacked_is_a_row(root: Path) -> None:
    flagged = bytearray(zip_of({"x": b"secret", "y": b"open"}))
    entry = entries_of(flagged)[0]
    flagged[entry + 8] |= 1
    (root / "a.zip").write_bytes(flagged)
    (root / "b.zip").write_bytes(zip_of({"x": b"abc" * 100}, zipfile.ZIP_LZMA))
    assert problems(root) == {
        "a.zip": "archive",
        "a.zip!/x": "encrypted_member",
        "a.zip!/y": None,
        "b.zip": "archive",
        "b.zip!/x": "unknown_compression",
    }


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_kind_of_tar_is_read(root: Path, form: int) -> None:
    long = "/".join(["folder-of-a-study"] * 8) + "/image.dcm"
    (root / "a.tar").write_bytes(tar_of({"x": b"1", long: b"2", "y": b"3"}, form=form))
    assert inside(root, "a.tar") == {"x": b"1", long: b"2", "y": b"3"}
    if form != tarfile.USTAR_FORMAT:
        longer = "n" * 4000
        (root / "b.tar").write_bytes(tar_of({longer: b"4"}, form=form))
        assert inside(root, "b.tar") == {longer: b"4"}


def test_the_tar_of_long_ago_is_read(root: Path) -> None:
    data = bytearray(tar_of({"x": b"abc"}, form=tarfile.USTAR_FORMAT))
    data[257:512] = bytes(255)  # V7 has no magic
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    (root / "a.tar").write_bytes(data)
    assert inside(root, "a.tar") == {"x": b"abc"}


def test_numbers_of_64_bits_are_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    data = zip_of(TREE, zipfile.ZIP_STORED)
    monkeypatch.undo()
    assert b"PK\6\6" in data
    (root / "a.zip").write_bytes(data)
    assert inside(root, "a.zip") == TREE


def test_a_place_beyond_all_bounds_is_damage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 20)
    data = bytearray(zip_of(TREE, zipfile.ZIP_STORED))
    monkeypatch.undo()
    struct.pack_into("<Q", data, data.rindex(b"PK\6\7") + 8, (1 << 64) - 1)
    (root / "a.zip").write_bytes(data)
    assert problems(root) == {"a.zip": "archive_damaged"}


def test_more_members_than_16_bits_count(root: Path) -> None:
    names = [f"{number:05d}" for number in range(66_000)]
    (root / "a.zip").write_bytes(zip_of((name, b"") for name in names))
    assert [path[-5:] for path in refs(root)][1:] == names


def test_a_remark_behind_the_archive_does_not_hide_it(root: Path) -> None:
    out = io.BytesIO(zip_of(TREE))
    with zipfile.ZipFile(out, "a") as archive:
        archive.comment = b"x" * 60_000
    (root / "a.zip").write_bytes(out.getvalue())
    assert inside(root, "a.zip") == TREE


def test_the_last_of_several_files_of_a_zip_says_that_it_is_not_whole(root: Path) -> None:
    data = bytearray(zip_of({"x": random.Random(1).randbytes(5000)}))
    end = data.rindex(b"PK\5\6")
    struct.pack_into("<HH", data, end + 4, 1, 1)
    (root / "a.zip").write_bytes(data[3000:])
    (root / "b.zip").write_bytes(b"text that quotes PK\5\6 " * 10)
    assert problems(root) == {"a.zip": "archive_damaged", "b.zip": None}


# -- damage ------------------------------------------------------------------------------------------------


def read_all(root: Path) -> tuple[dict[str, bytes], dict[str, str | None]]:
    """Bytes of every member that can be read to its end, and the problem of every object that cannot."""
    good, bad = {}, {}
    for path, ref in refs(root).items():
        if ref.problem is not None:
            bad[path] = ref.problem
            continue
        try:
            with source(root).open(os.fsencode(path)) as file:
                data = file.read()
                verify(file)
            good[path] = data
        except OSError:
            bad[path] = damage_of(file)
    return good, bad


@pytest.mark.parametrize(("ending", "kept"), [(".tar", {0, 1, 2, 3, 4}), (".tar.gz", {0, 1, 2, 3, 4}), (".zip", {0})])
def test_members_before_a_cut_stay(root: Path, ending: str, kept: set[int]) -> None:
    members = {f"{i}": random.Random(i).randbytes(3000) for i in range(5)}
    data = packed(members, ending)
    whole = len(data.rstrip(b"\0")) if ending == ".tar" else len(data)
    seen = set()
    for cut in range(600, whole, 509):
        (root / f"a{ending}").write_bytes(data[:cut])
        archives._at_hand.clear()
        good, bad = read_all(root)
        assert set(bad.values()) == {"archive_damaged"}
        assert all(members[name[-1]] == found for name, found in good.items())
        seen.add(len(good))
    assert seen == kept


def test_a_compressed_tar_without_its_checksum_is_damaged(root: Path) -> None:
    data = tar_of({"x": b"abc"}, "w:gz")
    for length, problem in {len(data) - 5: "archive_damaged", len(data): "archive"}.items():
        (root / "a.tgz").write_bytes(data[:length])
        archives._at_hand.clear()
        assert problems(root) == {"a.tgz": problem, "a.tgz!/x": None}


def test_a_tar_without_its_end_is_damaged(root: Path) -> None:
    data = tar_of({"x": b"abc", "y": b"def"})
    whole = len(data.rstrip(b"\0")) // 512 * 512 + 512
    for length, problem in {whole: "archive_damaged", whole + 511: "archive_damaged", whole + 512: "archive"}.items():
        (root / "a.tar").write_bytes(data[:length])
        assert problems(root) == {"a.tar": problem, "a.tar!/x": None, "a.tar!/y": None}


def test_something_behind_the_end_of_a_tar_is_not_passed_over(root: Path) -> None:
    (root / "a.tar").write_bytes(tar_of({"x": b"abc"}) + tar_of({"y": b"def"}))
    assert problems(root) == {"a.tar": "archive_damaged", "a.tar!/x": None}


@pytest.mark.parametrize("ending", [".tar.gz", ".tar.bz2", ".tar.xz"])
def test_no_member_of_a_stream_with_a_wrong_checksum_is_vouched_for(root: Path, ending: str) -> None:
    members = {f"{i}": random.Random(i).randbytes(3000) for i in range(5)}
    data = bytearray(packed(members, ending))
    data[len(data) // 2] ^= 4
    (root / f"a{ending}").write_bytes(data)
    found = problems(root)
    assert found[f"a{ending}"] == "archive_damaged"
    assert set(found.values()) == {"archive_damaged"}


def test_members_of_an_earlier_stream_with_the_right_checksum_stay(root: Path) -> None:
    data = tar_of({f"{i}": random.Random(i).randbytes(3072) for i in range(4)})
    second = bytearray(gzip.compress(data[7168:]))
    second[len(second) // 2] ^= 4
    (root / "a.tgz").write_bytes(gzip.compress(data[:7168]) + second)
    found = problems(root)
    assert (found["a.tgz!/0"], found["a.tgz!/1"], found["a.tgz!/2"]) == (None, None, "archive_damaged")


def test_a_damaged_header_ends_a_tar(root: Path) -> None:
    data = bytearray(tar_of({"x": b"abc", "y": b"def", "z": b"ghi"}, form=tarfile.USTAR_FORMAT))
    data[1024 + 150] ^= 1
    (root / "a.tar").write_bytes(data)
    assert problems(root) == {"a.tar": "archive_damaged", "a.tar!/x": None}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", [b"0", b"V", b"x", b"L"])
def test_a_negative_length_does_not_lead_back(root: Path, kind: bytes) -> None:
    data = bytearray(tar_of({"x": b"abc", "y": b"def"}, form=tarfile.GNU_FORMAT))
    data[1024 + 156] = kind[0]
    data[1024 + 124 : 1024 + 136] = (-1024).to_bytes(12, "big", signed=True)
    data[1024 + 148 : 1024 + 156] = b" " * 8
    data[1024 + 148 : 1024 + 156] = b"%06o\0 " % sum(data[1024:1536])
    (root / "a.tar").write_bytes(data)
    assert problems(root) == {"a.tar": "archive_damaged", "a.tar!/x": None}


@pytest.mark.parametrize(("size", "problem"), [(1_000_000, "archive"), (1_100_000, "archive_damaged")])
def test_headers_of_one_member_have_a_bound(root: Path, size: int, problem: str) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "c" * size}
    (root / "a.tgz").write_bytes(tar_with((info, b""), mode="w:gz"))
    assert problems(root)["a.tgz"] == problem


@pytest.mark.timeout(60)
def test_a_chain_of_headers_ends_the_walk(root: Path) -> None:
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "c"}
    header = tar_with((info, b""))[:1024]
    (root / "a.tgz").write_bytes(gzip.compress(header * 20_000))
    assert problems(root) == {"a.tgz": "archive_damaged"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_a_wrong_checksum_of_a_zip_member_is_damage_of_this_member(root: Path, compression: int) -> None:
    data = bytearray(zip_of({"x": TREE["sub/b.dcm"], "y": b"fine" * 100}, compression))
    entry = entries_of(data)[0]
    data[entry + 16] ^= 1
    (root / "a.zip").write_bytes(data)
    good, bad = read_all(root)
    assert good == {"a.zip!/y": b"fine" * 100}
    assert bad == {"a.zip": "archive", "a.zip!/x": "archive_damaged"}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("change", [-1, 1, 50])
def test_a_size_that_is_not_true_is_damage_and_no_more_is_read(root: Path, compression: int, change: int) -> None:
    data = bytearray(zip_of({"x": b"0123456789" * 20, "y": b"fine"}, compression))
    entry = entries_of(data)[0]
    data[entry + 24 : entry + 28] = struct.pack("<L", 200 + change)
    (root / "a.zip").write_bytes(data)
    if compression == zipfile.ZIP_STORED:  # known without a look at the bytes
        assert problems(root)["a.zip!/x"] == "archive_damaged"
    good, bad = read_all(root)
    assert good == {"a.zip!/y": b"fine"}
    assert bad["a.zip!/x"] == "archive_damaged"


def test_a_size_that_deflate_cannot_reach_is_not_believed(root: Path) -> None:
    data = bytearray(zip_of({"x": bytes(100_000)}))
    entry = entries_of(data)[0]
    (packed_size,) = struct.unpack_from("<L", data, entry + 20)
    for size, problem in {100_000: None, 1032 * packed_size: None, 1032 * packed_size + 1: "archive_damaged"}.items():
        data[entry + 24 : entry + 28] = struct.pack("<L", size)
        (root / "a.zip").write_bytes(data)
        archives._at_hand.clear()
        assert problems(root)["a.zip!/x"] == problem


def test_a_member_that_is_not_where_it_should_be_is_damage(root: Path) -> None:
    for offset in (5, 1 << 31):
        data = bytearray(zip_of({"x": b"abc", "y": b"def"}, zipfile.ZIP_STORED))
        entry = entries_of(data)[0]
        data[entry + 42 : entry + 46] = struct.pack("<L", offset)
        (root / "a.zip").write_bytes(data)
        archives._at_hand.clear()
        good, bad = read_all(root)
        assert (good, bad["a.zip!/x"]) == ({"a.zip!/y": b"def"}, "archive_damaged")


@pytest.mark.parametrize("field", ["count", "start", "size", "disk"])
def test_a_directory_that_contradicts_itself_is_damage(root: Path, field: str) -> None:
    data = bytearray(zip_of({"x": b"abc", "y": b"def"}))
    place, width = {"disk": (4, "H"), "count": (10, "H"), "size": (12, "L"), "start": (16, "L")}[field]
    end = data.rindex(b"PK\5\6")
    (before,) = struct.unpack_from("<" + width, data, end + place)
    struct.pack_into("<" + width, data, end + place, before + 1)
    (root / "a.zip").write_bytes(data)
    assert problems(root)["a.zip"] == "archive_damaged"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("ending", ENDINGS)
def test_no_mutation_raises_or_gives_other_bytes(root: Path, ending: str) -> None:
    members = {f"m{i}": random.Random(i).randbytes(400 + i).hex().encode() for i in range(4)}
    data = packed(members, ending)
    changed = 0
    for seed in range(250):
        choose = random.Random(seed)
        mutant = bytearray(data)
        for _ in range(choose.randrange(1, 4)):
            place = choose.randrange(len(mutant))
            if choose.random() < 0.7:
                mutant[place] = choose.randrange(256)
            else:
                mutant[place : place + 4] = choose.choice([b"\xff\xff\xff\xff", bytes(4), b"\0\0\0\x80", b""])
        (root / f"a{ending}").write_bytes(mutant)
        archives._at_hand.clear()
        good, bad = read_all(root)
        changed += bool(bad)
        if ending == ".tar":
            continue  # nothing in it tells whether the bytes of a member are right
        whole = [found for name, found in good.items() if "!/m" in name]
        assert all(found in members.values() for found in whole), seed
    assert changed > 100


# -- limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_number_of_members_has_a_limit(root: Path, ending: str) -> None:
    (root / f"a{ending}").write_bytes(packed(TREE, ending))
    whole = ArchiveLimits(members=4, member_bytes=1 << 40, ratio=10_000)
    assert len(refs(root, archives=whole)) == 5
    less = ArchiveLimits(members=3, member_bytes=1 << 40, ratio=10_000)
    assert problems(root, archives=less) == {f"a{ending}": "archive_too_many_members"}


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_size_of_a_member_has_a_limit(root: Path, ending: str) -> None:
    (root / f"a{ending}").write_bytes(packed(TREE, ending))
    largest = max(len(data) for data in TREE.values())
    for limit, problem in {largest: None, largest - 1: "member_too_large"}.items():
        found = problems(root, archives=ArchiveLimits(members=10, member_bytes=limit, ratio=10_000))
        assert found[f"a{ending}!/sub/b.dcm"] == problem
        assert [*found.values()].count("member_too_large") == (problem is not None)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.bz2", ".tar.xz"])
def test_what_an_archive_unpacks_to_has_a_limit(root: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed({"x": bytes(200_000), "y": bytes(200_000)}, ending)
    (root / f"a{ending}").write_bytes(data)
    least = 400_000 // len(data)
    tight = ArchiveLimits(members=10, member_bytes=1 << 40, ratio=least // 2)
    assert problems(root, archives=tight)[f"a{ending}"] == "archive"  # nothing below 1 GiB is a bomb
    monkeypatch.setattr(limits, "HARMLESS", 100_000)
    assert problems(root, archives=tight) == {f"a{ending}": "archive"} | {f"a{ending}!/{n}": None for n in "xy"}
    archives._at_hand.clear()
    assert problems(root, archives=tight) == {f"a{ending}": "archive_inflates_too_far"}
    wide = ArchiveLimits(members=10, member_bytes=1 << 40, ratio=least + 1 + 20_000 // len(data))
    assert problems(root, archives=wide)[f"a{ending}"] == "archive"


def test_a_huge_tar_is_refused_before_it_is_inflated(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tarfile.TarInfo("x")
    info.size = 1 << 45
    (root / "a.tar.bz2").write_bytes(bz2.compress(info.tobuf() + bytes(10_000_000)))
    sizes = []
    step = streams._Run.step
    monkeypatch.setattr(streams._Run, "step", lambda *a: (sizes.append(len(out := step(*a))), out)[1])
    assert problems(root) == {"a.tar.bz2": "archive_inflates_too_far"}
    assert sum(sizes) < 10_000


def test_zeros_behind_the_end_have_the_same_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HARMLESS", 1_000_000)
    (root / "a.tar.bz2").write_bytes(bz2.compress(tar_of({"x": b"abc"}) + bytes(50_000_000)))
    assert problems(root, archives=ArchiveLimits(10, 1 << 40, 1000)) == {"a.tar.bz2": "archive_inflates_too_far"}


def test_members_that_share_their_bytes_are_refused(root: Path) -> None:
    data = zip_of({"aa": random.Random(1).randbytes(5000), "bb": b""})
    first, second = entries_of(data)
    entry = data[first : first + 46] + b"bb"
    (root / "a.zip").write_bytes(data[:second] + entry + data[second + len(entry) :])
    assert problems(root) == {"a.zip": "archive_overlaps"}


def test_a_lying_count_of_members_allocates_nothing(root: Path) -> None:
    data = bytearray(zip_of({"x": b"abc"}))
    end = data.rindex(b"PK\5\6")
    struct.pack_into("<HH", data, end + 8, 65535, 65535)
    (root / "a.zip").write_bytes(data)
    assert problems(root) == {"a.zip": "archive_damaged", "a.zip!/x": None}


# -- at hand -----------------------------------------------------------------------------------------------


def test_the_directory_of_a_zip_is_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a.zip").write_bytes(zip_of({f"{i}": b"x" for i in range(50)}))
    read: list[int] = []
    inner = zips.ZipContents._read_directory
    monkeypatch.setattr(zips.ZipContents, "_read_directory", lambda self: (read.append(1), inner(self))[1])
    assert len(inside(root, "a.zip")) == 50
    assert read == [1]


def test_a_tar_is_walked_no_further_than_the_member(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a.tgz").write_bytes(tar_of({f"{i:03d}": b"x" * i for i in range(100)}, "w:gz"))
    steps: list[int] = []
    inner = TarContents._step
    monkeypatch.setattr(TarContents, "_step", lambda self: (steps.append(1), inner(self))[1])
    for name in ("030", "029", "030"):
        assert content(root, f"a.tgz!/{name}") == b"x" * int(name)
    assert len(steps) == 31


def test_few_archives_are_open_at_a_time(root: Path) -> None:
    for i in range(20):
        (root / f"{i:02d}.zip").write_bytes(zip_of({"x": b"%d" % i}))
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    held = source(root).open(b"00.zip!/x")
    for i in range(20):
        assert content(root, f"{i:02d}.zip!/x") == b"%d" % i
    assert len(archives._at_hand) == archives._OPEN
    if before:
        assert len(list(descriptors.iterdir())) <= before + archives._OPEN + 1
    assert held.read() == b"0"  # its archive is no longer at hand, but still open
    held.close()


def test_threads_may_read_the_same_archives(root: Path) -> None:
    data = {f"{i}": random.Random(i).randbytes(3000).hex().encode() for i in range(20)}
    for ending in ENDINGS:
        (root / f"a{ending}").write_bytes(packed(data, ending))
    wrong: list[str] = []

    def read(seed: int) -> None:
        choose = random.Random(seed)
        for _ in range(60):
            name = choose.choice(list(data))
            path = f"a{choose.choice(ENDINGS)}!/{name}"
            if content(root, path) != data[name]:
                wrong.append(path)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
