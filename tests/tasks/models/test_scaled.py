"""Test-time scale: what the network sees, what comes back, and that it is dynamic scaling's own."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from segtransfer.tasks.attack import attack
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.scaled import ScaledSegmenter
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import annotations, ids, pictures, spec

WHOLE = {"mode": "whole"}


def toy_spec(function: str = "convolutional", scale: Any = None, **arguments: Any) -> ModelSpec:
    source = {"callable": f"tests.toys:{function}", "arguments": arguments}
    inference = {} if scale is None else {"inference": {**WHOLE, "scale": scale}}
    return ModelSpec.model_validate({"name": "m", "torch": source, **inference})


def toy(function: str = "convolutional", scale: Any = None, **arguments: Any) -> Segmenter:
    return adapters.load(toy_spec(function, scale, **arguments))


def fingerprint(spec: ModelSpec) -> str:
    return adapters.describe(spec).fingerprint


def test_a_flat_image_is_flat_at_any_scale() -> None:
    weights = [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    images = torch.full((1, 3, 20, 30), 0.25)
    for scale in (0.5, 0.75, 1.5, 2):
        with torch.inference_mode():
            logits = toy("linear", scale, weights=weights)(images)
        assert logits.shape == (1, 2, 20, 30)
        torch.testing.assert_close(logits[:, 0], torch.full((1, 20, 30), 0.25))
        torch.testing.assert_close(logits[:, 1], torch.full((1, 20, 30), 0.5))


def test_the_network_sees_the_image_at_the_scale() -> None:
    seen: list[tuple[int, ...]] = []
    model = toy("staged", 0.5, size_divisor=8)
    assert isinstance(model, ScaledSegmenter)
    inner = model.inner.logits
    model.inner.logits = lambda images: seen.append(images.shape[-2:]) or inner(images)  # type: ignore
    with torch.inference_mode():
        assert model(torch.rand(2, 3, 48, 70)).shape == (2, 3, 48, 70)
    assert seen == [(24, 32)]  # 35 is snapped to a multiple of eight
    assert model.cost.pixels == 2 * 24 * 32
    assert model.size_divisor == 8


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25])
def test_pgd_on_a_scaled_network_is_dynamic_scaling_at_that_scale_bit_for_bit(scale: float) -> None:
    images, labels = pictures(3, 24, 32), annotations(3, 24, 32, classes=3)
    fixed = spec("ds", eps="8/255", steps=3, transforms=[{"ds": {"low": scale, "width": 0}}])
    made = [
        attack(model, attack_spec, images, labels, ids(3), seed=0, group=0, micro_batch=3).images
        for model, attack_spec in (
            (toy("staged", scale), spec("pgd", eps="8/255", steps=3)),
            (toy("staged"), fixed),
            (toy("staged"), spec("pgd", eps="8/255", steps=3)),
        )
    ]
    assert (made[0] == made[1]).all()
    assert (made[0] != made[2]).any()


def test_a_scale_of_one_is_the_network_itself() -> None:
    assert not isinstance(toy(scale=1), ScaledSegmenter)
    assert fingerprint(toy_spec(scale=1)) == fingerprint(toy_spec())


def test_the_fingerprint_follows_the_scale_and_all_else_is_known_as_before() -> None:
    plain, half = (adapters.describe(toy_spec(scale=s)) for s in (None, "1/2"))
    found = [fingerprint(toy_spec(scale=scale)) for scale in (None, 0.5, 0.75, 1.5)]
    assert len(set(found)) == 4
    assert half.fingerprint == found[1]
    assert (half.backbone, half.classes, half.head) == (plain.backbone, plain.classes, plain.head)


def test_gradients_come_back_to_native_pixels() -> None:
    images = torch.rand(1, 3, 24, 32, requires_grad=True)
    model = toy("staged", 0.5)
    gradient = model.gradient(model(images).logsumexp(1).sum(), images)
    assert gradient.shape == images.shape
    assert (gradient != 0).all()
    assert (model.cost.forwards, model.cost.backwards) == (1, 1)


def test_what_a_feature_loss_reads_is_found_behind_the_scale() -> None:
    model = ScaledSegmenter(adapters.load(ModelSpec.model_validate("fcn-r18")), 0.5)
    assert model.feature_layer is not None
    inner = model.inner.get_submodule(model.inner.feature_layer or "")
    assert model.get_submodule(model.feature_layer) is inner


def test_a_member_of_an_ensemble_may_have_a_scale() -> None:
    members = [toy_spec(scale=0.5).model_copy(update={"name": "half"}), toy_spec()]
    ensemble = ModelSpec.model_validate(
        {"name": "e", "ensemble": [member.model_dump(mode="json") for member in members]}
    )
    images = torch.rand(1, 3, 16, 24)
    with torch.inference_mode():
        both = adapters.load(ensemble)(images)
        torch.testing.assert_close(both, (toy(scale=0.5)(images) + toy()(images)) / 2)


@pytest.mark.parametrize(
    ("inference", "told"),
    [
        ({"mode": "whole", "scale": 0}, "greater than 0"),
        ({"mode": "whole", "scale": 5}, "less than or equal to 4"),
        (
            {"mode": "slide", "crop": [8, 8], "stride": [8, 8], "scale": 0.5},
            "scale is 0.5, and mode slide",
        ),
    ],
    ids=str,
)
def test_scales_that_cannot_be_are_refused(inference: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ModelSpec.model_validate(
            {"name": "m", "torch": {"callable": "tests.toys:staged"}, "inference": inference}
        )
