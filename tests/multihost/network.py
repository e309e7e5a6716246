"""Hosts of a network of their own: Linux network namespaces on a bridge. Needs root; no other network is touched.

The head holds the bridge, each host a cable to it. All addresses and links live inside the namespaces and go with them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_OURS = "cohort-test"
_INTERFACE = "eth0"  # of every host, the head too: the name that a configuration can give


class Host(NamedTuple):
    """A namespace and its address."""

    name: str
    address: str
    number: int

    @property
    def prefix(self) -> tuple[str, ...]:
        """What goes before a command that is to run on this host; it dies with the process that started it."""
        return ("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.name)


class Network(NamedTuple):
    """A head and hosts that reach each other and nothing else."""

    head: Host
    hosts: tuple[Host, ...]

    def cut(self, host: Host) -> None:
        """Pull the cable of a host."""
        _ip("-n", self.head.name, "link", "set", f"to-{host.number}", "down")

    def mend(self, host: Host) -> None:
        """Plug it in again."""
        _ip("-n", self.head.name, "link", "set", f"to-{host.number}", "up")


def lacking() -> str:
    """Return why there can be no such network here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "setpriv"):
        if shutil.which(program) is None:
            return f"there is no program {program}"
    probe = f"{_OURS}-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, check=False).returncode == 0
    if made:
        made = subprocess.run(["ip", "netns", "exec", probe, "true"], capture_output=True, check=False).returncode == 0
        _ip("netns", "del", probe)
    return "" if made else "this machine lets nobody make network namespaces"


@contextmanager
def network(hosts: int) -> Iterator[Network]:
    """Make a head and hosts, and take them away with all that still runs on them."""
    _sweep()
    names = [f"{_OURS}-{os.getpid()}-{number}" for number in range(hosts + 1)]
    made = [Host(name, f"10.213.0.{number + 1}", number) for number, name in enumerate(names)]
    try:
        for host in made:
            _ip("netns", "add", host.name)
            _ip("-n", host.name, "link", "set", "lo", "up")
        _ip("-n", made[0].name, "link", "add", _INTERFACE, "type", "bridge")
        for host in made[1:]:
            cable = ("link", "add", f"to-{host.number}", "netns", made[0].name)
            _ip(*cable, "type", "veth", "peer", "name", _INTERFACE, "netns", host.name)
            _ip("-n", made[0].name, "link", "set", f"to-{host.number}", "master", _INTERFACE, "up")
        for host in made:
            _ip("-n", host.name, "addr", "add", f"{host.address}/24", "dev", _INTERFACE)
            _ip("-n", host.name, "link", "set", _INTERFACE, "up")
        yield Network(made[0], tuple(made[1:]))
    finally:
        for name in names:
            _remove(name)


def _sweep() -> None:
    """Take away what a run that was killed has left."""
    for line in _ip("netns", "list").splitlines():
        name = line.split()[0] if line else ""
        maker = name.removeprefix(f"{_OURS}-").partition("-")[0]
        if name.startswith(f"{_OURS}-") and maker.isdigit() and not Path(f"/proc/{maker}").exists():
            _remove(name)


def _remove(name: str) -> None:
    listed = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    for pid in listed.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
