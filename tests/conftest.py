"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from running import config_with

from cohort import pipeline
from cohort.phantom import PhantomTruth, make_cohort

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from s3_proxy import Proxy

hypothesis.settings.register_profile("cohort", deadline=None)  # a busy machine makes no property false
hypothesis.settings.load_profile("cohort")


@pytest.fixture(scope="session")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PhantomTruth:
    """A phantom cohort with every trap."""
    return make_cohort(tmp_path_factory.mktemp("phantom") / "images")


@pytest.fixture(scope="session")
def run_out(truth: PhantomTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the phantom cohort, made in this process."""
    out = tmp_path_factory.mktemp("run") / "out"
    pipeline.run([str(truth.root)], out, config_with())
    return out


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real images, where there is one."""
    folder = os.environ.get("COHORT_DATA")
    if not folder:
        pytest.skip("COHORT_DATA names no folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def real_out(real_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the real images, made by the command with its default local cluster."""
    import subprocess
    import sys

    out = tmp_path_factory.mktemp("real") / "out"
    command = [sys.executable, "-m", "cohort", "run", str(real_images), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr
    return out


@pytest.fixture
def cohort_command() -> Callable[..., object]:
    """Run the command line in a process of its own; returns status, stdout and stderr."""
    import subprocess
    import sys

    def call(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cohort", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)  # type: ignore[call-overload]

    return call


# -- buckets -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def s3() -> Iterator[int]:
    """The port of a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
def environment(s3: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials and address of that server in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3}")


@pytest.fixture
def client(s3: int, environment: None) -> Any:
    """A client of that server, of another library than ours."""
    import boto3

    return boto3.client("s3", endpoint_url=f"http://127.0.0.1:{s3}", region_name="us-east-1")


@pytest.fixture
def proxied(s3: int, environment: None, monkeypatch: pytest.MonkeyPatch, request: Any) -> Iterator[Proxy]:
    """A proxy that refuses and cuts as the test's parameter says."""
    from s3_proxy import Proxy

    proxy = Proxy(s3, *getattr(request, "param", (0.0, 0.0)))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.server_port}")
    yield proxy
    proxy.shutdown()
    proxy.server_close()
