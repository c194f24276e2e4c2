"""CWA, SVRE and AdaEA against loops written from their sources, and what they cost."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.gradient_rules.adaea import AdaptiveEnsemble
from segtransfer.tasks.attacks.member_cost import step_cost_on, steps_on
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.ensemble import EnsembleSegmenter
from tests.tasks.attacks.specs import tensors
from tests.tasks.cases import ids, spec, toy

EPS, STEP_SIZE, STEPS = 16 / 255, 3 / 255, 4
RULES = ["cwa", "svre", "adaea"]


class Smooth(Segmenter):
    """Two convolutions with a tanh between, in double precision."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(8, 3, 3, 3, generator=generator).double() / 2)
        self.second = nn.Parameter(torch.randn(3, 8, 3, 3, generator=generator).double())
        self.num_classes = 3

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        hidden = F.conv2d(images - 0.5, self.first, padding=1).tanh()
        return F.conv2d(hidden, self.second, padding=1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.logits(images)
        self._pixels += images.numel() // 3
        self.count_backward_of(logits)
        return logits


def ensemble(count: int, average: str = "logits") -> EnsembleSegmenter:
    members = [Smooth(seed).requires_grad_(False) for seed in range(count)]
    weights = [1 / count] * count
    return EnsembleSegmenter(members, weights, average=average, own_scales=False).eval()


def made(model: Segmenter, rule: str, count: int = 1, **fields: Any) -> torch.Tensor:
    """The last iterate of a rule's preset on some images, in double precision."""
    images, labels = tensors(count)
    chosen = {"eps": EPS, "step_size": STEP_SIZE, "steps": STEPS, **fields}
    attack = spec(rule, **chosen)
    (found,), _ = loop.run(model, attack, images.double(), labels, ids(count), seed=0, group=0)
    return found


class Source:
    """Logits, losses and gradients of the nets of an ensemble, for one image."""

    def __init__(self, count: int) -> None:
        self.nets = [Smooth(seed) for seed in range(count)]
        images, self.labels = tensors(1)
        self.clean = images.double()

    def loss(self, logits: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits, self.labels, ignore_index=255)

    def gradient(self, x: torch.Tensor, logits: Callable[[torch.Tensor], Any]) -> torch.Tensor:
        x = x.clone().requires_grad_(True)
        return torch.autograd.grad(self.loss(logits(x)), x)[0]

    def mean(self, x: torch.Tensor) -> torch.Tensor:
        return sum((net.logits(x) for net in self.nets), torch.zeros(())) / len(self.nets)

    def clip(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(torch.clamp(x, self.clean - EPS, self.clean + EPS), 0, 1)


def cwa(source: Source) -> torch.Tensor:
    """MI-CWA: reverse step, a step per member with velocity, momentum on the way between."""
    x, velocity, momentum = source.clean, torch.zeros(()), torch.zeros(())
    for _ in range(STEPS):
        back = source.clip(x - EPS / 15 * source.gradient(x, source.mean).sign())
        for net in source.nets:
            gradient = source.gradient(back, net.logits)
            velocity = velocity + gradient / gradient.pow(2).sum().sqrt()
            back = source.clip(back + 250 * velocity)
        way = back - x
        momentum = momentum + way / way.abs().sum()
        x = source.clip(x + STEP_SIZE * momentum.sign())
    return x


def svre(source: Source) -> torch.Tensor:
    """SVRE-MI-FGSM with the same draws of members."""
    x, momentum, count = source.clean, torch.zeros(()), len(source.nets)
    for step in range(STEPS):
        whole, inner, direction = source.gradient(x, source.mean), x, torch.zeros(())
        random = StepRandom(0, 0, step, ids(1))
        for update in range(4 * count):
            net = source.nets[int(random.number(f"svre {update}") * count)]
            reduced = source.gradient(inner, net.logits)
            reduced = reduced - (source.gradient(x, net.logits) - whole)
            direction = direction + reduced / reduced.abs().mean()
            inner = source.clip(inner + STEP_SIZE * direction.sign())
        momentum = momentum + direction / direction.abs().mean()
        x = source.clip(x + STEP_SIZE * momentum.sign())
    return x


def adaea(source: Source) -> torch.Tensor:
    """AdaEA-MI-FGSM: losses of each member's example on each member, then the filter."""
    x, momentum, count = source.clean, torch.zeros(()), len(source.nets)
    for _ in range(STEPS):
        gradients = [source.gradient(x, net.logits) for net in source.nets]
        examples = [source.clip(x + STEP_SIZE * gradient.sign()) for gradient in gradients]
        losses = [[source.loss(net.logits(e)) for e in examples] for net in source.nets]
        contributions = [
            10 * sum(losses[i][j] / losses[i][i] for i in range(count) if i != j)
            for j in range(count)
        ]
        weights = torch.softmax(torch.stack([torch.as_tensor(c) for c in contributions]), 0)
        similar = torch.zeros(count, count, *x.shape[-2:], dtype=torch.float64)
        for i in range(count):
            for j in range(count):
                similar[i, j] = F.cosine_similarity(gradients[i], gradients[j], dim=1)[0] * (i != j)
        rows = similar.sum(1) / (count - 1)
        rows[-1] = 0
        kept = (rows.mean(0) >= -0.3).double()

        def fused(point: torch.Tensor, weights: torch.Tensor = weights) -> torch.Tensor:
            parts = (w * net.logits(point) for w, net in zip(weights, source.nets, strict=True))
            return sum(parts, torch.zeros(()))

        gradient = source.gradient(x, fused) * kept
        momentum = 0.9 * momentum + gradient / gradient.abs().mean()
        x = source.clip(x + STEP_SIZE * momentum.sign())
    return x


ORACLES = {"cwa": cwa, "svre": svre, "adaea": adaea}


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("rule", RULES)
def test_a_rule_on_an_ensemble_equals_the_loop_of_its_source(rule: str, count: int) -> None:
    found, expected = made(ensemble(count), rule), ORACLES[rule](Source(count))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    plain = made(ensemble(count), "mi")
    assert ((found - plain).abs() > 1e-6).double().mean() > 0.02


def test_the_oracle_of_adaea_filters_some_pixels() -> None:
    """So the equality above is one of filtered gradients."""
    filtered = made(ensemble(3), "adaea")
    unfiltered = made(ensemble(3), "adaea", gradient={"adaea": {"threshold": -1}})
    assert not torch.equal(filtered, unfiltered)


@pytest.mark.parametrize("average", ["logits", "gradients", "loss"])
@pytest.mark.parametrize("rule", RULES)
def test_an_image_does_not_depend_on_its_batch(rule: str, average: str) -> None:
    model = ensemble(2, average)
    images, labels = (part[:3] for part in tensors(3))
    attack = spec(rule, steps=3)
    together = loop.run(model, attack, images.double(), labels, ids(3), seed=0, group=0)[0][0]
    for number, name in enumerate(ids(3)):
        one = slice(number, number + 1)
        alone = loop.run(model, attack, images[one].double(), labels[one], [name], seed=0, group=0)
        torch.testing.assert_close(alone[0][0], together[one], rtol=0, atol=1e-12)


@pytest.mark.parametrize("average", ["logits", "gradients"])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rule", RULES)
def test_a_step_costs_what_the_spec_says_on_any_number_of_members(
    rule: str, count: int, average: str
) -> None:
    model = ensemble(count, average) if count > 1 else Smooth(0)
    images, labels = tensors(2)
    attack = spec(rule, steps=5)
    loop.run(model, attack, images.double(), labels, ids(2), seed=0, group=0)
    used = model.cost.pixels / (2 * model.pixels_seen(*images.shape[-2:]))
    assert used == pytest.approx(5 * step_cost_on(attack, count), rel=0.1)
    assert attack.step_cost == pytest.approx(step_cost_on(attack, 2))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("rule", RULES)
def test_a_budget_buys_the_steps_that_are_expected_on_a_source(rule: str, count: int) -> None:
    model = ensemble(count) if count > 1 else Smooth(0)
    images, labels = tensors(1)
    attack = spec(rule, budget=24)
    _, health = loop.run(model, attack, images.double(), labels, ids(1), seed=0, group=0)
    used = model.cost.pixels / model.pixels_seen(*images.shape[-2:])
    assert len(health.losses) == steps_on(attack, count)
    assert abs(used - 24) <= 0.5 * step_cost_on(attack, count) + 0.1


def test_adaea_on_one_model_is_mi() -> None:
    model = Smooth(0)
    plain = made(model, "mi", momentum={"mu": 0.9})
    assert torch.equal(made(model, "adaea"), plain)


def test_svre_with_one_update_on_one_model_is_mi() -> None:
    model = Smooth(0)
    found = made(model, "svre", gradient={"svre": {"updates": 1}})
    torch.testing.assert_close(found, made(model, "mi"), rtol=0, atol=1e-12)


def test_cwa_on_one_model_steps_along_the_gradient_after_the_step_back() -> None:
    model, source = Smooth(0), Source(1)
    torch.testing.assert_close(made(model, "cwa"), cwa(source), rtol=0, atol=1e-12)


@pytest.mark.parametrize("average", ["gradients", "loss"])
def test_adaea_weighs_gradients_of_an_ensemble_that_averages_them(average: str) -> None:
    averaged, fused = made(ensemble(2, average), "adaea"), made(ensemble(2), "adaea")
    assert not torch.equal(averaged, fused)


@pytest.mark.parametrize("fields", [{"target": {"every": 1}}, {"loss": "mask-norm"}])
def test_adaea_of_a_negative_loss_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="'adaea' weighs members by ratios of losses"):
        made(ensemble(2), "adaea", **fields)


def test_zero_losses_and_gradients_give_finite_weights() -> None:
    found = made(ensemble(2), "adaea", loss="masked-cross-entropy", eps=1, step_size=0.5, steps=8)
    assert found.isfinite().all()
    assert AdaptiveEnsemble().gradients_per_step == 4


def test_members_keep_their_own_weights_after_a_run() -> None:
    model = ensemble(2)
    images = tensors(1)[0].double()
    before = model(images)
    made(model, "adaea")
    assert torch.equal(model(images), before)


def test_transforms_and_feature_losses_run_inside_a_rule() -> None:
    members = [toy("staged", seed=seed) for seed in (0, 1)]
    images, labels = tensors(2)
    model = EnsembleSegmenter(members, [0.5, 0.5], average="loss", own_scales=True).eval()
    for rule in ("cwa", "svre"):
        for fields in ({"transforms": ["ds"]}, {"loss": "fspgd", "layer": "backbone"}):
            attack = spec(rule, steps=2, **fields)
            (found,), _ = loop.run(model, attack, images, labels, ids(2), seed=0, group=0)
            assert 0 < (found - images).abs().max() <= attack.eps + 1e-6
