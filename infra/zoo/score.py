"""Score the shipped zoo on CamVid val and the full test split, and time a step; print a table.

    python infra/zoo/score.py PATH/TO/camvid

Goes through the product's own data reading, adapter and metrics, at 240 x 320.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import Shard, make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.metrics import miou
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.base import Segmenter
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.models.zoo import ZOO

SIZE = (240, 320)
ROUNDS = 7


def read(camvid: Path, split: str) -> list[Shard]:
    classes = next(iter(ZOO.values())).classes
    spec = DataSpec(folder=str(camvid), split=split, classes=classes, size=SIZE)
    return list(make_shards(open_dataset(spec), spec, groups=1, shard_size=8))


def score(model: Segmenter, shards: list[Shard]) -> float:
    matrices = [
        evaluate(model, s.images, s.labels, num_classes=model.num_classes, micro_batch=4).confusions
        for s in shards
    ]
    return float(miou(np.concatenate(matrices).sum(0)))


def step_seconds(model: Segmenter) -> float:
    """Return median CPU seconds per image of a forward and input gradient, in batches of four."""
    times = []
    for _ in range(ROUNDS):
        images = torch.rand(4, 3, *SIZE, requires_grad=True)
        began = time.thread_time()
        model.gradient(model(images).square().mean(), images)
        times.append((time.thread_time() - began) / len(images))
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("camvid", type=Path)
    camvid = parser.parse_args().camvid
    torch.set_num_threads(1)
    splits = {split: read(camvid, split) for split in ("val", "test")}
    print("| model | parameters | weights | val mIoU | test mIoU | s per forward + gradient |")
    print("|---|---|---|---|---|---|")
    for name, zoo in ZOO.items():
        model = models.load(ModelSpec.model_validate(name))
        parameters = sum(p.numel() for p in model.parameters()) / 1e6
        size = zoo.weights.stat().st_size / 1e6
        val, test = (score(model, shards) for shards in splits.values())
        print(
            f"| {name} | {parameters:.2f} M | {size:.1f} MB | {val:.1f} | {test:.1f} "
            f"| {step_seconds(model):.3f} |"
        )


if __name__ == "__main__":
    main()
