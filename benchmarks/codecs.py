"""Measure codecs for the chunks of volumes: ratio, CPU time to write and to read, flipped bits that go unnoticed.

`scripts/bench codecs OUT [--rounds N] [--mib N]` takes the volumes of a run (of 1 MiB and more, N MiB of each Modality
at most), writes each anew with every codec in random order, reads it back, and flips bits of its first chunk.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec, GzipCodec, ZstdCodec

import cohort
from benchmarks.pixels import versions

_MIB, _FLIPS = 1 << 20, 40


def _blosc(name: str, level: int, shuffle: str) -> list[Any]:
    return [BloscCodec(cname=name, clevel=level, shuffle=shuffle), Crc32cCodec()]


_CODECS: dict[str, list[Any]] = {
    "blosc zstd 1, bit shuffle, crc32c": _blosc("zstd", 1, "bitshuffle"),
    "blosc zstd 5, bit shuffle, crc32c": _blosc("zstd", 5, "bitshuffle"),
    "blosc zstd 1, byte shuffle, crc32c": _blosc("zstd", 1, "shuffle"),
    "blosc lz4 5, bit shuffle, crc32c": _blosc("lz4", 5, "bitshuffle"),
    "blosc lz4 5, byte shuffle, crc32c": _blosc("lz4", 5, "shuffle"),
    "zstd 3 with its checksum, no shuffle": [ZstdCodec(level=3, checksum=True)],
    "zstd 0, the default of zarr": [ZstdCodec(level=0)],
    "gzip 1, crc32c": [GzipCodec(level=1), Crc32cCodec()],
    "none, crc32c": [Crc32cCodec()],
}


def _write(values: Any, chunks: tuple[int, ...], codecs: list[Any], folder: Path) -> Any:
    array = zarr.create_array(
        folder,
        shape=values.shape,
        chunks=chunks,
        dtype=values.dtype,
        compressors=codecs,
        config={"write_empty_chunks": True},
    )
    array[...] = values
    return array


def _silent(array: Any, values: Any, folder: Path) -> int:
    """Flip bits of the first chunk; return how many gave other values and no error."""
    chunk = next(path for path in sorted((folder / "c").rglob("*")) if path.is_file())
    whole, wrong = chunk.read_bytes(), 0
    first = tuple(slice(0, length) for length in array.chunks)
    for bit in np.random.default_rng(1).integers(0, len(whole) * 8, _FLIPS).tolist():
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << (bit % 8)
        chunk.write_bytes(damaged)
        try:
            wrong += not np.array_equal(array[first], values[first])
        except (ValueError, RuntimeError, OSError, EOFError):
            continue
    chunk.write_bytes(whole)
    return wrong


def _volumes(out: Path, most: int) -> dict[str, list[Any]]:
    """Return the volumes of each Modality, the largest first, up to `most` bytes."""
    opened = cohort.open(out)
    rows = [row for row in opened.run_folder.read("volumes").to_pylist() if row["zarr_path"]]
    chosen: dict[str, list[Any]] = defaultdict(list)
    arrays = [(row["Modality"] or "unknown", opened.run_folder.open_volume(row["zarr_path"])) for row in rows]
    for modality, array in sorted(arrays, key=lambda pair: -pair[1].nbytes):
        if array.nbytes >= _MIB and sum(other.nbytes for other in chosen[modality]) + array.nbytes <= most:
            chosen[modality].append(array)
    return {modality: found for modality, found in sorted(chosen.items()) if found}


def _measure(arrays: list[Any], rounds: int) -> str:
    size = sum(array.nbytes for array in arrays)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in _CODECS}
    stored, silent, order = dict.fromkeys(_CODECS, 0), dict.fromkeys(_CODECS, 0), list(_CODECS)
    for number in range(rounds):
        random.Random(number).shuffle(order)
        for name in order:
            writing = reading = 0.0
            for array in arrays:
                values = array[...]
                with tempfile.TemporaryDirectory() as temporary:
                    folder = Path(temporary) / "a"
                    start = time.process_time()
                    again = _write(values, array.chunks, _CODECS[name], folder)
                    middle = time.process_time()
                    again[...]
                    writing, reading = writing + middle - start, reading + time.process_time() - middle
                    if number == 0:
                        stored[name] += sum(path.stat().st_size for path in folder.rglob("c/**/*") if path.is_file())
                        silent[name] += _silent(again, values, folder)
            spent[name].append((writing, reading))
    lines = ["| codec | ratio | write MB/s | read MB/s | flips unnoticed |", "|---|---|---|---|---|"]
    for name, many in spent.items():
        speeds = [f"{size / 1e6 / statistics.median(costs):.0f}" for costs in zip(*many, strict=True)]
        flips = f"{silent[name]} of {_FLIPS * len(arrays)}"
        lines.append(f"| {name} | {size / stored[name]:.2f} | {speeds[0]} | {speeds[1]} | {flips} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mib", type=int, default=64)
    options = parser.parse_args()
    print(f"{options.rounds} rounds; {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}; {versions()}")
    for modality, arrays in _volumes(options.out, options.mib * _MIB).items():
        print(f"\n## {modality}: {len(arrays)} volumes, {sum(array.nbytes for array in arrays) / 1e6:.0f} MB\n")
        print(_measure(arrays, options.rounds), flush=True)


if __name__ == "__main__":
    main()
