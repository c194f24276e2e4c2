"""Checkpoints come from strangers: what is read, and what is refused."""

import builtins
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from segtransfer.errors import InputError
from segtransfer.tasks.models.checkpoint import describe_mismatch, load_state
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.weights import fetch

STATE = {"a.weight": torch.arange(6.0).view(2, 3), "b.num_batches_tracked": torch.tensor(3)}


def assert_state(found: dict[str, torch.Tensor]) -> None:
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[k], STATE[k]) for k in STATE)


def test_a_checkpoint_of_mmengines_runner_loads_without_trust(tmp_path: Path) -> None:
    hub = MessageHub.get_instance("tests")
    hub.update_scalar("train/loss", np.float64(1.5))
    hub.update_scalar("train/loss", torch.tensor(1.25))
    hub.update_info("iter", 3)
    history = hub.state_dict()
    assert any(isinstance(v, HistoryBuffer) for v in history["log_scalars"].values())
    meta = {"dataset_meta": {"classes": ("a", "b")}, "epoch": 3, "seed": np.int64(0)}
    path = tmp_path / "iter_3.pth"
    torch.save({"state_dict": STATE, "meta": meta, "message_hub": history}, path)
    assert_state(load_state(path))


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s}])
def test_bare_and_wrapped_state_dicts_load(wrap: Any, tmp_path: Path) -> None:
    torch.save(wrap(STATE), tmp_path / "a.pth")
    assert_state(load_state(tmp_path / "a.pth"))


def test_the_prefix_of_data_parallel_training_is_taken_off(tmp_path: Path) -> None:
    torch.save({f"module.{k}": v for k, v in STATE.items()}, tmp_path / "a.pth")
    assert_state(load_state(tmp_path / "a.pth"))


def test_safetensors_load(tmp_path: Path) -> None:
    safetensors.torch.save_file(STATE, tmp_path / "a.safetensors")
    assert_state(load_state(tmp_path / "a.safetensors"))


class Foreign:
    """Touches a file when it is unpickled, as malicious code would."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.evidence,)


def test_a_foreign_class_is_refused_unexecuted_and_loads_with_trust(tmp_path: Path) -> None:
    evidence = tmp_path / "executed"
    path = tmp_path / "a.pth"
    torch.save({"state_dict": STATE, "meta": Foreign(evidence)}, path)
    with pytest.raises(InputError, match=r"foreign classes.*Path.*set trust: true") as refused:
        load_state(path)
    assert str(path) in str(refused.value)
    assert not evidence.exists()
    assert_state(load_state(path, trust=True))
    assert evidence.exists()


class _Reach:
    """``getattr(HistoryBuffer.__init__, "__builtins__")["planted"] = ...`` as a pickle."""

    def __reduce__(self) -> tuple[Any, ...]:
        entry = iter([("planted_by_a_checkpoint", torch.zeros(1))])
        return getattr, (_Method(), "__builtins__"), None, None, entry


class _Method:
    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (HistoryBuffer, "__init__")


def test_what_mmengine_needs_is_no_way_to_the_interpreters_builtins(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"state_dict": STATE, "meta": _Reach()}, path)
    with pytest.raises(InputError, match=r"getattr.*set trust: true"):
        load_state(path)
    assert not hasattr(builtins, "planted_by_a_checkpoint")


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04torn"])
def test_a_file_that_is_no_checkpoint_is_said_to_be_none(
    name: str, content: bytes, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name} is no readable"):
        load_state(tmp_path / name)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {"state_dict": {"a": "text"}}], ids=str)
def test_a_file_without_a_state_dict_is_refused(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(InputError, match="holds no state dict"):
        load_state(tmp_path / "a.pth")


def test_a_missing_file_and_a_wrong_hash_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with pytest.raises(InputError, match=f"{path} does not exist"):
        fetch(str(path), None)
    path.write_bytes(b"weights")
    assert fetch(str(path), None) == path
    assert fetch(str(path), sha256_of(path)) == path
    with pytest.raises(
        InputError, match=f"{path} has another sha256 than the given {'0' * 64}"
    ) as refused:
        fetch(str(path), "0" * 64)
    assert sha256_of(path) not in str(refused.value)  # nobody shall paste it


def test_sha256_is_that_of_the_whole_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(tmp_path / "a") == known
    (tmp_path / "b").write_bytes(b"a" * ((1 << 20) + 1))
    (tmp_path / "c").write_bytes(b"a" * (1 << 20))
    assert sha256_of(tmp_path / "b") != sha256_of(tmp_path / "c")


class _Counting(SimpleHTTPRequestHandler):
    requests = 0

    def do_GET(self) -> None:
        type(self).requests += 1
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server over tmp_path/web, with an empty cache beside it."""
    (tmp_path / "web").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    _Counting.requests = 0
    handler = partial(_Counting, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_url_with_its_hash_is_downloaded_once(server: str, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "web/a.pth")
    sha256 = sha256_of(tmp_path / "web/a.pth")
    path = fetch(f"{server}/a.pth", sha256)
    assert_state(load_state(path))
    assert path.is_relative_to(tmp_path / "cache")
    assert fetch(f"{server}/a.pth", sha256) == path
    assert _Counting.requests == 1
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_url_without_a_hash_is_refused_before_anything_is_asked(server: str) -> None:
    with pytest.raises(InputError, match="is a URL; give the file's sha256"):
        fetch(f"{server}/a.pth", None)
    assert _Counting.requests == 0


def test_a_download_of_another_hash_is_refused_and_not_kept(server: str, tmp_path: Path) -> None:
    served = tmp_path / "web/a.pth"
    torch.save(STATE, served)
    content, sha256 = served.read_bytes(), sha256_of(served)
    served.write_bytes(b"an error page")
    with pytest.raises(InputError, match=f"another sha256 than the given {sha256}"):
        fetch(f"{server}/a.pth", sha256)
    served.write_bytes(content)
    assert_state(load_state(fetch(f"{server}/a.pth", sha256)))


def test_a_url_that_is_not_there_is_named_and_leaves_no_file(server: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.pth cannot be downloaded: .*404"):
        fetch(f"{server}/gone.pth", "0" * 64)
    assert {p.suffix for p in (tmp_path / "cache/segtransfer").iterdir()} <= {".lock"}


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org/a.pth", "s3://b/a.pth"])
def test_only_web_addresses_are_fetched(url: str) -> None:
    with pytest.raises(InputError, match="is no https or http URL"):
        fetch(url, "0" * 64)


def test_a_mismatch_names_missing_unknown_and_misshaped_keys() -> None:
    expected = {"a": torch.zeros(2), "b": torch.zeros(3), "n.num_batches_tracked": torch.zeros(())}
    found = {"b": torch.zeros(4), "c": torch.zeros(1)}
    message = describe_mismatch(expected, found)
    assert "1 keys missing from the checkpoint: a" in message
    assert "1 keys unknown to the network: c" in message
    assert "b is (4,), the network has (3,)" in message
    assert describe_mismatch(expected, {"a": torch.zeros(2), "b": torch.zeros(3)}) == ""
    many = describe_mismatch({f"k{i}": torch.zeros(1) for i in range(9)}, {})
    assert many == "9 keys missing from the checkpoint: k0, k1, k2, k3, k4 ..."
