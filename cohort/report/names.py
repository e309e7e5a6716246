"""Names for people: transfer syntaxes, kinds of objects, reasons and counts."""

from __future__ import annotations

import math

TRANSFER_SYNTAXES = {
    "1.2.840.10008.1.2": "Implicit VR little endian",
    "1.2.840.10008.1.2.1": "Explicit VR little endian",
    "1.2.840.10008.1.2.1.99": "Deflated explicit VR little endian",
    "1.2.840.10008.1.2.2": "Explicit VR big endian (retired)",
    "1.2.840.10008.1.2.4.50": "JPEG baseline, 8 bit, lossy",
    "1.2.840.10008.1.2.4.51": "JPEG extended, 12 bit, lossy",
    "1.2.840.10008.1.2.4.57": "JPEG lossless (process 14)",
    "1.2.840.10008.1.2.4.70": "JPEG lossless (process 14, SV1)",
    "1.2.840.10008.1.2.4.80": "JPEG-LS lossless",
    "1.2.840.10008.1.2.4.81": "JPEG-LS near-lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.4.92": "JPEG 2000 part 2 lossless",
    "1.2.840.10008.1.2.4.93": "JPEG 2000 part 2",
    "1.2.840.10008.1.2.4.100": "MPEG-2 main profile",
    "1.2.840.10008.1.2.4.101": "MPEG-2 high profile",
    "1.2.840.10008.1.2.4.102": "MPEG-4 AVC/H.264 high profile",
    "1.2.840.10008.1.2.4.103": "MPEG-4 AVC/H.264 BD-compatible",
    "1.2.840.10008.1.2.4.107": "HEVC/H.265 main profile",
    "1.2.840.10008.1.2.4.108": "HEVC/H.265 main 10 profile",
    "1.2.840.10008.1.2.4.110": "JPEG XL lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL, JPEG recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.4.201": "HTJ2K lossless",
    "1.2.840.10008.1.2.4.202": "HTJ2K lossless, RPCL",
    "1.2.840.10008.1.2.4.203": "HTJ2K",
    "1.2.840.10008.1.2.5": "RLE lossless",
    "1.2.840.10008.1.2.8.1": "Deflated image frame",
}

SOP_CLASSES = {
    "1.2.840.10008.1.3.10": "DICOMDIR",
    "1.2.840.10008.5.1.4.1.1.11.1": "presentation state",
    "1.2.840.10008.5.1.4.1.1.66": "raw data",
    "1.2.840.10008.5.1.4.1.1.66.1": "spatial registration",
    "1.2.840.10008.5.1.4.1.1.88.11": "structured report",
    "1.2.840.10008.5.1.4.1.1.88.22": "structured report",
    "1.2.840.10008.5.1.4.1.1.88.33": "structured report",
    "1.2.840.10008.5.1.4.1.1.88.34": "structured report",
    "1.2.840.10008.5.1.4.1.1.88.50": "CAD report",
    "1.2.840.10008.5.1.4.1.1.88.59": "key object selection",
    "1.2.840.10008.5.1.4.1.1.88.65": "CAD report",
    "1.2.840.10008.5.1.4.1.1.88.67": "radiation dose report",
    "1.2.840.10008.5.1.4.1.1.104.1": "encapsulated PDF",
    "1.2.840.10008.5.1.4.1.1.481.3": "RT structure set",
    "1.2.840.10008.5.1.4.1.1.481.5": "RT plan",
}

NOT_GIVEN = "not given"
LONGEST_LABEL = 64  # what DICOM allows for LO; longer values are broken or hostile


def transfer_syntax(uid: str | None) -> str:
    """Return a readable name; a private UID could name a site and is not shown."""
    if not uid:
        return NOT_GIVEN
    if uid in TRANSFER_SYNTAXES:
        return TRANSFER_SYNTAXES[uid]
    return "private or unknown"


def sop_class(uid: str | None) -> str:
    """Return what kind of object without pixels this is."""
    return SOP_CLASSES.get(uid or "", "other object without pixels")


def label(value: object) -> str:
    """Return a header value as the label of a row: printable, of bounded length, never empty."""
    text = f"{value:g}" if isinstance(value, float) else str(value if value is not None else "")
    text = "".join(c if c.isprintable() else " " for c in text).strip()
    if len(text) > LONGEST_LABEL:
        text = text[: LONGEST_LABEL - 1] + "\u2026"
    return text or NOT_GIVEN


def reason(status: str | None, code: str | None) -> str:
    """Return a status and its reason code as words."""
    words = [part.replace("_", " ") for part in (status, code) if part]
    return ": ".join(words) or "no reason recorded"


def local(prefix: str, number: int) -> str:
    """Return a run-local identifier such as V0042."""
    return f"{prefix}{number:04d}"


def thousands(count: int) -> str:
    """Return a count with separators."""
    return f"{count:,}"


def size(n_bytes: int) -> str:
    """Return a size in decimal units, three digits."""
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} PB"


def number(value: float | None) -> str:
    """Return a measured value: four significant digits or more, a true minus sign, rarely an exponent.

    What is not finite is a dash, like what is not known: headers hold NaN and infinity.
    """
    if value is None or not math.isfinite(value):
        return "\u2013"
    if value == round(value) and abs(value) < 1e15:
        text = f"{value:,.0f}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3e}"
    else:
        text = f"{value:.4g}"
    return text.replace("-", "\u2212")


def counted(count: int, noun: str) -> str:
    """Return a count with its noun in the right number."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def plain(value: str | None) -> str:
    """Return one of our own words as it is; empty where there is none."""
    return value or ""
