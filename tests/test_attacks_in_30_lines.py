"""The page "PGD, MI and DS in 30 lines each": its code makes the images that the loop makes."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import segtransfer
from segtransfer.runtime.in_memory import SHARDING
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.randomness import schedule_group
from tests.conftest import ROOT
from tests.toys import Convolutional

PAGE = ROOT / "docs/explanation/attacks-in-30-lines.md"
BLOCKS = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE.read_text(), re.DOTALL))
EPS, STEPS, SEED, CLASSES = 8 / 255, 12, 3, 4
SIZE = 20, 28
SAME_SHARE = 0.999  # of the values: a sign of a gradient near 0 follows the order of a sum


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Yield a function that imports an attack of the page from a file of its own."""
    for name, code in BLOCKS.items():
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: getattr(importlib.import_module(name), name)
    for name in BLOCKS:
        sys.modules.pop(name, None)


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return Convolutional(CLASSES, seed=0).eval()


def images_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    """Return three 8-bit images as floats, and labels of which a tenth is ignored."""
    chance = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (3, 3, *SIZE), generator=chance) / 255
    labels = torch.randint(0, CLASSES, (3, *SIZE), generator=chance)
    return images, torch.where(torch.rand(labels.shape, generator=chance) < 0.1, 255, labels)


def scale_of(image_id: str) -> Callable[[int], float]:
    """Return the scales that the loop draws for an image, by step."""
    group = schedule_group(image_id, SHARDING["schedule_groups"])
    return lambda step: 0.5 + StepRandom(SEED, group, step, [image_id]).number("scale")


@pytest.mark.parametrize("name", ["pgd", "mi", "ds"])
def test_attack_of_the_page_equals_the_preset(name: str, page: Callable[[str], Any]) -> None:
    model, (images, labels) = network(), images_and_labels()
    made = []
    for number in range(len(images)):
        options = {"scale": scale_of(f"image-{number}")} if name == "ds" else {}
        one = slice(number, number + 1)
        made.append(page(name)(model, images[one], labels[one], EPS, STEPS, **options))
    found = torch.cat(made).mul(255).round().to(torch.uint8)
    expected = segtransfer.attack(
        model, images, labels, name, eps="8/255", steps=STEPS, seed=SEED, micro_batch=1
    )
    assert expected.dtype == torch.uint8
    assert (expected / 255 - images).abs().max() > 0.9 * EPS
    assert (found == expected).float().mean() >= SAME_SHARE


@pytest.mark.parametrize("name", BLOCKS)
def test_attack_of_the_page_has_at_most_thirty_lines(name: str) -> None:
    assert len(BLOCKS[name].strip().splitlines()) <= 30


def test_attack_of_the_page_needs_torch_alone() -> None:
    imported = re.findall(r"^(?:from|import) (\w+)", "".join(BLOCKS.values()), re.MULTILINE)
    assert set(imported) == {"torch", "random", "pgd"}
