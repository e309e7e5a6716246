"""A configuration is either right or refused with the name of the key that is wrong."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from cohort.config import Config, config_from, load_config
from cohort.errors import ConfigError

SECTIONS = [f.name for f in dataclasses.fields(Config) if f.name != "modality"]


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_nothing_given_is_the_defaults(tmp_path: Path) -> None:
    assert config_from({}) == Config()
    assert load_config(written(tmp_path, "")) == Config()
    assert load_config(written(tmp_path, "# only a remark\n")) == Config()
    assert load_config(written(tmp_path, "scan:\n")) == Config()


def test_given_options_replace_the_defaults_and_leave_the_others(tmp_path: Path) -> None:
    text = "scan: {shard_size: 7, exclude: ['*/tmp/*', '*.bak']}\nreport: {title: Lung}\nmodality: {'ct/*': CT}\n"
    config = load_config(written(tmp_path, text))
    assert (config.scan.shard_size, config.scan.exclude) == (7, ("*/tmp/*", "*.bak"))
    assert config.scan.gzip_limit_mib == Config().scan.gzip_limit_mib
    assert (config.report.title, dict(config.modality)) == ("Lung", {"ct/*": "CT"})
    assert config.ingest == Config().ingest


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_option_is_refused_by_its_name(section: str) -> None:
    with pytest.raises(ConfigError, match=rf"`{section}` option `colour`"):
        config_from({section: {"colour": 1}})


def test_an_unknown_section_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"`scann`.*scan"):
        config_from({"scann": {}})


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("value", [3, "text", [1], True])
def test_a_section_must_hold_options(section: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=section):
        config_from({section: value})


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ("scan", "shard_size", "many"),
        ("scan", "shard_size", 2.5),
        ("scan", "shard_size", True),
        ("scan", "shard_size", None),
        ("scan", "shard_size", 0),
        ("scan", "shard_size", -1),
        ("scan", "follow_links", 1),
        ("scan", "follow_links", "yes"),
        ("scan", "include", 3),
        ("scan", "include", [3]),
        ("scan", "include", {"a": "b"}),
        ("ingest", "chunk_mib", "8"),
        ("ingest", "chunk_mib", 0),
        ("ingest", "chunk_mib", False),
        ("ingest", "chunk_mib", float("nan")),
        ("ingest", "chunk_mib", float("inf")),
        ("ingest", "compression", "gzip"),
        ("ingest", "compression", ["lz4"]),
        ("ingest", "compression_level", 10),
        ("ingest", "compression_level", 0),
        ("ingest", "compression_level", True),
        ("ingest", "compression_level", 1.0),
        ("report", "title", 5),
        ("report", "title", None),
        ("cluster", "workers", 0),
        ("cluster", "workers", "two"),
        ("cluster", "scheduler", 7),
    ],
)
def test_an_impossible_value_is_refused_by_the_name_of_its_option(section: str, option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"`{section}\.{option}`"):
        config_from({section: {option: value}})


@pytest.mark.parametrize("value", [["CT"], "CT", {"a": 1}, {1: "CT"}, None])
def test_modality_must_map_globs_to_texts(value: Any) -> None:
    with pytest.raises(ConfigError, match="`modality`"):
        config_from({"modality": value})


def test_one_glob_need_not_be_a_list() -> None:
    assert config_from({"scan": {"include": "*.dcm"}}).scan.include == ("*.dcm",)


def test_optional_values_may_be_null() -> None:
    assert config_from({"cluster": {"workers": None, "scheduler": None}}) == Config()


@pytest.mark.parametrize(
    "text", ["scan: [", "a: b: c", "\tx: 1", "&a [*b]", "{[1]: 2}", "!!python/object:os.system {}"]
)
def test_what_is_no_yaml_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="settings"):
        load_config(written(tmp_path, text))


@pytest.mark.parametrize("text", ["- scan", "scan", "5", "[]", "0", "false", "''"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="settings"):
        load_config(written(tmp_path, text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"scan: \xff\xfe")
    with pytest.raises(ConfigError, match="settings"):
        load_config(path)


def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match=str(tmp_path)):
        load_config(tmp_path)


def test_a_configuration_survives_being_written_as_yaml(tmp_path: Path) -> None:
    config = config_from(
        {
            "modality": {"*/pet/*": "PT", "*": "MR"},
            "scan": {"include": ["*.dcm"], "follow_links": True, "shard_size": 11},
            "ingest": {"pixels": False, "chunk_mib": 0.5},
            "reduce": {"group_by": ["Manufacturer", "KVP"]},
            "cluster": {"workers": 3, "scheduler": "threads"},
        }
    )
    assert config_from(config.as_dict()) == config
    plain = yaml.safe_load(yaml.safe_dump({k: _lists(v) for k, v in config.as_dict().items()}))
    assert config_from(plain) == config
    assert list(config.modality) == ["*/pet/*", "*"]  # the first match wins, so the order is kept


def _lists(value: Any) -> Any:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}


def test_options_of_one_section_are_replaced_and_none_leaves_them() -> None:
    config = Config().with_options("cluster", workers=2, scheduler=None)
    assert (config.cluster.workers, config.cluster.scheduler) == (2, None)
    assert config.with_options("scan", shard_size=None) == config
    with pytest.raises(ConfigError, match=r"`cluster\.workers`"):
        config.with_options("cluster", workers=0)
    with pytest.raises(ConfigError, match="`pixel`"):
        config.with_options("ingest", pixel=True)


def test_options_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().scan.shard_size = 3  # type: ignore[misc]
