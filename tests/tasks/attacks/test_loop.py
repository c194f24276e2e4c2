"""The attack loop on toys whose answer is known."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.attack import attack
from tasks.attacks import loop
from tasks.attacks.spec import AttackSpec
from tasks.models.base import Segmenter
from tests.tasks.cases import annotations, as_tensors, ids, pictures, spec, toy

WEIGHTS = [[1.0, -0.5, 0.25], [-0.75, 0.5, 2.0]]
CONVOLUTIONAL = toy("convolutional")


def run(
    rule: AttackSpec, *, model: Segmenter = CONVOLUTIONAL, seed: int = 0, group: int = 0, n: int = 2
) -> tuple[torch.Tensor, loop.Health]:
    images, labels = as_tensors(pictures(n, 24, 36), annotations(n, 24, 36, 3))
    return loop.run(model, rule, images, labels, ids(n), seed=seed, group=group)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("shape", [(8, 8), (6, 17), (21, 5)])
@pytest.mark.parametrize("preset", ["fgsm", "pgd", "mi"])
def test_a_linear_toy_is_driven_to_its_closed_form_optimum(
    preset: str, shape: tuple[int, int], count: int
) -> None:
    """Two classes, logits w_k . colour: every labelled value moves by eps * sign(w_other - w_y)
    up to the box; an unlabelled pixel pulls no gradient and stays."""
    images, labels = pictures(count, *shape), annotations(count, *shape, 2)
    rule = spec(preset, eps="8/255")
    model = toy("linear", weights=WEIGHTS)
    found = attack(model, rule, images, labels, ids(count), seed=0, group=0, micro_batch=8).images

    towards_one = np.sign(np.subtract(WEIGHTS[1], WEIGHTS[0])).astype(int)
    assert set(towards_one) == {-1, 1}
    direction = np.where(labels == 0, 1, -1)[:, None] * towards_one[None, :, None, None]
    direction = np.where((labels == 255)[:, None], 0, direction)
    assert np.array_equal(found, np.clip(images.astype(int) + 8 * direction, 0, 255))


@pytest.mark.parametrize("extra", [{}, {"momentum": {}}, {"transforms": ["ds"]}], ids=str)
@pytest.mark.parametrize("loss", ["cross-entropy", "masked-cross-entropy"])
def test_an_image_without_labels_is_left_alone_and_disturbs_no_other(
    loss: str, extra: dict[str, Any]
) -> None:
    images, labels = as_tensors(pictures(2, 12, 18), annotations(2, 12, 18, 3))
    labels[0] = 255
    rule = spec(steps=3, loss=loss, **extra)
    both, health = loop.run(CONVOLUTIONAL, rule, images, labels, ids(2), seed=0, group=0)
    alone, _ = loop.run(CONVOLUTIONAL, rule, images[1:], labels[1:], ids(2)[1:], seed=0, group=0)
    assert torch.equal(both[0], images[0])
    assert torch.equal(both[1], alone[0])
    assert [step[0] for step in health.zero_gradients] == [1, 1, 1]
    assert both.isfinite().all()


@pytest.mark.parametrize("label_version", ["logits", "labels"])
@pytest.mark.parametrize("momentum", [None, {"mu": 1.0}])
@pytest.mark.parametrize("start", ["clean", "uniform"])
def test_scaling_fixed_at_one_is_pgd_bit_for_bit_through_the_whole_resize_path(
    start: str,
    momentum: dict[str, float] | None,
    label_version: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    common = {"steps": 5, "start": start, "momentum": momentum}
    scaling = {"ds": {"low": 1, "width": 0, "label_version": label_version}}
    plain, plain_health = run(spec("pgd", **common))

    modes = []
    interpolate = F.interpolate

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        modes.append(kwargs["mode"])
        return interpolate(*args, **kwargs)

    monkeypatch.setattr(F, "interpolate", counted)
    scaled, scaled_health = run(spec("pgd", **common, transforms=[scaling]))
    assert torch.equal(plain, scaled)
    assert plain_health == scaled_health
    second = "bilinear" if label_version == "logits" else "nearest-exact"
    assert modes == ["bilinear", second] * 5


def test_momentum_by_hand() -> None:
    """m_1 = g / mean|g|; m_2 = mu * m_1 + g / mean|g|, the mean over each image alone."""
    rule = spec(momentum={"mu": 0.5})
    first = torch.tensor([[1.0, -3.0], [0.0, 0.0]]).view(2, 2, 1, 1)
    second = torch.tensor([[-1.0, 1.0], [4.0, 0.0]]).view(2, 2, 1, 1)
    m1 = loop.accumulate(None, first, rule)
    assert m1.flatten().tolist() == [0.5, -1.5, 0, 0]
    m2 = loop.accumulate(m1, second, rule)
    assert m2.flatten().tolist() == [-0.75, 0.25, 2, 0]


def test_a_step_of_a_momentum_attack_follows_the_formula() -> None:
    """Three steps written out anew, from torch's own cross-entropy and autograd."""
    rule = spec("mi", steps=3, eps="6/255", step_size="2/255", momentum={"mu": 0.8})
    found, _ = run(rule, n=1)
    images, labels = as_tensors(pictures(1, 24, 36), annotations(1, 24, 36, 3))
    x, m = images.clone(), torch.zeros_like(images)
    for _ in range(3):
        x = x.detach().requires_grad_(True)
        loss = F.cross_entropy(CONVOLUTIONAL(x), labels, ignore_index=255)
        (g,) = torch.autograd.grad(loss, x)
        m = 0.8 * m + g / g.abs().mean()
        x = (x.detach() + 2 / 255 * m.sign()).clamp(images - 6 / 255, images + 6 / 255).clamp(0, 1)
    # Two summation orders of one loss may round a near-zero sum to the other sign here and there.
    assert (found - x).abs().gt(1e-6).float().mean() < 1e-3


