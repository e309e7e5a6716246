"""Ways to a cluster: what is refused before anything is written, and that TLS gives the same bytes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from dask_ends import certificates, dask_processes, tls_options

from cohort import pipeline
from cohort.cluster import Needs, Step, check_workers, connect, plan
from cohort.cluster.encryption import refuse_plain, security_of
from cohort.cluster.kubernetes import manifest
from cohort.cluster.planning import local_size
from cohort.config import ClusterOptions, Config, KubernetesOptions, SlurmOptions, load_config
from cohort.errors import ConfigError, OutputError, SchedulerError
from cohort.phantom import make_series
from cohort.provenance import versions
from cohort.sources import glimpses
from cohort.store import RunFolder

if TYPE_CHECKING:
    from cohort.phantom import PhantomTruth

CONFIGS = Path(__file__).parents[1] / "configs"


# -- addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    ["tcp://10.0.0.5:8786", "10.0.0.5:8786", "tcp://node7:8786", "ws://node7:8786", "tcp://[2001:db8::1]:8786",
     "tcp://0.0.0.0:8786", "tcp://localhost.example.org:8786", "tcp://127.0.0.1.example.org:8786"],
)  # fmt: skip
def test_plain_connections_to_other_machines_are_refused_unless_asked_for(address: str) -> None:
    with pytest.raises(SchedulerError, match="--insecure"):
        refuse_plain(address, ClusterOptions())
    refuse_plain(address, ClusterOptions(insecure=True))


@pytest.mark.parametrize(
    "address",
    ["tcp://127.0.0.1:8786", "127.3.2.1:8786", "localhost:8786", "tcp://[::1]:8786", "tls://node7:8786",
     "wss://node7:443", "inproc://10.0.0.5/1/1"],
)  # fmt: skip
def test_this_machine_and_encrypted_connections_need_no_word(address: str) -> None:
    refuse_plain(address, ClusterOptions())


def test_a_scheduler_file_is_no_way_round(tmp_path: Path) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": "tcp://192.0.2.1:8786"}))
    with pytest.raises(SchedulerError, match="plain TCP"), connect(ClusterOptions(scheduler_file=str(file))):
        pass


def test_nor_is_the_configuration_of_dask() -> None:
    import dask

    with (
        dask.config.set({"scheduler-address": "tcp://192.0.2.1:8786"}),
        pytest.raises(SchedulerError, match="plain TCP"),
        connect(ClusterOptions()),
    ):
        pass


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", "scheduler"])
def test_a_file_that_no_scheduler_wrote_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(text)
    with pytest.raises(SchedulerError, match=r"scheduler\.json names no address"):
        connect(ClusterOptions(scheduler_file=str(file))).__enter__()


def test_certificates_are_all_three_and_exist(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.touch()
    with pytest.raises(SchedulerError, match="tls_cert is not given"):
        security_of(ClusterOptions(tls_ca=str(file)))
    with pytest.raises(SchedulerError, match="tls_key: there is no file"):
        security_of(ClusterOptions(tls_ca=str(file), tls_cert=str(file), tls_key=str(tmp_path / "none")))


# -- plans -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_configuration_is_dry_run_and_writes_nothing(path: Path, truth: PhantomTruth, tmp_path: Path) -> None:
    said = pipeline.dry_run([str(truth.root)], tmp_path / "out", load_config(path)).where
    expected = {"laptop": "processes of this machine", "cluster": "tls://", "slurm": "#SBATCH", "kubernetes": "kind:"}
    assert expected[path.stem] in said
    assert not any(tmp_path.iterdir())
    lines = path.read_text().splitlines()
    assert sum("#" in line for line in lines) > len(lines) / 3  # it explains itself


def test_a_dry_run_of_the_command_says_the_script_of_a_job(tmp_path: Path, cohort_command: Any) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.dcm").write_bytes(b"x")
    arguments = ["run", str(tmp_path / "images"), "-o", str(tmp_path / "out"), "--dry-run", "--scheduler", "slurm"]
    done = cohort_command(*arguments, "--workers", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "3 workers in 3 jobs" in done.stdout
    assert "tls://" in done.stdout
    refused = cohort_command(*arguments)
    assert refused.returncode == 2
    assert "--workers N" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_job_asks_for_what_is_configured() -> None:
    slurm = SlurmOptions(
        queue="long", account="lab7", walltime="1:30:00", job_workers=4, memory_gib=3, interface="ib0",
        scratch="/scratch/tmp", logs="/scratch/logs", directives=("--exclusive",), prologue=("module load x",),
    )  # fmt: skip
    script = plan(ClusterOptions(scheduler="slurm", workers=10, slurm=slurm), 0)
    assert script.startswith("10 workers in 3 jobs")
    for line in ("-p long", "-A lab7", "-t 1:30:00", "--cpus-per-task=4", "--mem=12G", "--exclusive",
                 "-o /scratch/logs/", "-e /scratch/logs/"):  # fmt: skip
        assert f"#SBATCH {line}" in script
    command = script.splitlines()[-1]
    for part in ("tls://", "--nthreads 1", "--nworkers 4", "--interface ib0", "--local-directory /scratch/tmp"):
        assert part in command
    assert "\nmodule load x\n" in script
    assert "tcp://" in plan(ClusterOptions(scheduler="slurm", workers=1, insecure=True), 0)


def pods(**options: Any) -> dict[str, Any]:
    asked = KubernetesOptions(**{"image": "example.org/cohort:1", **options})
    return manifest(ClusterOptions(scheduler="kubernetes", workers=5, kubernetes=asked))


def test_the_manifest_says_what_is_configured() -> None:
    made = pods(name="lung", namespace="research", memory_gib=6, secret="keys", volumes=("a:/in:ro", "b:/out"))
    assert (made["apiVersion"], made["kind"]) == ("kubernetes.dask.org/v1", "DaskCluster")
    assert made["metadata"] == {"name": "lung", "namespace": "research"}
    assert made["spec"]["worker"]["replicas"] == 5
    for part in ("worker", "scheduler"):
        pod = made["spec"][part]["spec"]
        (container,) = pod["containers"]
        assert container["name"] == part
        assert container["image"] == "example.org/cohort:1"
        assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
        assert {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]} == {"a": "a", "b": "b"}
        mounted = {m["name"]: (m["mountPath"], m["readOnly"]) for m in container["volumeMounts"]}
        assert mounted == {"a": ("/in", True), "b": ("/out", False)}
    worker = made["spec"]["worker"]["spec"]["containers"][0]
    assert worker["resources"]["limits"]["memory"] == "6Gi"
    assert worker["args"][-4:] == ["--nthreads", "1", "--memory-limit", "6GiB"]
    service = made["spec"]["scheduler"]["service"]
    named = {
        port["name"]: port["containerPort"] for port in made["spec"]["scheduler"]["spec"]["containers"][0]["ports"]
    }
    assert {port["targetPort"]: port["port"] for port in service["ports"]} == named


@pytest.mark.parametrize(
    "options",
    [{"name": "Lung"}, {"namespace": "a_b"}, {"name": "-a"}, {"name": "a" * 54}, {"secret": "a b"},
     {"volumes": ("claim",)}, {"volumes": ("claim:in",)}, {"volumes": ("claim:/in:rw",)}, {"volumes": ("C:/in",)}],
)  # fmt: skip
def test_what_kubernetes_would_refuse_is_refused_here(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"cluster\.kubernetes\."):
        pods(**options)


def test_pods_without_encryption_need_a_word() -> None:
    asked = ClusterOptions(scheduler="kubernetes", workers=1, kubernetes=KubernetesOptions(image="x"))
    with pytest.raises(SchedulerError, match="--insecure"):
        plan(asked, 0)
    said = plan(dataclasses.replace(asked, insecure=True), 0)
    assert yaml.safe_load(said.partition("\n")[2]) == manifest(asked)


@pytest.mark.parametrize(("cores", "gib", "workers"), [(8, 64, 8), (8, 4, 4), (64, 8, 8), (2, 0.5, 1)])
def test_there_are_no_more_local_workers_than_memory_has_room_for(
    monkeypatch: pytest.MonkeyPatch, cores: int, gib: float, workers: int
) -> None:
    monkeypatch.setattr("dask.system.CPU_COUNT", cores)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", int(gib * 2**30))
    assert local_size(ClusterOptions(), 1024) == (workers, int(gib * 2**30) // workers)
    assert local_size(ClusterOptions(workers=3), 1024)[0] == 3


# -- workers that cannot do the work -----------------------------------------------------------------------


class FakeWorkers:
    """Stands for a client: says what workers would, each function run here in their place."""

    def __init__(self, answer: Any = None, memory: int = 1 << 40, threads: int = 1) -> None:
        self.cluster = None
        self._answer = answer
        self._worker = {"memory_limit": memory, "nthreads": threads}

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": {"tls://node7:1": self._worker}}

    def run(self, function: Any, *, on_error: str) -> dict[str, Any]:
        assert on_error == "return"
        answer = function() if self._answer is None else self._answer(function)
        return {"tls://node7:1": answer}


def needs(out: Path, **changes: Any) -> Needs:
    known = Needs(partial(versions, ("cohort", "numpy", "pydicom")), 500, out, partial(glimpses, ("/",)))
    return dataclasses.replace(known, **changes)


def without(found: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != name}


def test_workers_that_have_all_pass_and_leave_nothing(tmp_path: Path) -> None:
    check_workers(FakeWorkers(), needs(tmp_path / "a" / "out"))  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda f: f() | {"numpy": "1.0"} if "versions" in str(f) else f(), "node7:1 has numpy 1.0, this machine has"),
        (lambda f: without(f(), "pydicom") if "versions" in str(f) else f(), "has pydicom none, this machine has"),
        (lambda f: f() | {"imagecodecs": "9"} if "versions" in str(f) else f(), "imagecodecs 9, this machine has none"),
        (lambda f: ModuleNotFoundError("cohort"), "node7:1 has no cohort, or another version"),
        (lambda f: MemoryError(), "cannot be asked"),
        (lambda f: {"/": None} if "glimpses" in str(f) else f(), "does not see / as this machine does"),
        (lambda f: "does not see" if "fault" in str(f) else f(), "does not see .*out; OUT must"),
        (lambda f: "cannot write to" if "fault" in str(f) else f(), "cannot write to .*out; OUT must"),
    ],
    ids=["version", "missing", "beyond", "no-cohort", "no-answer", "source", "out-unseen", "out-read-only"],
)
def test_the_first_worker_that_lacks_something_is_named(tmp_path: Path, answer: Any, words: str) -> None:
    with pytest.raises(SchedulerError, match=words):
        check_workers(FakeWorkers(answer), needs(tmp_path / "out"))  # type: ignore[arg-type]
    assert not any(tmp_path.iterdir())


def test_memory_is_shared_by_the_threads_of_a_worker(tmp_path: Path) -> None:
    check_workers(FakeWorkers(memory=1000 << 20, threads=2), needs(tmp_path))  # type: ignore[arg-type]
    with pytest.raises(SchedulerError, match="333 MiB for each of its 3 threads"):
        check_workers(FakeWorkers(memory=1000 << 20, threads=3), needs(tmp_path))  # type: ignore[arg-type]


def test_an_out_that_this_process_cannot_write_is_named() -> None:
    with pytest.raises(OutputError, match="cannot write to /proc"):
        check_workers(FakeWorkers(), needs(Path("/proc/out")))  # type: ignore[arg-type]


def test_a_worker_with_another_view_of_out_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cohort.cluster import checking

    monkeypatch.setattr(checking, "_PROBE_SECONDS", 0.0)
    assert checking._fault_of(str(tmp_path / "nowhere")) == "does not see"
    (tmp_path / "here").touch()
    assert checking._fault_of(str(tmp_path)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_another_folder_under_the_same_path_is_not_the_source(tmp_path: Path) -> None:
    root = tmp_path / "images"
    root.mkdir()
    (root / "a").touch()
    seen = glimpses([str(root)])
    assert seen == {str(root): 1} == glimpses([str(root)])
    (root / "a").unlink()  # what a worker sees where the share is not mounted
    assert glimpses([str(root)]) != seen
    root.rmdir()
    assert glimpses([str(root)]) == {str(root): None}


def test_a_glimpse_of_a_file_and_of_a_folder_whose_name_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"im\xffages")
    make_series(folder / "s", files=2, rows=8, columns=8)
    pipeline.scan([str(folder)], tmp_path / "out", Config(cluster=ClusterOptions("sync")))
    (root,) = RunFolder(tmp_path / "out").info()["sources"]
    assert glimpses([root]) == {root: 1}
    (tmp_path / "list.txt").write_bytes(b"12345")
    assert list(glimpses([str(tmp_path / "list.txt")]).values()) == [5]


# -- real clusters -----------------------------------------------------------------------------------------


def digests(out: Path) -> dict[str, str]:
    paths = sorted(p for p in out.rglob("*") if p.is_file() and p.name != "run.json")
    return {str(p.relative_to(out)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


@pytest.mark.cluster
def test_an_address_with_tls_gives_the_same_bytes_and_lets_no_one_else_in(
    run_out: Path, truth: PhantomTruth, tmp_path: Path, cohort_command: Any
) -> None:
    files = certificates(tmp_path)
    others = tmp_path / "others"
    others.mkdir()
    notes: list[str] = []

    def progress(step: Step) -> None:
        notes.extend([step.note] if step.note else [])

    with dask_processes(tmp_path, "--protocol", "tls", *tls_options(files)) as address:
        assert address.startswith("tls://")
        right = ClusterOptions(address, tls_ca=files["ca"], tls_cert=files["cert"], tls_key=files["key"])
        strange = certificates(others)
        wrong = ClusterOptions(address, tls_ca=strange["ca"], tls_cert=strange["cert"], tls_key=strange["key"])
        for refused in (wrong, ClusterOptions(address)):
            settings = tmp_path / "settings.yaml"
            settings.write_text(
                yaml.safe_dump({"cluster": dataclasses.asdict(refused) | {"slurm": {}, "kubernetes": {}}})
            )
            done = cohort_command("run", str(truth.root), "-o", str(tmp_path / "out"), "--config", str(settings))
            assert done.returncode == 2, done.stderr
            assert "no Dask scheduler answers" in done.stderr
        assert not (tmp_path / "out").exists()
        pipeline.run([str(truth.root)], tmp_path / "out", Config(cluster=right), progress=progress)
    assert digests(tmp_path / "out") == digests(run_out)
    assert any(note.startswith("dashboard: http") for note in notes)


@pytest.mark.cluster
def test_a_worker_without_the_memory_stops_the_command_before_it_writes(
    truth: PhantomTruth, tmp_path: Path, cohort_command: Any
) -> None:
    with dask_processes(tmp_path, workers=0):
        file = str(tmp_path / "scheduler.json")
        worker = subprocess.Popen(
            [sys.executable, "-m", "dask", "worker", "--scheduler-file", file, "--nthreads", "2", "--no-dashboard",
             "--memory-limit", "900MiB"], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            call = ["run", str(truth.root), "-o", str(tmp_path / "out"), "--scheduler-file", file]
            done = cohort_command(*call)
        finally:
            worker.terminate()
            worker.wait(30)
    assert done.returncode == 2, done.stderr
    assert "450 MiB for each of its 2 threads" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.cluster
def test_a_relative_out_is_the_same_folder_for_every_worker(
    truth: PhantomTruth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = tmp_path / "workers"
    workers.mkdir()
    here = tmp_path / "here"
    here.mkdir()
    with dask_processes(workers) as address:
        monkeypatch.chdir(here)
        pipeline.scan([os.fspath(truth.root / "traps" / "coronal")], "out", Config(cluster=ClusterOptions(address)))
    assert (here / "out" / "files").is_dir()
    assert not (workers / "out").exists()
