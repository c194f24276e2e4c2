"""Kubernetes files: tokens, users, memory, probes, and what a second attempt relies on."""

import json
import re
import shlex
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import yaml

from segtransfer.jobs.bundle import STOP_WITHIN
from tests.conftest import ROOT
from tests.infra.validators import INFRA

UNITS = {"Mi": 2**20, "Gi": 2**30, "": 1}


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((INFRA / f"kubernetes/{name}.yaml").read_text()))


(CLUSTER,), (JOB,) = documents("raycluster"), documents("rayjob")
CLAIMS, CONFIGS, DEPLOYMENT, SERVICE = (
    next(d for d in documents("mlflow") if d["kind"] == kind)
    for kind in ("PersistentVolumeClaim", "ConfigMap", "Deployment", "Service")
)
HEAD = CLUSTER["spec"]["headGroupSpec"]
WORKERS = CLUSTER["spec"]["workerGroupSpecs"][0]
PODS = {
    "head": HEAD["template"]["spec"],
    "worker": WORKERS["template"]["spec"],
    "submitter": JOB["spec"]["submitterPodTemplate"]["spec"],
    "mlflow": DEPLOYMENT["spec"]["template"]["spec"],
}


def in_bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * UNITS[unit]


def pod_specs(node: Any) -> Iterator[dict[str, Any]]:
    """Every pod's spec below a document, to be sure that PODS has them all."""
    if isinstance(node, dict):
        if "containers" in node:
            yield node
        for value in node.values():
            yield from pod_specs(value)
    elif isinstance(node, list):
        for value in node:
            yield from pod_specs(value)


def test_no_pod_is_forgotten_here() -> None:
    files = sorted((INFRA / "kubernetes").glob("*.yaml"))
    found = [pod for path in files for doc in documents(path.stem) for pod in pod_specs(doc)]
    assert len(found) == len(PODS) + 2  # the job's head and worker are the cluster's
    assert all(pod in PODS.values() for pod in found)


def test_a_job_has_the_same_cluster_as_one_that_stays() -> None:
    assert JOB["spec"]["rayClusterSpec"] == CLUSTER["spec"]


def test_every_pod_of_a_cluster_must_show_the_token() -> None:
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token"}
    assert CLUSTER["spec"]["rayVersion"] >= "2.52.0", "KubeRay refuses tokens for older ones"


