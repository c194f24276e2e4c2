"""Weights by name: their digits, the record of the first download, mirrors and folders."""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from segtransfer.errors import InputError, ServerError
from segtransfer.tasks.models import adapters, download
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.weights import cache_folder, fetch, fetch_published
from tests.tasks.models.published import Server, named, publish, served_file, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SEGTRANSFER_WEIGHTS", raising=False)
    monkeypatch.setattr(download, "RETRY_DELAYS", ())
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with serving(tmp_path / "web") as running:
        yield running


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache/segtransfer"


@pytest.fixture
def url(server: Server) -> str:
    """The URL of a published file."""
    content = b"weights of a network"
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path = server.folder / "v0.5/net" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return f"{server.url}/v0.5/net/{name}"


def spoil(path: Path) -> None:
    path.write_bytes(b"other content")


def test_a_model_by_name_is_the_model_of_the_file(server: Server, tmp_path: Path) -> None:
    source = publish(tmp_path / "configs", server)
    by_name = named(source)
    by_path = named({"config": source["config"], "checkpoint": str(served_file(server))})
    adapters.check(by_name)
    assert adapters.describe(by_name) == adapters.describe(by_path)
    images = torch.rand(1, 3, 64, 64)
    logits = [adapters.load(spec)(images) for spec in (by_name, by_path)]
    assert torch.equal(*logits)
    assert len(server.asked) == 1


def test_the_sha256_of_the_first_download_is_recorded_beside_the_file(
    url: str, cache: Path
) -> None:
    path = fetch_published(url)
    name = Path(url).name
    assert path == cache / name
    assert (cache / f"{name}.sha256").read_text() == f"{sha256_of(path)}  {name}\n"
    assert sorted(p.name for p in cache.iterdir()) == [name, f"{name}.sha256"]


