"""The attack loop: its rules written out anew, its seams, and what it promises about itself."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.context import aim, allowed, bounds
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.randomness import image_noise
from tests.tasks.attacks.specs import context_of, make
from tests.tasks.cases import annotations, as_tensors, halves, ids, pictures, spec, toy

CONVOLUTIONAL, STAGED = toy("convolutional"), toy("staged")
EPS, STEP = 6 / 255, 2 / 255


def data(n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return as_tensors(pictures(n, 24, 36), annotations(n, 24, 36, 3))


def iterates(
    rule: AttackSpec, *, model: Segmenter = CONVOLUTIONAL, seed: int = 0, group: int = 0, n: int = 2
) -> tuple[list[torch.Tensor], loop.Health]:
    return loop.run(model, rule, *data(n), ids(n), seed=seed, group=group)


def run(rule: AttackSpec, **arguments: Any) -> tuple[torch.Tensor, loop.Health]:
    (found,), health = iterates(rule, **arguments)
    return found, health


def gradient_at(x: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """From torch's own cross-entropy, one image at a time."""
    parts = []
    for image, label in zip(x.detach(), labels, strict=True):
        image = image[None].clone().requires_grad_(True)
        loss = F.cross_entropy(CONVOLUTIONAL(image), label[None], ignore_index=255)
        parts.append(torch.autograd.grad(loss, image)[0])
    return torch.cat(parts)


def mean_abs(g: torch.Tensor) -> torch.Tensor:
    return g.abs().mean((1, 2, 3), keepdim=True)


def rms(g: torch.Tensor) -> torch.Tensor:
    return g.square().mean((1, 2, 3), keepdim=True).sqrt()


