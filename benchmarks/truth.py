"""Compare volumes with what dcm2niix makes of the same folders: their number, size, time points and spacing.

Run as `python benchmarks/truth.py IMAGES TRUTH`. IMAGES holds one folder below `dicom/` for each source; TRUTH is a
table with a row for each image dcm2niix wrote: tool, source, key (SeriesInstanceUID), size, inplane, slice_spacing.
Every source is scanned and assembled by itself, as dcm2niix converted it. What is printed are the rows of
`docs/dcm2niix.md` for the series that differ; why they differ is written there by hand.

Two images are equal where their axes are, in any order: dcm2niix turns 3-D acquisitions to lie axially. A spacing is
compared where both tools give one. Of a single slice dcm2niix writes the thickness for its own spacing, and 1 x 1 where
it knows no spacing in the plane.
"""

from __future__ import annotations

import argparse
import csv
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import cohort
from cohort import pipeline
from cohort.config import ClusterOptions, Config

TOLERANCE_MM = 0.002  # dcm2niix computes in single precision

_COLUMNS = [
    "SeriesInstanceUID", "timepoints", "columns", "rows", "slices",
    "spacing_col_mm", "spacing_row_mm", "spacing_slice_mm",
]  # fmt: skip
_NO_SERIES = "0.nii"  # what the table has in place of an empty SeriesInstanceUID


@dataclass(frozen=True)
class Image:
    """One image: columns, rows and slices, the spacing along each (None: not known), and time points."""

    size: tuple[int, int, int]
    spacing: tuple[float | None, float | None, float | None]
    timepoints: int

    def __str__(self) -> str:
        size = "x".join(map(str, self.size if self.timepoints == 1 else (*self.size, self.timepoints)))
        return size if self.spacing[2] is None else f"{size} at {round(self.spacing[2], 3):g} mm"

    def equals(self, other: Image) -> bool:
        """Whether the axes of both are the same in some order, and the time points."""
        if self.timepoints != other.timepoints:
            return False
        axes = list(zip(self.size, self.spacing, strict=True))
        return any(
            all(map(_same_axis, order, zip(other.size, other.spacing, strict=True))) for order in permutations(axes)
        )


@dataclass(frozen=True)
class Case:
    """What became of one series in both tools."""

    source: str
    series: str
    ours: tuple[Image, ...]
    theirs: tuple[Image, ...]

    @property
    def equal(self) -> bool:
        """Whether every image of one tool is an image of the other."""
        left = list(self.theirs)
        for image in self.ours:
            match = next((other for other in left if image.equals(other)), None)
            if match is None:
                return False
            left.remove(match)
        return not left

    @property
    def row(self) -> str:
        """Row of the page: source, series, and the images of both tools."""
        return f"| {self.source} | {self.series or 'none'} | {_listed(self.ours)} | {_listed(self.theirs)} |"


def _same_axis(first: tuple[int, float | None], second: tuple[int, float | None]) -> bool:
    (length, spacing), (other_length, other) = first, second
    known = length > 1 and spacing is not None and other is not None
    return length == other_length and (not known or abs(spacing - other) <= TOLERANCE_MM)


def _listed(images: Sequence[Image]) -> str:
    texts = [str(image) for image in images]
    counts = {text: texts.count(text) for text in sorted(texts)}
    return " + ".join(text if count == 1 else f"{count} of {text}" for text, count in counts.items()) or "none"


def compare(images: Path, truth: Path) -> Iterator[Case]:
    """Scan and assemble every source, and yield every series that dcm2niix converted."""
    theirs: dict[str, dict[str, list[Image]]] = defaultdict(lambda: defaultdict(list))
    with truth.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["tool"].startswith("dcm2niix"):
                series = "" if row["key"] == _NO_SERIES else row["key"]
                theirs[row["source"]][series].append(_their_image(row))
    for source in sorted(theirs):
        ours = _our_images(images / source)
        for series, converted in sorted(theirs[source].items()):
            yield Case(source.removeprefix("dicom/"), series, tuple(ours.get(series, ())), tuple(converted))


def _their_image(row: dict[str, str]) -> Image:
    columns, rows, slices, *times = (int(length) for length in row["size"].split("x"))
    in_plane = [float(spacing) for spacing in row["inplane"].split("\\")]
    spacing = (in_plane[0], in_plane[1], float(row["slice_spacing"]))
    if slices == 1:
        spacing = (None, None, None) if in_plane == [1.0, 1.0] else (*spacing[:2], None)
    return Image((columns, rows, slices), spacing, math.prod(times))


def _our_images(source: Path) -> dict[str, list[Image]]:
    config = Config(cluster=ClusterOptions(scheduler="sync"))
    found: dict[str, list[Image]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        pipeline.scan([str(source)], folder, config)
        pipeline.stage("assemble", folder, config)
        for row in cohort.open(folder).run_folder.read("volumes", _COLUMNS).to_pylist():
            series, timepoints, *rest = (row[name] for name in _COLUMNS)
            found[series or ""].append(Image(tuple(rest[:3]), tuple(rest[3:]), timepoints))
    return found


def main() -> None:
    """Print the rows of the series that differ, and how many are equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder that holds dicom/SOURCE")
    parser.add_argument("truth", type=Path, help="table of what dcm2niix wrote")
    arguments = parser.parse_args()
    cases = list(compare(arguments.images, arguments.truth))
    different = [case for case in cases if not case.equal]
    for case in different:
        print(case.row)
    print(f"\n{len(cases) - len(different)} of {len(cases)} series are equal")


if __name__ == "__main__":
    main()
