"""The factor that makes standardised uptake values of PET: g/mL, normalised by body weight.

The rules are those of QIBA's vendor-neutral pseudo-code. Whatever is not told gives a reason and no factor: there are
no defaults. Values in Zarr stay as the header means them.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any

Row = dict[str, Any]

COLUMNS = (
    "PatientWeight", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "ActualFrameDuration",
    "FrameReferenceTime", "CorrectedImage", "Units", "SUVType", "DecayCorrection", "RadionuclideTotalDose",
    "RadionuclideHalfLife", "RadiopharmaceuticalStartTime", "RadiopharmaceuticalStartDateTime",
)  # fmt: skip
"""Columns of `files` that the factor depends on."""

_SAME_FACTOR = 1e-3  # relative: a second more or less of the half life of F-18 is 1e-4
_GRAMS_PER_KILOGRAM = 1000.0
_MOST_HALF_LIVES = 20.0  # a millionth of the dose is left: the times are not those of one examination
_MS = 1000.0
_DAY = timedelta(days=1)
_TIME = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,6}))?)?)?")
_DATE = re.compile(r"(\d{4})[.]?(\d{2})[.]?(\d{2})")


class _Missing(Exception):  # noqa: N818 - an answer, not an error
    """There is no factor; the argument is the reason."""


def suv_of(rows: list[Row]) -> Row:
    """Return the columns `suvbw_factor` and `suvbw_reason` of a volume.

    Parameters
    ----------
    rows : list of dict
        The images of the volume: rows of `files`.

    Returns
    -------
    dict
        The factor is in g/mL per unit of the values; null with a reason where it is not known, or where images differ.
        Both are null where the images are no PET.
    """
    if rows[0]["Modality"] != "PT":
        return {}
    try:
        factors = sorted(_factor(row) for row in rows)
    except _Missing as missing:
        return {"suvbw_reason": str(missing)}
    if factors[-1] - factors[0] > _SAME_FACTOR * factors[-1]:
        return {"suvbw_reason": "differs_between_images"}
    return {"suvbw_factor": factors[len(factors) // 2]}


def _factor(row: Row) -> float:
    if row["Units"] == "GML":  # an absent SUVType means body weight (PS3.3 C.8.9.1)
        if row["SUVType"] not in (None, "", "BW"):
            raise _Missing("not_by_body_weight")
        return 1.0
    if row["Units"] != "BQML":
        raise _Missing("no_units" if not row["Units"] else "not_in_bqml")
    corrections = row["CorrectedImage"] or ()
    for name, reason in (("ATTN", "not_attenuation_corrected"), ("DECY", "not_decay_corrected")):
        if name not in corrections:
            raise _Missing(reason)
    weight = _positive(row["PatientWeight"], "no_weight")
    dose = _positive(row["RadionuclideTotalDose"], "no_dose")
    return weight * _GRAMS_PER_KILOGRAM / (dose * _share_left(row))


def _positive(value: float | None, reason: str) -> float:
    if value is None or not math.isfinite(value) or value <= 0:
        raise _Missing(reason)
    return value


def _share_left(row: Row) -> float:
    """Return what is left of the dose at the time that the values are corrected to."""
    correction = row["DecayCorrection"]
    if correction == "ADMIN":
        return 1.0
    if correction != "START":
        raise _Missing("not_decay_corrected" if correction == "NONE" else "no_decay_correction")
    half_life = _positive(row["RadionuclideHalfLife"], "no_half_life")
    start = _scan_start(row, half_life)
    half_lives = (start - _injection(row, start)).total_seconds() / half_life
    if half_lives < 0:
        raise _Missing("injection_after_scan")
    if half_lives > _MOST_HALF_LIVES:
        raise _Missing("injection_long_before_scan")
    return math.exp2(-half_lives)


def _scan_start(row: Row, half_life: float) -> datetime:
    """Return the time that values are corrected to: of the series, unless that was made after the acquisition."""
    series = _moment(row["SeriesDate"], row["SeriesTime"])
    acquired = _moment(row["AcquisitionDate"], row["AcquisitionTime"])
    if series is None or acquired is None:
        raise _Missing("no_scan_time")
    if series <= acquired:
        return series
    # The reference time of a frame counts from the start to the moment of its average count rate.
    reference, duration = row["FrameReferenceTime"], row["ActualFrameDuration"]
    if reference is None or not math.isfinite(reference) or not duration or duration < 0:
        raise _Missing("no_scan_start")
    decay = math.log(2) / half_life
    within = decay * duration / _MS
    average = math.log(within / -math.expm1(-within)) / decay
    try:
        return acquired + timedelta(seconds=average - reference / _MS)
    except OverflowError:
        raise _Missing("no_scan_start") from None


def _injection(row: Row, start: datetime) -> datetime:
    """Return the time of the injection; where only a time of day is told, of the day of the scan or the one before."""
    given = row["RadiopharmaceuticalStartDateTime"]
    if given:
        moment = _moment(given[:8], given[8:])
        if moment is None:
            raise _Missing("no_injection_time")
        return moment
    moment = _moment(f"{start:%Y%m%d}", row["RadiopharmaceuticalStartTime"])
    if moment is None:
        raise _Missing("no_injection_time")
    return moment if moment <= start else moment - _DAY


def _moment(date: str | None, time: str | None) -> datetime | None:
    """Return date and time of day (PS3.5 section 6.2, DA and TM); None where either is not told."""
    day, clock = _DATE.fullmatch((date or "").strip()), _TIME.match((time or "").strip())
    if day is None or clock is None:
        return None
    year, month, number = (int(part) for part in day.groups())
    hour, minute, second, micro = (int(part or 0) for part in (*clock.groups()[:3], (clock[4] or "").ljust(6, "0")))
    try:
        return datetime(year, month, number, hour, minute, min(second, 59), micro)  # a leap second
    except ValueError:
        return None
