"""Attributes that name persons: whether they are filled. What they say is read, looked at and let go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from cohort.readers.dicom_convert import new_memo, remember
from cohort.schema import PERSONS

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cohort.readers.base import Row

_HIDDEN = {f"named:{keyword}": keyword for keyword in PERSONS}
"""What a value is called in a row until it is let go: no column, so that a column asked for keeps its name."""

HIDDEN_TAGS = {Tag(keyword): name for name, keyword in _HIDDEN.items()}
"""Tags to be read, with what their values are called in a row until `let_go`."""

_WORD = re.compile(r"[A-Za-z]{2,}")
_CODE = re.compile(r"\w*\d\w*")
_WORDS_FOR_NOBODY = """
    anon anonym anonymous anonymized anonymised anonymize anonymise deidentified de identified removed redacted unknown
    none no not na nil null unnamed nobody name names last first middle lastname firstname patient patients subject
    person physician doctor operator user test tester testing dummy demo sample phantom qa qc jane john doe xx xxx xxxx
"""
_NOBODY = frozenset(_WORDS_FOR_NOBODY.split())
_filled: dict[str, bool] = new_memo()


def hidden_text(raw: bytes) -> str:
    """Return a value as the text that is looked at; bytes stand for themselves, whatever the character set."""
    return raw.decode("latin-1").strip(" \0")


def texts_of(dataset: Dataset) -> Row:
    """Return the values in a data set that pydicom parsed, as `hidden_text` gives them."""
    found: Row = {}
    for tag, name in HIDDEN_TAGS.items():
        if tag in dataset:
            element: Any = dataset.get_item(tag, keep_deferred=True)
            if isinstance(element, RawDataElement) and element.value is None and element.length:
                found[name] = "overlong"  # it was passed over
            else:
                found[name] = (
                    hidden_text(element.value) if isinstance(element.value, bytes) else str(element.value or "")
                )
    return found


def let_go(row: Row) -> None:
    """Replace the values by `names_filled`: the keywords of those that name somebody.

    A name that is the PatientID is taken for a pseudonym.
    """
    patient = row.get("PatientID")
    filled = []
    for name, keyword in _HIDDEN.items():
        text = row.pop(name, None)
        if text is None:
            text = _asked(row.get(keyword))
        if text and text != patient and _names_somebody(text):
            filled.append(keyword)
    row["names_filled"] = "\\".join(filled) or None


def _asked(value: Any) -> str:
    """Return the text of a column that was asked for."""
    return "\\".join(value) if isinstance(value, list) else str(value or "")


def _names_somebody(text: str) -> bool:
    known = _filled.get(text)
    if known is None:
        known = is_name(text)
        remember(_filled, text, known)
    return known


def is_name(text: str) -> bool:
    """Tell whether a text may name a person.

    None does that has no word but those for nobody (Anonymous, Test, Last Name...), once codes with digits are left
    out; one beyond ASCII always may.
    """
    if not text.isascii() or "\x1b" in text:  # the latter switches the character set (PS3.5 section 6.1.2.5)
        return any(character.isalpha() or character == "\x1b" for character in text)
    words = _WORD.findall(_CODE.sub(" ", text.replace("_", " ")))
    return any(word.lower() not in _NOBODY for word in words)