def test_momentum_of_zero_is_pgd() -> None:
    assert torch.equal(run(spec("pgd"))[0], run(spec("mi", momentum={"mu": 0}))[0])


def test_a_random_start_is_drawn_from_seed_and_image_inside_ball_and_box() -> None:
    rule = spec("noise", eps="8/255")
    noisy, _ = run(rule)
    images, _ = as_tensors(pictures(2, 24, 36), annotations(2, 24, 36, 3))
    assert (noisy - images).abs().max() <= 8 / 255 + 1e-7
    assert (noisy - images).abs().max() > 7.9 / 255
    assert torch.equal(noisy, run(rule, group=5)[0])
    assert not torch.equal(noisy, run(rule, seed=1)[0])


def test_every_attack_of_one_seed_and_group_sees_the_same_scales() -> None:
    transforms = [{"ds": {"low": 0.5, "width": 1.0}}]
    rules = [
        spec("ds", steps=6, transforms=transforms),
        spec("ds-mi", steps=6, eps="2/255", transforms=transforms),
        spec("pgd", steps=9, start="uniform", transforms=transforms),
        spec("pgd", steps=6, loss="masked-cross-entropy", transforms=transforms),
    ]
    ratios = [run(rule, n=1)[1].ratios for rule in rules]
    assert all(r[:6] == ratios[0] for r in ratios)
    assert len(set(ratios[0])) > 3
    assert run(rules[0], seed=1)[1].ratios != ratios[0]
    assert run(rules[0], group=1)[1].ratios != ratios[0]
    other = run(spec("ds", steps=6), n=1, model=toy("convolutional", seed=4))[1]
    assert other.ratios == ratios[0]


