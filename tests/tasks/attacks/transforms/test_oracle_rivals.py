"""Transform attacks against loops written from their papers and their authors' code.

Each rule is written down once more, pixel by pixel where content moves: an image is a vector, a
transform a matrix that acts on it, and labels follow by the matrix's largest weight. Only the
random numbers are ours, drawn by name from (seed, group, step). On a smooth toy in double precision
the iterates are equal to the last bit but for rounding.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from tests.tasks.attacks.test_oracle_foolbox import CLASSES, COUNT, SIDE, Smooth, images_and_classes

STEPS, EPS, STEP_SIZE, COPIES = 4, 8 / 255, 2.3 / 255, 3
IDS = [f"image-{i}" for i in range(COUNT)]
MODEL = Smooth()
Gradient = Callable[[torch.Tensor, int], torch.Tensor]


def images_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    """The images of the other oracle, labelled at random, a fifth of the pixels void."""
    images, _ = images_and_classes()
    generator = torch.Generator().manual_seed(5)
    labels = torch.randint(CLASSES, (COUNT, SIDE, SIDE), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    return images, labels


def drawn(step: int, copy: int = 0) -> StepRandom:
    return StepRandom(0, 0, step, IDS, copy=copy)


def losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    pixels = F.cross_entropy(logits, labels, ignore_index=255, reduction="none")
    return (pixels.sum((1, 2)) / (labels != 255).sum((1, 2))).sum()


def momentum_loop(gradient: Gradient) -> torch.Tensor:
    """MI-FGSM: m = m + g / mean|g|, x = clip(x + a sign(m))."""
    images, _ = images_and_labels()
    x, m = images.clone(), torch.zeros_like(images)
    for step in range(STEPS):
        g = gradient(x, step)
        m = m + g / g.abs().mean((1, 2, 3), keepdim=True)
        x = x + STEP_SIZE * m.sign()
        x = torch.minimum(torch.maximum(x, images - EPS), images + EPS).clamp(0, 1)
    return x


def ours(preset: str, **fields: Any) -> torch.Tensor:
    images, labels = images_and_labels()
    fields = {"preset": preset, "eps": EPS, "step_size": STEP_SIZE, "steps": STEPS, **fields}
    (made,), _ = loop.run(
        MODEL, AttackSpec.model_validate(fields), images, labels, IDS, seed=0, group=0
    )
    return made


def assert_equal(made: torch.Tensor, reference: torch.Tensor) -> None:
    torch.testing.assert_close(made, reference, rtol=0, atol=1e-12)


def at_leaf(z: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The gradient at z itself."""
    z = z.detach().requires_grad_(True)
    return torch.autograd.grad(losses(MODEL(z), labels), z)[0]


# --- Intensity -----------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["powers", "uniform"])
def test_si_with_a_random_law_is_mi_at_one_intensity_per_step(law: str) -> None:
    _, labels = images_and_labels()

    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        u = drawn(step).number("intensity")
        factor = 0.5 ** math.floor(5 * u) if law == "powers" else 1 / 16 + 15 / 16 * u
        return factor * at_leaf(factor * x, labels)

    made = ours("si-random", transforms=[{"si": {"copies": 1, "law": law}}])
    assert_equal(made, momentum_loop(gradient))


def test_us_mm_sums_gradients_at_scaled_and_masked_images() -> None:
    images, labels = images_and_labels()

    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        total = torch.zeros_like(x)
        for copy, scale in enumerate((0.1, 0.2625, 0.425, 0.5875, 0.75) * 3):
            others = []
            for own, image_id in enumerate(IDS):
                generator = drawn(step, copy).generator("us-mm", image_id)
                others.append((own + 1 + int(torch.randint(2, (), generator=generator))) % COUNT)
            assert all(own != other for own, other in enumerate(others))
            z = (scale * x) * (0.5 + images[others])
            total += at_leaf(z.clamp(0, 1), labels)
        return total

    assert_equal(ours("us-mm"), momentum_loop(gradient))


def cosines(length: int) -> torch.Tensor:
    """The orthonormal DCT-II by its definition, in double precision."""
    rows = [
        [
            math.sqrt((1 if k == 0 else 2) / length)
            * math.cos(math.pi * (2 * n + 1) * k / (2 * length))
            for n in range(length)
        ]
        for k in range(length)
    ]
    return torch.tensor(rows, dtype=torch.float64)


