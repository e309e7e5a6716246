"""The private counterpart of the report: what headers say in words, for a person who looks for names in it.

Every different value of every text attribute that the tables hold, with the number of objects that say so; of NIfTI
images the free fields and extensions of the header and the texts of the sidecar; of a scan with `--all-headers` every
text in every sequence and private attribute too. It is never part of what may be shared.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from cohort.errors import MissingStageError
from cohort.schema import FILES
from cohort.schema.annex_e import EDITION, action_of, action_of_keyword
from cohort.store import open_part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cohort.places import Place
    from cohort.store import RunFolder

    Row = dict[str, Any]
    Counts = dict[tuple[str, str], Counter[str]]

TEXT_VRS = frozenset(("AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"))
"""Value representations that hold what somebody typed, dates and identifiers (PS3.5 6.2)."""

_UID = re.compile(r"(?:\d+\.){4,}\d+")
_HEADERS = "header_json"
_FOLDER = ("path", "folder of the object")
_NIFTI = ("nifti_descrip", "nifti_aux_file", "nifti_intent_name", "nifti_db_name", "nifti_extension_texts")
_SIDECAR = "sidecar_texts"


def review(run: RunFolder) -> Row:
    """Return the different values of every text attribute.

    Parameters
    ----------
    run : RunFolder
        A run whose headers were scanned.

    Returns
    -------
    dict
        `objects`, whether `all_headers` were kept, the `edition` of PS3.15, and `attributes`: `tag` (gggg,eeee; of a
        value in a sequence that of the sequence first; `nifti` or `sidecar` for what such images carry), `keyword`,
        `action` of the Basic Profile (null where the attribute may stay; `read` for free text that no profile knows),
        `objects` that fill it, `distinct` values, and `values` with their counts, most frequent first; UIDs are
        counted, not listed. What the profile would change comes first.

    Raises
    ------
    MissingStageError
        If headers were never scanned.
    """
    run.check_opened()
    if not run.has("files"):
        raise MissingStageError(f"{run.path} has no headers yet; run: cohort scan {run.path}")
    whole = _HEADERS in run.layout("files").names
    found: Counts = defaultdict(Counter)
    filled: Counter[tuple[str, str]] = Counter()
    objects = 0
    for part in run.parts("files"):
        objects += _count_part(part, whole, found, filled)
    attributes = [_attribute(key, found[key], filled[key]) for key in found]
    attributes.sort(key=_place)
    return {"objects": objects, "all_headers": whole, "edition": EDITION, "attributes": attributes}


def _count_part(part: Place, whole: bool, found: Counts, filled: Counter[tuple[str, str]]) -> int:
    """Add the values of one part of `files`; only a batch of it is in memory."""
    columns = _text_columns()
    names = ["path", *columns, *_NIFTI, _SIDECAR, *([_HEADERS] if whole else [])]
    objects = 0
    for batch in open_part(part).iter_batches(2000, columns=names):
        rows = {name: batch.column(name).to_pylist() for name in names}
        objects += batch.num_rows
        for path in rows["path"]:
            _add(_FOLDER, [path.rpartition("/")[0] or "."], found, filled)
        for name in _NIFTI:
            for value in rows[name]:
                _add(("nifti", name), _listed(value), found, filled)
        for sidecar in filter(None, rows[_SIDECAR]):
            for key, values in json.loads(sidecar).items():
                _add(("sidecar", key), values, found, filled)
        headers = [one and json.loads(one) for one in rows.get(_HEADERS, [None] * batch.num_rows)]
        for name, tag in columns.items():
            for value, header in zip(rows[name], headers, strict=True):
                if not header:  # else it is counted there
                    _add((tag, name), _listed(value), found, filled)
        for header in filter(None, headers):
            for key, values in _texts(header):
                _add(key, values, found, filled)
    return objects


def _text_columns() -> dict[str, str]:
    """Return the columns of `files` that hold texts of headers, with their tags."""
    return {
        column.name: column.source.strip("()")
        for column in FILES.columns
        if "string" in column.type and column.source.startswith("(") and not column.name.startswith("frame_")
    }


def _listed(value: Any) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else [one for one in value if one is not None]


def _add(key: tuple[str, str], values: list[str], found: Counts, filled: Counter[tuple[str, str]]) -> None:
    """Count the different values of one object once each."""
    present = {one.strip() for one in values} - {""}
    if present:
        filled[key] += 1
        found[key].update(present)


def _texts(header: Row) -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Yield the texts of a header in DICOM JSON by (tag, keyword), those of all items of a sequence together."""
    gathered: dict[str, list[str]] = defaultdict(list)
    _gather(header, "", gathered)
    for tags, values in gathered.items():
        yield (tags, _keyword(tags)), values


