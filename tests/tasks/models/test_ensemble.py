"""Ensembles: what they predict, what an attack is given, and that every cost counts once."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.ensemble import EnsembleSegmenter
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import toy


def member(name: str, function: str = "linear", **fields: Any) -> dict[str, Any]:
    """A toy member: fields of the spec, and arguments of the toy below ``arguments``."""
    source = {"callable": f"tests.toys:{function}", "arguments": fields.pop("arguments", {})}
    return {"name": name, "torch": source, **fields}


A = member("a", arguments={"weights": [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]})
B = member("b", arguments={"weights": [[0.0, 0.0, 3.0], [2.0, 0.0, 0.0]]})


def spec(*members: Any, **fields: Any) -> ModelSpec:
    return ModelSpec.model_validate({"ensemble": list(members or (A, B)), **fields})


def ensemble(**fields: Any) -> EnsembleSegmenter:
    model = adapters.load(spec(**fields))
    assert isinstance(model, EnsembleSegmenter)
    return model


def fingerprint(read: ModelSpec) -> str:
    return adapters.describe(read).fingerprint


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock on which everything that is timed takes one second."""
    ticks: Iterator[int] = iter(range(10_000))
    monkeypatch.setattr(Segmenter, "_clock", lambda self: float(next(ticks)))


@pytest.mark.parametrize("average", ["logits", "gradients", "loss"])
def test_an_ensemble_predicts_the_weighted_mean_of_logits_however_it_is_attacked(
    average: str,
) -> None:
    images = torch.rand(2, 3, 4, 5)
    a, b = (adapters.load(ModelSpec.model_validate(m)) for m in (A, B))
    expected = 0.25 * a(images) + 0.75 * b(images)
    model = ensemble(weights=[1, 3], average=average)
    torch.testing.assert_close(model(images), expected)
    assert not torch.allclose(model(images), ensemble()(images))
    torch.testing.assert_close(ensemble()(images), (a(images) + b(images)) / 2)


def test_the_gradient_of_averaged_logits_is_that_of_the_whole() -> None:
    model = ensemble(weights=[1, 3])
    images = torch.rand(1, 3, 1, 1, requires_grad=True)
    gradient = model.gradient(model(images)[:, 0].sum(), images)
    assert gradient.flatten().tolist() == [0.25, 0, 0.75 * 3]


@pytest.mark.parametrize(
    ("average", "normalise", "count"),
    [("logits", False, 1), ("gradients", True, 2), ("loss", False, 2)],
)
def test_an_attack_is_given_the_whole_or_the_members(
    average: str, normalise: bool, count: int
) -> None:
    model = ensemble(weights=[1, 3], average=average)
    assert model.normalise_gradients == normalise
    members = model.members()
    assert [weight for _, weight in members] == ([1.0] if count == 1 else [0.25, 0.75])
    assert members[0][0] is (model if count == 1 else model.parts[0])


def test_any_other_model_is_its_own_only_member() -> None:
    model = toy("convolutional")
    assert model.members() == [(model, 1.0)]
    assert (model.normalise_gradients, model.own_scales) == (False, False)


@pytest.mark.parametrize("average", ["gradients", "loss"])
def test_members_draw_their_own_scales_where_asked(average: str) -> None:
    assert ensemble(average=average, own_scales=True).own_scales
    assert not ensemble(average=average).own_scales


@pytest.mark.usefixtures("clock")
def test_the_whole_costs_what_its_members_cost() -> None:
    model = ensemble()
    images = torch.rand(3, 3, 4, 5, requires_grad=True)
    model.gradient(model(images).sum(), images)
    cost = model.cost
    assert (cost.forwards, cost.backwards, cost.pixels) == (6, 6, 6 * 20)
    assert cost.seconds == 2 + 1  # two forwards and the one backward through both
    assert [part.cost.forwards for part, _ in model._weighted()] == [3, 3]


@pytest.mark.usefixtures("clock")
def test_members_that_an_attack_calls_count_in_the_whole_once() -> None:
    model = ensemble(average="loss")
    images = torch.rand(3, 3, 4, 5, requires_grad=True)
    for part, _ in model.members():
        part.gradient(part(images).sum(), images)
    cost = model.cost
    assert (cost.forwards, cost.backwards, cost.pixels, cost.seconds) == (6, 6, 6 * 20, 4)
    with torch.inference_mode():
        model(images)
    assert (model.cost - cost) == replace(cost, backwards=0, seconds=2)


def test_the_pixels_of_one_image_are_those_of_every_member() -> None:
    sliding = {"mode": "slide", "crop": [4, 4], "stride": [4, 2]}
    model = adapters.load(spec(A, B | {"inference": sliding}))
    assert model.pixels_seen(4, 6) == 4 * 6 + 2 * 4 * 4
    with torch.inference_mode():
        model(torch.rand(2, 3, 4, 6))
    assert model.cost.pixels == 2 * model.pixels_seen(4, 6)


class Divided(Segmenter):
    """A model that wants sizes of a multiple."""

    num_classes = 2

    def __init__(self, size_divisor: int) -> None:
        super().__init__()
        self.size_divisor = size_divisor

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :2]


