"""Minimum, maximum and mean of the real volumes against what SimpleITK and nibabel found in the same files.

Where they differ, a rule names the convention; a difference that no rule explains fails.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cohort
from cohort.schema import Status

_PER_FILE, _NIBABEL, _SITK = "per-file GDCM", "nibabel", "NiftiImageIO"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"


@pytest.fixture(scope="module")
def table(real_images: Path) -> pd.DataFrame:
    """Rows that hold values; named by COHORT_TRUTH, or beside the images."""
    path = Path(os.environ.get("COHORT_TRUTH") or real_images.parent / "truth.csv")
    if not path.is_file():
        pytest.skip("COHORT_TRUTH names no table of what other tools made of the real images")
    rows = pd.read_csv(path, low_memory=False)
    return rows[rows["mean"].notna()]


@pytest.fixture(scope="module")
def volumes(real_out: Path) -> pd.DataFrame:
    opened = cohort.open(real_out)
    return opened.volumes.merge(opened.statistics, on="volume_id", how="left")


@pytest.fixture(scope="module")
def frames(real_out: Path) -> pd.DataFrame:
    names = [
        "volume_id", "path_raw", "role", "mosaic_grid", "PhotometricInterpretation", "BitsAllocated",
        "TransferSyntaxUID", "slope", "intercept",
    ]  # fmt: skip
    found = cohort.open(real_out).run_folder.read("frames", names).to_pandas()
    found["path"] = found["path_raw"].str.decode("utf-8", "replace")
    found["source"] = found["path"].str.split("/").str[:2].str.join("/")
    return found


def agrees(volumes: pd.DataFrame, true: Any, rtol: float) -> bool:
    """Whether the volumes, pooled, have the extremes and the mean of the truth."""
    count = volumes["count"].sum()
    if not count or (np.isfinite(true.n_values) and count != true.n_values):
        return False
    mean = float((volumes["mean"] * volumes["count"]).sum() / count)
    found = (volumes["min"].min(), volumes["max"].max(), mean)
    return bool(np.allclose(found, (true.min, true.max, true.mean), rtol=rtol, atol=1e-6))


def convention(volumes: pd.DataFrame, frames: pd.DataFrame, true: Any) -> str | None:
    """Name what makes SimpleITK's values of a DICOM series differ from ours, None where nothing known does."""
    photometric = set(frames["PhotometricInterpretation"])
    rescales = set(zip(frames["slope"].fillna(1), frames["intercept"].fillna(0), strict=True))
    rules = {
        "no volume: rejected, or an exact copy of one in another folder": volumes.empty,
        "a frame of it cannot be decoded": bool((volumes["status"] != Status.OK).any()),
        "whole slide: described, not read": bool((volumes["reason"] == "whole_slide").any()),
        "a mosaic is cut into its tiles, the empty ones left out": bool(frames["mosaic_grid"].notna().any()),
        "exact copies are set aside": bool((frames["role"] != "image").any()),
        "SimpleITK applies no table of a modality LUT": "modality_lut" in set(volumes["value_source"]),
        "padding is left out": bool(volumes["padding_count"].sum()),
        "SimpleITK inverts MONOCHROME1": "MONOCHROME1" in photometric,
        "SimpleITK scales palettes to 8 bits": "PALETTE COLOR" in photometric,
        "SimpleITK multiplies segments of 1 bit by 255": set(volumes["Modality"]) == {"SEG"},
        "SimpleITK takes one rescale for all frames": len(rescales) > 1,
        "SimpleITK misreads big endian of 32 bits": (set(frames["BitsAllocated"]), set(frames["TransferSyntaxUID"]))
        == ({32.0}, {_BIG_ENDIAN}),
        "SimpleITK read not every file": true.n_ok < true.n_files,
        "more files than ours: some are copies of others": volumes["count"].sum() < true.n_values and true.n_files > 1,
    }
    return next((name for name, holds in rules.items() if holds), None)


@pytest.mark.real
def test_values_of_dicom_series_are_those_of_simpleitk_or_the_convention_has_a_name(
    table: pd.DataFrame, volumes: pd.DataFrame, frames: pd.DataFrame
) -> None:
    reasons: Counter[str] = Counter()
    unexplained, equal = [], 0
    for true in table[table["tool"].str.contains(_PER_FILE)].itertuples():
        inside = frames[frames["source"] == true.source]
        own = volumes[volumes["volume_id"].isin(inside["volume_id"]) & (volumes["SeriesInstanceUID"] == true.key)]
        if agrees(own, true, rtol=1e-6):
            equal += 1
            continue
        reason = convention(own, inside[inside["volume_id"].isin(own["volume_id"])], true)
        reasons[str(reason)] += 1
        if reason is None:
            unexplained.append((true.source, true.key))
    assert unexplained == []
    assert equal >= 80, reasons


@pytest.mark.real
@pytest.mark.parametrize(("tool", "least"), [(_NIBABEL, 105), (_SITK, 98)])
def test_values_of_nifti_images_are_those_of_nibabel_and_simpleitk_or_the_convention_has_a_name(
    table: pd.DataFrame, volumes: pd.DataFrame, frames: pd.DataFrame, tool: str, least: int
) -> None:
    unexplained, equal = [], 0
    for true in table[table["tool"].str.contains(tool)].itertuples():
        path = true.path.removeprefix("devset/")
        own = volumes[volumes["volume_id"].isin(frames[frames["path"] == path]["volume_id"])]
        if agrees(own, true, rtol=1e-5):
            equal += 1
        elif path not in NIFTI_CONVENTIONS:
            unexplained.append(path)
    assert unexplained == []
    assert equal >= least


NIFTI_CONVENTIONS = {
    "nifti/nibabel/resampled_anat_moved.nii": "SimpleITK counts NaN as 0",
    "odd/crafted/badcrc.nii.gz": "rejected: the CRC of the stream is wrong, which nibabel does not look at",
    "odd/crafted/magic_bad.nii": "no NIfTI by its magic, which SimpleITK does not look at",
    "odd/crafted/slope_zero.nii": "a slope of 0 means no rescale at all; SimpleITK adds the intercept",
    "odd/crafted/trunc.nii.gz": "rejected: truncated; SimpleITK fills up",
    "odd/crafted/trunc_data.nii": "rejected: truncated; SimpleITK fills up",
    "odd/crafted/vox_offset_bad.nii": "rejected: the values would begin behind the end",
}
