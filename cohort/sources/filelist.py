"""A list of files instead of a walk: one path a line, as `find` prints them."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohort.errors import SourceError
from cohort.sources import archives
from cohort.sources.base import INSIDE, ObjectRef
from cohort.sources.local import LocalSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.sources.base import Known

_GONE = ("ENOENT", "ENOTDIR")


class FileListSource(LocalSource):
    """The files of a list; nothing else is looked for.

    Parameters
    ----------
    from_file : str
        File that holds the list, `-` for standard input. Paths are bytes, one a line; if there is a NUL, they are
        NUL-separated (`find -print0`). Empty lines are passed over.
    root : Path or None
        Folder below which relative paths are. None: they are below the current folder, and the root is the folder
        that all have in common.
    **options
        As of `LocalSource`.

    Raises
    ------
    SourceError
        If the list cannot be read, names nothing, or leads out of the root.
    """

    def __init__(self, from_file: str, root: Path | None, **options: Any) -> None:
        lines = _read(from_file)
        start = b"" if root is not None else os.getcwdb()
        if root is None:
            root = _common_folder(lines)
        elif root.exists() and not root.is_dir():
            raise SourceError(f"source {root} is a file; with --from-file name the folder that its paths are below")
        super().__init__(root, **options)
        bases = (self._base, os.path.realpath(self._base))
        paths = {_below(bases, os.path.join(start, line), number) for number, line in enumerate(lines, 1) if line}
        del lines
        self._paths = _in_order(paths)

    def list(self, known: Known | None = None) -> Iterator[ObjectRef]:
        """List the files in the order in which a walk would come upon them; what is gone is an object too."""
        unpacked: set[bytes] = set()
        folder, left_out = b"", False
        for path in self._paths:
            absolute = os.path.join(self._base, path)
            if os.path.dirname(absolute) != folder:
                folder = os.path.dirname(absolute)
                left_out = self._lies_in_skipped(folder)
            if left_out:
                continue
            ref = self._describe(path, absolute)
            if ref.problem in _GONE and not os.path.lexists(absolute):
                yield from self._inside(path, unpacked)
            elif os.path.isdir(absolute):
                if self._wanted(path):
                    yield replace(ref, problem="folder")
            else:
                for found in self._objects(path, absolute, known):
                    if found.path != path:
                        unpacked.add(path)
                    yield found

    def _lies_in_skipped(self, folder: bytes) -> bool:
        real = os.path.realpath(folder)
        return self._skip is not None and (real == self._skip or real.startswith(self._skip + b"/"))

    def _inside(self, path: bytes, unpacked: set[bytes]) -> Iterator[ObjectRef]:
        """List what is no file: the member of an archive, or what is gone."""
        place = archives.split(self._base, path, self._limits) if self._limits is not None else None
        if place is None:
            if self._wanted(path):
                yield ObjectRef(path, 0, 0, "vanished")
            return
        outer, contents, name = place
        if outer not in unpacked and self._wanted(path):  # else it was listed with its archive
            member = contents.find(name)
            archive = self._describe(outer, os.path.join(self._base, outer))
            yield ObjectRef(path, 0, 0, "vanished") if member is None else self._member(archive, name, member)


def _read(from_file: str) -> list[bytes]:
    """Return the lines, empty ones too."""
    try:
        data = sys.stdin.buffer.read() if from_file == "-" else Path(from_file).read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read the list {from_file}: {error.strerror}") from None
    lines = data.split(b"\0" if b"\0" in data else b"\n")
    if not any(lines):
        raise SourceError(f"the list {from_file} names no file")
    return lines


def _common_folder(lines: list[bytes]) -> Path:
    """Return the folder that all files have in common; if it is gone, the one above that is there."""
    folders = {os.path.dirname(os.path.abspath(_parted(line)[0])) for line in lines if line}
    common = Path(os.fsdecode(os.path.commonpath(folders)))
    while not common.is_dir():
        common = common.parent
    return common


def _parted(line: bytes) -> tuple[bytes, bytes]:
    """Return the path of a file and what leads on into an archive."""
    outer, inside, name = line.partition(INSIDE)
    return (outer, inside + name) if archives.is_candidate(outer) else (line, b"")


def _below(bases: tuple[bytes, ...], line: bytes, number: int) -> bytes:
    """Return a path below the root, without `.` and `..`; the line itself may be private and is not quoted."""
    outer, member = _parted(line)
    for base in bases:
        path = os.path.normpath(os.path.join(base, outer))
        if path == base:
            return b"."
        if path.startswith(base.rstrip(b"/") + b"/"):
            return path[len(base.rstrip(b"/")) + 1 :] + member
    raise SourceError(f"line {number} of the list leads out of the source; name a SOURCE that holds all files")


def _in_order(paths: set[bytes]) -> list[bytes]:
    """Sort as a walk does: in every folder first the files, then the folders."""

    def place(path: bytes) -> bytes:
        folder, name = os.path.split(path)
        return (b"\1" + folder.replace(b"/", b"\0\1") + b"\0" if folder else b"") + b"\0" + name

    return sorted(paths, key=place)
