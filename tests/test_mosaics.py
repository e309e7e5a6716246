"""A mosaic is read as the stack it holds; nibabel's reader of Siemens files is the judge."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import struct
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sequence import Sequence
from running import config_with

import cohort
from cohort import pipeline
from cohort.errors import RejectedError
from cohort.ingest import frames as ingest_frames
from cohort.phantom import PhantomVolume
from cohort.phantom.mosaic import MOSAIC_TRAPS, csa_header
from cohort.readers import dicom_mosaic, read_header
from cohort.readers.siemens_csa import MAX_ITEMS, MAX_TAGS, read_csa

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # nibabel warns that its DICOM readers are experimental
    from nibabel.nicom import csareader, dicomwrappers

Row = dict[str, Any]
Floats = np.ndarray[Any, np.dtype[np.float64]]

NIBABEL = files("nibabel.nicom.tests.data")
NUMBER, NORMAL = "NumberOfImagesInMosaic", "SliceNormalVector"


def shipped(name: str) -> bytes:
    data = (NIBABEL / name).read_bytes()
    return gzip.decompress(data) if name.endswith(".gz") else data


# -- the CSA header ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["csa2_b0.bin", "csa2_b1000.bin", "csa2_zero_len.bin.gz"])
def test_every_tag_of_a_real_csa_header_is_that_of_nibabel(name: str) -> None:
    known = csareader.read(shipped(name))["tags"]
    found = read_csa(shipped(name), list(known))
    assert set(found) == set(known)
    for tag, entry in known.items():
        kept = [item for item in entry["items"] if item not in ("", b"")]
        if entry["vr"] in ("IS", "UL", "US", "DS", "FL", "FD"):
            assert [float(text) for text in found[tag]] == [float(item) for item in kept], tag
        else:
            as_text = [item.decode("latin-1") if isinstance(item, bytes) else str(item) for item in kept]
            assert found[tag] == [text for item in as_text if (text := item.strip())], tag


def first_version(tags: dict[str, list[str]]) -> bytes:
    """A CSA header of the first version: no magic, and every length has the items of the first tag added."""
    surplus = 6
    parts = [struct.pack("<2I", len(tags), 77)]
    for name, values in tags.items():
        parts.append(struct.pack("<64si4s3i", name.encode(), len(values), b"FD", 4, surplus, 77))
        for value in [*values, *[""] * (surplus - len(values))]:
            text = value.encode() + b"\0" if value else b""
            parts.append(struct.pack("<4i", len(text) + surplus, 0, 77, 0) + text + b"\0" * (-len(text) % 4))
    return b"".join(parts)


def test_the_first_version_is_read_too() -> None:
    tags = {"EchoLinePosition": ["32"], NUMBER: ["35"], NORMAL: ["0", "-0.5", "0.866"]}
    assert read_csa(first_version(tags), tuple(tags)) == tags


@pytest.mark.parametrize("data", [b"", b"SV10", b"SV10\4\3\2\1", b"\0" * 4096, b"no header at all", bytes(range(256))])
def test_what_is_no_csa_header_is_refused(data: bytes) -> None:
    with pytest.raises(RejectedError, match="csa_damaged"):
        read_csa(data, (NUMBER,))


def test_both_sides_of_the_limits_of_a_csa_header() -> None:
    many = csa_header({f"T{i}": ("IS", ["1"]) for i in range(MAX_TAGS)})
    assert read_csa(many, (f"T{MAX_TAGS - 1}",)) == {f"T{MAX_TAGS - 1}": ["1"]}
    long = csa_header({"T": ("IS", ["1"] * MAX_ITEMS)})
    assert len(read_csa(long, ("T",))["T"]) == MAX_ITEMS
    for tags in ({f"T{i}": ("IS", ["1"]) for i in range(MAX_TAGS + 1)}, {"T": ("IS", ["1"] * (MAX_ITEMS + 1))}):
        with pytest.raises(RejectedError, match="csa_damaged"):
            read_csa(csa_header(tags), ("none",))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_csa_headers_are_refused_or_read_never_more(data: st.DataObject) -> None:
    whole = bytearray(shipped("csa2_b0.bin"))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 4))
        whole[place : place + 4] = data.draw(st.binary(min_size=4, max_size=4))
    cut = data.draw(st.integers(0, len(whole)))
    with contextlib.suppress(RejectedError):
        read_csa(bytes(whole[:cut]), (NUMBER, NORMAL, "never there"))


# -- the header of a mosaic --------------------------------------------------------------------------------


def header_of(content: bytes) -> Row:
    return read_header(io.BytesIO(content), len(content), "a.dcm", neighbour=lambda *_: None, gzip_limit=1 << 30)


def encoded(image: pydicom.Dataset) -> bytes:
    buffer = io.BytesIO()
    image.save_as(buffer, enforce_file_format=False)
    return buffer.getvalue()


def tile_affine(row: Row) -> Floats:
    """(row, column, tile, 1) -> mm (LPS), as nibabel counts, from the columns alone."""
    places = np.reshape(row["mosaic_positions"], (-1, 3))
    cosines = np.reshape(row["ImageOrientationPatient"], (2, 3))
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1] = cosines[1] * row["PixelSpacing"][0], cosines[0] * row["PixelSpacing"][1]
    affine[:3, 2], affine[:3, 3] = places[1] - places[0], places[0]
    return affine


def siemens(tmp_path: Path, name: str = "mosaic-siemens") -> pydicom.Dataset:
    MOSAIC_TRAPS[name](tmp_path, name, 0)
    return pydicom.dcmread(sorted((tmp_path / "traps" / name).iterdir())[0])


@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("name", ["siemens_dwi_0.dcm.gz", "siemens_dwi_1000.dcm.gz"])
def test_a_real_mosaic_lies_where_nibabel_says(name: str, gzipped: bool) -> None:
    content = shipped(name)
    wrapper = dicomwrappers.wrapper_from_data(pydicom.dcmread(io.BytesIO(content)))
    row = header_of(gzip.compress(content) if gzipped else content)
    assert (row["mosaic_slices"], row["mosaic_grid"], row.get("mosaic_problem")) == (wrapper.n_mosaic, [7, 7], None)
    np.testing.assert_allclose(tile_affine(row), wrapper.affine, atol=1e-6)
    assert len(row["mosaic_positions"]) == 3 * 48


@pytest.mark.parametrize("name", ["mosaic-siemens", "mosaic-reversed"])
def test_a_phantom_mosaic_lies_where_nibabel_says(tmp_path: Path, name: str) -> None:
    image = siemens(tmp_path, name)
    wrapper = dicomwrappers.wrapper_from_data(image)
    row = header_of(encoded(image))
    np.testing.assert_allclose(tile_affine(row), wrapper.affine, atol=1e-5)
    upwards = float(np.cross(*np.reshape(row["ImageOrientationPatient"], (2, 3))) @ tile_affine(row)[:3, 2])
    assert (upwards > 0) == (name == "mosaic-siemens")


@pytest.mark.parametrize("name", ["mosaic-siemens", "mosaic-reversed", "mosaic-uih"])
def test_both_ways_of_reading_tell_the_same(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_items(*_: object, **__: object) -> None:
        raise dicom_mosaic.Fallback("item_expected")

    image = siemens(tmp_path, name)
    content = encoded(image)
    walked = header_of(content)
    big = pydicom.dcmread(io.BytesIO(content))
    nested = pydicom.Dataset()
    nested.add_new(0x00291010, "OB", b"SV10 of another image")
    nested.is_undefined_length_sequence_item = True
    image.ReferencedImageSequence = Sequence([nested])
    image["ReferencedImageSequence"].is_undefined_length = True
    if name == "mosaic-uih":  # as the scanner writes it
        image[0x00651051].is_undefined_length = True
        for item in image[0x00651051].value:
            item.is_undefined_length_sequence_item = True
    behind_open_sequence = header_of(encoded(image))
    big.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, big, implicit_vr=False, little_endian=False, force_encoding=True)
    parsed = header_of(buffer.getvalue())
    implicit = io.BytesIO()
    small = pydicom.dcmread(io.BytesIO(content))
    small.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(implicit, small, implicit_vr=True, little_endian=True, force_encoding=True)
    in_implicit_vr = header_of(implicit.getvalue())
    monkeypatch.setattr(dicom_mosaic, "_item_positions", no_items)
    through_pydicom = header_of(encoded(image))
    assert "walker" in walked["parser"]
    assert "walker" in in_implicit_vr["parser"]
    assert "pydicom" in parsed["parser"]
    for column in ("mosaic_slices", "mosaic_grid", "mosaic_positions"):
        assert walked[column] is not None
        assert walked[column] == parsed[column] == behind_open_sequence[column] == in_implicit_vr[column]
        assert walked[column] == through_pydicom[column]


def test_creators_may_reserve_any_block(tmp_path: Path) -> None:
    image = siemens(tmp_path)
    known = header_of(encoded(image))
    csa = image.private_block(0x29, "SIEMENS CSA HEADER")[0x10].value
    for element in [e for e in image if e.tag.group == 0x29]:
        del image[element.tag]
    image.add_new(0x00290010, "LO", "SOMEONE ELSE")
    image.add_new(0x00291010, "OB", b"SV10 of someone else")
    image.add_new(0x00290042, "LO", "SIEMENS CSA HEADER")
    image.add_new(0x00294210, "OB", csa)
    assert header_of(encoded(image))["mosaic_positions"] == known["mosaic_positions"]


def without_csa(image: pydicom.Dataset) -> None:
    del image[0x00291010]


def with_csa(image: pydicom.Dataset, **tags: list[str]) -> None:
    known = {NUMBER: ["7"], NORMAL: ["0", "0", "1"]} | tags
    image[0x00291010].value = csa_header({name: ("FD", values) for name, values in known.items()})


PROBLEMS: dict[str, Any] = {
    "no_private_header": without_csa,
    "csa_damaged": lambda image: setattr(image[0x00291010], "value", b"SV10"),
    "no_slice_count": lambda image: with_csa(image, **{NUMBER: []}),
    "no_slice_normal": lambda image: with_csa(image, **{NORMAL: ["0", "0"]}),
    "no_slice_spacing": lambda image: delattr(image, "SpacingBetweenSlices"),
    "no_ImagePositionPatient": lambda image: delattr(image, "ImagePositionPatient"),
    "no_PixelSpacing": lambda image: delattr(image, "PixelSpacing"),
    "grid_mismatch": lambda image: with_csa(image, **{NUMBER: ["17"]}),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_mosaic_that_cannot_be_placed_says_why(tmp_path: Path, problem: str) -> None:
    image = siemens(tmp_path)
    PROBLEMS[problem](image)
    row = header_of(encoded(image))
    assert row["mosaic_problem"] == problem
    assert row.get("mosaic_positions") is None
    assert row["status"] == "ok"


@pytest.mark.parametrize(
    ("tag", "values"),
    [
        (NORMAL, ["0", "0.7", "0.7"]),  # not the normal of the slices
        (NORMAL, ["nan", "0", "1"]),
        (NORMAL, ["0", "0", "2"]),
        (NUMBER, ["0"]),
        (NUMBER, ["-4"]),
        (NUMBER, ["7.5"]),
        (NUMBER, ["inf"]),
        (NUMBER, ["seven"]),
        (NUMBER, ["4000000000"]),
    ],
)
def test_impossible_values_are_no_mosaic(tmp_path: Path, tag: str, values: list[str]) -> None:
    image = siemens(tmp_path)
    with_csa(image, **{tag: values})
    assert header_of(encoded(image))["mosaic_problem"] in ("no_slice_normal", "no_slice_count")


def test_both_sides_of_the_limit_of_slices(tmp_path: Path) -> None:
    image = siemens(tmp_path)
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.Rows = image.Columns = 33 * 32
    image.PixelData = bytes(2 * 33 * 33 * 32 * 32)
    for slices, problem in ((dicom_mosaic.MAX_SLICES, None), (dicom_mosaic.MAX_SLICES + 1, "no_slice_count")):
        with_csa(image, **{NUMBER: [str(slices)]})
        row = header_of(encoded(image))
        assert row.get("mosaic_problem") == problem
        assert row.get("mosaic_slices") == (slices if problem is None else None)


def test_what_was_cut_into_frames_is_no_mosaic(tmp_path: Path) -> None:
    """Newer scanners cut the tiles apart and leave the word in ImageType."""
    image = siemens(tmp_path)
    image.NumberOfFrames = 2
    image.PixelData = image.PixelData * 2
    row = header_of(encoded(image))
    assert [name for name in row if name.startswith("mosaic")] == []


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damage_anywhere_in_a_mosaic_never_raises(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(_content(tmp_path_factory, data.draw(st.sampled_from(["mosaic-siemens", "mosaic-uih"]))))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(132, len(content) - 8))
        content[place : place + 4] = data.draw(st.binary(min_size=4, max_size=4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        row = header_of(bytes(content))
    slices = row.get("mosaic_slices")
    if slices is not None:
        assert len(row["mosaic_positions"]) == 3 * slices
        assert all(math.isfinite(number) for number in row["mosaic_positions"])


_contents: dict[str, bytes] = {}


def _content(factory: pytest.TempPathFactory, name: str) -> bytes:
    if name not in _contents:
        _contents[name] = encoded(siemens(factory.mktemp("mosaic"), name))
    return _contents[name]


# -- the volume --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mosaics(tmp_path_factory: pytest.TempPathFactory) -> tuple[cohort.Cohort, dict[str, PhantomVolume]]:
    """A run over the mosaics alone, and the truth."""
    root = tmp_path_factory.mktemp("mosaics")
    written = [write(root / "images", name, 0) for name, write in MOSAIC_TRAPS.items()]
    pipeline.run([str(root / "images")], root / "out", config_with())
    return cohort.open(root / "out"), {volume.name: volume for part in written for volume in part.volumes}


def row_of(opened: cohort.Cohort, truth: PhantomVolume) -> Row:
    volumes = opened.volumes[opened.volumes["SeriesInstanceUID"] == truth.series_uid]
    assert len(volumes) == 1
    return dict(volumes.iloc[0])


@pytest.mark.parametrize("name", ["mosaic-siemens", "mosaic-reversed", "mosaic-uih"])
def test_a_series_of_mosaics_is_one_volume_in_time(
    mosaics: tuple[cohort.Cohort, dict[str, PhantomVolume]], name: str
) -> None:
    opened, truths = mosaics
    truth = truths[name]
    row = row_of(opened, truth)
    shape = tuple(row[field] for field in ("timepoints", "slices", "rows", "columns"))
    assert shape == (2, truth.slices, 20, 16)
    assert row["spacing_slice_mm"] == pytest.approx(3.6, abs=1e-5)
    assert row["regularly_spaced_3d_volume"]
    assert row["n_files"] == 2
    volume = opened.volume(row["volume_id"])
    np.testing.assert_array_equal(volume.data.compute(scheduler="sync"), truth.voxels()[:, 0])
    # The truth places its slices along the normal from (-60, -55, -120).
    np.testing.assert_allclose(volume.affine_lps[:3, 3], [-60.0, -55.0, -120.0], atol=1e-4)
    normal = np.cross(volume.affine_lps[:3, 0], volume.affine_lps[:3, 1])
    np.testing.assert_allclose(volume.affine_lps[:3, 2], 3.6 * normal / np.linalg.norm(normal), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(volume.affine_lps[:3, :2], axis=0), [3.0, 3.25], atol=1e-6)


def test_every_file_gives_all_its_tiles_and_no_empty_one_is_counted(
    mosaics: tuple[cohort.Cohort, dict[str, PhantomVolume]],
) -> None:
    opened, truths = mosaics
    frames = opened.run_folder.read("frames", ["volume_id", "path_raw", "frame", "role"]).to_pandas()
    statistics = opened.statistics.set_index("volume_id")
    for name, truth in truths.items():
        row = row_of(opened, truth)
        mine = frames[(frames["volume_id"] == row["volume_id"]) & (frames["role"] == "image")]
        per_file = mine.groupby("path_raw")["frame"].apply(sorted).to_list()
        assert per_file == [list(range(truth.tiles))] * 2, name
        assert len(mine) == row["slices"] * row["timepoints"]
        assert statistics.loc[row["volume_id"], "count"] == truth.voxels().size


def test_a_mosaic_that_cannot_be_taken_apart_is_a_finding_and_never_regular(
    mosaics: tuple[cohort.Cohort, dict[str, PhantomVolume]],
) -> None:
    opened, truths = mosaics
    row = row_of(opened, truths["mosaic-stripped"])
    assert (row["slices"], row["timepoints"], row["regularly_spaced_3d_volume"]) == (1, 2, False)
    assert row["reason_not_regular"] == "mosaic_not_unpacked: no_private_header"
    codes = opened.findings.set_index("subject")["code"]
    assert [code for code in codes[[row["volume_id"]]] if code.startswith("GEO")] == ["GEO-MOSAIC"]
    assert set(codes[codes == "GEO-MOSAIC"].index) == {row["volume_id"]}


def test_a_mosaic_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    MOSAIC_TRAPS["mosaic-siemens"](tmp_path / "images", "mosaic-siemens", 0)
    decoded = []
    inner = ingest_frames.open_frames

    def counted(*arguments: Any, **named: Any) -> Any:
        tiles = inner(*arguments, **named)
        read = tiles._mosaic.read
        monkeypatch.setattr(tiles._mosaic, "read", lambda frame: decoded.append(frame) or read(frame))
        return tiles

    monkeypatch.setattr(ingest_frames, "open_frames", counted)
    pipeline.run([str(tmp_path / "images")], tmp_path / "out", config_with())
    assert decoded == [0, 0]  # two files
    assert cohort.open(tmp_path / "out").volumes["zarr_path"].notna().all()
