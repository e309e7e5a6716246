"""A baseline: the findings that were known before, so that only new ones count."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from cohort.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Row = dict[str, Any]

_KIND = "cohort findings baseline"
_VERSION = 1


def fingerprint(row: Row) -> str:
    """Return what makes a finding the same in the next run: its code and subject, as a digest that shows neither.

    The evidence is no part of it: a finding that got better or worse is no new one.
    """
    return hashlib.sha256(f"{row['code']}\0{row['subject']}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


def write_baseline(path: Path, found: Iterable[Row]) -> None:
    """Write the findings that are known from now on; the file has no path, identifier or text of a header."""
    codes: dict[str, list[str]] = {}
    for row in found:
        codes.setdefault(row["code"], []).append(fingerprint(row))
    data = {
        "kind": _KIND,
        "version": _VERSION,
        "findings": {code: sorted(digests) for code, digests in sorted(codes.items())},
    }
    try:
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the baseline {path}: {error.strerror}") from None


def read_baseline(path: Path) -> frozenset[str]:
    """Return the fingerprints of a baseline.

    Raises
    ------
    ConfigError
        If the file cannot be read, or is no baseline of this version.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the baseline {path}: {error.strerror}; --write-baseline makes one") from None
    except ValueError:
        data = None
    known = isinstance(data, dict) and data.get("kind") == _KIND and isinstance(data.get("findings"), dict)
    if not known or data.get("version") != _VERSION:
        raise ConfigError(f"{path} is no baseline of findings; --write-baseline makes one")
    return frozenset(digest for digests in data["findings"].values() for digest in digests)


def unknown_before(found: Iterable[Row], known: frozenset[str]) -> list[Row]:
    """Return the findings that a baseline does not have."""
    return [row for row in found if fingerprint(row) not in known]
