"""A scheduler at an address with TLS, its workers on other hosts: the same tables, and nobody else comes in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from dask_ends import certificates, dask_scheduler
from network import Network
from runs import ALL, Cohort, begun, finished
from test_hosts import dask_on

pytestmark = [pytest.mark.multihost, pytest.mark.skipif(not ALL, reason="runs with scripts/cluster-test")]


def test_an_address_with_tls_gives_what_one_machine_gives_and_lets_no_one_else_in(
    two_hosts: Network, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (tmp_path / "strangers").mkdir()
    strange = {f"tls_{name}": path for name, path in certificates(tmp_path / "strangers").items()}
    prefix = two_hosts.head.prefix
    with happening("address with TLS") as notes, dask_on(two_hosts, tmp_path) as reach:
        address = json.loads(Path(reach.pop("scheduler_file")).read_text())["address"]
        assert address.startswith(f"tls://{two_hosts.head.address}:")
        for wrong in ({}, strange):
            with begun(cohort, out, {"scheduler": address, **wrong}, prefix) as process:
                status, said = finished(process)
            assert (status, out.exists()) == (2, False), said
            assert "no Dask scheduler answers" in said
        notes.append("refused without its certificates")
        with begun(cohort, out, {"scheduler": address, **reach}, prefix) as process:
            status, said = finished(process)
        assert status == 0, said
        assert cohort.difference(out) == []
        notes.append("identical with them")


def test_plain_tcp_to_another_host_is_refused(
    two_hosts: Network, cohort: Cohort, happening: Callable[..., Any], tmp_path: Path
) -> None:
    head, host = two_hosts.head, two_hosts.hosts[0]
    with (
        happening("scheduler file, plain TCP") as notes,
        dask_scheduler(tmp_path, host=head.address, prefix=head.prefix) as file,
    ):
        with begun(cohort, tmp_path / "out", {"scheduler_file": str(file)}, host.prefix) as process:
            status, said = finished(process)
        assert status == 2
        assert "plain TCP to another machine" in said
        assert not (tmp_path / "out").exists()
        notes.append("refused: " + said.strip().splitlines()[-1][:60] + "...")
