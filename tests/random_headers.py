"""Well-formed DICOM objects at random, by seed: whatever elements the dictionary knows, written by pydicom."""

from __future__ import annotations

import io
import random
import re
import struct
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pydicom
from pydicom.datadict import DicomDictionary, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from cohort.schema import DICOM_COLUMNS

_SYNTAXES = (
    [ExplicitVRLittleEndian] * 6
    + [ImplicitVRLittleEndian] * 6
    + [ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless]
)
_ENCAPSULATED = (JPEG2000Lossless, JPEGBaseline8Bit, RLELossless)
_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "CR": "1.2.840.10008.5.1.4.1.1.1",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",
    "RTDOSE": "1.2.840.10008.5.1.4.1.1.481.2",
}
_KEYS = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_WORDS = {
    "": ["PLAIN", "head  first", "x", "29\\LX", "a^b=c", "3.5 T"],
    "ISO_IR 100": ["Größe", "señal", "PLAIN"],
    "ISO_IR 192": ["Größe 胸部", "мозг", "PLAIN", "🩻"],
    "ISO_IR 144": ["мозг", "PLAIN"],
    "ISO_IR 126": ["κεφαλή", "PLAIN"],
    "ISO_IR 166": ["สมอง", "PLAIN"],
    "GB18030": ["胸部", "PLAIN"],
    "\\ISO 2022 IR 87": ["胸部", "PLAIN"],
    "\\ISO 2022 IR 149": ["김희중", "PLAIN"],
}
_PAIRS = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}
_BYTES = {"OB": 2, "OW": 2, "UN": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
_FRAME_GROUPS = {
    "PlanePositionSequence": ["ImagePositionPatient"],
    "PlaneOrientationSequence": ["ImageOrientationPatient"],
    "PixelMeasuresSequence": ["PixelSpacing", "SliceThickness", "SpacingBetweenSlices"],
    "PixelValueTransformationSequence": ["RescaleSlope", "RescaleIntercept", "RescaleType"],
    "FrameContentSequence": ["StackID", "InStackPositionNumber", "TemporalPositionIndex", "DimensionIndexValues"],
    "MREchoSequence": ["EffectiveEchoTime"],
    "MRDiffusionSequence": ["DiffusionBValue", "DiffusionDirectionality"],
    "MRImageFrameTypeSequence": ["FrameType"],
    "CardiacSynchronizationSequence": ["NominalCardiacTriggerDelayTime"],
    "SegmentIdentificationSequence": ["ReferencedSegmentNumber"],
    "FrameAnatomySequence": ["FrameLaterality"],
}
_ITEMS = {
    "RadiopharmaceuticalInformationSequence": [
        "RadiopharmaceuticalStartTime",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadiopharmaceuticalStartDateTime",
    ],
    "ModalityLUTSequence": ["ModalityLUTType"],
    "RealWorldValueMappingSequence": ["LUTLabel"],
}
_LENGTHS = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
_PLAIN_GROUPS = range(0x0008, 0x0100)
_POOL = [
    tag
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
    if keyword
    and "LUTDescriptor" not in keyword.replace("LookupTable", "LUT")
    and (tag >> 16 in _PLAIN_GROUPS or tag >> 16 in (0x3002, 0x3004, 0x3006, 0x300A))
    and vr != "NONE"
]
_COLUMNS = [tag for tag in (tag_for_keyword(column.name) for column in DICOM_COLUMNS) if tag is not None]
_CHARSET = 0x00080005


def random_object(seed: int) -> bytes:
    """A whole object that depends on the seed alone."""
    chance = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the writer has doubts about some values
        return _written(chance, _Writer(chance).dataset())


def _written(chance: random.Random, dataset: Dataset) -> bytes:
    meta = dataset.file_meta
    file = io.BytesIO()
    if chance.random() < 0.03 and meta.TransferSyntaxUID in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        implicit = meta.TransferSyntaxUID == ImplicitVRLittleEndian
        del dataset.file_meta  # as it came from a network
        pydicom.dcmwrite(file, dataset, implicit_vr=implicit, little_endian=True)
    else:
        pydicom.dcmwrite(file, dataset, enforce_file_format=True)
    return file.getvalue()


class _Writer:
    """Makes up the elements of one object."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.syntax = chance.choice(_SYNTAXES)
        self.charset = chance.choice([*_WORDS, *["", "ISO_IR 100", "ISO_IR 192"] * 6])
        self.modality = chance.choice(list(_CLASSES))

    def dataset(self) -> Dataset:
        chance, dataset = self.chance, Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = self.syntax
        dataset.file_meta.MediaStorageSOPClassUID = _CLASSES[self.modality]
        dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        if self.charset or chance.random() < 0.2:
            dataset.SpecificCharacterSet = self.charset.split("\\")
        likely = chance.choice((0.3, 0.6, 0.95))
        for tag in _COLUMNS:
            if chance.random() < likely and tag != _CHARSET:
                self.add(dataset, tag)
        for tag in chance.sample(_POOL, chance.choice((0, 10, 60))):
            if tag not in dataset and tag != _CHARSET:
                self.add(dataset, tag)
        for _ in range(chance.choice((0, 0, 1, 3))):
            self.add_private(dataset)
        self.add_keys(dataset)
        if self.modality != "SR":
            self.add_image(dataset)
        return dataset

    def add_keys(self, dataset: Dataset) -> None:
        """Add what every object has; a few lack some of it."""
        dataset.SOPClassUID, dataset.Modality = _CLASSES[self.modality], self.modality
        for name in _KEYS:
            setattr(dataset, name, self.uid())
        if self.chance.random() < 0.04:
            del dataset[self.chance.choice((*_KEYS, "Modality", "SOPClassUID"))]

    def add_image(self, dataset: Dataset) -> None:
        """Add pixels, and the elements that describe them."""
        chance, bits = self.chance, self.chance.choice((8, 16))
        frames = chance.choice((1, 1, 1, 2, 5))
        dataset.Rows, dataset.Columns = chance.randint(1, 5), chance.randint(1, 5)
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
        dataset.PixelRepresentation, dataset.SamplesPerPixel = chance.choice((0, 1)), 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.NumberOfFrames = frames
        if frames == 1 and chance.random() < 0.7:
            del dataset.NumberOfFrames
        if frames > 1 or chance.random() < 0.1:
            self.add_groups(dataset, frames)
        if self.modality == "US" or chance.random() < 0.05:
            self.add_regions(dataset)
        for sequence, names in _ITEMS.items():
            if chance.random() < (0.9 if self.modality == "PT" and len(names) > 1 else 0.1):
                items = [self.macro(names) for _ in range(chance.choice((0, 1, 1, 1, 2)))]
                self.set_sequence(dataset, sequence, items)
        length = dataset.Rows * dataset.Columns * frames * bits // 8
        if chance.random() < 0.03:
            return  # stripped
        if self.syntax in _ENCAPSULATED:
            dataset.PixelData = encapsulate([chance.randbytes(20) for _ in range(frames)])
            dataset["PixelData"].VR = "OB"
            dataset["PixelData"].is_undefined_length = True
        else:
            dataset.PixelData = bytes(length + length % 2)
            dataset["PixelData"].VR = "OW" if bits == 16 else "OB"

    def add(self, dataset: Dataset, tag: int, depth: int = 0) -> None:
        """Add an element of the dictionary, with as many values as it may have, or empty."""
        vr, multiplicity = DicomDictionary[tag][:2]
        if vr == "SQ":
            if depth < 3:
                items = [self.item(depth + 1) for _ in range(self.chance.choice((0, 1, 1, 2, 4)))]
                self.set_sequence(dataset, tag, items)
            return
        vr = self.chance.choice(vr.split(" or "))
        if self.chance.random() < 0.12:
            dataset.add_new(tag, vr, None)
        elif vr in ("DS", "IS", "CS", "LO", "SH", "UI", "DA", "TM", "ST") and self.chance.random() < 0.15:
            self.set_raw(dataset, tag, vr)
        else:
            dataset.add_new(tag, vr, self.value(vr, self.count(multiplicity)))

    def add_private(self, dataset: Dataset) -> None:
        group = self.chance.choice((0x0009, 0x0019, 0x0029, 0x2001, 0x7053))
        block = dataset.private_block(group, f"RANDOM {self.chance.randrange(3)}", create=True)
        for offset in self.chance.sample(range(1, 256), self.chance.randint(1, 12)):
            vr = self.chance.choice(["LO", "DS", "IS", "OB", "UN", "FD", "US", "SQ", "UT", "CS"])
            if vr == "SQ":
                self.set_sequence(dataset, block.get_tag(offset), [self.item(2) for _ in range(2)])
            else:
                block.add_new(offset, vr, self.value(vr, 1))

    def item(self, depth: int) -> Dataset:
        item = Dataset()
        for tag in self.chance.sample(_POOL, self.chance.randint(0, 6)):
            self.add(item, tag, depth)
        if self.chance.random() < 0.2:  # the same keyword as above, with another value
            self.add(item, self.chance.choice(_COLUMNS), depth)
        item.pop(_CHARSET, None)
        if self.chance.random() < 0.05:
            item.SpecificCharacterSet = "ISO_IR 100"
        return item

    def add_groups(self, dataset: Dataset, frames: int) -> None:
        """Add functional groups: some macros are shared, some are in every frame, some frames lack them."""
        shared, per_frame = Dataset(), [Dataset() for _ in range(frames)]
        for sequence, names in _FRAME_GROUPS.items():
            kind = self.chance.choice(("shared", "frames", "same", "some", "both", "none"))
            if kind in ("shared", "both"):
                self.set_sequence(shared, sequence, [self.macro(names)])
            same = self.macro(names)
            for group in per_frame:
                if kind in ("frames", "both") or (kind == "some" and self.chance.random() < 0.5):
                    self.set_sequence(group, sequence, [self.macro(names)])
                elif kind == "same":
                    self.set_sequence(group, sequence, [same])
        if self.chance.random() < 0.9:
            self.set_sequence(dataset, "SharedFunctionalGroupsSequence", [shared])
        self.set_sequence(dataset, "PerFrameFunctionalGroupsSequence", per_frame)

    def macro(self, names: list[str]) -> Dataset:
        item = Dataset()
        for name in names:
            if self.chance.random() < 0.9:
                tag = tag_for_keyword(name)
                assert tag is not None
                vr, multiplicity = DicomDictionary[tag][:2]
                item.add_new(tag, vr, self.value(vr, _LENGTHS.get(name) or int(multiplicity[0])))
        return item

    def add_regions(self, dataset: Dataset) -> None:
        regions = []
        for _ in range(self.chance.randint(1, 3)):
            region = Dataset()
            region.RegionSpatialFormat = self.chance.choice((1, 1, 2))
            region.PhysicalUnitsXDirection = self.chance.choice((3, 3, 4))
            region.PhysicalUnitsYDirection = self.chance.choice((3, 3, 4))
            region.PhysicalDeltaX = self.chance.uniform(-0.1, 0.1)
            region.PhysicalDeltaY = self.chance.uniform(-0.1, 0.1)
            regions.append(region)
        self.set_sequence(dataset, "SequenceOfUltrasoundRegions", regions)

    def set_sequence(self, dataset: Dataset, key: str | int, items: list[Dataset]) -> None:
        """Set a sequence whose length, and the lengths of whose items, are defined or not."""
        dataset.add_new(key if isinstance(key, int) else Tag(key), "SQ", Sequence(items))
        dataset[key].is_undefined_length = self.chance.random() < 0.5
        for item in items:
            item.is_undefined_length_sequence_item = self.chance.random() < 0.5

    def set_raw(self, dataset: Dataset, tag: int, vr: str) -> None:
        """Set text padded as some writers do it, which the rules allow or readers forgive."""
        text = str(self.value(vr, 1)).encode("latin-1", "replace")
        before, after = self.chance.choice(((b"", b" "), (b"", b"\0"), (b" ", b""), (b"  ", b"  "), (b"", b" \0")))
        if vr in ("UI", "DA", "TM"):
            before, after = b"", b"\0"
        raw = before + text + after
        raw += b" " * (len(raw) % 2)
        little = self.syntax != ExplicitVRBigEndian
        implicit = self.syntax == ImplicitVRLittleEndian
        dataset[tag] = RawDataElement(Tag(tag), vr, len(raw), raw, 0, implicit, little)

    def count(self, multiplicity: str) -> int:
        """How many values: one that the dictionary allows, rarely one too many."""
        low, high, step = re.fullmatch(r"(\d+)(?:-(\d*)(n)?)?", multiplicity).groups()  # type: ignore[union-attr]
        count = int(low)
        if step:
            count *= self.chance.choice((1, 1, 2, 3))
        elif high:
            count = self.chance.randint(count, int(high))
        return count + 1 if self.chance.random() < 0.001 else count

    def value(self, vr: str, count: int) -> Any:
        if vr in _BYTES:
            return self.chance.randbytes(_BYTES[vr] * self.chance.randint(0, 5))
        one = self.single(vr)
        return one() if count == 1 or vr in ("LT", "ST", "UT", "UR") else [one() for _ in range(count)]

    def single(self, vr: str) -> Callable[[], Any]:
        chance = self.chance
        if vr in _PAIRS:
            return partial(self.number, vr)
        makers: dict[str, Callable[[], Any]] = {
            "AE": lambda: chance.choice(("STATION", "AE 1")),
            "AS": lambda: f"{chance.randrange(1000):03d}{chance.choice('DWMY')}",
            "AT": lambda: Tag(chance.choice(_POOL)),
            "CS": lambda: chance.choice(("ORIGINAL", "PRIMARY", "AXIAL", "M", "YES", "A_B 1")),
            "DA": lambda: f"{chance.randint(1900, 2030)}{chance.randint(1, 12):02d}{chance.randint(1, 28):02d}",
            "DT": lambda: f"202403{chance.randint(1, 28):02d}1015{chance.choice(('', '00', '00.25', '+0100'))}",
            "TM": lambda: f"{chance.randrange(24):02d}{chance.choice(('', '15', '1530', '1530.125'))}",
            "DS": lambda: chance.choice(
                ("0", "-1.5", "2.50", "1e-3", "+7", "0.7421875", f"{chance.gauss(0, 100):.6f}")
            ),
            "IS": lambda: chance.choice(("0", "-3", "+12", str(chance.randrange(10**6)))),
            "PN": lambda: "PHANTOM^" + chance.choice(("A", "B")),
            "UI": self.uid,
            "UR": lambda: "https://example.org/a b".replace(" ", "%20"),
        }
        return makers.get(vr, self.text)

    def number(self, vr: str) -> Any:
        if vr in ("FL", "FD"):
            number = self.chance.choice((0.0, -1.5, self.chance.gauss(0, 1e3), float("inf"), float("nan"), 1e-30))
            return struct.unpack("<" + _PAIRS[vr], struct.pack("<" + _PAIRS[vr], number))[0]
        bits = 8 * struct.calcsize("<" + _PAIRS[vr])
        number = self.chance.choice((0, 1, 255, self.chance.getrandbits(bits), 2**bits - 1))
        return number - 2 ** (bits - 1) if vr.startswith("S") else number

    def text(self) -> str:
        return self.chance.choice(_WORDS[self.charset]).replace("\\", "/")

    def uid(self) -> str:
        return f"1.2.{self.chance.randrange(10**6)}.{self.chance.randrange(10**9)}"


def described(data: bytes) -> str:
    """The elements of an object, to look at."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    return "\n".join(f"{element.tag} {element.VR} {keyword_for_tag(element.tag)}" for element in dataset)
