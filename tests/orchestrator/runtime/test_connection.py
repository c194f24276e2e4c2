"""Connecting to Ray: a deadline, a folder short enough for sockets, nothing left behind."""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml

from segtransfer.errors import InputError, ServerError
from segtransfer.runtime.executors.ray import connection, driver
from segtransfer.runtime.executors.ray.connection import SOCKET, SOCKET_BYTES, prepare
from tests.orchestrator.toy_experiments import toy_spec

LONG = "a-rather-long-folder-of-a-job-on-a-batch-system/job-1234567/tmp"


@contextmanager
def refused() -> Iterator[int]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@contextmanager
def silent() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def http() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.RequestHandlerClass.log_message = lambda *_: None  # type: ignore[assignment]
        Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize("kind", [refused, silent, http])
def test_address_without_a_cluster_is_named_in_the_error_after_the_deadline(
    kind: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver.ray, "is_initialized", lambda: False)
    with kind() as port:  # type: ignore[operator]
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
        begun = time.monotonic()
        with pytest.raises(InputError, match=rf"127\.0\.0\.1:{port} within 1 s\. .*RAY_ADDRESS"):
            driver.join_cluster("tests", timeout=1.0)
    assert time.monotonic() - begun < 20


def test_ray_that_does_not_start_in_time_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def init(*_: object, **__: object) -> None:
        raise Exception("The current node timed out during startup. This could happen because ...")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(driver.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(driver.ray, "init", init)
    with pytest.raises(ServerError, match=r"did not start .* in time, .*executor=inline"):
        driver.join_cluster("tests")


@pytest.mark.parametrize("address", ["foo", "http://127.0.0.1:8265", "host:port:more", ":", "[::1"])
def test_invalid_address_raises_a_sentence(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver.ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match="RAY_ADDRESS") as caught:
        driver.join_cluster("tests", timeout=1.0)
    assert address in str(caught.value)


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_folder_too_long_for_sockets_is_replaced_by_a_private_folder(
    variable: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / LONG))
    opened, options = prepare(None)
    used = Path(options["_temp_dir"])
    folder = used.parent  # Ray opens its own to all users
    assert folder.stat().st_mode & 0o777 == 0o700
    assert folder.parent == Path("/tmp")
    assert len(str(used / SOCKET)) <= SOCKET_BYTES
    assert [variable in message for message in caplog.messages] == [True]
    opened.restore()
    assert not folder.exists()


def test_longest_folder_in_bytes_for_sockets_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    most = SOCKET_BYTES - len(f"/{SOCKET}")
    for name, fits in (("x" * (most - 5), True), ("x" * (most - 4), False), ("ü" * 50, False)):
        monkeypatch.setenv("RAY_TMPDIR", f"/tmp/{name}")
        opened, options = prepare(None)
        opened.restore()
        assert (options == {}) == fits


def test_folder_is_not_checked_for_an_existing_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / LONG))
    assert prepare("127.0.0.1:6379")[1] == {}


@pytest.mark.parametrize("before", [None, "token", "disabled"])
def test_the_mode_of_authentication_is_restored(
    before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(connection.AUTH_MODE, raising=False)
    if before:
        monkeypatch.setenv(connection.AUTH_MODE, before)
    opened, _ = prepare("auto")
    os.environ[connection.AUTH_MODE] = "token"  # as Ray does
    opened.restore()
    assert os.environ.get(connection.AUTH_MODE) == before


TWICE = """
import os, sys
import segtransfer
for seed in (1, 2):
    results = segtransfer.run("mine.yaml", [f"seed={seed}"])
    assert not results.missing, results.failures
    assert "RAY_AUTH_MODE" not in os.environ
"""


@pytest.mark.slow
def test_runs_in_a_long_folder_leave_neither_variable_nor_folder(tmp_path: Path) -> None:
    signal.alarm(600)  # two clusters start
    long = tmp_path / LONG
    long.mkdir(parents=True)
    content = toy_spec(tmp_path, attacks=["noise"])
    content["runtime"] = {"executor": "ray", "store": "store", "fleet": {"slots": 1}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "token").write_text(secrets.token_hex(32))
    environment = os.environ | {
        "RAY_TMPDIR": str(long),
        "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token"),
    }
    del environment["RAY_AUTH_MODE"]
    before = set(Path("/tmp").glob("segtransfer-ray-*"))
    answer = subprocess.run(
        [sys.executable, "-c", TWICE], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr.count("RAY_TMPDIR is too long for Ray's sockets") == 2
    assert not set(Path("/tmp").glob("segtransfer-ray-*")) - before
    assert not list(long.iterdir())
