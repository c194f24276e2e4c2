"""SGM against its formula, on toys with skips and on blocks of three libraries."""

import pytest
import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.gradient_rules.sgm import branches_of
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.zoo import ZOO
from tests.tasks.attacks.specs import make, tensors
from tests.tasks.cases import ids, toy

RESIDUAL = toy("residual")


def read(gamma: float, **fields: object) -> AttackSpec:
    rule = {"sgm": {"gamma": gamma}}
    return AttackSpec.model_validate({"preset": "sgm", "steps": 3, "gradient": rule, **fields})


def decayed(model: Segmenter, images: torch.Tensor, gamma: float) -> torch.Tensor:
    """The toy's logits, each branch's output as gamma f + (1 - gamma) f without gradient."""
    network = next(m for m in model.modules() if type(m).__name__ == "Residual")
    hidden = network.first(images - 0.5)
    for block in network.blocks:
        branch = block.conv2(hidden.tanh())
        branch = gamma * branch + ((1 - gamma) * branch).detach()
        hidden = torch.nn.functional.leaky_relu(hidden + branch, 0.2)
    logits: torch.Tensor = 4 * network.head(hidden)
    return logits


@pytest.mark.parametrize("gamma", [0.0, 0.2, 0.7])
def test_steps_follow_the_gradient_of_the_formula(gamma: float) -> None:
    images, labels = tensors(2)
    clean, x = images, images.clone()
    for _ in range(3):
        x = x.detach().requires_grad_()
        logits = decayed(RESIDUAL, x, gamma)
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=255)
        (gradient,) = torch.autograd.grad(loss, x)
        x = x.detach() + 2 / 255 * gradient.sign()
        x = x.clamp(clean - 8 / 255, clean + 8 / 255).clamp(0, 1)
    (made,), _ = loop.run(RESIDUAL, read(gamma), images, labels, ids(2), seed=0, group=0)
    assert (made - x).abs().max() < 1e-6


def test_gamma_of_one_is_the_loss_gradient_and_hooks_are_gone_after_a_run() -> None:
    images, labels = tensors(2)
    plain = AttackSpec.model_validate({"preset": "pgd", "steps": 3})
    before, _ = loop.run(RESIDUAL, plain, images, labels, ids(2), seed=0, group=0)
    found = [
        loop.run(RESIDUAL, spec, images, labels, ids(2), seed=0, group=0)[0][0]
        for spec in (read(1.0), read(0.2), plain)
    ]
    assert torch.equal(found[0], before[0])
    assert torch.equal(found[2], before[0])
    assert not torch.equal(found[1], before[0])


def test_a_source_without_known_skips_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match=r"'sgm' needs skip connections .* has none of them"):
        make(toy("staged"), read(0.2))


@pytest.mark.parametrize(
    ("name", "count"),
    [("fcn-r18", 5), ("pspnet-r18", 5), ("deeplabv3-mnv2", 10), ("segformer-mit", 16)],
)
def test_branches_of_shipped_models_are_those_beside_identity_skips(name: str, count: int) -> None:
    from segtransfer.tasks.models import adapters

    assert name in ZOO
    model = adapters.load(adapters.ModelSpec.model_validate(name))
    assert len(branches_of(model)) == count
