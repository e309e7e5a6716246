"""One of two runs as a comparison sees it: volumes and series with their run-local numbers."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from cohort.reductions.grouping import UNKNOWN
from cohort.report import names, safe, vocabulary
from cohort.schema import KEY_ATTRIBUTES

if TYPE_CHECKING:
    import pandas as pd

    from cohort.store import RunFolder

MEASURES = {
    "spacing_row_mm": "mm", "spacing_col_mm": "mm", "spacing_slice_mm": "mm", "slice_thickness_mm": "mm",
    "rows": "pixels", "columns": "pixels", "slices": "slices", "timepoints": "time points",
    "obliquity_degrees": "degrees", "MagneticFieldStrength": "T", "KVP": "kV", "EchoTime": "ms",
    "RepetitionTime": "ms", "InversionTime": "ms", "FlipAngle": "degrees", "BitsStored": "bits", "PatientAge": "years",
}  # fmt: skip
"""Numbers of a volume that are compared, with their units; those of headers are the consensus of the series."""

CATEGORIES = (
    "Manufacturer", "ManufacturerModelName", "ConvolutionKernel", "BodyPartExamined", "PatientSex",
    "PhotometricInterpretation", "TransferSyntaxUID", "LossyImageCompression", "dtype", "regularly_spaced_3d_volume",
)  # fmt: skip
"""Words of a volume that are compared, by their shares alone."""


class Side:
    """A run to be compared.

    Parameters
    ----------
    run : RunFolder
        A run whose volumes are assembled.
    """

    def __init__(self, run: RunFolder) -> None:
        run.check_opened()
        run.committed("assemble")
        self.run = run
        self.safe = safe.SafeRun(run)

    @cached_property
    def series(self) -> pd.DataFrame:
        """One row per series, by its key: identities as they are, key attributes, and run-local numbers."""
        columns = ["series_key", "PatientID", "StudyInstanceUID", "n_files", "n_images", *KEY_ATTRIBUTES]
        frame: pd.DataFrame = self.run.read("series", columns).to_pandas()
        numbers = self.safe.read("series", numbers=["series_key", "PatientID", "StudyInstanceUID"])
        for name, prefix in (("series_key", "S"), ("PatientID", "P"), ("StudyInstanceUID", "T")):
            frame[f"local_{prefix}"] = [_local(prefix, number) for number in numbers[name].to_pylist()]
        return frame.set_index("series_key", drop=False)

    @cached_property
    def volumes(self) -> pd.DataFrame:
        """One row per volume: its group, its patient, what is compared, its digest and run-local number."""
        own = [name for name in (*MEASURES, *CATEGORIES) if name not in KEY_ATTRIBUTES]
        table = self.run.read("volumes", ["volume_id", "series_key", "Modality", "content_sha256", *own])
        frame: pd.DataFrame = table.to_pandas()
        frame["group"] = frame["Modality"].map(group_label)
        numbers = self.safe.read("volumes", numbers=["volume_id"])["volume_id"].to_pylist()
        frame["local_V"] = [_local("V", number) for number in numbers]
        of_series = self.series[[name for name in (*MEASURES, *CATEGORIES) if name in KEY_ATTRIBUTES]]
        frame = frame.join(of_series, on="series_key")
        frame["PatientAge"] = frame["PatientAge"].map(
            lambda age: safe.age_in_years(age if isinstance(age, str) else None)
        )
        frame["patient"] = self.patient_of(frame["series_key"])
        return frame

    def patient_of(self, keys: pd.Series[Any]) -> pd.Series[Any]:
        """Return the patient of each series; one without an identity stands for itself."""
        identity = self.series["PatientID"].where(self.series["PatientID"].fillna("").str.strip() != "")
        return keys.map(identity.fillna(self.series["series_key"])).fillna(keys)

    @property
    def has_pixels(self) -> bool:
        """Tell whether pixels were read."""
        return self.run.has("partials")


def _local(prefix: str, number: int | None) -> str | None:
    return None if number is None else names.local(prefix, number)


def group_label(modality: object) -> str:
    """Return the name of the group of a Modality: itself where it is a known one."""
    if not isinstance(modality, str) or modality in ("", UNKNOWN):
        return names.NOT_GIVEN
    return modality if vocabulary.is_known("Modality", modality) else vocabulary.OTHER
