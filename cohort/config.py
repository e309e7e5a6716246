"""Options of each stage: the only place where defaults live.

A YAML file has the same names: one section per stage, and `modality` beside them. Unknown keys are refused.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args, get_type_hints

from cohort.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MIB = 1024 * 1024

_LIBRARIES_MIB = 400  # a worker that has imported everything, and one part of a table


@dataclass(frozen=True)
class ScanOptions:
    """How the source is listed and headers are read.

    Parameters
    ----------
    shard_size : int
        Objects per unit of work. The first shards are smaller, so that a small cohort occupies all workers.
    follow_links : bool
        Follow links to directories. Links to files are always read.
    include, exclude : tuple of str
        Globs on the path below the root. Objects that match no `include` (if any) or some `exclude` are not listed.
    gzip_limit_mib : int
        Largest size to which a gzipped or deflated DICOM object is inflated; most that a gzipped NIfTI image may
        hold behind its values.
    header_limit_mib : int
        Most of one DICOM header that is held in memory, where it is compressed or odd.
    element_limit : int
        Most elements and items of one DICOM header that pydicom is asked to read: what is odd, or big endian.
    extra_tags : tuple of str
        Further attributes of DICOM objects that become columns of `files/`: keywords, or `gggg,eeee` in hexadecimal.
        Only the top level of an object is looked at.
    all_headers : bool
        Keep every DICOM header as a whole too, as DICOM JSON in the column `header_json`; pydicom reads them, slowly.
    archives : bool
        Look into zip and tar archives; their members are objects too.
    archive_members : int
        Most members of one archive; one with more is refused as a whole.
    archive_member_mib : int
        Largest unpacked size of a member; a larger member is refused, the others stay.
    archive_ratio : int
        Most that an archive may unpack to, in multiples of its own size; above 1 GiB. Deflate reaches 1,032,
        LZMA about 7,000; beyond are bzip2 over nothing but zeros, and bombs.
    """

    shard_size: int = 2000
    follow_links: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    gzip_limit_mib: int = 1024
    header_limit_mib: int = 64
    element_limit: int = 150_000
    extra_tags: tuple[str, ...] = ()
    all_headers: bool = False
    archives: bool = True
    archive_members: int = 2_000_000
    archive_member_mib: int = 65_536
    archive_ratio: int = 10_000


@dataclass(frozen=True)
class AssembleOptions:
    """How frames are put together to volumes.

    Parameters
    ----------
    bucket_rows : int
        Images per unit of work; series are kept whole.
    """

    bucket_rows: int = 20_000


@dataclass(frozen=True)
class IngestOptions:
    """How pixels go into Zarr.

    Parameters
    ----------
    pixels : bool
        Read pixels at all. Without, the run ends after `assemble` and still reports.
    chunk_mib : float
        Aim for the size of a chunk, whole slices, before compression.
    shard_mib : float or None
        Pack chunks into files of so much, before compression: fewer objects, of which chunks can still be read one by
        one. A task holds a shard in memory. None: each chunk is a file.
    batch_mib : float
        Pixels per unit of work.
    compression : str
        `zstd`; or `lz4`, which reads two to three times as fast and takes 4 to 9 % more room, of colour 60 %.
    compression_level : int
        Level of either, 1 to 9, after bit shuffling. Every chunk carries a CRC-32C.
    frame_limit_mib : int
        Largest decoded frame of a DICOM object; a larger one is refused before it is decoded.
    volume_limit_mib : int
        Largest volume, decoded; a larger one is refused before it is read.
    isolate : bool
        Decode compressed frames in a child process, so that a decoder that crashes, hangs or eats memory costs one
        volume, which is quarantined, and not the run. Linux alone.
    decode_seconds : int
        CPU time that one frame may take there; five times as long by the clock.
    decode_memory_mib : int
        Memory that decoding may take there.
    """

    pixels: bool = True
    chunk_mib: float = 8
    shard_mib: float | None = None
    batch_mib: float = 64
    compression: Literal["zstd", "lz4"] = "zstd"
    compression_level: Literal[1, 2, 3, 4, 5, 6, 7, 8, 9] = 1
    frame_limit_mib: int = 1024
    volume_limit_mib: int = 65_536
    isolate: bool = True
    decode_seconds: int = 60
    decode_memory_mib: int = 4096


@dataclass(frozen=True)
class ReduceOptions:
    """How statistics are merged.

    Parameters
    ----------
    group_by : tuple of str
        Groupings of the stored histograms, beside `Modality`: columns of `series.parquet` or `volumes.parquet`.
    ranges : tuple of str
        Ranges of values, `LOW,HIGH`, both included, of which histograms are stored too.
    foregrounds : tuple of str
        Foregrounds of which histograms are stored too: `otsu`, above Otsu's threshold of the volume, or `>VALUE`.
    labels : bool
        Count the values of images under the labels of their masks, from Zarr.
    """

    group_by: tuple[str, ...] = ()
    ranges: tuple[str, ...] = ()
    foregrounds: tuple[str, ...] = ()
    labels: bool = False


@dataclass(frozen=True)
class CheckOptions:
    """When an observation becomes a finding.

    Parameters
    ----------
    spacing_disagreement_mm : float
        SpacingBetweenSlices and a NIfTI header's pixdim may differ from the measured spacing by this much: scanners
        round to 0.01 mm.
    form_disagreement_mm : float
        sform and qform may place a corner of the image this far apart: float32 headers round to about 0.01 mm.
    age_disagreement_years : float
        PatientAge may miss the time from birth to study by this much: it is often that of the order or of admission.
    hu_range : tuple of float
        Least and largest value of CT in HU that needs no remark: below air with its noise, above bone and most metal.
    hu_range_share : float
        Share of the values that may lie outside: a circle of padding in a square image takes 0.21.
    clipped_share : float
        Share of the values that may be the largest that the bits can hold: metal in a scan stays below.
    outlier_z : float
        Robust deviations from the median of its variant at which a volume is an outlier: of normal values 1 in
        500 million lies beyond 6, of the skewed ones of real cohorts about 1 in 100.
    outlier_group : int
        Fewest volumes of a variant that are compared: of fewer the median absolute deviation is too uncertain.
    rare_variant_share : float
        A variant with at most this share of the series of its modality and body part is rare.
    variant_fields : mapping of str to float
        Key attributes of a series that make its acquisition variant -> by how much numbers of one variant may differ;
        given as a whole. The defaults take in what one protocol does from patient to patient: dose modulation leaves
        KVP alone, times adapt to the heart or to specific absorption, thickness is rounded.
    split_column : str or None
        Column of `files/` that names the split an image is in (train, test...), such as one of `extra_tags`. With it or
        `split_pattern`, what occurs in several splits is found.
    split_pattern : str or None
        Regular expression whose one group names the split in the path below the source, e.g. `^(train|val|test)/`.
    """

    spacing_disagreement_mm: float = 0.01
    form_disagreement_mm: float = 0.1
    age_disagreement_years: float = 1.0
    hu_range: tuple[float, ...] = (-1100.0, 4000.0)
    hu_range_share: float = 0.01
    clipped_share: float = 0.01
    outlier_z: float = 6.0
    outlier_group: int = 20
    rare_variant_share: float = 0.05
    variant_fields: Mapping[str, float] = field(
        default_factory=lambda: {
            "Manufacturer": 0.0,
            "ManufacturerModelName": 0.0,
            "MagneticFieldStrength": 0.05,
            "KVP": 1.0,
            "ConvolutionKernel": 0.0,
            "RepetitionTime": 100.0,
            "EchoTime": 2.0,
            "InversionTime": 50.0,
            "FlipAngle": 5.0,
            "SliceThickness": 0.1,
        }
    )
    split_column: str | None = None
    split_pattern: str | None = None


@dataclass(frozen=True)
class ReportOptions:
    """What the report shows.

    Parameters
    ----------
    title : str
        Heading of the page.
    min_cell : int
        Smaller counts of patients read `<min_cell`.
    thumbnails : bool
        Put pictures of volumes on the page: never of modalities and series that often carry text.
    """

    title: str = "Cohort report"
    min_cell: int = 5
    thumbnails: bool = False


@dataclass(frozen=True)
class SlurmOptions:
    """What a job of SLURM asks for, where `scheduler` is `slurm`.

    Parameters
    ----------
    queue, account : str or None
        Partition and account; None: those of the user.
    walltime : str
        Longest time of a job, `HH:MM:SS`. What it had not finished is done by others, or by the same command again.
    job_workers : int
        Worker processes of a job, one core each.
    memory_gib : int
        Memory of a worker.
    interface : str or None
        Network interface between the nodes, e.g. `ib0`.
    scratch, logs : str or None
        Folder on the nodes for what workers spill; folder for the output of the jobs.
    shared : str or None
        Folder that all nodes see, for the certificates of the run; None: `~/.cohort`.
    directives, prologue : tuple of str
        Further `#SBATCH` options, and shell lines before the worker.
    """

    queue: str | None = None
    account: str | None = None
    walltime: str = "04:00:00"
    job_workers: int = 1
    memory_gib: int = 4
    interface: str | None = None
    scratch: str | None = None
    logs: str | None = None
    shared: str | None = None
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()


@dataclass(frozen=True)
class KubernetesOptions:
    """What the pods are made from, where `scheduler` is `kubernetes`.

    Parameters
    ----------
    image : str or None
        Image with the same cohort as here.
    name, namespace : str
        Of the DaskCluster.
    memory_gib : int
        Memory of a worker; each is a pod of one core.
    volumes : tuple of str
        Claims and where they are mounted, `CLAIM:/PATH` or `CLAIM:/PATH:ro`: the same paths as here.
    secret : str or None
        Secret whose entries become the environment of the workers: credentials of a bucket.
    """

    image: str | None = None
    name: str = "cohort"
    namespace: str = "default"
    memory_gib: int = 4
    volumes: tuple[str, ...] = ()
    secret: str | None = None


@dataclass(frozen=True)
class ClusterOptions:
    """Where the work runs; never changes a result.

    Parameters
    ----------
    scheduler : str or None
        `local`, `threads`, `sync`, `slurm`, `kubernetes` or the address of a Dask scheduler. None: Dask's own
        configuration, else `local`.
    scheduler_file : str or None
        File written by `dask scheduler --scheduler-file`.
    workers : int or None
        Worker processes that are started: local ones, by default one per core that the memory has room for; those of
        SLURM and Kubernetes, which have no default.
    insecure : bool
        Allow plain TCP beyond this machine.
    tls_ca, tls_cert, tls_key : str or None
        Files in PEM for an address `tls://`: the authority that signed both ends, and the certificate and key of this
        end. None: those of Dask's own configuration (`distributed.comm.tls`).
    """

    scheduler: str | None = None
    scheduler_file: str | None = None
    workers: int | None = None
    insecure: bool = False
    tls_ca: str | None = None
    tls_cert: str | None = None
    tls_key: str | None = None
    slurm: SlurmOptions = SlurmOptions()
    kubernetes: KubernetesOptions = KubernetesOptions()


@dataclass(frozen=True)
class Config:
    """All options of a run.

    Parameters
    ----------
    modality : mapping of str to str
        Glob on the path of a NIfTI image -> Modality, where neither BIDS suffix nor sidecar tells; first match wins.
    """

    modality: Mapping[str, str] = field(default_factory=dict)
    scan: ScanOptions = ScanOptions()
    assemble: AssembleOptions = AssembleOptions()
    ingest: IngestOptions = IngestOptions()
    reduce: ReduceOptions = ReduceOptions()
    check: CheckOptions = CheckOptions()
    report: ReportOptions = ReportOptions()
    cluster: ClusterOptions = ClusterOptions()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data: what YAML would hold."""
        return dataclasses.asdict(self)

    def task_mib(self) -> int:
        """Return the memory in MiB that a worker should have for one task.

        That is the libraries, and a batch of pixels as it is read, decoded and compressed.
        """
        options = self.ingest
        most = max(options.batch_mib, options.chunk_mib, options.shard_mib or 0)
        batch = 4 * math.ceil(most) if options.pixels else 0
        return _LIBRARIES_MIB + batch

    def with_options(self, section: str, **changes: Any) -> Config:
        """Return a copy with options of one section replaced; a value of None leaves the option as it is."""
        given = {name: value for name, value in changes.items() if value is not None}
        return dataclasses.replace(
            self, **{section: _build(type(getattr(self, section)), getattr(self, section), given, section)}
        )


