"""A compressed stream gives the same bytes at any place, from whichever side it is come upon."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cohort.sources import streams
from cohort.sources.streams import DamagedError, FileBytes, InflatedBytes


def raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


PACK: dict[str, Any] = {"deflate": raw_deflate, "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


def stream(folder: Path, codec: str, packed: bytes, **known: Any) -> InflatedBytes:
    path = folder / "stream"
    path.write_bytes(packed)
    return InflatedBytes(FileBytes(os.fsencode(path)), 0, len(packed), codec, **known)


def some_bytes(seed: int, size: int) -> bytes:
    """Bytes of which deflate makes about a half."""
    return random.Random(seed).randbytes((size + 1) // 2).hex().encode()[:size]


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps so small that marks are set, thinned and gone back to within kilobytes."""
    for name, value in {"_INPUT": 50, "_PIECE": 64, "_FIRST_STEP": 300, "_MARKS": 6, "_RECENT": 3, "_RUNS": 2}.items():
        monkeypatch.setattr(streams, name, value)


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("codec", PACK)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 1000),
    size=st.integers(0, 6000),
    places=st.lists(st.tuples(st.integers(0, 6500), st.integers(0, 900)), max_size=12),
    sized=st.booleans(),
)
def test_any_place_holds_what_a_whole_pass_finds(
    codec: str, tmp_path: Path, seed: int, size: int, places: list[tuple[int, int]], sized: bool
) -> None:
    data = some_bytes(seed, size)
    known = {"size": size, "crc": zlib.crc32(data)} if sized else {}
    found = stream(tmp_path, codec, PACK[codec](data), **known)
    for place, count in places:
        assert found.read_at(place, count) == data[place : place + count]
    assert found.cut_at is None


@pytest.mark.parametrize("codec", ["gzip", "bz2", "xz"])
def test_streams_that_follow_each_other_are_one(tmp_path: Path, codec: str) -> None:
    parts = [some_bytes(seed, 5000) for seed in range(3)]
    found = stream(tmp_path, codec, b"".join(PACK[codec](part) for part in parts) + bytes(64))
    assert found.read_at(0, 20_000) == b"".join(parts)
    assert (found.cut_at, found.sound) == (None, 15_000)


@pytest.mark.parametrize("codec", PACK)
def test_a_stream_cut_short_gives_what_there_is_and_says_so(tmp_path: Path, codec: str) -> None:
    data = some_bytes(1, 60_000)
    packed = PACK[codec](data)
    found = stream(tmp_path, codec, packed[: len(packed) // 2])
    part = found.read_at(0, 60_000)
    assert data.startswith(part)
    assert len(part) < 60_000
    assert (found.cut_at, found.sound) == (len(part), 0)


@pytest.mark.parametrize("codec", ["gzip", "bz2", "xz"])
def test_a_wrong_checksum_is_damage(tmp_path: Path, codec: str) -> None:
    data = some_bytes(1, 60_000)
    packed = bytearray(PACK[codec](data))
    packed[len(packed) // 2] ^= 0x10
    found = stream(tmp_path, codec, bytes(packed))
    with pytest.raises(DamagedError):
        found.read_at(0, 1 << 30)


def test_size_and_checksum_of_a_member_are_compared_at_its_end(tmp_path: Path) -> None:
    data = some_bytes(1, 5000)
    right = {"size": 5000, "crc": zlib.crc32(data)}
    packed = raw_deflate(data)
    stream(tmp_path, "deflate", packed, **right).finish()
    for wrong in ({"size": 4999}, {"size": 5001}, {"crc": 1}):
        found = stream(tmp_path, "deflate", packed, **(right | wrong))
        assert found.read_at(0, 4000) == data[:4000]
        with pytest.raises(DamagedError):
            found.finish()


def test_no_more_is_inflated_than_was_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = counted(monkeypatch)
    found = stream(tmp_path, "deflate", raw_deflate(bytes(50_000_000)), size=1000, crc=0)
    with pytest.raises(DamagedError):
        found.read_at(0, 50_000_000)
    assert sum(out) <= 1001


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of all that is inflated from now on."""
    sizes: list[int] = []
    step = streams._Run.step

    def counting(*arguments: Any) -> bytes:
        out = step(*arguments)
        sizes.append(len(out))
        return out

    monkeypatch.setattr(streams._Run, "step", counting)
    return sizes


@pytest.mark.parametrize("codec", PACK)
def test_reading_on_inflates_nothing_twice_even_for_two_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str
) -> None:
    size = 2_000_000
    found = stream(tmp_path, codec, PACK[codec](some_bytes(1, size)))
    out = counted(monkeypatch)
    for place in range(0, size // 2, 10_000):
        found.read_at(place, 3000)
        found.read_at(size // 2 + place, 3000)
    assert sum(out) <= 1.6 * size


@pytest.mark.parametrize("codec", ["deflate", "gzip"])
def test_the_way_back_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codec: str) -> None:
    size = 40_000_000
    found = stream(tmp_path, codec, PACK[codec](bytes(size)))
    found.read_at(size - 1, 1)
    out = counted(monkeypatch)
    for place in range(size - 500_000, 0, -500_000):  # as slices that were packed in the other order
        assert found.read_at(place, 1000) == bytes(1000)
    assert sum(out) <= 4 * size  # without marks 40 times the size


def test_marks_stay_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_FIRST_STEP", 1000)
    monkeypatch.setattr(streams, "_PIECE", 500)
    found = stream(tmp_path, "gzip", gzip.compress(some_bytes(1, 2_000_000)))
    for place in range(0, 2_000_000, 500):
        found.read_at(place, 500)
    assert streams._MARKS // 2 <= len(found._marks) <= streams._MARKS


def test_threads_may_read_the_same_stream(tmp_path: Path) -> None:
    data = some_bytes(5, 3_000_000)
    found = stream(tmp_path, "gzip", gzip.compress(data))
    wrong: list[int] = []

    def read(seed: int) -> None:
        places = random.Random(seed)
        for _ in range(40):
            place = places.randrange(len(data))
            if found.read_at(place, 5000) != data[place : place + 5000]:
                wrong.append(place)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_dictionary_of_gigabytes_is_not_allocated(tmp_path: Path) -> None:
    packed = bytearray(lzma.compress(b"x" * 1000))
    start, length = 12, (packed[12] + 1) * 4  # block header: size, flags, filter, length of its properties, dictionary
    assert packed[start + 2 : start + 4] == b"\x21\x01"
    packed[start + 4] = 40  # 4 GiB - 1
    end = start + length - 4
    packed[end : end + 4] = zlib.crc32(packed[start:end]).to_bytes(4, "little")
    with pytest.raises(lzma.LZMAError, match="limit"):
        lzma.LZMADecompressor(memlimit=1 << 30).decompress(bytes(packed))
    with pytest.raises(DamagedError):
        stream(tmp_path, "xz", bytes(packed)).read_at(0, 1)


def test_the_file_is_closed_with_its_last_reader(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir())) if descriptors.exists() else 0
    found = stream(tmp_path, "gzip", gzip.compress(b"abc"))
    assert found.read_at(0, 3) == b"abc"
    del found
    if before:
        assert len(list(descriptors.iterdir())) == before
