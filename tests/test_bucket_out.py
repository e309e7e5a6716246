"""OUT in a bucket: the same bytes as in a folder, whatever the network does; one run at a time; nothing outside."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest
from run_bytes import LOCK, in_folder, lock_of, without
from running import config_with
from s3_proxy import uploaded

import cohort
from cohort import pipeline
from cohort.errors import OutputError, RunError
from cohort.places import ObjectPath, place_of
from cohort.store import RunFolder
from cohort.store.object_lock import ObjectLock
from cohort.verify import DAMAGED, repair, verify

if TYPE_CHECKING:
    from s3_proxy import Proxy

    from cohort.phantom import PhantomTruth


KINDS = (
    "missing-slice",
    "enhanced-copy",
    "gantry-tilt",
    "exact-duplicates",
    "nifti-version-2",
    "dicom-truncated-pixels",
)


@pytest.fixture(scope="module")
def folder(truth: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some traps of the phantom cohort: a proxy in Python takes its time with each request."""
    chosen = tmp_path_factory.mktemp("images")
    for name in KINDS:
        shutil.copytree(truth.root / "traps" / name, chosen / name)
    zeros = nibabel.Nifti1Image(np.zeros((9, 8, 7), np.int16), np.eye(4))
    zeros.to_filename(
        chosen / "zeros.nii.gz"
    )  # its chunks hold nothing but the fill value, and are written all the same
    return chosen


@pytest.fixture(scope="module")
def local_out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("local") / "out"
    pipeline.run([str(folder)], out, config_with())
    return out


@pytest.fixture
def bucket(client: Any, request: pytest.FixtureRequest) -> str:
    """A new bucket, by its URL."""
    name = f"results-{abs(hash(request.node.name)) % 10**9}"
    client.create_bucket(Bucket=name)
    return f"s3://{name}"


def in_bucket(client: Any, url: str) -> dict[str, bytes]:
    """What a client of another library finds below a prefix."""
    name, _, prefix = url.removeprefix("s3://").partition("/")
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix=prefix):
        for one in page.get("Contents", ()):
            body = client.get_object(Bucket=name, Key=one["Key"])["Body"].read()
            found[one["Key"].removeprefix(prefix).lstrip("/")] = body
    return found


# -- the same bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("proxied", [(0.0, 0.0), (0.1, 0.05, 0.05, 0.3)], indirect=True, ids=["calm", "stormy"])
def test_a_bucket_holds_what_a_folder_holds(
    client: Any, proxied: Proxy, bucket: str, folder: Path, local_out: Path
) -> None:
    pipeline.run([str(folder)], f"{bucket}/deep/out", config_with())
    found = in_bucket(client, f"{bucket}/deep/out")
    assert without(found) == without(in_folder(local_out))
    assert in_bucket(client, bucket).keys() == {f"deep/out/{name}" for name in found}
    assert verify(RunFolder(place_of(f"{bucket}/deep/out")), deep=True) == []
    if proxied.refuse:
        assert proxied.refused > 20
        assert proxied.dropped > 10
        assert proxied.lost > 2
        assert proxied.delayed > 10


