"""What is in a run folder was committed, whole; anything else is never read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cohort import schema
from cohort.errors import FormatError, MissingStageError, OutputError
from cohort.store import Artefact, RunFolder, digest, inputs_of, sealed


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "out")


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def some_table(rows: int = 5) -> pa.Table:
    return pa.table({"name": [f"n{i}" for i in range(rows)], "values": [[i, i + 1, i + 9] for i in range(rows)]})


# -- is it ours --------------------------------------------------------------------------------------------


def test_a_new_or_empty_folder_or_a_run_can_be_used(run: RunFolder) -> None:
    run.check_usable()
    assert not run.path.exists()
    run.path.mkdir()
    run.check_usable()
    run.write_json("run.json", {"format_version": schema.FORMAT_VERSION})
    run.write_text("notes.txt", "more")
    run.check_usable()
    run.check_opened()


def test_a_file_or_a_folder_with_something_else_is_refused(run: RunFolder) -> None:
    run.path.write_text("a file")
    with pytest.raises(OutputError, match="is a file"):
        run.check_usable()
    run.path.unlink()
    run.path.mkdir()
    (run.path / "thesis.doc").write_text("precious")
    with pytest.raises(OutputError, match="something else"):
        run.check_usable()
    with pytest.raises(OutputError, match="not a run folder"):
        run.check_opened()
    with pytest.raises(OutputError):
        run.clear()
    assert names_below(run.path) == ["thesis.doc"]


@pytest.mark.parametrize("info", [{}, {"format_version": schema.FORMAT_VERSION + 1}, []])
def test_a_run_of_another_format_version_is_refused(run: RunFolder, info: Any) -> None:
    run.write_json("run.json", info)
    for check in (run.check_usable, run.check_opened, run.clear):
        with pytest.raises(OutputError, match="format version"):
            check()
    assert names_below(run.path) == ["run.json"]


def test_a_damaged_run_json_is_not_read_and_the_way_out_is_named(run: RunFolder) -> None:
    run.write_text("run.json", "{")
    run.check_usable()  # a run writes it anew
    with pytest.raises(OutputError, match="cohort run"):
        run.check_opened()


def test_a_folder_that_does_not_exist_is_no_run(run: RunFolder) -> None:
    assert run.info() == {}
    with pytest.raises(OutputError, match="not a run folder"):
        run.check_opened()


def test_clearing_leaves_an_empty_folder(run: RunFolder) -> None:
    run.write_json("run.json", {"format_version": schema.FORMAT_VERSION})
    run.write_table("files/part.parquet", some_table())
    run.clear()
    assert run.path.is_dir()
    assert list(run.path.iterdir()) == []


# -- writing -----------------------------------------------------------------------------------------------


def test_a_written_file_is_described_by_its_bytes(run: RunFolder) -> None:
    artefact = run.write_text("a/b.txt", "hello\n")
    assert (run.path / "a/b.txt").read_bytes() == b"hello\n"
    sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
    assert artefact == Artefact("a/b.txt", 6, sha256)
    assert artefact == run.artefact_of(run.path / "a/b.txt", "a/b.txt")


def test_a_failing_writer_leaves_what_was_there_and_nothing_temporary(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.write_table("series.parquet", some_table(3))

    def broken(table: Any, path: Path, **options: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", broken)
        with pytest.raises(OSError, match="No space"):
            run.write_table("series.parquet", some_table(9))
        with pytest.raises(OSError, match="No space"):
            run.write_table("volumes.parquet", some_table(9))
    assert names_below(run.path) == ["series.parquet"]
    assert pq.read_table(run.path / "series.parquet").num_rows == 3


def test_a_failing_stream_of_tables_leaves_nothing(run: RunFolder) -> None:
    layout = some_table().schema

    def tables() -> Any:
        yield some_table()
        raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        run.write_tables("volumes.parquet", layout, tables())
    assert names_below(run.path) == []


def test_the_same_table_gives_the_same_bytes(run: RunFolder) -> None:
    first = run.write_table("a.parquet", some_table())
    data = (run.path / "a.parquet").read_bytes()
    second = run.write_table("b.parquet", some_table())
    assert (run.path / "b.parquet").read_bytes() == data
    assert (first.sha256, first.size, first.rows) == (second.sha256, second.size, 5)
    assert run.write_table("c.parquet", some_table(6)).sha256 != first.sha256


def test_lists_stored_as_differences_read_back_the_same(run: RunFolder) -> None:
    bins = np.cumsum(np.random.default_rng(0).integers(1, 9, 5000)).tolist()
    table = pa.table({"id": ["a", "b"], "bins": [bins, []]})
    small = run.write_table("small.parquet", table, delta=("bins",))
    assert pq.read_table(run.path / "small.parquet").equals(table)
    assert small.size < run.write_table("plain.parquet", table).size


def test_tables_written_one_after_the_other_are_one_table(run: RunFolder) -> None:
    artefact = run.write_tables("volumes.parquet", some_table().schema, (some_table(n) for n in (2, 0, 3)))
    assert artefact.rows == 5
    assert pq.read_table(run.path / "volumes.parquet")["name"].to_pylist() == ["n0", "n1", "n0", "n1", "n2"]
    assert artefact == run.artefact_of(run.path / "volumes.parquet", "volumes.parquet", 5)


def test_a_part_that_cannot_be_opened_is_as_good_as_none(run: RunFolder) -> None:
    name = run.part_name("files", 3, ["inputs"])
    assert name.startswith("files/part-00003-")
    assert run.part_name("files", 3, ["others"]) != name
    assert run.existing_part(name) is None
    written = run.write_table(name, some_table())
    assert run.existing_part(name) == written
    (run.path / name).write_bytes((run.path / name).read_bytes()[:-9])
    assert run.existing_part(name) is None


def test_digests_depend_on_content_and_not_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})
    assert inputs_of("x", 1) != inputs_of("x", 2)
    assert inputs_of("x") != digest("x")


# -- stages ------------------------------------------------------------------------------------------------


def commit_scan(run: RunFolder, inputs: str = "i1", text: str = "a") -> Artefact:
    artefact = run.write_table(run.part_name("files", 0, inputs), pa.table({"path": [text]}))
    run.commit("scan", inputs, [artefact], {"objects": 1})
    return artefact


def test_nothing_is_there_before_its_commit(run: RunFolder) -> None:
    run.write_table(run.part_name("files", 0, "i"), some_table())
    assert run.record("scan") is None
    assert not run.has("files")
    with pytest.raises(MissingStageError, match="cohort scan"):
        run.committed("scan")
    with pytest.raises(MissingStageError):
        run.parts("files")


def test_a_commit_lists_its_artefacts_and_makes_them_readable(run: RunFolder) -> None:
    artefact = commit_scan(run)
    record = run.committed("scan")
    assert (record["inputs"], record["counts"]) == ("i1", {"objects": 1})
    assert record["artefacts"] == [artefact.as_dict()]
    assert run.parts("files") == [run.path / artefact.path]
    assert run.has("files")
    assert not run.has("manifest")


def test_only_listed_parts_are_read_and_stale_ones_are_swept(run: RunFolder) -> None:
    old = commit_scan(run, "i1")
    new = commit_scan(run, "i2")
    assert not (run.path / old.path).exists()
    stray = run.path / "files" / "part-99999-stray.parquet"
    pq.write_table(some_table(), stray)
    assert run.parts("files") == [run.path / new.path]


def test_a_stage_is_current_only_for_its_inputs_and_whole_artefacts(run: RunFolder) -> None:
    assert not run.is_current("scan", "i1")
    artefact = commit_scan(run)
    assert run.is_current("scan", "i1")
    assert not run.is_current("scan", "i2")
    path = run.path / artefact.path
    data = path.read_bytes()
    path.write_bytes(data + b"x")
    assert not run.is_current("scan", "i1")
    path.unlink()
    assert not run.is_current("scan", "i1")
    path.write_bytes(data)
    assert run.is_current("scan", "i1")


def test_a_file_that_a_later_stage_completed_leaves_the_earlier_one_current(run: RunFolder) -> None:
    run.commit("assemble", "i", [run.write_table("volumes.parquet", some_table(2))], {})
    run.commit("ingest", "j", [run.write_table("volumes.parquet", some_table(4))], {})
    assert run.is_current("assemble", "i")
    assert run.is_current("ingest", "j")


def test_a_withdrawn_stage_is_not_committed(run: RunFolder) -> None:
    commit_scan(run)
    run.withdraw(("scan", "report"))
    assert run.record("scan") is None
    assert not run.has("files")


def test_a_record_of_another_format_version_is_refused(run: RunFolder) -> None:
    commit_scan(run)
    path = run.path / "stages/scan.json"
    path.write_text(sealed(json.loads(path.read_text()) | {"format_version": 99}))
    with pytest.raises(FormatError, match="99"):
        run.committed("scan")


def test_a_table_is_read_in_its_declared_columns_and_by_volume(run: RunFolder) -> None:
    layout = schema.PARTIALS.arrow()
    parts = []
    for number, ids in enumerate((["v1", "v2"], ["v3"])):
        rows = {name: [None] * len(ids) for name in layout.names} | {"volume_id": ids, "channel": [0] * len(ids)}
        parts.append(run.write_table(run.part_name("partials", number, ids), pa.table(rows, schema=layout)))
    run.commit("ingest", "i", parts, {})
    assert run.read("partials").schema.equals(layout)
    assert run.read("partials", ["volume_id"])["volume_id"].to_pylist() == ["v1", "v2", "v3"]
    assert run.read("partials", ["channel", "volume_id"], ["v3", "v1"])["volume_id"].to_pylist() == ["v1", "v3"]
    assert run.read("partials", volume_ids=[]).num_rows == 0
    with pytest.raises(KeyError):
        run.read("partials", ["nonsense"])
    assert list(run.read_files(parts, "volume_id")) == ["v1", "v2", "v3"]


def test_sweeping_removes_what_was_left_half_written_and_nothing_else(run: RunFolder) -> None:
    commit_scan(run)
    before = names_below(run.path)
    for name in ("files/.tmp-1-ab-part", ".tmp-scatter/rows", "volumes.zarr/CT/.tmp-9-cd-v1/0/c/0", ".tmp-x"):
        path = run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"left over")
    run.sweep()
    assert names_below(run.path) == before
    assert not list(run.path.rglob(".tmp-*"))
    RunFolder(run.path / "nowhere").sweep()


def test_scratch_is_removed_also_after_an_error(run: RunFolder) -> None:
    def work() -> None:
        with run.scratch("work") as folder:
            run.write_text(f"{folder}/a", "b")
            assert names_below(run.path) == [f"{folder}/a"]
            raise RuntimeError("later")

    with pytest.raises(RuntimeError, match="later"):
        work()
    assert list(run.path.iterdir()) == []


# -- volumes -----------------------------------------------------------------------------------------------


def pending(run: RunFolder, name: str = "CT/v1", values: np.ndarray[Any, Any] | None = None, slices: int = 4) -> Any:
    volume = run.new_volume(name)
    array = volume.create((4, 3, 5), (1, 3, 5), "int16", ("z", "y", "x"), {"cohort": {"a": 1}}, ("zstd", 1))
    if values is not None:
        array[:slices] = values[:slices]
    return volume


VALUES = np.arange(60, dtype=np.int16).reshape(4, 3, 5)


def test_a_volume_is_invisible_before_its_commit_and_whole_after(run: RunFolder) -> None:
    volume = pending(run, values=VALUES)
    assert not (run.path / "volumes.zarr/CT/v1").exists()
    with pytest.raises(FormatError, match="no commit record"):
        run.open_volume("CT/v1")
    assert run.volume_commit("CT/v1") is None
    volume.commit({"chunks": 4, "content": "abc"})
    np.testing.assert_array_equal(run.open_volume("CT/v1")[:], VALUES)
    commit = run.volume_commit("CT/v1")
    assert commit is not None
    assert {"chunks": 4, "content": "abc"}.items() <= commit.items()
    chunks = [path for path in (run.path / "volumes.zarr/CT/v1/0/c").rglob("*") if path.is_file()]
    assert commit["chunk_bytes"] == sum(path.stat().st_size for path in chunks)
    assert run.volume_attributes("CT/v1") == {"cohort": {"a": 1}}
    assert not list(run.path.rglob(".tmp-*"))


@pytest.mark.parametrize("slices", [0, 3])
def test_a_volume_that_lacks_chunks_is_refused(run: RunFolder, slices: int) -> None:
    volume = pending(run, values=VALUES, slices=slices)
    with pytest.raises(FormatError, match=f"{slices} chunks written, 4 expected"):
        volume.commit({"chunks": 4})
    with pytest.raises(FormatError):
        run.open_volume("CT/v1")
    volume.drop()
    assert names_below(run.path) == []


def test_chunks_of_zeros_are_written_and_count(run: RunFolder) -> None:
    pending(run, values=np.zeros_like(VALUES)).commit({"chunks": 4})
    assert len([p for p in (run.path / "volumes.zarr/CT/v1/0/c").rglob("*") if p.is_file()]) == 4


def test_a_damaged_chunk_is_noticed(run: RunFolder) -> None:
    pending(run, values=VALUES).commit({"chunks": 4})
    chunk = next(p for p in sorted((run.path / "volumes.zarr/CT/v1/0/c").rglob("*")) if p.is_file())
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 0xFF
    chunk.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"(?i)crc|checksum"):
        run.open_volume("CT/v1")[:]


def test_an_opened_volume_cannot_be_written(run: RunFolder) -> None:
    pending(run, values=VALUES).commit({"chunks": 4})
    array = run.open_volume("CT/v1")
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_later_volume_of_the_same_name_replaces_the_earlier_one(run: RunFolder) -> None:
    pending(run, values=VALUES).commit({"chunks": 4})
    second = pending(run, values=VALUES + 1)
    second.update_attributes({"cohort": {"b": 2}})
    second.commit({"chunks": 4})
    np.testing.assert_array_equal(run.open_volume("CT/v1")[:], VALUES + 1)
    assert run.volume_attributes("CT/v1") == {"cohort": {"b": 2}}


def test_volumes_of_an_earlier_run_are_removed(run: RunFolder) -> None:
    for name in ("CT/v1", "CT/v2", "MR/v3"):
        pending(run, name, VALUES).commit({"chunks": 4})
    run.keep_volumes({"CT/v2"})
    assert run.volume_commit("CT/v2") is not None
    assert [run.volume_commit(name) for name in ("CT/v1", "MR/v3")] == [None, None]
    assert (run.path / "volumes.zarr/zarr.json").is_file()
    assert (run.path / "volumes.zarr/CT/zarr.json").is_file()
