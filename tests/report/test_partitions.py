"""CLAIM 34 asks for demographics by partition: they are those of a known split, and few patients stay hidden."""

from __future__ import annotations

import dataclasses
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from running import config_with
from small_cohort import Changes, write_patient

from cohort import pipeline, report
from cohort.config import CheckOptions, IngestOptions, ReportOptions
from cohort.report import claim, crossing, partitions, suppress, vocabulary
from cohort.store import RunFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

# Who is where. Patients n are F where n is even, else M, and 30 + n years old: 30-39, 40-49, 50-59.
SPLIT = {"train": range(20), "val": range(20, 27), "test": range(27, 30)}
OLDEST, SHARED, OUTSIDE = 30, 0, 31
BY_FOLDER = CheckOptions(split_pattern=r"^(train|val|test)/")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A cohort in three folders: one patient is 97 years old, one is in two of them, one in none."""
    root = tmp_path_factory.mktemp("split")
    for name, patients in SPLIT.items():
        for patient in patients:
            write_patient(root / "images" / name, patient)
    write_patient(root / "images" / "train", OLDEST, Changes(age="097Y"))
    write_patient(root / "images" / "test", SHARED)
    write_patient(root / "images" / "elsewhere", OUTSIDE)
    config = dataclasses.replace(config_with(), check=BY_FOLDER, ingest=IngestOptions(pixels=False))
    pipeline.run([str(root / "images")], root / "out", config)
    return RunFolder(root / "out")


def members() -> dict[str, list[int]]:
    return {
        "train": [*SPLIT["train"], OLDEST],
        "val": [*SPLIT["val"]],
        "test": [*SPLIT["test"], SHARED],
        partitions.NONE: [OUTSIDE],
    }


def age_group(patient: int) -> str:
    return "90+" if patient == OLDEST else f"{(30 + patient) // 10 * 10}-{(30 + patient) // 10 * 10 + 9}"


def built(run: RunFolder, min_cell: int, check: CheckOptions = BY_FOLDER) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.build(run, ReportOptions(min_cell=min_cell), check)[1])
    return found


def test_every_count_is_that_of_the_known_split(run: RunFolder) -> None:
    found = built(run, 1)["card"]["partitions"]
    assert [row["label"] for row in found["rows"]] == list(members())
    for row in found["rows"]:
        inside = members()[row["label"]]
        assert [row[name]["count"] for name in ("patients", "studies", "series")] == [len(inside)] * 3
        sexes = {cell["label"]: cell["count"] for cell in row["sex"] if cell["count"]}
        assert sexes == Counter("FM"[patient % 2] for patient in inside)
        ages = {cell["label"]: cell["count"] for cell in row["age_groups"] if cell["count"]}
        assert ages == Counter(map(age_group, inside))
    assert found["patients_in_several"]["count"] == 1


def test_the_run_itself_counts_by_its_configuration_and_withholds_few(run: RunFolder) -> None:
    stored = json.loads((run.path / "report.json").read_text(encoding="utf-8"))
    assert stored == built(run, 5)
    rows = stored["card"]["partitions"]["rows"]
    sizes = {row["label"]: row["patients"]["text"] for row in rows}
    assert sizes == {"train": "21", "val": "7", "test": "<5", partitions.NONE: "<5"}
    for row in rows:
        for cell in (*row["sex"], *row["age_groups"], *(row[name] for name in ("patients", "studies", "series"))):
            assert not 0 < (cell["count"] or 0) < 5
    assert stored["card"]["partitions"]["patients_in_several"]["text"] == "<5"


def test_the_card_has_them_and_the_level_at_which_they_are_disjoint(run: RunFolder) -> None:
    text = claim.markdown(built(run, 1))
    assert "### By partition (CLAIM 21, 22, 34)" in text
    assert "| Partition | Patients | Studies | Series |" in text
    assert "| train | 21 | 21 | 21 |" in text
    assert "| Sex | train | val | test | in no partition |" in text
    assert "| F | 11 | 4 | 2 | 0 |" in text
    assert "| 90+ | 1 | 0 | 0 | 0 |" in text
    assert "97" not in text.split("## Demographics")[1].split("Counted with")[0]
    assert "| LEAK-PATIENT |" in text
    assert "Patients in several partitions: 1" in text


def test_without_a_split_the_card_says_so(run: RunFolder) -> None:
    found = built(run, 5, CheckOptions())
    assert found["card"]["partitions"] is None
    assert "names no split" in claim.markdown(found)


def test_a_column_may_name_the_split(run: RunFolder) -> None:
    rows = built(run, 1, CheckOptions(split_column="PatientSex"))["card"]["partitions"]["rows"]
    assert [row["series"]["count"] for row in rows] == [16, 16]
    assert [row["label"] for row in rows] == ["unnamed 1", "unnamed 2"]


def test_names_of_partitions_are_shown_where_they_are_usual(run: RunFolder) -> None:
    """A pattern that takes the folder of the patient must not print it, nor grow the report."""
    found = built(run, 1, CheckOptions(split_pattern=r"(PAT\d+)/"))["card"]["partitions"]
    labels = [row["label"] for row in found["rows"]]
    assert labels[:2] == ["unnamed 1", "unnamed 2"]
    assert labels[-1] == f"{33 - 1 - (partitions.MOST_PARTITIONS - 1)} more"
    assert len(labels) == partitions.MOST_PARTITIONS
    assert sum(row["patients"]["count"] for row in found["rows"]) == 32


@pytest.mark.parametrize(
    "name", ["train", "TRAIN", "Training_Set", "val", "test2", "imagesTr", "fold_3", "0", "hold-out"]
)
def test_usual_names(name: str) -> None:
    assert vocabulary.is_partition(name)


@pytest.mark.parametrize(
    "name", ["", "  ", "DOE^JOHN", "tr\u00e4in", "train_mueller", "20240131", "test 123", "St Mary"]
)
def test_names_that_could_say_more(name: str) -> None:
    assert not vocabulary.is_partition(name)


# -- what somebody could work out --------------------------------------------------------------------------


def possible(shown: dict[str, Any], rows: dict[str, int | None], columns: dict[str, int | None], few: int) -> Any:
    """Return the values that each hidden cell has in some table that agrees with all that is shown."""
    values = {(row, cell["label"]): cell["count"] for row in shown for cell in shown[row]}
    texts = {(row, cell["label"]): cell["text"] for row in shown for cell in shown[row]}
    lines = [([(row, column) for column in columns], total) for row, total in rows.items()]
    lines += [([(row, column) for row in rows], total) for column, total in columns.items()]
    unknown = [place for place, value in values.items() if value is None]
    found: dict[tuple[str, str], set[int]] = {place: set() for place in unknown}

    def agrees() -> bool:
        for line, total in lines:
            known = [values[place] for place in line if values[place] is not None]
            if total is not None and (sum(known) > total or (len(known) == len(line) and sum(known) != total)):
                return False
        return True

    def tables(left: list[tuple[str, str]]) -> Iterator[None]:
        if not left:
            yield
            return
        for value in range(1, few) if texts[left[0]].startswith("<") else range(16):
            values[left[0]] = value
            if agrees():
                yield from tables(left[1:])
        values[left[0]] = None

    for _ in tables(unknown):
        for place in unknown:
            found[place].add(values[place])
    return found


def test_no_small_count_can_be_worked_out_by_trying_every_table() -> None:
    draw, hidden = random.Random(7), 0
    for _ in range(60):
        few, columns = draw.choice([3, 4, 5]), ["a", "b", "c"][: draw.choice([2, 3])]
        counts = {row: {column: draw.choice([0, 0, 1, 2, 3, 4, 6]) for column in columns} for row in ("p", "q")}
        rows = {row: sum(cells.values()) for row, cells in counts.items()}
        sums = {column: sum(counts[row][column] for row in counts) for column in columns}
        totals = [{cell["label"]: cell["count"] for cell in suppress.cells(one, few)} for one in (rows, sums)]
        gone = [{label for label, count in one.items() if count is None} for one in totals]
        shown = crossing.crossed(counts, *gone, few)
        for (row, column), values in possible(shown, *totals, few).items():
            assert counts[row][column] in values
            if 0 < counts[row][column] < few:
                hidden += 1
                assert len(values) > 1, (counts, shown)
    assert hidden > 50


def test_hiding_small_cells_alone_would_not_do() -> None:
    """The search above sees what is not protected."""
    shown = {row: [suppress.count_text(n, 5) | {"label": "F"}] for row, n in (("train", 9), ("test", 3))}
    assert possible(shown, {"train": None, "test": None}, {"F": 12}, 5)["test", "F"] == {3}
