"""Rules native to segmentation, and rules on features, against loops written from their sources.

Each loop is plain, uses the toy's own layers and autograd, and no seam of ours but the toy. The
comparison is of all bits of the last iterate, in float32.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.randomness import generator_of
from tests.tasks.attacks.specs import tensors
from tests.tasks.cases import ids, spec, toy

COUNT, STEPS, SEED = 2, 5, 3
EPS, STEP_SIZE = 8 / 255, 2 / 255
Gradient = Callable[[torch.Tensor, int], torch.Tensor]


def ours(preset: str, **fields: Any) -> torch.Tensor:
    images, labels = tensors(COUNT)
    rule = spec(preset, steps=STEPS, eps=EPS, step_size=STEP_SIZE, **fields)
    (found,), _ = loop.run(toy("staged"), rule, images, labels, ids(COUNT), seed=SEED, group=0)
    return found


def ascend(images: torch.Tensor, gradient: Gradient, mu: float | None = None) -> torch.Tensor:
    """I-FGSM, or MI-FGSM with the mean of |g|."""
    x, momentum = images.clone(), torch.zeros_like(images)
    for step in range(STEPS):
        g = gradient(x, step)
        if mu is not None:
            g = g / g.abs().mean((1, 2, 3), keepdim=True)
            momentum = g if step == 0 else g + mu * momentum
            g = momentum
        lower, upper = (images - EPS).clamp(min=0), (images + EPS).clamp(max=1)
        x = torch.minimum(torch.maximum(x + STEP_SIZE * g.sign(), lower), upper)
    return x


def of_logits(loss: Callable[[torch.Tensor, int], torch.Tensor]) -> Gradient:
    network = toy("staged").module

    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        x = x.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(loss(network(x), step), x)  # type: ignore[operator]
        return g

    return gradient


def features(x: torch.Tensor) -> torch.Tensor:
    return toy("staged").module.backbone(x)[1]  # type: ignore[union-attr, operator, no-any-return]


def of_features(loss: Callable[[torch.Tensor], torch.Tensor]) -> Gradient:
    def gradient(x: torch.Tensor, _step: int) -> torch.Tensor:
        x = x.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(loss(features(x)), x)
        return g

    return gradient


def head(h: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The logits of the toy from the middle stage ``h`` and the image."""
    network: Any = toy("staged").module
    first = F.leaky_relu(network.backbone.convolutions[0](x - 0.5), 0.2)
    last = F.leaky_relu(network.backbone.convolutions[2](h), 0.2)
    low = F.interpolate(network.head(last), size=x.shape[-2:], mode="bilinear")
    return 4 * (low + network.side(first))  # type: ignore[no-any-return]


