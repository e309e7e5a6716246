"""Zip archives (APPNOTE.TXT 6.3): the central directory, and members read in place."""

from __future__ import annotations

import stat
import struct
import zlib
from functools import partial
from typing import TYPE_CHECKING

from cohort.sources.members import DAMAGED, Member, MemberFile, Members
from cohort.sources.streams import DamagedError, InflatedBytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.sources.limits import ArchiveLimits
    from cohort.sources.streams import FileBytes

_LOCAL_MAGIC, _END_MAGIC, _SPLIT_MAGIC = b"PK\3\4", b"PK\5\6", b"PK\x07\x08"
_END = struct.Struct("<4s4H2LH")  # 4.3.16
_END64_PLACE = struct.Struct("<4sLQL")  # 4.3.15
_END64 = struct.Struct("<4sQ2H2L4Q")  # 4.3.14
_ENTRY = struct.Struct("<4s6H3L5H2L")  # 4.3.12
_LOCAL = struct.Struct("<4s5H3L2H")  # 4.3.7
_LONGEST_REMARK = 0xFFFF
_IN_EXTRA = 0xFFFFFFFF  # the number stands in the extra field instead (4.5.3)
_LONGEST_ENTRY = _ENTRY.size + 3 * 0xFFFF
_BLOCK = 1 << 20

_STORED = 0
_CODECS = {8: "deflate", 12: "bz2"}
_DEFLATE_RATIO = 1032  # deflate cannot do better: 258 bytes for two bits
_ENCRYPTED = 1
_UNIX = 3


def is_zip(file: FileBytes) -> bool:
    """Tell whether a file begins as a zip, or ends as the last of several files that make one."""
    if file.read_at(0, 4) in (_LOCAL_MAGIC, _END_MAGIC, _SPLIT_MAGIC):
        return True
    base = max(0, file.size - _END.size - _LONGEST_REMARK)
    tail = file.read_at(base, file.size - base)
    at = tail.rfind(_END_MAGIC)
    return 0 <= at <= len(tail) - _END.size and at + _END.size + _END.unpack_from(tail, at)[-1] == len(tail)