@pytest.mark.parametrize(("low", "width"), [(0.5, 1.0), (0.75, 0.5), (0.5, 1.5), (1.25, 0)])
def test_recorded_ratios_lie_in_the_range_and_fill_it(low: float, width: float) -> None:
    rule = spec("ds", steps=40, transforms=[{"ds": {"low": low, "width": width}}])
    _, health = run(rule, n=1)
    assert min(health.ratios) >= low - 1e-9
    assert max(health.ratios) <= low + width + 1e-9
    assert max(health.ratios) - min(health.ratios) >= 0.8 * width
    assert np.mean(health.ratios) == pytest.approx(low + width / 2, abs=0.12 * width + 0.02)


@pytest.mark.parametrize("preset", ["fgsm", "pgd", "mi", "ds", "ds-mi"])
def test_a_step_costs_one_forward_and_one_backward(preset: str) -> None:
    model = toy("convolutional")
    calls = {"forward": 0, "backward": 0}

    def backward(_: torch.Tensor) -> None:
        calls["backward"] += 1

    def forward(_module: object, _inputs: object, output: torch.Tensor) -> None:
        calls["forward"] += 1
        output.register_hook(backward)

    model.module.register_forward_hook(forward)  # type: ignore[union-attr, operator]
    _, health = run(spec(preset), model=model, n=3)
    steps = spec(preset).steps
    assert calls == {"forward": steps, "backward": steps}
    assert (model.cost.forwards, model.cost.backwards) == (3 * steps, 3 * steps)
    native = 3 * 24 * 36
    assert model.cost.pixels == pytest.approx(native * sum(r * r for r in health.ratios))
    assert model.cost.seconds > 0


def test_the_loss_curve_rises_and_zero_gradients_are_told() -> None:
    _, health = run(spec("pgd", steps=10))
    curve = np.array(health.losses)
    assert curve.shape == (10, 2)
    assert (curve[-1] > curve[0]).all()
    assert np.array(health.zero_gradients).shape == (10, 2)
    assert health.ratios == [1.0] * 10


def test_neither_images_nor_labels_nor_the_model_are_changed() -> None:
    images, labels = as_tensors(pictures(2, 12, 18), annotations(2, 12, 18, 3))
    kept = images.clone(), labels.clone()
    model = toy("convolutional")
    weights = [p.clone() for p in model.parameters()]
    found, _ = loop.run(model, spec("ds-mi", steps=3), images, labels, ids(2), seed=0, group=0)
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])
    assert not found.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


transforms = st.one_of(
    st.just(()),
    st.builds(
        lambda low, width, version: (
            {"ds": {"low": low, "width": width, "label_version": version}},
        ),
        st.floats(0.3, 1.5),
        st.floats(0, 1),
        st.sampled_from(["logits", "labels"]),
    ),
)
attack_fields = st.fixed_dictionaries(
    {
        "name": st.just("any"),
        "eps": st.floats(0, 0.3),
        "step_size": st.floats(0, 0.5),
        "steps": st.integers(0, 4),
        "start": st.sampled_from(["clean", "uniform"]),
        "transforms": transforms,
        "loss": st.sampled_from(["cross-entropy", "masked-cross-entropy"]),
        "momentum": st.one_of(st.none(), st.builds(lambda mu: {"mu": mu}, st.floats(0, 2))),
    }
)


@settings(max_examples=40, deadline=None)
@given(attack_fields, st.integers(3, 14), st.integers(3, 14), st.integers(0, 5))
def test_whatever_the_spec_the_ball_and_the_box_hold(
    fields: dict[str, Any], height: int, width: int, seed: int
) -> None:
    rule = AttackSpec.model_validate(fields)
    pixels, targets = pictures(2, height, width, seed), annotations(2, height, width, 3, seed)
    images, labels = as_tensors(pixels, targets)
    found, _ = loop.run(CONVOLUTIONAL, rule, images, labels, ids(2), seed=seed, group=0)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (found - images).abs().max() <= rule.eps + 1e-6
    stored = attack(
        CONVOLUTIONAL, rule, pixels, targets, ids(2), seed=seed, group=0, micro_batch=1
    ).images
    assert np.abs(stored.astype(int) - pixels).max() <= int(rule.eps * 255 + 1e-6)