def test_from_a_bucket_to_a_bucket_by_the_command(
    client: Any, environment: None, bucket: str, folder: Path, tmp_path: Path
) -> None:
    uploaded(client, folder, "sources-of-the-command")
    source = "s3://sources-of-the-command/images"
    pipeline.run([source], tmp_path / "out", config_with())
    command = [sys.executable, "-m", "cohort", "run", source, "-o", f"{bucket}/out", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.rstrip().endswith(f"report: {bucket}/out/report.html")
    assert without(in_bucket(client, f"{bucket}/out")) == without(in_folder(tmp_path / "out"))


def test_every_verb_reads_a_bucket(
    client: Any, environment: None, bucket: str, folder: Path, local_out: Path, tmp_path: Path, cohort_command: Any
) -> None:
    out = f"{bucket}/out"
    pipeline.run([str(folder)], out, config_with())
    for verb in (["show"], ["verify", "--deep"], ["phi"], ["report", "--card", "claim"], ["check", "--format", "csv"]):
        here, there = (cohort_command(verb[0], place, *verb[1:]) for place in (str(local_out), out))
        assert (here.returncode, there.returncode) == (0, 0), there.stderr
        assert there.stdout.replace(out, "OUT") == here.stdout.replace(str(local_out), "OUT")
    compared = cohort_command("compare", str(local_out), out, "--json")
    assert json.loads(compared.stdout)["changed_series"] == []
    pipeline.stage("reduce", out, config_with(), from_voxels=True)
    mine, theirs = cohort.open(out), cohort.open(local_out)
    assert in_bucket(client, f"{out}/statistics") == in_folder(local_out / "statistics")
    chosen = theirs.volumes.dropna(subset="zarr_path")["volume_id"].iloc[0]
    np.testing.assert_array_equal(mine.volume(chosen), theirs.volume(chosen))
    assert len(mine.files.compute()) == len(theirs.files.compute())
    written = cohort_command("export", out, chosen, "--nifti", str(tmp_path / "image.nii"))
    assert written.returncode == 0, written.stderr


# -- what goes wrong ---------------------------------------------------------------------------------------


def test_a_run_that_could_not_go_on_is_taken_up_again(
    client: Any, proxied: Proxy, bucket: str, folder: Path, local_out: Path
) -> None:
    for writes in (3, 40, 60):
        proxied.writes_left = writes
        with pytest.raises((RunError, OutputError), match=r"cannot (read or )?write") as failure:
            pipeline.run([str(folder)], f"{bucket}/out", config_with())
        assert "run the same command again" in str(failure.value)
        proxied.writes_left = None
        for name, data in in_bucket(client, f"{bucket}/out/stages").items():
            assert data == (local_out / "stages" / name).read_bytes()
    pipeline.run([str(folder)], f"{bucket}/out", config_with())
    assert without(in_bucket(client, f"{bucket}/out")) == without(in_folder(local_out))


@pytest.mark.parametrize("wanted", ["files/", "volumes.zarr/", "statistics/partials/", "stages/ingest.json"])
def test_a_run_that_was_killed_is_taken_up_again(
    client: Any, proxied: Proxy, bucket: str, folder: Path, local_out: Path, wanted: str
) -> None:
    line = [sys.executable, "-m", "cohort", "run", str(folder), "-o", f"{bucket}/out", "--scheduler", "sync"]
    begun = f"/{bucket.removeprefix('s3://')}/out/{wanted}"
    run = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while run.poll() is None and not any(key.startswith(begun) for key in [*proxied.requests]):
        assert time.monotonic() < deadline
        time.sleep(0.001)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    assert LOCK in in_bucket(client, f"{bucket}/out")  # nobody gave it back
    pipeline.run([str(folder)], f"{bucket}/out", config_with())
    assert without(in_bucket(client, f"{bucket}/out")) == without(in_folder(local_out))


def test_a_changed_object_is_found_and_made_again(
    client: Any, environment: None, bucket: str, folder: Path, local_out: Path
) -> None:
    pipeline.run([str(folder)], f"{bucket}/out", config_with())
    run = RunFolder(place_of(f"{bucket}/out"))
    names = [name for name in in_bucket(client, f"{bucket}/out") if "/0/c/" in name or name.startswith("frames/")]
    for name in (names[0], names[-1]):
        place = run.path / name
        data = bytearray(place.read_bytes())
        data[len(data) // 2] ^= 16
        place.write_bytes(bytes(data))
    problems = verify(run, deep=True)
    assert {problem.kind for problem in problems} == {DAMAGED}
    assert len(problems) == 2
    repair(run, problems)
    pipeline.run([str(folder)], f"{bucket}/out", config_with())
    assert without(in_bucket(client, f"{bucket}/out")) == without(in_folder(local_out))


def test_begun_anew_nothing_of_before_is_left(client: Any, environment: None, bucket: str, folder: Path) -> None:
    out = place_of(f"{bucket}/out")
    pipeline.scan([str(folder)], out, config_with())
    assert isinstance(out, ObjectPath)
    (out / "volumes.zarr/CT/stale/zarr.json").write_text("{}")
    pipeline.scan([str(folder / "missing-slice")], out, config_with(), restart=True)
    found = in_bucket(client, str(out))
    assert not any(name.startswith("volumes.zarr") for name in found)
    assert sum(name.startswith("files/") for name in found) == 1


# -- one run at a time -------------------------------------------------------------------------------------


def test_another_run_is_named(environment: None, bucket: str, folder: Path) -> None:
    out = place_of(f"{bucket}/out")
    assert isinstance(out, ObjectPath)
    (out / LOCK).write_bytes(lock_of("elsewhere", 77))
    with pytest.raises(OutputError, match="process 77 on elsewhere"):
        pipeline.scan([str(folder)], out, config_with())
    assert (out / LOCK).read_bytes() == lock_of("elsewhere", 77)


def test_the_lock_of_a_dead_process_is_taken_and_given_back(environment: None, bucket: str, folder: Path) -> None:
    out = place_of(f"{bucket}/out")
    assert isinstance(out, ObjectPath)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (out / LOCK).write_bytes(lock_of(platform.node(), dead.pid))
    pipeline.scan([str(folder)], out, config_with())
    assert not (out / LOCK).exists()


def test_of_two_that_want_a_stale_lock_one_wins(environment: None, bucket: str) -> None:
    lock = place_of(f"{bucket}/out") / LOCK
    assert isinstance(lock, ObjectPath)
    lock.write_bytes(b"stale")
    seen = lock.read_tagged()
    assert seen is not None
    lock.write_bytes(b"first", instead_of=seen[1])
    with pytest.raises(FileExistsError):
        lock.write_bytes(b"second", instead_of=seen[1])
    with pytest.raises(FileExistsError):
        lock.write_bytes(b"third", new=True)
    assert lock.read_bytes() == b"first"


def test_a_beating_heart_neither_takes_back_a_lost_lock_nor_stops(environment: None, bucket: str) -> None:
    out = place_of(f"{bucket}/out")
    assert isinstance(out, ObjectPath)
    lock = ObjectLock(out)
    lock.acquire()
    before = (out / LOCK).stat().st_mtime
    time.sleep(1.1)  # the store tells whole seconds
    lock._beat_once()
    assert (out / LOCK).stat().st_mtime > before

    other = lock_of("elsewhere", 77)
    (out / LOCK).write_bytes(other)
    lock._beat_once()
    assert (out / LOCK).read_bytes() == other
    with pytest.raises(RunError, match="taken over"):
        lock.check()
    lock.release()
    assert (out / LOCK).read_bytes() == other


# -- what is refused ---------------------------------------------------------------------------------------


def test_an_out_inside_its_source_is_no_source(client: Any, environment: None, folder: Path) -> None:
    sizes = uploaded(client, folder, "both-in-one")
    for _ in range(2):  # the second time OUT is there
        info = pipeline.scan(["s3://both-in-one/images"], "s3://both-in-one/images/out", config_with())
        assert info["stages"]["scan"]["counts"]["objects"] == len(sizes)


@pytest.mark.parametrize(
    ("url", "words"),
    [("s3://not-there/out", "cannot use s3://not-there/out: there is no such bucket"),
     ("s3://only-a-bucket", "no place for results"), ("ftp://host/out", "no such kind of place")],
)  # fmt: skip
def test_what_cannot_be_a_place_says_so_in_a_line(
    environment: None, url: str, words: str, folder: Path, cohort_command: Any
) -> None:
    done = cohort_command("run", str(folder), "-o", url)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_secret_in_a_url_is_neither_taken_nor_printed(
    environment: None, bucket: str, folder: Path, cohort_command: Any
) -> None:
    url = "s3://key:tell-nobody@bucket/out"
    for arguments in (["run", str(folder), "-o", url], ["run", url, "-o", f"{bucket}/out"], ["show", url]):
        done = cohort_command(*arguments)
        assert done.returncode == 2
        assert "holds no credentials" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert "tell-nobody" not in done.stdout + done.stderr


def test_something_else_in_the_bucket_is_left_alone(environment: None, bucket: str, folder: Path) -> None:
    out = place_of(f"{bucket}/out")
    assert isinstance(out, ObjectPath)
    (out / "thesis.docx").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        pipeline.run([str(folder)], out, config_with(), restart=True)
    assert (out / "thesis.docx").read_text() == "mine"
