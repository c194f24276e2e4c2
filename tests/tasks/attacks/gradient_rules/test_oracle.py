"""Each gradient rule against a loop written from its paper or its authors' code, bit for bit.

The loops use torch and the noise of ``image_noise`` alone, nothing of the attack loop. The toy is
smooth and in double precision, so no sign depends on rounding.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.randomness import generator_of, image_noise, uniform

COUNT, HEIGHT, WIDTH, CLASSES = 2, 12, 16, 3
EPS, STEP_SIZE, STEPS = 8 / 255, 2 / 255, 4
IDS = [f"image-{number}" for number in range(COUNT)]
At = Callable[[torch.Tensor], torch.Tensor]
Rule = Callable[[At, torch.Tensor, torch.Tensor, int, dict[str, Any]], torch.Tensor]


class Smooth(Segmenter):
    """Two convolutions with a tanh between, of any size, in double precision."""

    num_classes = CLASSES

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(8, 3, 5, 5, generator=generator).double() * 0.5)
        self.second = nn.Parameter(torch.randn(CLASSES, 8, 5, 5, generator=generator).double() / 4)
        freeze(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images)  # a segmenter's own forward ends in single precision

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        hidden = F.conv2d(images - 0.4, self.first, padding=2).tanh()
        return F.conv2d(hidden, self.second, padding=2)


MODEL = Smooth()


def inputs() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    images = torch.rand(COUNT, 3, HEIGHT, WIDTH, generator=generator).double()
    return images, torch.randint(CLASSES, (COUNT, HEIGHT, WIDTH), generator=generator)


def gradient_of(loss: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> torch.Tensor:
    point = point.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(point), point)[0]


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    pixels = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    return (pixels.sum((1, 2)) / (labels != 255).sum((1, 2))).sum()


def noise(number: int, step: int) -> torch.Tensor:
    shape = (3, HEIGHT, WIDTH)
    drawn = [image_noise(0, name, shape, "neighbour", number, step) for name in IDS]
    return torch.stack(drawn).double()


def unit(values: torch.Tensor) -> torch.Tensor:
    return values / values.abs().mean((1, 2, 3), keepdim=True)


def gra(at: At, x: torch.Tensor, _clean: torch.Tensor, step: int, _m: Any) -> torch.Tensor:
    own = at(x)
    around = sum(at(x + 3.5 * EPS * noise(i, step)) for i in range(3)) / 3
    flat, other = own.flatten(1), around.flatten(1)
    share = (flat * other).sum(1) / (flat.norm(dim=1) * other.norm(dim=1))
    share = share[:, None, None, None]
    return share * own + (1 - share) * around


def pgn(at: At, x: torch.Tensor, _clean: torch.Tensor, step: int, _m: Any) -> torch.Tensor:
    total = torch.zeros_like(x)
    for i in range(3):
        near = x + 3 * EPS * noise(i, step)
        first = at(near)
        total += 0.5 * first + 0.5 * at(near - STEP_SIZE * unit(first))
    return total / 3


def emi(at: At, x: torch.Tensor, _clean: torch.Tensor, _step: int, memory: Any) -> torch.Tensor:
    before = memory.get("g", torch.zeros_like(x))
    total = torch.zeros_like(x)
    for c in torch.linspace(-7, 7, 11, dtype=torch.float64):
        total += at(x + c * STEP_SIZE * before)
    memory["g"] = unit(total / 11)
    return total / 11


def rap(at: At, x: torch.Tensor, _clean: torch.Tensor, step: int, _m: Any) -> torch.Tensor:
    if step < 1:  # a quarter of four steps
        return at(x)
    n = (x + EPS * noise(0, step)).clamp(0, 1) - x
    for _ in range(8):
        n = (n - EPS / 8 * at(x + n).sign()).clamp(-EPS, EPS)
        n = (x + n).clamp(0, 1) - x
    return at(x + n)


def mef(at: At, x: torch.Tensor, _clean: torch.Tensor, step: int, memory: Any) -> torch.Tensor:
    total = torch.zeros_like(x)
    for i in range(3):
        pushed = memory.get(i, torch.zeros_like(x))
        found = at(x + 2 * EPS * noise(i, step) + 0.15 * EPS * pushed)
        memory[i] = unit(found) - 0.9 * pushed
        total += found
    return total / 3


def shifted(values: torch.Tensor, across: float, down: float, mode: str) -> torch.Tensor:
    """As the authors' code shifts: sampled at the grid plus a constant."""
    theta = torch.tensor([[[1, 0, across], [0, 1, down]]], dtype=values.dtype)
    grid = F.affine_grid(theta.repeat(len(values), 1, 1), list(values.shape), align_corners=False)
    return F.grid_sample(values, grid, mode=mode, align_corners=False)


