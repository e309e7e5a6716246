"""Instances that share a SOPInstanceUID: copies of one image, or other images under its name."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from cohort.volumes.copies import same_pixels
from cohort.volumes.frames import ATTRIBUTES, Frame

_IDENTICAL = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "TransferSyntaxUID", "pixel_length", "NumberOfFrames", "InstanceNumber",
    "PixelPaddingValue", "RescaleType",
)  # fmt: skip


def part_versions(frames: list[Frame]) -> tuple[list[list[Frame]], list[tuple[Frame, Frame]]]:
    """Part instances whose SOPInstanceUID occurs more than once.

    Parameters
    ----------
    frames : list of Frame
        All frames of a series, sorted.

    Returns
    -------
    versions : list of list of Frame
        An instance that differs from an earlier one of its name is another image: it goes whole into a second,
        third... version of the series, so that it is kept and cannot disturb the first.
    copies : list of (Frame, Frame)
        Frames of an instance with the same header and pixels as an earlier one, each with its original.
    """
    versions: list[list[Frame]] = [[]]
    copies: list[tuple[Frame, Frame]] = []
    for instances in _same_named(frames):
        if len(instances) == 1:
            versions[0] += instances[0]
            continue
        known: list[tuple[Any, list[Frame]]] = []
        for members in instances:
            facts = [_facts(frame) for frame in members]
            named = members[0].row["SOPInstanceUID"]  # without a name, the same header does not make the same image
            alike = (others for other_facts, others in known if named and other_facts == facts)
            original = next((others for others in alike if same_pixels(members[0].row, others[0].row)), None)
            if original is not None:
                copies += zip(members, original, strict=True)
                continue
            if len(known) == len(versions):
                versions.append([])
            versions[len(known)] += members
            known.append((facts, members))
    return [sorted(version, key=lambda frame: frame.sort_key) for version in versions], copies


def _same_named(frames: list[Frame]) -> list[list[list[Frame]]]:
    """Group instances, each with its frames, by name.

    Of several, the same kind of image comes first everywhere: single frames where the series is one of single
    frames, an object of many where it is not; then by number and by what was acquired.
    """
    instances: dict[int, list[Frame]] = defaultdict(list)
    for frame in frames:
        instances[id(frame.row)].append(frame)
    names: dict[str, list[list[Frame]]] = defaultdict(list)
    for members in instances.values():
        names[members[0].row["instance_key"]].append(members)
    lengths = Counter(len(members) for members in instances.values())
    for several in names.values():
        if len(several) > 1:
            several.sort(key=lambda members: (-lengths[len(members)], len(members), *_order(members[0])))
    return list(names.values())


def _order(frame: Frame) -> tuple[Any, ...]:
    return frame.sort_key[:2], _kind(frame), frame.sort_key


def _kind(frame: Frame) -> tuple[Any, ...]:
    """Return what was acquired, in a form that has an order."""
    values = (frame.slope, frame.intercept, *(value(frame) for value in ATTRIBUTES.values()))
    return tuple((value is None, str(type(value)), value) for value in values)


def _facts(frame: Frame) -> tuple[Any, ...]:
    """Return what two copies of one frame must share, as far as headers tell."""
    values = [frame.row[name] for name in _IDENTICAL]
    values += [value(frame) for value in ATTRIBUTES.values()]
    return (*values, frame.position, frame.orientation, frame.spacing, frame.slope, frame.intercept)
