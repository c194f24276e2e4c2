"""Train a classifier on a zoo backbone with crops of CamVid train, and export its weights.

    python infra/zoo/train_classifier.py resnet18_half --data PATH/TO/camvid

The class of a crop is the class of most of its pixels. Run the command again after an interruption:
it resumes from the last checkpoint. The val split is scored at the end, the test split is never
read. An experiment names the result {mmseg: {config: ..., checkpoint: ..., classifier: true}}.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from safetensors.torch import save_file

from segtransfer.tasks.data.base import load
from segtransfer.tasks.data.open import open_dataset
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.labels import image_classes
from segtransfer.tasks.models.mmseg_build import build_backbone
from segtransfer.tasks.models.mmseg_classifier import PooledNetwork
from segtransfer.tasks.randomness import seeded

TASKS = Path(__file__).resolve().parents[2] / "tasks"
ZOO = TASKS / "models" / "zoo"
CAMVID = json.loads((TASKS / "data" / "camvid" / "dataset.json").read_text())
BACKBONES = sorted(path.stem.removeprefix("_base_") for path in ZOO.glob("_base_*.py"))


def crops(args: argparse.Namespace, split: str, per_image: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the crops of a split.

    Returns:
        Images uint8 N x 3 x H x W, RGB, and a class per image, int64 N.
    """
    spec = DataSpec.model_validate(
        {
            "folder": str(args.data),
            "split": split,
            "classes": CAMVID["classes"],
            "crops": {"size": args.crop, "per_image": per_image, "min_share": args.min_share},
        }
    )
    dataset = open_dataset(spec)
    read = [load(dataset, item, spec) for item in dataset.items]
    labels = image_classes(np.stack([label for _, label in read]))
    return np.stack([image for image, _ in read]), labels.reshape(-1).astype(np.int64)


def normalised(images: np.ndarray, config: Config) -> torch.Tensor:
    """Return uint8 N x 3 x H x W as the float32 inputs of the config's backbone."""
    part = config.model.data_preprocessor
    mean, std = (torch.tensor(part[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    pixels = torch.from_numpy(images).float()
    return ((pixels if part.bgr_to_rgb else pixels.flip(1)) - mean) / std


def train(network: PooledNetwork, config: Config, args: argparse.Namespace) -> None:
    """Train a network in place, with a checkpoint after every ``checkpoint_interval`` steps."""
    images, labels = crops(args, "train", args.per_image)
    print(f"{len(images)} crops of train: {np.bincount(labels, minlength=network.num_classes)}")
    counts = np.maximum(1, np.bincount(labels, minlength=network.num_classes))
    weights = torch.from_numpy((counts.mean() / counts) ** 0.5).float().clamp(0.5, 2.5)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.learning_rate, total_steps=args.iterations
    )
    state = args.work_dir / f"classifier-{args.backbone}-{args.seed}.pth"
    first = 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        first = saved["step"]
    network.train()
    for step in range(first, args.iterations):
        # From seed and step alone, so that a resumed training draws the same batches.
        random = np.random.default_rng([args.seed, step])
        chosen = random.choice(len(images), args.batch_size)
        batch = images[chosen]
        mirrored = random.random(args.batch_size) < 0.5
        batch[mirrored] = batch[mirrored, :, :, ::-1]
        logits = network(normalised(batch, config))
        loss = F.cross_entropy(logits, torch.from_numpy(labels[chosen]), weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        done = step + 1
        if done % 50 == 0 or done == args.iterations:
            print(f"step {done} of {args.iterations}: loss {loss.item():.3f}", flush=True)
        if done % args.checkpoint_interval == 0 or done == args.iterations:
            save(state, network, optimizer, schedule, done)


def save(
    path: Path,
    network: PooledNetwork,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    step: int,
) -> None:
    """Write a checkpoint; an interruption leaves the last checkpoint whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**states, "step": step}, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


@torch.no_grad()
def accuracy(network: PooledNetwork, config: Config, args: argparse.Namespace) -> float:
    """Return the share of right crops of the val split, in percent."""
    images, labels = crops(args, "val", 4)
    network.eval()
    parts = np.array_split(np.arange(len(images)), max(1, len(images) // 64))
    found = [network(normalised(images[part], config)).argmax(1).numpy() for part in parts]
    return float(100 * (np.concatenate(found) == labels).mean())


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbone", choices=BACKBONES)
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and labels/")
    parser.add_argument("--work-dir", type=Path, default=Path("zoo-training"))
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the weights")
    parser.add_argument("--crop", type=int, nargs=2, default=(96, 96), metavar=("H", "W"))
    parser.add_argument("--per-image", type=int, default=14, help="crops per image of train")
    parser.add_argument("--min-share", type=float, default=0.5, help="of the dominant class")
    parser.add_argument("--iterations", type=int, default=700)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint-interval", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    config = Config.fromfile(ZOO / f"_base_{args.backbone}.py")
    name = f"classifier-{args.backbone}-{args.seed}"
    with seeded("classifier", args.backbone, args.seed):
        backbone = build_backbone(name, config.model.to_dict())
        channels = config.model.decode_head.in_channels
        network = PooledNetwork(backbone, channels, len(CAMVID["classes"]))
    train(network, config, args)
    print(f"val accuracy {accuracy(network, config, args):.1f} %")
    state = {k: v.contiguous() for k, v in network.state_dict().items() if v.is_floating_point()}
    args.out.mkdir(parents=True, exist_ok=True)
    weights = args.out / f"{name}.safetensors"
    save_file(state, weights)
    print(f"{weights} sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
