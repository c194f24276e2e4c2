"""Every text that a user can write is read right, or refused in a sentence: no traceback.

The ordinary suite runs a sample; the slow suite 10,000 examples.
"""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from segtransfer import open_results
from segtransfer.cli import app
from segtransfer.errors import InputError
from segtransfer.experiment.manifest import describe
from segtransfer.experiment.plan import make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.search_spaces import read_space
from segtransfer.searches.spec import confirming_experiment, read_search, trials_experiment
from segtransfer.store import Store
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.checkpoint import load_state
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.zoo import ZOO
from tests.fuzz import grammar
from tests.fuzz.stands import problems
from tests.orchestrator.experiment.specs import good
from tests.orchestrator.searches.searches import grey_spec
from tests.orchestrator.toy_experiments import run_toy, toy, write_images

LEAST_ACCEPTED = 0.2
# Examples in the ordinary suite, and in the slow suite: so many that the share accepted, a third or
# more in the long run, is above the least.
COUNTS = {
    "specs": (150, 4000),
    "commands": (150, 500),
    "overrides": (60, 2500),
    "searches": (60, 1500),
    "datasets": (60, 900),
    "manifests": (150, 500),
    "metas": (5, 100),
}
assert sum(slow for _, slow in COUNTS.values()) == 10_000

SUITES = [pytest.param(0, id="sample"), pytest.param(1, id="all", marks=pytest.mark.slow)]
every_suite = pytest.mark.parametrize("suite", SUITES)


def fuzz(
    name: str, suite: int, inputs: st.SearchStrategy[Any], accepts: Callable[..., bool]
) -> None:
    """Give drawn inputs to a reader; a fifth or more must be accepted.

    Args:
        name: The name of the count.
        suite: 0 is the sample, the same while the same modules are in memory, whose constants
            Hypothesis draws too; 1 is the slow suite.
        inputs: The inputs.
        accepts: Tells whether an input was accepted; raises nothing unless there is a mistake.
    """
    seen: Counter[bool] = Counter()

    @settings(
        max_examples=COUNTS[name][suite],
        derandomize=not suite,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs)
    def run(drawn: Any) -> None:
        seen[accepts(drawn)] += 1

    run()
    assert seen[True] >= LEAST_ACCEPTED * seen.total(), seen


def result_of(read: Callable[[], Any]) -> Any:
    """Return what a reader read, or None if it refused the input in sentences."""
    try:
        return read()
    except InputError as error:
        message = str(error)
    assert message.strip()
    assert "Traceback" not in message
    assert "pydantic" not in message
    return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with four labelled images."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "data", count=4)
    return tmp_path


def put(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


@st.composite
def texts(draw: st.DrawFn, contents: st.SearchStrategy[Any]) -> tuple[Any, str]:
    """Draw a content and its text, which may be torn."""
    content = draw(grammar.sometimes_mistaken(contents))
    text = draw(grammar.written(content))
    return content, text


@every_suite
def test_specs(suite: int, folder: Path) -> None:
    def accepts(drawn: tuple[Any, str]) -> bool:
        content, text = drawn
        experiment = result_of(lambda: read_experiment(put(folder / "spec.yaml", text)))
        if experiment is None:
            return False
        plan = result_of(lambda: make_plan(experiment, Store(str(folder / "store"))))
        manifest = describe(plan).spec if plan else experiment.model_dump(mode="json")
        json.dumps(manifest, allow_nan=False)
        runtime = experiment.runtime.model_dump(mode="json")
        if text in (grammar.dump(content), json.dumps(content)):
            assert problems(content, {**manifest, "runtime": runtime}) == []
        return plan is not None

    fuzz("specs", suite, texts(grammar.specs(Path("data"))), accepts)


@every_suite
def test_commands(suite: int, folder: Path) -> None:
    def accepts(drawn: tuple[Any, str]) -> bool:
        path = put(folder / "spec.yaml", drawn[1])
        done = CliRunner().invoke(app, ["plan", str(path), "--store", str(folder / "store")])
        assert done.exit_code in (0, 2), done.output
        assert "Traceback" not in done.output
        return done.exit_code == 0

    fuzz("commands", suite, texts(grammar.specs(Path("data"))), accepts)


@every_suite
def test_overrides(suite: int, folder: Path) -> None:
    def accepts(overrides: list[str]) -> bool:
        return result_of(lambda: read_experiment(good(), overrides)) is not None

    fuzz("overrides", suite, grammar.overrides(), accepts)


@every_suite
def test_searches(suite: int, folder: Path) -> None:
    valid = grey_spec(folder)

    def read(text: str) -> Any:
        search = read_search(put(folder / "search.yaml", text))
        space = search.search.space
        read_space(space, folder)
        trials_experiment(search)
        confirming_experiment(search, [])
        return search

    def accepts(drawn: tuple[Any, str]) -> bool:
        content, text = drawn
        search = result_of(lambda: read(text))
        if search is not None and text in (grammar.dump(content), json.dumps(content)):
            assert problems(content, search.model_dump(mode="json")) == []
        return search is not None

    fuzz("searches", suite, texts(grammar.searches(valid)), accepts)


@every_suite
def test_datasets(suite: int, folder: Path) -> None:
    spec = DataSpec(folder=str(folder / "data"))

    def read() -> Any:
        dataset = open_dataset(spec)
        list(make_shards(dataset, spec, groups=2, shard_size=2))
        return dataset

    def accepts(drawn: tuple[Any, str]) -> bool:
        content, _ = drawn
        put(folder / "data" / "dataset.json", json.dumps(content))
        dataset = result_of(read)
        if dataset is not None:
            assert list(dataset.classes) == content["classes"]
        return dataset is not None

    fuzz("datasets", suite, texts(grammar.DATASETS), accepts)


@every_suite
def test_manifests(suite: int, tmp_path: Path) -> None:
    run_toy(tmp_path, attacks=["noise"], models=[toy("a", seed=1)])
    (path,) = (tmp_path / "store" / "experiments").glob("*.json")
    valid = json.loads(path.read_text())

    def read() -> Any:
        found = open_results(tmp_path / "store")
        for results in found:
            for attack in results.attacks:
                results.matrix(attack)
            results.frame()
        return found

    def accepts(drawn: tuple[Any, str]) -> bool:
        path.write_text(json.dumps(drawn[0]))
        return bool(result_of(read))

    fuzz("manifests", suite, texts(st.just(valid)), accepts)


@every_suite
def test_metas(suite: int, tmp_path: Path) -> None:
    shipped = ZOO["fcn-r18"]
    checkpoint = tmp_path / "weights.pth"
    source = {"config": str(shipped.config), "checkpoint": str(checkpoint)}
    model = ModelSpec.model_validate({"name": "mine", "mmseg": source})
    state = load_state(shipped.weights)

    def read() -> bool:
        adapters.check(model)
        adapters.describe(model)
        return True

    def accepts(meta: Any) -> bool:
        torch.save({"state_dict": state, "meta": meta}, checkpoint)
        return bool(result_of(read))

    metas = grammar.sometimes_mistaken(grammar.metas(list(shipped.classes)))
    fuzz("metas", suite, metas, accepts)
