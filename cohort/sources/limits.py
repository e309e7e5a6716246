"""How much an archive may hold."""

from __future__ import annotations

from dataclasses import dataclass

HARMLESS = 1 << 30  # bytes that an archive of any size may inflate to


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What is refused, so that a small archive cannot fill memory or run for days.

    Parameters
    ----------
    members : int
        Members of one archive.
    member_bytes : int
        Unpacked size of one member.
    ratio : int
        Unpacked size of all members against the size of the archive, above 1 GiB.
    """

    members: int
    member_bytes: int
    ratio: int

    def exceeded(self, members: int, unpacked: int, packed: int) -> str | None:
        """Return why an archive is refused, None where it is not."""
        if members > self.members:
            return "archive_too_many_members"
        if unpacked > max(HARMLESS, self.ratio * packed):
            return "archive_inflates_too_far"
        return None
