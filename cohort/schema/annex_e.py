"""What de-identification does to each attribute: PS3.15 Table E.1-1, the Basic Application Level Confidentiality Profile.

`annex_e.csv` beside this file is the table, written by `scripts/annex_e.py`, which says where it comes from.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

EDITION = "2026c"
"""Edition of PS3.15 whose table this is."""

ACTIONS = {
    "D": "replace by a dummy value",
    "Z": "replace by an empty or a dummy value",
    "X": "remove",
    "U": "replace by another UID",
    "Z/D": "empty, or a dummy where the object needs a value",
    "X/Z": "remove, or empty where the object needs the attribute",
    "X/D": "remove, or a dummy where the object needs a value",
    "X/Z/D": "remove, empty or a dummy, as the object needs",
    "X/Z/U*": "remove, empty or other UIDs, as the object needs",
}
"""Codes of the table in words (PS3.15 Table E.1-1a)."""


@dataclass(frozen=True)
class ProfileEntry:
    """One attribute of the table.

    Parameters
    ----------
    tag : (int, int)
        Group and element.
    keyword : str
        Keyword of the attribute; empty where it has none.
    action : str
        One of `ACTIONS`.
    """

    tag: tuple[int, int]
    keyword: str
    action: str


@functools.cache
def profile() -> Mapping[tuple[int, int], ProfileEntry]:
    """Return the table by tag."""
    text = (resources.files("cohort.schema") / "annex_e.csv").read_text(encoding="utf-8")
    found = {}
    for line in text.splitlines()[1:]:
        group, element, keyword, action = line.split(",")
        tag = (int(group, 16), int(element, 16))
        found[tag] = ProfileEntry(tag, keyword, action)
    return MappingProxyType(found)


def action_of(tag: tuple[int, int]) -> str | None:
    """Return what the profile does to an attribute, None where it may stay.

    Parameters
    ----------
    tag : (int, int)
        Group and element. Private attributes, curves (50xx) and overlay data and comments (60xx) are removed as groups.
    """
    group, element = tag
    if group % 2 or 0x5000 <= group <= 0x50FF or (0x6000 <= group <= 0x60FF and element in (0x3000, 0x4000)):
        return "X"
    entry = profile().get(tag)
    return None if entry is None else entry.action


def action_of_keyword(keyword: str) -> str | None:
    """Return what the profile does to a standard attribute, by its keyword; None where it may stay."""
    return _by_keyword().get(keyword)


@functools.cache
def _by_keyword() -> Mapping[str, str]:
    return MappingProxyType({entry.keyword: entry.action for entry in profile().values() if entry.keyword})