def mean_over_labelled(pixels: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return sum(  # type: ignore[return-value]
        p[y != 255].mean() for p, y in zip(pixels, labels, strict=True)
    )


def agree(found: torch.Tensor, expected: torch.Tensor) -> float:
    """The share of equal values: sums in another order may turn the sign of a gradient near 0."""
    return (found == expected).float().mean().item()


def test_tsallis_equals_a_loop_from_the_paper() -> None:
    images, labels = tensors(COUNT)

    def loss(z: torch.Tensor, step: int) -> torch.Tensor:
        q = -2 + 3 * step / STEPS
        p = z.softmax(1).gather(1, labels.where(labels != 255, 0)[:, None])[:, 0]
        return mean_over_labelled((1 - p ** (1 - q)) / (1 - q), labels)

    assert agree(ours("tsallis"), ascend(images, of_logits(loss))) == 1


def test_uncertainty_equals_a_loop_from_the_authors_formula() -> None:
    images, labels = tensors(COUNT)

    def loss(z: torch.Tensor, _step: int) -> torch.Tensor:
        p = z.softmax(1)
        weight = torch.exp(-(p * (p + 1e-10).log()).sum(1) / math.log(z.shape[1]))
        ce = F.cross_entropy(z, labels, ignore_index=255, reduction="none")
        return mean_over_labelled(weight * ce, labels)

    assert agree(ours("uncertainty"), ascend(images, of_logits(loss))) == 1


def test_rp_region_equals_a_loop_with_states_as_in_the_authors_code() -> None:
    images, labels = tensors(COUNT)
    state = torch.zeros_like(labels)

    def loss(z: torch.Tensor, step: int) -> torch.Tensor:
        wrong = z.argmax(1) != labels
        if step == 0:
            state[:] = torch.where(wrong, 2, 1)
        state[wrong & (state == 1)] = 3
        weights = {1: 1 - step / (2 * STEPS), 3: (step - 1) / (2 * STEPS), 2: 1 / (2 * STEPS)}
        total = torch.zeros(())
        for image in range(COUNT):
            ce = F.cross_entropy(z[image : image + 1], labels[image : image + 1],
                                 ignore_index=255, reduction="none")[0]  # fmt: skip
            for number, weight in weights.items():
                region = (state[image] == number) & (labels[image] != 255)
                if region.any():
                    total = total + weight * ce[region].mean()
        return total

    found = ours("rp-region")
    assert agree(found, ascend(images, of_logits(loss))) == 1
    assert {1, 2, 3} <= set(state.unique().tolist())


def draw(what: str, law: Callable[..., torch.Tensor], copy: int) -> torch.Tensor:
    shape, parts = tensors(1)[0].shape[1:], (copy, 0, 0) if copy else ()
    made = [law(shape, generator=generator_of(what, SEED, i, 0, *parts)) for i in ids(COUNT)]
    return torch.stack(made)


def weights_of(
    inputs: list[torch.Tensor], score: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """The sum of gradients of the mean score at the labels, of norm 1 per image."""
    _, labels = tensors(COUNT)
    total = torch.zeros(())
    for x in inputs:
        h = features(x).detach().requires_grad_(True)
        own = score(head(h, x)).gather(1, labels.where(labels != 255, 0)[:, None])[:, 0]
        (g,) = torch.autograd.grad(mean_over_labelled(own, labels), h)
        total = total + g
    return total / total.flatten(1).norm(dim=1)[:, None, None, None]


def test_fia_equals_a_loop_from_the_authors_code() -> None:
    images, _ = tensors(COUNT)
    masked = [images * (draw("fia", torch.rand, n) < 0.7) for n in range(30)]
    weights = -weights_of(masked, lambda z: z)
    expected = ascend(images, of_features(lambda h: (h * weights).sum()), mu=1.0)
    assert agree(ours("fia", layer="backbone"), expected) > 0.995


def test_naa_equals_a_loop_from_the_authors_code() -> None:
    images, _ = tensors(COUNT)
    black = torch.zeros_like(images)
    path = []
    for n in range(30):
        noisy = images + draw("naa", torch.randn, n) * 0.1
        path.append(noisy * (1 - n / 30) + (n / 30) * black)
    weights = -weights_of(path, lambda z: z.softmax(1))
    base = features(black)
    expected = ascend(images, of_features(lambda h: ((h - base) * weights).sum()), mu=1.0)
    assert agree(ours("naa", layer="backbone"), expected) > 0.995


def test_ila_equals_a_loop_from_the_authors_code() -> None:
    images, labels = tensors(COUNT)

    def ce(z: torch.Tensor, _step: int) -> torch.Tensor:
        pixels = F.cross_entropy(z, labels, ignore_index=255, reduction="none")
        return mean_over_labelled(pixels, labels)

    first = ascend(images, of_logits(ce))
    clean = features(images)
    old = (features(first) - clean).flatten(1)

    def projection(h: torch.Tensor) -> torch.Tensor:
        new = (h - clean).flatten(1)
        return sum(n @ (o / o.norm()) / o.norm() for n, o in zip(new, old, strict=True))  # type: ignore

    expected = ascend(images, of_features(projection))
    assert agree(ours("ila", layer="backbone"), expected) > 0.995


def test_dr_equals_a_loop_from_the_authors_code() -> None:
    images, _ = tensors(COUNT)
    expected = ascend(images, of_features(lambda h: -torch.stack([i.std() for i in h]).sum()))
    assert agree(ours("dr", layer="backbone"), expected) > 0.995


@pytest.mark.parametrize("preset", ["fia", "naa", "ila", "dr", "fspgd", "tsallis", "rp-region"])
@pytest.mark.parametrize("restarts", [1, 2])
def test_the_cost_told_is_the_cost_counted_on_the_model(preset: str, restarts: int) -> None:
    layer = {} if preset in ("tsallis", "rp-region") else {"layer": "backbone"}
    more = {"start": "uniform", "restarts": restarts} if restarts > 1 else {}
    rule = spec(preset, steps=20, **layer, **more)
    (images, labels), model = tensors(COUNT), toy("staged")
    loop.run(model, rule, images, labels, ids(COUNT), seed=0, group=0)
    # Choosing among restarts costs a forward each, and fspgd reads the clean image once.
    counted = model.cost.forwards / COUNT
    assert counted == pytest.approx(rule.restarts * rule.steps * rule.step_cost, rel=0.1)
    assert model.cost.backwards <= model.cost.forwards


@pytest.mark.parametrize("preset", ["fia", "ila"])
@pytest.mark.parametrize("micro_batch_of_one", [False, True])
def test_a_budget_holds_what_comes_before_the_first_step(
    preset: str, micro_batch_of_one: bool
) -> None:
    rule = spec(preset, layer="backbone", budget={"forward_equivalents": 60})
    images, labels = tensors(1 if micro_batch_of_one else COUNT)
    model = toy("staged")
    _, health = loop.run(model, rule, images, labels, ids(len(images)), seed=0, group=0)
    assert len(health.losses) == rule.steps == {"fia": 30, "ila": 29}[preset]
    assert model.cost.forwards == 60 * len(images)


@pytest.mark.parametrize("preset", ["fia", "naa", "ila"])
@pytest.mark.parametrize("transform", ["ds", "di"])
def test_prepared_losses_refuse_transforms_that_move_content(preset: str, transform: str) -> None:
    with pytest.raises(ValueError, match="no transform may move or resize content"):
        AttackSpec.model_validate({"preset": preset, "transforms": [transform]})
    assert spec(preset, transforms=["si"]).step_cost > 5


def test_rp_region_refuses_labels_that_move() -> None:
    with pytest.raises(ValueError, match="remembers each pixel of the labels"):
        spec("rp-region", label_version="labels")
