"""Damage to files as disks and networks do it, by a seed: bits that flip, ends that are missing."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np

from cohort.phantom import make_series


class Damage(NamedTuple):
    """One fault: where, and the content of the file before and after."""

    path: Path
    what: str
    before: bytes
    after: bytes


def damage_of(path: Path, random_: random.Random) -> Damage:
    """Choose a fault for a file: three of four are a flipped bit, the others a cut; nothing is written."""
    content = path.read_bytes()
    place = random_.randrange(len(content))
    if random_.random() < 0.75:
        bit = random_.randrange(8)
        after = content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :]
        return Damage(path, f"bit {bit} of byte {place} of {len(content)}", content, after)
    return Damage(path, f"cut to {place} of {len(content)} bytes", content, content[:place])


@contextmanager
def damaged(damage: Damage) -> Iterator[None]:
    """Do it, and make it good again."""
    damage.path.write_bytes(damage.after)
    try:
        yield
    finally:
        damage.path.write_bytes(damage.before)


def committed_files(out: Path) -> list[Path]:
    """Every file of a run folder."""
    return sorted(path for path in out.rglob("*") if path.is_file())


def make_images(root: Path) -> Path:
    """A few CT images and two NIfTI images."""
    make_series(root, files=12, rows=24, columns=20)
    write_nifti(root / "one.nii.gz", 1)
    write_nifti(root / "two.nii.gz", 2)
    return root


def write_nifti(path: Path, seed: int) -> None:
    """Write a NIfTI image of noise, in which no reader would see a fault."""
    values = np.random.default_rng(seed).integers(-1000, 1000, (12, 10, 8), np.int16)
    nibabel.Nifti1Image(values, np.diag((1.0, 2.0, 3.0, 1.0))).to_filename(path)


def undetected(out: Path, faults: int, seed: int, is_detected: Callable[[Damage], bool]) -> list[Damage]:
    """Damage one file of a run folder at a time, so many times; return the faults that were not seen."""
    random_ = random.Random(seed)
    files = committed_files(out)
    missed = []
    for _ in range(faults):
        damage = damage_of(random_.choice(files), random_)
        with damaged(damage):
            if not is_detected(damage):
                missed.append(damage)
    return missed
