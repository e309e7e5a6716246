"""What a source is: objects that can be listed, and bytes that can be read."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INSIDE = b"!/"
"""Stands between the path of an archive and the name of its member: `archive.zip!/inner/name`."""


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One listed object.

    Parameters
    ----------
    path : bytes
        Exact path below the root, /-separated; of a member `archive.zip!/inner/name`.
    size : int
        Bytes; of a member those it unpacks to.
    modified : int
        Time of the last change, nanoseconds since 1970 (UTC); of a member that of its archive.
    problem : str or None
        Why the object is not opened: `archive` where its members follow, `vanished`, a reason such as
        `not_regular_file` or `encrypted_member`, or the name of an errno such as `EACCES`.
    """

    path: bytes
    size: int
    modified: int
    problem: str | None = None


Known = Callable[[ObjectRef], "Iterable[ObjectRef] | None"]
"""Tells what an earlier listing found in an archive that has not changed: itself and its members, or None."""


class Source(Protocol):
    """Where bytes are. Nothing here knows what they mean."""

    @property
    def root(self) -> str:
        """The root as an absolute path or URL."""
        ...

    def list(self, known: Known | None = None) -> Iterator[ObjectRef]:
        """List all objects below the root, in an order that depends on their names alone."""
        ...

    def open(self, path: bytes) -> BinaryIO:
        """Open one object for reading, seekable; raises OSError."""
        ...


def printable(path: bytes) -> str:
    """Return a path for tables: UTF-8, bytes that are not backslash-escaped."""
    return path.decode("utf-8", errors="backslashreplace")


def exact(path: str) -> bytes:
    """Return the bytes of a path that `printable` escaped."""
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), path.encode("utf-8"))


def open_regular(path: bytes) -> int:
    """Open a regular file for reading; what is none any more raises OSError instead of blocking."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor
