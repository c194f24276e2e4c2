import math

import pytest
import torch
import torch.nn.functional as F

from tasks.attacks.losses import LOSSES, cross_entropy, masked_cross_entropy


def test_cross_entropy_of_an_image_is_torchs_mean_over_its_labelled_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 5, 6, 7, generator=generator)
    labels = torch.randint(0, 5, (4, 6, 7), generator=generator)
    labels[torch.rand(4, 6, 7, generator=generator) < 0.3] = 255
    losses = cross_entropy(logits, labels)
    for i in range(4):
        expected = F.cross_entropy(logits[i : i + 1], labels[i : i + 1], ignore_index=255)
        assert losses[i].item() == pytest.approx(expected.item(), rel=1e-6)


def test_masked_cross_entropy_by_hand() -> None:
    """Four pixels, two classes: right, wrong, right, void."""
    logits = torch.tensor([[[[2.0, 2.0, 0.0, 9.0]], [[0.0, 0.0, 1.0, 0.0]]]])
    labels = torch.tensor([[[0, 1, 1, 255]]])
    right = math.log(1 + math.exp(-2)) + math.log(1 + math.exp(-1))
    assert masked_cross_entropy(logits, labels).item() == pytest.approx(right / 3, rel=1e-6)


def test_masked_cross_entropy_pulls_no_gradient_from_wrong_or_void_pixels() -> None:
    logits = torch.tensor([[[[2.0, 2.0, 0.0, 9.0]], [[0.0, 0.0, 1.0, 0.0]]]], requires_grad=True)
    masked_cross_entropy(logits, torch.tensor([[[0, 1, 1, 255]]])).sum().backward()
    assert logits.grad is not None
    moved = logits.grad.abs().sum(1)[0, 0] > 0
    assert moved.tolist() == [True, False, True, False]


@pytest.mark.parametrize("name", LOSSES)
def test_a_void_only_label_gives_no_gradient_and_no_nan(name: str) -> None:
    logits = torch.randn(2, 3, 4, 5, requires_grad=True)
    labels = torch.full((2, 4, 5), 255)
    labels[1] = logits[1].argmax(0)
    losses = LOSSES[name](logits, labels)
    losses.sum().backward()
    assert losses[0].item() == 0
    assert losses[1].item() > 0
    assert logits.grad is not None
    assert logits.grad[0].eq(0).all()
    assert logits.grad[1].abs().sum() > 0
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_an_images_loss_does_not_depend_on_its_batch(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, 5, 6, generator=generator)
    labels = torch.randint(0, 4, (3, 5, 6), generator=generator)
    labels[1, :4] = 255
    together = LOSSES[name](logits, labels)
    for i in range(3):
        assert torch.equal(LOSSES[name](logits[i : i + 1], labels[i : i + 1])[0], together[i])
