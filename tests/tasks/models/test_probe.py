"""A model is tried before its first task, and never refused if its tasks would accept it."""

from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.experiment.task import Task
from segtransfer.runtime.perform import TaskInputs, perform
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.numerics import Numerics
from segtransfer.tasks.models.probe import PROBE_SIZES, examine, probe
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.randomness import global_states, seeded
from tests.tasks.cases import annotations, ids, pictures
from tests.tasks.models.test_outputs import load

LABELS = annotations(2, 24, 32, 3)
INPUTS = TaskInputs(tuple(ids(2)), 0, pictures(2, 24, 32), LABELS)


def score(model: Segmenter, key: str = "k") -> Any:
    return perform(model, Task(key, "m", "shard", 1.0, 0, num_classes=3), INPUTS, 2)


@pytest.mark.parametrize("function", ["extra", "dictionary", "mask", "nothing"])
def test_output_that_no_size_helps_is_refused_with_the_load(function: str) -> None:
    with pytest.raises(InputError, match="model 'm' returned"):
        examine(load(function))


def test_model_of_one_size_is_taken_with_the_images_of_its_tasks() -> None:
    model = load("fixed")
    examine(model)
    assert not model.examined
    assert score(model).confusions.sum() == (LABELS != 255).sum()
    assert model.examined


def test_model_of_one_size_is_not_refused_by_fast_numerics() -> None:
    spec = {"name": "m", "torch": {"callable": "tests.foreign_models:fixed"}}
    model = adapters.load(ModelSpec.model_validate(spec), numerics=Numerics.model_validate("fast"))
    assert "expected 24 x 32" in model.numerics.left_off["fold"]
    assert "expected 24 x 32" in score(model).report["numerics"]["left_off"]["channels_last"]


@pytest.mark.parametrize("function", ["dropped", "numpy_noise", "rarely_drawn"])
def test_model_that_answers_differently_is_noticed_and_its_tasks_repeat(function: str) -> None:
    model = load(function)
    examine(model)
    assert not model.deterministic
    one, again, other = (score(model, key) for key in ("k", "k", "l"))
    assert one.report["deterministic"] is False
    assert np.array_equal(one.predictions, again.predictions)
    if function == "dropped":
        assert not np.array_equal(one.predictions, other.predictions)


def test_deterministic_model_is_reported_as_before() -> None:
    model = load("right")
    examine(model)
    assert model.deterministic
    assert score(model).report.keys() == {"numerics", "cost"}


def test_seeding_leaves_the_generators_of_the_process_as_they_were() -> None:
    before = global_states()
    with seeded("a"):
        drawn = torch.rand(3), np.random.rand(3)
        assert global_states() != before
    assert global_states() == before
    with seeded("a"):
        assert torch.equal(torch.rand(3), drawn[0])
        assert np.array_equal(np.random.rand(3), drawn[1])


@pytest.mark.parametrize("divisor", [1, 14, 32])
@pytest.mark.parametrize("size", PROBE_SIZES[:3])
def test_probes_have_sizes_that_the_divisor_divides(divisor: int, size: tuple[int, int]) -> None:
    height, width = probe(divisor, size).shape[-2:]
    assert (height % divisor, width % divisor) == (0, 0)
    assert (height, width) >= size


@pytest.fixture
def broken_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold that gives other weights than it should, as one by registration order does."""

    def fold(self: Segmenter) -> bool:
        next(p for p in self.parameters() if p.ndim == 4).data.mul_(1.5)
        return True

    monkeypatch.setattr("segtransfer.tasks.models.torch.TorchSegmenter.fold", fold)


def assert_equal_scores(one: Segmenter, other: Segmenter) -> None:
    with torch.no_grad():  # bf16 is for gradients
        torch.testing.assert_close(one(probe(1)), other(probe(1)))


TOY = {"name": "m", "torch": {"callable": "tests.toys:convolutional"}}


def test_wrong_fold_is_off_with_a_reason(broken_fold: None) -> None:
    plain = adapters.load(ModelSpec.model_validate(TOY))
    fast = adapters.load(ModelSpec.model_validate(TOY), numerics=Numerics.model_validate("fast"))
    assert not fast.numerics.fold
    assert fast.numerics.channels_last
    assert "changes the logits" in fast.numerics.left_off["fold"]
    assert_equal_scores(fast, plain)


def test_wrong_fold_that_is_required_is_refused(broken_fold: None) -> None:
    with pytest.raises(InputError, match=r"fold is true, and impossible with model 'm' \(fold ch"):
        adapters.load(ModelSpec.model_validate(TOY), numerics=Numerics(fold=True))


def test_fold_that_raises_leaves_the_model_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def fold(self: Segmenter) -> bool:
        next(self.parameters()).data.zero_()
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("segtransfer.tasks.models.torch.TorchSegmenter.fold", fold)
    plain = adapters.load(ModelSpec.model_validate(TOY))
    fast = adapters.load(ModelSpec.model_validate(TOY), numerics=Numerics.model_validate("fast"))
    assert fast.numerics.left_off == {"fold": "fold raised RuntimeError: shapes differ"}
    assert_equal_scores(fast, plain)
