"""APGD, SEA's shrinking radius and PAdam against loops written from their papers, an image at a
time, in double precision, without a seam of ours."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks import loop, step_random
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.tasks.attacks.test_oracle_foolbox import CLASSES, COUNT, SIDE, Smooth

EPS, SEED = 8 / 255, 5
Score = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits, labels -> losses of pixels


def pictures() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images with values at both ends of the box, labels with a part unlabelled, and noise."""
    generator = torch.Generator().manual_seed(SEED)
    images = torch.rand(COUNT, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    images[:, :, :2] *= EPS
    labels = torch.randint(CLASSES, (COUNT, SIDE, SIDE), generator=generator)
    labels[:, :3, :5] = 255
    noise = 2 * torch.rand(images.shape, generator=generator, dtype=torch.float64) - 1
    return images, labels, noise


@pytest.fixture(autouse=True)
def _their_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = pictures()[2]
    monkeypatch.setattr(step_random, "image_noise", lambda _s, i, _shape: noise[int(i[6:])])


def ours(**fields: Any) -> list[torch.Tensor]:
    images, labels, _ = pictures()
    spec = AttackSpec.model_validate({"name": "ours", "eps": EPS, **fields})
    ids = [f"image-{i}" for i in range(COUNT)]
    return loop.run(Smooth(), spec, images, labels, ids, seed=0, group=0)[0]


def ce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits, labels, ignore_index=255, reduction="none")


