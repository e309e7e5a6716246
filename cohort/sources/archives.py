"""Archives as folders: what is one, what it holds, and the members of those opened last at hand."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

from cohort.sources.base import INSIDE
from cohort.sources.streams import MAGIC, DamagedError, FileBytes, InflatedBytes
from cohort.sources.tars import TarContents, begins_tar
from cohort.sources.zips import ZipContents, is_zip

if TYPE_CHECKING:
    from cohort.sources.limits import ArchiveLimits
    from cohort.sources.members import Member, MemberFile, Members

TARS = (b".tar", b".tar.gz", b".tgz", b".tar.bz2", b".tbz2", b".tbz", b".tar.xz", b".txz")
ENDINGS = (b".zip", *TARS)
"""How the name of an archive ends; its content then decides."""

_OPEN = 4  # archives at hand in one process
_BLOCK = 512
_LOOK = 1 << 20  # more than a block of bzip2


class Contents(Protocol):
    """What an archive holds."""

    members: Members
    problem: str | None
    """Why the archive is refused, or that it is damaged; its members then are those that can be relied upon."""

    def find(self, name: bytes) -> Member | None:
        """Return a member by its name."""
        ...

    def complete(self) -> None:
        """Make sure that all members are known."""
        ...

    def open(self, member: Member) -> MemberFile:
        """Open a member that has no problem."""
        ...


_Identity = tuple[int, int, int, int]

_at_hand: OrderedDict[bytes, tuple[_Identity, ArchiveLimits | None, Contents]] = OrderedDict()
_lock = threading.Lock()


def is_candidate(path: bytes) -> bool:
    """Tell by its name whether a file may be an archive to look into."""
    return path.lower().endswith(ENDINGS)


def listed(path: bytes, limits: ArchiveLimits) -> Contents | None:
    """Return all that an archive holds, within limits.

    Parameters
    ----------
    path : bytes
        Absolute path.
    limits : ArchiveLimits
        What is refused.

    Returns
    -------
    Contents or None
        None where the content is no archive, or a folder `archive.zip!` beside it would have the same paths.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    contents = _opened(path, limits)
    if contents is not None:
        contents.complete()
    return contents


def open_member(base: bytes, path: bytes) -> MemberFile | None:
    """Open a member of an archive below `base`; None where the path does not lead into one.

    Raises
    ------
    OSError
        If the archive or the member is gone, or cannot be read.
    """
    place = split(base, path)
    if place is None:
        return None
    _, contents, name = place
    member = contents.find(name)
    if member is None:
        raise FileNotFoundError(errno.ENOENT, "no such member")
    if member.problem is not None:
        raise OSError(errno.EINVAL, "not a member that can be read")
    return contents.open(member)


def split(base: bytes, path: bytes, limits: ArchiveLimits | None = None) -> tuple[bytes, Contents, bytes] | None:
    """Return the path of the archive that a path leads into, what it holds, and the name of the member."""
    at = path.find(INSIDE)
    while at >= 0:
        outer = path[:at]
        if is_candidate(outer):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # `archive.zip!` may be a folder
                contents = _opened(os.path.join(base, outer), limits)
                if contents is not None:
                    return outer, contents, path[at + len(INSIDE) :]
        at = path.find(INSIDE, at + 1)
    return None


def _opened(path: bytes, limits: ArchiveLimits | None) -> Contents | None:
    """Return an archive, at hand where it has not changed; without limits whichever there were do."""
    status = os.stat(path)
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    with _lock:
        known = _at_hand.get(path)
        if known is not None and known[0] == identity and (limits is None or known[1] == limits):
            _at_hand.move_to_end(path)
            return known[2]
        contents = _contents(path, limits) if stat.S_ISREG(status.st_mode) else None
        if contents is None or os.path.isdir(path + b"!"):
            return None
        _at_hand[path] = identity, limits, contents
        _at_hand.move_to_end(path)
        while len(_at_hand) > _OPEN:
            _at_hand.popitem(last=False)
    return contents


def _contents(path: bytes, limits: ArchiveLimits | None) -> Contents | None:
    """Return what a file holds by its content, None where that is no archive."""
    file = FileBytes(path)
    if is_zip(file):
        return ZipContents(file, limits)
    head = file.read_at(0, _BLOCK)
    codec = next((codec for codec, magic in MAGIC.items() if head.startswith(magic)), None)
    if codec is None:
        return TarContents(file, file.size, limits) if begins_tar(head) else None
    data = InflatedBytes(file, 0, file.size, codec)
    try:
        begins = begins_tar(data.read_at(0, _BLOCK))
        if not begins:  # bzip2 tells that a block is damaged only at its end
            data.read_at(0, _LOOK)
            begins = data.cut_at is not None
    except DamagedError:
        begins = True
    return TarContents(data, file.size, limits) if begins else None