@pytest.mark.parametrize("preset", ["ssa", "ssa-through"])
def test_ssa_takes_the_gradient_at_the_transformed_image_and_ours_through_it(preset: str) -> None:
    _, labels = images_and_labels()
    dct = cosines(SIDE)

    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        total = torch.zeros_like(x)
        for copy in range(COPIES):
            noise, mask = torch.zeros_like(x), torch.zeros_like(x)
            for row, image_id in enumerate(IDS):
                generator = drawn(step, copy).generator("spectrum", image_id)
                noise[row] = torch.randn(3, SIDE, SIDE, generator=generator)
                mask[row] = 0.5 + torch.rand(3, SIDE, SIDE, generator=generator)
            z = dct.T @ (dct @ (x + 16 / 255 * noise) @ dct.T * mask) @ dct
            g = at_leaf(z, labels)
            # The transpose of x -> IDCT(mask DCT(x)) is itself.
            total += g if preset == "ssa" else dct.T @ (dct @ g @ dct.T * mask) @ dct
        return total

    place = "at" if preset == "ssa" else "through"
    made = ours(preset, transforms=[{"ssa": {"copies": COPIES, "gradient": place}}])
    assert_equal(made, momentum_loop(gradient))
    assert not torch.equal(made, ours("mi"))


# --- Moved content: matrices that act on an image as a vector of pixels ---------------------------


def follow(matrix: np.ndarray, labels: torch.Tensor) -> torch.Tensor:
    """Labels by the largest weight of each row; 255 where the weights sum up to less than half."""
    moved = labels.flatten(1)[:, matrix.argmax(1)]
    return torch.where(torch.tensor(matrix.max(1) > 0), moved, 255).view_as(labels)


def act(matrix: np.ndarray, tensor: torch.Tensor) -> torch.Tensor:
    return (tensor.flatten(2) @ torch.tensor(matrix).T).view_as(tensor)


def permutation(order: np.ndarray) -> np.ndarray:
    """The matrix that puts pixel ``order[i]`` in place i."""
    return np.eye(order.size)[order.flatten()]


def moving_gradient(
    views: Callable[[torch.Tensor, int, int], tuple[torch.Tensor, np.ndarray, np.ndarray]],
    version: str,
) -> Gradient:
    """The mean gradient over copies, labels moved or logits moved back.

    ``views`` returns the images shown, the matrix for labels and the matrix for logits.
    """
    _, labels = images_and_labels()

    def gradient(x: torch.Tensor, step: int) -> torch.Tensor:
        x = x.detach().requires_grad_(True)
        total = torch.zeros(())
        for copy in range(COPIES):
            shown, there, back = views(x, step, copy)
            logits = MODEL(shown)
            if version == "labels":
                total = total + losses(logits, follow(there, labels))
            else:
                whole = torch.tensor(back.sum(1) > 0.999).view(SIDE, SIDE)
                total = total + losses(act(back, logits), torch.where(whole, labels, 255))
        return torch.autograd.grad(total, x)[0]

    return gradient


