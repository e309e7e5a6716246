"""What a header must have: one that lacks it may have been read by half, so it is read a second time, by pydicom."""

from __future__ import annotations

from pydicom import uid

from cohort.readers.base import Row
from cohort.readers.dicom_elements import FLOAT_PIXELS

_INSTANCE = ("SOPClassUID", "SOPInstanceUID")
_SERIES = (*_INSTANCE, "StudyInstanceUID", "SeriesInstanceUID")
_ALL = (*_SERIES, "Modality")  # General Series Module (PS3.3 section C.7.3.1)
_SECONDARY_CAPTURES = (  # Modality is optional (PS3.3 section C.8.6.1)
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
_WITHOUT_SERIES = (  # of no patient (PS3.3 section A.1.2, table A.1-1)
    uid.HangingProtocolStorage,
    uid.ColorPaletteStorage,
    uid.GenericImplantTemplateStorage,
    uid.ImplantAssemblyTemplateStorage,
    uid.ImplantTemplateGroupStorage,
    uid.CTDefinedProcedureProtocolStorage,
    uid.XADefinedProcedureProtocolStorage,
    uid.ProtocolApprovalStorage,
    uid.InventoryStorage,
)
_OF_CLASS = {str(sop_class): _SERIES for sop_class in _SECONDARY_CAPTURES} | {
    str(sop_class): _INSTANCE for sop_class in _WITHOUT_SERIES
}
_OF_PIXELS = ("Rows", "Columns", "BitsAllocated")


def is_whole(row: Row, pixels: int | None) -> bool:
    """Tell whether a header has what its SOP class requires.

    Parameters
    ----------
    row : Row
        Its columns.
    pixels : int or None
        Tag of the pixel values, where there are any.
    """
    for name in _OF_CLASS.get(row.get("SOPClassUID") or "", _ALL):
        if not row.get(name):
            return False
    if pixels is None:
        return True
    for name in _OF_PIXELS:
        if row.get(name) is None:
            return False
    return pixels in FLOAT_PIXELS or row.get("PixelRepresentation") is not None
