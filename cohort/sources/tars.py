"""Tar archives, plain or compressed: a walk from header to header, and members read in place."""

from __future__ import annotations

import tarfile
import threading
from typing import TYPE_CHECKING, Any

from cohort.sources.members import DAMAGED, Member, MemberFile, Members, plain
from cohort.sources.streams import DamagedError, InflatedBytes

if TYPE_CHECKING:
    from cohort.sources.limits import ArchiveLimits
    from cohort.sources.streams import FileBytes

_BLOCK = tarfile.BLOCKSIZE
_HEADER_BYTES = 1 << 20  # of one member, with its extended headers
_PIECE = 256 * 1024
_PADDING = 1 << 20  # zeros that are looked at behind the end of a plain archive


def begins_tar(block: bytes) -> bool:
    """Tell whether the first 512 bytes are a header with the right checksum, or the end of an empty archive."""
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return block == bytes(_BLOCK)
    return True


class TarContents:
    """The members of a tar archive, found on a walk that goes no further than it must.

    Parameters
    ----------
    data : FileBytes or InflatedBytes
        The archive, inflated.
    packed : int
        Its size as stored.
    limits : ArchiveLimits or None
        How many members and bytes there may be; None: as many as there are.
    """

    def __init__(self, data: FileBytes | InflatedBytes, packed: int, limits: ArchiveLimits | None) -> None:
        self.members = Members()
        self.problem: str | None = None
        self._data, self._packed, self._limits = data, packed, limits
        self._inflated = isinstance(data, InflatedBytes)
        self._lock = threading.Lock()
        self._headers = _Headers(data)
        self._tar: Any = None
        self._place = -1  # up to where the walk has come
        self._seen = 0
        self._done = False

    def find(self, name: bytes) -> Member | None:
        """Return a member by its name; the walk goes on until it is found."""
        with self._lock:
            while name not in self.members and not self._done:
                self._step()
            return self.members.get(name)

    def complete(self) -> None:
        """Walk to the end."""
        with self._lock:
            while not self._done:
                self._step()

    def open(self, member: Member) -> MemberFile:
        """Open a member that has no problem."""
        return MemberFile(self._data, member.offset, member.size)

    # -- walk ----------------------------------------------------------------------------------------------

    def _step(self) -> None:
        """Go on by one header."""
        whole = True
        try:
            info = self._next()
            if info is not None:
                self._enter(info)
                return
        except Exception:  # beside its own errors tarfile lets through what odd numbers and texts give rise to
            whole = False
        self._finish(whole=whole)

    def _next(self) -> tarfile.TarInfo | None:
        self._headers.left = _HEADER_BYTES
        if self._tar is None:
            self._tar = tarfile.TarFile(fileobj=self._headers, encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
        info: tarfile.TarInfo | None = self._tar.next()
        self._tar.members.clear()
        return info

    def _enter(self, info: tarfile.TarInfo) -> None:
        if self._tar.offset <= self._place or info.size < 0:  # a negative length leads back
            raise DamagedError
        self._place = self._tar.offset
        self._seen += 1
        if not info.isdir():
            self.members.add(_exact(info.name), self._member(info))
        self._refuse(self._place)

    def _member(self, info: tarfile.TarInfo) -> Member:
        if info.islnk():  # another name of a member that came before
            target = self.members.get(plain(_exact(info.linkname)))
            return target or Member(0, 0, 0, problem="not_regular_file")
        if not info.isreg():
            return Member(0, 0, 0, problem="not_regular_file")
        problem = "sparse_member" if info.issparse() else None
        return Member(info.offset_data, info.size, info.size, problem=problem)

    def _refuse(self, place: int) -> bool:
        """Refuse the archive as a whole where it holds too much."""
        if self._limits is not None:
            self.problem = self._limits.exceeded(self._seen, place if self._inflated else 0, self._packed)
            if self.problem is not None:
                self.members.clear()
                self._done = True
        return self._done

    def _finish(self, *, whole: bool) -> None:
        """End the walk; what cannot be relied upon is marked.

        A compressed stream is read to its end, where its checksum stands. Before that nothing can be said of any
        member; where it is merely cut short, what came before the cut stays.
        """
        try:
            whole = self._only_padding() and whole
            sound = self._data.cut_at
            whole = whole and not (self._inflated and sound is not None)
        except DamagedError:
            whole, sound = False, self._data.sound
        if not self._done and not whole:
            self.problem = DAMAGED
            if sound is not None:
                self.members.distrust(sound)
        self._done = True

    def _only_padding(self) -> bool:
        """Tell whether zeros end the archive, and nothing comes behind them."""
        place = 0 if self._tar is None else self._tar.offset
        found = self._data.read_at(place, _BLOCK) == bytes(_BLOCK)
        stop = None if self._inflated else place + _PADDING
        while (stop is None or place < stop) and (piece := self._data.read_at(place, _PIECE)):
            found = found and piece.count(0) == len(piece)
            place += len(piece)
            if self._refuse(place):
                break
        return found


def _exact(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


class _Headers:
    """The archive as `tarfile` sees it: of each member no more than its headers may take."""

    def __init__(self, data: FileBytes | InflatedBytes) -> None:
        self._data = data
        self._place = 0
        self.left = 0

    def tell(self) -> int:
        return self._place

    def seek(self, place: int) -> None:
        self._place = place

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise DamagedError
        self.left -= count
        block = self._data.read_at(self._place, count)
        self._place += len(block)
        return block
