"""A user's working folder for the golden record: images, models, losses, specs and wrong specs.

Everything here is made from seeds or written out, so that every task key is the same on every
machine. Nothing imports the package: the files are a stranger's, and go through the command.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES = ["road", "sky", "tree"]
SIZE = (24, 32)

MODELS_FILE = '''\
"""Networks of a user."""

import time

import torch
from torch import nn


class Net(nn.Module):
    """Two fixed convolutions; raises on bright corners if it is picky."""

    def __init__(self, seed: int, picky: bool = False, num_classes: int = 3) -> None:
        super().__init__()
        self.first = nn.Parameter(weights((8, 3, 3, 3), seed))
        self.second = nn.Parameter(weights((num_classes, 8, 3, 3), seed + 1))
        self.num_classes, self.picky = num_classes, picky

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.picky and (images[:, 0, 0, 0] > 0.5).any():
            raise RuntimeError("this net fails on bright corners")
        hidden = nn.functional.conv2d(images - 0.5, self.first, padding=1).relu()
        return nn.functional.conv2d(hidden, self.second, padding=1)


class Staged(nn.Module):
    """A backbone of three stages, whose middle one a feature loss reads."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.backbone = Stages(seed)
        self.head = nn.Parameter(weights((3, 6, 1, 1), seed + 7))
        self.num_classes = 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        last = self.backbone(images)[-1]
        logits = nn.functional.conv2d(last, self.head)
        return nn.functional.interpolate(logits, size=images.shape[-2:], mode="bilinear")


class Stages(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3 if i == 0 else 6, 6, 3, 1 + (i > 0), 1)
                                     for i in range(3)])
        for i, stage in enumerate(self.stages):
            stage.weight.data = weights(tuple(stage.weight.shape), seed + i)
            stage.bias.data.zero_()

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        stages, hidden = [], images - 0.5
        for stage in self.stages:
            hidden = nn.functional.leaky_relu(stage(hidden), 0.2)
            stages.append(hidden)
        return stages


def weights(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    count = 1
    for side in shape:
        count *= side
    return torch.sin(torch.arange(count, dtype=torch.float64) * (seed + 1.7)).float().view(shape)


def net(seed: int = 0, picky: bool = False, num_classes: int = 3) -> Net:
    return Net(seed, picky, num_classes)


def staged(seed: int = 0) -> Staged:
    return Staged(seed)


def broken() -> int:
    return 3
'''

LOSSES_FILE = '''\
"""A loss of a user."""

import torch


def margin(logits: torch.Tensor, labels: torch.Tensor, moment: object) -> torch.Tensor:
    """max_{k != y} z_k - z_y up to 1, mean over labelled pixels."""
    index = torch.where(labels == 255, 0, labels)[:, None]
    own = logits.gather(1, index)
    others = logits.scatter(1, index, -torch.inf).max(1, keepdim=True).values
    pixels = (others - own)[:, 0].clamp(max=1)
    counted = labels != 255
    return (pixels * counted).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)
