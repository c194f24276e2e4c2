"""Downloads against a server of this machine: redirects, trouble, and nothing left behind."""

import errno
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from segtransfer.errors import InputError, SegtransferError, ServerError
from segtransfer.tasks.models import download as module
from segtransfer.tasks.models.download import download
from segtransfer.tasks.models.weights import fetch


class _Script(BaseHTTPRequestHandler):
    """Answers as ``answers`` says, one after another, the last for ever."""

    answers: ClassVar[list[tuple[int, dict[str, str], bytes]]] = []
    paths: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        type(self).paths.append(self.path)
        status, headers, body = self.answers[0]
        if len(self.answers) > 1:
            self.answers.pop(0)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(module, "RETRY_DELAYS", (0.0, 0.0))
    _Script.paths = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Script) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def left(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.suffix != ".lock"]


def answer(*answers: tuple[int, dict[str, str], bytes]) -> None:
    _Script.answers = list(answers)


def test_a_redirect_from_http_to_http_is_followed(server: str, tmp_path: Path) -> None:
    answer((302, {"Location": f"{server}/b"}, b""), (200, {}, b"weights"))
    download(f"{server}/a", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == b"weights"
    assert _Script.paths == ["/a", "/b"]


@pytest.mark.parametrize(
    "place", ["file:///etc/passwd", "ftp://127.0.0.1/w", "s3://bucket/w", "data:,w", "gopher://x/"]
)
def test_a_redirect_to_another_protocol_is_refused(place: str, server: str, tmp_path: Path) -> None:
    answer((302, {"Location": place}, b""))
    with pytest.raises(InputError, match=r"redirect|not allowed"):
        download(f"{server}/a", tmp_path / "w")
    assert left(tmp_path) == []


def test_a_redirect_from_https_to_http_is_refused() -> None:
    from urllib.request import Request

    request = Request("https://host/a")
    with pytest.raises(InputError, match="redirects from https to http://host/b, and"):
        module._SameOrSafer().redirect_request(
            request, None, 302, "", {}, "http://host/b?sig=s3cret"
        )
    for old in ("http", "https"):
        request = Request(f"{old}://host/a")
        followed = module._SameOrSafer().redirect_request(
            request, None, 302, "", {}, "https://host/b"
        )
        assert followed.full_url == "https://host/b"


def test_trouble_that_passes_is_retried(server: str, tmp_path: Path) -> None:
    answer((503, {}, b"busy"), (500, {}, b""), (200, {}, b"weights"))
    download(f"{server}/a", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == b"weights"
    assert len(_Script.paths) == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_trouble_of_the_server_is_no_wrong_input(status: int, server: str, tmp_path: Path) -> None:
    answer((status, {}, b""))
    hint = "try again later, or set SEGTRANSFER_WEIGHTS to a folder or mirror with the file"
    expected = f"/a cannot be downloaded in 3 tries: .*{status}.*{hint}"
    with pytest.raises(ServerError, match=expected):
        download(f"{server}/a", tmp_path / "w")
    assert left(tmp_path) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_url_that_the_server_refuses_is_wrong_input(
    status: int, server: str, tmp_path: Path
) -> None:
    answer((status, {}, b""))
    with pytest.raises(InputError, match=f"{status}.*check the URL"):
        download(f"{server}/a", tmp_path / "w")
    assert len(_Script.paths) == 1
    assert left(tmp_path) == []


def test_a_connection_that_ends_early_is_no_wrong_hash(server: str, tmp_path: Path) -> None:
    answer((200, {"Content-Length": "99"}, b"weig"))
    with pytest.raises(ServerError, match="IncompleteRead"):
        download(f"{server}/a", tmp_path / "w")
    assert left(tmp_path) == []


def test_a_server_that_is_not_there_is_no_wrong_input(server: str, tmp_path: Path) -> None:
    with pytest.raises(ServerError, match="refused"):
        download("http://127.0.0.1:1/a", tmp_path / "w")


def test_an_interrupted_download_leaves_no_file(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    answer((200, {}, b"weights"))
    monkeypatch.setattr(module.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        download(f"{server}/a", tmp_path / "w")
    assert left(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_told_from_a_server_in_trouble(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SegtransferError, match=r"cache of weights .*file/below cannot be written"):
        download(f"{server}/a", tmp_path / "file/below/w")
    assert _Script.paths == []

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    answer((200, {}, b"weights"))
    monkeypatch.setattr(module.os, "replace", full)
    with pytest.raises(SegtransferError, match=r"No space left on device; set XDG_CACHE_HOME"):
        download(f"{server}/a", tmp_path / "w")
    assert _Script.paths == ["/a"], "it is not tried again"


@pytest.mark.parametrize("url", ["http://[abc/x.pth", "http://host:port/x.pth"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="is no URL"):
        fetch(url, "0" * 64)


@pytest.mark.parametrize("url", ["http:///a.pth", "http://", "https://?x=1"])
def test_a_url_without_a_host_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="is no https or http URL"):
        fetch(url, "0" * 64)


def test_credentials_of_a_redirect_are_not_shown(server: str, tmp_path: Path) -> None:
    answer((302, {"Location": f"{server}/b?X-Amz-Signature=s3cret"}, b""), (404, {}, b""))
    with pytest.raises(InputError) as refused:
        download(f"{server}/a", tmp_path / "w")
    assert "s3cret" not in str(refused.value)
