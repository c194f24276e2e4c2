"""Our attacks against foolbox 3.3.4, step for step, in double precision.

A segmentation loss over one labelled pixel is a classification loss, so a segmenter of which one
pixel is labelled and the classifier that returns this pixel's logits must be attacked alike. An L2
norm of foolbox is the root mean square of ours times sqrt(3 H W), for eps and step size both.

Not compared: random starts (foolbox draws them from the whole L2 ball, we from its sphere, and
the numbers are its own; the start under linf is compared in ``test_oracle_torchattacks``), and
images without any gradient (both leave them where they are).
"""

import math
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models.base import Segmenter, freeze

# foolbox imports GitPython, which without this refuses to be imported where there is no git.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
import foolbox

COUNT, CLASSES, SIDE = 3, 4, 16
PIXEL = (5, 9)
STEPS = (1, 2, 3, 5)
EPS, STEP_SIZE = 8 / 255, 2.3 / 255  # four of these steps reach beyond eps
L2 = math.sqrt(3 * SIDE * SIDE)  # of an image whose root mean square is 1
TOLERANCE = 1e-12


class Smooth(Segmenter):
    """A random convolution, tanh, and per pixel a linear map of its features and of the image's:
    smooth, in double precision, and every logit sees every value, so that no gradient is zero or
    so small that rounding decides its sign."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.num_classes = CLASSES

        def weights(*shape: int, spread: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(shape, generator=generator).double() * spread)

        generator = torch.Generator().manual_seed(seed)
        self.first = weights(8, 3, 3, 3, spread=0.7)
        self.local = weights(CLASSES, 8, 3, 3, spread=0.1)
        self.everywhere = weights(CLASSES, 8, SIDE, SIDE, spread=0.05)
        freeze(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images)  # a segmenter's own forward ends in single precision

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.conv2d(images - 0.4, self.first, padding=1).tanh()
        context = torch.einsum("nchw,kchw->nk", hidden, self.everywhere)
        return nn.functional.conv2d(hidden, self.local, padding=1) + context[..., None, None]


class OnePixel(nn.Module):
    """The classifier that a segmenter is at one pixel."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.segmenter(images)[:, :, PIXEL[0], PIXEL[1]]
        return logits


