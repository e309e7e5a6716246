"""Connections to a scheduler that strangers can neither read nor enter.

Whoever reaches a Dask scheduler can run code on every worker, and headers of patients go over the wire. So beyond this
machine a connection is TLS with certificates on both ends, or it is asked for in plain words.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cohort.errors import SchedulerError

if TYPE_CHECKING:
    from cohort.config import ClusterOptions

_ENCRYPTED = ("tls", "wss")
_WITHIN = ("inproc", "unix")


def refuse_plain(address: str, options: ClusterOptions) -> None:
    """Raise SchedulerError where an address is neither TLS nor of this machine, unless `insecure` allows it."""
    scheme, separator, _ = address.partition("://")
    if not separator:
        scheme, address = "tcp", f"tcp://{address}"
    if scheme in _ENCRYPTED + _WITHIN or options.insecure or _is_loopback(urlsplit(address).hostname or ""):
        return
    raise SchedulerError(
        f"{address} is plain TCP to another machine: anyone on the way can read the headers of patients and run code; "
        "use tls:// with tls_ca, tls_cert and tls_key, or --insecure on a network you trust"
    )


def _is_loopback(host: str) -> bool:
    """Tell whether a host is this machine; names other than `localhost` are not looked up, for they may change."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def security_of(options: ClusterOptions) -> Any:
    """Return the certificates to connect with; those of Dask's own configuration where the options name none.

    Raises
    ------
    SchedulerError
        If only some of the three files are named, or one is missing.
    """
    from distributed.security import Security

    files = {"tls_ca": options.tls_ca, "tls_cert": options.tls_cert, "tls_key": options.tls_key}
    given = {name: path for name, path in files.items() if path is not None}
    if not given:
        return Security()
    for name, path in files.items():
        if path is None:
            raise SchedulerError(f"cluster.{name} is not given; TLS needs tls_ca, tls_cert and tls_key")
        if not Path(path).is_file():
            raise SchedulerError(f"cluster.{name}: there is no file {path}")
    return Security(
        require_encryption=True,
        tls_ca_file=options.tls_ca,
        tls_client_cert=options.tls_cert,
        tls_client_key=options.tls_key,
    )
