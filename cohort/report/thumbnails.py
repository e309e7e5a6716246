"""The contact sheet: one slice of some volumes, as small pictures inside the page. Only where it is asked for.

Pixels can name a patient: by text burned into them, by a face. So pictures are of modalities that hardly ever carry
text, never of a series with a finding of burned-in text, and of stacks: a single CT or MR image is often a capture of a
screen. Slices that are not transverse are shown of body parts that are known to be no head: they would show a profile.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cohort.report import names, vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cohort.report.safe import SafeRun

SIDE = 160
"""Pixels of the longer side."""
MOST_PICTURES, MOST_BYTES = 60, 2 << 20

STACKS, SINGLES = frozenset(("CT", "MR", "PT", "NM", "SEG", "RTDOSE")), frozenset(("DX", "MG"))
_FEWEST_SLICES = 3
_BURNED_IN = "PHI-BURNED-IN"
_WITH_FACES = frozenset(("CT", "MR", "PT", "NM"))
_HEADS = (
    "HEAD",
    "BRAIN",
    "SKULL",
    "FACE",
    "NECK",
    "CSPINE",
    "ORBIT",
    "SINUS",
    "EAR",
    "EYE",
    "IAC",
    "TMJ",
    "JAW",
    "NOSE",
)
_RANK = {"error": 0, "warning": 1}


class Picture(NamedTuple):
    """One slice of one volume."""

    label: str
    modality: str
    codes: list[str]
    """Findings on the volume that are no mere information."""
    slices: int
    uri: str
    width: int
    height: int


class Sheet(NamedTuple):
    """The pictures, and how many volumes have none: not to be shown, or beyond what the page has room for."""

    pictures: list[Picture]
    withheld: int
    left_out: int


def contact_sheet(run: SafeRun) -> Sheet:
    """Choose the volumes that may be shown, those with findings first, and draw the middle slice of each.

    Values are drawn from the 1st to the 99th percentile of their volume, MONOCHROME1 inverted (PS3.3 C.7.6.3.1.2), RGB
    as it is; a pixel of the picture is as high as it is wide in mm.
    """
    volumes = [row for row in _volumes(run) if row["status"] == "ok"]
    allowed = [row for row in volumes if _may_be_shown(row)]
    allowed.sort(key=lambda row: (row["rank"], row["volume_id"]))
    pictures: list[Picture] = []
    size = 0
    for row in allowed[:MOST_PICTURES]:
        picture = _picture(run, row)
        size += len(picture.uri) if picture else 0
        if size > MOST_BYTES:
            break
        pictures += [picture] if picture else []
    return Sheet(pictures, len(volumes) - len(allowed), len(allowed) - len(pictures))


def _volumes(run: SafeRun) -> list[dict[str, Any]]:
    """Return what decides about each volume; nothing where the checks were not run, for then nobody looked."""
    if not (run.has("findings") and run.has("statistics")):
        return []
    columns = ["Modality", "status", "format", "slices", "spacing_row_mm", "spacing_col_mm", "affine_lps"]
    rows: list[dict[str, Any]] = run.read("volumes", columns, numbers=["volume_id", "series_key"]).to_pylist()
    percentiles = run.read("statistics", ["p1", "p99"], numbers=["volume_id"]).to_pylist()
    windows = {row["volume_id"]: (row["p1"], row["p99"]) for row in percentiles}
    read = run.read("series", ["PhotometricInterpretation", "BodyPartExamined"], numbers=["series_key"])
    series = {row["series_key"]: row for row in read.to_pylist()}
    burned, flags = _flags(run)
    for row in rows:
        codes = flags.get(row["volume_id"], {})
        row["codes"] = sorted(codes, key=lambda code: (codes[code], code))
        row["rank"] = min(codes.values(), default=len(_RANK))
        row["window"] = windows.get(row["volume_id"], (None, None))
        own = series[row["series_key"]]
        row["inverted"] = own["PhotometricInterpretation"] == "MONOCHROME1"
        row["burned"] = row["series_key"] in burned
        row["profile"] = row["Modality"] in _WITH_FACES and not (
            _is_transverse(row["affine_lps"]) or _is_no_head(own["BodyPartExamined"])
        )
    return rows


def _is_transverse(affine: list[float] | None) -> bool:
    """Tell whether slices follow each other along the body more than across it."""
    return affine is not None and abs(affine[10]) > max(abs(affine[2]), abs(affine[6]))


def _is_no_head(body_part: str | None) -> bool:
    """Tell whether a body part is given, and is neither the head nor beside it."""
    part = (body_part or "").upper().replace(" ", "")
    return part not in ("", vocabulary.OTHER.upper(), "WHOLEBODY") and not any(word in part for word in _HEADS)


def _flags(run: SafeRun) -> tuple[set[int], dict[int, dict[str, int]]]:
    """Return the series with a finding of burned-in text, and of each volume its findings with their ranks."""
    burned: set[int] = set()
    flags: dict[int, dict[str, int]] = {}
    for row in run.findings().to_pylist():
        if row["code"].startswith(_BURNED_IN) and row["series"]:
            burned.add(row["series"])
        if row["scope"] == "volume" and row["volume"] and row["severity"] in _RANK:
            flags.setdefault(row["volume"], {})[names.plain(row["code"])] = _RANK[row["severity"]]
    return burned, flags


def _may_be_shown(row: dict[str, Any]) -> bool:
    stack = row["Modality"] in STACKS and (row["slices"] or 0) >= _FEWEST_SLICES
    return (stack or row["Modality"] in SINGLES) and not row["burned"] and not row["profile"]


def _picture(run: SafeRun, row: dict[str, Any]) -> Picture | None:
    values = run.middle_slice(row["volume_id"])
    if values is None:
        return None
    if row["format"] == "nifti":  # its rows go up
        values = values[::-1]
    colours = drawn(values, row["window"], (row["spacing_row_mm"], row["spacing_col_mm"]), inverted=row["inverted"])
    uri = "data:image/png;base64," + base64.b64encode(png(colours)).decode()
    height, width = colours.shape[:2]
    label = names.local("V", row["volume_id"])
    return Picture(label, names.label(row["Modality"]), row["codes"], row["slices"] or 1, uri, width, height)


def drawn(
    values: NDArray[Any],
    window: tuple[float | None, float | None],
    spacing: tuple[float | None, float | None],
    *,
    inverted: bool = False,
) -> NDArray[np.uint8]:
    """Return one slice as grey levels or colours.

    Parameters
    ----------
    values : array
        (rows, columns), or (rows, columns, 3) of RGB.
    window : tuple of float
        Value of black and of white; where they are equal, those of the slice.
    spacing : tuple of float
        Distance between rows and between columns in mm; None: alike.
    inverted : bool
        The lowest value is white.
    """
    rows, columns = values.shape[:2]
    down, across = spacing if None not in spacing else (1.0, 1.0)
    height, width = rows * float(down or 1), columns * float(across or 1)
    scale = SIDE / max(height, width)
    known = np.nan_to_num(values.astype(np.float64), nan=np.nan, posinf=np.nan, neginf=np.nan)
    if values.ndim == 2:
        low, high = window
        if low is None or high is None or not low < high:
            low, high = (np.nanmin(known), np.nanmax(known)) if np.isfinite(known).any() else (0.0, 1.0)
        known = (known - low) / ((high - low) or 1.0) * 255
    known = np.nan_to_num(known, nan=0.0).clip(0, 255)
    known = _resized(_resized(known, 0, max(1, round(height * scale))), 1, max(1, round(width * scale)))
    return np.asarray(np.rint(255 - known if inverted and values.ndim == 2 else known), np.uint8)


def _resized(values: NDArray[np.float64], axis: int, size: int) -> NDArray[np.float64]:
    """Return values with another length of an axis: means where it becomes shorter, else the nearest."""
    length = values.shape[axis]
    if size >= length:
        return np.asarray(values.take(((np.arange(size) + 0.5) * length / size).astype(np.intp), axis=axis))
    edges = np.linspace(0, length, size + 1).astype(np.intp)
    shape = [1] * values.ndim
    shape[axis] = size
    return np.asarray(np.add.reduceat(values, edges[:-1], axis=axis) / np.diff(edges).reshape(shape))


def png(colours: NDArray[np.uint8]) -> bytes:
    """Return grey levels or RGB as PNG (ISO/IEC 15948): one image, no other chunk."""
    height, width = colours.shape[:2]
    kind = 0 if colours.ndim == 2 else 2
    lines = b"".join(b"\0" + line.tobytes() for line in np.ascontiguousarray(colours))
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
