"""The registry of executors: an executor is one entry, which says how a run reaches its driver."""

from pathlib import Path
from typing import ClassVar

import pytest

from segtransfer.errors import InputError
from segtransfer.experiment.runtime_spec import EXECUTORS, ExecutorKind, Runtime
from segtransfer.runtime.client import LocalClient
from segtransfer.runtime.executors.inline import Inline
from segtransfer.runtime.runner import open_client
from tests.architecture.modules import modules
from tests.orchestrator.toy_experiments import assert_same_bits, run_toy


class Counting(Inline):
    """The inline executor under another name; remembers for which runs it was opened."""

    opened: ClassVar[list[str]] = []

    def connect(self, runtime: Runtime, name: str) -> LocalClient:
        self.opened.append(name)
        return super().connect(runtime, name)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    EXECUTORS.names()
    monkeypatch.setitem(EXECUTORS._shipped, "counting", Counting())
    monkeypatch.setattr(Counting, "opened", [])
    return Counting


def test_new_executor_needs_only_an_entry(counting: type[Counting], tmp_path: Path) -> None:
    runtime = {"executor": "counting", "tracking": False, "store": str(tmp_path / "counting")}
    results = run_toy(tmp_path, runtime=runtime)
    assert counting.opened == [f"segtransfer-{results.identity[:16]}"]
    inline = runtime | {"executor": "inline", "store": str(tmp_path / "inline")}
    assert_same_bits(results, run_toy(tmp_path, runtime=inline))


def test_a_fleet_needs_an_executor_with_workers(tmp_path: Path) -> None:
    fields = {"executor": "inline", "fleet": {"name": "ours"}, "store": str(tmp_path)}
    runtime = Runtime.model_validate(fields)
    with (
        pytest.raises(InputError, match=r"Fleets need Ray, but runtime.executor is 'inline'"),
        open_client(runtime, "0" * 64),
    ):
        pass


def test_no_other_module_knows_executors_by_name() -> None:
    """Only the default does, and the doctor, which lists packages."""
    told = {"segtransfer.experiment.runtime_spec", "segtransfer.reporting.doctor"}
    quoted = [f"{quote}{name}{quote}" for name in EXECUTORS for quote in ("'", '"')]
    naming = {
        module
        for module, path in modules().items()
        if ".executors." not in module and "executor" in (text := path.read_text())
        and any(name in text for name in quoted)
    }  # fmt: skip
    assert naming - told == set()
    assert all(isinstance(entry, ExecutorKind) for entry in EXECUTORS.values())
