"""Measurements as text that explains itself."""

from __future__ import annotations

from typing import Any

from cohort.summary import aligned

_HEADS = ("stage", "workers", "seconds", "files/s", "MB/s", "Mvoxel/s", "efficiency", "read/file KiB", "peak MB")


def as_text(found: dict[str, Any]) -> str:
    """Return what `cohort bench` prints."""
    machine, corpus, floor = found["machine"], found["corpus"], found["floor"]
    kind = "phantom images" if corpus["phantom"] else "images"
    return (
        f"{corpus['files']:,} {kind}, {corpus['bytes'] / 1e6:,.0f} MB, read from the cache of the system\n"
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"load {machine['load_before']} before\n\n"
        + aligned(_HEADS, [_cells(row) for row in found["stages"]])
        + "\nfloor of this machine, one process\n"
        f"  {floor['read_mb_per_s']:>12,.0f}  MB/s         reading whole files\n"
        f"  {floor['head_files_per_s']:>12,.0f}  files/s      opening each and reading 16 KiB\n"
        f"  {floor['count_voxels_per_s'] / 1e6:>12,.0f}  Mvoxel/s     one counting pass\n"
        "\nefficiency: speed per worker against that of the fewest workers; below 1 the workers wait for each other,\n"
        "the disk or the scheduler. MB/s: bytes of the source files, though `scan` reads only their beginnings and\n"
        "`assemble` and `reduce` none of them. peak MB: the largest worker, its imports included.\n"
    )


def _cells(row: dict[str, Any]) -> tuple[Any, ...]:
    voxels, read = row["voxels_per_s"], row["bytes_read_per_file"]
    return (
        row["stage"], str(row["workers"]), f"{row['seconds']:.2f}", f"{row['files_per_s']:,.0f}",
        f"{row['mb_per_s']:,.1f}", "-" if voxels is None else f"{voxels / 1e6:,.1f}", f"{row['efficiency']:.2f}",
        "-" if read is None else f"{read / 1024:,.1f}", f"{row['max_rss_mb']:,.0f}",
    )  # fmt: skip


def comparison_text(found: dict[str, Any]) -> str:
    """Return what `cohort bench --compare` prints: how many times faster the second machine is."""
    first, second = (f"{m['processor']}, {m['cores']} cores" for m in found["machines"])
    cells = [
        (
            row["stage"],
            str(row["workers"]),
            *(_times(row[name]) for name in ("files_per_s", "mb_per_s", "voxels_per_s")),
        )
        for row in found["stages"]
    ]
    floor = "".join(f"  {_times(value):>8}  {name}\n" for name, value in sorted(found["floor"].items()))
    heads = ("stage", "workers", "files/s", "MB/s", "voxels/s")
    return f"A  {first}\nB  {second}\n\nB against A\n{aligned(heads, cells)}\nfloor\n{floor}"


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}x"
