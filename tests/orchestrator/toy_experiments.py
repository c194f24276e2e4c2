"""Small experiments on toy segmenters and random images, and what they leave in a store."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec import Experiment
from segtransfer.results import Results
from segtransfer.runtime.runner import carry_out
from segtransfer.store import Store

CLASSES = ["road", "sky", "tree"]
ATTACKS: list[dict[str, Any]] = [
    {"preset": "noise", "eps": "8/255"},
    {"preset": "pgd", "eps": "8/255", "steps": 3},
    {"preset": "ds-mi", "eps": "8/255", "steps": 3},
]


def write_images(
    folder: Path,
    *,
    seed: int = 0,
    count: int = 6,
    bright: int | None = None,
    split: str = "",
    size: tuple[int, int] = (24, 32),
) -> Path:
    """``count`` random labelled images; only image ``bright`` has a bright first pixel."""
    generator = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        (folder / kind / split).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = generator.integers(0, 256, (*size, 3), np.uint8)
        image[0, 0] = 255 if i == bright else 0
        label = generator.integers(0, len(CLASSES), size).astype(np.uint8)
        label[:2] = 255
        Image.fromarray(image).save(folder / "images" / split / f"image-{i}.png")
        Image.fromarray(label).save(folder / "labels" / split / f"image-{i}.png")
    return folder


def toy(name: str, function: str = "convolutional", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "torch": {"callable": f"tests.toys:{function}", "arguments": arguments}}


def unloadable(name: str, folder: Path) -> dict[str, Any]:
    """A toy that can be planned and not loaded: its weights, in ``folder``, are another's."""
    weights = folder / "weights-of-another.pth"
    torch.save({"another.weight": torch.zeros(1)}, weights)
    spec = toy(name)
    spec["torch"]["weights"] = str(weights)
    return spec


def toy_spec(folder: Path, **changes: Any) -> dict[str, Any]:
    """Two toys, three attacks, six images of ``folder`` in at least three shards."""
    data = folder / "data"
    if not data.exists():
        write_images(data)
    runtime = {
        "store": str(folder / "store"),
        "executor": "inline",
        "tracking": False,
        **changes.pop("runtime", {}),
    }
    return {
        "data": {"folder": str(data), "classes": CLASSES},
        "models": [toy("a", seed=1), toy("b", seed=2)],
        "attacks": ATTACKS,
        "schedule_groups": 2,
        "shard_size": 2,
        "runtime": runtime,
        **changes,
    }


def toy_experiment(folder: Path, **changes: Any) -> Experiment:
    return read_experiment(toy_spec(folder, **changes))


def run_toy(folder: Path, listener: Any = None, **changes: Any) -> Results:
    return carry_out(toy_experiment(folder, **changes), listener)


def arrays(results: Results) -> dict[str, np.ndarray]:
    """Every array an experiment left in its store, by task and name; fails where one is missing."""
    found: dict[str, np.ndarray] = {}
    for *_, key, attack in results.manifest.rows:
        evaluation = results.store.evaluation(key)
        assert evaluation is not None, f"evaluation {key} is missing"
        found[f"{key} confusions"] = evaluation.confusions
        found[f"{key} predictions"] = evaluation.predictions
        if attack is not None and f"{attack} images" not in found:
            images = results.store.attack_images(attack)
            assert images is not None, f"attack {attack} is missing"
            found[f"{attack} images"] = images
    return found


def assert_same_bits(results: Results, oracle: Results) -> None:
    ours, theirs = arrays(results), arrays(oracle)
    assert ours.keys() == theirs.keys()
    differ = [name for name in ours if not np.array_equal(ours[name], theirs[name])]
    assert not differ


def row_files(store: Store) -> dict[str, tuple[int, int]]:
    """Modification time and inode of every commit row: they change when one is written again."""
    rows = Path(store.location, "rows").rglob("*.parquet")
    return {path.stem: (path.stat().st_mtime_ns, path.stat().st_ino) for path in rows}


def blob_of(store: Store, key: str) -> Path:
    row = store.row(key)
    assert row is not None
    return Path(store.location, row.blob)


def damage(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(bytes(content))
