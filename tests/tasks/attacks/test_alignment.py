"""Labels and logits meet where they should after every spatial transform, and gradients flow back.

On toys that read a colour off each pixel the answer is exact; on the models that ship it is a
matter of accuracy: the labels that ``align`` gives must fit better than the same labels moved.
"""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks.context import AttackContext, ShardImages
from segtransfer.tasks.attacks.gradients import loss_gradient, smooth
from segtransfer.tasks.attacks.losses import LOSSES, LossContext
from segtransfer.tasks.attacks.spec import AttackSpec, Smoothing
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import views
from segtransfer.tasks.attacks.transforms.views import TransformContext, View, align
from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.metrics import confusion, miou
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.zoo import ZOO

VERSIONS = ("logits", "labels")


def ds(**fields: Any) -> list[Any]:
    return [{"ds": fields}]


def attack(transforms: list[Any], version: str = "logits") -> AttackSpec:
    fields = {"transforms": transforms, "label_version": version}
    return AttackSpec.model_validate({"preset": "pgd", **fields})


def seen(images: torch.Tensor, transforms: list[Any], step: int, divisor: int = 1) -> View:
    """The images after the transforms, as drawn at a step."""
    ids = tuple(f"image-{i}" for i in range(len(images)))
    context = TransformContext(divisor, StepRandom(0, 0, step, ids), images, ids)
    return next(iter(views(images, attack(transforms).transforms, context)))


def unmoved(labels: torch.Tensor, view: View) -> torch.Tensor:
    """Labels that keep their row and column while the image goes; 255 where there is none."""
    height, width = view.images.shape[-2:]
    pads = (0, width - labels.shape[-1], 0, height - labels.shape[-2])
    return F.pad(labels, pads, value=IGNORE_INDEX)


def shift(labels: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Labels moved down and right; 255 where there is none."""
    return F.pad(labels, (columns, -columns, rows, -rows), value=IGNORE_INDEX)


def fit(
    predictions: torch.Tensor, labels: torch.Tensor, where: torch.Tensor | None = None
) -> float:
    """Share of the labelled pixels that are predicted right."""
    counted = labels != IGNORE_INDEX if where is None else (labels != IGNORE_INDEX) & where
    return (predictions == labels)[counted].double().mean().item()


# --- A toy that scales along: it reads the class off each pixel's colour -------------------------

MOVING: dict[str, tuple[list[Any], int]] = {
    "whole": (ds(low=0.5, width=1.0), 1),
    "whole, divisor 8": (ds(low=0.5, width=1.0), 8),
    "whole, anisotropic": (ds(low=0.75, width=0.5, anisotropy=0.4), 1),
    "whole, antialiased": (ds(low=0.5, width=1.0, antialias=True), 1),
    "native": (ds(low=0.6, width=0.9, handling="native"), 1),
    "native, anisotropic": (ds(low=0.75, width=0.5, anisotropy=0.4, handling="native"), 1),
    "di": ([{"di": {"probability": 1, "high": 1.3}}], 1),
    "di that shrinks": ([{"di": {"probability": 1, "low": 0.7, "high": 1.0}}], 1),
    "rdi": ([{"rdi": {"high": 1.3}}], 1),
    "rdi, divisor 8": ([{"rdi": {"high": 1.3}}], 8),
    "ds, then di": ([*ds(low=0.75, width=0.5), {"di": {"probability": 1}}], 1),
    "flip": ([{"flip": {"probability": 1}}], 1),
    "shift": ([{"shift": {"reach": 0.3}}], 1),
    "bsr": ([{"bsr": {"copies": 1, "blocks": 2}}], 1),
    "ds, then bsr": ([*ds(low=0.75, width=0.5), {"bsr": {"copies": 1, "blocks": 2}}], 1),
    "native, then rdi": ([*ds(low=0.75, width=0.5, handling="native"), "rdi"], 1),
}
STILL: dict[str, list[Any]] = {
    "back": ds(low=0.5, width=1.0, handling="back"),
    "back, anisotropic": ds(low=0.75, width=0.5, anisotropy=0.4, handling="back"),
    "si": [{"si": {"copies": 1}}],
}
DRAWN = range(6)


@cache
def blocks() -> tuple[torch.Tensor, torch.Tensor]:
    """Images of blocks of 16 x 16 pixels in pure red, green and blue, and which of the three each
    pixel has; one block in ten is not labelled."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(3, (2, 6, 8), generator=generator)
    void = torch.rand(cells.shape, generator=generator) < 0.1
    classes, void = (c.repeat_interleave(16, 1).repeat_interleave(16, 2) for c in (cells, void))
    images = F.one_hot(classes, 3).permute(0, 3, 1, 2).float()
    return images, torch.where(void, IGNORE_INDEX, classes)


def away_from_borders(labels: torch.Tensor, distance: int = 3) -> torch.Tensor:
    """Pixels with nothing but their own label within ``distance`` pixels; a window may cut the
    image along a border, so the edge is one."""
    around = F.pad(labels[:, None].float(), [distance] * 4, value=-1)
    highest = F.max_pool2d(around, 2 * distance + 1, stride=1)
    lowest = -F.max_pool2d(-around, 2 * distance + 1, stride=1)
    return (highest == lowest)[:, 0]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*MOVING, *STILL])
