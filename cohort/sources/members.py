"""Members of archives: what is known of each, and how one is read like a file."""

from __future__ import annotations

import errno
import io
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

from cohort.sources.streams import DamagedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from _typeshed import WriteableBuffer

    from cohort.sources.streams import Bytes

DAMAGED = "archive_damaged"

_PROBLEMS = (None, DAMAGED, "encrypted_member", "unknown_compression", "not_regular_file", "sparse_member")
_RECORD = struct.Struct("<QQQLHB")
_LARGEST = 1 << 62  # what a table can hold

_BUFFER = 16 * 1024  # covers most headers with one read
_READ = 1 << 20  # most that is handed out at once


class Member(NamedTuple):
    """One member: where it begins, bytes packed and unpacked, CRC-32, compression method, why it is not opened."""

    offset: int
    packed: int
    size: int
    crc: int = 0
    method: int = 0
    problem: str | None = None


def plain(name: bytes) -> bytes:
    """Return a name without the `./` that tar puts before it."""
    while name.startswith(b"./"):
        name = name[2:]
    return name


class Members:
    """Members by name, in the order of the archive; about 250 bytes each."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, name: bytes) -> bool:
        return name in self._records

    def add(self, name: bytes, member: Member) -> None:
        """Add a member; where its name is taken, `!2`, `!3`... comes behind it."""
        if not max(member.offset, member.packed, member.size) < _LARGEST:
            member = Member(0, 0, 0, problem=DAMAGED)
        name = unique = plain(name)
        number = 1
        while unique in self._records:
            number += 1
            unique = b"%b!%d" % (name, number)
        self._records[unique] = _RECORD.pack(*member[:5], _PROBLEMS.index(member.problem))

    def get(self, name: bytes) -> Member | None:
        """Return a member, None where there is none of that name."""
        record = self._records.get(name)
        return None if record is None else _unpacked(record)

    def items(self) -> Iterator[tuple[bytes, Member]]:
        """Yield names and members."""
        for name, record in self._records.items():
            yield name, _unpacked(record)

    def distrust(self, sound: int) -> None:
        """Note that nothing after `sound` bytes can be relied upon."""
        for name, member in self.items():
            if member.problem is None and member.offset + member.packed > sound:
                self._records[name] = _RECORD.pack(*member[:5], _PROBLEMS.index(DAMAGED))

    def clear(self) -> None:
        """Forget all of them."""
        self._records.clear()


def _unpacked(record: bytes) -> Member:
    offset, packed, size, crc, method, problem = _RECORD.unpack(record)
    return Member(offset, packed, size, crc, method, _PROBLEMS[problem])


class MemberFile(io.BufferedReader):
    """One member of an archive as a file.

    It remembers that bytes were damaged, whatever its reader makes of the error.

    Parameters
    ----------
    data : Bytes
        Where its bytes are.
    start, size : int
        Which of them.
    check : callable, optional
        Compares what can be compared only when all has been read; raises DamagedError.
    """

    def __init__(self, data: Bytes, start: int, size: int, check: Callable[[], None] | None = None) -> None:
        self._section = _Section(data, start, size)
        self._check = check
        super().__init__(self._section, _BUFFER)

    @property
    def damage(self) -> str | None:
        """The reason why not all could be read, None where there is none."""
        return self._section.damage

    def verify(self) -> None:
        """Compare the checksum, to the end; raises OSError where it is wrong."""
        try:
            if self._check is not None:
                self._check()
        except DamagedError:
            raise self._section.damaged() from None


class _Section(io.RawIOBase):
    """Some bytes as an unbuffered file."""

    name = ""  # a buffered file is asked for one; none on the disk must answer to it

    def __init__(self, data: Bytes, start: int, size: int) -> None:
        super().__init__()
        self._data, self._start, self._size = data, start, size
        self._place = 0
        self.damage: str | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        place = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence] + offset
        if place < 0:
            raise OSError(errno.EINVAL, "before the beginning")
        self._place = place
        return place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        count = min(len(view), self._size - self._place, _READ)
        if count <= 0:
            return 0
        try:
            block = self._data.read_at(self._start + self._place, count)
        except DamagedError:
            raise self.damaged() from None
        if not block:
            raise self.damaged()
        view[: len(block)] = block
        self._place += len(block)
        return len(block)

    def damaged(self) -> OSError:
        """Remember damage; return the error that a disk would give."""
        self.damage = DAMAGED
        return OSError(errno.EIO, "the archive is damaged")
