"""NIfTI headers: fields as they are stored, and what they mean for Modality.

The 348 or 540 bytes are read by nibabel's header classes without nibabel's repairs: what is wrong stays visible.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import nibabel
from nibabel.nifti1 import Nifti1Header, data_type_codes
from nibabel.nifti2 import Nifti2Header

from cohort.errors import RejectedError
from cohort.readers.base import Row, is_gzip, key_of_bytes
from cohort.readers.nifti_texts import extensions, header_texts, sidecar_texts
from cohort.schema import Status

if TYPE_CHECKING:
    from cohort.readers.base import Neighbour

PARSER = f"nibabel {nibabel.__version__}"

_V1_BYTES, _V2_BYTES = 348, 540
_V1_MAGIC = (b"n+1\0", b"ni1\0")
_V2_MAGIC = (b"n+2\0\r\n\x1a\n", b"ni2\0\r\n\x1a\n")
_LARGEST_RATIO = 1032  # of deflate: two bits stand for 258 bytes at most
_LARGEST = 2**53  # beyond it floats skip whole numbers
_SOME_MACHINES = (1536, 2048)  # float128 and complex256: NumPy has them on few, and the result must not depend on it
_SIDECAR_LIMIT = 1 << 20  # a longer one is not a sidecar

# Suffix of a BIDS name -> Modality, as DICOM codes it (BIDS 1.10, entity table; derivatives for masks).
_BIDS_MODALITY = {
    "MR": (
        "T1w T2w T2star T2starw FLAIR FLASH PD PDw PDT2 PDT2w inplaneT1 inplaneT2 angio defacemask UNIT1 T1map T2map "
        "R1map R2map R2starmap T2starmap PDmap MTRmap MTsat MP2RAGE MPM MTS MTR MEGRE MESE IRT1 VFA bold cbv sbref "
        "phase dwi asl m0scan phasediff phase1 phase2 magnitude magnitude1 magnitude2 fieldmap epi TB1map TB1EPI "
        "TB1AFI TB1TFL TB1RFM TB1DAM RB1map RB1COR Chimap S0map M0map svs mrsi"
    ),
    "PT": "pet",
    "CT": "ct CT",
    "SEG": "mask dseg probseg label",
}
_BY_SUFFIX = {suffix: modality for modality, suffixes in _BIDS_MODALITY.items() for suffix in suffixes.split()}
_INTENT_LABEL = 1002  # NIFTI_INTENT_LABEL: "the value at each voxel is an index into a set of labels" (nifti1.h)
_BIDS_NAME = re.compile(r"^sub-[0-9A-Za-z]+(?:_[0-9A-Za-z]+-[0-9A-Za-z+]+)*_(?P<suffix>[0-9A-Za-z]+)$")

# Sidecar key -> column, factor. BIDS gives times in seconds, DICOM in milliseconds.
_SIDECAR: dict[str, tuple[str, float | None]] = {
    "Manufacturer": ("Manufacturer", None),
    "ManufacturersModelName": ("ManufacturerModelName", None),
    "BodyPartExamined": ("BodyPartExamined", None),
    "BodyPart": ("BodyPartExamined", None),
    "SeriesDescription": ("SeriesDescription", None),
    "ProtocolName": ("ProtocolName", None),
    "PatientSex": ("PatientSex", None),
    "MRAcquisitionType": ("MRAcquisitionType", None),
    "PatientPosition": ("PatientPosition", None),
    "MagneticFieldStrength": ("MagneticFieldStrength", 1.0),
    "EchoTime": ("EchoTime", 1000.0),
    "RepetitionTime": ("RepetitionTime", 1000.0),
    "InversionTime": ("InversionTime", 1000.0),
    "FlipAngle": ("FlipAngle", 1.0),
    "SliceThickness": ("SliceThickness", 1.0),
    "SpacingBetweenSlices": ("SpacingBetweenSlices", 1.0),
    "SeriesNumber": ("SeriesNumber", 1.0),
}


def looks_like_nifti(head: bytes) -> bool:
    """Tell by the magic whether bytes begin a NIfTI-1 or NIfTI-2 header."""
    return head[344:348] in _V1_MAGIC or head[4:12] in _V2_MAGIC


def is_pair_data(name: str, neighbour: Neighbour) -> bool:
    """Tell whether an object is the `.img` of a NIfTI pair: its `.hdr` lies beside it."""
    lower = name.lower()
    if not lower.endswith((".img", ".img.gz")):
        return False
    stem = name[: lower.rindex(".img")]
    return any(looks_like_nifti(neighbour(stem + end, _V2_BYTES) or b"") for end in (".hdr", ".HDR"))


def read_header(file: BinaryIO, size: int, name: str, head: bytes, inner: bytes, neighbour: Neighbour) -> Row:
    """Read one NIfTI header.

    Parameters
    ----------
    file : BinaryIO
        The object; left open.
    size : int
        Its size in bytes.
    name : str
        Its path: BIDS suffix, and the names of sidecar and `.img`.
    head, inner : bytes
        Its first bytes as stored, and inflated where it is gzipped.
    neighbour : Neighbour
        Reads the object beside this one that has the name given.

    Returns
    -------
    Row
        Columns of `files`.

    Raises
    ------
    RejectedError
        If the header is cut short.
    """
    version = 2 if inner[4:12] in _V2_MAGIC else 1
    length = _V2_BYTES if version == 2 else _V1_BYTES
    if len(inner) < length:
        raise RejectedError("truncated_header")
    header, big_endian = _parse(inner[:length], version)
    row = _fields(header, version, big_endian)
    key = key_of_bytes(file, size, head)
    row |= {"format": "nifti", "parser": PARSER, "is_image": True, "instance_key": key, "series_key": key}
    row |= header_texts(header) | extensions(file, head, inner, length, row)
    row |= _from_sidecar(name, row["nifti_intent_code"], neighbour)
    row["status"], row["reason"] = _judge(row, size, is_gzip(head), name, neighbour)
    return row


def _parse(block: bytes, version: int) -> tuple[Any, bool]:
    kind = Nifti2Header if version == 2 else Nifti1Header
    try:
        header = kind(block, check=False)
    except Exception as error:
        raise RejectedError(f"unparsable_header: {type(error).__name__}") from None
    return header, header.endianness == ">"


def _fields(header: Any, version: int, big_endian: bool) -> Row:
    def floats(*names: str) -> list[float]:
        return [float(number) for name in names for number in header[name].ravel()]

    return {
        "nifti_version": version,
        "nifti_magic": header["magic"].item()[:3].decode("ascii", "replace"),
        "nifti_big_endian": big_endian,
        "nifti_dim": [int(number) for number in header["dim"]],
        "nifti_pixdim": floats("pixdim"),
        "nifti_datatype": int(header["datatype"]),
        "nifti_bitpix": int(header["bitpix"]),
        "nifti_vox_offset": float(header["vox_offset"]),
        "nifti_scl_slope": float(header["scl_slope"]),
        "nifti_scl_inter": float(header["scl_inter"]),
        "nifti_xyzt_units": int(header["xyzt_units"]),
        "nifti_qform_code": int(header["qform_code"]),
        "nifti_sform_code": int(header["sform_code"]),
        "nifti_quatern": floats("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
        "nifti_srow": floats("srow_x", "srow_y", "srow_z"),
        "nifti_intent_code": int(header["intent_code"]),
    }


def _judge(row: Row, size: int, gzipped: bool, name: str, neighbour: Neighbour) -> tuple[Status, str | None]:
    """Compare what the header promises with the bytes there are, without reading them."""
    dim = row["nifti_dim"]
    if dim[0] < 1 or any(number < 1 for number in dim[1 : dim[0] + 1]):  # above 7 there are no more to be read
        return Status.REJECTED, "bad_dimensions"
    item = item_bytes(row["nifti_datatype"])
    if item is None:
        return Status.REJECTED, "unknown_datatype"
    offset = row["nifti_vox_offset"]
    if not math.isfinite(offset) or offset < 0 or offset != int(offset):
        return Status.REJECTED, "bad_vox_offset"
    values = math.prod(dim[1 : dim[0] + 1]) * item
    if row["nifti_magic"].startswith("ni"):
        return _judge_pair(name, neighbour)
    least = _V2_BYTES if row["nifti_version"] == 2 else _V1_BYTES
    start = max(int(offset), least + 4)  # four bytes of extension flag follow the header
    if start + values > size * (_LARGEST_RATIO if gzipped else 1):
        return Status.REJECTED, "truncated_pixels"
    if gzipped:
        return Status.OK, None
    row["pixel_offset"], row["pixel_length"] = start, values
    return Status.OK, None


def _judge_pair(name: str, neighbour: Neighbour) -> tuple[Status, str | None]:
    names = pair_names(name)
    if any(neighbour(candidate, 1) is not None for candidate in names):
        return Status.OK, None
    return Status.REJECTED, "missing_img"


def pair_names(name: str) -> list[str]:
    """Return the names that the values of a `.hdr` may have, likeliest first."""
    stem = name[: name.lower().rindex(".hdr")] if ".hdr" in name.lower() else name
    return [stem + end for end in (".img", ".img.gz", ".IMG")]


def item_bytes(datatype: int) -> int | None:
    """Return the bytes of one value of a NIfTI datatype code, None for a code that has no type everywhere."""
    if datatype in _SOME_MACHINES:
        return None
    try:
        size = int(data_type_codes.dtype[datatype].itemsize)
    except KeyError:
        return None
    return size or None


def type_of(datatype: int) -> tuple[str, int]:
    """Return the NumPy name of the stored numbers of a datatype code, and how many make one voxel."""
    dtype = data_type_codes.dtype[datatype]
    if dtype.fields:
        return str(dtype[0]), len(dtype.fields)
    if dtype.kind == "c":
        return f"float{dtype.itemsize * 4}", 2
    return str(dtype), 1


def _from_sidecar(name: str, intent: int, neighbour: Neighbour) -> Row:
    """Take Modality from the BIDS suffix, the intent of the header or the sidecar; further columns from the sidecar."""
    stem = _stem(name)
    row: Row = {}
    data = _json(neighbour(stem + ".json", _SIDECAR_LIMIT))
    for key, (column, factor) in _SIDECAR.items():
        value = data.get(key)
        if factor is None and isinstance(value, str):
            row[column] = _clean(value)
        elif factor is not None and (number := _number(value)) is not None:
            row[column] = int(number) if column == "SeriesNumber" else number * factor
    match = _BIDS_NAME.match(stem.rsplit("/", 1)[-1])
    told = data.get("Modality")
    sources = {
        "bids_suffix": _BY_SUFFIX.get(match["suffix"]) if match else None,
        "intent_code": "SEG" if intent == _INTENT_LABEL else None,
        "sidecar": _clean(told).strip().upper() if isinstance(told, str) else None,
    }
    source = next((source for source, modality in sources.items() if modality), None)
    row |= sidecar_texts(data)
    return row | {"Modality": sources[source] if source else None, "modality_source": source}


def _number(value: Any) -> float | None:
    """Return a number of a sidecar that a table can hold, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < _LARGEST:
        return None
    return float(value)


def _clean(text: str) -> str:
    """Return text without the halves of surrogate pairs that JSON may spell."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _stem(name: str) -> str:
    lower = name.lower()
    for end in (".nii.gz", ".hdr.gz", ".nii", ".hdr"):
        if lower.endswith(end):
            return name[: -len(end)]
    return name


def _json(block: bytes | None) -> dict[str, Any]:
    if block is None:
        return {}
    try:
        data = json.loads(block)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