def test_ray_is_the_one_in_the_image() -> None:
    locked = (INFRA / "docker/locks/cuda.txt").read_text()
    assert f"\nray=={CLUSTER['spec']['rayVersion']} " in locked


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_nothing_runs_as_root_or_may_become_it(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        both = {**pod["securityContext"], **container["securityContext"]}
        assert both["runAsUser"] == 1000
        assert both["runAsNonRoot"] is True
        assert both["allowPrivilegeEscalation"] is False
        assert both["capabilities"] == {"drop": ["ALL"]}
        assert both["seccompProfile"] == {"type": "RuntimeDefault"}
    shared = ("hostNetwork", "hostPID", "hostIPC")
    assert not any(pod.get(key) for key in shared)
    assert not any("hostPath" in volume for volume in pod.get("volumes", []))


@pytest.mark.parametrize("pod", PODS.values(), ids=PODS)
def test_every_container_says_what_it_takes(pod: dict[str, Any]) -> None:
    for container in pod["containers"]:
        for kind in ("limits", "requests"):
            assert {"cpu", "memory"} <= container["resources"][kind].keys()


@pytest.mark.parametrize("group", [HEAD, WORKERS], ids=["head", "worker"])
def test_the_object_store_fits_into_shared_memory_and_that_into_the_pods(
    group: dict[str, Any],
) -> None:
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    (shm,) = [v["emptyDir"] for v in pod["volumes"] if v["name"] == "shm"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    sizes = [
        int(group["rayStartParams"]["object-store-memory"]),
        in_bytes(shm["sizeLimit"]),
        in_bytes(container["resources"]["limits"]["memory"]) // 2,
    ]
    assert shm["medium"] == "Memory"
    assert all(small <= large for small, large in pairwise(sizes))


@pytest.mark.parametrize("pod", [PODS["head"], PODS["worker"]], ids=["head", "worker"])
def test_ray_is_asked_whether_it_lives_and_given_minutes_to_answer(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    live, ready = container["livenessProbe"], container["readinessProbe"]
    assert live["httpGet"] == ready["httpGet"]
    assert live["periodSeconds"] * live["failureThreshold"] >= 300
    assert ready["periodSeconds"] * ready["failureThreshold"] <= 60


def test_the_head_takes_no_models_and_workers_have_the_gpus() -> None:
    assert HEAD["rayStartParams"]["num-cpus"] == "0"
    assert "nvidia.com/gpu" not in str(HEAD)
    assert "nvidia.com/gpu" in PODS["worker"]["containers"][0]["resources"]["limits"]
    assert WORKERS["minReplicas"] < WORKERS["maxReplicas"]
    assert CLUSTER["spec"]["autoscalerOptions"]["idleTimeoutSeconds"] <= 1800


def test_a_second_attempt_finds_what_the_first_one_did() -> None:
    """backoffLimit makes a new cluster: only a store that outlives it is gone on with."""
    spec = JOB["spec"]
    assert spec["backoffLimit"] > 0
    assert spec["shutdownAfterJobFinishes"] is True
    store = re.search(r"--store (\S+)", spec["entrypoint"])
    assert store is not None
    claims = [
        mount["mountPath"]
        for mount in PODS["head"]["containers"][0]["volumeMounts"]
        for volume in PODS["head"]["volumes"]
        if volume["name"] == mount["name"] and "persistentVolumeClaim" in volume
    ]
    assert "://" in store[1] or store[1].startswith(tuple(claims))
    assert claims == ["/data"]


def test_a_job_on_a_cluster_without_workers_asks_for_gpus_and_not_for_cores() -> None:
    assert WORKERS["minReplicas"] == 0
    assert JOB["spec"]["entrypoint"].endswith("runtime.fleet.gpus=true")


def test_a_job_that_is_stopped_has_as_long_as_a_submitted_one_however_it_was_begun() -> None:
    environments = [yaml.safe_load(JOB["spec"]["runtimeEnvYAML"])]
    pages = [ROOT / "README.md", ROOT / "infra/README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for command in re.findall(
            r"ray job submit [^`\n]* -- [^`\n]*", page.read_text().replace("\\\n", "")
        ):
            words = shlex.split(command, comments=True)
            environments.append(json.loads(words[words.index("--runtime-env-json") + 1]))
    assert len(environments) > 1
    assert all(found == {"env_vars": STOP_WITHIN} for found in environments)


def test_claims_that_pods_mount_are_among_the_files() -> None:
    (data,) = documents("data")
    made = {CLAIMS["metadata"]["name"], data["metadata"]["name"]}
    used = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in PODS.values()
        for volume in pod.get("volumes", [])
        if "persistentVolumeClaim" in volume
    }
    assert used == made


def test_mlflow_asks_for_a_password_and_keeps_its_own_to_itself() -> None:
    (server,) = PODS["mlflow"]["containers"]
    assert server["args"][:4] == ["mlflow", "server", "--app-name", "basic-auth"]
    assert "--serve-artifacts" in server["args"]
    assert server["envFrom"] == [{"secretRef": {"name": "mlflow-server"}}]
    values = {entry["name"]: entry["value"] for entry in server["env"]}
    name, port = SERVICE["metadata"]["name"], SERVICE["spec"]["ports"][0]["port"]
    assert f"{name}:{port}" in values["MLFLOW_SERVER_ALLOWED_HOSTS"].split(",")
    assert "*" not in values["MLFLOW_SERVER_ALLOWED_HOSTS"]
    assert "auth.ini" in CONFIGS["data"]
    assert values["MLFLOW_AUTH_CONFIG_PATH"] == "/etc/mlflow/auth.ini"


def test_runs_log_to_the_mlflow_of_these_files() -> None:
    entries = {entry["name"]: entry for entry in PODS["head"]["containers"][0]["env"]}
    name, port = SERVICE["metadata"]["name"], SERVICE["spec"]["ports"][0]["port"]
    assert entries["MLFLOW_TRACKING_URI"]["value"] == f"http://{name}:{port}"
    for secret in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        assert entries[secret]["valueFrom"]["secretKeyRef"]["name"] == "mlflow-client"


def test_only_the_namespace_and_the_operator_come_near() -> None:
    policies = {doc["metadata"]["name"]: doc["spec"] for doc in documents("network")}
    assert policies["mlflow"]["podSelector"]["matchLabels"] == SERVICE["spec"]["selector"]
    assert policies["ray-nodes"]["podSelector"] == {"matchLabels": {"ray.io/is-ray-node": "yes"}}
    for spec in policies.values():
        assert spec["policyTypes"] == ["Ingress"]
        for rule in spec["ingress"]:
            assert rule["from"], "a rule without from lets everybody in"
            for peer in rule["from"]:
                assert peer.keys() <= {"podSelector", "namespaceSelector"}
                assert peer.get("namespaceSelector") != {}
