"""The check of an MLflow server: an answer, a refusal, and no server."""

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from segtransfer.tracking.server import server_trouble


class _Handler(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}" if self.status == 200 else b"no")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, ""),
        (401, "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, "allow this user and host on the server"),
        (503, "start the server, or correct MLFLOW_TRACKING_URI"),
    ],
)
def test_answer_of_a_server_decides_the_action(
    status: int, expected: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Handler, "status", status)
    assert server_trouble(address).rpartition("; ")[2] == expected


def test_missing_server_is_told_and_the_environment_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    before = dict(os.environ)
    assert server_trouble("http://127.0.0.1:9") == (
        "cannot be used ([Errno 111] Connection refused); start the server, or correct "
        "MLFLOW_TRACKING_URI"
    )
    assert dict(os.environ) == before
