"""NIfTI headers are read as they are stored, with what lies beside them."""

from __future__ import annotations

import gzip
import io
import json
import math
import struct
from typing import Any

import nibabel as nib
import numpy as np
import pyarrow as pa
import pytest

from cohort.readers import Row, nifti_pair_names, nifti_type, read_header
from cohort.schema import FILES, Status
from cohort.volumes.frames import COLUMNS
from cohort.volumes.nifti_volumes import assemble_image

SHAPE = (5, 4, 3)


def image(
    kind: type[nib.Nifti1Pair] = nib.Nifti1Image, shape: tuple[int, ...] = SHAPE, dtype: str = "int16", **fields: Any
) -> Any:
    values = np.arange(math.prod(shape)).reshape(shape).astype(dtype)
    made = kind(values, np.diag([2.0, 3.0, 4.0, 1.0]), dtype=dtype)
    made.header.set_xyzt_units("mm", "sec")
    for name, value in fields.items():
        made.header[name] = value
    return made


def stored(made: Any) -> bytes:
    """The bytes of a single file with exactly the header fields given."""
    data = bytearray(made.to_bytes())
    header = made.header.copy()
    header["magic"], header["vox_offset"] = data_magic(data), data_offset(data, header)
    return header.binaryblock + bytes(data[len(header.binaryblock) :])


def data_magic(data: bytes) -> bytes:
    return b"n+1" if data[344:347] == b"n+1" else b"n+2\0\r\n\x1a\n"


def data_offset(data: bytes, header: Any) -> int:
    return 352 if len(header.binaryblock) == 348 else 544


def read(data: bytes, name: str = "image.nii", beside: dict[str, bytes] | None = None) -> Row:
    """Read, and check that the table can hold what was read."""

    def neighbour(other: str, limit: int) -> bytes | None:
        return None if beside is None or other not in beside else beside[other][:limit]

    row = read_header(io.BytesIO(data), len(data), name, neighbour=neighbour, gzip_limit=1 << 24)
    assert set(row) <= set(FILES.names)
    assert isinstance(row["status"], Status)
    assert (row["status"] == Status.OK) == (row.get("reason") is None)
    schema = FILES.arrow(row)
    pa.table({key: [value] for key, value in row.items()}, schema=schema)
    return row


def outcome(row: Row) -> tuple[str, str | None, bool]:
    return str(row["status"]), row.get("reason"), row["is_image"]


def swapped(made: Any) -> bytes:
    """The same image in the other byte order."""
    header = made.header.as_byteswapped(">")
    header["magic"], header["vox_offset"] = b"n+1", 352
    values = np.asanyarray(made.dataobj)
    return header.binaryblock + b"\0\0\0\0" + values.astype(values.dtype.newbyteorder(">")).tobytes(order="F")


# -- kinds of files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "version", "start"), [(nib.Nifti1Image, 1, 352), (nib.Nifti2Image, 2, 544)])
def test_a_single_file_is_read_in_both_versions(kind: Any, version: int, start: int) -> None:
    data = image(kind).to_bytes()
    row = read(data)
    assert outcome(row) == ("ok", None, True)
    assert (row["format"], row["nifti_version"], row["nifti_magic"]) == ("nifti", version, f"n+{version}")
    assert row["nifti_dim"] == [3, 5, 4, 3, 1, 1, 1, 1]
    assert row["nifti_pixdim"][1:4] == [2.0, 3.0, 4.0]
    assert (row["nifti_datatype"], row["nifti_bitpix"], row["nifti_big_endian"]) == (4, 16, False)
    assert row["nifti_srow"] == [2, 0, 0, 0, 0, 3, 0, 0, 0, 0, 4, 0]
    assert row["nifti_xyzt_units"] == 2 | 8
    assert (row["pixel_offset"], row["pixel_length"]) == (start, 120)


