"""Folders and files on a disk."""

from __future__ import annotations

import errno
import os
import stat
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cohort.errors import SourceError
from cohort.sources.base import ObjectRef, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_BUFFER = 16 * 1024  # covers most headers with one read


class LocalSource:
    """A folder, or a single file.

    Parameters
    ----------
    root : Path
        Folder to walk, or one file.
    skip : Path or None
        Folder that is left out: OUT, where it lies inside the source.
    follow_links : bool
        Follow links to directories. Links to files are always read.
    include, exclude : sequence of str
        Globs on the path below the root; `*` matches `/` too.

    Raises
    ------
    SourceError
        If the root does not exist.
    """

    def __init__(
        self,
        root: Path,
        *,
        skip: Path | None = None,
        follow_links: bool = False,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> None:
        if not root.exists():
            raise SourceError(f"source {root} does not exist; check the path")
        resolved = root.absolute()
        self._single = None if resolved.is_dir() else os.fsencode(resolved.name)
        self._base = os.fsencode(resolved if self._single is None else resolved.parent)
        self._skip = None if skip is None else os.path.realpath(os.fsencode(skip))
        self._follow_links = follow_links
        self._include, self._exclude = tuple(include), tuple(exclude)

    @property
    def root(self) -> str:
        """The folder as an absolute path."""
        return printable(self._base)

    def open(self, path: bytes) -> BinaryIO:
        """Open one file; what is no regular file any more raises OSError instead of blocking."""
        descriptor = os.open(os.path.join(self._base, path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "not a regular file")
        return os.fdopen(descriptor, "rb", buffering=_BUFFER)

    def list(self) -> Iterator[ObjectRef]:
        """List everything below the root, folders in the order of their names; loops are cut."""
        if self._single is not None:
            yield self._describe(self._single, os.path.join(self._base, self._single))
            return
        stack: list[tuple[bytes, frozenset[tuple[int, int]]]] = [(b"", frozenset())]
        while stack:
            folder, seen = stack.pop()
            here = os.path.join(self._base, folder)
            try:
                identity = os.stat(here)
                with os.scandir(here) as entries:
                    found = sorted(entries, key=lambda entry: entry.name)
            except OSError as error:
                yield ObjectRef(folder or b".", 0, 0, _errno_name(error))
                continue
            seen |= {(identity.st_dev, identity.st_ino)}
            below = []
            for entry in found:
                path = os.path.join(folder, entry.name) if folder else entry.name
                if self._descends(entry, seen):
                    if os.path.realpath(entry.path) != self._skip:
                        below.append((path, seen))
                elif self._wanted(path):
                    yield self._describe(path, entry.path)
            stack += reversed(below)

    def _descends(self, entry: os.DirEntry[bytes], seen: frozenset[tuple[int, int]]) -> bool:
        if entry.is_dir(follow_symlinks=False):
            return True
        if not (self._follow_links and entry.is_symlink()):
            return False
        try:
            target = os.stat(entry.path)
        except OSError:
            return False
        return stat.S_ISDIR(target.st_mode) and (target.st_dev, target.st_ino) not in seen

    def _wanted(self, path: bytes) -> bool:
        if not self._include and not self._exclude:
            return True
        text = printable(path)
        included = not self._include or any(fnmatchcase(text, glob) for glob in self._include)
        return included and not any(fnmatchcase(text, glob) for glob in self._exclude)

    def _describe(self, path: bytes, absolute: bytes) -> ObjectRef:
        try:
            found = os.stat(absolute)
        except OSError as error:
            return ObjectRef(path, 0, 0, _errno_name(error))
        problem = None if stat.S_ISREG(found.st_mode) else "not_regular_file"
        return ObjectRef(path, found.st_size if problem is None else 0, found.st_mtime_ns, problem)


def _errno_name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "EIO")


def overlapping(roots: Sequence[Path]) -> tuple[Path, Path] | None:
    """Return two roots of which one lies inside the other, or None."""
    resolved = [(root, root.resolve()) for root in roots]
    for i, (first, a) in enumerate(resolved):
        for second, b in resolved[i + 1 :]:
            if a == b or a in b.parents or b in a.parents:
                return first, second
    return None
