"""Modality values: the smallest exact type, the arithmetic of the standard, padding before the rescale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cohort.errors import RejectedError
from cohort.values import ValuePlan, padding_of, plan_values

Row = dict[str, Any]


def frame_row(slope: float | None = None, intercept: float | None = None, **columns: Any) -> Row:
    """A row of `frames` as far as values need it."""
    if slope is not None and intercept is None:
        intercept = 0.0
    row = {
        "format": "dicom",
        "slope": slope,
        "intercept": intercept,
        "BitsAllocated": 16,
        "BitsStored": 16,
        "PixelRepresentation": 0,
        "PixelPaddingValue": None,
        "PixelPaddingRangeLimit": None,
        "ModalityLUTType": None,
    }
    return row | columns


def plan(dtype: str, *rows: Row) -> ValuePlan:
    return plan_values(np.zeros((2, 2), dtype), list(rows), {})


@pytest.mark.parametrize(
    ("stored", "bits", "signed", "slope", "intercept", "expected"),
    [
        ("uint16", 12, 0, 1, -1024, "int16"),  # the usual CT
        ("uint16", 16, 0, 1, -1024, "int32"),
        ("int16", 16, 1, 1, -1024, "int32"),
        ("int16", 12, 1, 1, -1024, "int16"),
        ("uint16", 12, 0, 1, 0, "uint16"),
        ("uint16", 8, 0, 1, 0, "uint8"),
        ("uint8", 8, 0, 1, 0, "uint8"),
        ("uint8", 8, 0, 1, -128, "int8"),
        ("uint8", 8, 0, 1, -129, "int16"),
        ("uint8", 8, 0, 1, 1, "uint16"),
        ("uint8", 8, 0, -1, 0, "int16"),
        ("uint8", 8, 0, -1, 255, "uint8"),
        ("int16", 16, 1, 1, 0, "int16"),
        ("int16", 16, 1, -1, 0, "int32"),  # 32768 does not fit
        ("uint16", 16, 0, 2, 0, "uint32"),
        ("uint16", 16, 0, 2.5, 0, "float32"),
        ("uint16", 16, 0, 1, 0.5, "float32"),
        ("uint32", 32, 0, 1, -1, "int64"),
        ("int32", 32, 1, 2**40, 0, "float32"),
        ("int8", 8, 1, 1, 0, "int8"),
        ("float32", None, 0, 1, -1024, "float32"),
        ("float64", None, 0, 2, 0, "float32"),
    ],
)
def test_the_type_is_the_smallest_that_is_exact(
    stored: str, bits: int | None, signed: int, slope: float, intercept: float, expected: str
) -> None:
    row = frame_row(
        float(slope), float(intercept), BitsStored=bits, BitsAllocated=np.dtype(stored).itemsize * 8,
        PixelRepresentation=signed,
    )  # fmt: skip
    found = plan(stored, row)
    assert (found.dtype.name, found.stored.name) == (expected, stored)
    assert found.kind == ("float" if expected == "float32" else "integer")


@pytest.mark.parametrize("stored", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float32"])
def test_values_without_rescale_keep_their_type(stored: str) -> None:
    assert plan(stored, frame_row()).dtype.name == stored


def test_single_bits_become_bytes() -> None:
    assert plan("bool", frame_row()).dtype.name == "uint8"


def test_float64_values_become_float32() -> None:
    assert plan("float64", frame_row()).dtype.name == "float32"


def test_large_unsigned_values_keep_their_sign() -> None:
    stored = np.array([[2**63 + 2**40, 1]], np.uint64)
    row = frame_row(format="nifti", BitsStored=None, BitsAllocated=None)
    found = plan_values(stored, [row], {})
    try:
        values = found.convert(stored, row)
    except RejectedError:
        return  # refused is right too; only a wrong number is not
    assert float(values[0, 0]) == pytest.approx(float(2**63 + 2**40), rel=1e-6)


def test_frames_with_different_rescale_share_a_type_that_holds_all() -> None:
    rows = [frame_row(1.0, 0.0, BitsStored=8), frame_row(3.0, 0.0, BitsStored=8), frame_row(1.0, -5.0, BitsStored=8)]
    assert plan("uint16", *rows).dtype.name == "int16"
    assert plan("uint16", *rows, frame_row(0.1)).dtype.name == "float32"


def test_a_frame_without_rescale_among_others_counts_as_stored() -> None:
    rows = [frame_row(BitsStored=8), frame_row(1.0, -10.0, BitsStored=8)]
    found = plan("uint16", *rows)
    assert found.dtype.name == "int16"
    assert found.convert(np.array([[200, 0]], np.uint16), rows[0]).tolist() == [[200, 0]]
    assert found.convert(np.array([[200, 0]], np.uint16), rows[1]).tolist() == [[190, -10]]


@given(
    hnp.arrays(np.uint16, (3, 4), elements=st.integers(0, 4095)),
    st.lists(st.tuples(st.integers(-300, 300).filter(bool), st.integers(-40_000, 40_000)), min_size=1, max_size=4),
)
def test_whole_numbers_are_converted_exactly(stored: np.ndarray[Any, Any], rescales: list[tuple[int, int]]) -> None:
    rows = [frame_row(float(slope), float(intercept), BitsStored=12) for slope, intercept in rescales]
    found = plan("uint16", *rows)
    assert found.dtype.kind in "iu"
    for row, (slope, intercept) in zip(rows, rescales, strict=True):
        values = found.convert(stored, row)
        assert values.dtype == found.dtype
        np.testing.assert_array_equal(values.astype(object), stored.astype(object) * slope + intercept)


@given(
    hnp.arrays(np.int16, (3, 4)),
    st.floats(-50, 50).filter(lambda slope: abs(slope) > 1e-6 and not slope.is_integer()),
    st.floats(-1e5, 1e5),
)
def test_other_numbers_are_converted_in_double_precision(
    stored: np.ndarray[Any, Any], slope: float, intercept: float
) -> None:
    row = frame_row(slope, intercept, PixelRepresentation=1)
    values = plan("int16", row).convert(stored, row)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, (stored.astype(np.float64) * slope + intercept).astype(np.float32))


def test_a_value_above_the_bits_stored_that_does_not_fit_is_refused_not_wrapped() -> None:
    row = frame_row(1.0, -1024.0, BitsStored=12)
    found = plan("uint16", row)
    with pytest.raises(RejectedError, match="values_exceed_bits_stored"):
        found.convert(np.array([[65535]], np.uint16), row)


def test_a_value_above_the_bits_stored_is_not_wrapped_in_a_frame_without_rescale() -> None:
    rows = [frame_row(BitsStored=12), frame_row(1.0, -1024.0, BitsStored=12)]
    found = plan("uint16", *rows)
    with pytest.raises(RejectedError):
        found.convert(np.array([[65535]], np.uint16), rows[0])


def test_an_empty_frame_converts_to_an_empty_frame() -> None:
    row = frame_row(1.0, -1024.0, BitsStored=12)
    assert plan("uint16", row).convert(np.zeros((0, 3), np.uint16), row).shape == (0, 3)


# -- padding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "limit", "bits", "signed", "expected"),
    [
        (None, None, 16, 1, None),
        (None, 5, 16, 1, None),
        (63536, None, 16, 1, (-2000, -2000)),
        (-2000, None, 16, 1, (-2000, -2000)),
        (63536, None, 16, 0, (63536, 63536)),
        (0, None, 16, 0, (0, 0)),
        (0, 10, 16, 0, (0, 10)),
        (10, 0, 16, 0, (0, 10)),
        (63536, 64536, 16, 1, (-2000, -1000)),
        (255, None, 8, 1, (-1, -1)),
        (65535, None, 8, 0, (255, 255)),
        (32768, None, 16, 1, (-32768, -32768)),
        (32767, None, 16, 1, (32767, 32767)),
    ],
)
def test_padding_has_the_sign_of_the_pixels_and_reaches_to_the_range_limit(
    value: int | None, limit: int | None, bits: int, signed: int, expected: tuple[int, int] | None
) -> None:
    columns = {"BitsAllocated": bits, "BitsStored": bits, "PixelRepresentation": signed}
    assert padding_of(frame_row(PixelPaddingValue=value, PixelPaddingRangeLimit=limit, **columns)) == expected


def test_nifti_has_no_padding() -> None:
    assert padding_of(frame_row(format="nifti", PixelPaddingValue=0)) is None


def test_padding_is_compared_before_the_rescale() -> None:
    row = frame_row(1.0, -1024.0, PixelPaddingValue=63536, PixelRepresentation=1, BitsStored=16)
    found = plan("int16", row)
    stored = np.array([[-2000, -976, 0], [-2000, 24, -3024]], np.int16)  # -976 becomes -2000
    np.testing.assert_array_equal(found.padding(stored, row), [[True, False, False], [True, False, False]])
    assert found.convert(stored, row)[0].tolist() == [-3024, -2000, -1024]


def test_padding_ranges_hold_both_their_ends() -> None:
    row = frame_row(PixelPaddingValue=5, PixelPaddingRangeLimit=8)
    found = plan("uint16", row).padding(np.array([[4, 5, 6], [7, 8, 9]], np.uint16), row)
    np.testing.assert_array_equal(found, [[False, True, True], [True, True, False]])


def test_frames_without_padding_and_colour_have_no_mask() -> None:
    padded = frame_row(PixelPaddingValue=0)
    assert plan("uint16", frame_row()).padding(np.zeros((2, 2), np.uint16), frame_row()) is None
    assert plan("uint8", padded).padding(np.zeros((2, 2, 3), np.uint8), padded) is None


def test_padding_has_as_many_bits_as_are_stored() -> None:
    twelve = {"BitsStored": 12, "BitsAllocated": 16}
    assert padding_of(frame_row(PixelPaddingValue=65535, **twelve)) == (4095, 4095)
    assert padding_of(frame_row(PixelPaddingValue=63536, PixelRepresentation=1, **twelve)) == (-2000, -2000)
    assert padding_of(frame_row(PixelPaddingValue=7, BitsStored=None, BitsAllocated=None)) == (7, 7)


def test_the_provenance_folds_what_all_frames_share() -> None:
    same = [frame_row(2.0, 1.0, PixelPaddingValue=3)] * 3
    assert plan("uint16", *same).provenance() == {
        "stored_dtype": "uint16",
        "rescale": [[2.0, 1.0]],
        "padding": [[3, 3]],
    }
    mixed = [frame_row(2.0, 1.0), frame_row()]
    assert plan("uint16", *mixed).provenance()["rescale"] == [[2.0, 1.0], None]
    assert plan("uint16", *mixed).provenance()["padding"] == [None]