def test_a_gzipped_file_is_read_and_its_place_of_values_is_not_told() -> None:
    row = read(gzip.compress(image().to_bytes()), "image.nii.gz")
    assert outcome(row) == ("ok", None, True)
    assert (row["container"], row["nifti_dim"][1:4]) == ("gzip", list(SHAPE))
    assert row.get("pixel_offset") is None


def test_a_big_endian_file_has_the_same_fields() -> None:
    made = image()
    big, little = read(swapped(made)), read(made.to_bytes())
    assert outcome(big) == ("ok", None, True)
    assert big["nifti_big_endian"] is True
    for name in ("nifti_dim", "nifti_datatype", "nifti_srow", "nifti_sform_code", "nifti_vox_offset", "pixel_length"):
        assert big[name] == little[name], name
    np.testing.assert_array_equal(big["nifti_pixdim"], little["nifti_pixdim"])


def pair() -> tuple[bytes, bytes]:
    made = image(nib.Nifti1Pair)
    files = {key: nib.FileHolder(fileobj=io.BytesIO()) for key in ("header", "image")}
    made.to_file_map(files)
    return files["header"].fileobj.getvalue(), files["image"].fileobj.getvalue()


@pytest.mark.parametrize("values", ["brain.img", "brain.img.gz", "brain.IMG"])
def test_a_pair_is_one_image_and_its_values_are_no_image(values: str) -> None:
    header, data = pair()
    beside = {"brain.hdr": header, values: data}
    row = read(header, "brain.hdr", beside)
    assert outcome(row) == ("ok", None, True)
    assert row["nifti_magic"] == "ni1"
    assert outcome(read(data, values, beside)) == ("ok", None, False)


def test_a_header_without_its_values_is_rejected_and_values_without_header_are_no_image() -> None:
    header, data = pair()
    assert outcome(read(header, "brain.hdr", {})) == ("rejected", "missing_img", True)
    assert outcome(read(data, "brain.img", {})) == ("not_imaging", "not_dicom_or_nifti", False)
    assert outcome(read(data, "brain.img", {"brain.hdr": b"text" * 200})) == (
        "not_imaging",
        "not_dicom_or_nifti",
        False,
    )


def test_the_names_of_the_values_follow_the_name_of_the_header() -> None:
    assert nifti_pair_names("a.hdr.b.hdr") == ["a.hdr.b.img", "a.hdr.b.img.gz", "a.hdr.b.IMG"]
    assert "A.img" in nifti_pair_names("A.HDR")


def test_copies_of_an_image_have_one_key_whatever_their_name() -> None:
    data = image().to_bytes()
    assert read(data, "a.nii")["instance_key"] == read(data, "x/b.nii")["instance_key"]


# -- damage ------------------------------------------------------------------------------------------------


def test_a_file_cut_inside_its_values_is_rejected_and_never_raises() -> None:
    data = image().to_bytes()
    for length in range(len(data)):
        row = read(data[:length])
        if length >= 348:
            assert outcome(row) == ("rejected", "truncated_pixels", True), length
        else:
            assert not row["is_image"], length


def test_a_second_version_cut_inside_its_header_is_rejected() -> None:
    data = image(nib.Nifti2Image).to_bytes()
    for length in (12, 100, 347, 348, 539):
        assert outcome(read(data[:length])) == ("rejected", "truncated_header", False), length
    assert outcome(read(gzip.compress(data[:400]), "a.nii.gz")) == ("rejected", "truncated_header", False)


