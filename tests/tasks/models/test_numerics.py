from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from segtransfer.errors import InputError
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.models import adapters, applied_numerics
from segtransfer.tasks.models.applied_numerics import with_numerics
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.numerics import REFERENCE, Numerics
from segtransfer.tasks.models.probe import probe
from segtransfer.tasks.models.spec import ModelSpec
from tests.tasks.cases import annotations, pictures, toy

ALL = {"fold": True, "channels_last": True, "bf16": True}


def read(value: Any) -> Numerics:
    return Numerics.model_validate(value)


def zoo(value: Any) -> Segmenter:
    return adapters.load(ModelSpec.model_validate("fcn-r18"), numerics=read(value))


def images_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(1, 3, 48, 64, generator=generator)
    return images, torch.randint(0, 11, (1, 48, 64), generator=generator)


def gradient(model: Segmenter) -> torch.Tensor:
    images, labels = images_and_labels()
    images.requires_grad_(True)
    return model.gradient(nn.functional.cross_entropy(model(images), labels), images)


def equal_signs(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one.sign() == other.sign()).float().mean().item()


def test_reference_is_everything_off_and_fast_everything_auto() -> None:
    assert read("reference") == read({}) == REFERENCE
    assert set(read("fast").model_dump().values()) == {"auto"}
    assert read({"fold": True}) == Numerics(fold=True, channels_last=False, bf16=False)


def test_identity_of_numerics_is_a_canonical_value() -> None:
    assert REFERENCE.identity() == "reference"
    asked = {"fold": True, "channels_last": False, "bf16": "auto"}
    assert read(asked).identity() == asked
    assert read(read("fast").identity()) == read("fast")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("fats", "unknown numerics 'fats'; did you mean 'fast'"),
        ({"folding": True}, "unknown key 'folding'; did you mean 'fold'"),
        ({"bf16": "yes please"}, "'yes please' is no option; write true, false or auto"),
    ],
)
def test_wrong_numerics_are_refused_with_allowed_values(wrong: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as caught:
        read(wrong)
    assert caught.value.error_count() == 1


def test_reference_numerics_leave_the_model_without_a_forward() -> None:
    model = toy("convolutional")
    assert with_numerics(model, REFERENCE) is model
    assert model.cost.forwards == 0
    assert model.numerics.equal_signs == {}


def test_folding_leaves_no_batch_norm_and_the_same_logits() -> None:
    reference, folded = zoo("reference"), zoo({"fold": True})
    assert any(isinstance(m, _BatchNorm) for m in reference.modules())
    assert not any(isinstance(m, _BatchNorm) for m in folded.modules())
    assert not any(m.training for m in folded.modules())
    assert not any(p.requires_grad for p in folded.parameters())
    images, _ = images_and_labels()
    torch.testing.assert_close(folded(images), reference(images), rtol=1e-3, atol=1e-4)


def test_channels_last_reaches_every_convolution() -> None:
    model = zoo({"channels_last": True})
    weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"fold": True}, 0.99),
        ({"channels_last": True}, 0.99),
        ({"fold": True, "channels_last": True}, 0.99),
        ({"bf16": True}, 0.85),
        (ALL, 0.85),
    ],
)
def test_gradients_keep_their_signs_and_their_precision(
    options: dict[str, bool], least: float
) -> None:
    reference, changed = gradient(zoo("reference")), gradient(zoo(options))
    assert changed.dtype == torch.float32
    assert equal_signs(reference, changed) >= least


def test_bf16_stays_inside_the_model_and_its_logits_are_fp32() -> None:
    model = zoo({"bf16": True})
    seen = set()
    for convolution in (m for m in model.modules() if isinstance(m, nn.Conv2d)):
        convolution.register_forward_hook(lambda _m, _i, output: seen.add(output.dtype))
    images, _ = images_and_labels()
    assert model(images).dtype == torch.float32
    assert seen == {torch.bfloat16}


def test_aes_are_scored_by_the_fp32_network() -> None:
    images, labels = pictures(2, 48, 64), annotations(2, 48, 64, 11)
    scored = [
        evaluate(zoo(options), images, labels, num_classes=11, micro_batch=2)
        for options in ({"bf16": True}, "reference")
    ]
    assert np.array_equal(scored[0].predictions, scored[1].predictions)


def test_effective_options_and_equal_signs_are_recorded() -> None:
    model = zoo(ALL)
    told = model.numerics
    assert (told.fold, told.channels_last, told.bf16) == (True, True, True)
    assert set(told.equal_signs) == set(ALL)
    assert told.equal_signs["fold"] > 0.99
    assert 0.9 < told.equal_signs["bf16"] < 1


