"""Every file of infra/ passes its validator, and fails it with one mistake in it."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.infra import validators
from tests.infra.validators import INFRA, Validator, WrongError


@dataclass(frozen=True)
class Case:
    """A file, what validates it, and a mistake that one could make: ``right`` becomes ``wrong``."""

    file: str
    validator: Validator
    right: str
    wrong: str
    told: str  # a part of what the validator says

    def __str__(self) -> str:
        return f"{self.file}: {self.wrong.strip()}"


CASES = [
    # A key that Ray does not know, a type without its resources, more nodes than are allowed.
    Case("cluster/aws.yaml", validators.launcher, "idle_timeout_minutes", "idle_timeout", "idle"),
    Case("cluster/aws.yaml", validators.launcher, "    resources: {}", "", "resources"),
    Case("cluster/aws.yaml", validators.launcher, "min_workers: 0", "min_workers: 9", "max_work"),
    # A key that EC2 does not know.
    Case("cluster/aws.yaml", validators.launcher, "HttpTokens", "HttpToken", "MetadataOptions"),
    Case("cluster/gcp.yaml", validators.launcher, "head_node_type: head", "", "head_node_type"),
    Case("cluster/gcp.yaml", validators.launcher, "machineType: g2", "machinetype: g2", "machinet"),
    Case("cluster/gcp.yaml", validators.launcher, "onHostMaintenance: T", "onHostMaintenance: D",
         "DERMINATE"),
    Case("cluster/on-premises.yaml", validators.launcher, "head_ip:", "head:", "head_ip"),
    Case("cluster/on-premises.yaml", validators.launcher, "max_workers: 2", "max_workers: two",
         "'str' and 'int'"),
    Case("cluster/node.sh", validators.shell, "\n}\nhas_all", "\nhas_all", "syntax error"),
    Case("docker/locks/install.sh", validators.shell, '-r "$2"', '-r "$2', "unexpected"),
    Case("docker/locks/renew.sh", validators.shell, "lock() {", "lock( {", "syntax error"),
    Case("docker/make_secrets.sh", validators.shell, 'make ray_token "$', 'make ray_token "$(',
         "unexpected EOF"),
    Case("mlflow/serve.sh", validators.shell, "$(cat /run/secrets/postgres_password)",
         "$(cat /run/secrets/postgres_password", "unexpected EOF"),
    # A permission that MLflow does not know, and users kept where nobody makes a database.
    Case("mlflow/auth.ini", validators.mlflow_users, "= READ", "= LOOK", "LOOK"),
    Case("mlflow/auth.ini", validators.mlflow_users, "/mlflow_users", "/users", "'users'"),
    Case("mlflow/users.sql", validators.mlflow_database, "OWNER", "OWNED BY", "OWNED BY"),
    Case("mlflow/users.sql", validators.mlflow_database, "mlflow_users", "users", "'users'"),
    # KubeRay's definitions: a mode that there is not, a field in the wrong place, a misspelt one.
    Case("kubernetes/raycluster.yaml", validators.kubernetes, "mode: token", "mode: tokens",
         "authOptions"),
    Case("kubernetes/raycluster.yaml", validators.kubernetes, "maxReplicas: 8", "maxReplicas: '8'",
         "maxReplicas"),
    Case("kubernetes/rayjob.yaml", validators.kubernetes, "backoffLimit", "backOffLimit",
         "backOffLimit"),
    Case("kubernetes/rayjob.yaml", validators.kubernetes, "sizeLimit: 8Gi", "sizeLimit: 8 GB",
         "sizeLimit"),
    Case("kubernetes/rayjob.yaml", validators.kubernetes, "readinessProbe", "readynessProbe",
         "readynessProbe"),
    Case("kubernetes/mlflow.yaml", validators.kubernetes, "secretRef", "secretref", "secretref"),
    Case("kubernetes/mlflow.yaml", validators.kubernetes, "containerPort: 5000",
         "containerPort: http", "containerPort"),
    Case("kubernetes/data.yaml", validators.kubernetes, "accessModes: [ReadWriteMany]",
         "accessModes: ReadWriteMany", "accessModes"),
    Case("kubernetes/network.yaml", validators.kubernetes, "podSelector: {}", "podselector: {}",
         "podselector"),
    Case("docker/compose.yaml", validators.compose, "shm_size:", "shm:", "shm"),
    Case("docker/compose.yaml", validators.compose, "condition: service_healthy",
         "condition: healthy", "healthy"),
    Case("docker/compose.gpu.yaml", validators.compose, "capabilities: [gpu]", "", "capabilities"),
    Case("mlflow/compose.yaml", validators.compose, "healthcheck:", "health:", "health"),
    Case("docker/Dockerfile", validators.dockerfile, "AS cuda\n", "AS cpu\n", "DL3024"),
    Case("docker/Dockerfile", validators.dockerfile, "--from=cuda-packages", "--from=packages",
         "DL3022"),
]  # fmt: skip
VALIDATORS = {case.file: case.validator for case in CASES}


def told_by(validator: Validator, text: str) -> str:
    """Return what a validator says of a text, or nothing if the text is right."""
    try:
        validator(text)
    except WrongError as refused:
        return str(refused)
    return ""


@pytest.mark.parametrize("file", VALIDATORS)
def test_file_is_right(file: str) -> None:
    assert told_by(VALIDATORS[file], (INFRA / file).read_text()) == ""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_is_refused(case: Case) -> None:
    text = (INFRA / case.file).read_text()
    assert case.right in text
    assert case.told in told_by(case.validator, text.replace(case.right, case.wrong, 1))


def test_every_file_is_among_them() -> None:
    folders = ("cluster", "kubernetes", "docker", "mlflow")
    kinds = ("*.yaml", "*.sh", "*.ini", "*.sql", "Dockerfile")
    found = {p for folder in folders for kind in kinds for p in (INFRA / folder).rglob(kind)}
    assert {Path(INFRA, file) for file in VALIDATORS} == found
