"""Where results are: a folder, or a prefix in a bucket, with one set of names for what is done there.

A place is a `pathlib.Path`, or an `ObjectPath`, which has those methods of one that a run folder needs. In a bucket an
object appears whole or not at all, so nothing there has a temporary name; a folder is what has keys below it.

Credentials are those of the environment (`AWS_ACCESS_KEY_ID`, a profile, an instance role; `GOOGLE_*`, `AZURE_*`);
`AWS_SKIP_SIGNATURE=true` reads a public bucket, `AWS_ENDPOINT_URL` names another server that speaks S3.
"""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
import time
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from cohort.errors import CohortError, OutputError, RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

SCHEMES = ("s3", "gs", "az")

ATTEMPTS = 5  # of one request, each with the retries of the client, which does not ask again once an answer began
PAUSE_SECONDS = 0.2  # before the second attempt; twice as long before each further one
_BLOCK = 256 * 1024  # read at once of an object that is read in small pieces
_AT_ONCE = 1000  # keys of one request to delete: the most that S3 takes
_RETRIES: dict[str, Any] = {
    "max_retries": 8,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
}


def store_of(url: str) -> Any:
    """Return the client of a bucket, or of what lies below a prefix of it.

    What the store refuses for a while (503, time-outs, cut connections) is asked for again, a bounded number of times,
    with growing pauses.
    """
    from obstore.store import from_url

    options: dict[str, Any] = {"retry_config": _RETRIES}
    if url.startswith("s3://"):
        options |= _profile()
    return from_url(url, **options)


def _profile() -> dict[str, Any]:
    """Take credentials from a profile or a role by boto3, where it is installed and the environment holds no keys."""
    if {"AWS_ACCESS_KEY_ID", "AWS_SKIP_SIGNATURE"} & os.environ.keys():
        return {}
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        return {}
    session = boto3.Session()
    return {"credential_provider": Boto3CredentialProvider(session)} if session.get_credentials() else {}


def as_os_error(error: Exception) -> OSError:
    """Return what the client says as an error of the system; never its message, which holds the key."""
    if isinstance(error, OSError) and error.errno is not None:
        return error
    number = _NUMBERS.get(type(error).__name__, errno.EIO)
    if number == errno.EIO and any(code in str(error) for code in _NO_BUCKET):
        number = errno.ENOENT
    return OSError(number, os.strerror(number))


_NO_BUCKET = ("NoSuchBucket", "ContainerNotFound")
_NUMBERS = {
    "NotFoundError": errno.ENOENT,
    "FileNotFoundError": errno.ENOENT,
    "AlreadyExistsError": errno.EEXIST,
    "FileExistsError": errno.EEXIST,
    "PermissionDeniedError": errno.EACCES,
    "PermissionError": errno.EACCES,
    "UnauthenticatedError": errno.EACCES,
    "PreconditionError": errno.ESTALE,
}


def persist(ask: Callable[[], T]) -> T:
    """Return what a request gives; where the answer is cut it is sent again. Raises OSError."""
    for attempt in range(ATTEMPTS):
        try:
            return ask()
        except Exception as error:
            time.sleep(pause_after(error, attempt))
    raise AssertionError


def pause_after(error: Exception, attempt: int) -> float:
    """Return the seconds before the next attempt; raises OSError where none is left, or the store has refused."""
    failure = as_os_error(error)
    if attempt == ATTEMPTS - 1 or failure.errno != errno.EIO:
        raise failure from None
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - a pause is no secret
    seconds: float = PAUSE_SECONDS * 2**attempt * spread
    return seconds


def word_of(error: Exception) -> str:
    """Return in words what the store said."""
    words = {errno.ENOENT: "there is no such bucket", errno.EACCES: "access is denied"}
    return words.get(as_os_error(error).errno or 0, "the store does not answer as it should")


@contextmanager
def of_results() -> Iterator[None]:
    """Tell a bucket that cannot be written to from an image that cannot be read: raises RunError."""
    try:
        yield
    except CohortError:
        raise
    except Exception as error:
        raise RunError(f"cannot write the results: {word_of(error)}; run the same command again to go on") from None


