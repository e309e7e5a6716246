"""Sequences that columns are made of, as pydicom reads them: only what is wanted of them is converted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_sequence

from cohort.errors import RejectedError
from cohort.readers.base import Row
from cohort.readers.dicom_elements import NESTED, Item, Value, Wanted
from cohort.readers.dicom_frames import detector_place, first_items, functional_groups, ultrasound_spacing

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cohort.readers.dicom_guard import Guard

_SEQUENCE_VRS = (None, "SQ", "UN")
_LEAST_ELEMENT = 8  # bytes


def nested_row(nested: dict[str, Value], row: Row) -> Row:
    """Return the columns that sequences fill.

    Parameters
    ----------
    nested : dict
        Sequences by keyword; their items are dicts of values and of sequences.
    row : Row
        What the top level told.
    """
    dataset: Any = dict(nested)
    regions = nested.get("SequenceOfUltrasoundRegions", Value([])).value
    plain = [SimpleNamespace(**{name: value.value for name, value in region.items()}) for region in regions]
    dataset["SequenceOfUltrasoundRegions"] = Value(plain)
    found = functional_groups(dataset, row)
    return found | ultrasound_spacing(dataset) | detector_place(dataset, row) | first_items(dataset)


def wanted_sequences(dataset: Dataset, guard: Guard) -> dict[str, Value]:
    """Return the wanted sequences of a data set by keyword; raises RejectedError where they hold too much."""
    found = {}
    for tag, wanted in NESTED.items():
        items = _top_items(dataset, tag, guard)
        if items:
            found[wanted.name] = Value([_plain_item(item, wanted, guard) for item in items])
    return found


def _top_items(dataset: Dataset, tag: int, guard: Guard) -> list[Dataset]:
    """Return the items of a sequence; one of defined length is read now."""
    element: Any = dataset.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement):
        return _items(element)
    if element.VR not in _SEQUENCE_VRS:
        return []
    value = element.value
    if value is None and element.length:  # it was passed over for its length
        guard.seek(element.value_tell)
        value = guard.read(element.length)
    items = cast("BinaryIO", guard.within(value or b""))
    encoding = dataset.original_character_set
    try:
        return list(read_sequence(items, element.is_implicit_VR, element.is_little_endian, len(value or b""), encoding))
    except Exception:
        if guard.refused:
            raise RejectedError(guard.refused) from None
        return []


def _items(element: Any) -> list[Dataset]:
    value = getattr(element, "value", None)
    return list(value) if value and getattr(element, "VR", None) == "SQ" else []


def _plain_item(item: Dataset, wanted: Wanted, guard: Guard) -> Item:
    found: Item = {}
    for raw in list(item.values()):
        element = wanted.within.get(raw.tag)
        if element is None:
            continue
        if not element.within:
            found[element.name] = Value(_leaf(item, raw, guard))
            continue
        if isinstance(raw, RawDataElement):
            guard.spend(len(raw.value or b"") // _LEAST_ELEMENT)
        try:
            inner = _items(item[raw.tag])
        except Exception:
            inner = []
        found[element.name] = Value([_plain_item(one, element, guard) for one in inner[:1]])  # no more are looked at
    return found


def _leaf(item: Dataset, raw: Any, guard: Guard) -> Any:
    """Return one value as pydicom gives it, None for one that cannot be converted, or only at too high a cost."""
    if isinstance(raw, RawDataElement) and not guard.affords((raw.value or b"").count(b"\\")):
        return None
    try:
        return item[raw.tag].value
    except Exception:
        return None
