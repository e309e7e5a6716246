"""Workers as pods of Kubernetes, by the operator of dask-kubernetes (the extra `k8s`).

The manifest is made here, as a custom resource `DaskCluster` (`kubernetes.dask.org/v1`), so that it can be read,
checked and applied by hand without that library.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cohort.errors import ConfigError, SchedulerError

if TYPE_CHECKING:
    from cohort.config import ClusterOptions, KubernetesOptions

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_CLUSTER_NAME = 53  # the operator appends to it, and Kubernetes allows 63
_SCHEDULER_MEMORY_GIB = 2
_COMM, _DASHBOARD = 8786, 8787


def manifest(options: ClusterOptions) -> dict[str, Any]:
    """Return the `DaskCluster` that is asked for: one scheduler and `workers` pods of one core each.

    Raises
    ------
    ConfigError
        If a name is none that Kubernetes takes, or a volume is not `CLAIM:/PATH` or `CLAIM:/PATH:ro`.
    SchedulerError
        If the image or the number of workers is not given.
    """
    asked = options.kubernetes
    if asked.image is None:
        raise SchedulerError("--scheduler kubernetes needs an image that has cohort; set cluster.kubernetes.image")
    if options.workers is None:
        raise SchedulerError("--scheduler kubernetes needs a number of workers; give --workers N")
    _checked_label(asked.name, "name", longest=_CLUSTER_NAME)
    _checked_label(asked.namespace, "namespace")
    selector = {"dask.org/cluster-name": asked.name, "dask.org/component": "scheduler"}
    return {
        "apiVersion": "kubernetes.dask.org/v1",
        "kind": "DaskCluster",
        "metadata": {"name": asked.name, "namespace": asked.namespace},
        "spec": {
            "idleTimeout": 0,
            "worker": {"replicas": options.workers, "spec": _pod(asked, _worker(asked))},
            "scheduler": {
                "spec": _pod(asked, _scheduler()),
                "service": {
                    "type": "ClusterIP",
                    "selector": selector,
                    "ports": [_port("tcp-comm", _COMM), _port("http-dashboard", _DASHBOARD)],
                },
            },
        },
    }


def describe_pods(options: ClusterOptions) -> str:
    """Return how many pods there would be, and the manifest as YAML; nothing is started."""
    from cohort.config import as_yaml

    found = manifest(options)
    _check_plain(options)
    return f"{options.workers} pods of Kubernetes, from this manifest:\n{as_yaml(found).rstrip()}"


def kubernetes_cluster(options: ClusterOptions) -> Any:
    """Ask the operator for the cluster; it goes with the run.

    Raises
    ------
    SchedulerError
        If the extra is missing, plain TCP between the pods is not allowed, or the operator does not answer.
    """
    found = manifest(options)
    _check_plain(options)
    try:
        from dask_kubernetes.operator import KubeCluster
    except ImportError:
        raise SchedulerError("--scheduler kubernetes needs an extra: pip install 'cohort[k8s]'") from None
    try:
        return KubeCluster(custom_cluster_spec=found, namespace=options.kubernetes.namespace, quiet=True)
    except Exception as error:  # of the API's client, whose kinds are many
        raise SchedulerError(
            f"Kubernetes does not give the cluster ({type(error).__name__}); is the Dask operator installed in it, and "
            "does kubectl work here?"
        ) from None


def _check_plain(options: ClusterOptions) -> None:
    if not options.insecure:
        raise SchedulerError(
            "the pods of a DaskCluster talk plain TCP among themselves; give --insecure where a network policy of the "
            "namespace keeps others out"
        )


def _scheduler() -> dict[str, Any]:
    return {
        "name": "scheduler",
        "args": ["dask", "scheduler"],
        "ports": [
            {"name": "tcp-comm", "containerPort": _COMM, "protocol": "TCP"},
            {"name": "http-dashboard", "containerPort": _DASHBOARD, "protocol": "TCP"},
        ],
        "readinessProbe": _probe(5),
        "livenessProbe": _probe(15),
        "resources": _resources(_SCHEDULER_MEMORY_GIB),
    }


def _probe(after_seconds: int) -> dict[str, Any]:
    asked = {"port": "http-dashboard", "path": "/health"}
    return {"httpGet": asked, "periodSeconds": 10, "initialDelaySeconds": after_seconds}


def _worker(asked: KubernetesOptions) -> dict[str, Any]:
    return {
        "name": "worker",
        "args": ["dask", "worker", "--name", "$(DASK_WORKER_NAME)", "--nthreads", "1", "--memory-limit",
                 f"{asked.memory_gib}GiB"],
        "resources": _resources(asked.memory_gib),
    }  # fmt: skip


def _resources(memory_gib: int) -> dict[str, Any]:
    """Ask for what is used and no more: a pod above its memory is killed, one below it may be put anywhere."""
    return {
        "requests": {"cpu": "1", "memory": f"{memory_gib}Gi"},
        "limits": {"cpu": "1", "memory": f"{memory_gib}Gi"},
    }


def _pod(asked: KubernetesOptions, container: dict[str, Any]) -> dict[str, Any]:
    container = {"image": asked.image, "imagePullPolicy": "IfNotPresent"} | container
    container["securityContext"] = {"allowPrivilegeEscalation": False}
    if asked.secret is not None:
        container["envFrom"] = [{"secretRef": {"name": _checked_label(asked.secret, "secret")}}]
    mounts = [_mount(text) for text in asked.volumes]
    container["volumeMounts"] = [
        {"name": claim, "mountPath": path, "readOnly": read_only} for claim, path, read_only in mounts
    ]
    volumes = [
        {"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in sorted({m[0] for m in mounts})
    ]
    return {"containers": [container], "volumes": volumes}


def _mount(text: str) -> tuple[str, str, bool]:
    """Return claim, path and whether it is read alone, of `CLAIM:/PATH[:ro]`."""
    claim, _, place = text.partition(":")
    path, separator, mode = place.partition(":")
    if not path.startswith("/") or (separator and mode != "ro"):
        raise ConfigError(f"option `cluster.kubernetes.volumes` must hold CLAIM:/PATH or CLAIM:/PATH:ro, not {text!r}")
    return _checked_label(claim, "volumes"), path, mode == "ro"


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "protocol": "TCP", "port": number, "targetPort": name}


def _checked_label(text: str, key: str, longest: int = 63) -> str:
    if not _LABEL.fullmatch(text) or len(text) > longest:
        raise ConfigError(
            f"option `cluster.kubernetes.{key}`: {text!r} is no name in Kubernetes (a-z, 0-9 and -, at most {longest})"
        )
    return text
