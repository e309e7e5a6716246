"""Tags that a user asks for, and the columns they fill."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache

from pydicom.datadict import (
    dictionary_description,
    dictionary_has_tag,
    dictionary_keyword,
    dictionary_VM,
    dictionary_VR,
    keyword_dict,
)
from pydicom.tag import BaseTag

from cohort.errors import ConfigError
from cohort.schema import FILES, Column, Privacy

_PAIR = re.compile(r"([0-9A-Fa-f]{4}),\s*([0-9A-Fa-f]{4})")
_INTEGERS = frozenset(("IS", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"))
_FLOATS = frozenset(("DS", "FD", "FL"))
_COMMAND, _META = 0x0000, 0x0002  # groups
_FIRST_PIXELS = 0x7FE00008


def tag_of(column: Column) -> BaseTag:
    """Return the tag a column is taken from: its source is `(gggg,eeee)`."""
    return BaseTag(int(column.source[1:5] + column.source[6:10], 16))


_KNOWN = {tag_of(column): column.name for column in FILES.columns if column.name in keyword_dict}


@lru_cache(maxsize=16)
def extra_columns(texts: tuple[str, ...]) -> tuple[Column, ...]:
    """Return the columns that tags asked for fill.

    Parameters
    ----------
    texts : tuple of str
        Each a DICOM keyword, or group and element as `gggg,eeee` in hexadecimal, in parentheses or not.

    Returns
    -------
    tuple of Column
        Named by the keyword, or `tag_gggg_eeee` where there is none of its own. Typed by VR and VM of the data
        dictionary (PS3.6); `list<string>` for private and unknown tags.

    Raises
    ------
    ConfigError
        If one is no tag, or no column can be made of it.
    """
    columns: dict[str, Column] = {}
    for text in texts:
        column = _column(text, _tag(text.strip()))
        if column.name in columns:
            raise ConfigError(f"extra tag `{text}` is given twice: it is the column `{column.name}`")
        columns[column.name] = column
    return tuple(columns.values())


def _tag(text: str) -> BaseTag:
    inner = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    pair = _PAIR.fullmatch(inner.strip())
    if pair is not None:
        return BaseTag(int(pair[1] + pair[2], 16))
    if text and text in keyword_dict:
        return BaseTag(keyword_dict[text])
    alike = difflib.get_close_matches(text, keyword_dict, n=1)
    hint = f"; did you mean {alike[0]}?" if alike else ""
    raise ConfigError(f"extra tag `{text}` is neither a DICOM keyword nor gggg,eeee in hexadecimal{hint}")


def _column(text: str, tag: BaseTag) -> Column:
    if tag in _KNOWN:
        raise ConfigError(f"extra tag `{text}` is already the column `{_KNOWN[tag]}`")
    if tag.group in (_COMMAND, _META):
        raise ConfigError(f"extra tag `{text}` lies outside the dataset; --all-headers keeps the file meta information")
    if not tag.element:
        raise ConfigError(f"extra tag `{text}` is the length of a group, which says nothing of the image")
    if tag >= _FIRST_PIXELS:
        raise ConfigError(f"extra tag `{text}` comes with the pixels or after them, where reading a header ends")
    kind, description = "list<string>", "Private or unknown attribute, as text"
    vr = dictionary_vr(tag)
    if vr is not None:
        kind, description = _type(text, tag, vr), dictionary_description(tag) or "Attribute without a name"
    source = f"({tag.group:04X},{tag.element:04X})"
    return Column(_name(tag), kind, f"Asked for: {description}", source, privacy=Privacy.PRIVATE)


def dictionary_vr(tag: BaseTag) -> str | None:
    """Return the VR of the data dictionary, repeating groups such as overlays (60xx) included; None: unknown."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


def _name(tag: BaseTag) -> str:
    """Return the keyword where it names this tag alone."""
    keyword = dictionary_keyword(tag) if dictionary_has_tag(tag) else ""
    return keyword or f"tag_{tag.group:04x}_{tag.element:04x}"


def _type(text: str, tag: BaseTag, vr: str) -> str:
    """Return the type of a column by VR and VM (PS3.5 section 6.2, PS3.6)."""
    if vr == "SQ":
        raise ConfigError(f"extra tag `{text}` is a sequence, which no column holds; --all-headers keeps it as JSON")
    if vr == "UN" or any(part.startswith("O") for part in vr.split(" or ")):
        raise ConfigError(f"extra tag `{text}` is bulk data (VR {vr}), which no column holds")
    kind = "int64" if vr in _INTEGERS else "float64" if vr in _FLOATS else "string"
    return kind if dictionary_VM(tag) == "1" else f"list<{kind}>"
