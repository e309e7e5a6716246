"""Buckets as sources, against a server that speaks S3: the same run as over the folder, a request a header."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from running import config_with
from s3_proxy import uploaded

import cohort
from cohort import pipeline
from cohort.errors import SourceError
from cohort.sources import ObjectStoreSource, open_source, open_sources

if TYPE_CHECKING:
    from pathlib import Path

    from s3_proxy import Proxy

    from cohort.phantom import PhantomTruth

HEAD = 16 * 1024


@pytest.fixture(scope="module")
def folder(truth: PhantomTruth) -> Path:
    return truth.root / "traps"


COMPARED = ("path", "size", "status", "reason", "SOPInstanceUID", "Modality", "PixelSpacing", "pixel_offset")


def rows(out: Path) -> list[dict[str, Any]]:
    found = cohort.open(out).run_folder.read("files", COMPARED).to_pylist()
    return sorted(found, key=lambda row: str(row["path"]))


def volumes(out: Path) -> list[tuple[Any, ...]]:
    frame = cohort.open(out).volumes
    names = ["volume_id", "status", "reason", "content_sha256", "regularly_spaced_3d_volume"]
    return sorted(frame[names].astype(str).itertuples(index=False, name=None))


@pytest.fixture(scope="module")
def local_out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "out"
    pipeline.run([str(folder)], out, config_with())
    return out


@pytest.mark.parametrize("proxied", [(0.0, 0.0), (0.1, 0.05)], indirect=True, ids=["calm", "stormy"])
def test_a_bucket_gives_what_the_folder_gives(
    client: Any, proxied: Proxy, folder: Path, local_out: Path, tmp_path: Path
) -> None:
    bucket = f"cohort-{'stormy' if proxied.refuse else 'calm'}"
    sizes = uploaded(client, folder, bucket)
    pipeline.run([f"s3://{bucket}/images"], tmp_path / "out", config_with())
    assert rows(tmp_path / "out") == rows(local_out)
    assert volumes(tmp_path / "out") == volumes(local_out)
    assert len(rows(tmp_path / "out")) == len(sizes)
    if proxied.refuse:
        assert proxied.refused > 20
        assert proxied.dropped > 10


def test_a_header_costs_one_request_and_no_more_than_the_beginning(
    client: Any, proxied: Proxy, truth: PhantomTruth, tmp_path: Path
) -> None:
    client.create_bucket(Bucket="large")
    image = next(iter(sorted((truth.root / "traps" / "missing-slice").iterdir()))).read_bytes()
    for number in range(20):
        client.put_object(Bucket="large", Key=f"{number}.dcm", Body=image + bytes(3_000_000))
    pipeline.scan(["s3://large"], tmp_path / "out", config_with())
    assert {row["status"] for row in rows(tmp_path / "out")} <= {"ok", "rejected"}
    read = {key: sent for key, sent in proxied.sent.items() if key.endswith(".dcm")}
    assert len(read) == 20
    assert max(read.values()) <= 2 * HEAD
    assert max(proxied.requests[key] for key in read) <= 2


def test_bytes_are_those_of_the_object(client: Any, environment: None) -> None:
    content = random.Random(1).randbytes(300_000)
    client.create_bucket(Bucket="bytes")
    client.put_object(Bucket="bytes", Key="a/b c.bin", Body=content)
    client.put_object(Bucket="bytes", Key="a/empty", Body=b"")
    source = open_source("s3://bytes/a")
    assert [(ref.path, ref.size, ref.problem) for ref in source.list()] == [
        (b"b c.bin", len(content), None), (b"empty", 0, None)
    ]  # fmt: skip
    with source.open(b"b c.bin") as file:
        assert file.read(10) == content[:10]
        assert file.seek(0, 2) == len(content)
        assert file.read(1) == b""
        for start, length in ((100_000, 50), (5, 200_000), (299_990, 100), (16_380, 16)):
            file.seek(start)
            assert file.read(length) == content[start : start + length]
        file.seek(0)
        assert file.read() == content
    with source.open(b"empty") as file:
        assert file.read() == b""
    with pytest.raises(FileNotFoundError), source.open(b"gone") as file:
        file.read()


def test_pydicom_reads_an_object_as_it_reads_a_file(client: Any, environment: None, truth: PhantomTruth) -> None:
    """As it must where only pydicom can tell: private headers of mosaics."""
    path = sorted((truth.root / "traps" / "missing-slice").iterdir())[0]
    client.create_bucket(Bucket="pydicom")
    client.put_object(Bucket="pydicom", Key="a.dcm", Body=path.read_bytes())
    with open_source("s3://pydicom").open(b"a.dcm") as file:
        assert pydicom.dcmread(file) == pydicom.dcmread(path)


def test_an_object_that_changes_while_it_is_read_is_no_mixture(client: Any, environment: None) -> None:
    client.create_bucket(Bucket="changing")
    client.put_object(Bucket="changing", Key="a", Body=b"1" * 200_000)
    with open_source("s3://changing").open(b"a") as file:
        assert file.read(100) == b"1" * 100
        client.put_object(Bucket="changing", Key="a", Body=b"2" * 200_000)
        with pytest.raises(OSError, match="Stale"):
            file.read()


def test_globs_choose_among_keys(client: Any, environment: None) -> None:
    client.create_bucket(Bucket="globs")
    for key in ("CT/1.dcm", "CT/2.txt", "MR/1.dcm"):
        client.put_object(Bucket="globs", Key=key, Body=b"x")
    source = ObjectStoreSource("s3://globs", include=["*.dcm"], exclude=["MR/*"])
    assert [ref.path for ref in source.list()] == [b"CT/1.dcm"]


def test_what_cannot_be_a_source_says_so(environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for url, words in (
        ("ftp://host/x", "no such kind of place"),
        ("s3://", "names no bucket"),
    ):
        with pytest.raises(SourceError, match=words):
            open_sources([url])
    with pytest.raises(SourceError, match="overlap"):
        open_sources(["s3://a/b", "s3://a/b/c"])
    with pytest.raises(SourceError, match="from-file"):
        open_sources(["s3://a/b"], from_file="x")
    with pytest.raises(SourceError, match="cannot list s3://is-not-there"):
        list(ObjectStoreSource("s3://is-not-there").list())
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(SourceError, match=r"cohort\[s3\]"):
        open_sources(["s3://a/b"])
