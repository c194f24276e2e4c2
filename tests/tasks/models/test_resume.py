"""Downloads that end early and continue: servers with and without ranges, and changed files."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from segtransfer.errors import ServerError
from segtransfer.tasks.models import download as module
from segtransfer.tasks.models.download import download
from segtransfer.tasks.models.weights import fetch_published

CONTENT = bytes(range(256)) * 8


class _Server(BaseHTTPRequestHandler):
    """Sends ``content`` with ranges, and ends each of the next ``breaks`` replies half-way."""

    content: ClassVar[bytes]
    version: ClassVar[dict[str, str]]
    ranges: ClassVar[bool]
    trusts_if_range: ClassVar[bool]
    breaks: ClassVar[int]
    asked: ClassVar[list[str | None]]

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        type(self).asked.append(asked)
        fresh = self.headers.get("If-Range") in self.version.values() or self.trusts_if_range
        begin = int(re.findall(r"\d+", asked)[0]) if asked and self.ranges and fresh else 0
        if begin >= len(self.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.content[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(body)))
        for name, value in self.version.items():
            self.send_header(name, value)
        if begin:
            end = len(self.content)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{end}")
        self.end_headers()
        if self.breaks:
            type(self).breaks -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(module, "RETRY_DELAYS", ())
    _Server.content, _Server.version = CONTENT, {"ETag": '"one"'}
    _Server.ranges, _Server.trusts_if_range, _Server.breaks, _Server.asked = True, False, 0, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/w.pth"
        running.shutdown()
        thread.join()


def interrupt(url: str, path: Path) -> None:
    """Download half of the file."""
    _Server.breaks = 1
    with pytest.raises(ServerError, match="IncompleteRead"):
        download(url, path)
    assert not path.exists()
    _Server.asked.clear()


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def assert_complete(path: Path, asked: list[str | None]) -> None:
    assert path.read_bytes() == _Server.content
    assert _Server.asked == asked
    assert [path] == list(path.parent.iterdir())


HALF = f"bytes={len(CONTENT) // 2}-"


@pytest.mark.parametrize(
    "version", [{"ETag": '"one"'}, {"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT"}]
)
def test_an_interrupted_download_is_continued(
    version: dict[str, str], server: str, tmp_path: Path
) -> None:
    _Server.version = version
    interrupt(server, tmp_path / "w")
    assert left(tmp_path) == ["w.part", "w.part.json"]
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [HALF])


def test_the_tries_of_one_call_continue_each_other(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY_DELAYS", (0.0, 0.0))
    _Server.breaks = 2
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [None, HALF, f"bytes={len(CONTENT) * 3 // 4}-"])


def test_a_server_without_ranges_sends_the_file_again(server: str, tmp_path: Path) -> None:
    interrupt(server, tmp_path / "w")
    _Server.ranges = False
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [HALF])


def test_a_changed_file_is_downloaded_from_its_first_byte(server: str, tmp_path: Path) -> None:
    interrupt(server, tmp_path / "w")
    _Server.content, _Server.version = CONTENT[::-1], {"ETag": '"two"'}
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [HALF])


def test_a_changed_file_is_told_by_its_tag_if_the_server_ignores_if_range(
    server: str, tmp_path: Path
) -> None:
    interrupt(server, tmp_path / "w")
    _Server.content, _Server.version = CONTENT[::-1], {"ETag": '"two"'}
    _Server.trusts_if_range = True
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [HALF, None])


def test_a_file_that_became_shorter_is_downloaded_from_its_first_byte(
    server: str, tmp_path: Path
) -> None:
    interrupt(server, tmp_path / "w")
    _Server.content, _Server.trusts_if_range = b"short", True
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [HALF, None])


@pytest.mark.parametrize("version", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_version_nothing_is_continued_or_left(
    version: dict[str, str], server: str, tmp_path: Path
) -> None:
    _Server.version = version
    interrupt(server, tmp_path / "w")
    assert left(tmp_path) == []
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [None])


def test_a_partial_file_of_another_url_is_not_continued(server: str, tmp_path: Path) -> None:
    interrupt(server, tmp_path / "w")
    download(f"{server}/other", tmp_path / "w")
    assert_complete(tmp_path / "w", [None])


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"url": 1}', "\0"])
def test_a_damaged_note_of_a_partial_file_begins_the_download_again(
    note: str, server: str, tmp_path: Path
) -> None:
    interrupt(server, tmp_path / "w")
    (tmp_path / "w.part.json").write_text(note)
    download(server, tmp_path / "w")
    assert_complete(tmp_path / "w", [None])


def test_concurrent_calls_download_once(server: str, tmp_path: Path) -> None:
    calls = [threading.Thread(target=download, args=(server, tmp_path / "w")) for _ in range(4)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    assert_complete(tmp_path / "w", [None])


def test_weights_by_name_are_continued_and_checked(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    url = server.replace("w.pth", f"w-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth")
    _Server.breaks = 1
    with pytest.raises(ServerError, match="IncompleteRead"):
        fetch_published(url)
    assert fetch_published(url).read_bytes() == CONTENT
    assert _Server.asked == [None, HALF]