def test_a_cut_gzip_stream_is_read_as_far_as_the_header_goes() -> None:
    made = image(shape=(40, 40, 40))
    made = nib.Nifti1Image(np.random.default_rng(0).integers(0, 999, (40, 40, 40)).astype(np.int16), made.affine)
    data = gzip.compress(made.to_bytes())
    assert outcome(read(data[: len(data) // 2], "a.nii.gz")) == ("ok", None, True)  # only its end shows the damage
    assert not read(data[:12], "a.nii.gz")["is_image"]


def test_a_small_gzip_stream_that_is_damaged_still_is_a_nifti_image() -> None:
    data = bytearray(gzip.compress(image().to_bytes()))
    data[-6] ^= 0xFF  # the CRC; the header can be read all the same
    row = read(bytes(data), "a.nii.gz")
    assert (row["format"], row["status"] == Status.NOT_IMAGING) == ("nifti", False)


def with_field(data: bytes, offset: int, layout: str, *values: Any) -> bytes:
    block = bytearray(data)
    struct.pack_into("<" + layout, block, offset, *values)
    return bytes(block)


@pytest.mark.parametrize(
    ("offset", "layout", "values", "reason"),
    [
        (40, "h", (0,), "bad_dimensions"),
        (42, "h", (0,), "bad_dimensions"),
        (44, "h", (-4,), "bad_dimensions"),
        (70, "h", (3,), "unknown_datatype"),
        (70, "h", (0,), "unknown_datatype"),
        (108, "f", (float("nan"),), "bad_vox_offset"),
        (108, "f", (-1.0,), "bad_vox_offset"),
        (108, "f", (352.5,), "bad_vox_offset"),
        (108, "f", (1e30,), "truncated_pixels"),
        (46, "h", (32767,), "truncated_pixels"),
    ],
)
def test_an_impossible_header_is_rejected_with_its_reason(
    offset: int, layout: str, values: tuple[Any, ...], reason: str
) -> None:
    assert outcome(read(with_field(image().to_bytes(), offset, layout, *values)))[:2] == ("rejected", reason)


def test_a_small_vox_offset_means_right_after_the_header() -> None:
    row = read(with_field(image().to_bytes(), 108, "f", 0.0))
    assert (outcome(row), row["pixel_offset"]) == (("ok", None, True), 352)


def test_no_changed_byte_of_the_header_raises() -> None:
    random = np.random.default_rng(6)
    for data in (image().to_bytes(), image(nib.Nifti2Image).to_bytes()):
        for _ in range(300):
            block = bytearray(data)
            for place in random.integers(0, 352, 4):
                block[place] = random.integers(256)
            read(bytes(block))


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("uint8", ("uint8", 1)), ("float64", ("float64", 1)), ("complex64", ("float32", 2)), ("int64", ("int64", 1))],
)
def test_datatypes_are_named_by_their_numbers(dtype: str, expected: tuple[str, int]) -> None:
    row = read(image(dtype=dtype).to_bytes())
    assert nifti_type(row["nifti_datatype"]) == expected


def test_colours_are_three_or_four_bytes() -> None:
    assert nifti_type(128) == ("uint8", 3)
    assert nifti_type(2304) == ("uint8", 4)


# -- Modality and sidecar ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("sub-01_T1w.nii.gz", "MR"),
        ("sub-01_ses-2_task-rest_bold.nii", "MR"),
        ("sub-01_dir-AP_epi.nii", "MR"),
        ("sub-01_trc-FDG_pet.nii.gz", "PT"),
        ("sub-01_ct.nii", "CT"),
        ("sub-01_space-T1w_desc-brain_mask.nii", "SEG"),
        ("sub-01_dseg.nii", "SEG"),
        ("sub-01_unheard.nii", None),
        ("T1w.nii", None),
        ("patient_T1w.nii", None),
        ("sub-01T1w.nii", None),
        ("sub-01_T1w.extra.nii", None),
        ("ct.nii", None),
    ],
)
def test_the_modality_comes_from_the_suffix_of_a_bids_name(name: str, modality: str | None) -> None:
    data = image().to_bytes()
    assert read(gzip.compress(data) if name.endswith("gz") else data, name)["Modality"] == modality