def as_yaml(data: Mapping[str, Any]) -> str:
    """Return plain data as YAML, its keys in their order."""
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, default_flow_style=False))


def load_config(path: Path) -> Config:
    """Read a configuration from YAML.

    Raises
    ------
    ConfigError
        If the file cannot be read, is no mapping, or holds an unknown key or an impossible value.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigError(f"{path} is not valid YAML; see configs/laptop.yaml for an example") from None
    if data is None:  # an empty file, or comments alone
        return Config()
    if not isinstance(data, dict):
        raise ConfigError(f"{path} must hold sections such as `scan:`; see configs/laptop.yaml")
    return config_from(data)


def config_from(data: Mapping[str, Any]) -> Config:
    """Build a configuration from plain data; raises ConfigError naming the key that is wrong."""
    config: Config = _build(Config, Config(), data, "")
    return config


def _build(kind: type[Any], base: Any, data: Mapping[str, Any], where: str) -> Any:
    """Replace fields of the dataclass `base` by `data`, converted to the types declared."""
    if not isinstance(data, dict):
        raise ConfigError(f"`{where}` in the configuration must be a section with options below it")
    known = {f.name for f in dataclasses.fields(kind)}
    for key in data:
        if key not in known:
            place = f"`{where}` " if where else ""
            raise ConfigError(f"unknown {place}option `{key}`; known are {', '.join(sorted(known))}")
    hints = get_type_hints(kind, globalns=globals() | {"Mapping": dict})
    changes = {}
    for key, value in data.items():
        name = f"{where}.{key}" if where else key
        current = getattr(base, key)
        if dataclasses.is_dataclass(current):
            changes[key] = _build(type(current), current, value if value is not None else {}, name)
        else:
            changes[key] = _converted(value, hints[key], name)
    return dataclasses.replace(base, **changes)


def _converted(value: Any, hint: Any, name: str) -> Any:
    text = str(hint)
    if text.startswith("typing.Literal"):
        return _one_of(value, get_args(hint), name)
    if hint is bool:
        return _expect(value, bool, "true or false", name)
    if hint is int:
        return _positive(_expect(value, int, "a whole number", name), name)
    if hint is float:
        return _positive(_expect(value, (int, float), "a number", name), name)
    if hint is str:
        return _expect(value, str, "text", name)
    if text.startswith("tuple[float"):
        items = _expect(value, (list, tuple), "a list of two numbers", name)
        return _range([float(_expect(item, (int, float), "a list of two numbers", name)) for item in items], name)
    if text.startswith("tuple"):
        items = [value] if isinstance(value, str) else _expect(value, (list, tuple), "a list", name)
        return tuple(_expect(item, str, "a list of texts", name) for item in items)
    if text.startswith("dict[str, float"):
        entries = _expect(value, dict, "a mapping of attribute to tolerance", name)
        return {_expect(k, str, "attributes", name): _tolerance(v, f"{name}.{k}") for k, v in entries.items()}
    if text.startswith("dict"):
        entries = _expect(value, dict, "a mapping of glob to Modality", name)
        return {_expect(k, str, "globs", name): _expect(v, str, "Modalities", name) for k, v in entries.items()}
    optional = {"int | None": int, "float | None": float}.get(text, str)
    return None if value is None else _converted(value, optional, name)


def _expect(value: Any, kind: Any, words: str, name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"option `{name}` must be {words}, not {value!r}")
    return value


def _one_of(value: Any, allowed: tuple[Any, ...], name: str) -> Any:
    if not any(value == one and type(value) is type(one) for one in allowed):
        raise ConfigError(f"option `{name}` must be one of {', '.join(map(str, allowed))}, not {value!r}")
    return value


def _positive(value: Any, name: str) -> Any:
    if not 0 < value < float("inf"):
        raise ConfigError(f"option `{name}` must be above 0 and finite, not {value!r}")
    return value


def _tolerance(value: Any, name: str) -> float:
    if not 0 <= _expect(value, (int, float), "a number", name) < float("inf"):
        raise ConfigError(f"option `{name}` must be 0 or above and finite, not {value!r}")
    return float(value)


def _range(ends: list[float], name: str) -> tuple[float, ...]:
    if len(ends) != 2 or not ends[0] < ends[1]:
        raise ConfigError(f"option `{name}` must be two numbers, the smaller first, not {ends!r}")
    return tuple(ends)
