import pytest
import torch
from torch import nn

from segtransfer.errors import InputError
from segtransfer.tasks.models.base import Cost, Segmenter, freeze
from tests.tasks.cases import toy


def test_a_segmenter_counts_images_pixels_and_backwards() -> None:
    model = toy("convolutional")
    assert model.cost == Cost()
    images = torch.rand(3, 3, 6, 8, requires_grad=True)
    loss = model(images).sum()
    assert model.cost.backwards == 0
    model.gradient(loss, images)
    with torch.inference_mode():
        model(torch.rand(2, 3, 4, 4))
    cost = model.cost
    assert (cost.forwards, cost.backwards, cost.pixels) == (5, 3, 3 * 48 + 2 * 16)


def test_costs_add_and_subtract_field_by_field() -> None:
    assert Cost(5, 4, 30, 2.0) + Cost(2, 1, 10, 0.5) == Cost(7, 5, 40, 2.5)
    assert Cost(5, 4, 30, 2.0) - Cost(2, 1, 10, 0.5) == Cost(3, 3, 20, 1.5)


def test_the_gradient_is_that_of_the_inputs_and_parameters_hold_none() -> None:
    model = toy("linear", weights=[[1.0, 2.0, 3.0]])
    images = torch.rand(1, 3, 2, 2, requires_grad=True)
    gradient = model.gradient(model(images).sum(), images)
    assert gradient[0, :, 0, 0].tolist() == [1, 2, 3]
    assert images.grad is None
    assert all(p.grad is None for p in model.parameters())


def test_freezing_reaches_every_module_and_sees_one_that_resists() -> None:
    class Stubborn(nn.Module):
        def train(self, mode: bool = True) -> "Stubborn":
            self.training = True
            return self

    model = freeze(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))
    assert not any(m.training for m in model.modules())
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(InputError, match=r"module '0' \(Stubborn\) is in training mode after"):
        freeze(nn.Sequential(Stubborn()))


def test_an_adapter_without_logits_says_so() -> None:
    with pytest.raises(TypeError, match="logits"):
        Segmenter()  # type: ignore[abstract]
