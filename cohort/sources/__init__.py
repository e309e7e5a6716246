"""Where bytes are: list objects, read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cohort.errors import SourceError
from cohort.sources.base import ObjectRef, Source, exact, printable
from cohort.sources.local import LocalSource, overlapping

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LocalSource", "ObjectRef", "Source", "open_source", "open_sources", "printable"]


def open_sources(
    roots: Sequence[str],
    *,
    skip: Path | None = None,
    follow_links: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> list[Source]:
    """Open every root.

    Raises
    ------
    SourceError
        If a root does not exist, is of a kind not known, or lies inside another one.
    """
    for root in roots:
        if "://" in root:
            raise SourceError(f"source {root}: only folders and files on a disk can be read")
    paths = [Path(root) for root in roots]
    sources: list[Source] = [
        LocalSource(path, skip=skip, follow_links=follow_links, include=include, exclude=exclude) for path in paths
    ]
    if pair := overlapping(paths):
        raise SourceError(f"{pair[1]} and {pair[0]} overlap, so files would count twice; name only one of them")
    return sources


def open_source(root: str) -> Source:
    """Open a root again by the name under which its objects were listed."""
    path = Path(root)
    return LocalSource(path if path.exists() else Path(os.fsdecode(exact(root))))
