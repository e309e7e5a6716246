"""Where bytes are: list objects, read them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cohort.errors import SourceError
from cohort.places import ObjectPath
from cohort.sources.base import INSIDE, Known, ObjectRef, Source, exact, printable
from cohort.sources.filelist import FileListSource
from cohort.sources.limits import ArchiveLimits
from cohort.sources.local import LocalSource, overlapping
from cohort.sources.members import MemberFile
from cohort.sources.objectstore import ObjectStoreSource, nested

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import BinaryIO

    from cohort.places import Place

__all__ = [
    "INSIDE",
    "ArchiveLimits",
    "FileListSource",
    "Known",
    "LocalSource",
    "ObjectRef",
    "ObjectStoreSource",
    "Source",
    "damage_of",
    "glimpses",
    "open_source",
    "open_sources",
    "printable",
    "verify",
]


def open_sources(
    roots: Sequence[str],
    *,
    skip: Place | None = None,
    follow_links: bool = False,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    archives: ArchiveLimits | None = None,
    from_file: str | None = None,
) -> list[Source]:
    """Open every root, or the files of a list below one root or none.

    Raises
    ------
    SourceError
        If a root does not exist, is of a kind not known, or lies inside another one; if the list cannot be used.
    """
    if not roots and from_file is None:
        raise SourceError("no source given; name at least one folder or file")
    options: dict[str, Any] = {
        "skip": skip if isinstance(skip, Path) else None,
        "follow_links": follow_links,
        "include": include,
        "exclude": exclude,
        "archives": archives,
    }
    if from_file is not None:
        return [_listed(from_file, roots, options)]
    paths = [Path(root) for root in roots if "://" not in root]
    bucket = skip if isinstance(skip, ObjectPath) else None
    sources: list[Source] = [_opened(root, options, bucket) for root in roots]
    urls = [source.root for source in sources if isinstance(source, ObjectStoreSource)]
    if pair := overlapping(paths) or nested(urls):
        raise SourceError(f"{pair[1]} and {pair[0]} overlap, so files would count twice; name only one of them")
    return sources


def _listed(from_file: str, roots: Sequence[str], options: dict[str, Any]) -> Source:
    """Open the files of a list."""
    if len(roots) > 1:
        raise SourceError("with --from-file name one SOURCE, the folder that its paths are below, or none")
    if any("://" in root for root in roots):
        raise SourceError("--from-file lists files on a disk; choose among the objects of a bucket with --include")
    return FileListSource(from_file, Path(roots[0]) if roots else None, **options)


def _opened(root: str, options: dict[str, Any], skip: ObjectPath | None) -> Source:
    if "://" in root:
        return ObjectStoreSource(root, include=options["include"], exclude=options["exclude"], skip=skip)
    return LocalSource(Path(root), **options)


def open_source(root: str) -> Source:
    """Open a root again by the name under which its objects were listed."""
    if "://" in root:
        return ObjectStoreSource(root)
    return LocalSource(_path_of(root))


def _path_of(root: str) -> Path:
    path = Path(root)
    return path if path.exists() else Path(os.fsdecode(exact(root)))


def glimpses(roots: Sequence[str]) -> dict[str, int | None]:
    """Return for every root what tells it from another under the same path, None where it cannot be seen.

    That is the size of a file, the number of entries of a folder, the size of the first object of a bucket.
    """
    return {root: _glimpse(root) for root in roots}


def _glimpse(root: str) -> int | None:
    try:
        if "://" in root:
            return next((found.size for found in open_source(root).list()), None)
        path = _path_of(root)
        return sum(1 for _ in path.iterdir()) if path.is_dir() else path.stat().st_size
    except (OSError, SourceError):
        return None


def damage_of(file: BinaryIO) -> str | None:
    """Return the reason where bytes of an archive were damaged, whatever the reader made of it; None otherwise."""
    return file.damage if isinstance(file, MemberFile) else None


def verify(file: BinaryIO) -> None:
    """Compare the checksum of a member, to its end; raises OSError where it is wrong."""
    if isinstance(file, MemberFile):
        file.verify()
