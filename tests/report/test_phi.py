"""What headers say in words is listed for a reviewer, whole, and nowhere else."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import nibabel
import pydicom
import pytest
from canaries import CODES, MARK, TEXTS, plant
from running import config_with

from cohort import phi, pipeline
from cohort.errors import OutputError
from cohort.store import RunFolder

if TYPE_CHECKING:
    from pathlib import Path


class Planted:
    """A source of canaries scanned twice: the tables alone, and with whole headers."""

    def __init__(self, root: Path) -> None:
        self.source = root / "source"
        self.source.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom and nibabel on the values we write
            plant(self.source)
            whole = config_with().with_options("scan", all_headers=True)
            pipeline.scan([str(self.source)], root / "tables", config_with())
            pipeline.scan([str(self.source)], root / "whole", whole)
        self.tables = phi.review(RunFolder(root / "tables"))
        self.whole = phi.review(RunFolder(root / "whole"))

    def datasets(self) -> list[pydicom.Dataset]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [pydicom.dcmread(path) for path in sorted(self.source.rglob("*/*/*.dcm"))]


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("phi"))


def attribute(found: dict[str, Any], tag: str) -> dict[str, Any]:
    return next(row for row in found["attributes"] if row["tag"] == tag)


def test_every_text_that_was_planted_is_listed(planted: Planted) -> None:
    listed = {row["tag"]: {one["value"]: one["count"] for one in row["values"]} for row in planted.whole["attributes"]}
    for keyword in (*TEXTS, *CODES):
        number = pydicom.datadict.tag_for_keyword(keyword)
        values = listed[f"{number >> 16:04X},{number & 0xFFFF:04X}"]
        wanted = Counter(str(dataset[keyword].value) for dataset in planted.datasets())
        assert all(values.get(value, 0) >= count for value, count in wanted.items()), keyword


def test_private_attributes_and_those_in_sequences_are_listed(planted: Planted) -> None:
    first = planted.datasets()[0]
    for tag in ("0009,1001", "0009,1002"):
        assert attribute(planted.whole, tag)["action"] == "X"
        assert any(one["value"].startswith(MARK) for one in attribute(planted.whole, tag)["values"])
    inner = attribute(planted.whole, "0040,0275 > 0040,1001")
    item = first.RequestAttributesSequence[0]
    assert item.RequestedProcedureID in {one["value"] for one in inner["values"]}


def test_what_nifti_images_and_their_sidecars_say_is_listed(planted: Planted) -> None:
    """Every canary in a header or a sidecar of NIfTI, with the action of the profile where it knows the key."""
    listed = {(row["tag"], row["keyword"]): row for row in planted.tables["attributes"]}
    wanted: dict[tuple[str, str], set[str]] = {}
    for path in planted.source.rglob("*/*.nii.gz"):
        image = nibabel.load(path)
        for field in ("descrip", "aux_file", "intent_name", "db_name"):
            wanted.setdefault(("nifti", f"nifti_{field}"), set()).add(image.header[field].item().decode())
        comment = image.header.extensions[0].get_content().decode().strip("\0")
        wanted.setdefault(("nifti", "nifti_extension_texts"), set()).add(comment)
        for key, text in json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text()).items():
            wanted.setdefault(("sidecar", key), set()).add(text)
    assert len(wanted) == 15
    assert {key: {one["value"] for one in listed[key]["values"]} for key in wanted} == wanted
    assert listed["nifti", "nifti_descrip"]["action"] == "read"
    assert listed["sidecar", "PatientName"]["action"] == "Z"
    assert listed["sidecar", "Manufacturer"]["action"] is None


def test_the_tables_alone_hold_fewer_attributes_with_the_same_counts(planted: Planted) -> None:
    assert not planted.tables["all_headers"]
    tables = {row["tag"]: row for row in planted.tables["attributes"]}
    assert {"0010,0020", "0008,103E", "path"} <= tables.keys()
    assert "0010,0010" not in tables
    for tag in ("0010,0020", "0008,103E", "0018,1030"):
        assert tables[tag] == attribute(planted.whole, tag)


def test_uids_are_counted_and_not_listed(planted: Planted) -> None:
    row = attribute(planted.whole, "0020,000E")
    assert (row["distinct"], row["values"], row["action"]) == (4, [], "U")


def test_what_would_be_removed_comes_first(planted: Planted) -> None:
    actions = [row["action"] is not None for row in planted.whole["attributes"]]
    assert actions == sorted(actions, reverse=True)


def test_the_command_marks_it_private(planted: Planted, cohort_command: Any) -> None:
    done = cohort_command("phi", str(planted.source.parent / "tables"), "--most", "1")
    assert done.returncode == 0
    assert done.stdout.startswith("PRIVATE: ")
    assert "and 3 more" in done.stdout
    assert "--all-headers" in done.stderr
    assert MARK not in done.stderr


def test_nothing_steers_the_terminal() -> None:
    row = {"tag": "0008,103E", "keyword": "SeriesDescription", "action": "X", "objects": 1, "distinct": 1}
    values = [{"value": "\x1b[2Jgone\r\n", "count": 1}]
    text = phi.as_text({"objects": 1, "edition": "x", "attributes": [row | {"values": values}]}, 5)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 4


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is not a run folder"):
        phi.review(RunFolder(tmp_path / "nothing"))
