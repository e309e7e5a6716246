"""A SLURM of two nodes on this machine, from Debian's packages: a munge and a configuration of its own."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

NODES = ("n1", "n2")
PARTITION = "work"

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "sinfo")
_PATIENCE = 60.0  # seconds for the nodes to come up

_CONFIGURATION = """\
ClusterName=cohort
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdSpoolDir={folder}/spool-%n
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=16000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=16000
PartitionName={partition} Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
PartitionName=closed Nodes=n1,n2 State=INACTIVE
"""


class Slurm:
    """The SLURM while it runs.

    Parameters
    ----------
    folder : Path
        Its configuration and logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def call(self, *command: str) -> str:
        """Run one of its commands and return what it prints."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self, state: str = "RUNNING") -> dict[str, str]:
        """Return the jobs in a state, and the node of each."""
        lines = self.call("squeue", "--noheader", "--states", state, "--format", "%A %N").splitlines()
        return {line.split()[0]: (line.split()[1:] or [""])[0] for line in lines}

    def cancel(self, jobs: Sequence[str]) -> None:
        """Cancel jobs: they get SIGTERM, and SIGKILL after five seconds."""
        if jobs:
            self.call("scancel", *jobs)


def lacking() -> str | None:
    """Return why there can be no SLURM here, None where there can."""
    if os.geteuid() != 0:
        return "a SLURM of two nodes needs root"
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    return f"there is no {', '.join(missing)}: apt-get install slurmctld slurmd slurm-client munge" if missing else None


@contextmanager
def slurm() -> Iterator[Slurm]:
    """Start a SLURM, and stop all of it."""
    with ExitStack() as stack:
        # munge refuses folders below one that all may write to
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cohort-slurm-", dir="/run")))
        folder.chmod(0o755)
        made = Slurm(folder)
        _configure(folder)
        munge = [
            f"--{name}={folder}/munge.{name.split('-')[0]}" for name in ("socket", "pid-file", "log-file", "seed-file")
        ]
        daemons: list[Sequence[str]] = [("munged", "--foreground", f"--key-file={folder}/munge.key", *munge)]
        daemons.append(("slurmctld", "-D", "-c"))
        daemons += [("slurmd", "-D", "-c", "-N", node) for node in NODES]
        for command in daemons:
            stack.enter_context(_daemon(command, made))
            time.sleep(0.5)
        _wait_for_nodes(made)
        yield made
        with contextlib.suppress(RuntimeError):
            made.cancel([*made.jobs(), *made.jobs("PENDING")])


def _configure(folder: Path) -> None:
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    text = _CONFIGURATION.format(folder=folder, host=platform.node(), ports=_free_ports(3), partition=PARTITION)
    (folder / "slurm.conf").write_text(text)
    for name in ("state", *(f"spool-{node}" for node in NODES)):
        (folder / name).mkdir()


def _free_ports(number: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _daemon(command: Sequence[str], made: Slurm) -> Iterator[None]:
    log = made.folder / f"{command[0]}-{command[-1].strip('-/')[-8:]}.out"
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=made.environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for_nodes(made: Slurm) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with contextlib.suppress(RuntimeError):
            found = made.call("sinfo", "--noheader", "--partition", PARTITION, "--Node", "--format", "%N %t").split()
            if found == [word for node in NODES for word in (node, "idle")]:
                return
        if time.monotonic() > deadline:
            logs = "\n".join(
                f"{path.name}: {path.read_text(errors='replace')[-800:]}" for path in made.folder.glob("*.[ol]*g")
            )
            raise RuntimeError(f"SLURM did not come up\n{logs}")
        time.sleep(0.2)