def test_the_suffix_goes_before_the_sidecar_and_the_sidecar_before_nothing() -> None:
    data, sidecar = image().to_bytes(), b'{"Modality": " mr "}'
    assert read(data, "sub-1_pet.nii", {"sub-1_pet.json": sidecar})["Modality"] == "PT"
    assert read(data, "scan.nii", {"scan.json": sidecar})["Modality"] == "MR"
    assert read(data, "scan.nii", {"scan.json": b'{"Modality": ""}'})["Modality"] is None
    assert read(data, "scan.nii", {"other.json": sidecar})["Modality"] is None


def test_the_sidecar_of_any_kind_of_file_has_its_name() -> None:
    sidecar = b'{"Manufacturer": "Maker"}'
    header, values = pair()
    cases = {"a.b.nii": image().to_bytes(), "a.b.nii.gz": gzip.compress(image().to_bytes()), "a.b.hdr": header}
    for name, data in cases.items():
        row = read(data, name, {"a.b.json": sidecar, "a.b.img": values})
        assert row["Manufacturer"] == "Maker", name


def test_times_in_the_sidecar_become_milliseconds_and_other_values_stay() -> None:
    sidecar = {
        "EchoTime": 0.03, "RepetitionTime": 2, "InversionTime": 0.9, "FlipAngle": 75, "MagneticFieldStrength": 3,
        "SeriesNumber": 4, "SliceThickness": 2.5, "ManufacturersModelName": "Model", "PatientSex": "F",
    }  # fmt: skip
    row = read(image().to_bytes(), "a.nii", {"a.json": json.dumps(sidecar).encode()})
    assert (row["EchoTime"], row["RepetitionTime"], row["InversionTime"]) == (
        pytest.approx(30), pytest.approx(2000), pytest.approx(900)
    )  # fmt: skip
    assert (row["FlipAngle"], row["MagneticFieldStrength"], row["SliceThickness"]) == (75.0, 3.0, 2.5)
    assert (row["SeriesNumber"], row["ManufacturerModelName"], row["PatientSex"]) == (4, "Model", "F")


def test_values_of_the_wrong_type_in_the_sidecar_are_left_out() -> None:
    sidecar = b'{"EchoTime": "0.03", "Manufacturer": 5, "FlipAngle": true, "SeriesNumber": null, "Modality": ["MR"]}'
    row = read(image().to_bytes(), "a.nii", {"a.json": sidecar})
    names = ("EchoTime", "Manufacturer", "FlipAngle", "SeriesNumber", "Modality")
    assert [row.get(name) for name in names] == [None] * 5
    assert outcome(row) == ("ok", None, True)


@pytest.mark.parametrize(
    "sidecar",
    [
        b"", b"{", b"[1, 2]", b"null", b"\xff\xfe", b"[" * 100_000, b'"text"', b"1" * 5000,
        b'{"SeriesNumber": NaN}', b'{"SeriesNumber": Infinity}', b'{"SeriesNumber": 1e999}',
        b'{"SeriesNumber": 1' + b"0" * 30 + b"}", b'{"EchoTime": 1' + b"0" * 400 + b"}",
        b'{"Manufacturer": "\\ud800"}', b'{"Modality": "\\ud800"}', b'{"Manufacturer": "a\\u0000b"}',
    ],
)  # fmt: skip
def test_no_sidecar_spoils_its_image(sidecar: bytes) -> None:
    assert outcome(read(image().to_bytes(), "a.nii", {"a.json": sidecar})) == ("ok", None, True)


# -- placement ---------------------------------------------------------------------------------------------


def volume_of(row: Row) -> Row:
    full = dict.fromkeys(COLUMNS) | {"source": "/data", "path": "a.nii", "path_raw": b"a.nii", "size": 1} | row
    (volume,), (frame,) = assemble_image([full])
    assert frame["role"] == "image"
    return volume


