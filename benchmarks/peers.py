"""What cohort and its peers make of series that trip a naive reader, against the truth of the phantom.

Run as `scripts/bench peers [TRAP...]`, which installs the extra `peers`. Every trap is written alone into a folder,
every tool is run on that folder as its users run it, and what it returns is compared with the truth: how many stacks,
of how many slices, how far apart. A tool that is not installed is a column that says so.

Geometry alone is compared. An answer is right where every stack has the true slices and spacing; a stack that is no
regular grid (a hole, a tilt, uneven gaps) must also be flagged, by a warning at the least: a volume that looks whole is
wrong. A tool may also refuse: an error, or no output, is never taken for a wrong answer.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import io
import itertools
import logging
import os
import platform
import re
import subprocess
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cohort.phantom import PhantomVolume, make_traps, series_trap_names

_SAME = 1e-3  # relative: headers in single precision, and positions in six decimals
_SECONDS = 120  # for one tool and one trap
_WRONG = "**wrong**"

# Traps of values, of text, and of objects that are no images: nothing to ask of a converter's geometry.
_NOT_ASKED = ("no-pixels", "padding", "rescale-varies", "slide-pyramid", "slope-zero", "text-in-number")

Axis = tuple[int, float | None]  # voxels, and their distance in mm: None where it is unknown


@dataclass(frozen=True)
class Stack:
    """One image at one time: its rows, columns and slices; in another order where a tool turned it."""

    axes: tuple[Axis, Axis, Axis]


_SHAPE = ("rows", "columns", "slices", "timepoints", "spacing_row_mm", "spacing_col_mm", "spacing_slice_mm")


def _stacks(
    rows: int, columns: int, slices: int, timepoints: int,
    spacing_row_mm: float | None, spacing_col_mm: float | None, spacing_slice_mm: float | None,
) -> list[Stack]:  # fmt: skip
    return [Stack(((rows, spacing_row_mm), (columns, spacing_col_mm), (slices, spacing_slice_mm)))] * timepoints


@dataclass(frozen=True)
class Answer:
    """What a tool made of one folder.

    Parameters
    ----------
    stacks : tuple of Stack
        One per image and time point.
    warned : bool
        Whether it said that something is wrong.
    error : str or None
        Why there is no image.
    note : str
        What else it did.
    """

    stacks: tuple[Stack, ...] = ()
    warned: bool = False
    error: str | None = None
    note: str = ""


# -- the tools, as their users run them -----------------------------------------------------------------------


def ask_cohort(folder: Path, out: Path) -> Answer:
    """Scan and assemble; a volume that is not regular is flagged."""
    import cohort
    from cohort import pipeline
    from cohort.config import config_from

    config = config_from({"cluster": {"scheduler": "sync"}})
    pipeline.scan([str(folder)], out, config)
    pipeline.stage("assemble", out, config)
    rows = cohort.open(out).run_folder.read("volumes").to_pylist()
    stacks = [stack for row in rows for stack in _stacks(**{name: row[name] for name in _SHAPE})]
    return Answer(tuple(stacks), warned=any(row["regularly_spaced_3d_volume"] is False for row in rows))


def ask_simpleitk(folder: Path, out: Path) -> Answer:
    """ImageSeriesReader over the GDCM series of the folder, as in SimpleITK's own example DicomSeriesReader."""
    import SimpleITK

    stacks = []
    for series in SimpleITK.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)):
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series))
        image = reader.Execute()
        size, spacing = image.GetSize(), image.GetSpacing()
        times = size[3] if len(size) > 3 else 1
        stacks += _stacks(size[1], size[0], size[2], times, spacing[1], spacing[0], spacing[2])
    return Answer(tuple(stacks))