class ZipContents:
    """The members of a zip archive.

    Parameters
    ----------
    file : FileBytes
        The archive.
    limits : ArchiveLimits or None
        How many members and bytes there may be; None: as many as there are.
    """

    def __init__(self, file: FileBytes, limits: ArchiveLimits | None) -> None:
        self.members = Members()
        self.problem: str | None = None
        self._file = file
        self._limits = limits
        self._packed = self._unpacked = 0
        try:
            self._read_directory()
        except (DamagedError, struct.error):
            self.problem = DAMAGED

    def find(self, name: bytes) -> Member | None:
        """Return a member by its name."""
        return self.members.get(name)

    def complete(self) -> None:
        """Make sure that all members are known: a zip tells them at once."""

    def open(self, member: Member) -> MemberFile:
        """Open a member that has no problem."""
        file = self._file
        local = file.read_at(member.offset, _LOCAL.size)
        if len(local) < _LOCAL.size or local[:4] != _LOCAL_MAGIC:
            return MemberFile(_Nowhere(), 0, member.size)
        start = member.offset + _LOCAL.size + sum(_LOCAL.unpack(local)[-2:])
        if member.method == _STORED:
            return MemberFile(file, start, member.size, partial(_check_stored, file, start, member))
        codec = _CODECS[member.method]
        inflated = InflatedBytes(file, start, start + member.packed, codec, size=member.size, crc=member.crc)
        return MemberFile(inflated, 0, member.size, inflated.finish)

    # -- central directory ---------------------------------------------------------------------------------

    def _read_directory(self) -> None:
        count, size, start = self._end()
        if start + size > self._file.size:
            raise DamagedError
        found = 0
        for entry, name, extra in self._entries(start, start + size):
            found += 1
            member = _member(entry, extra, start)
            if not name.endswith(b"/") or member.size:  # else a folder
                self.members.add(name, member)
            if member.problem is None:
                self._packed, self._unpacked = self._packed + member.packed, self._unpacked + member.size
            if problem := self._excess(found):
                self.members.clear()
                self.problem = problem
                return
        if found & 0xFFFF != count & 0xFFFF:  # some writers count past 65,535 without the 64-bit record
            raise DamagedError

    def _excess(self, found: int) -> str | None:
        """Return why the archive is refused: members that share their bytes are how a small one becomes huge."""
        if self._packed > self._file.size:
            return "archive_overlaps"
        return self._limits.exceeded(found, self._unpacked, self._file.size) if self._limits else None

    def _end(self) -> tuple[int, int, int]:
        """Return number of entries, size and place of the central directory."""
        file = self._file
        base = max(0, file.size - _END.size - _LONGEST_REMARK)
        tail = file.read_at(base, file.size - base)
        at = tail.rfind(_END_MAGIC)
        if at < 0:
            raise DamagedError
        _, disk, _, _, count, size, start, _ = _END.unpack_from(tail, at)
        place = base + at - _END64_PLACE.size
        locator = file.read_at(place, _END64_PLACE.size) if place >= 0 else b""
        if locator[:4] == b"PK\6\7":
            record = file.read_at(_END64_PLACE.unpack(locator)[2], _END64.size)
            magic, *_, disk, _, _, count, size, start = _END64.unpack(record)
            if magic != b"PK\6\6":
                raise DamagedError
        if disk != 0:  # the last of several files
            raise DamagedError
        return count, size, start

    def _entries(self, position: int, stop: int) -> Iterator[tuple[tuple[int, ...], bytes, bytes]]:
        data, at = b"", 0
        while True:
            if len(data) - at < _LONGEST_ENTRY and position < stop:
                block = self._file.read_at(position, min(_BLOCK, stop - position))
                data, at, position = data[at:] + block, 0, position + len(block)
                if not block:
                    raise DamagedError
            if at == len(data):
                return
            magic, *entry = _ENTRY.unpack_from(data, at)
            name = at + _ENTRY.size
            extra = name + entry[9]
            remark = extra + entry[10]
            at = remark + entry[11]
            if magic != b"PK\1\2" or at > len(data):
                raise DamagedError
            yield tuple(entry), data[name:extra], data[extra:remark]


def _member(entry: tuple[int, ...], extra: bytes, directory: int) -> Member:
    """Return what an entry of the central directory, which begins at `directory`, says of a member."""
    made_by, _, flags, method, _, _, crc, packed, size, *_, attributes, offset = entry
    size, packed, offset = _long_numbers(extra, size, packed, offset)
    kind = stat.S_IFMT(attributes >> 16) if made_by >> 8 == _UNIX else 0
    if flags & _ENCRYPTED:
        problem: str | None = "encrypted_member"
    elif kind == stat.S_IFLNK or (kind not in (0, stat.S_IFREG, stat.S_IFDIR) and size == 0):
        problem = "not_regular_file"
    elif method != _STORED and method not in _CODECS:
        problem = "unknown_compression"
    else:
        possible = offset + _LOCAL.size + packed <= directory and _can_unpack(method, packed, size)
        problem = None if possible else DAMAGED
    return Member(offset, packed, size, crc, method, problem)


def _can_unpack(method: int, packed: int, size: int) -> bool:
    if method == _STORED:
        return size == packed
    return _CODECS[method] != "deflate" or size <= _DEFLATE_RATIO * packed


def _long_numbers(extra: bytes, *numbers: int) -> list[int]:
    """Replace numbers that did not fit by those of the extra field (4.5.3), in its order."""
    found = list(numbers)
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            places = [i for i, number in enumerate(numbers) if number == _IN_EXTRA]
            for n, i in enumerate(places):
                (found[i],) = struct.unpack_from("<Q", extra[: at + 4 + length], at + 4 + 8 * n)
            break
        at += 4 + length
    return found


def _check_stored(file: FileBytes, start: int, member: Member) -> None:
    crc = 0
    for place in range(0, member.size, _BLOCK):
        crc = zlib.crc32(file.read_at(start + place, min(_BLOCK, member.size - place)), crc)
    if crc != member.crc:
        raise DamagedError


class _Nowhere:
    """A member that does not begin where the archive says."""

    def read_at(self, position: int, count: int) -> bytes:
        raise DamagedError
