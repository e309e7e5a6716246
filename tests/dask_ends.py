"""A Dask scheduler and its workers, started by Dask's own commands as a user would, and certificates for them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from distributed.security import Security

_DASK = (sys.executable, "-m", "dask")


def certificates(folder: Path) -> dict[str, str]:
    """An authority of its own and a certificate that it signed, as Dask makes them for one session."""
    made = Security.temporary()
    files = {"ca": made.tls_ca_file, "cert": made.tls_client_cert, "key": made.tls_client_key}
    for name, content in files.items():
        (folder / f"{name}.pem").write_text(content)
    return {name: str(folder / f"{name}.pem") for name in files}


def tls_options(files: dict[str, str]) -> tuple[str, ...]:
    """Options of `dask scheduler` and `dask worker` for certificates."""
    return ("--tls-ca-file", files["ca"], "--tls-cert", files["cert"], "--tls-key", files["key"])


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the folder of its log until the end of the block."""
    with log.open("ab") as output:
        process = subprocess.Popen(command, cwd=log.parent, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
        process.wait()


@contextmanager
def dask_scheduler(folder: Path, *options: str, host: str = "127.0.0.1", prefix: Sequence[str] = ()) -> Iterator[Path]:
    """Start a scheduler that logs to `scheduler.log`; yields its scheduler file."""
    file = folder / "scheduler.json"
    file.unlink(missing_ok=True)
    wanted = ("scheduler", "--host", host, "--port", "0", "--no-dashboard", "--scheduler-file", str(file), *options)
    with running([*prefix, *_DASK, *wanted], folder / "scheduler.log") as process:
        while not _is_json(file):
            if process.poll() is not None:
                raise AssertionError((folder / "scheduler.log").read_text())
            time.sleep(0.05)
        yield file


def _is_json(file: Path) -> bool:
    try:
        json.loads(file.read_text())
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def dask_worker(file: Path, *options: str, name: str = "worker", prefix: Sequence[str] = ()) -> Iterator[None]:
    """Start a worker of one thread that logs to a file of its name."""
    wanted = ("worker", "--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--name", name, *options)
    with running([*prefix, *_DASK, *wanted], file.with_name(f"{name}.log")):
        yield


@contextmanager
def dask_processes(folder: Path, *options: str, workers: int = 1) -> Iterator[str]:
    """Start a scheduler and workers on this machine; yields the address."""
    tls = [option for option in options if option not in ("--protocol", "tls")]
    with ExitStack() as stack:
        file = stack.enter_context(dask_scheduler(folder, *options))
        for number in range(workers):
            stack.enter_context(dask_worker(file, *tls, name=f"worker-{number}"))
        yield str(json.loads(file.read_text())["address"])