class Status(NamedTuple):
    """Size in bytes and time of the last change of an object, in seconds by the clock of the store."""

    st_size: int
    st_mtime: float


class ObjectPath:
    """A key of a bucket, or the prefix of keys.

    Parameters
    ----------
    bucket : str
        `s3://bucket`, `gs://bucket` or `az://container`.
    key : str
        Key or prefix, without slashes at its ends.
    """

    def __init__(self, bucket: str, key: str) -> None:
        self.bucket, self.key = bucket, key

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}" if self.key else self.bucket

    def __repr__(self) -> str:
        return f"ObjectPath({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObjectPath) and (self.bucket, self.key) == (other.bucket, other.key)

    def __hash__(self) -> int:
        return hash((self.bucket, self.key))

    def __truediv__(self, name: str) -> ObjectPath:
        return ObjectPath(self.bucket, f"{self.key}/{name}".strip("/"))

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @property
    def parent(self) -> ObjectPath:
        """The prefix that holds it."""
        return ObjectPath(self.bucket, self.key.rpartition("/")[0])

    @property
    def store(self) -> Any:
        """The client of the bucket, one a process."""
        return _store(self.bucket, os.getpid())

    # -- what is there -------------------------------------------------------------------------------------

    def stat(self) -> Status:
        """Return size and time of change; raises OSError where there is no such object."""
        meta = persist(lambda: self.store.head(self.key))
        return Status(meta["size"], meta["last_modified"].timestamp())

    def is_file(self) -> bool:
        """Tell whether there is such an object."""
        try:
            self.stat()
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return False
        return True

    def is_dir(self) -> bool:
        """Tell whether there are keys below it."""
        return bool(persist(lambda: next(iter(self.store.list(self._below, chunk_size=1)), ())))

    def exists(self) -> bool:
        """Tell whether there is such an object, or keys below it."""
        return self.is_dir() or self.is_file()

    @property
    def _below(self) -> str | None:
        return f"{self.key}/" if self.key else None

    def files(self) -> list[tuple[ObjectPath, int]]:
        """Return all objects below, at any depth, with their sizes."""
        pages = persist(lambda: list(self.store.list(self._below)))
        return [(ObjectPath(self.bucket, one["path"]), one["size"]) for page in pages for one in page]

    def children(self) -> tuple[list[ObjectPath], list[ObjectPath]]:
        """Return what lies directly below: prefixes of more, and objects."""
        found = persist(lambda: self.store.list_with_delimiter(self._below))
        names = sorted(found["common_prefixes"]), sorted(one["path"] for one in found["objects"])
        folders, objects = ([ObjectPath(self.bucket, name.rstrip("/")) for name in part] for part in names)
        return folders, objects

    # -- reading and writing -------------------------------------------------------------------------------

    def read_bytes(self) -> bytes:
        """Return all of an object."""
        return persist(lambda: bytes(self.store.get(self.key).bytes()))

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return all of an object as text."""
        return self.read_bytes().decode(encoding, errors)

    def open(self, mode: str = "rb") -> io.BufferedReader:
        """Open an object for reading, by ranges."""
        if mode != "rb":
            raise ValueError(mode)
        return io.BufferedReader(_Ranges(self, self.stat().st_size), _BLOCK)

    def read_range(self, start: int, stop: int) -> bytes:
        """Return the bytes from one place up to another."""
        return persist(lambda: bytes(self.store.get_range(self.key, start=start, end=stop)))

    def read_tagged(self) -> tuple[bytes, str] | None:
        """Return all of an object and the tag of its state, None where there is no such object."""

        def ask() -> tuple[bytes, str]:
            found = self.store.get(self.key)
            return bytes(found.bytes()), found.meta["e_tag"]

        try:
            return persist(ask)
        except FileNotFoundError:
            return None

    def write_bytes(self, data: bytes | Path, *, new: bool = False, instead_of: str | None = None) -> None:
        """Write an object, whole; of a file its bytes.

        Raises
        ------
        FileExistsError
            If it must be `new` and is not, or must replace the state with a tag and has another.
        """
        mode: Any = "create" if new else "overwrite"
        if instead_of is not None:
            mode = {"e_tag": instead_of}
        try:
            persist(lambda: self.store.put(self.key, data, mode=mode))
        except OSError as error:
            if error.errno == errno.ESTALE:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from None
            raise

    def write_text(self, text: str, encoding: str = "utf-8") -> None:
        """Write an object."""
        self.write_bytes(text.encode(encoding))

    def unlink(self, missing_ok: bool = False) -> None:
        """Remove an object."""
        if not missing_ok and not self.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with suppress(FileNotFoundError):
            persist(lambda: self.store.delete(self.key))

    def remove_tree(self) -> None:
        """Remove all objects below."""
        keys = [path.key for path, _ in self.files()]
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            persist(lambda some=some: self.store.delete(some))  # type: ignore[misc]


def children_of(place: Place) -> tuple[list[Place], list[Place]]:
    """Return the folders and the files directly in a place, sorted; none where it does not exist."""
    if isinstance(place, ObjectPath):
        folders, objects = place.children()
        return [*folders], [*objects]
    if not place.is_dir():
        return [], []
    found = sorted(place.iterdir())
    return [path for path in found if path.is_dir()], [path for path in found if not path.is_dir()]


def files_below(place: Place) -> Iterator[tuple[Place, int]]:
    """Yield all files of a place, at any depth, with their sizes in bytes."""
    if isinstance(place, ObjectPath):
        yield from place.files()
        return
    for path in place.glob("**/*"):
        if path.is_file():
            yield path, path.stat().st_size


def remove_tree(place: Place) -> None:
    """Remove a folder with all that is in it, as far as that goes."""
    if isinstance(place, ObjectPath):
        place.remove_tree()
    else:
        shutil.rmtree(place, ignore_errors=True)


class _Ranges(io.RawIOBase):
    """An object as a file of Python: every read is a request."""

    def __init__(self, place: ObjectPath, size: int) -> None:
        self._place, self._size, self._position = place, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        stop = min(self._position + len(view), self._size)
        if stop <= self._position:
            return 0
        data = self._place.read_range(self._position, stop)
        view[: len(data)] = data
        self._position += len(data)
        return len(data)


@cache
def _store(bucket: str, pid: int) -> Any:
    """Return the client of a bucket; a process that was forked makes its own."""
    return store_of(bucket)


Place = Path | ObjectPath


NO_CREDENTIALS = "the URL of a bucket holds no credentials; put them into the environment"


def has_credentials(url: str) -> bool:
    """Tell whether what is before the first slash of a URL is more than the name of a bucket."""
    return "@" in url.partition("://")[2].partition("/")[0]


def is_url(text: str) -> bool:
    """Tell whether a text names a place in a bucket."""
    return "://" in text


def place_of(given: str | Path | ObjectPath) -> Place:
    """Return the place that a text names; a relative folder becomes an absolute one: workers may be in another.

    Raises
    ------
    OutputError
        If it is a URL that names no bucket, or one of a kind not known; if the client of buckets is not installed.
    """
    if isinstance(given, ObjectPath):
        return given
    if isinstance(given, Path) or not is_url(given):
        return Path(given).absolute()
    scheme, _, rest = given.partition("://")
    bucket, _, key = rest.strip("/").partition("/")
    if has_credentials(given):
        raise OutputError(f"{scheme}://...: {NO_CREDENTIALS}")  # and so no error line does either
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise OutputError(f"{given}: no such kind of place; known are folders, {known}")
    if not bucket or not key:
        raise OutputError(f"{given} is no place for results; give {scheme}://BUCKET/PREFIX")
    try:
        import obstore  # noqa: F401
    except ImportError:
        raise OutputError(f"{given}: buckets need an extra: pip install 'cohort[s3]'") from None
    return ObjectPath(f"{scheme}://{bucket}", key)