def test_labels_stay_on_their_pixels(name: str, version: str) -> None:
    """All right away from borders between classes, 19 in 20 right with them."""
    transforms, divisor = MOVING[name] if name in MOVING else (STILL[name], 1)
    images, labels = blocks()
    for step in DRAWN:
        view = seen(images, transforms, step, divisor)
        logits, aligned = align(view, view.images, labels, version)
        away = away_from_borders(aligned)
        assert (away & (aligned != IGNORE_INDEX)).float().mean() > 0.1
        assert fit(logits.argmax(1), aligned, away) == 1.0
        assert fit(logits.argmax(1), aligned) > 0.95


@pytest.mark.parametrize("name", MOVING)
def test_labels_left_at_native_places_do_not_fit_a_moved_view(name: str) -> None:
    """What the test above would see: a transformed image with untransformed labels."""
    transforms, divisor = MOVING[name]
    images, labels = blocks()
    found = []
    for step in DRAWN:
        view = seen(images, transforms, step, divisor)
        behind = unmoved(labels, view)
        found.append(fit(view.images.argmax(1), behind, away_from_borders(behind)))
    assert np.mean(found) < 0.8


@pytest.mark.parametrize("name", STILL)
def test_moved_labels_do_not_fit_an_unmoved_view(name: str) -> None:
    images, labels = blocks()
    view = seen(images, STILL[name], 0)
    assert fit(view.images.argmax(1), unmoved(labels, view)) > 0.9
    assert fit(view.images.argmax(1), shift(labels, 6, 6)) < 0.8


# --- The models that ship, on images of their own kind -------------------------------------------

# How far mIoU may fall below that of the untouched images, in points: a few where the network sees
# nothing but the image. Black bars are new to it: 8 pixels of them all around, and nothing else,
# cost fcn-r18 nine points.
ON_MODELS: dict[str, tuple[list[Any], float]] = {
    "0.75": (ds(low=0.75, width=0), 6),
    "1.25": (ds(low=1.25, width=0), 6),
    "1, anisotropic": (ds(low=1, width=0, anisotropy=0.25), 6),
    "0.75 and back": (ds(low=0.75, width=0, handling="back"), 6),
    "1.25, a window": (ds(low=1.25, width=0, handling="native"), 6),
    "0.9, with bars": (ds(low=0.9, width=0, handling="native"), 15),
    "di": ([{"di": {"probability": 1}}], 15),
    "rdi": (["rdi"], 15),
}
CLASSES = 11
SHIFTS = [(-8, 0), (8, 0), (0, -8), (0, 8)]  # pixels


@pytest.fixture(
    params=[pytest.param(n, marks=pytest.mark.slow if i else ()) for i, n in enumerate(ZOO)],
    scope="module",
)
def shipped(request: pytest.FixtureRequest) -> Segmenter:
    return adapters.load(ModelSpec.model_validate(request.param))


@cache
def streets() -> tuple[torch.Tensor, torch.Tensor]:
    """Four images of the sample, 240 x 320, and their labels."""
    data = DataSpec(sample="camvid", images=4)
    dataset = open_dataset(data)
    images, labels = zip(*(load(dataset, r, data) for r in dataset.items), strict=True)
    return torch.tensor(np.stack(images)).float() / 255, torch.tensor(np.stack(labels)).long()


