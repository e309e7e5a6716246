"""Frames that go through decoders of others, in a child process: a crash there costs one volume, not the run."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from cohort.config import MIB
from cohort.errors import QuarantinedError, RejectedError
from cohort.isolation import ChildLimits, Lease
from cohort.readers import no_decoder, open_frames
from cohort.schema import FRAMES
from cohort.sources import INSIDE, damage_of, verify

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from cohort.config import Config
    from cohort.readers import FrameReader

SERVICE = "cohort.ingest.decoding:serve"

_REASON = re.compile(r"[a-z0-9_]+(: [A-Za-z_]+)?")  # what a child may call the reason: a code and a type, no more
_TYPE = re.compile(r"[<>|]?[iuf][1248]")


class IsolatedFrames:
    """Frames of one object, read and decoded by a child process.

    Parameters
    ----------
    row : mapping
        A row of `frames`.
    config : Config
        Sections `scan` and `ingest` are used.
    """

    def __init__(self, row: Mapping[str, Any], config: Config) -> None:
        options = config.ingest
        self._most = options.frame_limit_mib * MIB * 4  # decoders may widen samples
        self._request = {
            "row": {name: value for name, value in row.items() if value is not None}
            | {"path_raw": row["path_raw"].decode("latin-1")},
            "gzip_limit": config.scan.gzip_limit_mib * MIB,
            "frame_limit": options.frame_limit_mib * MIB,
        }
        self._lease = Lease(SERVICE, ChildLimits(options.decode_seconds, options.decode_memory_mib * MIB))
        self._no_decoder = no_decoder(row["TransferSyntaxUID"])
        self._member = INSIDE in row["path_raw"]
        self._frame = int(row["frame"] or 0)
        try:
            self._ahead: NDArray[np.generic] | None = self._read(self._frame)  # opens it too, in one step
        except BaseException:
            self._lease.close()
            raise

    def read(self, frame: int) -> NDArray[np.generic]:
        """Return one frame; raises RejectedError or QuarantinedError."""
        ahead, self._ahead = self._ahead, None
        return ahead if ahead is not None and frame == self._frame else self._read(frame)

    def _read(self, frame: int) -> NDArray[np.generic]:
        answer, block = self._ask("read", frame=frame)
        self.decoder = str(answer.get("decoder"))
        shape: Any = answer.get("shape")
        kind = answer.get("dtype")
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind) or not _is_shape(shape):
            raise QuarantinedError("crash")
        if math.prod(shape) * np.dtype(kind).itemsize != len(block):
            raise QuarantinedError("crash")
        return np.frombuffer(block, kind).reshape(shape)

    def verify(self) -> None:
        """Compare the checksum of a member of an archive, to its end; raises RejectedError where it is wrong."""
        if self._member:
            self._ask("verify")

    def close(self) -> None:
        """Give the child back."""
        self._lease.close()

    def _ask(self, wanted: str, **more: int) -> tuple[dict[str, Any], bytearray]:
        answer, block = self._lease.ask({"wanted": wanted, **self._request, **more}, self._most)
        if "errno" in answer:
            raise OSError(int(answer["errno"]), "the source cannot be read")
        if "rejected" in answer:
            reason = answer["rejected"]
            if not isinstance(reason, str) or not (reason == self._no_decoder or _REASON.fullmatch(reason)):
                raise QuarantinedError("crash")
            raise RejectedError(reason)
        return answer, block


def _is_shape(shape: Any) -> bool:
    return isinstance(shape, list) and len(shape) in (2, 3) and all(isinstance(n, int) and n > 0 for n in shape)


# -- in the child ------------------------------------------------------------------------------------------


class _Opened:
    """The object that the child has open."""

    def __init__(self) -> None:
        self._key: Any = None
        self.file: BinaryIO | None = None
        self.reader: FrameReader | None = None
        self._state: Any = None

    def of(self, request: dict[str, Any]) -> FrameReader:
        """Return the reader of the object asked for."""
        from cohort.ingest.frames import open_pixels, state_of

        row = dict.fromkeys(FRAMES.names) | request["row"]
        row["path_raw"] = row["path_raw"].encode("latin-1")
        key = (row["source"], row["path_raw"])
        if key != self._key or self.reader is None:
            self.close()
            self.file = open_pixels(row)
            self._state = state_of(self.file)
            limits = {name: request[name] for name in ("gzip_limit", "frame_limit")}
            self.reader = open_frames(self.file, row, **limits)
            self._key = key
        return self.reader

    def check(self) -> None:
        """Raise RejectedError where the object has been written to since it was opened."""
        from cohort.ingest.frames import check_unchanged

        if self.file is not None:
            check_unchanged(self.file, self._state)

    def close(self) -> None:
        """Close it."""
        reader, file = self.reader, self.file
        self._key = self.reader = self.file = None
        if reader is not None:
            reader.close()
        elif file is not None:
            file.close()


_opened = _Opened()


def prepare() -> None:
    """Import the readers, in the child."""
    from cohort.readers import dicom_codestream, dicom_mosaic, dicom_pixels  # noqa: F401


def serve(request: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Serve one request of `IsolatedFrames`, in the child."""
    from cohort.readers import without_warnings

    try:
        with without_warnings():
            reader = _opened.of(request)
            if request["wanted"] == "verify":
                assert _opened.file
                verify(_opened.file)
                _opened.close()
                return {}, b""
            values = np.ascontiguousarray(reader.read(request["frame"]))
            _opened.check()
            return {"shape": values.shape, "dtype": values.dtype.str, "decoder": reader.decoder}, values
    except RejectedError as rejection:
        reason = _damage() or rejection.reason
        if reason.endswith(": MemoryError"):
            raise MemoryError from None
        return {"rejected": reason}, b""
    except OSError as error:
        damage = _damage()
        return ({"errno": error.errno or 5} if damage is None else {"rejected": damage}), b""


def _damage() -> str | None:
    return None if _opened.file is None else damage_of(_opened.file)
