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
from cohort.volumes.frames import (
    ATTRIBUTES,
    CONTRAST,
    TIME,
    Frame,
    Row,
    measured,
    orientation_of,
    positions_of,
    size_of,
)
from cohort.volumes.identity import part_versions

_LOCALIZER_SHARE = 0.1
"""Frames that stand across a stack and number at most a tenth of it (one is always allowed) are a localizer."""

_LEAST_STACK = 3
"""Fewer frames are no stack from which others could be told apart."""

_ACQUISITION_IS_TIME = ("MR", "PT", "NM")
"""Where AcquisitionNumber counts repetitions; in CT it counts contrast phases, which are volumes of their own."""

_DEPTH = 4

_DIRECTION = "DiffusionGradientOrientation"


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
    versions, copies = part_versions(sorted(frames, key=lambda frame: frame.sort_key))
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


def _kinds(frames: list[Frame]) -> list[list[Frame]]:
    """Group frames that could lie on one grid: class, size, samples, pixel spacing, orientation; largest first."""
    by_size: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        row = frame.row
        by_size[size_of(row), row["SamplesPerPixel"] or 1, row["SOPClassUID"], row["mosaic_problem"]].append(frame)
    kinds = [kind for size in by_size.values() for group in _by_spacing(size) for kind in _by_orientation(group)]
    return sorted(kinds, key=lambda kind: (-len(kind), kind[0].sort_key))


def _by_spacing(frames: list[Frame]) -> list[list[Frame]]:
    clusters: list[list[Frame]] = []
    for frame in sorted(frames, key=lambda f: f.spacing or ()):
        for cluster in clusters:
            if _alike(frame, cluster[0]):
                cluster.append(frame)
                break
        else:
            clusters.append([frame])
    return clusters


def _alike(first: Frame, second: Frame) -> bool:
    """Tell whether two frames have one pixel spacing, or none."""
    if first.spacing is None or second.spacing is None:
        return first.spacing is second.spacing
    return geometry.same_spacing(first.spacing, second.spacing)


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
    few = [len(kind) <= limit and _could_be_localizer(kind[0].row, kinds[0][0].row) for kind in kinds]
    main = [kind for kind, is_few in zip(kinds, few, strict=True) if kind is kinds[0] or not is_few]
    strays = [frame for kind, is_few in zip(kinds[1:], few[1:], strict=True) if is_few for frame in kind]
    return main, strays


def _could_be_localizer(row: Row, main: Row) -> bool:
    """Tell whether an image is of the class of the stack; few mosaics are many slices."""
    return bool(row["SOPClassUID"] == main["SOPClassUID"]) and row["mosaic_problem"] is None


def _difference(kind: list[Frame], kinds: list[list[Frame]]) -> str:
    """Name what tells a kind from the others of its series."""
    others = [other[0] for other in kinds if other is not kind]
    mine = kind[0]
    if any(size_of(other.row) != size_of(mine.row) for other in others):
        return "size"
    if any(other.row["SOPClassUID"] != mine.row["SOPClassUID"] for other in others):
        return "SOPClassUID"
    if not all(_alike(other, mine) for other in others):
        return "PixelSpacing"
    return "ImageOrientationPatient"


# -- one kind of frames ------------------------------------------------------------------------------------


def _split(frames: list[Frame], modality: str | None, depth: int) -> list[Group]:
    distinct, uniform = _quality(frames)
    if distinct == len(frames) and uniform:
        return [Group([frames])]
    choice = None if uniform else _named_stacks(frames)
    if distinct == len(frames) and choice is None:
        return _unmix(frames) or [Group([frames])]
    choice = choice or _best(frames, _contrast(modality), distinct)
    if depth < _DEPTH and choice:
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
    stack = measured(frames)
    return stack.places, stack.uniform


def _partition(frames: list[Frame], name: str) -> list[list[Frame]]:
    """Group frames by an attribute, in the order of its values; frames without it are a group.

    Directions have no order of their own, and turn with the patient: they come as they were numbered.
    """
    groups: dict[Any, list[Frame]] = defaultdict(list)
    for frame in frames:
        groups[ATTRIBUTES[name](frame)].append(frame)
    numbers = {value: min(map(_numbered, group)) for value, group in groups.items() if name == _DIRECTION}
    return [groups[value] for value in sorted(groups, key=lambda v: (numbers.get(v), v is None, str(type(v)), v))]


def _numbered(frame: Frame) -> tuple[bool, int, int]:
    instance = frame.row["InstanceNumber"]
    return instance is None, instance or 0, frame.number or 0


def _named_stacks(frames: list[Frame]) -> tuple[str, list[list[Frame]]] | None:
    """Return the even stacks into which the object itself parts frames of unequal gaps (PS3.3 C.7.6.16.2.2)."""
    parts = _partition(frames, "StackID")
    if len(parts) < 2 or min(len(part) for part in parts) < _LEAST_STACK:
        return None
    return ("StackID", parts) if all(measured(part).uniform for part in parts) else None


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
        stack = measured(part)
        places = stack.projections
        for known, timepoints in volumes:
            if len(known) == len(places) and np.max(np.abs(known - places)) <= stack.same_place:
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
    stack = measured(frames)
    places: list[list[Frame]] = [[] for _ in range(stack.places)]
    numbers = geometry.place_numbers(stack.projections, stack.same_place)
    for number, i in zip(numbers, stack.order, strict=True):
        places[number].append(frames[i])
    for place in places:
        place.sort(key=lambda frame: frame.sort_key)
    ranks = [[place[r] for place in places if len(place) > r] for r in range(max(len(place) for place in places))]
    complete = sum(len(rank) == len(places) for rank in ranks)
    ordered = all(_ascending(place) for place in places)
    if ordered and (complete > 1 or len(ranks[1]) >= len(places) / 2):
        return _by_places(ranks, "repetition")
    kept = [min(place, key=lambda frame: (frame.row["pixel_length"] is None, frame.sort_key)) for place in places]
    chosen = {id(frame) for frame in kept}  # of copies the one that needs no decoder
    aside = [frame for rank in ranks for frame in rank if id(frame) not in chosen]
    return [Group([kept], set_aside=[(frame, "duplicate", "same_position") for frame in aside])]


def _ascending(place: list[Frame]) -> bool:
    """Tell whether InstanceNumber, or the frame number within one object, orders the frames of a place."""
    numbers = [(frame.row["InstanceNumber"], frame.number) for frame in place]
    if any(instance is None for instance, _ in numbers) and len({id(frame.row) for frame in place}) > 1:
        return False
    return len(set(numbers)) == len(numbers)


def _unmix(frames: list[Frame]) -> list[Group]:
    """Part a stack of unequal gaps where an attribute shows two stacks that run through each other.

    They may have holes where the whole could not be one stack with holes.
    """
    holes = measured(frames).missing == 0
    for name in (*CONTRAST, *TIME):
        parts = _partition(frames, name)
        if len(parts) < 2 or min(len(part) for part in parts) < _LEAST_STACK:
            continue
        stacks = [measured(part) for part in parts]
        good = all(stack.unique and (stack.uniform or (holes and stack.missing)) for stack in stacks)
        if good and _interleaved(parts):
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
