"""Buckets as sources, against a server that speaks S3: the same run as over the folder, a request a header."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from running import config_with

import cohort
from cohort import pipeline
from cohort.errors import SourceError
from cohort.sources import ObjectStoreSource, open_source, open_sources

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cohort.phantom import PhantomTruth

HEAD = 16 * 1024


class Proxy(ThreadingHTTPServer):
    """Stands before the server: counts bytes, refuses and cuts answers as told, by a seeded generator."""

    def __init__(self, port: int, refuse: float = 0.0, cut: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.refuse, self.cut = port, refuse, cut
        self.random, self.lock = random.Random(7), threading.Lock()
        self.sent: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.refused = self.dropped = 0

    def chance(self, share: float) -> bool:
        with self.lock:
            return self.random.random() < share


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        self._pass_on("GET")

    def do_HEAD(self) -> None:
        self._pass_on("HEAD")

    def _pass_on(self, method: str) -> None:
        server = self.server
        if server.chance(server.refuse):
            server.refused += 1
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        upstream = http.client.HTTPConnection("127.0.0.1", server.upstream)
        upstream.request(method, self.path, headers=dict(self.headers))
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        key = self.path.split("?")[0]
        server.requests[key] += 1
        server.sent[key] += len(body)
        if body and server.chance(server.cut):
            server.dropped += 1
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def s3() -> Iterator[int]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def environment(s3: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3}")


@pytest.fixture
def client(s3: int, environment: None) -> Any:
    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{s3}", region_name="us-east-1")


@pytest.fixture
def proxied(s3: int, environment: None, monkeypatch: pytest.MonkeyPatch, request: Any) -> Iterator[Proxy]:
    """A proxy that refuses and cuts as the test's parameter says."""
    proxy = Proxy(s3, *getattr(request, "param", (0.0, 0.0)))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    yield proxy
    proxy.shutdown()
    proxy.server_close()


def uploaded(client: Any, folder: Path, bucket: str) -> dict[str, int]:
    """Upload a folder; key -> size."""
    client.create_bucket(Bucket=bucket)
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = path.relative_to(folder).as_posix()
            client.put_object(Bucket=bucket, Key=f"images/{key}", Body=path.read_bytes())
            found[key] = path.stat().st_size
    return found


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
