"""Archives for tests, written by the standard library."""

from __future__ import annotations

import io
import struct
import tarfile
import warnings
import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

TAR_MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}
ENDINGS = (".zip", *TAR_MODES)


def zip_of(
    members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    pairs = members.items() if hasattr(members, "items") else members
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", compression) as archive:
        warnings.simplefilter("ignore")  # names that repeat are meant
        for name, data in pairs:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return out.getvalue()


def tar_of(
    members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], mode: str = "w", form: int = tarfile.PAX_FORMAT
) -> bytes:
    pairs = members.items() if hasattr(members, "items") else members
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form, encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def tar_with(*entries: tuple[tarfile.TarInfo, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def packed(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], ending: str) -> bytes:
    return zip_of(members) if ending == ".zip" else tar_of(members, TAR_MODES[ending])


def entries_of(archive: bytes | bytearray) -> list[int]:
    """Places of the entries of a zip's central directory (APPNOTE 4.3.12)."""
    (place,) = struct.unpack_from("<L", archive, archive.rindex(b"PK\5\6") + 16)
    found = []
    while archive[place : place + 4] == b"PK\1\2":
        found.append(place)
        place += 46 + sum(struct.unpack_from("<3H", archive, place + 28))
    return found


def pack_folder(folder: Path, archive: Path) -> None:
    """Pack a folder as people do: the zip by names, the tar with `./` before them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for path in files:
                out.write(path, path.relative_to(folder))
        return
    with tarfile.open(archive, TAR_MODES["".join(archive.suffixes)]) as tar:
        tar.add(folder, ".")
