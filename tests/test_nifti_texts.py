"""What NIfTI headers and sidecars say in words is read as nibabel reads it, and bounded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Extension

from cohort.readers import read_header, without_warnings

Row = dict[str, Any]
IMAGES = {
    "a.nii": nibabel.Nifti1Image,
    "a.nii.gz": nibabel.Nifti1Image,
    "b.nii": nibabel.Nifti2Image,
    "c.hdr": nibabel.Nifti1Pair,
}


def read(path: Path) -> Row:
    def neighbour(name: str, limit: int) -> bytes | None:
        beside = path.parent / Path(name).name
        return beside.read_bytes()[:limit] if beside.is_file() else None

    with without_warnings(), open(path, "rb") as file:
        return read_header(file, path.stat().st_size, path.name, neighbour=neighbour, gzip_limit=1 << 24)


def made(folder: Path, name: str, *extensions: Nifti1Extension, order: str = "<", **fields: bytes) -> Path:
    kind = IMAGES[name]
    header = kind.header_class(endianness=order)
    for field, value in fields.items():
        header[field] = value
    image = kind(np.arange(4096, dtype=np.int16).reshape(16, 16, 16), np.eye(4), header)
    image.header.extensions.extend(extensions)
    nibabel.save(image, folder / name)
    return folder / name


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("name", IMAGES)
def test_fields_and_extensions_are_those_of_nibabel(tmp_path: Path, name: str, order: str) -> None:
    long = os.urandom(15_000).hex().encode()  # beyond the bytes that are read first, also where it is compressed
    path = made(
        tmp_path, name, Nifti1Extension(0, long), Nifti1Extension(6, b"Garcia^Lorca"), order=order,
        descrip=b"seen", intent_name=b"by", aux_file=b"Garcia",
    )  # fmt: skip
    row, header = read(path), nibabel.load(path).header
    assert row["status"] == "ok"
    assert [row[f"nifti_{field}"] for field in ("descrip", "intent_name", "aux_file")] == ["seen", "by", "Garcia"]
    assert row["nifti_extension_codes"] == [extension.get_code() for extension in header.extensions] == [0, 6]
    assert row["nifti_extension_texts"] == [long[:4096].decode(), "Garcia^Lorca"]


def test_what_is_hidden_behind_a_nul_is_text_too(tmp_path: Path) -> None:
    assert read(made(tmp_path, "a.nii", descrip=b"FSL3.3\0Garcia"))["nifti_descrip"] == "FSL3.3 Garcia"


def test_of_a_binary_extension_the_code_is_told(tmp_path: Path) -> None:
    row = read(made(tmp_path, "a.nii", Nifti1Extension(30, bytes(range(32)) * 9)))
    assert (row["nifti_extension_codes"], row["nifti_extension_texts"]) == ([30], None)


@pytest.mark.parametrize("size", [0, -16, 2**31 - 1])
def test_an_extension_that_lies_about_its_size_ends_the_list(tmp_path: Path, size: int) -> None:
    path = made(tmp_path, "a.nii", Nifti1Extension(6, b"x" * 40))
    data = bytearray(path.read_bytes())
    data[352:356] = size.to_bytes(4, "little", signed=True)
    path.write_bytes(data)
    assert len(read(path)["nifti_extension_codes"] or []) == (size > 0)


def test_plain_headers_say_nothing(tmp_path: Path) -> None:
    row = read(made(tmp_path, "a.nii"))
    assert not [name for name in ("nifti_descrip", "nifti_extension_codes", "sidecar_texts") if row.get(name)]


def test_texts_of_a_sidecar_are_kept_by_their_keys(tmp_path: Path) -> None:
    path = made(tmp_path, "a.nii")
    sidecar = {
        "PatientName": "Garcia",
        "EchoTime": 0.03,
        "global": {"const": {"StationName": "MR1"}},
        "Terms": ["a", "b"],
    }
    path.with_suffix(".json").write_text(json.dumps(sidecar))
    row = read(path)
    assert json.loads(row["sidecar_texts"]) == {
        "PatientName": ["Garcia"], "global > const > StationName": ["MR1"], "Terms": ["a", "b"]
    }  # fmt: skip
    assert row["names_filled"] == "PatientName"
    path.with_suffix(".json").write_text(json.dumps(sidecar | {"PatientID": "Garcia"}))
    assert read(path)["names_filled"] is None