def test_a_filled_cache_needs_no_server(
    url: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch_published(url)
    served_file(server).unlink()
    assert fetch_published(url) == path
    monkeypatch.setenv("SEGTRANSFER_WEIGHTS", "http://127.0.0.1:1")
    assert fetch_published(url) == path
    assert len(server.asked) == 1


def test_other_digits_are_refused_and_the_download_is_not_kept(
    url: str, server: Server, cache: Path
) -> None:
    digits = Path(url).stem[-8:]
    content = served_file(server).read_bytes()
    spoil(served_file(server))
    with pytest.raises(InputError, match=f"another sha256 than the digits {digits} in its name; "):
        fetch_published(url)
    assert list(cache.iterdir()) == []
    served_file(server).write_bytes(content)
    assert fetch_published(url).read_bytes() == content


def test_a_web_page_in_the_place_of_weights_is_named(url: str, server: Server) -> None:
    served_file(server).write_text("<!doctype html><title>moved</title>")
    with pytest.raises(InputError, match="in its name: it is a web page"):
        fetch_published(url)


def test_a_file_that_changed_in_the_cache_is_downloaded_again(url: str, server: Server) -> None:
    path = fetch_published(url)
    spoil(path)
    with pytest.raises(InputError, match=r"the digits .* in its name"):
        fetch_published(url)
    assert fetch_published(url).read_bytes() == served_file(server).read_bytes()


def test_digits_alone_do_not_pass_once_a_hash_is_recorded(
    url: str, server: Server, cache: Path
) -> None:
    path = fetch_published(url)
    record = cache / f"{path.name}.sha256"
    colliding = sha256_of(path)[:8] + "0" * 56
    record.write_text(f"{colliding}  {path.name}\n")
    for _ in range(2):  # a download is no way around the record
        with pytest.raises(InputError, match=r"the first download, recorded in .*256;"):
            fetch_published(url)
    assert record.read_text().startswith(colliding)
    assert len(server.asked) == 2


@pytest.mark.parametrize("content", [b"", b"abc  net.pth", b"\xff\xfe"])
def test_a_damaged_record_is_refused(content: bytes, url: str, cache: Path) -> None:
    path = fetch_published(url)
    (cache / f"{path.name}.sha256").write_bytes(content)
    with pytest.raises(InputError, match="does not hold the sha256 of the first download"):
        fetch_published(url)


def test_a_sha256_of_the_spec_is_required_beside_the_digits(url: str, server: Server) -> None:
    sha256 = sha256_of(served_file(server))
    with pytest.raises(InputError, match=f"another sha256 than the given {sha256[:8]}0+"):
        fetch_published(url, sha256[:8] + "0" * 56)
    assert fetch_published(url, sha256).is_file()


@pytest.mark.parametrize("name", ["net.pth", "net-0123abc.pth", "net-0123ABCD.pth", "net-01234567"])
def test_a_name_without_digits_is_refused_before_anything_is_asked(
    name: str, server: Server
) -> None:
    with pytest.raises(InputError, match="does not end with digits of its sha256"):
        fetch_published(f"{server.url}/{name}")
    assert server.asked == []


@pytest.mark.parametrize("below", ["", "v0.5/net"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_has_files_by_name_or_by_path(
    below: str,
    slash: str,
    url: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = tmp_path / "mirror/of/weights" / below
    place.mkdir(parents=True)
    shutil.move(served_file(server), place)
    with serving(tmp_path / "mirror") as mirror:
        monkeypatch.setenv("SEGTRANSFER_WEIGHTS", f"{mirror.url}/of/weights{slash}")
        assert fetch_published(url).is_file()
        assert mirror.asked[-1] == "/" + "/".join(
            filter(None, ["of/weights", below, Path(url).name])
        )
    assert server.asked == []


def test_a_mirror_is_checked_as_the_publisher_is(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "mirror") as mirror:
        monkeypatch.setenv("SEGTRANSFER_WEIGHTS", mirror.url)
        with pytest.raises(
            InputError, match=r"404.*check the URL, or change the mirror, SEGTRANSFER_WEIGHTS"
        ):
            fetch_published(url)
        spoil(mirror.folder / Path(url).name)
        with pytest.raises(InputError, match="another sha256 than the digits"):
            fetch_published(url)
    with pytest.raises(ServerError, match="refused"):
        fetch_published(url)
    assert server.asked == []


@pytest.mark.parametrize("below", ["", "v0.5/net"])
def test_a_folder_has_files_by_name_or_by_path_and_is_used_in_place(
    below: str, url: str, server: Server, cache: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    place = tmp_path / "shared" / below
    place.mkdir(parents=True)
    shutil.copy(served_file(server), place)
    monkeypatch.setenv("SEGTRANSFER_WEIGHTS", str(tmp_path / "shared"))
    path = fetch_published(url)
    assert path == place / Path(url).name
    assert [p.name for p in cache.iterdir()] == [f"{path.name}.sha256"]
    spoil(path)
    with pytest.raises(InputError, match=f"in {path}, has another sha256 than the digits"):
        fetch_published(url)
    assert path.exists(), "a file of the user is not deleted"
    assert server.asked == []


def test_a_url_with_its_hash_comes_from_the_folder_too(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = sha256_of(served_file(server))
    monkeypatch.setenv("SEGTRANSFER_WEIGHTS", str(served_file(server).parent))
    assert fetch(url, sha256) == served_file(server)
    with pytest.raises(InputError, match=r"another sha256 than the given 0+"):
        fetch(url, "0" * 64)
    assert served_file(server).exists()
    assert server.asked == []


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("{folder}", r"has no file v0\.5/net/net-\w{8}\.pth and no net-\w{8}\.pth; copy it there"),
        ("{folder}/gone", "is no folder and no URL"),
        ("s3://bucket/weights", "SEGTRANSFER_WEIGHTS s3://bucket/weights is no https or http URL"),
        (
            "http://me:secret@host/",
            r"SEGTRANSFER_WEIGHTS http://host/ is given with credentials; leave them out",
        ),
    ],
)
def test_a_place_without_the_file_is_one_sentence(
    place: str, told: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGTRANSFER_WEIGHTS", place.format(folder=tmp_path))
    with pytest.raises(InputError, match=told) as refused:
        fetch_published(url)
    assert "secret" not in str(refused.value)


def test_a_mistyped_hash_deletes_no_file_that_its_digits_and_its_record_prove(
    url: str, server: Server, cache: Path
) -> None:
    path = fetch_published(url)
    with pytest.raises(InputError, match=r"another sha256 than the given 0+"):
        fetch_published(url, "0" * 64)
    assert fetch_published(url) == path
    assert len(server.asked) == 1
    own = cache / "mine.pth"
    own.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"another sha256 than the given 0+"):
        fetch(str(own), "0" * 64)
    assert own.exists(), "a path is the user's, wherever it lies"


def test_a_cache_that_cannot_be_written_refuses_no_file_of_a_folder(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("SEGTRANSFER_WEIGHTS", str(served_file(server).parent))
    assert fetch_published(url) == served_file(server)


def test_the_urls_path_goes_before_a_name_that_others_may_have(
    url: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "shared"
    (place / "v0.5/net").mkdir(parents=True)
    shutil.copy(served_file(server), place / "v0.5/net")
    (place / served_file(server).name).write_bytes(b"another model of this name")
    monkeypatch.setenv("SEGTRANSFER_WEIGHTS", str(place))
    assert fetch_published(url) == place / "v0.5/net" / served_file(server).name


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "SEGTRANSFER_WEIGHTS"])
def test_home_of_no_user_is_refused(
    variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "~nobody-here/x")
    with pytest.raises(InputError, match=f"{variable}=~nobody-here/x is no folder"):
        fetch_published(url)


def test_an_empty_cache_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert cache_folder() == Path("~/.cache/segtransfer").expanduser()