def test_the_affine_is_the_sform_in_patient_coordinates_of_dicom() -> None:
    made = image()
    made.set_sform(np.array([[0, 0, 4, 5], [-2, 0, 0, 6], [0, 3, 0, 7], [0, 0, 0, 1.0]]), code=1)
    volume = volume_of(read(stored(made)))
    affine = np.reshape(volume["affine_lps"], (4, 4))
    np.testing.assert_allclose(affine, np.diag([-1, -1, 1, 1]) @ made.get_sform())
    assert (volume["spacing_col_mm"], volume["spacing_row_mm"], volume["spacing_slice_mm"]) == (2.0, 3.0, 4.0)
    assert (volume["spacing_source"], volume["regularly_spaced_3d_volume"]) == ("nifti_sform", True)
    assert (volume["columns"], volume["rows"], volume["slices"]) == SHAPE


def test_the_qform_counts_where_there_is_no_sform_and_neither_gives_no_orientation() -> None:
    made = image()
    made.set_qform(np.diag([-2.0, 3, 4, 1]), code=1)
    made.set_sform(np.diag([9.0, 9, 9, 1]), code=0)
    volume = volume_of(read(stored(made)))
    assert volume["spacing_source"] == "nifti_qform"
    np.testing.assert_allclose(np.reshape(volume["affine_lps"], (4, 4)), np.diag([2, -3, 4, 1]), atol=1e-6)
    made.set_qform(None, code=0)
    volume = volume_of(read(stored(made)))
    assert (volume["spacing_source"], volume.get("affine_lps")) == ("nifti_pixdim", None)
    assert volume["spacing_slice_mm"] == 4.0


@pytest.mark.parametrize(("unit", "factor"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001)])
def test_lengths_become_millimetres_by_the_unit(unit: int, factor: float) -> None:
    volume = volume_of(read(stored(image(xyzt_units=unit | 16))))
    assert volume["spacing_slice_mm"] == pytest.approx(4 * factor)
    assert volume["affine_lps"][10] == pytest.approx(4 * factor)


@pytest.mark.parametrize(
    ("slope", "inter", "expected"),
    [
        (2.0, 5.0, (2.0, 5.0)),
        (-1.0, 0.0, (-1.0, 0.0)),
        (1.0, 0.0, (None, None)),
        (0.0, 5.0, (None, None)),
        (math.nan, 0.0, (None, None)),
        (2.0, math.inf, (None, None)),
    ],
)
def test_a_slope_of_zero_or_not_finite_means_unscaled(
    slope: float, inter: float, expected: tuple[float | None, float | None]
) -> None:
    row = read(with_field(image().to_bytes(), 112, "ff", slope, inter))
    full = dict.fromkeys(COLUMNS) | {"source": "/data", "path": "a.nii", "path_raw": b"a.nii", "size": 1} | row
    _, (frame,) = assemble_image([full])
    assert (frame["slope"], frame["intercept"]) == expected


def test_a_sheared_affine_is_not_regular() -> None:
    made = image()
    affine = np.diag([2.0, 3, 4, 1])
    affine[1, 2] = 1.0
    made.set_sform(affine, code=1)
    volume = volume_of(read(stored(made)))
    assert volume["regularly_spaced_3d_volume"] is False
    assert volume["tilt_degrees"] == pytest.approx(math.degrees(math.atan(1 / 4)))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 4), (1, 1, 1)), ((5, 4, 3), (3, 1, 1)), ((5, 4, 3, 6), (3, 6, 1)), ((5, 4, 3, 1, 2), (3, 1, 2))],
)
def test_dimensions_are_slices_then_time_then_channels(shape: tuple[int, ...], expected: tuple[int, int, int]) -> None:
    volume = volume_of(read(image(shape=shape).to_bytes()))
    assert (volume["slices"], volume["timepoints"], volume["channels"]) == expected
    assert (volume["spacing_slice_mm"] is None) == (volume["slices"] == 1)


def test_more_than_five_dimensions_are_rejected() -> None:
    volume = volume_of(read(image(shape=(5, 4, 3, 1, 1, 2)).to_bytes()))
    assert (volume["status"], volume["reason"]) == (Status.REJECTED, "too_many_dimensions")
