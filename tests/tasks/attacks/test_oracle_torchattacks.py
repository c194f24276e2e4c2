"""Our attacks against torchattacks 3.5.1, step for step, in double precision.

The toy and the reasoning are those of ``test_oracle_foolbox``: with one labelled pixel the
segmenter is a classifier. torchattacks names torchvision and an old requests as requirements but
imports neither, so it is installed alone from ``infra/oracles.txt``; without it these tests skip.

What their names mean in our fields: ``decay`` is mu, with 0 for no momentum (g / mean|g| is still
taken, which changes no sign), ``N`` and ``beta`` are neighbours and bound, ``nsig`` sigmas, ``m``
the copies of si. TIFGSM and DIFGSM draw input diversity first; ``diversity_prob=0`` leaves it out,
as theirs stretches images to a square and moves no labels. Neither they nor we cut NI's look-ahead
or VT's neighbours to the ball or the box. Their noise, drawn from torch's global generator, is fed
to ours. Their ``cost`` is a mean over the batch, ours one loss an image: a factor that sign,
g / mean|g| and g / |g| take away.

Known differences, not compared: an image without any gradient becomes NaN in their attacks with
momentum, ours stays where it is; their kernel of TI is rounded to float32 as a square and ours as
a row, so smoothed gradients agree to some 1e-7 of themselves, though no sign of ours changes here;
their L2 attack adds 1e-10 to a gradient's norm (``eps_for_division``, set to 0 here).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks import step_random
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.tasks.attacks.test_oracle_foolbox import (
    COUNT,
    EPS,
    L2,
    ONCE,
    PIXEL,
    SIDE,
    STEP_SIZE,
    STEPS,
    TOLERANCE,
    OnePixel,
    Smooth,
    images_and_classes,
    iterates,
)

torchattacks = pytest.importorskip(
    "torchattacks",
    reason="torchattacks is not installed: pip install --no-deps -r infra/oracles.txt",
)

NEIGHBOURS, SEED = 4, 7
COMMON = {"eps": EPS, "alpha": STEP_SIZE}
TI = {"diversity_prob": 0.0, "kernel_name": "gaussian", "len_kernel": 15, "nsig": 3}
NESTEROV = {"mu": 1.0, "nesterov": True}
DECAYING = {"mu": 0.7}
VARIANCE = {"neighbours": NEIGHBOURS, "bound": 1.5}


def bim(model: OnePixel, steps: int) -> Any:
    return torchattacks.BIM(model, **COMMON, steps=steps)


def pgd(model: OnePixel, steps: int) -> Any:
    return torchattacks.PGD(model, **COMMON, steps=steps, random_start=False)


def pgd_l2(model: OnePixel, steps: int) -> Any:
    return torchattacks.PGDL2(
        model,
        eps=EPS * L2,
        alpha=STEP_SIZE * L2,
        steps=steps,
        random_start=False,
        eps_for_division=0.0,
    )


def fgsm(model: OnePixel, _steps: int) -> Any:
    return torchattacks.FGSM(model, eps=EPS)


def mi(decay: float) -> Callable[[OnePixel, int], Any]:
    return lambda model, steps: torchattacks.MIFGSM(model, **COMMON, steps=steps, decay=decay)


def ni(decay: float) -> Callable[[OnePixel, int], Any]:
    return lambda model, steps: torchattacks.NIFGSM(model, **COMMON, steps=steps, decay=decay)


def si(model: OnePixel, steps: int) -> Any:
    return torchattacks.SINIFGSM(model, **COMMON, steps=steps, decay=1.0, m=5)


def di(model: OnePixel, steps: int) -> Any:
    return torchattacks.DIFGSM(model, **COMMON, steps=steps, decay=1.0, diversity_prob=0.0)


def ti(decay: float) -> Callable[[OnePixel, int], Any]:
    def make(model: OnePixel, steps: int) -> Any:
        made = torchattacks.TIFGSM(model, **COMMON, steps=steps, decay=decay, **TI)
        made.stacked_kernel = made.stacked_kernel.double()  # as the images are
        return made

    return make


def vmi(model: OnePixel, steps: int) -> Any:
    return torchattacks.VMIFGSM(model, **COMMON, steps=steps, decay=1.0, N=NEIGHBOURS, beta=1.5)


def vni(model: OnePixel, steps: int) -> Any:
    return torchattacks.VNIFGSM(model, **COMMON, steps=steps, decay=1.0, N=NEIGHBOURS, beta=1.5)


# Our fields, their attack after so many steps.
ATTACKS: dict[str, tuple[dict[str, Any], Callable[[OnePixel, int], Any]]] = {
    "fgsm is FGSM": (ONCE, fgsm),
    "pgd is BIM": ({"preset": "pgd"}, bim),
    "pgd is PGD": ({"preset": "pgd"}, pgd),
    "pgd under l2 is PGDL2": ({"preset": "pgd", "norm": "l2"}, pgd_l2),
    "mi is MIFGSM": ({"preset": "mi"}, mi(1.0)),
    "mi that forgets is MIFGSM": ({"preset": "mi", "momentum": DECAYING}, mi(0.7)),
    "ni is NIFGSM": ({"preset": "ni"}, ni(1.0)),
    "ni that forgets is NIFGSM": ({"preset": "ni", "momentum": NESTEROV | DECAYING}, ni(0.7)),
    "si with nesterov is SINIFGSM": ({"preset": "si", "momentum": NESTEROV}, si),
    "di of probability 0 with momentum is DIFGSM": (
        {"preset": "di", "transforms": [{"di": {"probability": 0}}], "momentum": {"mu": 1.0}},
        di,
    ),
    "ti is TIFGSM": ({"preset": "ti"}, ti(0.0)),
    "ti with momentum is TIFGSM": ({"preset": "ti", "momentum": {"mu": 1.0}}, ti(1.0)),
    "vt is VMIFGSM": ({"preset": "vt", "variance": VARIANCE}, vmi),
    "vt with nesterov is VNIFGSM": (
        {"preset": "vt", "variance": VARIANCE, "momentum": NESTEROV},
        vni,
    ),
}


@pytest.fixture(autouse=True)
def _their_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours see the neighbours that theirs will draw from torch's global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        images, _ = images_and_classes()
        drawn = [
            [torch.randn_like(images).uniform_(-1, 1) for _ in range(NEIGHBOURS)]
            for _ in range(max(STEPS))
        ]

    def noise(_seed: int, image_id: str, shape: tuple[int, ...], *parts: Any) -> torch.Tensor:
        what, neighbour, step = parts
        assert what == "neighbour"
        return drawn[step][neighbour][int(image_id.removeprefix("image-"))]

    monkeypatch.setattr(step_random, "image_noise", noise)


def theirs(
    make: Callable[[OnePixel, int], Any], model: Smooth, steps: int, target: int | None = None
) -> torch.Tensor:
    """What torchattacks makes after ``steps`` steps."""
    images, classes = images_and_classes()
    attacker = make(OnePixel(model).eval(), steps)
    if target is not None:
        attacker.set_mode_targeted_by_label(quiet=True)
        classes = torch.full_like(classes, target)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        made: torch.Tensor = attacker(images, classes)
    return made


@pytest.mark.parametrize("target", [None, 2], ids=["untargeted", "targeted"])
@pytest.mark.parametrize("name", ATTACKS)
def test_ours_is_theirs_step_for_step(name: str, target: int | None) -> None:
    fields, make = ATTACKS[name]
    if target is not None:
        fields = fields | {"target": {"every": target}}
    model = Smooth()
    for steps, ours in iterates(model, **fields).items():
        made = theirs(make, model, steps, target)
        torch.testing.assert_close(ours, made, rtol=0, atol=TOLERANCE)


def test_a_random_start_is_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """x + U(-eps, eps), cut to the box, from the same numbers."""
    images, _ = images_and_classes()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        drawn = torch.empty_like(images).uniform_(-1, 1)
    monkeypatch.setattr(
        step_random, "image_noise", lambda _s, i, _shape: drawn[int(i.removeprefix("image-"))]
    )

    def started(model: OnePixel, steps: int) -> Any:
        return torchattacks.PGD(model, **COMMON, steps=steps, random_start=True)

    model = Smooth()
    for steps, ours in iterates(model, preset="pgd", start="uniform").items():
        torch.testing.assert_close(ours, theirs(started, model, steps), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["pgd is PGD", "mi is MIFGSM"])
def test_stored_image_equals_the_oracles_rounded_image(name: str) -> None:
    """From 8-bit images in single precision to 8-bit AEs, where rounding may turn the sign of one
    tiny gradient in a thousand."""
    fields, make = ATTACKS[name]
    images, classes = images_and_classes()
    stored = (images * 255).round().to(torch.uint8)
    labels = np.full((COUNT, SIDE, SIDE), 255, np.uint8)
    labels[:, PIXEL[0], PIXEL[1]] = classes.numpy()
    fields = {"name": "ours", "eps": EPS, "step_size": STEP_SIZE, "steps": 5, **fields}
    spec, ids = AttackSpec.model_validate(fields), [f"image-{i}" for i in range(COUNT)]
    model = Smooth().float()
    result = attack(
        model, spec, stored.numpy(), labels, ids, seed=0, group=0, micro_batch=2
    ).images[0]
    made = make(OnePixel(model).eval(), 5)(stored.float() / 255, classes)
    assert (result == (made * 255).round().to(torch.uint8).numpy()).mean() > 0.999


def test_different_attacks_make_different_images() -> None:
    """So agreement above is not that of images which any attack would make."""
    model = Smooth()
    names = [
        "pgd is PGD",
        "mi is MIFGSM",
        "ni is NIFGSM",
        "mi that forgets is MIFGSM",
        "si with nesterov is SINIFGSM",
        "ti is TIFGSM",
        "ti with momentum is TIFGSM",
        "vt is VMIFGSM",
        "vt with nesterov is VNIFGSM",
    ]
    last = [iterates(model, **ATTACKS[name][0])[max(STEPS)] for name in names]
    for i, ours in enumerate(last):
        for j, other in enumerate(last[:i]):
            differ = ((ours - other).abs() > TOLERANCE).float().mean()
            assert differ > 0.001, (names[i], names[j])
    assert last[0].shape == (COUNT, 3, SIDE, SIDE)
