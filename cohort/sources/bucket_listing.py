"""List a bucket by several requests at a time, in the order in which one after the other would give the keys.

A store gives a thousand keys a request, each page after the one before. Ranges of keys can be asked for at the same
time: the prefixes below the source are cut into runs, and each run is listed from before its first key to its end.
However many prefixes there are, a run has some pages, so that it takes few requests more than one after the other.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any

from cohort.places import pause_after, persist

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Page = list[Any]

PAGE = 1000
"""Objects of one listing request: the most that S3 gives."""

_AT_ONCE = 16
_RUN_PAGES = 4  # of a run, as far as the first page tells how many keys a prefix has
_AHEAD = 8  # pages that a run may be ahead of who takes them: memory has no part in how large the bucket is
_BEFORE_SLASH = ".\U0010ffff"  # the last text that sorts before "/" after any key


def pages_of(store: Any, at_once: int = _AT_ONCE, page: int = PAGE) -> Iterator[Page]:
    """Yield the objects of a store, a page at a time, sorted by the bytes of their keys.

    Parameters
    ----------
    store : obstore store
        Best one that sorts its keys by bytes, and takes an offset: S3 and Google's do.
    at_once : int
        Listings at a time; one where the store takes no offset, or does not sort.
    page : int
        Objects of a request.
    """
    starts = _starts(store, page) if at_once > 1 else [None]
    stop = threading.Event()
    bounds = zip(starts, [*starts[1:], None], strict=True)
    under_way = deque(_Run(store, *bound, page, stop) for bound in islice(bounds, at_once))
    try:
        while under_way:
            yield from under_way.popleft()
            under_way.extend(_Run(store, *bound, page, stop) for bound in islice(bounds, 1))
    finally:
        stop.set()


def _starts(store: Any, page: int) -> Sequence[str | None]:
    """Return the prefixes with which runs begin, None for the beginning."""
    prefix = None
    while True:
        found = persist(lambda prefix=prefix: store.list_with_delimiter(prefix))  # type: ignore[misc]
        names = sorted((name.rstrip("/") + "/" for name in found["common_prefixes"]), key=str.encode)
        if len(names) != 1 or found["objects"]:
            break
        prefix = names[0].rstrip("/")
    first = [one["path"] for one in persist(lambda: next(iter(store.list(prefix, chunk_size=page)), ()))]
    if len(first) < page or len(names) < 2:  # one request tells all
        return [None]
    depth = 0 if prefix is None else prefix.count("/") + 1
    seen = {tuple(path.split("/")[: depth + 1]) for path in first}
    each = max(1, _RUN_PAGES * len(seen))  # prefixes of a run
    return [None, *names[each::each]]


class _Run:
    """The keys from one prefix up to another, listed by a thread a few pages ahead.

    Parameters
    ----------
    store : obstore store
        What is listed.
    start, end : str or None
        First prefix of the run and of the next one; None for the beginning and the end of all keys.
    page : int
        Objects of a request.
    stop : threading.Event
        Set where nobody wants the rest.
    """

    def __init__(self, store: Any, start: str | None, end: str | None, page: int, stop: threading.Event) -> None:
        self._store, self._start, self._page, self._stop = store, start, page, stop
        self._end = None if end is None else end.encode()
        self._pages: queue.Queue[Page | Exception | None] = queue.Queue(_AHEAD)
        threading.Thread(target=self._list, name="cohort-listing", daemon=True).start()

    def _list(self) -> None:
        """Hand over all pages; where an answer is cut, go on behind the last key that came."""
        offset = None if self._start is None else self._start.removesuffix("/") + _BEFORE_SLASH
        attempt = 0
        while True:
            try:
                for found in self._store.list(offset=offset, chunk_size=self._page):
                    wanted = [one for one in found if self._end is None or one["path"].encode() < self._end]
                    if not self._give(wanted) or len(wanted) < len(found):
                        break
                    offset, attempt = found[-1]["path"], 0
                self._give(None)
                return
            except Exception as error:
                try:
                    time.sleep(pause_after(error, attempt))
                except OSError as failure:  # raised again where the pages are taken
                    self._give(failure)
                    return
                attempt += 1

    def _give(self, what: Page | Exception | None) -> bool:
        """Hand over a page; returns False where nobody wants it."""
        while not self._stop.is_set():
            try:
                self._pages.put(what, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def __iter__(self) -> Iterator[Page]:
        while (found := self._pages.get()) is not None:
            if isinstance(found, Exception):
                raise found
            yield found
