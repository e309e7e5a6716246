"""Objects in a bucket: listed page by page, read by ranges.

A header costs one request of 16 KiB, seldom two; never the whole object. What a store refuses for a while (503,
time-outs, cut connections) is asked for again, a bounded number of times, with growing pauses.

Credentials are those of the environment (`AWS_ACCESS_KEY_ID`, a profile, an instance role; `GOOGLE_*`, `AZURE_*`);
`AWS_SKIP_SIGNATURE=true` reads a public bucket, `AWS_ENDPOINT_URL` names another server that speaks S3.
"""

from __future__ import annotations

import errno
import io
import os
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from cohort.errors import SourceError
from cohort.places import NO_CREDENTIALS, SCHEMES, as_os_error, has_credentials, persist, store_of, word_of
from cohort.sources.base import ObjectRef, printable
from cohort.sources.bucket_listing import pages_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from cohort.places import ObjectPath
    from cohort.sources.base import Known

_FIRST = 16 * 1024  # covers most headers with one request
_LARGEST = 8 << 20  # of one request, when an object is read on and on
_GROWTH = 4  # each further request in a row asks for so many times more
_AT_ONCE = 32  # requests under way: a header is little against the time of a request


class ObjectStoreSource:
    """A bucket, or what lies below a prefix of it.

    Parameters
    ----------
    url : str
        `s3://bucket/prefix`, `gs://...` or `az://container/prefix`.
    include, exclude : sequence of str
        Globs on the key below the prefix; `*` matches `/` too.
    skip : ObjectPath, optional
        A run folder: what is below it is no source.

    Raises
    ------
    SourceError
        If the scheme is not known, the URL names no bucket, or the client of object stores is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        skip: ObjectPath | None = None,
    ) -> None:
        scheme, _, place = url.partition("://")
        if has_credentials(url):
            raise SourceError(f"source {scheme}://...: {NO_CREDENTIALS}")  # roots are printed, and written into tables
        if scheme not in SCHEMES:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise SourceError(f"source {url}: no such kind of place; known are folders, files, {known}")
        if not place.strip("/"):
            raise SourceError(f"source {url} names no bucket; give {scheme}://BUCKET/PREFIX")
        try:
            import obstore  # noqa: F401
        except ImportError:
            raise SourceError(f"source {url}: reading buckets needs an extra: pip install 'cohort[s3]'") from None
        self._url = url.rstrip("/")
        self._include, self._exclude = tuple(include), tuple(exclude)
        inside = skip is not None and str(skip).startswith(f"{self._url}/")
        self._skipped = f"{str(skip)[len(self._url) + 1 :]}/".encode() if inside else None

    @property
    def root(self) -> str:
        """The URL, without a slash at its end."""
        return self._url

    @cached_property
    def _store(self) -> Any:
        return store_of(self._url)

    @cached_property
    def _requests(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="cohort-objects")

    # -- listing -------------------------------------------------------------------------------------------

    def list(self, known: Known | None = None) -> Iterator[ObjectRef]:
        """List the keys below the prefix, in the order of the store: that of their bytes.

        Archives are objects like others here: their members are not looked for.

        Raises
        ------
        SourceError
            If the store refuses, or does not answer.
        """
        try:
            sorted_by_bytes = self._url.startswith(("s3://", "gs://"))
            for page in pages_of(self._store) if sorted_by_bytes else pages_of(self._store, at_once=1):
                for found in page:
                    path = found["path"].encode("utf-8")
                    if self._wanted(path):
                        modified = int(found["last_modified"].timestamp() * 1_000_000) * 1000
                        yield ObjectRef(path, found["size"], modified)
        except Exception as error:  # the client's own errors, and OSError
            raise SourceError(
                f"cannot list {self._url}: {word_of(error)}; check its name and the credentials of the environment"
            ) from None

    def _wanted(self, path: bytes) -> bool:
        if self._skipped is not None and path.startswith(self._skipped):
            return False
        text = printable(path)
        included = not self._include or any(fnmatchcase(text, glob) for glob in self._include)
        return included and not any(fnmatchcase(text, glob) for glob in self._exclude)

    # -- reading -------------------------------------------------------------------------------------------

    def open(self, path: bytes) -> BinaryIO:
        """Open one object; its first bytes are under way when this returns."""
        key = path.decode("utf-8")
        return cast("BinaryIO", io.BufferedReader(_Ranged(self._store, key, self._requests), _FIRST))


class _Ranged(io.RawIOBase):
    """An object, read by ranges; at most one block of it is held."""

    name = ""  # pydicom asks every buffered file for one

    def __init__(self, store: Any, key: str, requests: ThreadPoolExecutor) -> None:
        self._store, self._key = store, key
        self._head: Future[tuple[bytes, int, str | None]] | None = requests.submit(self._first)
        self._block, self._start, self._position, self._step = b"", 0, 0, _FIRST
        self._length = 0
        self._etag: str | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    @property
    def _size(self) -> int:
        """The length of the object, known with the first answer."""
        if self._head is not None:
            head, self._head = self._head, None
            self._block, self._length, self._etag = head.result()
        return self._length

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END:
            offset += self._size
        elif whence == os.SEEK_CUR:
            offset += self._position
        if offset < 0:
            raise OSError(errno.EINVAL, "before the beginning")
        self._position = offset
        return offset

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        wanted = min(len(view), self._size - self._position)
        if wanted <= 0:
            return 0
        if not self._start <= self._position < self._start + len(self._block):
            self._fetch(wanted)
        at = self._position - self._start
        part = self._block[at : at + wanted]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _fetch(self, wanted: int) -> None:
        """Get the block that begins here: larger each time the object is read on, small again after a leap."""
        onward = self._position == self._start + len(self._block)
        self._step = min(self._step * _GROWTH, _LARGEST) if onward else _FIRST
        stop = min(self._position + max(wanted, self._step), self._size)
        self._block, _, _ = self._answer(self._position, stop, self._etag)
        self._start = self._position
        if len(self._block) != stop - self._start:
            raise OSError(errno.EIO, "an object store sent less than was asked for")

    def _first(self) -> tuple[bytes, int, str | None]:
        try:
            return self._ask(0, _FIRST, None)
        except Exception as error:
            failure = as_os_error(error)
            if failure.errno != errno.EIO:
                raise failure from None
        meta = persist(lambda: self._store.head(self._key))  # a range of nothing is an error to most stores
        return (b"", 0, meta["e_tag"]) if meta["size"] == 0 else self._answer(0, _FIRST, meta["e_tag"])

    def _answer(self, start: int, stop: int, etag: str | None) -> tuple[bytes, int, str | None]:
        """Return the bytes of a range, the size and the tag of the object; it must be the one begun with."""
        return persist(lambda: self._ask(start, stop, etag))

    def _ask(self, start: int, stop: int, etag: str | None) -> tuple[bytes, int, str | None]:
        options: dict[str, Any] = {"range": (start, stop)}
        if etag is not None:
            options["if_match"] = etag
        found = self._store.get(self._key, options=options)
        return bytes(found.bytes()), found.meta["size"], found.meta["e_tag"]


def nested(urls: Sequence[str]) -> tuple[str, str] | None:
    """Return two URLs of which one lies below the other, or None."""
    for i, first in enumerate(urls):
        for second in urls[i + 1 :]:
            if f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/"):
                return first, second
    return None
