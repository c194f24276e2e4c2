"""Each loss against a formula written anew, its target, its masks, its gradient."""

import math

import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks.losses import (
    LOSSES,
    LossContext,
    cross_entropy,
    masked_cross_entropy,
)
from tests.tasks.attacks.specs import LABEL_LOSSES

FIRST = LossContext(0, 4)
REACH = LossContext(0, 4, targeted=True)
# Four pixels, two classes: right, wrong, right, void.
LOGITS = torch.tensor([[[[2.0, 2.0, 0.0, 9.0]], [[0.0, 0.0, 1.0, 0.0]]]])
LABELS = torch.tensor([[[0, 1, 1, 255]]])
CE = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(2)), math.log(1 + math.exp(-1))]
SMOOTH = ["cross-entropy", "js", "cospgd"]


def random(count: int = 3, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(count, classes, 5, 6, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, classes, (count, 5, 6), generator=generator)
    labels[torch.rand(count, 5, 6, generator=generator) < 0.3] = 255
    return logits, labels


def tsallis_by_hand(p: float, context: LossContext) -> float:
    q = -2 + 3 * context.step / context.steps
    return (1 - p ** (1 - q)) / (1 - q)


def by_pixels(
    name: str, logits: torch.Tensor, labels: torch.Tensor, context: LossContext
) -> list[float]:
    """The loss by a plain loop over pixels, of the papers' formulas."""
    means = []
    for z_image, y_image in zip(logits, labels, strict=True):
        total, count = 0.0, 0
        for z, y in zip(z_image.flatten(1).T, y_image.flatten(), strict=True):
            if y == 255:
                continue
            count += 1
            p = z.softmax(0)
            ce = -p[y].log().item()
            onehot = F.one_hot(y, len(z)).to(z)
            cosine = (F.cosine_similarity(p, onehot, 0)).item()
            there = bool(z.argmax() == y)
            fooled = there if context.targeted else not there
            # The paper counts t = 1 .. T.
            share = (context.step + 1 - 1) / (2 * context.steps)
            mixture = ((p + onehot) / 2).log()
            divergence = (
                F.kl_div(mixture, p, reduction="sum") + F.kl_div(mixture, onehot, reduction="sum")
            ) / 2
            value = {
                "cross-entropy": ce,
                "masked-cross-entropy": 0.0 if fooled else ce,
                "segpgd": (share if fooled else 1 - share) * ce,
                "cospgd": (1 - cosine if context.targeted else cosine) * ce,
                "js": divergence.item(),
                "tsallis": tsallis_by_hand(p[y].item(), context),
                "uncertainty": math.exp(-(p * p.log()).sum().item() / math.log(len(z))) * ce,
                "cosine": 1 - (z[y] / z.norm()).item(),
                "mask-norm": 0.0 if fooled else -(z[y] / z.norm()).item(),
            }[name]
            total += -value if context.targeted else value
        means.append(total / count)
    return means


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("step", [0, 1, 3])
@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_loss_equals_its_formula(name: str, step: int, targeted: bool) -> None:
    logits, labels = random()
    context = LossContext(step, 4, targeted)
    found = LOSSES[name](logits, labels, context)
    assert found.tolist() == pytest.approx(by_pixels(name, logits, labels, context), abs=1e-9)


def test_cross_entropy_of_an_image_is_torchs_mean_over_its_labelled_pixels() -> None:
    logits, labels = random(4)
    losses = cross_entropy(logits, labels, FIRST)
    for i in range(4):
        expected = F.cross_entropy(logits[i : i + 1], labels[i : i + 1], ignore_index=255)
        assert losses[i].item() == pytest.approx(expected.item(), rel=1e-6)


def test_masked_cross_entropy_by_hand() -> None:
    assert masked_cross_entropy(LOGITS, LABELS, FIRST).item() == pytest.approx(
        (CE[0] + CE[2]) / 3, rel=1e-6
    )
    assert masked_cross_entropy(LOGITS, LABELS, REACH).item() == pytest.approx(-CE[1] / 3, rel=1e-6)


@pytest.mark.parametrize(
    ("step", "steps", "share"), [(0, 10, 0), (1, 10, 0.05), (9, 10, 0.45), (30, 10, 0.5), (0, 0, 0)]
)
def test_segpgd_weights_by_hand(step: int, steps: int, share: float) -> None:
    """l(t) = (t - 1) / 2T with t from 1; a budget may run on beyond T, where it stays one half."""
    loss = LOSSES["segpgd"]
    expected = ((1 - share) * (CE[0] + CE[2]) + share * CE[1]) / 3
    assert loss(LOGITS, LABELS, LossContext(step, steps)).item() == pytest.approx(
        expected, rel=1e-5
    )
    reach = -(share * (CE[0] + CE[2]) + (1 - share) * CE[1]) / 3
    found = loss(LOGITS, LABELS, LossContext(step, steps, targeted=True)).item()
    assert found == pytest.approx(reach, rel=1e-5)


def test_cospgd_weights_are_detached() -> None:
    logits = LOGITS.clone().requires_grad_(True)
    LOSSES["cospgd"](logits, LABELS, FIRST).sum().backward()
    p = LOGITS.softmax(1)
    own = p.gather(1, LABELS.where(LABELS != 255, 0)[:, None])
    cosine = own / p.norm(dim=1, keepdim=True)
    onehot = F.one_hot(LABELS.where(LABELS != 255, 0), 2).permute(0, 3, 1, 2)
    expected = cosine * (p - onehot) * (LABELS != 255) / 3
    assert logits.grad is not None
    assert torch.allclose(logits.grad, expected, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "targeted", "pulled"),
    [
        ("masked-cross-entropy", False, [True, False, True, False]),
        ("masked-cross-entropy", True, [False, True, False, False]),
        ("mask-norm", False, [True, False, True, False]),
        ("mask-norm", True, [False, True, False, False]),
        ("segpgd", False, [True, False, True, False]),  # at t = 1
        ("segpgd", True, [False, True, False, False]),
        ("cross-entropy", False, [True, True, True, False]),
        ("js", True, [True, True, True, False]),
        ("cospgd", False, [True, True, True, False]),
    ],
)
def test_gradient_of_a_loss_is_nonzero_at_the_expected_pixels(
    name: str, targeted: bool, pulled: list[bool]
) -> None:
    logits = (LOGITS + 0.5).requires_grad_(True)
    LOSSES[name](logits, LABELS, LossContext(0, 4, targeted)).sum().backward()
    assert logits.grad is not None
    assert (logits.grad.abs().sum(1)[0, 0] > 0).tolist() == pulled


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_rising_is_off_the_label_or_onto_the_target(name: str, targeted: bool) -> None:
    """A small step up the gradient lowers, or raises, the probability of the label."""
    logits, labels = random(1)
    counted = labels != 255
    index = labels.where(counted, 0)[:, None]
    logits.requires_grad_(True)
    LOSSES[name](logits, labels, LossContext(1, 4, targeted)).sum().backward()
    assert logits.grad is not None
    pulled = (logits.grad.abs().sum(1) > 0) & counted
    before = logits.softmax(1).gather(1, index)[:, 0][pulled]
    after = (logits + 0.01 * logits.grad).softmax(1).gather(1, index)[:, 0][pulled]
    assert pulled.any()
    if name in ("cosine", "mask-norm"):  # of the unit vector, not of the softmax
        unit = logits / logits.norm(dim=1, keepdim=True)
        moved = logits + 0.01 * logits.grad
        before = unit.gather(1, index)[:, 0][pulled]
        after = (moved / moved.norm(dim=1, keepdim=True)).gather(1, index)[:, 0][pulled]
    assert ((after > before) if targeted else (after < before)).all()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_a_void_only_label_gives_no_gradient_and_no_nan(name: str, targeted: bool) -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    labels = torch.full((2, 4, 5), 255)
    labels[1] = logits[1].argmin(0) if targeted else logits[1].argmax(0)
    losses = LOSSES[name](logits, labels, LossContext(0, 4, targeted))
    losses.sum().backward()
    assert losses[0].item() == 0
    assert losses[1].item() != 0
    assert logits.grad is not None
    assert logits.grad[0].eq(0).all()
    assert logits.grad[1].abs().sum() > 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_extreme_logits_are_no_nan(name: str) -> None:
    for scale in (0.0, 100.0, 1e4):
        logits = (scale * torch.randn(1, 3, 4, 5)).requires_grad_(True)
        losses = LOSSES[name](logits, torch.randint(0, 3, (1, 4, 5)), FIRST)
        losses.sum().backward()
        assert losses.isfinite().all()
        assert logits.grad is not None
        assert logits.grad.isfinite().all()


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", LABEL_LOSSES)
def test_an_images_loss_does_not_depend_on_its_batch(name: str, targeted: bool) -> None:
    logits, labels = random(3)
    logits = logits.float()
    labels[1, :4] = 255
    context = LossContext(1, 4, targeted)
    together = LOSSES[name](logits, labels, context)
    for i in range(3):
        alone = LOSSES[name](logits[i : i + 1], labels[i : i + 1], context)
        assert torch.equal(alone[0], together[i])


@pytest.mark.parametrize("name", [n for n in LABEL_LOSSES if n != "cospgd"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    """Masks do not move under small changes; cospgd's weight is detached, so it is left out."""
    logits, labels = random(2)
    assert torch.autograd.gradcheck(
        lambda z: LOSSES[name](z, labels, LossContext(1, 4)), logits.requires_grad_(True)
    )


def test_js_is_bounded_by_log_two_and_zero_where_sure() -> None:
    sure = torch.tensor([[[[50.0]], [[0.0]]]])
    loss = LOSSES["js"]
    assert loss(sure, torch.tensor([[[0]]]), FIRST).item() == pytest.approx(0, abs=1e-6)
    assert loss(sure, torch.tensor([[[1]]]), FIRST).item() == pytest.approx(math.log(2), rel=1e-6)
