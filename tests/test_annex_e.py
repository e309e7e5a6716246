"""The table of PS3.15 Annex E against another reading of it, and against what is known of it."""

from __future__ import annotations

import importlib
import warnings

import pytest
from pydicom.datadict import tag_for_keyword

from cohort.schema import annex_e

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    databases = "dicomanonymizer.dicom_anonymization_databases"
    pytest.importorskip(databases, reason="dicom-anonymizer is not installed")

CODES = {
    "D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z",
    "X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*",
}  # fmt: skip


def other(edition: str) -> dict[tuple[int, int], str]:
    module = importlib.import_module(f"{databases}.dicomfields_{edition}")
    return {tag: code for name, code in CODES.items() for tag in getattr(module, name) if len(tag) == 2}


def test_the_table_is_that_of_the_edition_it_names() -> None:
    assert {tag: entry.action for tag, entry in annex_e.profile().items()} == other(annex_e.EDITION)


def test_nothing_of_an_earlier_edition_was_lost() -> None:
    before = other("2024b")
    assert len(before) > 600
    assert {tag: code for tag, code in before.items() if annex_e.action_of(tag) != code} == {}


@pytest.mark.parametrize(
    ("keyword", "action"),
    # By hand, from the table of the standard.
    [
        ("PatientName", "Z"), ("PatientBirthDate", "Z"), ("AccessionNumber", "Z"), ("StudyDate", "Z"),
        ("InstitutionName", "X/Z/D"), ("SeriesDescription", "X"), ("SOPInstanceUID", "U"), ("PatientAddress", "X"),
        ("PatientSex", "Z"), ("PatientAge", "X"), ("DeviceSerialNumber", "X/Z/D"), ("OperatorsName", "X/Z/D"),
        ("Modality", None), ("PixelSpacing", None), ("Manufacturer", None),
    ],
)  # fmt: skip
def test_what_is_known_by_hand(keyword: str, action: str | None) -> None:
    assert annex_e.action_of_keyword(keyword) == action
    number = tag_for_keyword(keyword)
    assert number is not None
    assert annex_e.action_of((number >> 16, number & 0xFFFF)) == action


def test_keywords_are_those_of_the_tags() -> None:
    wrong = {e.keyword for e in annex_e.profile().values() if e.keyword and tag_for_keyword(e.keyword) != _number(e)}
    assert wrong == set()


def _number(entry: annex_e.ProfileEntry) -> int:
    return entry.tag[0] << 16 | entry.tag[1]


@pytest.mark.parametrize("tag", [(0x0009, 0x1001), (0x5000, 0x0005), (0x60FE, 0x3000), (0x6000, 0x4000)])
def test_groups_are_removed_as_a_whole(tag: tuple[int, int]) -> None:
    assert annex_e.action_of(tag) == "X"


def test_an_overlay_keeps_what_is_no_data() -> None:
    assert annex_e.action_of((0x6000, 0x0010)) is None


def test_every_action_has_words() -> None:
    assert {entry.action for entry in annex_e.profile().values()} == set(annex_e.ACTIONS)
