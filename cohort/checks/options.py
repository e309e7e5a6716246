"""Options of the checks that only the tables can refuse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cohort.errors import ConfigError
from cohort.schema import FILES, KEY_ATTRIBUTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cohort.config import CheckOptions


def check_options(options: CheckOptions, extra: Iterable[str] = ()) -> None:
    """Raise ConfigError for attributes and patterns that cannot be looked at.

    Parameters
    ----------
    options : CheckOptions
        Section `check`.
    extra : iterable of str
        Columns of `files/` that the run was asked for.
    """
    unknown = sorted(set(options.variant_fields) - set(KEY_ATTRIBUTES))
    if unknown:
        known = ", ".join(KEY_ATTRIBUTES)
        raise ConfigError(
            f"`check.variant_fields` has {', '.join(unknown)}, which series do not have; known are {known}"
        )
    column = options.split_column
    if column is not None and column not in {*FILES.names, *extra}:
        raise ConfigError(
            f"`check.split_column` names {column}, which files/ does not have; add it to `scan.extra_tags`"
        )
    if options.split_pattern is not None:
        try:
            groups = re.compile(options.split_pattern).groups
        except re.error:
            groups = None
        if groups != 1:
            raise ConfigError("`check.split_pattern` must be a regular expression with one group, e.g. ^(train|test)/")
