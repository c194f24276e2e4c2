"""No secret stands in a file of infra/, and none of a user's goes where others read it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from segtransfer.errors import InputError
from segtransfer.store import Store
from segtransfer.tasks.models.weights import fetch
from tests.infra.validators import INFRA
from tests.orchestrator.searches.searches import grey_search
from tests.orchestrator.toy_experiments import run_toy

SECRET_KEY = re.compile(r"passw|secret|token|credential|api_?key|flask_key", re.IGNORECASE)
SECRET_VALUE = re.compile(
    r"""\bAKIA[0-9A-Z]{16}\b          # AWS
      | -----BEGIN\ [A-Z ]*PRIVATE\ KEY
      | \bey[\w-]{10,}\.[\w-]{10,}\.   # JSON web tokens
      | ://[^\s/@:]+:[^\s/@]+@         # a password in a URL
      | \b[0-9a-f]{32,}\b              # random hexadecimal digits
      | \bgh[pousr]_\w{20,}""",
    re.VERBOSE,
)
# Where a key of that name holds no secret but says where one is, or is a flag.
REFERENCE = re.compile(r"/run/secrets/\w+|\.\./secrets/\w+|/home/\S+/\.mlflow/credentials|token"
                       r"|required|~/\.ray/auth_token|username|password")  # fmt: skip


def found_in(text: str) -> list[str]:
    return [match[0] for match in SECRET_VALUE.finditer(text)]


def literals(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Values of a YAML document whose key, or whose `name` beside it, speaks of a secret."""
    if isinstance(node, dict):
        named = node.get("name", "") if "value" in node else ""
        for name, value in node.items():
            own = named if name == "value" else name
            if isinstance(value, str) and SECRET_KEY.search(str(own)):
                yield str(own), value
            yield from literals(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from literals(value, key)


def written_out(text: str) -> list[tuple[str, str]]:
    documents = yaml.safe_load_all(text)
    pairs = [pair for document in documents for pair in literals(document)]
    return [pair for pair in pairs if not REFERENCE.fullmatch(pair[1])]


FILES = sorted(
    path for path in INFRA.rglob("*")
    if path.is_file() and "secrets" not in path.parts and "__pycache__" not in path.parts
    and path.suffix not in (".png", ".parquet") and path.parent.name != "locks"
    and path.parent != INFRA / "studies/trained"  # git ignores the folder
)  # fmt: skip
YAMLS = [p for p in FILES if p.suffix == ".yaml" and p.parent.name != "benchmarks"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_no_file_holds_a_secret(path: Path) -> None:
    assert found_in(path.read_text()) == []


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: str(path.relative_to(INFRA)))
def test_what_is_called_a_secret_is_a_reference(path: Path) -> None:
    assert written_out(path.read_text()) == []
    assert "kind: Secret" not in path.read_text()


def test_secrets_would_be_found() -> None:
    for before, secret, after in (
        ("", "AKIAIOSFODNN7EXAMPLE", ""),
        ("", "-----BEGIN RSA PRIVATE KEY", "-----"),
        ("postgresql", "://mlflow:hunter2@", "postgres/mlflow"),
        ("", "0123456789abcdef" * 4, ""),
    ):
        assert found_in(f"key: {before}{secret}{after}") == [secret]
    compose = "services: {db: {environment: {POSTGRES_PASSWORD: hunter2}}}"
    assert written_out(compose) == [("POSTGRES_PASSWORD", "hunter2")]
    kubernetes = "env: [{name: RAY_AUTH_TOKEN, value: hunter2}]"
    assert written_out(kubernetes) == [("RAY_AUTH_TOKEN", "hunter2")]


# -- a user's credentials -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "location",
    [
        "s3://me:hunter2@bucket/lab",
        "s3://hunter2@bucket/lab",
        "gs://me:hunter2@bucket/lab",
        "abfs://c@account.dfs.core.windows.net/lab?client_secret=hunter2",
    ],
)
def test_a_store_is_named_without_credentials(location: str) -> None:
    with pytest.raises(InputError, match="leave the credentials out of the URL") as refused:
        Store(location)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "location",
    [
        "https://me:hunter2@example.org/a.pth",
        "https://hunter2@example.org/a.pth",
        "https://example.org/a.pth?X-Amz-Signature=hunter2",
        "ftp://me:hunter2@example.org/a.pth",
    ],
)
@pytest.mark.parametrize("sha256", [None, "0" * 64])
def test_a_checkpoint_is_named_without_credentials(location: str, sha256: str | None) -> None:
    with pytest.raises(InputError, match=r"//example\.org/a\.pth is given with credentials") as e:
        fetch(location, sha256)
    assert "hunter2" not in str(e.value)


@pytest.mark.parametrize(
    "storage", ["postgresql://me:hunter2@host/s", "mysql:///s?password=hunter2"]
)
def test_a_search_is_stored_without_a_password(storage: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"storage has a password.*PGPASSWORD") as refused:
        grey_search(tmp_path, search={"storage": storage})
    assert "hunter2" not in str(refused.value)


def test_what_mlflow_is_called_by_stays_out_of_every_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from segtransfer.tracking.experiments import log_results
    from segtransfer.tracking.places import TrackingError, how_to_open

    address = "http://me:hunter2@127.0.0.1:9"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TrackingError, match=r"127\.0\.0\.1:9") as raised:
        log_results(run_toy(tmp_path))
    assert "hunter2" not in str(raised.value)
    assert how_to_open(address) == "http://127.0.0.1:9"
    assert how_to_open("postgresql://me:hunter2@host/db") == (
        "mlflow ui --backend-store-uri postgresql://host/db"
    )


def test_what_runs_keep_says_nothing_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "RAY_AUTH_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "hunter2")
    run_toy(tmp_path)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".json" for path in kept)
    assert not any(b"hunter2" in path.read_bytes() for path in kept)
