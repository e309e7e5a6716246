"""A container of Azure as source and as OUT, against Azurite, its emulator: the same bytes as in folders."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
from run_bytes import LOCK, in_folder, lock_of, without
from running import config_with

import cohort
from cohort import pipeline
from cohort.errors import OutputError, RunError
from cohort.places import ObjectPath, place_of
from cohort.store import RunFolder
from cohort.store.object_lock import ObjectLock
from cohort.verify import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cohort.phantom import PhantomTruth

ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # known to all
KINDS = ("missing-slice", "enhanced-copy", "exact-duplicates", "nifti-version-2", "dicom-truncated-pixels")


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a blob service."""
    command = shutil.which("azurite-blob")
    if command is None:  # it needs Node.js; .ci/run installs both
        pytest.skip("no azurite-blob on the PATH: npm install azurite")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("azurite")
    options = ["--blobPort", str(port), "--location", str(folder), "--silent", "--skipApiVersionCheck"]
    server = subprocess.Popen([command, *options], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
    yield f"http://127.0.0.1:{port}"
    server.terminate()
    server.wait()


@pytest.fixture
def blobs(azurite: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of that service, of another library than ours; the environment names service and account for ours."""
    from azure.storage.blob import BlobServiceClient

    monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
    monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", azurite)
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    return BlobServiceClient(f"{azurite}/{ACCOUNT}", credential=KEY)


@pytest.fixture
def container(blobs: Any, request: pytest.FixtureRequest) -> str:
    """A new container, by its URL."""
    name = f"results-{abs(hash(request.node.name)) % 10**9}"
    blobs.create_container(name)
    return f"az://{name}"


@pytest.fixture(scope="module")
def folder(truth: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    chosen = tmp_path_factory.mktemp("images")
    for name in KINDS:
        shutil.copytree(truth.root / "traps" / name, chosen / name)
    return chosen


def in_container(blobs: Any, url: str) -> dict[str, bytes]:
    name, _, prefix = url.removeprefix("az://").partition("/")
    client = blobs.get_container_client(name)
    keys = [blob.name for blob in client.list_blobs(name_starts_with=prefix)]
    return {key.removeprefix(prefix).lstrip("/"): client.download_blob(key).readall() for key in keys}


def uploaded(blobs: Any, folder: Path, name: str) -> int:
    """Upload a folder below `images/`; returns the number of files."""
    client = blobs.create_container(name)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    for path in paths:
        client.upload_blob(f"images/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return len(paths)


def test_a_container_holds_what_a_folder_holds(blobs: Any, container: str, folder: Path, tmp_path: Path) -> None:
    pipeline.run([str(folder)], tmp_path / "out", config_with())
    pipeline.run([str(folder)], f"{container}/deep/out", config_with())
    found = in_container(blobs, f"{container}/deep/out")
    assert without(found) == without(in_folder(tmp_path / "out"))
    assert in_container(blobs, container).keys() == {f"deep/out/{name}" for name in found}
    assert verify(RunFolder(place_of(f"{container}/deep/out")), deep=True) == []


def test_from_a_container_to_a_container_by_the_command(
    blobs: Any, container: str, folder: Path, tmp_path: Path, cohort_command: Any
) -> None:
    files = uploaded(blobs, folder, "sources-of-the-command")
    source = "az://sources-of-the-command/images"
    pipeline.run([source], tmp_path / "out", config_with())
    assert len(cohort.open(tmp_path / "out").files.compute()) == files
    done = cohort_command("run", source, "-o", f"{container}/out", "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert without(in_container(blobs, f"{container}/out")) == without(in_folder(tmp_path / "out"))
    pipeline.scan([str(folder)], f"{container}/out", config_with(), restart=True)
    assert not any(name.startswith("volumes.zarr") for name in in_container(blobs, f"{container}/out"))


def test_one_run_at_a_time(blobs: Any, container: str, folder: Path) -> None:
    out = place_of(f"{container}/out")
    assert isinstance(out, ObjectPath)
    lock = ObjectLock(out)
    lock.acquire()
    with pytest.raises(OutputError, match="being written by another run"):
        pipeline.scan([str(folder)], out, config_with())
    lock._beat_once()
    lock.check()
    seen = (out / LOCK).read_tagged()
    assert seen is not None
    other = lock_of("elsewhere", 77)
    (out / LOCK).write_bytes(other)
    for condition in ({"instead_of": seen[1]}, {"new": True}):
        with pytest.raises(FileExistsError):
            (out / LOCK).write_bytes(b"", **condition)  # type: ignore[arg-type]
    lock._beat_once()
    with pytest.raises(RunError, match="taken over"):
        lock.check()
    lock.release()
    assert (out / LOCK).read_bytes() == other


def test_what_is_not_there_says_so_in_a_line(blobs: Any, folder: Path, tmp_path: Path, cohort_command: Any) -> None:
    for line in (
        ["run", str(folder), "-o", "az://not-there/out"],
        ["run", "az://not-there", "-o", str(tmp_path / "o")],
    ):
        done = cohort_command(*line)
        assert done.returncode == 2
        assert "there is no such bucket" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
