"""What a source is: objects that can be listed, and bytes that can be read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """One listed object.

    Parameters
    ----------
    path : bytes
        Exact path below the root, /-separated.
    size : int
        Bytes.
    modified : int
        Time of the last change, nanoseconds since 1970 (UTC).
    problem : str or None
        Why the object cannot be opened: `not_regular_file`, or the name of an errno such as `EACCES`.
    """

    path: bytes
    size: int
    modified: int
    problem: str | None = None


class Source(Protocol):
    """Where bytes are. Nothing here knows what they mean."""

    @property
    def root(self) -> str:
        """The root as an absolute path or URL."""
        ...

    def list(self) -> Iterator[ObjectRef]:
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
