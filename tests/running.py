"""How tests run the pipeline."""

from __future__ import annotations

from cohort.config import ClusterOptions, Config


def config_with(scheduler: str = "sync", **cluster: object) -> Config:
    return Config(cluster=ClusterOptions(scheduler=scheduler, **cluster))  # type: ignore[arg-type]
