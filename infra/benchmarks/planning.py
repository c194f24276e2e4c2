"""What planning costs where everything is stored already; and how differences of attacks vary.

    PYTHONPATH=. python infra/benchmarks/planning.py
    PYTHONPATH=. python infra/benchmarks/planning.py --compacted
    PYTHONPATH=. python infra/benchmarks/planning.py --spread

The first two make a store with a row for each of some 150,000 tasks of toy models, and print the
CPU and wall seconds of ``make_plan``. ``--spread`` measures the spreads that the power of a plan is
computed from where the store has no run on the same data: on the sample, in minutes.
"""

import argparse
import cProfile
import pstats
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.statistics.design import Factor
from segtransfer.statistics.power import detectable, spread_of
from segtransfer.store import CommitRow, Store
from segtransfer.store.maintenance import compact
from segtransfer.store.rows import encode_rows, row_path
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.shards import make_shards
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.evaluate import evaluate
from segtransfer.tasks.metrics import miou
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.spec import ModelSpec

CLASSES = ["road", "sky", "tree"]
MODELS, ATTACKS, IMAGES = 10, 43, 256


def toy_experiment(folder: Path) -> dict[str, object]:
    """Ten sources, ten targets, 43 attacks, some 32 shards: 150,000 tasks of models of no size."""
    generator = np.random.default_rng(0)
    for kind, shape in (("images", (16, 16, 3)), ("labels", (16, 16))):
        (folder / "data" / kind).mkdir(parents=True)
        for i in range(IMAGES):
            pixels = generator.integers(0, 3 if kind == "labels" else 256, shape, np.uint8)
            Image.fromarray(pixels).save(folder / "data" / kind / f"{i}.png")
    toy = {"callable": "tests.toys:convolutional"}
    return {
        "data": {"folder": str(folder / "data"), "classes": CLASSES},
        "models": [
            {"name": f"toy-{i}", "torch": {**toy, "arguments": {"seed": i}}} for i in range(MODELS)
        ],
        "attacks": [
            {"preset": "ds-mi", "name": f"ds-mi-{i}", "eps": (i + 1) / 255} for i in range(ATTACKS)
        ],
        "schedule_groups": 8,
        "shard_size": 9,
        "runtime": {"store": str(folder / "store"), "executor": "inline"},
    }


def fill(store: Store, plan: Plan, compacted: bool) -> None:
    """Write a row for each task: real ones for ``compact``, else files of which the names count."""
    root, digest = Path(store.location), "0" * 64
    for prefix in {key[:2] for key in plan.tasks}:
        (root / row_path(prefix)).parent.mkdir(parents=True)
    for key, task in plan.tasks.items():
        path, content = root / row_path(key), b"row"
        if compacted:
            blob = f"blobs/00/{digest}.arrow"
            content = encode_rows([CommitRow(key, task.kind, blob, digest, {}, "2026-01-01")])
        path.write_bytes(content)
    if compacted:
        compact(store)


def planning(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        experiment = read_experiment(toy_experiment(Path(name)))
        fill(
            Store(name + "/store"), make_plan(experiment, Store(name + "/store")), options.compacted
        )
        for _ in range(options.rounds):
            cpu, wall = time.process_time(), time.perf_counter()
            plan = make_plan(experiment, Store(name + "/store"))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            assert len(plan.stored) == len(plan.tasks)
            print(
                f"{len(plan.tasks):,} tasks, all stored: {cpu:.1f} CPU s, {wall:.1f} s", flush=True
            )
        if options.profile:
            profile = cProfile.Profile()
            profile.runcall(make_plan, experiment, Store(name + "/store"))
            pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def confusions(source: str, targets: list[str], preset: str) -> Iterator[tuple[str, np.ndarray]]:
    """Per-image confusions on the sample of one preset (eps 4/255, 10 steps), for each target."""
    spec = DataSpec.model_validate({"sample": "camvid"})
    attacker = models.load(ModelSpec.model_validate(source))
    fields = {"preset": preset, "eps": "4/255", "steps": 10}
    made = [
        attack(
            attacker,
            AttackSpec.model_validate(fields),
            *(shard.images, shard.labels, shard.image_ids),
            seed=0,
            group=shard.group,
            micro_batch=4,
        ).images[0]
        for shard in make_shards(open_dataset(spec), spec, groups=8, shard_size=8)
    ]
    shards = list(make_shards(open_dataset(spec), spec, groups=8, shard_size=8))
    for target in targets:
        model = models.load(ModelSpec.model_validate(target))
        scored = [
            evaluate(model, i, s.labels, num_classes=model.num_classes, micro_batch=4).confusions
            for i, s in zip(made, shards, strict=True)
        ]
        yield target, np.concatenate(scored)


def spreads() -> None:
    torch.set_num_threads(1)
    targets = ["pspnet-r18", "fcn-mnv2", "segformer-mit"]
    spec = DataSpec.model_validate({"sample": "camvid"})
    shards = list(make_shards(open_dataset(spec), spec, groups=8, shard_size=8))
    clusters = [shard.group for shard in shards for _ in shard.image_ids]
    found = {preset: dict(confusions("fcn-r18", targets, preset)) for preset in ("pgd", "ds", "mi")}
    for preset in ("ds", "mi"):
        for cells in [*([target] for target in targets), targets]:

            def difference(
                factor: Factor, preset: str = preset, cells: list[str] = cells
            ) -> np.ndarray:
                pairs = [(found[preset][t], found["pgd"][t]) for t in cells]
                return np.mean([score(factor, a) - score(factor, b) for a, b in pairs], axis=0)

            spread = spread_of(difference, clusters)
            smallest = detectable(spread, list(Counter(clusters).values()))
            print(
                f"{preset} less pgd, {', '.join(cells)}: spread {spread.image:.1f} an image, "
                f"{spread.group:.1f} a group; {smallest:.2f} points can be shown"
            )


def score(factor: Factor, matrices: np.ndarray) -> np.ndarray:
    """Dataset mIoU, a value a resample."""
    sums = factor.sums(matrices.reshape(len(matrices), -1).astype(np.float64))
    return np.asarray(miou(sums.reshape(-1, *matrices.shape[1:])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compacted", action="store_true", help="many rows to a file")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--spread", action="store_true")
    options = parser.parse_args()
    spreads() if options.spread else planning(options)


if __name__ == "__main__":
    main()
