"""Whether two files of one name and one header hold the same pixels: all that assembling reads beside headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from cohort.errors import SourceError
from cohort.sources import open_source

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]

_BLOCK = 1 << 20


def same_pixels(first: Row, second: Row) -> bool:
    """Tell whether two objects, alike as far as their headers go, are alike in the pixel values they store.

    Parameters
    ----------
    first, second : dict
        Rows of `files`.

    Returns
    -------
    bool
        True also where nothing can be told: an object is gone, or it is compressed as a whole.
    """
    if first["pixel_offset"] is None or second["pixel_offset"] is None:
        return True
    try:
        with _open(first) as one, _open(second) as other:
            length = first["pixel_length"]
            for block, counterpart in zip(_blocks(one, length), _blocks(other, length), strict=False):
                shared = min(len(block), len(counterpart))  # behind encapsulated pixels the objects may differ
                if block[:shared] != counterpart[:shared]:
                    return False
    except (OSError, SourceError):  # an object is gone, or the source itself
        return True
    return True


def _open(row: Row) -> BinaryIO:
    file = open_source(row["source"]).open(row["path_raw"])
    file.seek(row["pixel_offset"])
    return file


def _blocks(file: BinaryIO, length: int | None) -> Iterator[bytes]:
    """Yield `length` bytes, all that follow where it is None."""
    while length is None or length > 0:
        block = file.read(_BLOCK if length is None else min(_BLOCK, length))
        if not block:
            return
        length = None if length is None else length - len(block)
        yield block
