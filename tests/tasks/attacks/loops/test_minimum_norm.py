"""ALMA-prox and DAG: known optima, loops written from the authors' code, rounding and cost."""

from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.loops.alma_prox import prox
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.fooled import norms, reached
from segtransfer.tasks.models.base import Segmenter
from tests.tasks.attacks.specs import distance, make
from tests.tasks.cases import annotations, as_tensors, ids, pictures, spec, toy

KINDS = ["alma-prox", "dag"]
WEIGHTS = [[1.0, -0.5, 0.25], [-0.75, 0.5, 2.0], [0.5, 1.5, -1.0], [-1.0, -0.25, 0.5]]
STAGED = toy("staged", num_classes=5)


def grey(count: int, height: int, width: int) -> np.ndarray:
    """Pictures of which no value is near an end of the box."""
    return (96 + pictures(count, height, width) // 4).astype(np.uint8)


def right_labels(model: Segmenter, images: np.ndarray, void: float = 0.1) -> np.ndarray:
    """The model's own predictions, a share of them ignored."""
    with torch.no_grad():
        labels = model(torch.tensor(images).float() / 255).argmax(1).numpy().astype(np.uint8)
    labels[np.random.default_rng(5).random(labels.shape) < void] = 255
    return labels


def run(rule: AttackSpec, model: Segmenter, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    count = len(images)
    made = attack(model, rule, images, labels, ids(count), seed=0, group=0, micro_batch=8)
    return made.images[0]


def fooled_counts(
    model: Segmenter, images: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    with torch.no_grad():
        predicted = model(torch.tensor(images).float() / 255).argmax(1).numpy()
    counted = labels != 255
    return ((predicted != labels) & counted).sum((1, 2)), counted.sum((1, 2))


def outwards(x: torch.Tensor, delta: torch.Tensor) -> np.ndarray:
    """The 8-bit image whose perturbation is the next whole level, away from the clean image."""
    levels = (255 * delta.abs() - 1e-3).ceil().clamp(min=0) * delta.sign()
    return (255 * x + levels).round().clamp(0, 255).numpy().astype(np.uint8)


def smallest_norm(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The exact norm of a linear toy in levels, at 99 % of the pixels.

    A pixel needs the least margin / |w_y - w_k|_1 over its other classes k."""
    weights = np.array(WEIGHTS)
    logits = np.einsum("kc,nchw->nkhw", weights, images.astype(float))
    found = []
    for image, label in zip(logits, labels, strict=True):
        rows, columns = np.nonzero(label != 255)
        pixels, own = image[:, rows, columns].T, label[rows, columns]
        margin = pixels[np.arange(len(own)), own][:, None] - pixels
        length = np.abs(weights[own][:, None] - weights[None]).sum(-1)
        least = np.where(length > 0, margin / np.maximum(length, 1e-9), np.inf).min(1)
        found.append(np.sort(np.maximum(least, 0))[int(np.ceil(0.99 * len(own))) - 1])
    return np.array(found)


@pytest.mark.parametrize("shape", [(1, 24, 40), (3, 21, 52)])
def test_alma_prox_comes_within_a_few_percent_of_the_smallest_norm(
    shape: tuple[int, int, int],
) -> None:
    model, images = toy("linear", weights=WEIGHTS), grey(*shape)
    labels = right_labels(model, images)
    made = run(spec("alma-prox", steps=500, step_size=0.004), model, images, labels)
    best = smallest_norm(images, labels)
    norm = distance(made, images)
    assert reached(*fooled_counts(model, made, labels)).all()
    assert (norm >= np.floor(best)).all()
    assert (norm <= 1.04 * best + 1).all(), (norm, best)  # 1 by rounding to whole levels


def test_dag_fools_a_linear_toy_with_a_larger_norm_than_alma_prox() -> None:
    model, images = toy("linear", weights=WEIGHTS), grey(2, 24, 40)
    labels = right_labels(model, images)
    made = run(spec("dag"), model, images, labels)
    assert reached(*fooled_counts(model, made, labels)).all()
    assert (distance(made, images) >= smallest_norm(images, labels)).all()


@pytest.mark.parametrize("seed", range(6))
def test_prox_is_the_minimiser_found_by_sorting(seed: int) -> None:
    """The cut is the least t at which no more than ``step`` of pull is left, among the candidates
    between two neighbouring sizes, where the pull is linear in t."""
    draw = torch.Generator().manual_seed(seed)
    point = torch.randn(2, 3, 4, 5, generator=draw, dtype=torch.double) / 10
    metric = torch.rand(point.shape, generator=draw, dtype=torch.double) + 0.01
    lower = -torch.rand(point.shape, generator=draw, dtype=torch.double) / 5
    upper = torch.rand(point.shape, generator=draw, dtype=torch.double) / 5
    step = torch.tensor([0.02, 3.0 if seed % 2 else 0.3], dtype=torch.double)
    found = prox(point, step, metric, lower, upper)
    for i in range(2):
        size, weight = point[i].abs().flatten(), metric[i].flatten()
        height = point[i].clamp(lower[i], upper[i]).abs().flatten()
        bounds = torch.cat([torch.zeros(1), height]).sort().values
        candidates = list(bounds)
        for low in bounds:
            above = height > low
            total = weight[above].sum()
            if total > 0:
                candidates.append((((weight * size)[above].sum() - step[i]) / total).clamp(min=0))
        cuts = torch.stack([c.double() for c in candidates])
        moved = torch.minimum(height[None], cuts[:, None])
        sign_lost = height == 0
        gap = torch.where(sign_lost, size, size - moved)
        value = cuts.clamp(max=height.max()) * step[i] + (weight * gap**2).sum(1) / 2
        cut = cuts[value.argmin()]
        expected = point[i].clamp(lower[i], upper[i]).clamp(-cut, cut)
        assert torch.allclose(found[i], expected, atol=1e-8)


def alma_prox_by_hand(
    model: Segmenter, x: torch.Tensor, y: torch.Tensor, steps: int, first: float, target: bool
) -> list[torch.Tensor]:
    """The perturbations of one image, from the authors' code, with labels everywhere."""
    sign, classes = (-1, 4) if target else (1, 3)
    delta, square, w = torch.zeros_like(x), torch.zeros_like(x), 1.0
    mu, rho = torch.ones(y.shape).double(), torch.full(y.shape, 0.01).double()
    seen, found, at = torch.zeros(y.shape, dtype=torch.bool), False, float(steps // 2)
    before, made = torch.zeros(y.shape), []

    def derivative(c: torch.Tensor) -> torch.Tensor:
        plus = mu * c + 2 * mu * rho * c + 0.5 * rho**2 * c**2
        return torch.where(c >= 0, plus, mu / (1 - rho.clamp(min=1) * c.clamp(max=0)) ** 2)

    for t in range(steps):
        made.append(delta)
        moving = (x + delta).requires_grad_()
        z = model(moving)
        off = (z.argmax(1) == y) if target else (z.argmax(1) != y)
        seen, success = seen | off, bool(off.float().mean() >= 0.99)
        if success and not found and t < steps // 2:
            at = float(t)
        found = found or success
        w = min(max(w / (1.02 if success else 0.98), 0.1), 1.0)
        own = z.gather(1, y[:, None])[:, 0]
        rest = z.scatter(1, y[:, None], -torch.inf).amax(1)
        top = z.sort(1, descending=True).values[:, :classes]
        low = (top[:, 2] + top[:, 3]) / 2 if target else top[:, 2]
        ratio = sign * (own - rest + 1e-4) / (top[:, 0] - low + 1e-8)
        c = (w * ratio).detach()
        keep = torch.ones(y.shape, dtype=torch.bool)
        count = int((1 - 0.99) * y.numel() * t / (steps - 1))
        if count:
            keep = c <= c.flatten().sort(descending=True).values[count - 1]
        if t == 0:
            before = c
        elif (t + 1) % 10 == 0:
            rho = torch.where(seen | (c * keep <= 0.95 * before), rho, 2 * rho)
            before, seen = c, torch.zeros_like(seen)
        if t:
            mu = (mu + (derivative(c.double()) * keep - mu) * (1 - 0.8)).clamp(1e-12, 1)
        pull = (derivative(c.double()) * keep).float() * w
        (g,) = torch.autograd.grad((pull * ratio).sum(), moving)
        tangent = 0.1 / 0.9 * max(steps - at, 1)
        a = first * tangent / (max(t - at, 0) + tangent)
        square = 0.8 * square + 0.2 * g**2
        metric = (square / (1 - 0.8 ** (t + 1))).sqrt().clamp(min=1e-8)
        point = delta - a / metric * g
        delta = prox(point, torch.tensor([a]), metric, -x, 1 - x)
    return made


@pytest.mark.parametrize("target", [False, True])
def test_alma_prox_equals_a_loop_written_from_the_authors_code(target: bool) -> None:
    images = grey(2, 16, 24)
    labels = right_labels(STAGED, images, void=0)
    fields: dict[str, Any] = {"target": {"every": 2}} if target else {}
    steps, kept = 32, [1, 4, 8, 12]
    rule = spec("alma-prox", steps=steps, steps_at=kept, **fields)
    found = attack(STAGED, rule, images, labels, ids(2), seed=0, group=0, micro_batch=2).images
    x, y = as_tensors(images, np.full_like(labels, 2) if target else labels)
    for i in range(2):
        made = alma_prox_by_hand(STAGED, x[i : i + 1], y[i : i + 1], steps, 0.002, target)
        shares = []
        for delta in made:
            with torch.no_grad():
                hit = STAGED(x[i : i + 1] + delta).argmax(1) == y[i]
            shares.append((hit if target else ~hit).sum().item())
        for step, image in zip(kept, found[:, i], strict=True):
            # Nothing is reached yet: the last of the iterates with most fooled pixels.
            best = max(range(step), key=lambda t: (shares[t], t))
            expected = outwards(x[i], made[best][0])
            # Rounding errors grow from step to step, and decide the next whole level of few values.
            assert (expected == image).mean() > 0.95, (i, step)
            assert np.abs(expected.astype(int) - image).max() <= 1, (i, step)


def test_dag_equals_a_loop_written_from_the_authors_code() -> None:
    images = grey(2, 16, 24)
    labels = right_labels(STAGED, images, void=0)
    found = run(spec("dag", steps=40, step_size=0.004), STAGED, images, labels)
    x, y = as_tensors(images, labels)
    for i in range(2):
        r, best, most = torch.zeros_like(x[:1]), x[:1], -1
        for _ in range(40):
            moving = (x[i : i + 1] + r).requires_grad_()
            z = STAGED(moving.clamp(0, 1))
            rest = z.scatter(1, y[i : i + 1, None], -torch.inf).amax(1)
            gap = z.gather(1, y[i : i + 1, None])[:, 0] - rest
            fooled = int((z.argmax(1) != y[i]).sum())
            if fooled >= most:
                best, most = moving.detach().clamp(0, 1), fooled
            (g,) = torch.autograd.grad(gap[gap > 0].sum(), moving)
            r = r - 0.004 * g / g.abs().max()
        assert most < 0.99 * y[i].numel()
        assert np.array_equal(outwards(x[i], best[0] - x[i]), found[i])


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_image_that_could_be_reached_fools_after_rounding(kind: str) -> None:
    """Iterates of this toy are reached within a level or two, where rounding matters most."""
    model = toy("linear", weights=WEIGHTS)
    images = grey(3, 20, 30)
    logits = np.einsum("kc,nchw->nkhw", np.array(WEIGHTS), images.astype(float))
    labels = logits.argmax(1).astype(np.uint8)
    top = np.sort(logits, 1)
    labels[top[:, -1] - top[:, -2] > 12] = 255  # near the border of two classes alone
    made = run(spec(kind, steps=300), model, images, labels)
    assert reached(*fooled_counts(model, made, labels)).all()
    assert distance(made, images).max() < 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reach", [False, True])
def test_cost_of_a_run_is_the_step_cost_unless_all_images_finish(kind: str, reach: bool) -> None:
    model = toy("linear", weights=WEIGHTS) if reach else STAGED
    images = grey(3, 12, 16)
    rule = spec(kind, steps=60, **({"step_size": 0.004} if kind == "alma-prox" else {}))
    labels = right_labels(model, images)
    made = attack(model, rule, images, labels, ids(3), seed=0, group=0, micro_batch=3)
    (counted,) = made.report["cost"]["forward_equivalents"]
    planned = rule.step_cost * rule.steps
    if kind == "dag" and reach:
        assert counted < planned
    else:
        assert counted == pytest.approx(planned, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fields", [{}, {"target": {"every": 1}}, {"region": {"box": [0, 0, 1, 0.5]}}], ids=str
)
def test_result_does_not_depend_on_the_batch(kind: str, fields: dict[str, Any]) -> None:
    rule = spec(kind, steps=25, steps_at=[3, 25], eps="12/255", **fields)
    together = make(STAGED, rule, classes=5).images
    for i in range(3):
        alone = make(STAGED, rule, chosen=[i], classes=5).images
        assert np.array_equal(alone[:, 0], together[:, i])
    again = make(STAGED, rule, chosen=[2, 0], micro_batch=2, classes=5).images
    assert np.array_equal(again, together[:, [2, 0]])
    assert distance(together, pictures(5, 12, 16)[:3]).max() <= 12
    if "region" in fields:
        assert np.array_equal(
            together[..., 8:],
            np.broadcast_to(pictures(5, 12, 16)[:3, ..., 8:], together[..., 8:].shape),
        )


def test_target_is_reached_by_more_pixels_the_more_steps() -> None:
    model, images = toy("linear", weights=WEIGHTS), grey(2, 16, 24)
    labels = annotations(2, 16, 24, 4)
    for kind in KINDS:
        made = run(
            spec(kind, target={"every": 2}, steps=300, step_size=0.004), model, images, labels
        )
        with torch.no_grad():
            predicted = model(torch.tensor(made).float() / 255).argmax(1).numpy()
        assert ((predicted == 2) | (labels == 255)).mean() > 0.95


def test_too_few_classes_are_refused_with_a_sentence() -> None:
    model = toy("linear", weights=WEIGHTS[:2])
    images = grey(1, 8, 8)
    with pytest.raises(InputError, match="predicts 2 classes; give loop: dag, or a source with 3"):
        run(spec("alma-prox"), model, images, annotations(1, 8, 8, 2))


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_sets_steps_and_keeps_the_step_size(kind: str) -> None:
    rule = spec(kind, budget=40)
    assert rule.steps == 39
    assert rule.step_size == spec(kind).step_size
    assert PRESETS[kind].fields["eps"] == 1.0


def test_norms_are_infinite_if_not_reached_and_undefined_without_labels() -> None:
    found = norms(
        np.array([3.0, 3.0, 0.0, 2.0]), np.array([99, 98, 0, 0]), np.array([100, 100, 0, 5])
    )
    assert found[:2].tolist() == [3.0, np.inf]
    assert np.isnan(found[2])
    assert found[3] == np.inf