def anda(_at: At, x: torch.Tensor, _clean: torch.Tensor, step: int, memory: Any) -> torch.Tensor:
    _, labels = inputs()
    for across in (-0.3, 0, 0.3):
        for down in (-0.3, 0, 0.3):

            def loss(point: torch.Tensor, a: float = across, d: float = down) -> torch.Tensor:
                moved = shifted((labels[:, None] + 1).double(), a, d, "nearest")[:, 0].long() - 1
                moved[moved < 0] = 255
                return cross_entropy(MODEL(shifted(point, a, d, "bilinear")), moved)

            memory["sum"] = memory.get("sum", 0) + gradient_of(loss, x)
    return memory["sum"] / (9 * (step + 1))  # type: ignore[no-any-return]


def mumodig(_at: At, x: torch.Tensor, _clean: torch.Tensor, step: int, _m: Any) -> torch.Tensor:
    _, labels = inputs()
    total = torch.zeros_like(x)
    for copy in range(5):
        apart = (copy, 0, 0) if copy else ()

        def number(what: str, apart: Any = apart) -> float:
            return uniform(what, 0, 0, step, *apart)

        where = transform_of(number) if copy else lambda values, mode: values

        def between(z: torch.Tensor, apart: Any = apart) -> tuple[torch.Tensor, torch.Tensor]:
            parts = torch.zeros_like(z)
            for i, name in enumerate(IDS):
                drawn = torch.rand(
                    3, generator=generator_of("mumodig: range", 0, name, step, *apart)
                )
                for c in range(3):
                    low, high = z[i, c].min(), z[i, c].max()
                    cut = low + drawn[c].double() * (high - low)
                    parts[i, c] = torch.where(z[i, c] < cut, low, cut)
            return parts.detach(), z - parts.detach()

        def loss(point: torch.Tensor, where: Any = where, between: Any = between) -> torch.Tensor:
            moved = where((labels[:, None] + 1).double(), "nearest-exact")[:, 0].long() - 1
            moved[moved < 0] = 255
            base, path = between(where(point, "bilinear"))
            return cross_entropy(MODEL(base + 0.65 * path), moved)

        total += gradient_of(loss, x) * between(where(x, "bilinear"))[1]
    return total