def test_a_size_suits_every_member() -> None:
    model = EnsembleSegmenter(
        [Divided(8), Divided(12)], [0.5, 0.5], average="logits", own_scales=False
    )
    assert model.size_divisor == 24


def test_a_loaded_ensemble_is_frozen() -> None:
    model = ensemble()
    assert not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())


def test_what_is_known_of_an_ensemble_is_what_its_members_share() -> None:
    named = [m | {"classes": ["x", "y"], "backbone": f} for m, f in ((A, "r50"), (B, "mit"))]
    info = adapters.describe(spec(*named))
    assert (info.name, info.backbone) == ("a-and-b", "mit+r50")
    assert (info.num_classes, info.classes) == (2, ("x", "y"))
    twins = [m | {"backbone": "r50"} for m in (A, B)]
    assert adapters.describe(spec(*twins)).backbone == "r50"
    assert adapters.describe(spec(*twins, backbone="both")).backbone == "both"
    assert adapters.describe(spec(named[0], B)).classes == ("x", "y")


def test_the_fingerprint_follows_members_weights_and_averaging_and_not_names() -> None:
    base = fingerprint(spec())
    assert fingerprint(spec(name="other")) == fingerprint(spec(weights=[2, 2])) == base
    assert fingerprint(spec(A | {"name": "x"}, B)) == base
    changed = [
        spec(A, A),
        spec(weights=[1, 2]),
        spec(average="loss"),
        spec(average="gradients"),
        spec(average="gradients", own_scales=True),
    ]
    assert len({base, *map(fingerprint, changed)}) == 6
    assert base not in map(fingerprint, (ModelSpec.model_validate(m) for m in (A, B)))


def test_zoo_models_are_members_by_their_names() -> None:
    read = ModelSpec.model_validate({"ensemble": ["fcn-r18", "pspnet-r18"]})
    assert read.name == "fcn-r18-and-pspnet-r18"
    assert adapters.describe(read).num_classes == 11
    adapters.check(read)
    with torch.inference_mode():
        assert adapters.load(read)(torch.rand(1, 3, 33, 47)).shape == (1, 11, 33, 47)


def test_the_short_form_and_the_long_one_are_one_model() -> None:
    short = spec(weights=[1, 3], average="loss", own_scales=True)
    settings = {"weights": [1, 3], "average": "loss", "own_scales": True}
    long = ModelSpec.model_validate({"ensemble": {"members": [A, B], **settings}})
    assert short == long
    assert ModelSpec.model_validate(short.model_dump(mode="json")) == short
    assert spec(ModelSpec.model_validate(A), B).name == "a-and-b"


def test_members_of_other_classes_are_named() -> None:
    other = member("c", "convolutional", arguments={"num_classes": 5})
    with pytest.raises(InputError, match=r"ensemble 'a-and-c': num_classes of 'a' is 2, of 'c' 5"):
        adapters.load(spec(A, other))
    lists = [A | {"classes": ["x", "y"]}, B | {"classes": ["y", "x"]}]
    with pytest.raises(InputError, match=r"classes of 'a' is x, y, of 'b' y, x; .*label_map"):
        adapters.describe(spec(*lists))


def test_a_member_that_cannot_work_is_named() -> None:
    with pytest.raises(InputError, match=r"model 'gone': tests\.toys:gone cannot"):
        adapters.check(spec(A, member("gone", "gone")))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"ensemble": [A]}, "at least 2 items"),
        ({"ensemble": [A, {"ensemble": [A, B]}], "name": "m"}, r"'a-and-b' is an ensemble; list"),
        ({"ensemble": [A, B], "weights": [1]}, "1 weights for 2 members"),
        ({"ensemble": [A, B], "weights": [1, 0]}, "greater than 0"),
        ({"ensemble": [A, B], "average": "labels"}, "'logits', 'gradients' or 'loss'"),
        (
            {"ensemble": [A, B], "own_scales": True},
            "own_scales is true, .* set average to gradients or loss",
        ),
        ({"ensemble": [A, B], "zoo": "fcn-r18"}, "names zoo and ensemble"),
        ({"ensemble": [A, "no-such"], "name": "m"}, "unknown zoo model 'no-such'"),
        (
            {"ensemble": [A, B], "label_map": {"a": "b"}},
            "has label_map; give label_map to the members",
        ),
        (
            {"ensemble": [A, B], "inference": {"mode": "whole"}},
            "has inference; give inference to the",
        ),
        ({"ensemble": [A, B], "weight": [1, 1]}, "unknown key 'weight'"),
        ({**A, "average": "loss"}, "unknown key 'average'"),
    ],
    ids=str,
)
def test_ensembles_that_cannot_be_are_refused(content: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ModelSpec.model_validate(content)


def test_libraries_can_be_imported_before_a_load_which_imports_no_more() -> None:
    code = """
import sys
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.spec import ModelSpec

toy = {"name": "toy", "torch": {"callable": "tests.toys:linear", "arguments": {"weights": [[1.0]]}}}
spec = ModelSpec.model_validate({"name": "both", "ensemble": ["fcn-r18", toy]})
adapters.import_libraries(spec)
before = set(sys.modules)
assert {"mmseg.models", "tests.toys"} <= before
adapters.load(spec.ensemble.members[0])
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
