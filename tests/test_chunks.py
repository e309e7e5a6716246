"""What a chunk in Zarr promises: no bit of it can change unnoticed, and none of it can be missing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr

from cohort.store import RunFolder

SLICES, ROWS, COLUMNS = 4, 24, 32


def values_of(kind: str) -> np.ndarray:
    """Voxels that compress well, badly and not at all."""
    random = np.random.default_rng(7)
    shape = (SLICES, ROWS, COLUMNS)
    if kind == "image":
        ramp = np.add.outer(np.arange(SLICES * ROWS) % 97, np.arange(COLUMNS) * 3).reshape(shape)
        return (ramp + random.integers(0, 9, shape) - 1024).astype(np.int16)
    return random.integers(0, 1 << 16, shape).astype(np.uint16) if kind == "noise" else np.zeros(shape, np.uint8)


def written(run: RunFolder, values: np.ndarray, codec: Literal["zstd", "lz4"] = "zstd") -> Path:
    """One volume of a single chunk; returns the file of the chunk."""
    pending = run.new_volume("CT/a")
    array = pending.create(values.shape, values.shape, values.dtype.name, ("z", "y", "x"), {}, (codec, 1))
    array[...] = values
    pending.commit({"chunks": 1})
    (chunk,) = (path for path in (run.path / "volumes.zarr" / "CT" / "a" / "0" / "c").rglob("*") if path.is_file())
    return chunk


def flips(size: int, seed: int, sample: int = 1000) -> Iterator[int]:
    """Bits to flip: all of the first and last 24 bytes, where headers and checksums are, and a sample between."""
    bits = size * 8
    between = np.random.default_rng(seed).choice(bits, min(bits, sample), replace=False).tolist()
    yield from sorted({*range(min(192, bits)), *range(max(0, bits - 192), bits), *between})


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
@pytest.mark.parametrize("kind", ["image", "noise", "zeros"])
def test_every_flipped_bit_of_a_chunk_is_noticed(tmp_path: Path, kind: str, codec: Literal["zstd", "lz4"]) -> None:
    run = RunFolder(tmp_path / "out")
    values = values_of(kind)
    chunk = written(run, values, codec)
    (described,) = (run.path / "volumes.zarr/CT/a/0").glob("zarr.json")
    assert f'"cname": "{codec}"' in described.read_text()
    stored = run.open_volume("CT/a")
    np.testing.assert_array_equal(stored[...], values)
    whole = chunk.read_bytes()
    silent = []
    for bit in flips(len(whole), seed=11):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        chunk.write_bytes(damaged)
        try:
            stored[...]
        except (ValueError, RuntimeError):
            continue
        silent.append(bit)
    assert silent == []


@pytest.mark.parametrize("kind", ["image", "noise", "zeros"])
def test_every_cut_of_a_chunk_is_noticed(tmp_path: Path, kind: str) -> None:
    run = RunFolder(tmp_path / "out")
    chunk = written(run, values_of(kind))
    stored, whole = run.open_volume("CT/a"), chunk.read_bytes()
    for size in sorted({*range(20), *range(len(whole) - 20, len(whole))} & set(range(len(whole)))):
        chunk.write_bytes(whole[:size])
        with pytest.raises((ValueError, RuntimeError, IndexError)):
            stored[...]


def test_without_the_checksum_flips_go_unnoticed(tmp_path: Path) -> None:
    # that the test above can fail, and why the checksum is there
    values = values_of("noise")
    array = zarr.create_array(tmp_path / "plain", data=values, chunks=values.shape)
    (chunk,) = (path for path in (tmp_path / "plain" / "c").rglob("*") if path.is_file())
    whole = chunk.read_bytes()
    silent = 0
    for bit in flips(len(whole), seed=11, sample=100):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        chunk.write_bytes(damaged)
        try:
            wrong: Any = array[...]
            silent += not np.array_equal(wrong, values)
        except Exception:
            continue
    assert silent > 100