'''


def write(folder: Path) -> Path:
    """Fill ``folder``, which is new, and return it."""
    folder.mkdir(parents=True)
    (folder / "my_nets.py").write_text(MODELS_FILE)
    (folder / "my_losses.py").write_text(LOSSES_FILE)
    write_images(folder / "data", seed=0, count=6)
    write_images(folder / "new", seed=1, count=4, prefix="other")
    write_aes(folder / "data", folder / "theirs")
    mask = np.zeros(SIZE, np.uint8)
    mask[4:12, 4:20] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    for name, spec in (EXPERIMENTS | SEARCHES | STUDIES).items():
        (folder / f"{name}.yaml").write_text(json.dumps(spec))  # JSON is YAML
    return folder


def write_images(folder: Path, *, seed: int, count: int, prefix: str = "image") -> None:
    """``count`` random labelled images; the last but one has a bright corner."""
    generator = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        image = generator.integers(0, 256, (*SIZE, 3), np.uint8)
        image[0, 0] = 255 if i == count - 2 else 0
        label = generator.integers(0, len(CLASSES), SIZE).astype(np.uint8)
        label[:2] = 255
        name = f"{prefix}{i % 3}_{i}.png"
        Image.fromarray(image).save(folder / "images" / name)
        Image.fromarray(label).save(folder / "labels" / name)


def write_aes(data: Path, folder: Path) -> None:
    """AEs made elsewhere: two levels brighter."""
    folder.mkdir()
    for path in sorted((data / "images").iterdir()):
        pixels = np.asarray(Image.open(path)).astype(np.int64) + 2
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / path.name)


def net(name: str, seed: int, **more: Any) -> dict[str, Any]:
    arguments = {"seed": seed, **more.pop("arguments", {})}
    return {"name": name, "torch": {"callable": "my_nets:net", "arguments": arguments}, **more}


def staged(name: str, seed: int) -> dict[str, Any]:
    arguments = {"seed": seed}
    return {"name": name, "torch": {"callable": "my_nets:staged", "arguments": arguments}}


DATA = {"folder": "data", "classes": CLASSES, "sequence": "^([^_]+)_"}
RUNTIME = {"executor": "inline", "tracking": False}
COMMON = {"data": DATA, "schedule_groups": 2, "shard_size": 2, "runtime": RUNTIME}

ONE_STEP = ("noise", "fgsm")
PRESETS = (
    "pgd", "mi", "ni", "di", "rdi", "ti", "si", "vt", "admix", "ssa-through", "segpgd", "cospgd",
    "masked-ce", "js", "mask-norm", "ds", "ds-mi", "ds-tuned",
)  # fmt: skip
BOTH_STEPS = {"eps": "8/255", "steps": 2}
RENAMED = {"ssa-through": {"name": "ssa"}}  # the preset's name when the keys were recorded

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "presets": {
        **COMMON,
        "models": [staged("a", 1), net("b", 2)],
        "sources": ["a"],
        "attacks": [
            *({"preset": preset, "eps": "8/255"} for preset in ONE_STEP),
            *({"preset": preset, **BOTH_STEPS, **RENAMED.get(preset, {})} for preset in PRESETS),
            {"preset": "fspgd", **BOTH_STEPS, "layer": "backbone.stages.1"},
        ],
    },
    "mixed": {
        **COMMON,
        "seed": 3,
        "models": [
            net("a", 1),
            net("b", 2, inference={"mode": "slide", "crop": [16, 16], "stride": [8, 8]}),
            net("c", 3, inference={"mode": "whole", "scale": 0.5}),
            {"name": "both", "ensemble": [net("x", 4), net("y", 5)], "average": "gradients"},
            net("mapped", 6, arguments={"num_classes": 4},
                classes=["street", "sky", "tree", "pole"],
                label_map={"street": "road", "sky": "sky", "tree": "tree", "pole": None}),
        ],
        "sources": ["a", "both"],
        "attacks": [
            {"preset": "pgd", "name": "margin", **BOTH_STEPS, "loss": "my_losses:margin"},
            {"preset": "pgd", "name": "curve", "eps": "8/255", "steps": 4, "steps_at": [1, 2, 4],
             "scores": ["raw", "eps*sign", "equal-rms"]},
            {"name": "theirs", "files": "theirs", "eps": "8/255"},
            {"preset": "pgd", "name": "l2", "norm": "l2", "eps": "4/255", "steps": 2},
            {"preset": "pgd", "name": "aimed", "target": {"classes": {0: 1, 2: 1}}, **BOTH_STEPS},
            {"preset": "pgd", "name": "patch", "region": {"mask": "mask.png"}, **BOTH_STEPS},
            {"preset": "ds", "name": "budgeted", "eps": "4/255",
             "budget": {"forward_equivalents": 3}, "label_version": "labels"},
            {"preset": "ds", "name": "composed", **BOTH_STEPS, "step_size": "eps/steps",
             "transforms": [{"ds": {"low": 0.75, "width": 0.5, "law": "log-uniform", "scales": 2,
                                    "grid": 0.125}}, {"di": {"probability": 0.7}}],
             "momentum": {"mu": 0.9, "nesterov": True}, "smoothing": {"ti": {"kernel": 3}},
             "start": "uniform", "restarts": 2},
        ],
    },
    "fails": {
        **COMMON,
        "models": [net("sound", 1), net("picky", 2, arguments={"picky": True})],
        "attacks": [{"preset": "pgd", **BOTH_STEPS}],
        "shard_size": 1,
    },
    "shipped": {
        "data": {"sample": "camvid", "images": 2},
        "models": ["fcn-r18", "segformer-mit"],
        "sources": ["fcn-r18"],
        "attacks": [{"preset": "ds-mi", "eps": "4/255", "steps": 2}],
        "runtime": RUNTIME,
    },
    "folded": {
        "data": {"sample": "camvid", "images": 1},
        "models": ["fcn-r18"],
        "numerics": {"fold": True},
        "attacks": [{"preset": "pgd", "eps": "4/255", "steps": 1}],
        "runtime": RUNTIME,
    },
}  # fmt: skip

SEARCHES: dict[str, dict[str, Any]] = {
    "seek": {
        "data": DATA,
        "models": [net("a", 1), net("b", 2), net("c", 3)],
        "sources": ["a"],
        "targets": ["b"],
        "attack": {"preset": "pgd", "eps": "8/255", "budget": {"forward_equivalents": 2}},
        "search": {
            "space": {"name": "mine", "fields": {"step_size": {"float": [0.01, 0.05]}}},
            "trials": 3,
            "concurrency": 1,
            "rungs": [1.0],
        },
        "confirm": {
            "data": {"folder": "new", "classes": CLASSES},
            "held_out": ["c"],
            "baselines": ["pgd"],
            "best": 1,
            "schedule_groups": 2,
        },
        "schedule_groups": 2,
        "shard_size": 2,
        "runtime": {"tracking": False, "fleet": {"slots": 1}},
    }
}

STUDIES: dict[str, dict[str, Any]] = {
    "base": {
        **COMMON,
        "models": [net("a", 1, backbone="one"), net("b", 2, backbone="two")],
        "attacks": [{"preset": "pgd", **BOTH_STEPS}],
    }
}

# Overrides of presets.yaml that are wrong, each with one sentence and exit code 2.
WRONG_OVERRIDES = [
    ["attacks.2.eps=8"], ["attacks.2.eps=-1"], ["attacks.2.steps=many"], ["attacks.2.steps=-1"],
    ["attacks.2.loss=nothing"], ["attacks.2.loss=my_losses:missing"], ["attacks.2.preset=pdg"],
    ["attacks.2.step_size=eps/x"], ["attacks.2.transforms=[warp]"], ["attacks.2.momentum.mu=x"],
    ["attacks.2.steps_at=[3]"], ["attacks.2.scores=[raw,raw]"], ["attacks.99.eps=1"],
    ["attacks.2.budget.forward_equivalents=0.1"], ["attacks.2.name=a b"], ["attacks=[]"],
    ["attacks.2.target.classes={0: 7}"], ["attacks.2.region.mask=data/images/image0_0.png"],
    ["attacks.2.files=nowhere"], ["models.0.torch.callable=my_nets:missing"], ["models=[resnet]"],
    ["models.0.torch.callable=my_nets"], ["sources=[z]"], ["targets=[]"], ["data.folder=nowhere"],
    ["data.classes=[one]"], ["data.sequence=("], ["data.size=[1, 1]"], ["seed=-1"], ["runtim=1"],
    ["runtime.executor=spark"], ["runtime.window=0"], ["shard_size=x"], ["numerics=quick"],
    ["attacks.2"], ["models.1.name=a"], ["data.images=0"],
]  # fmt: skip
WRONG_COMMANDS = [
    ["run", "nowhere.yaml"], ["plan", "quickstar"], ["search", "presets.yaml"],
    ["study", "nothing", "base.yaml"], ["report", "nowhere"], ["export", "nowhere", "out"],
    ["compare", "pgd", "nothing"], ["store", "verify", "nowhere"], ["search", "seek.yaml",
    "search.rungs=[2]"], ["search", "seek.yaml", "search.space=nothing"],
    ["search", "seek.yaml", "confirm.data.folder=data"],
]  # fmt: skip