def clip(x: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return x.clamp(images - EPS, images + EPS).clamp(0, 1)


def nearly_all_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Two summation orders of one loss may round a near-zero sum to the other sign here and
    there."""
    assert (found - expected).abs().gt(1e-6).float().mean() < 2e-3


@pytest.mark.parametrize("label_version", ["logits", "labels"])
@pytest.mark.parametrize("momentum", [None, {"mu": 1.0}])
@pytest.mark.parametrize("start", ["clean", "uniform"])
def test_scaling_fixed_at_one_is_pgd_bit_for_bit_through_the_whole_resize_path(
    start: str,
    momentum: dict[str, float] | None,
    label_version: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    common = {
        "steps": 5,
        "start": start,
        "momentum": momentum,
        "label_version": label_version,
    }
    plain, plain_health = run(spec("pgd", **common))

    modes = []
    interpolate = F.interpolate

    def counted(*args: Any, **kwargs: Any) -> torch.Tensor:
        modes.append(kwargs["mode"])
        return interpolate(*args, **kwargs)

    monkeypatch.setattr(F, "interpolate", counted)
    scaling = {"ds": {"low": 1, "width": 0}}
    scaled, scaled_health = run(spec("pgd", **common, transforms=[scaling]))
    assert torch.equal(plain, scaled)
    assert plain_health == scaled_health
    second = "bilinear" if label_version == "logits" else "nearest-exact"
    assert modes == ["bilinear", second] * 5


@pytest.mark.parametrize("handling", ["native", "back"])
def test_scaling_fixed_at_one_equals_pgd_under_every_handling(handling: str) -> None:
    scaling = {"ds": {"low": 1, "width": 0, "handling": handling}}
    plain, _ = run(spec("pgd", steps=3))
    assert torch.equal(run(spec("pgd", steps=3, transforms=[scaling]))[0], plain)


def test_several_scales_of_one_size_are_one_scale() -> None:
    """Their gradients are equal, and dividing by a mean magnitude turns no sign."""
    one, _ = run(spec("ds", steps=4, transforms=[{"ds": {"low": 0.75, "width": 0}}]))
    scales = {"ds": {"low": 0.75, "width": 0, "scales": 4}}
    four, health = run(spec("ds", steps=4, transforms=[scales]))
    assert torch.equal(one, four)
    assert [len(set(step)) for step in health.ratios] == [1] * 4
    assert len(health.ratios[0]) == 4


def test_momentum_by_hand() -> None:
    """m_1 = g / mean|g|; m_2 = mu * m_1 + g / mean|g|, the mean over each image alone."""
    rule = spec(momentum={"mu": 0.5})
    first = torch.tensor([[1.0, -3.0], [0.0, 0.0]]).view(2, 2, 1, 1)
    second = torch.tensor([[-1.0, 1.0], [4.0, 0.0]]).view(2, 2, 1, 1)
    m1 = loop.accumulate(None, first, rule)
    assert m1.flatten().tolist() == [0.5, -1.5, 0, 0]
    m2 = loop.accumulate(m1, second, rule)
    assert m2.flatten().tolist() == [-0.75, 0.25, 2, 0]
    assert loop.accumulate(m1, second, spec("pgd")) is second


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_attacks_follow_the_formula(nesterov: bool) -> None:
    rule = spec(eps=EPS, step_size=STEP, steps=3, momentum={"mu": 0.8, "nesterov": nesterov})
    found, _ = run(rule)
    images, labels = data()
    x, m = images.clone(), torch.zeros_like(images)
    for _ in range(3):
        g = gradient_at(x + STEP * 0.8 * m if nesterov else x, labels)
        m = 0.8 * m + g / mean_abs(g)
        x = clip(x + STEP * m.sign(), images)
    nearly_all_equal(found, x)


@pytest.mark.parametrize("momentum", [None, {"mu": 1.0}])
def test_variance_attacks_follow_the_formula(momentum: dict[str, float] | None) -> None:
    """g + v with the v of the step before; m of their sum."""
    variance = {"neighbours": 3, "bound": 1.5}
    rule = spec(eps=EPS, step_size=STEP, steps=3, momentum=momentum, variance=variance)
    found, _ = run(rule)
    images, labels = data()
    x, v, m = images.clone(), torch.zeros_like(images), torch.zeros_like(images)
    for step in range(3):
        g, total = gradient_at(x, labels), torch.zeros_like(images)
        for neighbour in range(3):
            noise = torch.stack(
                [image_noise(0, i, (3, 24, 36), "neighbour", neighbour, step) for i in ids(2)]
            )
            total += gradient_at(x + 1.5 * EPS * noise, labels)
        u = g + v
        v = total / 3 - g
        m = m + u / mean_abs(u) if momentum else u
        x = clip(x + STEP * m.sign(), images)
    nearly_all_equal(found, x)


def test_smoothed_attacks_follow_the_formula() -> None:
    """The gradient is smoothed, never the input, and momentum takes the smoothed one."""
    rule = spec(
        eps=EPS,
        step_size=STEP,
        steps=3,
        momentum={"mu": 1.0},
        smoothing={"kernel": 5, "sigmas": 2},
    )
    found, _ = run(rule)
    images, labels = data()
    line = torch.exp(-(torch.tensor([-2.0, -1, 0, 1, 2]) ** 2) / 2)
    kernel = line[:, None] * line[None]
    weight = (kernel / kernel.sum()).expand(3, 1, 5, 5)
    x, m = images.clone(), torch.zeros_like(images)
    for _ in range(3):
        g = F.conv2d(gradient_at(x, labels), weight, padding=2, groups=3)
        m = m + g / mean_abs(g)
        x = clip(x + STEP * m.sign(), images)
    nearly_all_equal(found, x)


@pytest.mark.parametrize("start", ["clean", "uniform"])
@pytest.mark.parametrize("momentum", [None, {"mu": 1.0}])
def test_l2_attacks_follow_the_formula(momentum: dict[str, float] | None, start: str) -> None:
    """Steps of RMS a along the gradient, back to RMS eps where beyond it, then into the box."""
    eps, step = 6 / 255, 4 / 255
    rule = spec(norm="l2", eps=eps, step_size=step, steps=4, momentum=momentum, start=start)
    found, _ = run(rule)
    images, labels = data()
    x, m = images.clone(), torch.zeros_like(images)
    if start == "uniform":
        uniform = torch.stack([image_noise(0, i, (3, 24, 36)) for i in ids(2)])
        normal = torch.erfinv(uniform.clamp(-1 + 1e-6, 1 - 1e-6))
        x = (images + eps * normal / rms(normal)).clamp(0, 1)
    for _ in range(4):
        g = gradient_at(x, labels)
        m = m + g / mean_abs(g) if momentum else g
        delta = x + step * m / rms(m) - images
        delta = delta * (eps / rms(delta)).clamp(max=1)
        x = (images + delta).clamp(0, 1)
    assert torch.allclose(found, x, atol=1e-5)
    assert rms(found - images).max() <= eps * (1 + 1e-5)
    assert rms(found - images).min() > 0.85 * eps


def test_an_l2_step_follows_a_gradient_of_any_size() -> None:
    """A sure model's gradients may be tiny: their squares are no more than zero in float32."""
    images, labels = data()
    context = context_of(CONVOLUTIONAL, spec(norm="l2"), images, labels)
    direction = torch.randn_like(images)
    step = loop.take_step(context, images, direction)
    for scale in (1e-30, 1e-15, 1e15, 1e30):
        found = loop.take_step(context, images, scale * direction)
        assert torch.allclose(found, step, atol=1e-6), scale


def test_momentum_of_zero_is_pgd() -> None:
    assert torch.equal(run(spec("pgd"))[0], run(spec("mi", momentum={"mu": 0}))[0])
    nesterov = run(spec("ni", momentum={"mu": 0, "nesterov": True}))[0]
    assert torch.equal(run(spec("pgd"))[0], nesterov)


def test_a_random_start_is_drawn_from_seed_and_image_inside_ball_and_box() -> None:
    rule = spec("noise", eps="8/255")
    noisy, _ = run(rule)
    images, _ = data()
    noise = torch.stack([image_noise(0, i, (3, 24, 36)) for i in ids(2)])
    assert torch.equal(noisy, (images + 8 / 255 * noise).clamp(images - 8 / 255).clamp(0, 1))
    assert (noisy - images).abs().max() <= 8 / 255 + 1e-7
    assert (noisy - images).abs().max() > 7.9 / 255
    assert torch.equal(noisy, run(rule, group=5)[0])
    assert not torch.equal(noisy, run(rule, seed=1)[0])


def test_a_random_start_under_l2_has_rms_eps_and_no_preferred_direction() -> None:
    images, labels = as_tensors(pictures(2, 40, 60), annotations(2, 40, 60, 3))
    images = images * 0.5 + 0.25
    rule = spec("noise", norm="l2", eps="8/255")
    (noisy,), _ = loop.run(None, rule, images, labels, ids(2), seed=0, group=0)
    delta = noisy - images
    assert torch.allclose(rms(delta), torch.tensor(8 / 255), rtol=1e-4)
    # Of a normal draw 4.55 % lie beyond two standard deviations, of a uniform one none.
    beyond = (delta.abs() > 16 / 255).float().mean().item()
    assert beyond == pytest.approx(0.0455, abs=0.006)


def test_every_attack_of_one_seed_and_group_sees_the_same_scales() -> None:
    transforms = [{"ds": {"low": 0.5, "width": 1.0}}]
    rules = [
        spec("ds", steps=6, transforms=transforms),
        spec("ds-mi", steps=6, eps="2/255", transforms=transforms),
        spec("pgd", steps=9, start="uniform", transforms=transforms),
        spec("pgd", steps=6, loss="masked-cross-entropy", transforms=transforms),
        spec("ds", steps=6, label_version="labels", norm="l2"),
        spec("ds-ni", steps=6, target={"every": 1}, region={"classes": [0]}),
    ]
    ratios = [run(rule, n=1)[1].ratios for rule in rules]
    assert all(r[:6] == ratios[0] for r in ratios)
    assert len({r for (r,) in ratios[0]}) > 3
    assert run(rules[0], seed=1)[1].ratios != ratios[0]
    assert run(rules[0], group=1)[1].ratios != ratios[0]
    other = run(spec("ds", steps=6), n=1, model=toy("convolutional", seed=4))[1]
    assert other.ratios == ratios[0]


@pytest.mark.parametrize(("low", "width"), [(0.5, 1.0), (0.75, 0.5), (0.5, 1.5), (1.25, 0)])
def test_recorded_ratios_cover_their_range(low: float, width: float) -> None:
    rule = spec("ds", steps=40, transforms=[{"ds": {"low": low, "width": width}}])
    ratios = np.array(run(rule, n=1)[1].ratios)
    assert ratios.shape == (40, 1)
    assert ratios.min() >= low - 1e-9
    assert ratios.max() <= low + width + 1e-9
    assert np.ptp(ratios) >= 0.8 * width
    assert ratios.mean() == pytest.approx(low + width / 2, abs=0.12 * width + 0.02)


PASSES = {"vt": 21, "ds-vt": 21, "si": 5, "admix": 15, "ssa": 20}


@pytest.mark.parametrize("preset", ["fgsm", "pgd", "mi", "ni", "ti", "ds", "ds-mi", "vt", "si"])
def test_a_step_costs_one_forward_and_one_backward_a_copy_and_neighbour(preset: str) -> None:
    model = toy("convolutional")
    calls = {"forward": 0, "backward": 0}

    def backward(_: torch.Tensor) -> None:
        calls["backward"] += 1

    def forward(_module: object, _inputs: object, output: torch.Tensor) -> None:
        calls["forward"] += 1
        output.register_hook(backward)

    model.module.register_forward_hook(forward)  # type: ignore[union-attr, operator]
    rule = spec(preset, steps=1 if preset == "fgsm" else 3)
    _, health = run(rule, model=model, n=3)
    passes = rule.steps * PASSES.get(preset, 1)
    assert calls == {"forward": passes, "backward": passes}
    assert (model.cost.forwards, model.cost.backwards) == (3 * passes, 3 * passes)
    native, areas = 3 * 24 * 36, sum(r * r for step in health.ratios for r in step)
    repeats = 21 if preset == "vt" else 1
    assert model.cost.pixels == pytest.approx(native * areas * repeats)
    assert model.cost.seconds > 0


def test_loss_curve_rises_and_zero_gradients_are_recorded() -> None:
    _, health = run(spec("pgd", steps=10))
    curve = np.array(health.losses)
    assert curve.shape == (10, 2)
    assert (curve[-1] > curve[0]).all()
    assert np.array(health.zero_gradients).shape == (10, 2)
    assert health.ratios == [[1.0]] * 10


def test_neither_images_nor_labels_nor_the_model_are_changed() -> None:
    images, labels = as_tensors(pictures(2, 12, 18), annotations(2, 12, 18, 3))
    kept = images.clone(), labels.clone()
    model = toy("convolutional")
    weights = [p.clone() for p in model.parameters()]
    (found,), _ = loop.run(model, spec("ds-vt", steps=3), images, labels, ids(2), seed=0, group=0)
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])
    assert not found.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("start", ["clean", "uniform"])
