"""Rules with a loop of their own, on a transformer and a convolutional network of the zoo.

The loops are those of the tests beside this file, with a network in place of their toy. Models,
images and loops are in double precision. The shares are of equal values after four steps.
"""

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.layers import read_layer
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.ensemble import EnsembleSegmenter
from segtransfer.tasks.randomness import generator_of
from tests.tasks.attacks import test_ensemble_rules as ensembles
from tests.tasks.attacks.doubled import CLASSES, COUNT, Doubled, doubled, photographs
from tests.tasks.attacks.gradient_rules import test_oracle as rules
from tests.tasks.attacks.loops import test_minimum_norm as smallest
from tests.tasks.attacks.loops import test_oracle_papers as papers
from tests.tasks.attacks.transforms import test_oracle_rivals as rivals
from tests.tasks.cases import ids, spec

NETWORKS = ["segformer-mit", "pspnet-r18"]
EPS, STEP_SIZE, STEPS, SIDE = 8 / 255, 2 / 255, 4, 32
SAME = 0.999  # of the values; rounding turns the sign of some gradients near 0
Gradient = Callable[[torch.Tensor, int], torch.Tensor]

pytestmark = pytest.mark.slow


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Doubled:
    return doubled(request.param)


def share(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the share of values that differ by less than rounding."""
    assert ours.shape == theirs.shape
    return ((ours - theirs).abs() < 1e-9).double().mean().item()


def use(monkeypatch: pytest.MonkeyPatch, module: ModuleType, **names: Any) -> None:
    for name, value in names.items():
        monkeypatch.setattr(module, name, value)


@pytest.mark.parametrize("name", rules.RULES)
def test_gradient_rule_on_a_network_equals_its_loop(
    name: str, network: Doubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = photographs(SIDE, 48)
    use(
        monkeypatch, rules, MODEL=network, inputs=lambda: (images, labels), HEIGHT=SIDE, WIDTH=48,
        IDS=ids(COUNT),
    )  # fmt: skip
    fields = {
        "preset": name, "eps": EPS, "step_size": STEP_SIZE, "steps": STEPS,
        "label_version": "labels", "gradient": {name: rules.RULES[name][1]},
    }  # fmt: skip
    (made,), _ = loop.run(
        network, AttackSpec.model_validate(fields), images, labels, rules.IDS, seed=0, group=0
    )
    assert share(made, rules.expected(name)[-1]) > SAME


INTENSITY = rivals.test_si_with_a_random_law_is_mi_at_one_intensity_per_step
SPECTRUM = rivals.test_ssa_takes_the_gradient_at_the_transformed_image_and_ours_through_it
TRANSFORMS: dict[str, list[Callable[[], None]]] = {
    "si-random": [partial(INTENSITY, "powers"), partial(INTENSITY, "uniform")],
    "us-mm": [rivals.test_us_mm_sums_gradients_at_scaled_and_masked_images],
    "ssa": [partial(SPECTRUM, "ssa")],
    "ssa-through": [partial(SPECTRUM, "ssa-through")],
    "flip-mi": [
        partial(rivals.test_flip_mirrors_image_and_labels, "labels"),
        partial(rivals.test_flip_mirrors_image_and_labels, "logits"),
    ],
    "sia": [partial(rivals.test_sia_changes_blocks_and_labels_follow_each, "labels")],
    "bsr": [partial(rivals.test_bsr_turns_and_shuffles_strips_and_labels_follow, "labels")],
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_on_a_network_equals_its_loop(
    name: str, network: Doubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = photographs(SIDE, SIDE)
    found: list[float] = []

    def compare(made: torch.Tensor, reference: torch.Tensor) -> None:
        found.append(share(made, reference))

    use(
        monkeypatch, rivals, MODEL=network, SIDE=SIDE, COUNT=COUNT, CLASSES=CLASSES,
        IDS=ids(COUNT), images_and_labels=lambda: (images, labels), assert_equal=compare,
    )  # fmt: skip
    for test in TRANSFORMS[name]:
        test()
    assert len(found) == len(TRANSFORMS[name])
    assert min(found) > SAME


@pytest.mark.parametrize("rule", ensembles.RULES)
def test_ensemble_rule_on_networks_equals_its_loop(rule: str) -> None:
    nets = [doubled(name) for name in NETWORKS]
    images, labels = photographs(SIDE, 48)
    source = ensembles.Source(0)
    source.nets, source.clean, source.labels = nets, images[:1], labels[:1]  # type: ignore[assignment]
    model = EnsembleSegmenter(list(nets), [0.5, 0.5], average="logits", own_scales=False).eval()
    model.forward = lambda x: model.logits(x)  # type: ignore[method-assign]
    fields = {
        "eps": ensembles.EPS,
        "step_size": ensembles.STEP_SIZE,
        "steps": ensembles.STEPS,
    }
    (made,), _ = loop.run(
        model, spec(rule, **fields), images[:1], labels[:1], ids(1), seed=0, group=0
    )
    assert share(made, ensembles.ORACLES[rule](source)) > SAME


WHITE_BOXES = ["apgd", "sea", "padam-ce", "padam-cos"]


@pytest.mark.parametrize("name", WHITE_BOXES)
def test_white_box_on_a_network_equals_its_loop(
    name: str, network: Doubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels = photographs(SIDE, SIDE)
    noise = 2 * torch.rand(images.shape, generator=torch.Generator().manual_seed(5)).double() - 1
    use(
        monkeypatch, papers, Smooth=lambda: network, COUNT=COUNT, CLASSES=CLASSES, SIDE=SIDE,
        pictures=lambda: (images, labels, noise),
    )  # fmt: skip
    monkeypatch.setattr(
        papers.step_random, "image_noise", lambda _seed, name, _shape: noise[int(name[6:])]
    )
    ce = papers.ce
    if name == "apgd":
        (made,) = papers.ours(loop="apgd", steps=12)
        theirs = papers.each(lambda c, y, x: papers.apgd(c, y, x, 12, ce, ce), start=0)
    elif name == "sea":
        rule = {"apgd": {"shrinking": True, "track": "cross-entropy", "keep": "fooled"}}
        (made,) = papers.ours(loop=rule, steps=12, loss="masked-cross-entropy", start="uniform")
        theirs = papers.each(partial(papers.sea, steps=12), start=2 * papers.EPS)
    else:
        loss, score = (
            ("cross-entropy", ce) if name == "padam-ce" else ("cosine", papers.cosine_distance)
        )
        (made,) = papers.ours(loop="padam", steps=8, loss=loss, step_size="2/255")
        theirs = papers.each(lambda c, y, x: papers.padam(c, y, x, 8, score, 2 / 255), start=0)
    assert share(made, theirs) > SAME


def pixel_losses(z: torch.Tensor, y: torch.Tensor, step: int) -> dict[str, torch.Tensor]:
    """Return the losses per pixel of the presets by their papers' formulas; 0 without a label."""
    known = y != 255
    hot = F.one_hot(y * known, CLASSES).movedim(-1, 1).double()
    p = z.softmax(1)
    own = (p * hot).sum(1)
    ce = -(z.log_softmax(1) * hot).sum(1)
    right = z.argmax(1) == y
    mixture = ((p + hot) / 2).log()
    divergence = F.kl_div(mixture, p, reduction="none") + F.kl_div(mixture, hot, reduction="none")
    cosine = (z * hot).sum(1) / z.norm(dim=1)
    q, late = -2 + 3 * step / STEPS, step / (2 * STEPS)
    entropy = -(p * p.log()).sum(1) / math.log(CLASSES)
    found = {
        "pgd": ce,
        "masked-ce": ce * right,
        "segpgd": ce * torch.where(right, 1 - late, late),
        "cospgd": ce * (own / p.norm(dim=1)).detach(),
        "js": divergence.sum(1) / 2,
        "mask-norm": -cosine * right,
        "tsallis": (1 - own ** (1 - q)) / (1 - q),
        "uncertainty": torch.exp(entropy) * ce,
    }
    return {name: value * known for name, value in found.items()}


def ascend(images: torch.Tensor, gradient: Gradient, mu: float | None = None) -> torch.Tensor:
    """Return the last iterate of I-FGSM, or of MI-FGSM with decay ``mu``."""
    x, m = images, torch.zeros_like(images)
    for step in range(STEPS):
        g = gradient(x, step)
        if mu is not None:
            g = m = mu * m + g / g.abs().mean((1, 2, 3), keepdim=True)
        x = (x + STEP_SIZE * g.sign()).clamp(images - EPS, images + EPS).clamp(0, 1)
    return x


def made(preset: str, network: Doubled, **fields: Any) -> torch.Tensor:
    images, labels = photographs(SIDE, 48)
    rule = spec(preset, eps=EPS, step_size=STEP_SIZE, steps=STEPS, start="clean", **fields)
    (found,), _ = loop.run(network, rule, images, labels, ids(COUNT), seed=0, group=0)
    return found


LOSSES = ["pgd", "masked-ce", "segpgd", "cospgd", "js", "mask-norm", "tsallis", "uncertainty"]


@pytest.mark.parametrize("preset", LOSSES)
def test_loss_on_a_network_equals_its_formula(preset: str, network: Doubled) -> None:
    images, labels = photographs(SIDE, 48)
    counted = (labels != 255).sum((1, 2))

    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        x = x.clone().requires_grad_()
        loss = pixel_losses(network(x), labels, step)[preset].sum((1, 2)) / counted
        return torch.autograd.grad(loss.sum(), x)[0]

    assert share(made(preset, network), ascend(images, gradient)) > SAME


def test_regions_of_rp_pgd_on_a_network_are_those_of_the_authors_code(network: Doubled) -> None:
    images, labels = photographs(SIDE, 48)
    state = torch.zeros_like(labels)

    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        x = x.clone().requires_grad_()
        z = network(x)
        wrong = z.argmax(1) != labels
        if step == 0:
            state[:] = torch.where(wrong, 2, 1)
        state[wrong & (state == 1)] = 3
        weights = {1: 1 - step / (2 * STEPS), 3: (step - 1) / (2 * STEPS), 2: 1 / (2 * STEPS)}
        ce = F.cross_entropy(z, labels, ignore_index=255, reduction="none")
        regions = [
            (weight, (state[i] == number) & (labels[i] != 255), ce[i])
            for i in range(COUNT)
            for number, weight in weights.items()
        ]
        total = sum(
            weight * values[where].mean() for weight, where, values in regions if where.any()
        )
        return torch.autograd.grad(total, x)[0]  # type: ignore[arg-type]

    assert share(made("rp-region", network), ascend(images, gradient)) > SAME


# Losses on features are single precision from the layer on, in the attack and in these loops.
NEARLY = 0.99


def features(network: Doubled, x: torch.Tensor) -> torch.Tensor:
    return read_layer(network, x, None)[0].float()


def of_features(network: Doubled, loss: Callable[[torch.Tensor, int], torch.Tensor]) -> Gradient:
    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        x = x.clone().requires_grad_()
        return torch.autograd.grad(loss(features(network, x), step).sum(), x)[0]

    return gradient


def dispersion(h: torch.Tensor) -> torch.Tensor:
    return -torch.stack([image.std() for image in h])


def test_dispersion_reduction_on_a_network_equals_its_loop(network: Doubled) -> None:
    images, _ = photographs(SIDE, 48)
    expected = ascend(images, of_features(network, lambda h, _step: dispersion(h)))
    assert share(made("dr", network), expected) > NEARLY


def test_fspgd_on_a_network_equals_a_loop_over_positions(network: Doubled) -> None:
    images, _ = photographs(SIDE, 48)
    clean = F.normalize(features(network, images).detach(), dim=1).flatten(2)

    def loss(h: torch.Tensor, step: int) -> torch.Tensor:
        own, late, total = F.normalize(h, dim=1).flatten(2), step / STEPS, []
        for a, c in zip(own, clean, strict=True):
            similar = c.T @ c > math.cos(math.pi / 3)
            similar &= ~torch.eye(len(similar), dtype=torch.bool)
            inner = (a.T @ a)[similar].mean() / 2 if similar.any() else a.sum() * 0
            total.append(-late * (a * c).sum(0).mean() - (1 - late) * inner)
        return torch.stack(total)

    assert share(made("fspgd", network), ascend(images, of_features(network, loss))) > NEARLY


def drawn(name: str, law: Callable[..., torch.Tensor], copy: int) -> torch.Tensor:
    shape, parts = (3, SIDE, 48), (copy, 0, 0) if copy else ()
    return torch.stack(
        [law(shape, generator=generator_of(name, 0, i, 0, *parts)) for i in ids(COUNT)]
    )


def weights_at(
    network: Doubled, points: list[torch.Tensor], score: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Return the summed gradient of the mean score at the labels to the features, of norm 1."""
    _, labels = photographs(SIDE, 48)
    known, total = labels != 255, torch.zeros(())
    for x in points:
        h, z = read_layer(network, x.clone().requires_grad_(), None)
        own = score(z).gather(1, labels.where(known, 0)[:, None])[:, 0]
        mean = sum(s[k].mean() for s, k in zip(own, known, strict=True))
        total = total + torch.autograd.grad(mean, h)[0]  # type: ignore[arg-type]
    return (total / total.flatten(1).norm(dim=1)[:, None, None, None]).float()


def test_fia_on_a_network_equals_its_loop(network: Doubled) -> None:
    images, _ = photographs(SIDE, 48)
    masked = [images * (drawn("fia", torch.rand, n) < 0.7) for n in range(30)]
    weights = weights_at(network, masked, lambda z: z)
    expected = ascend(images, of_features(network, lambda h, _s: -(h * weights)), mu=1.0)
    assert share(made("fia", network), expected) > NEARLY


def test_naa_on_a_network_equals_its_loop(network: Doubled) -> None:
    images, _ = photographs(SIDE, 48)
    black = torch.zeros_like(images)
    path = [(images + drawn("naa", torch.randn, n) * 0.1) * (1 - n / 30) for n in range(30)]
    weights = weights_at(network, path, lambda z: z.softmax(1))
    base = features(network, black)
    expected = ascend(images, of_features(network, lambda h, _s: (base - h) * weights), mu=1.0)
    assert share(made("naa", network), expected) > NEARLY


def test_ila_on_a_network_equals_its_loop(network: Doubled) -> None:
    images, labels = photographs(SIDE, 48)
    counted = (labels != 255).sum((1, 2))

    def first(x: torch.Tensor, step: int) -> torch.Tensor:
        x = x.clone().requires_grad_()
        loss = pixel_losses(network(x), labels, step)["pgd"].sum((1, 2)) / counted
        return torch.autograd.grad(loss.sum(), x)[0]

    clean = features(network, images).detach()
    old = (features(network, ascend(images, first)).detach() - clean).flatten(1)
    old = old / old.norm(dim=1, keepdim=True)
    projected = of_features(network, lambda h, _s: ((h - clean).flatten(1) * old).sum(1))
    assert share(made("ila", network), ascend(images, projected)) > NEARLY


SMALLEST = ["alma-prox", "dag"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", SMALLEST)
def test_smallest_norm_on_a_network_equals_its_loop(kind: str, name: str) -> None:
    """Compare steps before any image is reached, in the single precision of these attacks."""
    network = adapters.load(adapters.ModelSpec.model_validate(name))
    pixels = (photographs(SIDE, 48)[0] * 256).floor().clamp(32, 224).numpy().astype(np.uint8)
    labels = smallest.right_labels(network, pixels, void=0)
    steps, kept = (16, 4) if kind == "alma-prox" else (8, 8)
    rule = spec(kind, steps=steps, steps_at=[kept], **({} if steps == 16 else {"step_size": 0.004}))
    # An image at a time, because a batch rounds otherwise, and these rules amplify rounding.
    made = attack(network, rule, pixels, labels, ids(COUNT), seed=0, group=0, micro_batch=1)
    x, y = torch.tensor(pixels).float() / 255, torch.tensor(labels).long()
    for i in range(COUNT):
        points = smallest_iterates(kind, network, x[i : i + 1], y[i : i + 1], steps)[:kept]
        with torch.no_grad():
            fooled = [int((network(x[i : i + 1] + d).argmax(1) != y[i]).sum()) for d in points]
        assert max(fooled) < 0.99 * y[i].numel()
        best = max(range(kept), key=lambda t: (fooled[t], t))
        assert best > 0
        expected = smallest.outwards(x[i], points[best][0])
        assert (expected == made.images[0][i]).mean() > 0.95


def smallest_iterates(
    kind: str, network: Segmenter, x: torch.Tensor, y: torch.Tensor, steps: int
) -> list[torch.Tensor]:
    """Return the perturbations of one image, before each step."""
    if kind == "alma-prox":
        return smallest.alma_prox_by_hand(network, x, y, steps, 0.002, target=False)
    r, points = torch.zeros_like(x), []
    for _ in range(steps):
        moving = (x + r).requires_grad_()
        z = network(moving.clamp(0, 1))
        rest = z.scatter(1, y[:, None], -torch.inf).amax(1)
        gap = z.gather(1, y[:, None])[:, 0] - rest
        points.append(moving.detach().clamp(0, 1) - x)
        (g,) = torch.autograd.grad(gap[gap > 0].sum(), moving)
        r = r - 0.004 * g / g.abs().max()
    return points


FEATURES = ["dr", "fspgd", "fia", "naa", "ila"]
COVERED = {
    *rules.RULES, *TRANSFORMS, *ensembles.RULES, *WHITE_BOXES, *LOSSES, "rp-region", *FEATURES,
    *SMALLEST,
}  # fmt: skip