def masked_ce(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return ce(logits, labels) * (logits.argmax(1) == labels)


def cosine_distance(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    known = labels != 255
    hot = F.one_hot(labels * known, CLASSES).movedim(-1, 1).to(logits)
    return (1 - F.cosine_similarity(logits, hot)) * known


def look(
    x: torch.Tensor, labels: torch.Tensor, loss: Score, tracked: Score
) -> tuple[torch.Tensor, float, float]:
    """Gradient of the mean loss, mean tracked loss and number of pixels fooled, of an image."""
    known = labels != 255
    x = x.clone().requires_grad_()
    logits = Smooth()(x)
    (gradient,) = torch.autograd.grad(loss(logits, labels).sum() / known.sum(), x)
    value = (tracked(logits, labels).sum() / known.sum()).item()
    return gradient, value, ((logits.argmax(1) != labels) & known).sum().item()


def apgd(
    clean: torch.Tensor,
    labels: torch.Tensor,
    x: torch.Tensor,
    steps: int,
    loss: Score,
    tracked: Score,
    *,
    radius: float = EPS,
    fooled: bool = False,
) -> torch.Tensor:
    """Algorithm 1 of Croce and Hein (ICML 2020) on an image, with the public code's windows."""

    def project(z: torch.Tensor) -> torch.Tensor:
        return torch.minimum(torch.maximum(z, clean - radius), clean + radius).clamp(0, 1)

    gradient, value, count = look(x, labels, loss, tracked)
    values, step = [value], 2 * radius
    best, most = (x, gradient, value), (x, count)
    before, window, next_check, last_check = x, max(int(0.22 * steps), 1), 0, 0
    next_check = window
    best_at_check, halved = value, True
    for k in range(1, steps + 1):
        z = project(x + step * gradient.sign())
        alpha = 0.75 if k > 1 else 1.0
        x, before = project(x + alpha * (z - x) + (1 - alpha) * (x - before)), x
        gradient, value, count = look(x, labels, loss, tracked)
        values.append(value)
        if value > best[2]:
            best = (x, gradient, value)
        if count >= most[1]:
            most = (x, count)
        if k == next_check:
            rises = sum(values[i + 1] > values[i] for i in range(last_check, k))
            slow = rises <= 0.75 * (k - last_check)
            stuck = not halved and best[2] <= best_at_check
            halved, best_at_check = slow or stuck, best[2]
            if halved:
                step /= 2
                x, gradient, _ = best
            window = max(window - max(int(0.03 * steps), 1), max(int(0.06 * steps), 1))
            last_check, next_check = k, k + window
    return most[0] if fooled else best[0]


def padam(
    clean: torch.Tensor, labels: torch.Tensor, x: torch.Tensor, steps: int, loss: Score, rate: float
) -> torch.Tensor:
    """AMSGrad on delta (Reddi et al., 2018), clipped to ball and box after every step."""
    delta = x - clean
    first = second = largest = torch.zeros_like(clean)
    for k in range(1, steps + 1):
        gradient, _, _ = look(clean + delta, labels, loss, loss)
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        largest = torch.maximum(largest, second)
        scale = largest.sqrt() / (1 - 0.999**k) ** 0.5 + 1e-8
        delta = delta + rate / (1 - 0.9**k) * first / scale
        delta = (clean + delta.clamp(-EPS, EPS)).clamp(0, 1) - clean
    return clean + delta


def sea(clean: torch.Tensor, labels: torch.Tensor, x: torch.Tensor, *, steps: int) -> torch.Tensor:
    """30 % of the steps at 2 eps from noise of 2 eps, 30 % at 1.5 eps, the rest at eps."""
    early = int(0.3 * steps)
    for radius, taken in ((2, early), (1.5, early), (1, steps - 2 * early)):
        ball = radius * EPS
        x = (clean + (x - clean).clamp(-ball, ball)).clamp(0, 1)
        x = apgd(clean, labels, x, taken, masked_ce, ce, radius=ball, fooled=True)
    return x


def each(make: Callable[..., torch.Tensor], *, start: float) -> torch.Tensor:
    """The images one by one; ``start`` is the radius of the noise."""
    images, labels, noise = pictures()
    made = []
    for i in range(COUNT):
        one, label = images[i : i + 1], labels[i : i + 1]
        made.append(make(one, label, (one + start * noise[i : i + 1]).clamp(0, 1)))
    return torch.cat(made)


@pytest.mark.parametrize("steps", [1, 4, 17, 40])
@pytest.mark.parametrize("start", ["clean", "uniform"])
def test_apgd_is_the_papers_algorithm(start: str, steps: int) -> None:
    (made,) = ours(loop="apgd", steps=steps, start=start)
    reach = EPS if start == "uniform" else 0
    theirs = each(lambda c, y, x: apgd(c, y, x, steps, ce, ce), start=reach)
    assert torch.equal(made, theirs)


def test_apgd_keeps_the_best_point_of_every_step_asked_for() -> None:
    made = ours(loop="apgd", steps=30, steps_at=[3, 30])
    assert torch.equal(made[1], ours(loop="apgd", steps=30)[0])
    assert not torch.equal(made[0], made[1])


@pytest.mark.parametrize("keep", ["loss", "fooled"])
def test_apgd_tracks_another_loss(keep: str) -> None:
    rule = {"apgd": {"track": "cross-entropy", "keep": keep}}
    (made,) = ours(loop=rule, steps=25, loss="masked-cross-entropy")
    theirs = each(
        lambda c, y, x: apgd(c, y, x, 25, masked_ce, ce, fooled=keep == "fooled"), start=0
    )
    assert torch.equal(made, theirs)


@pytest.mark.parametrize("steps", [3, 20, 43])
def test_a_shrinking_radius_is_seas(steps: int) -> None:
    rule = {"apgd": {"shrinking": True, "track": "cross-entropy", "keep": "fooled"}}
    (made,) = ours(loop=rule, steps=steps, loss="masked-cross-entropy", start="uniform")
    assert torch.allclose(made, each(partial(sea, steps=steps), start=2 * EPS), rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", ["cross-entropy", "cosine"])
@pytest.mark.parametrize("start", ["clean", "uniform"])
def test_padam_is_amsgrad_on_the_perturbation(start: str, loss: str) -> None:
    score = ce if loss == "cross-entropy" else cosine_distance
    reach = EPS if start == "uniform" else 0
    (made,) = ours(loop="padam", steps=20, start=start, loss=loss, step_size="2/255")
    theirs = each(lambda c, y, x: padam(c, y, x, 20, score, 2 / 255), start=reach)
    assert torch.allclose(made, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("rule", ["apgd", "padam"])
def test_pixels_outside_the_region_stay(rule: str) -> None:
    images, _, _ = pictures()
    fields = {"start": "uniform", "region": {"box": [0, 0, 0.5, 1]}, "steps": 6}
    (made,) = ours(loop=rule, **fields)
    assert torch.equal(made[:, :, SIDE // 2 :], images[:, :, SIDE // 2 :])
    assert not torch.equal(made[:, :, : SIDE // 2], images[:, :, : SIDE // 2])


def test_apgd_under_l2_stays_in_the_ball_and_climbs() -> None:
    images, labels, _ = pictures()
    (made,) = ours(loop="apgd", norm="l2", steps=12)
    rms = (made - images).square().mean((1, 2, 3)).sqrt()
    assert (rms <= EPS * (1 + 1e-9)).all()
    gains = ce(Smooth()(made), labels).mean((1, 2)) - ce(Smooth()(images), labels).mean((1, 2))
    (pgd,) = ours(norm="l2", steps=12, step_size=EPS / 4)
    base = ce(Smooth()(pgd), labels).mean((1, 2)) - ce(Smooth()(images), labels).mean((1, 2))
    assert (gains >= 0.98 * base).all()