def ask_dcm2niix(folder: Path, out: Path) -> Answer:
    """Run the command with its defaults; a copy that it resampled (`_Eq`, `_Tilt`) is a way to warn."""
    import dcm2niix

    command = [dcm2niix.bin, "-b", "n", "-o", str(out), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    said = done.stdout + done.stderr
    made = sorted(path for path in out.iterdir() if path.suffix == ".nii")
    corrected = [path for path in made if re.search(r"_(Eq|Tilt)_\d+$", path.stem)]
    stacks = tuple(stack for path in made if path not in corrected for stack in _nifti_stacks(path))
    note = "and a resampled copy" if corrected else ""
    error = None if made else f"exit {done.returncode}"
    warned = bool(corrected or re.search(r"warning|error|unable", said, re.IGNORECASE))
    return Answer(stacks, warned, error, note)


def ask_dicom2nifti(folder: Path, out: Path) -> Answer:
    """convert_directory with its defaults, uncompressed; it prints the error of each series it leaves out."""
    import dicom2nifti

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        dicom2nifti.convert_directory(str(folder), str(out), compression=False)
    stacks = tuple(stack for path in sorted(out.iterdir()) for stack in _nifti_stacks(path))
    errors = re.findall(r"^[\w.]*?(\w+(?:Error|Exception)\b.*)$", said.getvalue(), re.MULTILINE)
    return Answer(stacks, warned=bool(errors), error=None if stacks or not errors else errors[-1])


def ask_highdicom(folder: Path, out: Path) -> Answer:
    """get_volume_from_series for single frames, Image.get_volume for an object of several."""
    import highdicom
    import pydicom

    series: dict[str, list[Any]] = {}
    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        series.setdefault(dataset.SeriesInstanceUID, []).append(dataset)
    volumes = []
    for datasets in series.values():
        if any(dataset.get("NumberOfFrames", 1) > 1 for dataset in datasets):
            volumes += [highdicom.Image.from_dataset(dataset).get_volume() for dataset in datasets]
        else:
            volumes.append(highdicom.get_volume_from_series(datasets))
    shapes = [(*volume.spatial_shape, *volume.spacing) for volume in volumes]
    return Answer(tuple(
        stack for slices, rows, columns, step, down, across in shapes
        for stack in _stacks(rows, columns, slices, 1, down, across, step)
    ))  # fmt: skip


def _nifti_stacks(path: Path) -> list[Stack]:
    import nibabel

    header = nibabel.load(path).header
    shape, zooms = (*header.get_data_shape(), 1, 1), [*map(float, header.get_zooms()), 0.0]
    return _stacks(shape[1], shape[0], shape[2], shape[3], zooms[1], zooms[0], zooms[2])


TOOLS: dict[str, tuple[str, Callable[[Path, Path], Answer]]] = {
    "cohort": ("cohort", ask_cohort),
    "SimpleITK": ("SimpleITK", ask_simpleitk),
    "dcm2niix": ("dcm2niix", ask_dcm2niix),
    "dicom2nifti": ("dicom2nifti", ask_dicom2nifti),
    "highdicom": ("highdicom", ask_highdicom),
}
"""Name of the column: distribution, and how it is run."""


def asked(tool: str, folder: str) -> Answer:
    """Run one tool on one folder; what it throws is its answer, what it prints is kept from the table."""
    with tempfile.TemporaryDirectory() as out, _heard() as said, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            answer = TOOLS[tool][1](Path(folder), Path(out))
        except Exception as error:
            return Answer(error=f"{type(error).__name__}: {error}")
        said.seek(0)
        warned = answer.warned or b"WARNING" in said.read().upper() or any(_serious(w) for w in caught)
    error = answer.error if answer.stacks else answer.error or "no output"
    return Answer(answer.stacks, warned, error, answer.note)


def _serious(warning: warnings.WarningMessage) -> bool:
    return not issubclass(warning.category, DeprecationWarning | PendingDeprecationWarning)


@contextlib.contextmanager
def _heard() -> Iterator[Any]:
    """Collect what a tool writes to stdout and stderr, that of C++ included."""
    logging.basicConfig(level=logging.WARNING, force=True)
    with tempfile.TemporaryFile() as heard:
        kept = [(number, os.dup(number)) for number in (1, 2)]
        for number, _ in kept:
            os.dup2(heard.fileno(), number)
        try:
            yield heard
        finally:
            for number, original in kept:
                os.dup2(original, number)
                os.close(original)


# -- the truth and the verdict ---------------------------------------------------------------------------------


def cases(root: Path, names: list[str]) -> Iterator[tuple[str, Path, list[PhantomVolume]]]:
    """Write every trap into a flat folder of its own; each copy of a scan is a case."""
    for name in names:
        truth = make_traps(root / "made" / name, names=[name])
        copied = name.startswith("copies-")
        for way in ("classic", "enhanced", "converted") if copied else ("",):
            inside = f"traps/{name}/{way}" if way else f"traps/{name}"
            folder = root / "flat" / name / (way or "all")
            folder.mkdir(parents=True)
            for number, path in enumerate(sorted(p for p in (truth.root / inside).rglob("*") if p.is_file())):
                (folder / f"{number:04d}.dcm").write_bytes(path.read_bytes())
            yield f"{name} ({way})" if way else name, folder, [v for v in truth.volumes if v.path.startswith(inside)]


def described(volumes: list[PhantomVolume]) -> str:
    """Say the truth in a cell: slices x spacing of each volume."""
    cells = Counter(_volume_text(volume) for volume in volumes)
    return "; ".join(text if count == 1 else f"{count} of {text}" for text, count in cells.items())


def _volume_text(volume: PhantomVolume) -> str:
    (stack,) = _stacks(**{name: getattr(volume, name) for name in _SHAPE} | {"timepoints": 1})
    text = _text(stack, volume, flat=volume.spacing_slice_mm is None)
    text += f", {volume.timepoints} times" if volume.timepoints > 1 else ""
    text += f", {volume.missing_slice_count} missing" if volume.missing_slice_count else ""
    uneven = not volume.missing_slice_count and "uniform" in (volume.reason_not_regular or "")
    text += ", uneven" if uneven else ""
    text += f", {volume.tilt_degrees:.0f} degrees" if volume.tilt_degrees else ""
    return text + (f", {volume.duplicate_slice_count} copies" if volume.duplicate_slice_count else "")


def _text(stack: Stack, like: PhantomVolume, flat: bool = False) -> str:
    """Say slices x spacing; and the spacing in the plane where it is not the true one, or all there is."""
    axes, plane = list(stack.axes), []
    for length in (like.rows, like.columns):  # what is left is the axis of the slices
        plane.append(axes.pop(next((i for i, axis in enumerate(axes) if axis[0] == length), 0)))
    slices, spacing = axes[0]
    text = f"{slices}" if slices == 1 or spacing is None else f"{slices} x {spacing:.4g}"
    found = [length for _, length in plane]
    if flat or sorted(found, key=str) != sorted((like.spacing_row_mm, like.spacing_col_mm), key=str):
        text += " of " + " by ".join("?" if length is None else f"{length:.4g}" for length in found) + " mm"
    return text


def verdict(answer: Answer, volumes: list[PhantomVolume]) -> str:
    """Judge one answer: right, wrong with or without a warning, or refused."""
    if answer.error is not None:
        return f"refuses: {_cut(answer.error)}"
    true = [stack for v in volumes for stack in _stacks(**{name: getattr(v, name) for name in _SHAPE})]
    strays = sum(volume.excluded_instance_count for volume in volumes)  # may be images of their own
    right = _matches(list(answer.stacks), true, strays)
    flagged = answer.warned or not any(volume.regular is False for volume in volumes)
    note = f", {answer.note}" if answer.note else ""
    if right and flagged:
        return "right" + (", warns" if answer.warned and all(v.regular is not False for v in volumes) else "") + note
    if right:
        return f"{_WRONG}: {_stacks_text(answer.stacks, volumes)}, says nothing{note}"
    return f"{_WRONG}{', warns' if answer.warned else ''}: {_stacks_text(answer.stacks, volumes)}{note}"


def _matches(found: list[Stack], true: list[Stack], strays: int) -> bool:
    for stack in true:
        match = next((one for one in found if _alike(one, stack)), None)
        if match is None:
            return False
        found.remove(match)
    return len(found) <= strays and all(1 in (length for length, _ in stack.axes) for stack in found)


def _alike(found: Stack, true: Stack) -> bool:
    return any(all(map(_close, turned, true.axes)) for turned in itertools.permutations(found.axes))


def _close(found: Axis, true: Axis) -> bool:
    (length, spacing), (true_length, true_spacing) = found, true
    if length != true_length or length == 1 or true_spacing is None:  # nothing to be right about
        return length == true_length
    return spacing is not None and abs(spacing - true_spacing) <= _SAME * true_spacing


def _stacks_text(stacks: tuple[Stack, ...], volumes: list[PhantomVolume]) -> str:
    cells = Counter(_text(stack, volumes[0]) for stack in stacks)
    return "; ".join(text if count == 1 else f"{count} of {text}" for text, count in cells.items())


def _cut(text: str, length: int = 60) -> str:
    line = " ".join(text.replace("|", "/").split())
    return line if len(line) <= length else line[: length - 3] + "..."


# -- the table -------------------------------------------------------------------------------------------------


def installed() -> dict[str, str | None]:
    """Return the version of every tool, None where it is not installed."""
    found: dict[str, str | None] = {}
    for tool, (distribution, _) in TOOLS.items():
        try:
            found[tool] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            found[tool] = None
    return found


def table(names: list[str], versions: dict[str, str | None]) -> str:
    """Return the result as Markdown, with a tally of each tool as the last row."""
    rows = []
    tallies: dict[str, Counter[str]] = {tool: Counter() for tool in TOOLS}
    with tempfile.TemporaryDirectory() as made, Askers() as askers:
        for name, folder, volumes in cases(Path(made), names):
            cells = []
            for tool, version in versions.items():
                cell = "not installed" if version is None else verdict(askers.ask(tool, folder), volumes)
                tallies[tool][_kind(cell)] += 1
                cells.append(cell)
            rows.append([name, described(volumes), *cells])
    tally = [", ".join(f"{count} {kind}" for kind, count in sorted(tallies[tool].items())) for tool in TOOLS]
    lines = [["trap", "truth", *TOOLS], ["---"] * (len(TOOLS) + 2), *rows, [f"{len(rows)} cases", "", *tally]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _kind(cell: str) -> str:
    if cell.startswith(_WRONG):
        return "wrong, warns" if cell.startswith(f"{_WRONG}, warns") else "wrong silently"
    return "refuses" if cell.startswith("refuses") else cell if cell == "not installed" else "right"


class Askers:
    """A process per tool: what one leaves behind does not disturb another, and a crash is an answer."""

    def __init__(self) -> None:
        self._pools: dict[str, ProcessPoolExecutor] = {}

    def __enter__(self) -> Askers:
        return self

    def __exit__(self, *_: object) -> None:
        for pool in self._pools.values():
            pool.shutdown()

    def ask(self, tool: str, folder: Path) -> Answer:
        """Run one tool on one folder."""
        pool = self._pools.setdefault(tool, ProcessPoolExecutor(max_workers=1))
        try:
            return pool.submit(asked, tool, str(folder)).result(timeout=_SECONDS)
        except BrokenProcessPool:
            self._pools.pop(tool).shutdown()
            return Answer(error="crashes")


def main() -> None:
    """Run every tool over every trap, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("traps", nargs="*", help="names of traps (default: all that are about geometry)")
    options = parser.parse_args()
    names = options.traps or [name for name in series_trap_names() if name not in _NOT_ASKED]
    if unknown := set(names) - set(series_trap_names()):
        parser.error(f"no trap named {', '.join(sorted(unknown))}")
    versions = installed()
    listed = {
        "Python": platform.python_version(),
        **{tool: version or "not installed" for tool, version in versions.items()},
    }
    print(f"{datetime.date.today()}: {', '.join(f'{name} {version}' for name, version in listed.items())}\n")
    print(table(names, versions))


if __name__ == "__main__":
    main()
