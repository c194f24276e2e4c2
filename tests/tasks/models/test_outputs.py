"""A model returns float N x K x H x W behind every adapter and wrapper, or fails in a sentence."""

from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attack import attack
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.probe import examine, probe
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import annotations, ids, pictures
from tests.tasks.cases import spec as attack_spec

WRONG = {
    "extra": "model 'm' returned 4 channels, and its num_classes is 3",
    "dictionary": r"model 'm' returned a dict; return logits .*for torchvision: its \['out'\]",
    "pair": "model 'm' returned a tuple; return logits N x K x H x W",
    "nothing": "model 'm' returned None; return logits",
    "array": "returned a ndarray|raised RuntimeError",
    "classes": r"model 'm' returned \[1, 128, 160\] of torch.int64",
    "mask": r"model 'm' returned \[1, 3, 128, 160\] of torch.int64",
    "small": r"logits of shape \[1, 3, 16, 20\] for images of shape \[1, 3, 128, 160\]",
    "two_inputs": r"128 x 160 .*raised TypeError: .*missing 1 required positional argument",
}
WRAPPED: dict[str, dict[str, Any]] = {
    "alone": {},
    "windows": {"inference": {"mode": "slide", "crop": [128, 160], "stride": [8, 8]}},
    "scaled": {"inference": {"mode": "whole", "scale": 0.5}},
    "mapped": {"classes": ["a", "b", "c"], "label_map": {"a": "x", "b": "y", "c": None}},
}


def load(function: str, **fields: Any) -> Segmenter:
    source = {"callable": f"tests.foreign_models:{function}"}
    return adapters.load(ModelSpec.model_validate({"name": "m", "torch": source, **fields}))


@pytest.mark.parametrize("function", WRONG)
def test_output_of_a_wrong_kind_is_one_sentence(function: str) -> None:
    with pytest.raises(InputError, match=WRONG[function]):
        load(function)(probe(1))


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_output_behind_a_wrapper_is_checked(wrapped: str) -> None:
    for function, said in (("extra", "4 channels"), ("pair", "a tuple")):
        with pytest.raises(InputError, match=said):
            load(function, **WRAPPED[wrapped])(probe(1))


def test_output_of_an_ensembles_member_is_checked() -> None:
    members = [
        {"name": name, "torch": {"callable": f"tests.foreign_models:{name}"}}
        for name in ("right", "extra")
    ]
    model = adapters.load(ModelSpec.model_validate({"name": "both", "ensemble": members}))
    with pytest.raises(InputError, match="model 'extra' returned 4 channels"):
        model(probe(1))


def test_number_of_images_is_checked() -> None:
    with pytest.raises(InputError, match=r"here \[2, 3, 8, 8\]"):
        load("one_image")(torch.rand(2, 3, 8, 8))


@pytest.mark.parametrize(("function", "kind"), [("nan", "NaN"), ("infinite", "infinite")])
def test_scored_logits_that_are_not_finite_name_model_and_image(function: str, kind: str) -> None:
    images, labels = pictures(2, 8, 6), annotations(2, 8, 6, 3)
    model = load(function)
    examine(model)  # no reason to refuse the model: its tasks' images may be fine
    with pytest.raises(InputError, match=f"model 'm' returned {kind} logits for image p"):
        evaluate(model, images, labels, num_classes=3, micro_batch=2, image_ids=["p", "q"])


@pytest.mark.parametrize("function", ["double", "huge", "rounded", "without_graph"])
def test_unusual_logits_that_are_right_are_scored(function: str) -> None:
    images, labels = pictures(2, 8, 6), annotations(2, 8, 6, 3)
    model = load(function)
    examine(model)
    scored = evaluate(model, images, labels, num_classes=3, micro_batch=2)
    assert scored.predictions.shape == (2, 8, 6)
    assert scored.report.keys() == {"numerics", "cost"}
    assert "left_off" not in scored.report["numerics"]


def make(function: str, **fields: Any) -> Any:
    return attack(
        load(function), attack_spec(**fields), pictures(2, 8, 6), annotations(2, 8, 6, 3), ids(2),
        seed=0, group=0, micro_batch=2,
    )  # fmt: skip


def test_source_without_a_graph_is_one_sentence() -> None:
    with pytest.raises(InputError, match="model 'm' returned logits without a gradient"):
        make("without_graph", steps=1)


def test_share_of_zero_gradients_is_reported() -> None:
    (health,) = make("rounded", steps=2).report["health"]
    assert np.array(health["zero_gradients"]).min() == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1.0", "returned 1.0 for 2 images"),
        ("logits.sum()", r"returned \[\] of torch.float32 for 2 images"),
        ("labels.sum((1, 2))", r"returned \[2\] of torch.int64"),
        ("logits.sum((1, 2, 3)).detach()", "has no gradient to the logits"),
        ("logits.sum((1, 2, 3)) + float('inf')", "was inf at step 1 of image image-0"),
        ("logits.sum((1, 2, 3)) + float('nan')", "was nan at step 1 of image image-0"),
        ("logits.shape()", "raised TypeError"),
        ("torch.zeros(2, requires_grad=True)", "does not depend on the images"),
    ],
)
def test_wrong_loss_is_refused_in_a_sentence(
    text: str, said: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = f"loss_{abs(hash(text))}"
    body = f"import torch\ndef f(logits, labels, context):\n    return {text}\n"
    (tmp_path / f"{module}.py").write_text(body)
    with pytest.raises(InputError, match=said):
        make("right", steps=1, loss=f"{module}:f")
