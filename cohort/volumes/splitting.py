"""From the frames of one series to volumes: the attribute that turns a mixed series into good stacks.

Frames of another size, orientation or kind are parted first. What is left is good where every place occurs once
and the gaps are equal. Where it is not, the attributes of `frames.ATTRIBUTES` are tried: those that change the
contrast make volumes, those that repeat the image make time points. The attribute that leaves the most distinct
places wins; nothing is dropped, interpolated or moved.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from cohort import geometry
from cohort.volumes.frames import ATTRIBUTES, CONTRAST, TIME, Frame, orientation_of, positions_of

_LOCALIZER_SHARE = 0.1
"""Frames that stand across a stack and number at most a tenth of it (one is always allowed) are a localizer."""

_LEAST_STACK = 3
"""Fewer frames are no stack from which others could be told apart."""

_ACQUISITION_IS_TIME = ("MR", "PT", "NM")
"""Where AcquisitionNumber counts repetitions; in CT it counts contrast phases, which are volumes of their own."""

_DEPTH = 4


@dataclass
class Group:
    """Frames of one volume to be. `timepoints` lists them in time, each in any order along the normal."""

    timepoints: list[list[Frame]]
    reasons: list[str] = field(default_factory=list)
    set_aside: list[tuple[Frame, str, str]] = field(default_factory=list)  # frame, role, reason
    version: int = 0  # above 0: other images under the same SOPInstanceUIDs

    @property
    def frames(self) -> list[Frame]:
        """All frames of the volume."""
        return [frame for timepoint in self.timepoints for frame in timepoint]


def split_series(frames: list[Frame], modality: str | None) -> list[Group]:
    """Part the frames of one DICOM series into volumes.

    Parameters
    ----------
    frames : list of Frame
        All frames of the series, in any order.
    modality : str or None
        Modality of the series.

    Returns
    -------
    list of Group
        Every frame is in exactly one: as an image of one time point, or set aside with role and reason.
    """
    versions, copies = _versions(sorted(frames, key=lambda frame: frame.sort_key))
    groups = []
    for number, version in enumerate(versions):
        parts = _split_version(version, modality)
        for part in parts:
            part.version = number
            if number:
                part.reasons.insert(0, "conflicting_instance")
        groups += parts
    if len(groups) == 1:
        groups[0].reasons = []
    _attach_copies(groups, copies)
    return groups


def _split_version(frames: list[Frame], modality: str | None) -> list[Group]:
    placed = [frame for frame in frames if frame.position is not None]
    groups = [Group([[frame]], ["no_geometry"]) for frame in frames if frame.position is None]
    main, strays = _without_localizers(_kinds(placed))
    for kind in main:
        parts = _split(kind, modality, 0)
        if len(main) > 1:
            for part in parts:
                part.reasons.insert(0, _difference(kind, main))
        groups += parts
    largest = max(groups, key=lambda group: len(group.frames))
    largest.set_aside += [(frame, "excluded", "localizer") for frame in strays]
    return groups


def _versions(frames: list[Frame]) -> tuple[list[list[Frame]], list[tuple[Frame, Frame]]]:
    """Part frames whose SOPInstanceUID occurs more than once.

    A frame with the same header as an earlier one is a copy, returned with its original. One that differs is
    another image under the same name: it goes into a second, third... version of the series, so that it is kept
    and cannot disturb the first.
    """
    seen: dict[Any, list[tuple[Any, Frame]]] = defaultdict(list)
    versions: list[list[Frame]] = []
    copies = []
    for frame in frames:
        known = seen[frame.row["instance_key"], frame.number or 0]
        facts = _facts(frame)
        named = frame.row["SOPInstanceUID"]  # without a name, the same header does not make the same image
        original = next((other for other_facts, other in known if named and other_facts == facts), None)
        if original is not None:
            copies.append((frame, original))
            continue
        if len(known) == len(versions):
            versions.append([])
        versions[len(known)].append(frame)
        known.append((facts, frame))
    return versions, copies


_IDENTICAL = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored",
    "PixelRepresentation", "TransferSyntaxUID", "pixel_length", "NumberOfFrames", "InstanceNumber",
    "PixelPaddingValue", "RescaleType",
)  # fmt: skip


def _facts(frame: Frame) -> Any:
    """Return what two copies of one frame must share, as far as headers tell."""
    values = tuple(frame.row[name] for name in _IDENTICAL)
    return (*values, frame.position, frame.orientation, frame.spacing, frame.slope, frame.intercept)


def _kinds(frames: list[Frame]) -> list[list[Frame]]:
    """Group frames that could lie on one grid: size, samples, orientation, pixel spacing; largest group first."""
    by_size: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        spacing = None if frame.spacing is None else tuple(round(s, 4) for s in frame.spacing)
        by_size[frame.row["Rows"], frame.row["Columns"], frame.row["SamplesPerPixel"] or 1, spacing].append(frame)
    kinds = [kind for group in by_size.values() for kind in _by_orientation(group)]
    return sorted(kinds, key=lambda kind: (-len(kind), kind[0].sort_key))


def _by_orientation(frames: list[Frame]) -> list[list[Frame]]:
    alike: dict[Any, list[Frame]] = defaultdict(list)  # the very same cosines: most often those of all frames
    for frame in frames:
        alike[frame.orientation].append(frame)
    clusters: list[tuple[np.ndarray[Any, Any], list[Frame]]] = []
    for orientation in sorted(alike, key=lambda cosines: tuple(round(c, 2) for c in cosines)):
        cosines = np.asarray(orientation)
        for centre, members in clusters:
            if np.max(np.abs(cosines - centre)) <= geometry.SAME_DIRECTION:
                members += alike[orientation]
                break
        else:
            clusters.append((cosines, alike[orientation]))
    return [sorted(members, key=lambda f: f.sort_key) for _, members in clusters]


def _without_localizers(kinds: list[list[Frame]]) -> tuple[list[list[Frame]], list[Frame]]:
    """Part the few frames that stand across, or differ in size from, the one stack of the series."""
    if len(kinds) < 2 or len(kinds[0]) < _LEAST_STACK:
        return kinds, []
    limit = max(1, int(_LOCALIZER_SHARE * len(kinds[0])))
    main = [kind for kind in kinds if kind is kinds[0] or len(kind) > limit]
    strays = [frame for kind in kinds[1:] if len(kind) <= limit for frame in kind]
    return main, strays


def _difference(kind: list[Frame], kinds: list[list[Frame]]) -> str:
    """Name what tells a kind from the others of its series."""
    others = [other[0] for other in kinds if other is not kind]
    mine = kind[0]
    if any((o.row["Rows"], o.row["Columns"]) != (mine.row["Rows"], mine.row["Columns"]) for o in others):
        return "size"
    if any(o.spacing != mine.spacing for o in others):
        return "PixelSpacing"
    return "ImageOrientationPatient"


# -- one kind of frames ------------------------------------------------------------------------------------


def _split(frames: list[Frame], modality: str | None, depth: int) -> list[Group]:
    distinct, uniform = _quality(frames)
    if distinct == len(frames) and uniform:
        return [Group([frames])]
    if distinct == len(frames):
        return _unmix(frames) or [Group([frames])]
    if depth < _DEPTH and (choice := _best(frames, _contrast(modality), distinct)):
        name, parts = choice
        groups = [group for part in parts for group in _split(part, modality, depth + 1)]
        for group in groups:
            group.reasons.insert(0, name)
        return groups
    return _in_time(frames, modality)


def _contrast(modality: str | None) -> tuple[str, ...]:
    return CONTRAST if modality in _ACQUISITION_IS_TIME else (*CONTRAST, "AcquisitionNumber")


def _quality(frames: list[Frame]) -> tuple[int, bool]:
    """Return the number of distinct places, and whether the gaps between them are equal."""
    stack = geometry.measure_stack(positions_of(frames), orientation_of(frames))
    return 1 + int(np.sum(np.diff(stack.projections) > geometry.SAME_PLACE_MM)), stack.uniform


def _partition(frames: list[Frame], name: str) -> list[list[Frame]]:
    """Group frames by an attribute, in the order of its values; frames without it are a group."""
    groups: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[ATTRIBUTES[name](frame)].append(frame)
    return [groups[value] for value in sorted(groups, key=lambda v: (v is None, str(type(v)), v))]


def _best(frames: list[Frame], names: tuple[str, ...], distinct: int) -> tuple[str, list[list[Frame]]] | None:
    """Return the attribute whose values leave the most distinct places, more than there are now."""
    best: tuple[str, list[list[Frame]]] | None = None
    most = distinct
    for name in names:
        parts = _partition(frames, name)
        if 2 <= len(parts) <= _most_parts(frames, distinct):
            found = sum(_quality(part)[0] for part in parts)
            if found > most or (found == most and best is not None and len(parts) < len(best[1])):
                best, most = (name, parts), found
    return best


def _most_parts(frames: list[Frame], distinct: int) -> int:
    """Return into how many parts an attribute may sensibly cut: one that differs in every slice explains nothing."""
    return len(frames) if distinct == 1 else 2 * -(-len(frames) // distinct)


def _in_time(frames: list[Frame], modality: str | None) -> list[Group]:
    """Make time points of frames that repeat places; what no attribute orders is set aside as a copy."""
    names = TIME if modality in _ACQUISITION_IS_TIME else tuple(n for n in TIME if n != "AcquisitionNumber")
    for name in names:
        parts = _partition(frames, name)
        sensible = 1 < len(parts) <= _most_parts(frames, _quality(frames)[0])
        if sensible and all(_quality(part)[0] == len(part) for part in parts):
            return _by_places(parts, name)
    return _by_rank(frames)


def _by_places(parts: list[list[Frame]], name: str) -> list[Group]:
    """Join time points that cover the same places to one volume each."""
    volumes: list[tuple[np.ndarray[Any, Any], list[list[Frame]]]] = []
    for part in parts:
        places = geometry.measure_stack(positions_of(part), orientation_of(part)).projections
        for known, timepoints in volumes:
            if len(known) == len(places) and np.max(np.abs(known - places)) <= geometry.SAME_PLACE_MM:
                timepoints.append(part)
                break
        else:
            volumes.append((places, [part]))
    groups = [Group(timepoints) for _, timepoints in volumes]
    if len(groups) > 1:
        for group in groups:
            group.reasons.append(name)
    return groups


def _by_rank(frames: list[Frame]) -> list[Group]:
    """Order repeats of a place by InstanceNumber: time points, where most places have them; else copies.

    What is left of an incomplete last time point becomes a volume of its own.
    """
    orientation = orientation_of(frames)
    projections = positions_of(frames) @ geometry.slice_normal(orientation)
    places: list[list[Frame]] = []
    last = -np.inf
    for i in np.argsort(projections, kind="stable"):
        if projections[i] - last > geometry.SAME_PLACE_MM:
            places.append([])
            last = projections[i]
        places[-1].append(frames[i])
    for place in places:
        place.sort(key=lambda frame: frame.sort_key)
    ranks = [[place[r] for place in places if len(place) > r] for r in range(max(len(place) for place in places))]
    complete = sum(len(rank) == len(places) for rank in ranks)
    ordered = all(_ascending(place) for place in places)
    if ordered and (complete > 1 or len(ranks[1]) >= len(places) / 2):
        return _by_places(ranks, "repetition")
    group = Group([ranks[0]])
    group.set_aside = [(frame, "duplicate", "same_position") for rank in ranks[1:] for frame in rank]
    return [group]


def _ascending(place: list[Frame]) -> bool:
    """Tell whether InstanceNumber, or the frame number within one object, orders the frames of a place."""
    numbers = [(frame.row["InstanceNumber"], frame.number) for frame in place]
    if any(instance is None for instance, _ in numbers) and len({id(frame.row) for frame in place}) > 1:
        return False
    return len(set(numbers)) == len(numbers)


def _unmix(frames: list[Frame]) -> list[Group]:
    """Part a stack of unequal gaps where an attribute shows two even stacks that run through each other."""
    for name in (*CONTRAST, *TIME):
        parts = _partition(frames, name)
        if len(parts) < 2 or min(len(part) for part in parts) < _LEAST_STACK:
            continue
        if all(_quality(part) == (len(part), True) for part in parts) and _interleaved(parts):
            return [Group([part], [name]) for part in parts]
    return []


def _interleaved(parts: list[list[Frame]]) -> bool:
    """Tell whether stacks overlap along the normal; pieces behind one another are one stack with a hole."""
    normal = geometry.slice_normal(orientation_of(parts[0]))
    ranges = sorted((float(p.min()), float(p.max())) for p in (positions_of(part) @ normal for part in parts))
    return all(b[0] < a[1] for a, b in pairwise(ranges))


def _attach_copies(groups: list[Group], copies: list[tuple[Frame, Frame]]) -> None:
    """Count every copy with the volume that holds its original."""
    owner = {id(frame): group for group in groups for frame in group.frames}
    owner |= {id(frame): group for group in groups for frame, _, _ in group.set_aside}
    for copy, original in copies:
        owner[id(original)].set_aside.append((copy, "duplicate", "same_instance"))
