"""Dates and ages as headers write them."""

from __future__ import annotations

import re
from datetime import date

_DATE = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})")
_AGE = re.compile(r"(\d{3})([DWMY])")
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1.0}
_OLDEST = 130.0

DAYS_PER_YEAR = 365.25

_DUMMIES = frozenset(
    date(*day) for day in [(1, 1, 1), (1111, 11, 11), (1799, 1, 1), (1800, 1, 1), (1900, 1, 1), (1970, 1, 1)]
)
"""Days that software writes where there is none: zeros of several clocks, and those of anonymisers."""


def day_of(text: str) -> date | None:
    """Return the day of a DA value, YYYYMMDD or the old YYYY.MM.DD (PS3.5 6.2); None where it is none."""
    match = _DATE.fullmatch(text.strip(" \0"))
    if match is None:
        return None
    try:
        return date(int(match[1]), int(match[3]), int(match[4]))
    except ValueError:
        return None


def is_dummy(day: date) -> bool:
    """Tell whether a day stands for none."""
    return day in _DUMMIES


def stands_for_year(day: date) -> bool:
    """Tell whether a date of birth is that of a year alone: 1 January is what is left of it."""
    return (day.month, day.day) == (1, 1)


def years_of(text: str) -> tuple[float, float] | None:
    """Return the age of an AS value and the length of its unit, both in years (PS3.5 6.2); None where it is none."""
    match = _AGE.fullmatch(text.strip(" \0"))
    if match is None:
        return None
    unit = _YEARS[match[2]]
    age = int(match[1]) * unit
    return (age, unit) if age <= _OLDEST else None
