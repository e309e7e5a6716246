"""Every kind of the catalogue has a case that raises it and nothing else, and near misses that raise nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from cohort.checks import files, headers, identity, labels, leakage, nifti, privacy, series, values, variants, volumes
from cohort.checks.finding import gathered
from cohort.config import CheckOptions
from cohort.findings import BY_CODE, KINDS, Severity, as_markdown

Row = dict[str, Any]
OPTIONS = CheckOptions()
US = "1.2.840.10008.5.1.4.1.1.6.1"
CT = "1.2.840.10008.5.1.4.1.1.2"


# -- rows that raise nothing, and what a change of them raises ----------------------------------------------


def of_file(**changes: Any) -> list[Row]:
    row = dict.fromkeys(files.COLUMNS) | {"path": "a/b.dcm", "size": 9, "status": "ok", "is_image": True} | changes
    return list(files.check_file(row))


def of_header(**changes: Any) -> list[Row]:
    columns = (*headers.COLUMNS, *privacy.COLUMNS)
    row = dict.fromkeys(columns) | {"SOPClassUID": CT, "Modality": "CT", "BitsStored": 12, "HighBit": 11} | changes
    checks = (*headers.HEADER_CHECKS, *privacy.PRIVACY_CHECKS)
    return list(gathered(("S", 3, seen) for check in checks for seen in check(row, OPTIONS)))


def of_series(**changes: Any) -> list[Row]:
    row: Row = {name: 0 if name.endswith("_missing") else 1 for name in series.COLUMNS}
    row |= {"series_key": "S", "format": "dicom", "PatientID": "P", "n_images": 9, "n_volumes": 1}
    row |= {"TransferSyntaxUID": "1.2.840.10008.1.2", "LossyImageCompression": None} | changes
    return list(series.check_series(row))


def of_volume(**changes: Any) -> list[Row]:
    row = dict.fromkeys(volumes.COLUMNS) | {
        "volume_id": "V", "Modality": "MR", "format": "dicom", "status": "ok", "slices": 9, "channels": 1,
        "timepoints": 1, "value_unit": "arbitrary", "spacing_row_mm": 1.0, "spacing_slice_mm": 2.0,
        "slice_thickness_mm": 2.0, "spacing_between_slices_mm": 2.0,
    }  # fmt: skip
    return list(volumes.check_volume(row | changes, OPTIONS))


def of_values(
    counts: dict[float, int], kind: str = "integer", *, padding: int = 0, nan: int = 0, **volume: Any
) -> list[Row]:
    """The findings on a volume with these counts per value (of `float`: per bin, by a value in it)."""
    row = {"volume_id": "V", "Modality": "MR", "format": "dicom", "value_unit": "arbitrary"} | volume
    from cohort.counting import float_keys

    found, numbers = np.array(list(counts), np.float64), list(counts.values())
    bins = found.astype(np.int64) if kind == "integer" else float_keys(found.astype(np.float32))
    partial = {"volume_id": "V", "channel": 0, "kind": kind, "bins": bins, "counts": np.array(numbers, np.int64)}
    ((_, shape),) = values.shapes_of([partial], OPTIONS.hu_range)
    statistics = {
        "volume_id": "V", "count": sum(numbers), "padding_count": padding, "nan_count": nan, "inf_count": 0,
        "min": found.min() if counts else None, "max": found.max() if counts else None,
    }  # fmt: skip
    raised = list(values.check_values(row, statistics, shape, OPTIONS))
    if shape is not None and values.may_be_clipped(row, shape, OPTIONS):
        encoding = {"BitsStored": 12, "PixelRepresentation": 0, "slope": 1.0, "intercept": -1024.0}
        raised += values.check_clipped(row, [encoding], shape, statistics)
    return raised


def of_image(**changes: Any) -> list[Row]:
    row = dict.fromkeys(nifti.COLUMNS) | {
        "instance_key": "V", "Modality": "MR", "nifti_dim": [3, 5, 5, 5], "nifti_pixdim": [1.0, 1.0, 1.0, 1.0],
        "nifti_xyzt_units": 2, "nifti_qform_code": 0, "nifti_sform_code": 1, "nifti_quatern": [0.0] * 6,
        "nifti_srow": [1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0], "nifti_scl_slope": 0.0, "nifti_scl_inter": 0.0,
    }  # fmt: skip
    return list(nifti.check_image(row | changes, OPTIONS))


def of_identity(*changes: Row) -> list[Row]:
    base = {"format": "dicom", "n_images": 9, "Modality": "CT", "Manufacturer": "ACME"}
    rows = [
        dict.fromkeys(identity.SERIES_COLUMNS) | base
        | {"series_key": f"S{n}", "PatientID": f"P{n}", "StudyInstanceUID": f"1.{n}", "SeriesInstanceUID": f"2.{n}"}
        | change
        for n, change in enumerate(changes)
    ]  # fmt: skip
    checks = (identity.check_identity, identity.check_patients, identity.check_vocabulary)
    return [found for check in checks for found in check(rows)]


def of_splits(*images: tuple[Row, str], **contents: str) -> list[Row]:
    base = {"PatientID": None, "StudyInstanceUID": None, "path": "x", "format": "dicom"}
    rows = [({"series_key": f"S{n}", **base, **row}, split) for n, (row, split) in enumerate(images)]
    return list(leakage.check_leakage(rows, {key: [(f"V{key}", digest)] for key, digest in contents.items()}))


def of_variants(*kvp: float) -> list[Row]:
    rows = [
        dict.fromkeys(variants.series_columns(OPTIONS))
        | {"series_key": f"S{n}", "Modality": "CT", "BodyPartExamined": "CHEST", "n_images": 1, "KVP": value}
        for n, value in enumerate(kvp)
    ]
    return list(variants.check_variants(variants.variants_of(rows, OPTIONS.variant_fields), OPTIONS))


def of_outliers(code: str, feature: str, numbers: Iterable[float], modality: str = "CT") -> list[Row]:
    features = (feature,) if code == "GEO-OUTLIER" else ("mean",)
    rows = [
        {"volume_id": f"V{n}", "series_key": "S", "value_unit": "HU", "std": 100.0, feature: number}
        for n, number in enumerate(numbers)
    ]
    return list(variants.check_outliers(code, rows, features, {"S": (modality, "")}, OPTIONS))


def twice(**change: Any) -> tuple[Row, Row]:
    return change, change


def masks(counts: dict[float, int], kind: str = "integer", **changes: Any) -> list[Row]:
    return of_values(counts, kind, **{"Modality": "SEG", "format": "nifti"} | changes)


def grid(x: float = 0.0, regular: bool = True, size: int = 5, step: float = 2.0, slices: int = 5) -> Row:
    affine = [1.0, 0, 0, x, 0, 1.0, 0, 0, 0, 0, step, 0, 0, 0, 0, 1.0]
    return {
        "volume_id": "V", "affine_lps": affine, "rows": 5, "columns": size, "slices": slices,
        "regularly_spaced_3d_volume": regular,
    }  # fmt: skip


def laid(mask: Row, *images: Row) -> list[Row]:
    return list(labels.check_masks([(mask, list(images))]))


SPREAD = [float(value) for value in range(90, 110)]
CT_VALUES = {"Modality": "CT", "value_unit": "HU"}

CASES: dict[str, Callable[[], list[Row]]] = {
    "FILE-NOT-IMAGING": lambda: of_file(status="not_imaging", reason="not_dicom_or_nifti"),
    "FILE-ARCHIVE": lambda: of_file(status="not_imaging", reason="archive_not_opened"),
    "FILE-UNREADABLE": lambda: of_file(status="unreadable", reason="EACCES"),
    "FILE-QUARANTINED": lambda: of_file(status="quarantined", reason="timeout"),
    "FILE-CHANGED": lambda: of_file(status="changed"),
    "FILE-REJECTED": lambda: of_file(status="rejected", reason="not_plausible_dicom"),
    "FILE-TRUNCATED-HEADER": lambda: of_file(status="rejected", reason="truncated_header"),
    "PIX-TRUNCATED": lambda: of_file(status="rejected", reason="truncated_pixels"),
    "PIX-MISSING": lambda: of_file(is_image=False, Rows=4, Columns=4, BitsAllocated=16),
    "PIX-UNDECODABLE": lambda: of_volume(status="rejected", reason="undecodable: ValueError"),
    "PIX-QUARANTINED": lambda: of_volume(status="quarantined", reason="crash"),
    "PIX-NO-DECODER": lambda: of_volume(status="rejected", reason="no_decoder: 1.2"),
    "PIX-CONSTANT": lambda: of_values({7: 100}),
    "PIX-ALL-PADDING": lambda: of_values({}, padding=100),
    "PIX-NOT-FINITE": lambda: of_values({1: 9, 2: 9}, nan=1),
    "PIX-LIKE-LABELS": lambda: of_values({0: 900, 1: 300, 5: 200}, format="nifti"),
    "PIX-NOT-HU": lambda: of_values({0: 500, 1000: 300, 1064: 200}, **CT_VALUES),
    "PIX-HU-RANGE": lambda: of_values({-2000: 210, -1000: 500, 40: 290}, **CT_VALUES),
    "PIX-CLIPPED": lambda: of_values({-1000: 500, 40: 490, 3071: 10}, **CT_VALUES),
    "PIX-LOSSY": lambda: of_series(LossyImageCompression="01"),
    "PIX-LOSSY-CONTRADICTED": lambda: of_series(TransferSyntaxUID="1.2.840.10008.1.2.4.50", LossyImageCompression="00"),
    "PIX-MIXED-SYNTAXES": lambda: of_series(TransferSyntaxUID_distinct=2),
    "PIX-MIXED-BITS": lambda: of_series(BitsStored_distinct=2),
    "PIX-MIXED-UNITS": lambda: of_series(Units_distinct=2),
    "PIX-MIXED-DECODERS": lambda: list(
        volumes.check_decoders([{"series_key": "S", "decoder": name} for name in ("a 1", "b 2", None)])
    ),
    "PIX-MIXED-POLARITY": lambda: of_identity(
        {"PhotometricInterpretation": "MONOCHROME1"}, {"PhotometricInterpretation": "MONOCHROME2"}
    ),
    "PIX-NO-SUV": lambda: of_volume(Modality="PT", suvbw_reason="no_weight"),
    "GEO-MISSING-SLICE": lambda: of_volume(
        missing_slice_count=1, regularly_spaced_3d_volume=False, max_slice_gap_mm=4.0
    ),
    "GEO-DUPLICATE-SLICE": lambda: of_volume(duplicate_slice_count=2),
    "GEO-IRREGULAR": lambda: of_volume(
        regularly_spaced_3d_volume=False, reason_not_regular="uniform_slice_spacing", max_slice_gap_mm=3.0
    ),
    "GEO-TILT": lambda: of_volume(tilt_degrees=10.0, regularly_spaced_3d_volume=False),
    "GEO-MOSAIC": lambda: of_volume(reason_not_regular="mosaic_not_unpacked", regularly_spaced_3d_volume=False),
    "GEO-LOCALIZER": lambda: of_volume(excluded_instance_count=1),
    "GEO-MIXED-SERIES": lambda: of_series(n_volumes=2),
    "GEO-SPACING-TAG-DISAGREES": lambda: of_volume(spacing_between_slices_mm=2.5),
    "GEO-SPACING-UNKNOWN": lambda: of_volume(spacing_row_mm=None),
    "GEO-SLICES-OVERLAP": lambda: of_volume(slice_thickness_mm=3.0),
    "GEO-SLICES-APART": lambda: of_volume(slice_thickness_mm=1.0),
    "GEO-SINGLE-SLICE": lambda: of_volume(slices=1, spacing_slice_mm=None),
    "GEO-OUTLIER": lambda: of_outliers("GEO-OUTLIER", "spacing_row_mm", [0.7] * 25 + [1.5]),
    "ID-DUPLICATE-SOP": lambda: list(series.check_duplicates({"S": 2})),
    "ID-CONFLICTING-SOP": lambda: of_volume(split_reason="conflicting_instance"),
    "ID-INSTANCE-IN-SEVERAL-SERIES": lambda: list(identity.check_instances([{"series_key": "S"}])),
    "ID-UID-REUSED-ACROSS-PATIENTS": lambda: of_identity(*twice(StudyInstanceUID="1.5")),
    "ID-SERIES-IN-SEVERAL-STUDIES": lambda: of_identity(*twice(PatientID="P", SeriesInstanceUID="2.5")),
    "ID-FRAME-OF-REFERENCE-REUSED": lambda: of_identity(*twice(FrameOfReferenceUID="3.5")),
    "ID-SAME-PIXELS": lambda: list(
        identity.check_pixels([{"volume_id": name, "content_sha256": "d"} for name in ("V", "W")])
    ),
    "ID-PATIENT-MISSING": lambda: of_series(PatientID=" "),
    "ID-PATIENT-CONTRADICTS": lambda: of_identity(
        {"PatientID": "P", "PatientSex": "M"}, {"PatientID": "P", "PatientSex": "F"}
    ),
    "ID-UID-INVALID": lambda: of_header(StudyInstanceUID="1.2.03"),
    "HDR-MISSING": lambda: of_series(Modality_missing=1),
    "HDR-UNDESCRIBED": lambda: of_series(PatientSex_missing=9),
    "HDR-UNPARSED": lambda: of_file(unparsed=["KVP=a hundred"]),
    "HDR-ODD-ENCODING": lambda: of_header(fallback_reason="tag_order"),
    "HDR-INCONSISTENT": lambda: of_series(PatientPosition_distinct=2),
    "HDR-MODALITY-CONTRADICTED": lambda: of_header(Modality="MR"),
    "HDR-BITS-CONTRADICT": lambda: of_header(BitsAllocated=8, BitsStored=12, HighBit=11),
    "HDR-IMPLAUSIBLE": lambda: of_header(MagneticFieldStrength=15000.0),
    "HDR-AGE-DISAGREES": lambda: of_header(PatientAge="060Y", PatientBirthDate="19500615", StudyDate="20200615"),
    "HDR-AGE-INVALID": lambda: of_header(PatientAge="60"),
    "HDR-SEX-INVALID": lambda: of_header(PatientSex="W"),
    "HDR-DATE-INVALID": lambda: of_header(SeriesDate="20200230"),
    "HDR-DATE-DUMMY": lambda: of_header(StudyDate="19000101"),
    "HDR-DATES-CONTRADICT": lambda: of_header(StudyDate="20200110", AcquisitionDate="20200107"),
    "HDR-CHARSET-MISSING": lambda: of_header(SeriesDescription="Schädel"),
    "HDR-CHARSET-UNKNOWN": lambda: of_header(SpecificCharacterSet="UTF-8"),
    "HDR-MANUFACTURER-SPELLINGS": lambda: of_identity(
        {"Manufacturer": "SIEMENS"}, {"Manufacturer": "Siemens Healthineers"}
    ),
    "HDR-LATERALITY-MISSING": lambda: of_header(BodyPartExamined="KNEE"),
    "NII-SFORM-QFORM": lambda: of_volume(format="nifti", form_disagreement_mm=1.0),
    "NII-NO-ORIENTATION": lambda: of_image(nifti_sform_code=0),
    "NII-UNITS-UNKNOWN": lambda: of_image(nifti_xyzt_units=0),
    "NII-BAD-PIXDIM": lambda: of_image(nifti_pixdim=[1.0, 1.0, -1.0, 1.0]),
    "NII-BAD-QFAC": lambda: of_image(nifti_qform_code=1, nifti_pixdim=[0.0, 1.0, 1.0, 1.0]),
    "NII-BAD-AFFINE": lambda: of_image(nifti_srow=[0.0] * 12),
    "NII-PIXDIM-DISAGREES": lambda: of_image(nifti_pixdim=[1.0, 1.0, 2.0, 1.0]),
    "NII-UNITS-IMPLAUSIBLE": lambda: of_image(
        nifti_xyzt_units=0, nifti_pixdim=[1.0, 1.0, 25.0, 1.0], nifti_srow=[1.0, 0, 0, 0, 0, 25.0, 0, 0, 0, 0, 1.0, 0]
    ),
    "NII-TIME-STEP-UNKNOWN": lambda: of_volume(format="nifti", timepoints=5),
    "NII-LABELS-SCALED": lambda: of_image(Modality="SEG", nifti_scl_slope=2.0),
    "NII-GZIP-CRC": lambda: of_volume(format="nifti", status="rejected", reason="gzip_crc"),
    "NII-SLOPE-INVALID": lambda: of_image(nifti_scl_slope=float("nan")),
    "LBL-EMPTY": lambda: masks({0: 100}),
    "LBL-GEOMETRY-DISAGREES": lambda: laid(grid(0.1), grid(), grid(9.0)),
    "LBL-NOT-INTEGER": lambda: masks({0: 100, 0.3: 1, 1: 50}, "float"),
    "LBL-MANY-VALUES": lambda: masks(dict.fromkeys(range(257), 1)),
    "PHI-ATTRIBUTES-FILLED": lambda: of_header(StudyDescription="chest"),
    "PHI-NAME-PRESENT": lambda: of_header(names_filled="PatientName\\OperatorsName"),
    "PHI-SIDECAR": lambda: of_image(sidecar_texts='{"global > InstitutionName": ["a"], "TaskName": ["rest"]}'),
    "PHI-NIFTI-TEXT": lambda: of_image(nifti_descrip="TE=30;Time=134935.305"),
    "PHI-DATES-PRESENT": lambda: of_header(StudyDate="20200615"),
    "PHI-AGE-ABOVE-89": lambda: of_header(PatientAge="090Y"),
    "PHI-BURNED-IN-RISK": lambda: of_header(Modality="US", SOPClassUID=US),
    "PHI-BURNED-IN-DECLARED": lambda: of_header(BurnedInAnnotation="YES"),
    "PHI-FACE-RISK": lambda: of_header(BodyPartExamined="HEAD", SliceThickness=1.0),
    "PHI-CLAIM-CONTRADICTED": lambda: of_header(
        PatientIdentityRemoved="YES", DeidentificationMethod="x", PatientBirthDate="19500615"
    ),
    "PHI-CLAIM-UNEXPLAINED": lambda: of_header(PatientIdentityRemoved="YES"),
    "LEAK-PATIENT": lambda: of_splits(({"PatientID": "P"}, "train"), ({"PatientID": "P"}, "test")),
    "LEAK-STUDY": lambda: of_splits(({"StudyInstanceUID": "1.2"}, "train"), ({"StudyInstanceUID": "1.2"}, "test")),
    "LEAK-PIXELS": lambda: of_splits(({}, "train"), ({}, "test"), S0="d", S1="d"),
    "STAT-OUTLIER": lambda: of_outliers("STAT-OUTLIER", "mean", [*SPREAD, 300.0]),
    "ACQ-VARIANT": lambda: of_variants(120.0, 120.5),
    "ACQ-RARE-VARIANT": lambda: of_variants(*[120.0] * 19, 80.0),
}
BESIDES = {
    "PIX-LOSSY-CONTRADICTED": {"PIX-LOSSY"},
    "HDR-AGE-DISAGREES": {"PHI-ATTRIBUTES-FILLED", "PHI-DATES-PRESENT"},
    "HDR-DATES-CONTRADICT": {"PHI-DATES-PRESENT"},
    "HDR-CHARSET-MISSING": {"PHI-ATTRIBUTES-FILLED"},
    "NII-UNITS-IMPLAUSIBLE": {"NII-UNITS-UNKNOWN"},
    "PHI-BURNED-IN-DECLARED": {"PHI-BURNED-IN-RISK"},
    "PHI-CLAIM-CONTRADICTED": {"PHI-ATTRIBUTES-FILLED", "PHI-DATES-PRESENT"},
    "ACQ-RARE-VARIANT": {"ACQ-VARIANT"},
}


def codes(found: Iterable[Row]) -> set[str]:
    return {row["code"] for row in found}


def test_every_kind_of_the_catalogue_has_a_case() -> None:
    assert set(CASES) == set(BY_CODE)


def test_codes_are_unique_and_the_page_has_them_all() -> None:
    assert len(BY_CODE) == len(KINDS) >= 60
    page = as_markdown()
    assert [code for code in BY_CODE if f"| {code} |" not in page] == []
    options = {name for name in page.split("`") if name.isidentifier()} & set(CheckOptions.__dataclass_fields__)
    unnamed = set(CheckOptions.__dataclass_fields__) - options
    assert unnamed == set(), "options that no rule names"


@pytest.mark.parametrize("code", BY_CODE)
def test_a_case_raises_its_finding_and_no_other(code: str) -> None:
    found = CASES[code]()
    assert codes(found) == {code} | BESIDES.get(code, set())
    for row in found:
        kind = BY_CODE[row["code"]]
        described = (kind.severity, kind.scope, kind.hint, kind.cluster)
        assert (row["severity"], row["scope"], row["hint"], row["cluster"]) == described
        assert isinstance(json.loads(row["evidence"]), dict)
        assert row["subject"]
    assert len({(row["code"], row["subject"]) for row in found}) == len(found)


NOTHING: dict[str, Callable[[], list[Row]]] = {
    "a plain file": of_file,
    "a plain header": of_header,
    "a plain series": of_series,
    "a plain volume": of_volume,
    "a plain NIfTI header": of_image,
    "an archive that was looked into": lambda: of_file(status="not_imaging", reason="archive"),
    "two patients": lambda: of_identity({}, {}),
    "one atlas for all": lambda: of_identity(*twice(FrameOfReferenceUID="1.2.840.10008.1.4.1.1")),
    "a series without objects that are images": lambda: of_series(n_images=0, n_volumes=0, Modality_missing=9),
    "a mask of one organ everywhere": lambda: masks({1: 100}),
    "a mask on the grid of one of its images": lambda: laid(grid(), grid(0.5), grid()),
    "a mask of a part of its image": lambda: laid(grid(2.0, size=3), grid()),
    "a mask that leaves out every other slice": lambda: laid(grid(step=4.0, slices=3), grid()),
    "a mask without an image": lambda: laid(grid()),
    "a mask with slices left out": lambda: laid(grid(0.1, regular=False), grid()),
    "a mask beside an image with irregular slices": lambda: laid(grid(0.1), grid(regular=False)),
    "a mask in floats": lambda: masks({0: 100, 1: 50, 3: 2}, "float"),
    "a fractional segmentation of DICOM": lambda: masks({0: 100, 0.3: 1}, "float", format="dicom"),
    "a scan with as few values as labels but few voxels": lambda: of_values({0: 9, 1: 3}, format="nifti"),
    "CT with air, tissue and bone": lambda: of_values({-1000: 500, 40: 400, 1000: 100}, **CT_VALUES),
    "CT with a little beyond": lambda: of_values({-2000: 10, -1000: 590, 40: 400}, **CT_VALUES),
    "CT of which little is the largest value": lambda: of_values({-1000: 500, 40: 491, 3071: 9}, **CT_VALUES),
    "CT that ends below the largest value": lambda: of_values({-1000: 500, 40: 400, 3070: 100}, **CT_VALUES),
    "a physician in what is said to be of no patient": lambda: [
        row
        for row in of_header(PatientIdentityRemoved="YES", DeidentificationMethod="x", names_filled="OperatorsName")
        if row["code"] != "PHI-NAME-PRESENT"
    ],
    "what programs write of themselves": lambda: of_image(
        nifti_descrip="FSL5.0",
        nifti_aux_file="none",
        nifti_db_name="?TR:6000.000 TE:39",
        nifti_intent_name="6.0.5:abc",
    ),
    "a sidecar that tells of the protocol": lambda: of_image(sidecar_texts='{"PhaseEncodingDirection": ["j"]}'),
    "no tube": lambda: of_header(KVP=0.0),
    "a UID of 64 characters": lambda: of_header(StudyInstanceUID="1." + "2" * 62),
    "a knee whose side is told": lambda: of_header(BodyPartExamined="KNEE", ImageLaterality="L"),
    "a known character set": lambda: of_header(SpecificCharacterSet="\\ISO 2022 IR 87"),
    "segmentations leave out empty slices": lambda: of_volume(Modality="SEG", missing_slice_count=3),
    "segmentations have other slices than their image": lambda: of_volume(Modality="SEG", spacing_slice_mm=4.0),
    "slices counted downwards": lambda: of_volume(Modality="NM", spacing_between_slices_mm=-2.0),
    "radiographs have no slices": lambda: of_volume(Modality="CR", slices=1, spacing_row_mm=None),
    "rounding of the thickness": lambda: of_volume(slice_thickness_mm=2.01),
    "few volumes": lambda: of_outliers("STAT-OUTLIER", "mean", [*SPREAD[:18], 300.0]),
    "a far value that matters to nobody": lambda: of_outliers("STAT-OUTLIER", "mean", [100.0] * 25 + [109.0]),
    "a collection of anything": lambda: of_outliers("STAT-OUTLIER", "mean", [*SPREAD, 300.0], "OT"),
    "sizes that differ by rounding": lambda: of_outliers("GEO-OUTLIER", "spacing_row_mm", [0.7] * 25 + [0.7001]),
    "all in one split": lambda: of_splits(({"PatientID": "P"}, "test"), ({"PatientID": "P"}, "test"), S0="d", S1="d"),
}


@pytest.mark.parametrize("case", NOTHING)
def test_near_misses_raise_nothing(case: str) -> None:
    assert codes(NOTHING[case]()) == set()


@pytest.mark.parametrize(
    ("age", "birth", "study", "off"),
    [
        ("060Y", "19600615", "20200615", None),
        ("060Y", "19590616", "20200615", None),  # the last day of the sixtieth year
        ("060Y", "19580616", "20200615", None),  # a year too old: admitted a year before
        ("060Y", "19570601", "20200615", 2.0),
        ("060Y", "19620701", "20200615", 2.0),
        ("006M", "20191215", "20200615", None),
        ("006M", "20170615", "20200615", 2.4),
        ("060Y", "19000101", "20200615", None),  # no date of birth at all
        ("060Y", "20300101", "20200615", None),  # told as dates that contradict
    ],
)
def test_an_age_is_held_against_birth_and_study(age: str, birth: str, study: str, off: float | None) -> None:
    found = {row["code"]: json.loads(row["evidence"]) for row in of_header(
        PatientAge=age, PatientBirthDate=birth, StudyDate=study
    )}  # fmt: skip
    assert ("HDR-AGE-DISAGREES" in found) == (off is not None)
    if off is not None:
        assert found["HDR-AGE-DISAGREES"]["off_by_years"] == pytest.approx(off, abs=0.11)


def test_numbers_within_the_tolerance_are_one_variant_whatever_their_order() -> None:
    rows = [
        {"series_key": str(n), "Modality": "CT", "BodyPartExamined": part, "n_images": 1, "KVP": kvp}
        for n, (part, kvp) in enumerate(
            [("Chest", 120.0), ("CHEST", 120.9), ("CHEST", 121.1), ("HEAD", 121.1), ("CHEST", None), ("CHEST", 122.0)]
        )
    ]
    found = variants.variants_of(rows, {"KVP": 1.0})
    assert found == variants.variants_of(rows[::-1], {"KVP": 1.0})
    assert [found[str(n)] for n in range(6)] == [
        ("CT", "CHEST", 120.0), ("CT", "CHEST", 120.0), ("CT", "CHEST", 121.1), ("CT", "HEAD", 121.1),
        ("CT", "CHEST", None), ("CT", "CHEST", 121.1),
    ]  # fmt: skip


def test_robust_deviations_are_those_of_a_normal_distribution_and_survive_outliers() -> None:
    sample = np.random.default_rng(3).normal(50, 4, 20_001)
    z = variants.robust_z(np.append(sample, [1e6] * 200))
    assert z[0] == pytest.approx((sample[0] - np.median(sample)) / 4, abs=0.3)
    assert not variants.robust_z(np.full(30, 3.5)).any()
    assert variants.robust_z(np.array([1.0] * 29 + [2.0]))[-1] > 6


def test_the_order_of_parts_changes_no_finding() -> None:
    seen = [
        (row, n, found)
        for n, row in enumerate(("S", "S", "T"), 1)
        for check in headers.HEADER_CHECKS
        for found in check(
            dict.fromkeys(headers.COLUMNS) | {"MagneticFieldStrength": 1e4 + n, "SOPClassUID": CT}, OPTIONS
        )
    ]
    found = sorted(gathered(seen), key=lambda row: row["subject"])
    assert found == sorted(gathered(seen[::-1]), key=lambda row: row["subject"])
    assert [json.loads(row["evidence"]) for row in found] == [
        {"MagneticFieldStrength": "10001.0", "images": 3},
        {"MagneticFieldStrength": "10003.0", "images": 3},
    ]


@pytest.mark.parametrize("mask", [grid(step=3.0, slices=3), grid(step=4.0, slices=4), grid(step=1.0), grid(size=6)])
def test_slices_of_a_mask_are_slices_of_its_image(mask: Row) -> None:
    assert codes(laid(mask, grid())) == {"LBL-GEOMETRY-DISAGREES"}


def test_severities_are_three() -> None:
    assert {kind.severity for kind in KINDS} == set(Severity)