@pytest.mark.parametrize("version", ["labels", "logits"])
def test_flip_mirrors_image_and_labels(version: str) -> None:
    mirror = permutation(np.arange(SIDE * SIDE).reshape(SIDE, SIDE)[:, ::-1])
    stay = np.eye(SIDE * SIDE)
    met = set()

    def views(x: torch.Tensor, step: int, copy: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        matrix = mirror if drawn(step).number("flip") < 0.5 else stay
        met.add(matrix is mirror)
        return act(matrix, x), matrix, matrix.T

    reference = momentum_loop(moving_gradient(views, version))
    assert met == {True, False}
    assert_equal(ours("flip-mi", label_version=version), reference)


def sia_view(
    x: torch.Tensor, step: int, copy: int, met: set[str]
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Wang et al.: blocks between random cuts, each with one of ten changes."""
    random, count = drawn(step, copy), 3
    edges = []
    for side in ("row", "column"):
        places, cuts = list(range(1, SIDE)), [0, SIDE]
        for number in range(count - 1):
            place = math.floor(random.number(f"sia {side} {number}") * len(places))
            cuts.append(places[place])
            del places[place]
        edges.append(sorted(cuts))
    order = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    shown = x.clone()
    for i in range(count):
        for j in range(count):
            rows = slice(edges[0][i], edges[0][i + 1])
            columns = slice(edges[1][j], edges[1][j + 1])
            block, pixels = x[..., rows, columns], order[rows, columns].copy()
            height, width = pixels.shape
            change = math.floor(random.number(f"sia {i} {j} change") * 10)
            amount = random.number(f"sia {i} {j} amount")
            generators = [random.generator(f"sia {i} {j}", image_id) for image_id in IDS]
            met.add(str(change))
            if change == 0:
                small = F.interpolate(
                    block, (int(height * 0.8) + 1, int(width * 0.8) + 1), mode="bilinear"
                )
                block = F.interpolate(small, (height, width), mode="bilinear").clamp(0, 1)
            if change == 1:
                pixels = np.roll(pixels, math.floor(amount * height), 0)
            if change == 2:
                pixels = np.roll(pixels, math.floor(amount * width), 1)
            if change == 3:
                pixels = pixels[::-1]
            if change == 4:
                pixels = pixels[:, ::-1]
            if change == 5:
                pixels = np.rot90(pixels, 2)
            if change == 6:
                block = amount * block
            if change == 7:
                noise = [torch.rand(3, height, width, generator=g) for g in generators]
                block = (block + 16 / 255 * (2 * torch.stack(noise).double() - 1)).clamp(0, 1)
            if change == 8:
                left, right = cosines(height), cosines(width)
                spectrum = left @ block @ right.T
                keep = torch.ones(height, width, dtype=torch.float64)
                keep[height - int(height * 0.4) :] = 0
                keep[:, width - int(width * 0.4) :] = 0
                block = left.T @ (spectrum * keep) @ right
            if change == 9:
                keep = torch.stack([torch.rand(3, 1, 1, generator=g) for g in generators])
                block = block * (keep >= 0.1) / 0.9
            if 1 <= change <= 5:
                block = x.flatten(2)[..., pixels.flatten().copy()].unflatten(2, pixels.shape)
            shown[..., rows, columns], order[rows, columns] = block, pixels
    matrix = permutation(order)
    return shown, matrix, matrix.T


@pytest.mark.parametrize("version", ["labels", "logits"])
def test_sia_changes_blocks_and_labels_follow_each(version: str) -> None:
    met: set[str] = set()

    def views(x: torch.Tensor, step: int, copy: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
        return sia_view(x, step, copy, met)

    reference = momentum_loop(moving_gradient(views, version))
    assert met == set("0123456789")
    made = ours("sia", transforms=[{"sia": {"copies": COPIES}}], label_version=version)
    assert_equal(made, reference)


def turning(height: int, width: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Matrices of a counter-clockwise turn about the centre: bilinear, and to the nearest pixel."""
    bilinear = np.zeros((height * width, height * width))
    nearest = np.zeros_like(bilinear)
    middle = (height - 1) / 2, (width - 1) / 2
    for row in range(height):
        for column in range(width):
            down, right = row - middle[0], column - middle[1]
            y = middle[0] + math.sin(angle) * right + math.cos(angle) * down
            x = middle[1] + math.cos(angle) * right - math.sin(angle) * down
            for i in (math.floor(y), math.floor(y) + 1):
                for j in (math.floor(x), math.floor(x) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        weight = (1 - abs(y - i)) * (1 - abs(x - j))
                        bilinear[row * width + column, i * width + j] = weight
            if 0 <= round(y) < height and 0 <= round(x) < width:
                nearest[row * width + column, round(y) * width + round(x)] = 1
    return bilinear, nearest


def parts(random: StepRandom, what: str, count: int = 3) -> list[range]:
    """Wang et al. (TransferAttack): lengths in proportion to U(1, 2), in a random order."""
    shares = np.array([2 - random.number(f"{what} length {n}") for n in range(count)])
    lengths = np.round(shares / shares.sum() * SIDE).astype(int)
    lengths[lengths.argmax()] += SIDE - lengths.sum()
    ends = [int(end) for end in np.cumsum(lengths)]
    ranges, shuffled = [range(a, b) for a, b in zip([0, *ends], ends, strict=False)], []
    for place in range(count):
        at = math.floor(random.number(f"{what} order {place}") * len(ranges))
        shuffled.append(ranges[at])
        del ranges[at]
    return shuffled


def bsr_view(x: torch.Tensor, step: int, copy: int) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Turn the strips in place, then permute pixels."""
    random, index = drawn(step, copy), np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    by_rows = random.number("bsr axis") < 0.5
    index = index if by_rows else index.T
    strips = parts(random, "bsr strips")
    turn, turn_labels, turn_back = (np.zeros((SIDE * SIDE, SIDE * SIDE)) for _ in range(3))
    order = []
    in_place = sorted(strips, key=lambda strip: strip.start)
    for strip in strips:
        number = in_place.index(strip)
        angle = math.radians(24 * (2 * random.number(f"bsr angle {number}") - 1))
        pixels = index[strip.start : strip.stop]
        box = pixels if by_rows else pixels.T
        where = np.ix_(box.flatten(), box.flatten())
        turn[where], turn_labels[where] = turning(*box.shape, angle)
        turn_back[where] = turning(*box.shape, -angle)[0]
        cells = [pixels[:, cell.start : cell.stop] for cell in parts(random, f"bsr cells {number}")]
        order.append(np.concatenate(cells, 1))
    rows = np.concatenate(order)
    shuffle = permutation(rows if by_rows else rows.T)
    return act(shuffle @ turn, x), shuffle @ turn_labels, turn_back @ shuffle.T


@pytest.mark.parametrize("version", ["labels", "logits"])
def test_bsr_turns_and_shuffles_strips_and_labels_follow(version: str) -> None:
    reference = momentum_loop(moving_gradient(bsr_view, version))
    made = ours("bsr", transforms=[{"bsr": {"copies": COPIES}}], label_version=version)
    assert_equal(made, reference)