def _gather(header: Row, before: str, gathered: dict[str, list[str]]) -> None:
    for tag, element in header.items():
        name = f"{before}{tag[:4]},{tag[4:]}"
        values = element.get("Value", [])
        if element["vr"] == "SQ":
            for item in values:
                _gather(item or {}, f"{name} > ", gathered)
        elif element["vr"] in TEXT_VRS:
            gathered[name] += [_text(one) for one in values if one is not None]
        elif element["vr"] == "UN" and "InlineBinary" in element:
            gathered[name].append(_decoded(element["InlineBinary"]))


def _text(value: Any) -> str:
    """Return one value as text: of a name its writings, as DICOM has them."""
    return "=".join(str(part) for part in value.values()) if isinstance(value, dict) else str(value)


def _decoded(text: str) -> str:
    """Return bytes of unknown type as text where they are text, else nothing."""
    import base64

    raw = base64.b64decode(text)
    words = raw.decode("latin-1").strip(" \0")
    return words if words.isprintable() else ""


def _keyword(tags: str) -> str:
    """Return the keyword of the last tag, of those that the tables or Annex E name."""
    last = tags.rpartition(" > ")[2]
    return _keywords().get(last, "private" if int(last[:4], 16) % 2 else "")


def _keywords() -> dict[str, str]:
    if not _KNOWN:
        from cohort.schema.annex_e import profile

        _KNOWN.update({f"{e.tag[0]:04X},{e.tag[1]:04X}": e.keyword for e in profile().values()})
        _KNOWN.update({column.source.strip("()"): column.name for column in FILES.columns if "," in column.source})
    return _KNOWN


_KNOWN: dict[str, str] = {}


def _attribute(key: tuple[str, str], counts: Counter[str], filled: int) -> Row:
    tags, keyword = key
    action = _action(tags, keyword)
    uids = keyword.endswith("UID") or all(_UID.fullmatch(value) for value in counts)
    values = [] if uids else sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {
        "tag": tags,
        "keyword": keyword,
        "action": action,
        "objects": filled,
        "distinct": len(counts),
        "values": [{"value": value, "count": count} for value, count in values],
    }


def _action(tags: str, keyword: str) -> str | None:
    if tags in ("path", "nifti"):
        return "path" if tags == "path" else "read"
    if tags == "sidecar":
        return action_of_keyword(keyword.rpartition(" > ")[2])
    tag = tags.rpartition(" > ")[2]
    return action_of((int(tag[:4], 16), int(tag[5:], 16)))


def _place(row: Row) -> tuple[bool, bool, str, str]:
    """Return where an attribute stands: what the profile would change first, UIDs after texts."""
    return row["action"] is None, not row["values"], row["tag"], row["keyword"]


def as_text(found: Row, most: int) -> str:
    """Return the review as text: at most `most` values of each attribute."""
    from cohort.summary import printable

    lines = [f"PRIVATE: texts of {found['objects']:,} objects; actions of PS3.15 Annex E, edition {found['edition']}"]
    for row in found["attributes"]:
        said = f"{row['distinct']:,} different in {row['objects']:,} objects"
        lines += ["", f"({row['tag']}) {row['keyword']}  [{row['action'] or 'may stay'}]  {said}"]
        lines += [f"{one['count']:>9,}  {printable(one['value'])}" for one in row["values"][:most]]
        if len(row["values"]) > most:
            lines.append(f"{'':>9}  and {len(row['values']) - most:,} more")
    return "\n".join(lines) + "\n"
