"""A run over an archive, or over a list, finds what a run over the folder finds."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from packing import entries_of, pack_folder, packed, zip_of
from running import config_with

import cohort
from cohort import headers, pipeline
from cohort.config import Config
from cohort.errors import OutputError
from cohort.phantom import PhantomTruth, make_series
from cohort.sources import ArchiveLimits, archives, open_sources, tars
from cohort.store import RunFolder

TABLES = ("series", "volumes", "statistics", "histograms", "spacing")


@pytest.fixture(autouse=True)
def nothing_at_hand() -> None:
    archives._at_hand.clear()


def rows(out: Path, columns: tuple[str, ...] = ("path", "status", "reason")) -> list[dict[str, Any]]:
    return list(RunFolder(out).read("files", columns).to_pylist())


def by_path(out: Path) -> dict[str, tuple[str, str | None]]:
    return {row["path"]: (row["status"], row["reason"]) for row in rows(out)}


def scanned(images: Path, out: Path, **options: Any) -> dict[str, tuple[str, str | None]]:
    config = config_with().with_options("scan", **options)
    pipeline.scan([str(images)], out, config)
    return by_path(out)


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Place, time and identity of every file but run.json, which says when a run began."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in ("run.json", "schema.json"))
    return {str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


# -- the same results --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "scheduler"), [(".zip", "sync"), (".tar.gz", "sync"), (".tar", "threads")])
def test_an_archive_gives_the_volumes_of_its_folder(
    truth: PhantomTruth, run_out: Path, tmp_path: Path, ending: str, scheduler: str
) -> None:
    (tmp_path / "images").mkdir()
    pack_folder(truth.root, tmp_path / "images" / f"cohort{ending}")
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config_with(scheduler))
    whole, found = RunFolder(run_out), RunFolder(tmp_path / "out")
    for table in TABLES:
        assert found.read(table).equals(whole.read(table)), table
    assert found.read("volumes", ["content_sha256"])["content_sha256"].null_count < len(truth.volumes) / 2
    start = f"cohort{ending}!/"
    assert findings(found, start) == findings(whole, start)
    columns = [
        name for name in whole.read("files").column_names if name not in ("source", "path", "path_raw", "modified")
    ]
    expected = {row["path"]: row for row in whole.read("files").to_pylist()}
    members = {row["path"].removeprefix(start): row for row in found.read("files").to_pylist()}
    archive = members.pop(f"cohort{ending}")
    assert (archive["status"], archive["reason"], archive["is_image"]) == ("not_imaging", "archive", False)
    assert {path: [_known(row[name]) for name in columns] for path, row in members.items()} == {
        path: [_known(row[name]) for name in columns] for path, row in expected.items()
    }


def findings(run: RunFolder, start: str) -> Counter[tuple[str, str, str]]:
    table = run.read("findings", ["code", "subject", "evidence"]).to_pylist()
    return Counter((row["code"], row["subject"].removeprefix(start), row["evidence"]) for row in table)


def _known(value: Any) -> Any:
    """A value that equals itself, NaN too."""
    return repr(value)


@pytest.mark.cluster
def test_processes_read_archives_too(tmp_path: Path) -> None:
    make_series(tmp_path / "series", files=300, rows=16, columns=16)
    (tmp_path / "images").mkdir()
    for ending in (".zip", ".tar.gz"):
        pack_folder(tmp_path / "series", tmp_path / "images" / f"c{ending}")
    for name, config in {"one": config_with(), "two": config_with("local", workers=2)}.items():
        pipeline.run([str(tmp_path / "images")], tmp_path / name, config)
    for table in ("files", *TABLES):
        assert RunFolder(tmp_path / "two").read(table).equals(RunFolder(tmp_path / "one").read(table)), table
    assert cohort.open(tmp_path / "one").run_folder.committed("scan")["counts"]["images"] == 600


# -- what becomes of odd ones ------------------------------------------------------------------------------


def test_every_object_has_a_status_and_a_reason(tmp_path: Path, truth: PhantomTruth) -> None:
    images = tmp_path / "images"
    images.mkdir()
    slices = sorted((truth.root / "traps" / "missing-slice").iterdir())
    one = slices[0].read_bytes()
    flagged = bytearray(zip_of({"locked.dcm": one, "open.dcm": one, "inner.zip": zip_of({"x": one})}))
    flagged[entries_of(flagged)[0] + 8] |= 1
    (images / "a.zip").write_bytes(flagged)
    (images / "cut.zip").write_bytes(zip_of({"x.dcm": one})[:-10])
    for name, ending in {"hidden.bin": ".zip", "hidden.dat": ".tar", "hidden.x": ".tar.gz", "hidden": ".tgz"}.items():
        (images / name).write_bytes(packed({"x.dcm": one}, ending))
    (images / "hidden.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    (images / "no.zip").write_bytes(b"text" * 100)
    member = ("not_imaging", "archive_not_opened")
    expected = {
        "a.zip": ("not_imaging", "archive"),
        "a.zip!/locked.dcm": ("rejected", "encrypted_member"),
        "a.zip!/open.dcm": ("ok", None),
        "a.zip!/inner.zip": member,
        "cut.zip": ("rejected", "archive_damaged"),
        "no.zip": ("not_imaging", "not_dicom_or_nifti"),
    } | dict.fromkeys(("hidden.bin", "hidden.dat", "hidden.x", "hidden", "hidden.7z"), member)
    assert scanned(images, tmp_path / "out") == expected
    alone = scanned(images, tmp_path / "alone", archives=False)
    assert alone == {
        path: (member if path in ("a.zip", "cut.zip") else found) for path, found in expected.items() if "!" not in path
    }
    pipeline.run([str(images)], tmp_path / "out", config_with())
    codes = Counter(RunFolder(tmp_path / "out").read("findings", ["code"])["code"].to_pylist())
    assert (codes["FILE-ARCHIVE"], codes["FILE-NOT-IMAGING"], codes["FILE-REJECTED"]) == (6, 1, 2)


def test_limits_of_the_configuration_are_used(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.zip").write_bytes(zip_of({"x": b"1", "y": b"2", "z": bytes(3 << 20)}))
    found = scanned(images, tmp_path / "few", archive_members=2)
    assert found == {"a.zip": ("rejected", "archive_too_many_members")}
    found = scanned(images, tmp_path / "small", archive_member_mib=2)
    assert found["a.zip!/z"] == ("rejected", "member_too_large")
    assert scanned(images, tmp_path / "all", archive_members=3, archive_member_mib=3)["a.zip!/z"][0] == "not_imaging"


@pytest.mark.parametrize(("compression", "place"), [(zipfile.ZIP_STORED, 300), (zipfile.ZIP_STORED, -300), (8, None)])
def test_a_wrong_checksum_is_found_when_pixels_are_read(tmp_path: Path, compression: int, place: int | None) -> None:
    make_series(tmp_path / "series", files=4, rows=160, columns=160)
    members = {path.name: path.read_bytes() for path in sorted((tmp_path / "series").rglob("*.dcm"))}
    data = bytearray(zip_of(members, compression))
    if place is None:  # to a reader it is the same whether the bytes are wrong or the checksum
        data[entries_of(data)[1] + 16] ^= 1
    else:
        second = list(members.values())[1]
        start = data.index(second)
        data[start + (place if place > 0 else len(second) + place)] ^= 1
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.zip").write_bytes(data)
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config_with())
    assert set(by_path(tmp_path / "out").values()) == {("not_imaging", "archive"), ("ok", None)}
    (volume,) = RunFolder(tmp_path / "out").read("volumes", ["status", "reason", "zarr_path"]).to_pylist()
    assert volume == {"status": "rejected", "reason": "archive_damaged", "zarr_path": None}


def test_damage_in_a_header_is_the_reason_of_its_row(tmp_path: Path, truth: PhantomTruth) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (name, data), *_ = ((p.name, p.read_bytes()) for p in sorted((truth.root / "traps" / "missing-slice").iterdir()))
    nifti = next(path for path in truth.root.rglob("*.nii.gz")).read_bytes()
    whole = bytearray(zip_of({name: data, "image.nii.gz": nifti}))
    for entry in entries_of(whole):
        (size,) = struct.unpack_from("<L", whole, entry + 24)
        struct.pack_into("<L", whole, entry + 24, size - 1)  # now the stream goes on behind the end
    (images / "a.zip").write_bytes(whole)
    found = scanned(images, tmp_path / "out")
    assert found == {
        "a.zip": ("not_imaging", "archive"),
        f"a.zip!/{name}": ("rejected", "archive_damaged"),
        "a.zip!/image.nii.gz": ("rejected", "archive_damaged"),
    }


def test_an_archive_that_goes_away_during_a_run_is_vanished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.zip").write_bytes(zip_of({"x": b"1", "y": b"2"}))
    read = headers._read_shards

    def gone(*arguments: Any) -> Any:
        (images / "a.zip").unlink()
        return read(*arguments)

    monkeypatch.setattr(headers, "_read_shards", gone)
    found = scanned(images, tmp_path / "out")
    assert found == {"a.zip": ("not_imaging", "archive")} | dict.fromkeys(
        ("a.zip!/x", "a.zip!/y"), ("vanished", "vanished")
    )


# -- again -------------------------------------------------------------------------------------------------


@pytest.fixture
def packed_series(tmp_path: Path) -> Path:
    make_series(tmp_path / "series", files=30, rows=8, columns=8)
    images = tmp_path / "images"
    images.mkdir()
    for ending in (".zip", ".tar", ".tar.gz"):
        pack_folder(tmp_path / "series", images / f"c{ending}")
    return images


def test_the_same_command_again_touches_nothing_and_walks_no_tar(
    packed_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    pipeline.run([str(packed_series)], out, config_with())
    before = state(out)
    archives._at_hand.clear()
    monkeypatch.setattr(tars.TarContents, "_step", lambda self: pytest.fail("a tar was walked"))
    pipeline.run([str(packed_series)], out, config_with())
    assert state(out) == before


def test_members_of_a_changed_archive_are_read_again(packed_series: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    scanned(packed_series, out)
    for path in sorted((tmp_path / "series").rglob("*.dcm"))[:3]:
        path.unlink()
    (tmp_path / "series" / "new.txt").write_bytes(b"new")
    for archive in packed_series.iterdir():
        modified = archive.stat().st_mtime_ns
        pack_folder(tmp_path / "series", archive)
        os.utime(archive, ns=(modified + 1, modified + 1))
    found = scanned(packed_series, out)
    assert found == scanned(packed_series, tmp_path / "fresh")
    assert len(found) == 3 * (1 + 28)


def test_what_was_listed_with_other_options_is_not_taken_over(packed_series: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "out", config_with()
    limits = ArchiveLimits(1000, 1 << 40, 10_000)
    headers.scan(RunFolder(out), open_sources([str(packed_series)], archives=limits), config)
    assert len(by_path(out)) == 3 * 31
    other = config.with_options("scan", include=["*1.dcm"])
    headers.scan(RunFolder(out), open_sources([str(packed_series)], archives=limits, include=["*1.dcm"]), other)
    assert {path[-5:] for path in by_path(out)} == {"1.dcm"}


def test_an_archive_larger_than_a_shard_is_taken_over_whole(packed_series: Path, tmp_path: Path) -> None:
    config = Config(scan=dataclasses.replace(Config().scan, shard_size=7), cluster=config_with().cluster)
    pipeline.scan([str(packed_series)], tmp_path / "out", config)
    first = rows(tmp_path / "out", ("path", "size", "modified"))
    (packed_series / "0").write_bytes(b"moves every shard")
    archives._at_hand.clear()
    pipeline.scan([str(packed_series)], tmp_path / "out", config)
    assert rows(tmp_path / "out", ("path", "size", "modified"))[1:] == first


# -- lists on the command line -----------------------------------------------------------------------------


def call(*arguments: str, cwd: Path | None = None, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cohort", *arguments, "--scheduler", "sync"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(command, capture_output=True, input=data, timeout=300, check=False, cwd=cwd, env=environment)


@pytest.fixture
def image_folder(tmp_path: Path, truth: PhantomTruth) -> Path:
    shutil.copytree(truth.root / "traps" / "missing-slice", tmp_path / "images")
    return tmp_path / "images"


def test_a_list_of_all_files_gives_the_bytes_of_the_folder(image_folder: Path, tmp_path: Path) -> None:
    names = [os.fsencode(path.relative_to(image_folder)) for path in image_folder.rglob("*") if path.is_file()]
    random.Random(1).shuffle(names)
    (tmp_path / "list").write_bytes(b"\0".join(names))
    out, piped, whole = tmp_path / "out", tmp_path / "piped", tmp_path / "whole"
    done = call("scan", str(image_folder), "--from-file", str(tmp_path / "list"), "-o", str(out))
    assert done.returncode == 0, done.stderr
    done = call("scan", "--from-file", "-", "-o", str(piped), cwd=image_folder, data=b"\n".join(names))
    assert done.returncode == 0, done.stderr
    assert call("scan", str(image_folder), "-o", str(whole)).returncode == 0
    everything = {path.relative_to(whole) for path in whole.rglob("*") if path.is_file()}
    for name in everything - {Path("run.json")}:
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
        assert (piped / name).read_bytes() == (whole / name).read_bytes(), name


def test_scan_takes_a_list_and_the_same_list_again_touches_nothing(image_folder: Path, tmp_path: Path) -> None:
    some = sorted(image_folder.rglob("*.dcm"))[:3]
    lines = b"".join(os.fsencode(path) + b"\n" for path in [*some, image_folder / "gone.dcm"])
    out = tmp_path / "out"
    arguments = ("scan", "--from-file", "-", "-o", str(out), "--json")
    done = call(*arguments, data=lines)
    assert json.loads(done.stdout)["status"] == {"ok": 3, "vanished": 1}, done.stderr
    before = state(out)
    assert call(*arguments, data=b"\n" + lines + lines).returncode == 0
    assert state(out) == before
    assert call(*arguments, data=os.fsencode(some[0]) + b"\n" + os.fsencode(some[1])).returncode == 0
    assert len(by_path(out)) == 2  # what is no longer listed leaves


@pytest.mark.parametrize(
    ("arguments", "data", "word"),
    [
        (["{images}", "--from-file", "-"], b"../secret-name\n", "line 1 of the list"),
        (["{images}", "--from-file", "-"], b"\n\n", "names no file"),
        (["{images}", "--from-file", "nowhere"], b"", "cannot read the list"),
        (["{images}", "{out}", "--from-file", "-"], b"x", "one SOURCE"),
        (["{images}", "--from-file", "-", "--include", "*.xyz"], b"x", "nothing to read"),
        ([], b"", "no source given"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "scan"])
def test_misuse_of_a_list_is_one_line_and_writes_nothing(
    image_folder: Path, verb: str, arguments: list[str], data: bytes, word: str
) -> None:
    out = image_folder.parent / "out"
    given = [text.format(images=image_folder, out=out) for text in arguments]
    done = call(verb, *given, "-o", str(out), data=data)
    (line,) = done.stderr.decode().strip().splitlines()
    assert (done.returncode, done.stdout) == (2, b"")
    assert word in line
    assert "secret-name" not in line
    assert not out.exists()


def test_a_run_over_a_list_is_not_continued_over_the_folder(image_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"\n".join(os.fsencode(path) for path in image_folder.iterdir()))
    out, named = tmp_path / "out", str(tmp_path / "list")
    pipeline.scan([str(image_folder)], out, config_with(), from_file=named)
    pipeline.scan([str(image_folder)], out, config_with(), from_file=named)
    with pytest.raises(OutputError, match="with --from-file"):
        pipeline.scan([str(image_folder)], out, config_with())
    pipeline.stage("assemble", out, config_with())
    assert RunFolder(out).info()["from_file"] is True
    pipeline.scan([str(image_folder)], out, config_with(), restart=True)
    with pytest.raises(OutputError, match="without --from-file"):
        pipeline.scan([str(image_folder)], out, config_with(), from_file=named)
