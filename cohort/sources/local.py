"""Folders and files on a disk, and the archives among them."""

from __future__ import annotations

import errno
import io
import os
import stat
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from cohort.errors import SourceError
from cohort.sources import archives
from cohort.sources.base import INSIDE, ObjectRef, open_regular, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cohort.sources.archives import Contents
    from cohort.sources.base import Known
    from cohort.sources.limits import ArchiveLimits
    from cohort.sources.members import Member


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
        Globs on the path below the root; `*` matches `/` too. Members of an archive have theirs too; an archive
        that is excluded is not looked into.
    archives : ArchiveLimits or None
        Look into zip and tar archives, within limits; None: they are files like others.

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
        archives: ArchiveLimits | None = None,
    ) -> None:
        if not root.exists():
            raise SourceError(f"source {root} does not exist; check the path")
        resolved = root.absolute()
        self._single = None if resolved.is_dir() else os.fsencode(resolved.name)
        self._base = os.fsencode(resolved if self._single is None else resolved.parent)
        self._prefix = os.path.join(self._base, b"")
        self._skip = None if skip is None else os.path.realpath(os.fsencode(skip))
        self._follow_links = follow_links
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._limits = archives

    @property
    def root(self) -> str:
        """The folder as an absolute path."""
        return printable(self._base)

    def open(self, path: bytes) -> BinaryIO:
        """Open one file or member; what is no regular file any more raises OSError instead of blocking."""
        if INSIDE in path:
            member = archives.open_member(self._base, path)
            if member is not None:
                return member
            if b"\0" in path:  # a name that only a member can have
                raise FileNotFoundError(errno.ENOENT, "its archive is gone")
        descriptor = open_regular(self._prefix + path)
        if hasattr(os, "posix_fadvise"):  # the disk may fetch the beginning until it is read
            os.posix_fadvise(descriptor, 0, _BUFFER, os.POSIX_FADV_WILLNEED)
        return io.BufferedReader(io.FileIO(descriptor, "rb"), _BUFFER)

    # -- listing -------------------------------------------------------------------------------------------

    def list(self, known: Known | None = None) -> Iterator[ObjectRef]:
        """List everything below the root, folders in the order of their names, members in that of their archive.

        Parameters
        ----------
        known : callable, optional
            Tells what an earlier listing found in a tar archive, which must be walked from end to end.
        """
        if self._single is not None:
            yield from self._objects(self._single, os.path.join(self._base, self._single), known)
        else:
            yield from self._walk(known)

    def _walk(self, known: Known | None) -> Iterator[ObjectRef]:
        """List what is below the root; loops are cut."""
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
            prefix = os.path.join(folder, b"") if folder else b""
            for entry in found:
                path = prefix + entry.name
                if self._descends(entry, seen):
                    if not self._is_skipped(entry):
                        below.append((path, seen))
                else:
                    yield from self._objects(path, entry.path, known)
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

    def _is_skipped(self, entry: os.DirEntry[bytes]) -> bool:
        """Tell whether a folder is the one left out; the real name of one that is no link ends in its own."""
        if self._skip is None or not (self._follow_links or os.path.basename(self._skip) == entry.name):
            return False
        return os.path.realpath(entry.path) == self._skip

    def _objects(self, path: bytes, absolute: bytes, known: Known | None) -> Iterator[ObjectRef]:
        """List one file; if it is an archive, its members after it."""
        packed = self._limits is not None and archives.is_candidate(path) and not self._matches(path, self._exclude)
        if not packed:
            if self._wanted(path):
                yield self._describe(path, absolute)
            return
        ref = self._describe(path, absolute)
        before = known(ref) if known is not None and path.lower().endswith(archives.TARS) else None
        if before is not None:
            yield from before
            return
        contents = self._look_into(ref, absolute)
        if contents is not None:
            yield from self._unpacked(ref, contents)
        elif self._wanted(path):
            yield ref

    def _look_into(self, ref: ObjectRef, absolute: bytes) -> Contents | None:
        """Return what an archive holds, None for what is none or cannot be read."""
        assert self._limits is not None
        try:
            return archives.listed(absolute, self._limits) if ref.problem is None else None
        except OSError:
            return None

    def _unpacked(self, ref: ObjectRef, contents: Contents) -> Iterator[ObjectRef]:
        if contents.problem is not None or self._wanted(ref.path):  # what is wrong is never left out by a glob
            yield replace(ref, problem=contents.problem or "archive")
        for name, member in contents.members.items():
            if self._wanted(ref.path + INSIDE + name):
                yield self._member(ref, name, member)

    def _member(self, archive: ObjectRef, name: bytes, member: Member) -> ObjectRef:
        problem = member.problem
        if problem is None and self._limits is not None and member.size > self._limits.member_bytes:
            problem = "member_too_large"
        return ObjectRef(archive.path + INSIDE + name, member.size, archive.modified, problem)

    def _wanted(self, path: bytes) -> bool:
        included = not self._include or self._matches(path, self._include)
        return included and not self._matches(path, self._exclude)

    def _matches(self, path: bytes, globs: Sequence[str]) -> bool:
        text = printable(path) if globs else ""
        return any(fnmatchcase(text, glob) for glob in globs)

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