def images_and_classes() -> tuple[torch.Tensor, torch.Tensor]:
    """Square images with values at both ends of the box among them, and a class for each."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(COUNT, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
    images[:, :, :2], images[:, :, -2:] = images[:, :, :2] * EPS, 1 - images[:, :, -2:] * EPS
    images[:, :, 0, 0], images[:, :, -1, -1] = 0, 1
    return images, torch.randint(CLASSES, (COUNT,), generator=generator)


def iterates(model: Segmenter, **fields: Any) -> dict[int, torch.Tensor]:
    """Our AEs after each of STEPS, the one pixel labelled; fields make the spec."""
    images, classes = images_and_classes()
    labels = torch.full((COUNT, SIDE, SIDE), 255)
    labels[:, PIXEL[0], PIXEL[1]] = classes
    fields = {"eps": EPS, "step_size": STEP_SIZE, "steps": max(STEPS), "steps_at": STEPS, **fields}
    spec = AttackSpec.model_validate({"name": "ours", **fields})
    ids = [f"image-{i}" for i in range(COUNT)]
    made, health = loop.run(model, spec, images, labels, ids, seed=0, group=0)
    assert not any(any(shares) for shares in health.zero_gradients)
    return dict(zip(spec.steps_at, made, strict=True))


def linf(steps: int) -> Any:
    return foolbox.attacks.LinfBasicIterativeAttack(abs_stepsize=STEP_SIZE, steps=steps)


def linf_pgd(steps: int) -> Any:
    return foolbox.attacks.LinfPGD(abs_stepsize=STEP_SIZE, steps=steps, random_start=False)


def l2(steps: int) -> Any:
    return foolbox.attacks.L2BasicIterativeAttack(abs_stepsize=STEP_SIZE * L2, steps=steps)


def l2_pgd(steps: int) -> Any:
    return foolbox.attacks.L2PGD(abs_stepsize=STEP_SIZE * L2, steps=steps, random_start=False)


def linf_fast(_steps: int) -> Any:
    return foolbox.attacks.LinfFastGradientAttack()


def l2_fast(_steps: int) -> Any:
    return foolbox.attacks.L2FastGradientAttack()


ONCE: dict[str, Any] = {"preset": "fgsm", "step_size": EPS, "steps": 1, "steps_at": (1,)}
ATTACKS: dict[str, tuple[dict[str, Any], Callable[[int], Any]]] = {
    "pgd is LinfBasicIterativeAttack": ({"preset": "pgd"}, linf),
    "pgd is LinfPGD": ({"preset": "pgd"}, linf_pgd),
    "fgsm is LinfFastGradientAttack": (ONCE, linf_fast),
    "pgd under l2 is L2BasicIterativeAttack": ({"preset": "pgd", "norm": "l2"}, l2),
    "pgd under l2 is L2PGD": ({"preset": "pgd", "norm": "l2"}, l2_pgd),
    "fgsm under l2 is L2FastGradientAttack": (ONCE | {"norm": "l2"}, l2_fast),
}


CASES: list[tuple[str, int | None]] = [(name, None) for name in ATTACKS]
# foolbox has no targeted fast gradient attack.
CASES += [(name, 2) for name, (fields, _) in ATTACKS.items() if fields["preset"] == "pgd"]


@pytest.mark.parametrize(
    ("name", "target"), CASES, ids=[n + (", targeted" if t else "") for n, t in CASES]
)
def test_ours_is_theirs_step_for_step(name: str, target: int | None) -> None:
    fields, theirs = ATTACKS[name]
    if target is not None:
        fields = fields | {"target": {"every": target}}
    model = Smooth()
    images, classes = images_and_classes()
    classifier = foolbox.PyTorchModel(OnePixel(model).eval(), bounds=(0, 1), device="cpu")
    criterion: Any = foolbox.criteria.Misclassification(classes)
    if target is not None:
        criterion = foolbox.criteria.TargetedMisclassification(torch.full_like(classes, target))
    eps = EPS * L2 if fields.get("norm") == "l2" else EPS
    for steps, ours in iterates(model, **fields).items():
        made, _, _ = theirs(steps)(classifier, images, criterion, epsilons=eps)
        torch.testing.assert_close(ours, made, rtol=0, atol=TOLERANCE)


def test_the_comparison_reaches_the_ball_and_the_box() -> None:
    """Else it would say nothing of the projections."""
    images, _ = images_and_classes()
    for norm in ("linf", "l2"):
        last = iterates(Smooth(), preset="pgd", norm=norm)[max(STEPS)]
        delta = last - images
        sizes = delta.abs().amax((1, 2, 3))
        if norm == "l2":
            # The box takes away from what the projection onto the ball left.
            sizes = delta.square().mean((1, 2, 3)).sqrt()
            assert (sizes > 0.97 * EPS).all()
            assert (sizes < EPS * (1 + TOLERANCE)).all()
        else:
            torch.testing.assert_close(sizes, torch.full_like(sizes, EPS))
        assert (last == 0).float().mean() > 0.01
        assert (last == 1).float().mean() > 0.01


def test_a_step_size_one_thousandth_off_is_seen() -> None:
    images, classes = images_and_classes()
    classifier = foolbox.PyTorchModel(OnePixel(Smooth()).eval(), bounds=(0, 1), device="cpu")
    made, _, _ = l2(1)(classifier, images, classes, epsilons=EPS * L2)
    ours = iterates(Smooth(), preset="pgd", norm="l2", step_size=STEP_SIZE * 1.001)[1]
    assert (ours - made).abs().max() > 1e6 * TOLERANCE
