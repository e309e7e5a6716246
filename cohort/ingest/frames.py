"""The source frames of one volume: opened, read in order, converted slab by slab."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cohort import isolation
from cohort.config import MIB
from cohort.errors import RejectedError
from cohort.ingest.decoding import IsolatedFrames
from cohort.readers import needs_decoder, nifti_pair_names, open_frames, read_modality_table
from cohort.sources import damage_of, open_source, verify

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from cohort.config import Config
    from cohort.readers import FrameReader
    from cohort.sources import Source
    from cohort.values import Table, ValuePlan

Row = dict[str, Any]
State = tuple[int, int]


class VolumeFrames:
    """The source frames of one volume, read in order; one object is open at a time."""

    def __init__(self, volume: Row, frames: list[Row], config: Config) -> None:
        if not frames:
            raise RejectedError("no_frames")
        self._frames = frames
        self._config = config
        self._slices, self._timepoints = volume["slices"], volume["timepoints"]
        self._whole = frames[0]["frame"] is None
        self._nifti = volume["format"] == "nifti"
        self._open: tuple[Any, FrameReader] | None = None
        self._source: tuple[str, Source] | None = None  # that of the object opened last
        self._file: BinaryIO | None = None  # the object opened last
        self._state: State | None = None  # of it, when it was opened
        self._first: NDArray[Any] | None = None
        self._last_table: tuple[Any, Table | None] | None = None
        self._vectors = self._vector_length()
        self.decoder = ""

    def __enter__(self) -> VolumeFrames:
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        try:
            self._close(verified=kind is None)
        except (RejectedError, OSError):
            if kind is None:  # what went wrong first is the reason
                raise

    def close(self) -> None:
        """Close what is open; a member of an archive, and a gzip stream, are read to their end and checked."""
        self._close()

    def rewind(self) -> None:
        """Begin again: what is open is closed unchecked."""
        self._close(verified=False)

    def _close(self, *, verified: bool = True) -> None:
        """Close the object that is open; a member of an archive is held against its checksum before."""
        if self._open is None:
            return
        (_, reader), self._open = self._open, None
        with self._blaming():
            try:
                if verified and isinstance(reader, IsolatedFrames):
                    reader.verify()
                elif verified and self._file is not None:
                    verify(self._file)
                    check_unchanged(self._file, self._state)
            finally:
                reader.close()

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Name a damaged archive as the reason of whatever came of it."""
        try:
            yield
        except Exception:
            damage = None if self._file is None else damage_of(self._file)
            if damage is None:
                raise
            raise RejectedError(damage) from None

    def _vector_length(self) -> int:
        """Return the length of the fifth dimension of NIfTI."""
        dim = self._frames[0]["nifti_dim"]
        return int(dim[5]) if self._nifti and dim[0] >= 5 else 1

    def first(self) -> NDArray[Any]:
        """Return the stored values of the first frame."""
        if self._first is None:
            self._first = self._read(0, 0)
        return self._first

    @property
    def shape(self) -> tuple[int, int, int, int, int]:
        """Time, channel, slice, row, column."""
        first = self.first()
        channels = first.shape[2] if first.ndim == 3 else 1
        return self._timepoints, channels, self._slices, first.shape[0], first.shape[1]

    def slab(self, t: int, start: int, stop: int, plan: ValuePlan) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Return modality values (channel, slice, row, column) and the padding mask (slice, row, column).

        Frames are converted one by one into their place, while they are in the cache.
        """
        size = self.first().shape
        values = np.empty((stop - start, *size), plan.dtype)
        masks: NDArray[np.bool_] | None = None
        for place, z in enumerate(range(start, stop)):
            stored = self.first() if (t, z) == (0, 0) else self._read(t, z)
            if stored.shape != size:
                raise RejectedError("frames_differ_in_size")
            row = self._row(t, z)
            mask = plan.padding(stored, row)
            if mask is not None:
                masks = np.zeros(values.shape, bool) if masks is None else masks
                masks[place] = mask
            plan.convert(stored, row, out=values[place], table=self._table(row) if plan.tables else None)
        return (values[np.newaxis] if values.ndim == 3 else np.moveaxis(values, -1, 0)), masks

    def _table(self, row: Row) -> Table | None:
        """Return the modality LUT of the object of a frame; the one read last is kept."""
        key = (row["source"], row["path_raw"])
        if self._last_table is None or self._last_table[0] != key:
            with open_pixels(row) as file:
                table = read_modality_table(file, row, gzip_limit=self._config.scan.gzip_limit_mib * MIB)
            self._last_table = (key, table)
        return self._last_table[1]

    def _row(self, t: int, z: int) -> Row:
        return self._frames[0] if self._whole else self._frames[t * self._slices + z]

    def _read(self, t: int, z: int) -> NDArray[Any]:
        row = self._row(t, z)
        with self._blaming():
            reader = self._reader(row)
            if not self._whole:
                return np.asarray(reader.read(row["frame"]))
            if self._vectors == 1:
                return np.asarray(reader.read(t * self._slices + z))
            every = self._timepoints * self._slices
            parts = [np.asarray(reader.read(v * every + t * self._slices + z)) for v in range(self._vectors)]
        return np.concatenate([part if part.ndim == 3 else part[..., np.newaxis] for part in parts], axis=-1)

    def _reader(self, row: Row) -> FrameReader:
        key = (row["source"], row["path_raw"])
        if self._open is not None and self._open[0] == key:
            return self._open[1]
        self._close()
        reader = self._opened(row)
        self._open = (key, reader)
        names = [*filter(None, self.decoder.split("; ")), reader.decoder]
        self.decoder = "; ".join(sorted(set(names)))
        return reader

    def _opened(self, row: Row) -> FrameReader:
        """Open an object; what goes through a decoder of others does so in a child process."""
        options = self._config.ingest
        self._file = None
        if options.isolate and needs_decoder(row) and isolation.is_available():
            return IsolatedFrames(row, self._config)
        if self._source is None or self._source[0] != row["source"]:
            self._source = (row["source"], open_source(row["source"]))
        self._file = open_pixels(row, self._source[1])
        self._state = state_of(self._file)
        limits = {"gzip_limit": self._config.scan.gzip_limit_mib * MIB, "frame_limit": options.frame_limit_mib * MIB}
        return open_frames(self._file, row, **limits)


def state_of(file: BinaryIO) -> State | None:
    """Return size and time of a file on a disk, None for what is none."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def check_unchanged(file: BinaryIO, before: State | None) -> None:
    """Raise RejectedError where a file has been written to since."""
    if state_of(file) != before:
        raise RejectedError("changed")


def open_pixels(row: Row, source: Source | None = None) -> BinaryIO:
    """Open the object that holds the pixels: the `.img` of a NIfTI pair, else the object itself.

    Parameters
    ----------
    row : dict
        A row of `frames`.
    source : Source, optional
        Where it lies, where that has been opened already.
    """
    source, path = source or open_source(row["source"]), row["path_raw"]
    if row["format"] == "nifti" and row["nifti_magic"].startswith("ni"):
        folder, name = os.path.split(path)
        for candidate in nifti_pair_names(os.fsdecode(name)):
            try:
                file = source.open(os.path.join(folder, os.fsencode(candidate)))
                file.seek(0, os.SEEK_END)  # an object of a bucket is missed only when it is asked for
                file.seek(0)
                return file
            except FileNotFoundError:
                continue
        raise RejectedError("missing_img")
    file = source.open(path)
    if file.seek(0, os.SEEK_END) != row["size"]:
        file.close()
        raise RejectedError("changed")
    file.seek(0)
    return file
