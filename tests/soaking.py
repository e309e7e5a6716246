"""Long series of faults, by a seed; `scripts/soak` runs them at length, the tests a few of them."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import click
import killing
import mixing
import poisoning
import pyarrow.parquet as pq
from damage import damage_of, make_images, undetected, write_nifti
from running import config_with

import cohort
from cohort import pipeline
from cohort.store import RunFolder
from cohort.verify import verify


class Inputs(NamedTuple):
    """Faults in images: seen, changing no voxel, and neither, each named by what was done."""

    seen: int
    harmless: int
    unseen: list[str]


def flip_outputs(folder: Path, faults: int, seed: int) -> list[str]:
    """Damage a run folder so many times; return the faults that `verify --deep` did not see."""
    images = make_images(folder / "images")
    pipeline.run([str(images)], folder / "out", config_with())
    run = RunFolder(folder / "out")
    if verify(run, deep=True):
        raise AssertionError("the run is not whole before any fault")
    missed = undetected(run.path, faults, seed, lambda _: bool(verify(run, deep=True)))
    return [f"{damage.path.relative_to(run.path)}: {damage.what}" for damage in missed]


def flip_inputs(folder: Path, faults: int, seed: int) -> Inputs:
    """Damage as many copies of a `.nii.gz` image, run over them, and see which of the faults became a status."""
    random_ = random.Random(seed)
    images = folder / "flipped"
    images.mkdir()
    write_nifti(images / "whole.nii.gz", 1)
    done = {}
    for number in range(faults):
        damage = damage_of(images / "whole.nii.gz", random_)
        (images / f"{number:05d}.nii.gz").write_bytes(damage.after)
        done[f"{number:05d}.nii.gz"] = damage.what
    pipeline.run([str(images)], folder / "flipped-out", config_with())
    opened = cohort.open(folder / "flipped-out")
    volumes = opened.volumes.set_index("volume_id")
    frames = opened.files.compute().set_index("path")
    stored: dict[str, str] = {}
    for part in RunFolder(folder / "flipped-out").parts("frames"):
        rows = pq.read_table(part, columns=["path_raw", "volume_id"], partitioning=None).to_pylist()
        stored |= {row["path_raw"].decode(): row["volume_id"] for row in rows}
    right = volumes.loc[stored["whole.nii.gz"]].content_sha256
    seen = harmless = 0
    unseen = []
    for name, what in done.items():
        volume = volumes.loc[stored[name]] if name in stored else None
        if frames.loc[name].status != "ok" or volume is None or volume.status != "ok":
            seen += 1
        elif volume.content_sha256 == right:
            harmless += 1  # as in the time or the name that gzip notes
        else:
            unseen.append(what)
    return Inputs(seen, harmless, unseen)


def _flips(folder: Path, runs: int, seed: int) -> bool:
    missed = flip_outputs(folder, runs // 2, seed)
    inputs = flip_inputs(folder, runs - runs // 2, seed)
    click.echo(f"flips: {runs} faults, seed {seed}")
    click.echo(f"  in committed artefacts: {runs // 2}, {len(missed)} not seen by verify --deep")
    click.echo(
        f"  in .nii.gz images: {inputs.seen} seen, {inputs.harmless} changed no voxel, {len(inputs.unseen)} not seen"
    )
    for what in missed + inputs.unseen:
        click.echo(f"  not seen: {what}")
    return not missed and not inputs.unseen


def _kills(folder: Path, runs: int, seed: int) -> bool:
    return _told(killing.kills(folder, killing.mixed(runs, seed), seed, _tell), "kills", seed)


def _writes(folder: Path, runs: int, seed: int) -> bool:
    return _told(killing.kills(folder, ["writing"] * runs, seed, _tell), "kill -9 while writing", seed)


def _tell(fault: killing.Fault) -> None:
    click.echo(f"  {fault.kind} at {fault.moment:.2f} s: {fault.wrong or 'identical'}", err=True)


def _told(faults: list[killing.Fault], what: str, seed: int) -> bool:
    click.echo(f"{what}: {len(faults)} runs, seed {seed}")
    for kind in sorted({fault.kind for fault in faults}):
        of_kind = [fault for fault in faults if fault.kind == kind]
        struck, resumed = sum(fault.struck for fault in of_kind), sum(fault.resumed for fault in of_kind)
        wrong = sum(bool(fault.wrong) for fault in of_kind)
        click.echo(f"  {kind}: {len(of_kind)} runs, {struck} struck, {resumed} went on in a second run, {wrong} wrong")
    for fault in faults:
        if fault.wrong:
            click.echo(f"  wrong: {fault.kind} at {fault.moment:.2f} s: {fault.wrong}")
    return not any(fault.wrong for fault in faults)


def _cohort(folder: Path, runs: int, _seed: int) -> bool:
    mixed = mixing.mix(folder, runs)
    click.echo(
        f"cohort: {runs} files, {len(mixed.hostile)} of them hostile, {len(mixed.volumes)} volumes of the others"
    )
    right = True
    for scheduler in mixing.SCHEDULERS:
        for shard_size in mixing.SHARDS:
            wrong = mixing.difference(mixed, folder / f"{scheduler}-{shard_size}", scheduler, shard_size)
            click.echo(f"  {scheduler}, shards of {shard_size}: {wrong or 'identical'}")
            right &= not wrong
    return right


def _poison(folder: Path, runs: int, _seed: int) -> bool:
    found = poisoning.poison(folder, runs)
    click.echo(f"poison: {runs} files")
    click.echo(f"  {dict(sorted(found.statuses.items()))}, quarantined for {dict(sorted(found.reasons.items()))}")
    for name, cost in (("without poison", found.clean), ("with poison", found.poisoned)):
        click.echo(f"  {name}: {cost.cpu:.1f} s of CPU, {cost.wall:.1f} s")
    click.echo(f"  {found.wrong or 'the good images are what they are without the poison'}")
    return not found.wrong


_SOAKS: dict[str, Callable[[Path, int, int], bool]] = {
    "cohort": _cohort,
    "flips": _flips,
    "kills": _kills,
    "poison": _poison,
    "writes": _writes,
}


def main() -> int:
    """Run one kind of faults and print what came of it; 1 where something was not seen."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description=main.__doc__)
    parser.add_argument("kind", choices=sorted(_SOAKS))
    parser.add_argument("--runs", type=int, default=2000, help="so many faults, or files (default: 2000)")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if _SOAKS[asked.kind](Path(folder), asked.runs, asked.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