@pytest.mark.parametrize(
    "region",
    [
        {"classes": [0]},
        {"box": [0.25, 0, 0.75, 0.5]},
        {"classes": [1, 2], "box": [0, 0, 1, 0.5]},
        "mask",
    ],
    ids=str,
)
def test_pixels_outside_the_region_do_not_change(
    region: Any, start: str, norm: str, tmp_path: Path
) -> None:
    if region == "mask":
        Image.fromarray(halves(1, 12, 16)[0]).save(tmp_path / "mask.png")
        region = {"mask": str(tmp_path / "mask.png")}
    rule = spec(
        "ds-ti",
        steps=3,
        region=region,
        start=start,
        norm=norm,
        scores=["raw", "eps*sign", "equal-rms"],
    )
    found = make(STAGED, rule).images
    images, labels = pictures(5, 12, 16)[:3], annotations(5, 12, 16, 3)[:3]
    mask = allowed(rule.region, torch.tensor(labels).long())
    assert mask is not None
    inside = np.broadcast_to(mask.numpy() > 0, images.shape)
    for made in found:
        assert np.array_equal(made[~inside], images[~inside])
        assert (made[inside] != images[inside]).mean() > 0.5


@pytest.mark.parametrize(
    "target",
    [
        {"every": 2},
        {"classes": {0: 1, 1: 0}},
        {"classes": {0: 1}, "others": "ignore"},
        "label_map",
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "loss", ["cross-entropy", "masked-cross-entropy", "segpgd", "cospgd", "js", "mask-norm"]
)
def test_targeted_attack_approaches_its_target(loss: str, target: Any, tmp_path: Path) -> None:
    if target == "label_map":
        path = tmp_path / "map.png"
        Image.fromarray(halves(1, 24, 36)[0] * 2).save(path)
        target = {"label_map": str(path)}
    images, labels = data(3)
    rule = spec("pgd", steps=8, eps="16/255", loss=loss, target=target)
    (found,), health = loop.run(CONVOLUTIONAL, rule, images, labels, ids(3), seed=0, group=0)
    wanted = aim(labels, rule.target, 3)
    counted = wanted != 255

    def hits(x: torch.Tensor) -> torch.Tensor:
        return ((CONVOLUTIONAL(x).argmax(1) == wanted) & counted).sum((1, 2)) / counted.sum((1, 2))

    assert (hits(found) > hits(images) + 0.02).all(), (hits(found), hits(images))
    assert np.array(health.losses)[-1].mean() > np.array(health.losses)[0].mean()


def test_targeted_attack_differs_from_untargeted_attack() -> None:
    plain, _ = run(spec("pgd", steps=2))
    onto_truth, _ = run(spec("pgd", steps=2, target={"classes": {0: 0}}))
    images, _ = data()
    moved = (plain - images).abs() > 1e-4
    # Onto the truth instead of off it: the first step goes the other way.
    first, _ = run(spec("fgsm"))
    back, _ = run(spec("fgsm", target={"classes": {0: 0}}))
    free = (images > 0.05) & (images < 0.95)
    assert torch.allclose((first - images)[free], -(back - images)[free], atol=1e-6)
    assert not torch.equal(onto_truth[moved], plain[moved])


def wrong_pixels(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return ((CONVOLUTIONAL(images).argmax(1) != labels) & (labels != 255)).sum((1, 2))


def test_restarts_keep_the_best_run_image_by_image() -> None:
    images, labels = data(4)
    rule = spec(steps=2, start="uniform", eps="4/255", restarts=5)
    found, health = run(rule, n=4)
    seen = []
    context = context_of(CONVOLUTIONAL, rule, images, labels)
    for restart in range(5):
        random = StepRandom(0, 0, 0, ids(4), restart=restart)
        x = loop.start(images, rule, random, *bounds(images, rule, None))
        for _ in range(2):
            x = loop.take_step(context, x, gradient_at(x, labels))
        seen.append(x)
    wrong = torch.stack([wrong_pixels(x, labels) for x in seen])
    assert len(set(wrong.argmax(0).tolist())) > 1
    assert (wrong_pixels(found, labels) - wrong.max(0).values).abs().max() <= 1
    one, _ = run(spec(steps=2, start="uniform", eps="4/255"), n=4)
    nearly_all_equal(one, seen[0])
    assert (wrong_pixels(found, labels) >= wrong_pixels(one, labels)).all()
    assert np.array(health.losses).shape == (2, 4)


def test_restarts_of_a_targeted_attack_keep_the_run_that_hits_most() -> None:
    _, labels = data(4)
    common = {"steps": 2, "start": "uniform", "eps": "4/255", "target": {"every": 1}}
    one, _ = run(spec(**common), n=4)
    best, _ = run(spec(**common, restarts=6), n=4)

    def hits(x: torch.Tensor) -> torch.Tensor:
        return ((CONVOLUTIONAL(x).argmax(1) == 1) & (labels != 255)).sum((1, 2))

    assert (hits(best) >= hits(one)).all()
    assert (hits(best) > hits(one)).any()


def test_restarts_draw_other_scales_and_neighbours() -> None:
    found = make(STAGED, spec("ds", steps=2, restarts=4)).images
    assert not np.array_equal(found, make(STAGED, spec("ds", steps=2)).images)
    rule = spec("vt", steps=3, variance={"neighbours": 2}, restarts=6)
    assert not np.array_equal(
        make(STAGED, rule).images,
        make(STAGED, spec("vt", steps=3, variance={"neighbours": 2})).images,
    )


@pytest.mark.parametrize(
    "rule",
    [
        {"preset": "pgd"},
        {"preset": "ds-mi", "start": "uniform"},
        {"preset": "vt", "variance": {"neighbours": 2}},
        {"preset": "mi", "norm": "l2"},
        {"preset": "ni", "scores": ["raw", "eps*sign"]},
    ],
    ids=str,
)
def test_kept_iterates_equal_runs_with_fewer_steps(rule: dict[str, Any]) -> None:
    whole = AttackSpec.model_validate(rule | {"steps": 6, "steps_at": [1, 2, 4, 6]})
    kept, health = iterates(whole)
    assert len(health.losses) == 6
    assert len(kept) == 4
    for step, x in zip((1, 2, 4, 6), kept, strict=True):
        shorter, _ = run(AttackSpec.model_validate(rule | {"steps": step}))
        assert torch.equal(x, shorter)


def test_run_ends_with_the_last_kept_step() -> None:
    kept, health = iterates(spec("pgd", steps=5, steps_at=[2, 3]))
    assert [len(kept), len(health.losses)] == [2, 3]
    assert health.pixels == [2 * health.pixels[1] // 3, health.pixels[1]]
    assert torch.equal(kept[0], run(spec("pgd", steps=2))[0])


def test_iterates_of_restarts_come_from_the_run_that_ends_best() -> None:
    rule = spec(steps=3, steps_at=[1, 3], start="uniform", restarts=4)
    first, last = iterates(rule)[0]
    (alone,) = iterates(spec(steps=3, start="uniform", restarts=4))[0]
    assert torch.equal(last, alone)
    assert (last - first).abs().max() <= 2 * rule.step_size + 1e-6


BUDGETS: dict[str, dict[str, Any]] = {
    "pgd": {},
    "mi": {},
    "ds": {},
    "ds-mi": {"transforms": [{"ds": {"low": 0.5, "width": 1.5}}]},
    "ds-ni": {"transforms": [{"ds": {"scales": 3, "law": "log-uniform"}}]},
    "di": {"transforms": [{"di": {"high": 1.3}}]},
    "rdi": {},
    "vt": {"variance": {"neighbours": 4}},
    "ds-vt": {"variance": {"neighbours": 3}},
    "si": {},
    "ti": {},
}


@pytest.mark.parametrize("micro_batch", [1, 3])
@pytest.mark.parametrize("name", BUDGETS)
def test_a_budget_is_met_to_half_a_step_as_the_model_counts(name: str, micro_batch: int) -> None:
    """Where steps cost unequally, to half a mean one, or what the last one costs beyond that."""
    model = toy("staged")
    budget = 33.0
    rule = spec(name, budget={"forward_equivalents": budget}, **BUDGETS[name])
    assert rule.steps == max(1, round(budget / rule.step_cost))
    result = make(model, rule, micro_batch=micro_batch, height=24, width=36)
    used = model.cost.pixels / (3 * 24 * 36)
    repeats = 1 + (rule.variance.neighbours if rule.variance else 0)
    ratios = result.report["health"][0]["ratios"]
    dearest = max(sum(r * r for r in step) for step in ratios) * repeats
    assert abs(used - budget) <= max(rule.step_cost / 2, dearest - rule.step_cost / 2) + 1e-6
    steps = {len(health["losses"]) for health in result.report["health"]}
    assert len(steps) == 1
    assert steps.pop() == pytest.approx(rule.steps, abs=6)


@pytest.mark.parametrize("name", BUDGETS)
def test_a_budget_buys_every_micro_batch_the_same(name: str) -> None:
    rule = spec(name, budget={"forward_equivalents": 12}, **BUDGETS[name])
    together = make(STAGED, rule, micro_batch=3)
    apart = make(STAGED, rule, micro_batch=1)
    assert np.array_equal(together.images, apart.images)


@pytest.mark.parametrize("restarts", [1, 2, 3])
def test_restarts_share_a_budget(restarts: int) -> None:
    for name in ("pgd", "ds"):
        model = toy("staged")
        fields = {"start": "uniform", "restarts": restarts}
        rule = spec(name, budget={"forward_equivalents": 30}, **fields)
        result = make(model, rule, height=24, width=36)
        used = model.cost.pixels / (3 * 24 * 36)
        dearest = 1 if name == "pgd" else 2.25
        assert abs(used - 30) <= restarts * (dearest - rule.step_cost / 2) + 1e-6
        if name == "pgd":
            # What is planned, and what l(t) of segpgd counts to, is what is run.
            assert len(result.report["health"][0]["losses"]) == rule.steps


def test_smallest_budget_gives_one_step() -> None:
    rule = spec("vt", budget={"forward_equivalents": 21})
    assert rule.steps == 1
    assert rule.step_size == rule.eps  # one step reaches the bound
    _, health = run(rule)
    assert len(health.losses) == 1


def test_an_attack_of_some_steps_without_a_source_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="attack 'pgd' has 20 steps and needs a source model"):
        loop.run(None, spec("pgd"), *data(), ids(2), seed=0, group=0)