def test_evaluation_reports_effective_numerics() -> None:
    images, labels = pictures(1, 16, 16), annotations(1, 16, 16, 3)
    model = with_numerics(toy("convolutional"), read({"channels_last": True}))
    report = evaluate(model, images, labels, num_classes=3, micro_batch=1).report
    assert report["numerics"] == {
        "fold": False,
        "channels_last": True,
        "bf16": False,
        "equal_signs": {"channels_last": 1.0},
        "tf32": False,
    }


@pytest.mark.parametrize(
    "hardware", ["none", "_is_amx_tile_supported", "_is_avx512_bf16_supported"]
)
def test_fast_folds_and_reorders_and_takes_bf16_only_from_hardware(
    hardware: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == hardware)
    told = zoo("fast").numerics
    assert (told.fold, told.channels_last, told.bf16) == (True, True, hardware != "none")


def spoil(model: Segmenter) -> Segmenter:
    """An option that turns every gradient round, as a wrong fold might."""
    weight = model.get_parameter("module.second")
    weight.data.neg_()
    return model


def test_an_auto_option_that_changes_the_signs_is_dropped_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(applied_numerics, "_channels_last", spoil)
    plain = toy("convolutional")
    model = with_numerics(toy("convolutional"), read({"channels_last": "auto"}))
    assert not model.numerics.channels_last
    assert model.numerics.equal_signs["channels_last"] < 0.5
    images, _ = images_and_labels()
    assert torch.equal(model(images), plain(images))


def test_an_option_set_true_is_kept_whatever_it_does_to_the_signs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(applied_numerics, "_channels_last", spoil)
    plain = toy("convolutional")
    model = with_numerics(toy("convolutional"), read({"channels_last": True}))
    assert model.numerics.equal_signs["channels_last"] < 0.5
    images, _ = images_and_labels()
    assert torch.equal(model(images), -plain(images))


def test_adapter_without_folding_skips_auto_and_refuses_true() -> None:
    model = with_numerics(toy("convolutional"), read({"fold": "auto"}))
    assert not model.numerics.fold
    assert "can fold batch norms" in model.numerics.left_off["fold"]
    assert model.numerics.equal_signs == {}
    own = {"name": "own", "torch": {"callable": "tests.toys:convolutional"}}
    with pytest.raises(InputError, match=r"fold is true, .* can fold .* set numerics.fold to auto"):
        adapters.load(ModelSpec.model_validate(own), numerics=read({"fold": True}))


def test_ensemble_folds_if_all_members_can() -> None:
    source = {"callable": "tests.toys:convolutional", "arguments": {"num_classes": 11}}
    torch_member = {"name": "own", "torch": source}
    mixed = ModelSpec.model_validate({"name": "mixed", "ensemble": ["fcn-r18", torch_member]})
    both = ModelSpec.model_validate({"name": "both", "ensemble": ["fcn-r18", "pspnet-r18"]})
    with pytest.raises(InputError, match="only mmseg and zoo models can fold"):
        adapters.load(mixed, numerics=read({"fold": True}))
    assert adapters.load(mixed, numerics=read({"fold": "auto"})).numerics.fold
    assert adapters.load(both, numerics=read({"fold": True})).numerics.fold


def test_convolutions_never_compute_in_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    with_numerics(toy("convolutional"), read("fast"))(probe(1))
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("wrap", ["ensemble", "label_map"])
def test_options_reach_the_models_behind_a_wrapper(wrap: str) -> None:
    toy_spec = {"callable": "tests.toys:convolutional"}
    spec: dict[str, Any] = {"name": "whole", "torch": toy_spec}
    if wrap == "ensemble":
        members = [{"name": name, "torch": toy_spec} for name in ("a", "b")]
        spec = {"name": "whole", "ensemble": {"members": members, "average": "gradients"}}
    else:
        spec |= {"classes": ["x", "y", "z"], "label_map": {"x": "p", "y": "q", "z": "p"}}
    model = adapters.load(ModelSpec.model_validate(spec), numerics=read({"bf16": True}))
    parts = [m for m in model.modules() if isinstance(m, Segmenter)]
    assert len(parts) > 1
    assert all(part.numerics.bf16 for part in parts)
    images, _ = images_and_labels()
    assert model(images).dtype == torch.float32


@pytest.mark.parametrize("divisor", [1, 14, 32])
def test_the_probe_is_always_one_image_that_is_rough_as_photographs_are(divisor: int) -> None:
    image = probe(divisor)
    assert torch.equal(image, probe(divisor))
    height, width = image.shape[-2:]
    assert (height % divisor, width % divisor) == (0, 0)
    assert 0 <= image.min() < 0.2
    assert 0.8 < image.max() <= 1
    neighbours = (image[..., 1:] - image[..., :-1]).abs().mean()
    assert 0.01 < neighbours < image.std() / 4
