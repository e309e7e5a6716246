"""The factor to standardised uptake values: by hand for each rule, and a reason for all that is not told."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cohort
from cohort.volumes.suv import COLUMNS, suv_of

Row = dict[str, Any]

HALF_LIFE = 6586.2  # s, F-18
DOSE, WEIGHT = 310e6, 70.0  # Bq, kg

SCAN: Row = {
    "Modality": "PT", "Units": "BQML", "CorrectedImage": ["NORM", "ATTN", "SCAT", "DECY"], "DecayCorrection": "START",
    "PatientWeight": WEIGHT, "RadionuclideTotalDose": DOSE, "RadionuclideHalfLife": HALF_LIFE,
    "RadiopharmaceuticalStartTime": "091500.00", "SeriesDate": "20240311", "SeriesTime": "101500",
    "AcquisitionDate": "20240311", "AcquisitionTime": "101500",
}  # fmt: skip


def row(**changes: Any) -> Row:
    return dict.fromkeys(COLUMNS) | SCAN | changes


def factor_after(seconds: float) -> float:
    """What one Bq/mL is worth when the dose has decayed that long."""
    return WEIGHT * 1000 / (DOSE * math.exp(-math.log(2) * seconds / HALF_LIFE))


def test_the_dose_is_decayed_from_the_injection_to_the_start_of_the_series() -> None:
    found = suv_of([row()])
    assert found == {"suvbw_factor": pytest.approx(factor_after(3600), rel=1e-12)}
    assert found["suvbw_factor"] == pytest.approx(3.2982e-4, rel=1e-4)  # 70 kg, 310 MBq, an hour


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        (
            {"AcquisitionTime": "104000.5"},
            3600,
        ),  # a later bed position: the series counts all the same
        ({"RadiopharmaceuticalStartTime": "0915"}, 3600),
        ({"RadiopharmaceuticalStartTime": "09"}, 4500),
        ({"RadiopharmaceuticalStartTime": "09:15:00"}, 3600),  # of ACR-NEMA
        ({"RadiopharmaceuticalStartDateTime": "20240311090000.000000"}, 4500),  # tells more than the time alone
        ({"RadiopharmaceuticalStartDateTime": "20240311090000+0100"}, 4500),
        ({"DecayCorrection": "ADMIN"}, 0),
        ({"DecayCorrection": "ADMIN", "SeriesTime": None, "RadiopharmaceuticalStartTime": None}, 0),
    ],
    ids=str,
)
def test_times_are_read_as_the_standard_writes_them(changes: Row, seconds: float) -> None:
    assert suv_of([row(**changes)])["suvbw_factor"] == pytest.approx(factor_after(seconds), rel=1e-12)


def test_an_injection_before_midnight_was_on_the_day_before() -> None:
    after = row(RadiopharmaceuticalStartTime="234500", SeriesTime="003000", AcquisitionTime="003000")
    assert suv_of([after])["suvbw_factor"] == pytest.approx(factor_after(2700), rel=1e-12)
    told = row(RadiopharmaceuticalStartDateTime="20240310234500", SeriesTime="003000", AcquisitionTime="003000")
    assert suv_of([told]) == suv_of([after])


def test_a_series_made_after_the_acquisition_has_its_start_computed_from_the_frames() -> None:
    """The reference time counts to the average count rate of a frame: a hand-made sum over its decay finds it."""
    duration, begin = 180.0, 600.0  # s; the frame begins ten minutes after the start of the scan
    times = np.linspace(0, duration, 200_001)
    rate = np.exp(-math.log(2) * times / HALF_LIFE)
    mean = np.trapezoid(rate, times) / duration
    average = -math.log(mean) * HALF_LIFE / math.log(2)  # when the count rate is its average
    late = row(
        SeriesTime="170000", AcquisitionTime="102500", ActualFrameDuration=int(duration * 1000),
        FrameReferenceTime=(begin + average) * 1000,
    )  # fmt: skip
    assert suv_of([late])["suvbw_factor"] == pytest.approx(factor_after(3600), rel=1e-6)
    assert suv_of([row(SeriesTime="170000")]) == {"suvbw_reason": "no_scan_start"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientWeight": None}, "no_weight"),
        ({"PatientWeight": 0.0}, "no_weight"),
        ({"PatientWeight": math.nan}, "no_weight"),
        ({"RadionuclideTotalDose": None}, "no_dose"),
        ({"RadionuclideTotalDose": -1.0}, "no_dose"),
        ({"RadionuclideHalfLife": None}, "no_half_life"),
        ({"RadiopharmaceuticalStartTime": None}, "no_injection_time"),
        ({"RadiopharmaceuticalStartTime": "soon"}, "no_injection_time"),
        ({"RadiopharmaceuticalStartDateTime": "20241399000000"}, "no_injection_time"),
        ({"SeriesTime": ""}, "no_scan_time"),
        ({"SeriesDate": None}, "no_scan_time"),
        ({"AcquisitionDate": None}, "no_scan_time"),
        ({"CorrectedImage": None}, "not_attenuation_corrected"),
        ({"CorrectedImage": ["ATTN"]}, "not_decay_corrected"),
        ({"DecayCorrection": "NONE"}, "not_decay_corrected"),
        ({"DecayCorrection": None}, "no_decay_correction"),
        ({"Units": None}, "no_units"),
        ({"Units": "CNTS"}, "not_in_bqml"),
        ({"Units": "GML", "SUVType": "LBM"}, "not_by_body_weight"),
        ({"RadiopharmaceuticalStartDateTime": "20240311110000"}, "injection_after_scan"),
        ({"RadiopharmaceuticalStartDateTime": "20190311090000"}, "injection_long_before_scan"),  # one date was shifted
    ],
    ids=lambda value: value if isinstance(value, str) else ",".join(value),
)
def test_what_is_not_told_is_never_made_up(changes: Row, reason: str) -> None:
    assert suv_of([row(**changes)]) == {"suvbw_reason": reason}
    assert suv_of([row(), row(**changes)]) == {"suvbw_reason": reason}


def test_values_that_are_uptake_already_stay_as_they_are() -> None:
    assert suv_of([row(Units="GML", PatientWeight=None)]) == {"suvbw_factor": 1.0}
    assert suv_of([row(Units="GML", SUVType="BW")]) == {"suvbw_factor": 1.0}


def test_images_of_one_volume_must_agree() -> None:
    rows = [row(), row(SeriesTime="101501", AcquisitionTime="101501")]  # a second: rounding
    assert suv_of(rows) == suv_of(rows[::-1])
    assert suv_of(rows)["suvbw_factor"] == pytest.approx(factor_after(3600), rel=2e-4)
    assert suv_of([row(), row(PatientWeight=71.0)]) == {"suvbw_reason": "differs_between_images"}


def test_other_images_have_neither_factor_nor_reason() -> None:
    assert suv_of([row(Modality="CT")]) == {}


def test_the_factor_of_a_run_is_that_of_its_headers(run_out: Path) -> None:
    opened = cohort.open(run_out)
    volumes = opened.volumes
    assert volumes[volumes["Modality"] != "PT"][["suvbw_factor", "suvbw_reason"]].isna().all(axis=None)
    pets = volumes[volumes["Modality"] == "PT"]
    assert (pets["suvbw_factor"].isna() != pets["suvbw_reason"].isna()).all()
    files = opened.files.compute().drop_duplicates("series_key").set_index("series_key")
    checked = 0
    for key, factor in pets[pets["suvbw_factor"].notna()][["series_key", "suvbw_factor"]].itertuples(index=False):
        first = files.loc[key]
        assert first["RadionuclideHalfLife"] == HALF_LIFE
        injected, begun = (
            int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:])
            for text in (first["RadiopharmaceuticalStartTime"], first["SeriesTime"])
        )
        left = first["RadionuclideTotalDose"] * 2 ** ((injected - begun) / HALF_LIFE)
        assert factor == pytest.approx(first["PatientWeight"] * 1000 / left, rel=1e-9)
        checked += 1
    assert checked