def transform_of(number: Callable[[str], float]) -> Callable[[torch.Tensor, str], torch.Tensor]:
    """The transform of a copy, as a function of values and the mode of sampling."""
    amount = number("mumodig: amount")
    if number("mumodig: resized") < 0.5:

        def resized(values: torch.Tensor, mode: str) -> torch.Tensor:
            canvas = [round(HEIGHT * 245 / 224), round(WIDTH * 245 / 224)]
            ratio = 1 + (245 / 224 - 1) * number("diversity")
            size = [min(round(HEIGHT * ratio), canvas[0]), min(round(WIDTH * ratio), canvas[1])]
            top = int(number("top") * (canvas[0] - size[0] + 1))
            left = int(number("left") * (canvas[1] - size[1] + 1))
            inner = F.interpolate(values, size=size, mode=mode)
            pads = (left, canvas[1] - size[1] - left, top, canvas[0] - size[0] - top)
            return F.interpolate(F.pad(inner, pads), size=[HEIGHT, WIDTH], mode=mode)

        return resized
    kind = int(5 * number("mumodig: kind"))
    if kind == 4:
        angle = math.radians(90 * amount - 45)

        def rotated(values: torch.Tensor, mode: str) -> torch.Tensor:
            rows, columns = torch.meshgrid(
                torch.arange(HEIGHT) - (HEIGHT - 1) / 2,
                torch.arange(WIDTH) - (WIDTH - 1) / 2,
                indexing="ij",
            )
            rows, columns = rows.double(), columns.double()
            # A counter-clockwise turn on a screen, whose rows count downwards.
            from_columns = math.cos(angle) * columns - math.sin(angle) * rows
            from_rows = math.sin(angle) * columns + math.cos(angle) * rows
            grid = torch.stack([2 * from_columns / WIDTH, 2 * from_rows / HEIGHT], -1)
            grid = grid.expand(len(values), HEIGHT, WIDTH, 2)
            return F.grid_sample(values, grid, mode=mode.split("-")[0], align_corners=False)

        return rotated
    axis = (2, 3, 2, 3)[kind]
    length = (HEIGHT, WIDTH)[axis - 2]
    if kind < 2:
        return lambda values, _mode: values.roll(int(amount * length), axis)
    return lambda values, _mode: values.flip(axis)


RULES: dict[str, tuple[Rule, dict[str, Any]]] = {
    "gra": (gra, {"samples": 3}),
    "pgn": (pgn, {"samples": 3}),
    "emi": (emi, {}),
    "rap": (rap, {}),
    "mef": (mef, {"samples": 3}),
    "anda": (anda, {"side": 3}),
    "mumodig": (mumodig, {"copies": 4}),
}
MOMENTUM = {"anda": 0.0, "mef": 0.5}


def expected(name: str) -> list[torch.Tensor]:
    """Return the iterates of the loop from the paper."""
    clean, labels = inputs()

    def at(point: torch.Tensor) -> torch.Tensor:
        return gradient_of(lambda x: cross_entropy(MODEL(x), labels), point)

    x, momentum, memory = clean.clone(), torch.zeros_like(clean), dict[str, Any]()
    weights = torch.full_like(clean, 1 / 0.94)
    iterates = []
    for step in range(STEPS):
        before = momentum
        momentum = MOMENTUM.get(name, 1.0) * momentum + unit(
            RULES[name][0](at, x, clean, step, memory)
        )
        weights[before.sign() != momentum.sign()] *= 0.94
        factor = weights if name == "gra" else 1
        x = x + STEP_SIZE * factor * momentum.sign()
        x = x.clamp(clean - EPS, clean + EPS).clamp(0, 1)
        iterates.append(x)
    return iterates


def test_the_copies_above_have_every_kind_of_transform() -> None:
    places = [(step, copy, 0, 0) for step in range(STEPS) for copy in range(1, 5)]
    draws = [partial(uniform, what) for what in ("mumodig: resized", "mumodig: kind")]
    found = {
        int(5 * draws[1](0, 0, *place)) if draws[0](0, 0, *place) >= 0.5 else "resized"
        for place in places
    }
    assert found == {"resized", 0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_equals_the_loop_from_its_source(name: str) -> None:
    images, labels = inputs()
    spec = AttackSpec.model_validate(
        {
            "preset": name,
            "eps": EPS,
            "step_size": STEP_SIZE,
            "steps": STEPS,
            "steps_at": [1, 2, 3, 4],
            "label_version": "labels",
            "gradient": {name: RULES[name][1]},
        }
    )
    made, _ = loop.run(MODEL, spec, images, labels, IDS, seed=0, group=0)
    for ours, theirs in zip(made, expected(name), strict=True):
        # 1e-14 allows for another order of x + a s against x + (a s).
        assert (ours - theirs).abs().max() < 1e-14