def predicted(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return logits.argmax(1), labels


def score(predictions: torch.Tensor, labels: torch.Tensor) -> float:
    matrices = confusion(predictions.numpy(), labels.numpy(), CLASSES)
    return float(miou(matrices.sum(0)))


@torch.no_grad()
def test_shipped_model_predicts_objects_at_their_moved_labels(shipped: Segmenter) -> None:
    """Labels eight pixels further on, in any direction, or left behind fit worse; both label
    versions agree within half a point of mIoU; little of the clean mIoU is lost."""
    images, labels = streets()
    clean = score(shipped(images).argmax(1), labels)
    for name, (transforms, loss) in ON_MODELS.items():
        view = seen(images, transforms, 0, shipped.size_divisor)
        logits = shipped(view.images)
        found = {v: predicted(*align(view, logits, labels, v)) for v in VERSIONS}
        scores = {version: score(*pair) for version, pair in found.items()}
        assert min(scores.values()) > clean - loss, (name, clean, scores)
        assert abs(scores["logits"] - scores["labels"]) < 0.5, (name, scores)

        for version, (classes, moved) in found.items():
            for by in SHIFTS:
                shifted = shift(moved, *by)
                both = (moved != IGNORE_INDEX) & (shifted != IGNORE_INDEX)
                better = fit(classes, moved, both) - fit(classes, shifted, both)
                assert better > 0, (name, version, by)
        behind = fit(logits.argmax(1), unmoved(labels, view))
        if "back" not in name:  # where nothing moves
            assert fit(*found["labels"]) > behind + 0.03, name


# --- Gradients -----------------------------------------------------------------------------------


class Tiny(Segmenter):
    """Two convolutions with a tanh between, in double precision, at any size."""

    num_classes = 3

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = torch.nn.Parameter(torch.randn(5, 3, 3, 3, generator=generator).double())
        self.second = torch.nn.Parameter(torch.randn(3, 5, 3, 3, generator=generator).double())
        freeze(self)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits(images)  # a segmenter's own forward ends in single precision

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        hidden = F.conv2d(images - 0.5, self.first, padding=1).tanh()
        return F.conv2d(hidden, self.second, padding=1)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [*MOVING, *STILL])
def test_the_gradient_is_the_slope_of_the_loss(name: str, version: str) -> None:
    """d loss / d x through every transform, against central differences in double precision."""
    transforms, divisor = MOVING[name] if name in MOVING else (STILL[name], 1)
    generator = torch.Generator().manual_seed(2)
    image = torch.rand(1, 3, 7, 9, dtype=torch.float64, generator=generator)
    labels = torch.randint(3, (1, 7, 9), generator=generator)
    labels[:, 3, 2:5] = IGNORE_INDEX
    model, spec, random, loss_context = (
        Tiny(),
        attack(transforms, version),
        StepRandom(0, 0, 3, ["x"]),
        LossContext(0, 1),
    )
    model.size_divisor = divisor

    def losses(images: torch.Tensor) -> torch.Tensor:
        view = next(
            iter(views(images, spec.transforms, TransformContext(divisor, random, image, ("x",))))
        )
        aligned = align(view, model(view.images), labels.expand(len(images), -1, -1), version)
        return LOSSES[spec.loss](*aligned, loss_context)

    width = 1e-5
    nudges = width * torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape[1:])
    slopes = (losses(image + nudges) - losses(image - nudges)) / (2 * width)

    context = AttackContext(
        model=model,
        spec=spec,
        clean=image,
        labels=labels,
        lower=image - 1,
        upper=image + 1,
        region=None,
        image_ids=["x"],
        shard=ShardImages(image, ("x",)),
        seed=0,
        group=0,
    )
    found = loss_gradient(context, image, random, loss_context).values
    torch.testing.assert_close(found, slopes.view(image.shape), rtol=0, atol=1e-8)
    assert found.abs().max() > 1e-3


@pytest.mark.parametrize("kernel", [1, 5, 15])
def test_smoothing_is_symmetric(kernel: int) -> None:
    """<W a, b> = <a, W b> on images as large as the zoo's, borders included: whether the gradient
    is smoothed or the loss is averaged over moved images is the same."""
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(2, 2, 3, 240, 320, dtype=torch.float64, generator=generator)
    rule = Smoothing(kernel=kernel)
    left, right = (smooth(a, rule) * b).sum(), (a * smooth(b, rule)).sum()
    assert left.item() == pytest.approx(right.item(), rel=1e-10)
