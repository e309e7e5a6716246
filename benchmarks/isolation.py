"""What the guards and the isolation of decoders cost: CPU time of `ingest` with and without child processes.

Run as `scripts/bench isolation [IMAGES] [--rounds N]`. Three cohorts of single-frame CT images, 512 x 512 of 16 bits,
one for every decoder, and the real images below IMAGES, if given, are scanned and assembled once; then `ingest` is run
with and without isolation, in turns, on one process. CPU time counts the children. Starting a child is part of it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless, generate_uid

from cohort import pipeline
from cohort.config import ClusterOptions, Config, IngestOptions

SYNTAXES = {
    "native": ExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
}


def make_series(folder: Path, syntax: UID, count: int) -> None:
    """Write a smooth body with noise of a few HU, as a scanner gives it."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(7)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where(x**2 + y**2 < 0.7, 1064, 24) + 200 * (x**2 + 2 * y**2 < 0.1)
    for number in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        dataset.Modality, dataset.SeriesInstanceUID, dataset.StudyInstanceUID = "CT", "1.2.3", "1.2"
        dataset.Rows = dataset.Columns = 512
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelSpacing, dataset.ImageOrientationPatient = [0.7, 0.7], [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient, dataset.RescaleSlope, dataset.RescaleIntercept = [0, 0, number], 1, -1024
        dataset.PixelData = (body + random.integers(-12, 13, body.shape)).astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        if syntax != ExplicitVRLittleEndian:
            dataset.compress(syntax, generate_instance_uid=False)
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def seconds() -> float:
    """CPU time of this process and of the children that have ended."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


def measure(images: Path, work: Path, rounds: int) -> tuple[list[float], list[float]]:
    """CPU time of `ingest` without and with isolation, a pair a round."""
    times: tuple[list[float], list[float]] = ([], [])
    outs = []
    for isolate in (False, True):
        config = Config(cluster=ClusterOptions(scheduler="sync"), ingest=IngestOptions(isolate=isolate))
        out = work / f"out-{isolate}"
        pipeline.scan([str(images)], out, config)
        pipeline.stage("assemble", out, config)
        outs.append((out, config))
    for number in range(rounds + 1):
        for which in (0, 1) if number % 2 else (1, 0):
            out, config = outs[which]
            fresh = work / "fresh"
            shutil.copytree(out, fresh)
            before = seconds()
            pipeline.stage("ingest", fresh, config)
            if number:  # the first is a warm-up
                times[which].append(seconds() - before)
            shutil.rmtree(fresh)
    return times


def main() -> None:
    """Make the images, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="?", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=100)
    chosen = parser.parse_args()
    print(f"{'images':<12} {'in the worker':>14} {'in a child':>12} {'price, median of pairs [min-max]':>34}")
    with tempfile.TemporaryDirectory() as folder:
        places = {} if chosen.images is None else {"real": chosen.images}
        for name, syntax in SYNTAXES.items():
            places[name] = Path(folder) / name
            make_series(places[name], syntax, chosen.count)
        for name, images in places.items():
            without, within = measure(images, Path(folder) / f"work-{name}", chosen.rounds)
            price = sorted(100 * (b / a - 1) for a, b in zip(without, within, strict=True))
            print(
                f"{name:<12} {statistics.median(without):>12.2f} s {statistics.median(within):>10.2f} s "
                f"{statistics.median(price):>+18.1f} % [{price[0]:+.1f} to {price[-1]:+.1f}]",
                flush=True,
            )


if __name__ == "__main__":
    main()
