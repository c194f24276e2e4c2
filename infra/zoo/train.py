"""Train one zoo model on CamVid train with mmengine's Runner, and export its weights.

    python infra/zoo/train.py fcn-r18 --data PATH/TO/camvid

Trainings that are no zoo models, such as replicates with other seeds, get ``--out`` and ``--tag``,
the folder and the name of their weights.

Run it again after an interruption: it goes on from the last checkpoint. Only the train split is
trained on; the val split is scored while training, the test split is never read.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import mmseg.datasets
import mmseg.engine
import mmseg.evaluation
import mmseg.models  # noqa: F401  the imports fill mmseg's registries
import torch
from adversarial import train_on_aes
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS, init_default_scope
from mmengine.runner import Runner
from mmseg.registry import MODELS
from safetensors.torch import load_file, save_file

# sqrt(median frequency / frequency) of the train split at 240 x 320, kept within [0.5, 2.5]:
# without it the thin classes (pole, sign, fence) stay near zero on 367 images.
CLASS_WEIGHTS = [0.52, 0.5, 2.14, 0.5, 1.0, 0.68, 1.96, 2.0, 0.87, 2.5, 2.5]
TASKS = Path(__file__).resolve().parents[2] / "tasks"
ZOO = TASKS / "models" / "zoo"
STUDIED = Path(__file__).with_name("pspnet-r18-os8.py")
CONFIGS = {path.stem: path for path in (*ZOO.glob("[!_]*.py"), STUDIED)}
CAMVID = json.loads((TASKS / "data" / "camvid" / "dataset.json").read_text())
SIZE = (320, 240)  # mmcv's order: width, height


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Forward in bfloat16: half the time on a CPU with AVX-512 BF16 or AMX, and on CUDA."""

    @contextmanager
    def optim_context(self, model: torch.nn.Module) -> Iterator[None]:
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def pipelines(scale_range: tuple[float, float], crop: tuple[int, int]) -> tuple[list, list]:
    train = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="RandomResize", scale=SIZE, ratio_range=scale_range, keep_ratio=True),
        dict(type="RandomCrop", crop_size=crop, cat_max_ratio=0.75),
        dict(type="RandomFlip", prob=0.5),
        dict(type="PhotoMetricDistortion"),
        dict(type="PackSegInputs"),
    ]
    test = [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=SIZE, keep_ratio=False),
        dict(type="LoadAnnotations"),
        dict(type="PackSegInputs"),
    ]
    return train, test


def dataset(data: Path, split: str, pipeline: list) -> dict:
    return dict(
        type="BaseSegDataset",
        metainfo=dict(classes=CAMVID["classes"], palette=CAMVID["palette"]),
        data_root=str(data),
        data_prefix=dict(img_path=f"images/{split}", seg_map_path=f"labels/{split}"),
        img_suffix=".jpg",
        seg_map_suffix=".png",
        pipeline=pipeline,
        reduce_zero_label=False,
    )


def pretrain_backbone(config: Config, pretrained: Path, work_dir: Path) -> None:
    """Start the backbone from the ImageNet weights in ``pretrained``, a state dict file.

    The file names its layers in its own way but holds them in the network's order, so they are
    matched by position; a shape that differs is an error, layers after the backbone are left out.
    """
    init_default_scope("mmseg")
    expected = revert_sync_batchnorm(MODELS.build(config.model.backbone)).state_dict()
    found = list(torch.load(pretrained, map_location="cpu", weights_only=True).items())
    renamed = {}
    for (key, ours), (name, theirs) in zip(expected.items(), found, strict=False):
        if ours.shape != theirs.shape:
            raise ValueError(f"{pretrained}: {name} is {theirs.shape}, {key} needs {ours.shape}")
        renamed[key] = theirs
    if len(renamed) != len(expected):
        raise ValueError(f"{pretrained} has {len(found)} tensors, the backbone {len(expected)}")
    work_dir.mkdir(parents=True, exist_ok=True)
    torch.save(renamed, work_dir / "backbone.pth")
    config.model.backbone.init_cfg = dict(
        type="Pretrained", checkpoint=str(work_dir / "backbone.pth")
    )


def runner_config(name: str, args: argparse.Namespace) -> Config:
    """Return the model's config with all settings that the Runner needs to train the model."""
    config = Config.fromfile(CONFIGS[name])
    slower = {}
    if args.backbone_weights is not None:
        pretrain_backbone(config, args.backbone_weights, args.work_dir / args.tag)
        slower = {"backbone": dict(lr_mult=1 / 3)}
    crop = tuple(args.crop)
    warmup = max(1, args.iterations // 25)
    train_pipeline, test_pipeline = pipelines(tuple(args.scale_range), crop)
    config.model.data_preprocessor.size = crop
    config.model.data_preprocessor.test_cfg = ConfigDict(size_divisor=1)
    config.model.decode_head.loss_decode.class_weight = CLASS_WEIGHTS
    loader = dict(num_workers=args.workers, persistent_workers=args.workers > 0)
    config.merge_from_dict(
        dict(
            work_dir=str(args.work_dir / args.tag),
            randomness=dict(seed=args.seed),
            train_dataloader=dict(
                batch_size=args.batch_size,
                drop_last=True,
                sampler=dict(type="InfiniteSampler", shuffle=True),
                dataset=dataset(args.data, "train", train_pipeline),
                **loader,
            ),
            val_dataloader=dict(
                batch_size=1,
                sampler=dict(type="DefaultSampler", shuffle=False),
                dataset=dataset(args.data, "val", test_pipeline),
                **loader,
            ),
            val_evaluator=dict(type="IoUMetric", iou_metrics=["mIoU"]),
            val_cfg=dict(type="ValLoop"),
            train_cfg=dict(
                type="IterBasedTrainLoop", max_iters=args.iterations, val_interval=args.val_interval
            ),
            optim_wrapper=dict(
                type="AutocastOptimWrapper" if args.bf16 else "OptimWrapper",
                optimizer=dict(type="AdamW", lr=args.learning_rate, weight_decay=0.01),
                clip_grad=dict(max_norm=5.0),
                paramwise_cfg=dict(custom_keys=slower),
            ),
            param_scheduler=[
                dict(type="LinearLR", start_factor=0.01, begin=0, end=warmup, by_epoch=False),
                dict(
                    type="PolyLR", power=0.9, eta_min=1e-6, by_epoch=False,
                    begin=warmup, end=args.iterations,
                ),
            ],
            default_hooks=dict(
                timer=dict(type="IterTimerHook"),
                logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
                param_scheduler=dict(type="ParamSchedulerHook"),
                checkpoint=dict(
                    type="CheckpointHook",
                    by_epoch=False,
                    interval=args.checkpoint_interval,
                    max_keep_ckpts=2,
                ),
            ),
            log_processor=dict(by_epoch=False),
            resume=True,
        )
    )  # fmt: skip
    return config


def export(model: torch.nn.Module, path: Path) -> None:
    """Write the weights as fp16 safetensors: floating tensors halved, counters left out."""
    state = {
        key: value.detach().cpu().to(torch.float16).contiguous()
        for key, value in model.state_dict().items()
        if value.is_floating_point() and "loss_decode" not in key
    }
    save_file(state, path)


def register(name: str, weights: Path) -> None:
    """Write the sha256 of the weights into the zoo's manifest, which must list the model."""
    manifest = json.loads((weights.parent / "zoo.json").read_text())
    manifest["models"][name]["sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (weights.parent / "zoo.json").write_text(json.dumps(manifest, indent=1) + "\n")


class StartFrom(Hook):
    """Load weights exported by ``export`` before the first step; the runner draws its own first."""

    def __init__(self, weights: Path) -> None:
        self.weights = weights

    def before_train(self, runner: Runner) -> None:
        if runner.iter > 0:  # resumed
            return
        missing, unexpected = runner.model.load_state_dict(load_file(self.weights), strict=False)
        kept = ("num_batches_tracked", "class_weight")  # counters and constants of the loss
        lacking = [key for key in missing if not key.endswith(kept)]
        if lacking or unexpected:
            raise ValueError(f"{self.weights} misses {lacking} and has {unexpected} too much")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(CONFIGS))
    parser.add_argument("--data", type=Path, required=True, help="folder with images/ and labels/")
    parser.add_argument("--work-dir", type=Path, default=Path("zoo-training"))
    parser.add_argument("--out", type=Path, default=ZOO, help="folder for NAME.safetensors")
    parser.add_argument("--backbone-weights", type=Path, help="state dict of an ImageNet backbone")
    parser.add_argument("--tag", help="name of the weights and of the work folder (the model's)")
    parser.add_argument("--start-from", type=Path, help="weights to fine-tune, NAME.safetensors")
    parser.add_argument("--adversarial-eps", type=float, help="train on AEs, in levels of 255")
    parser.add_argument("--adversarial-steps", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=4000)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--crop", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--scale-range", type=float, nargs=2, default=(0.5, 2.0))
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--checkpoint-interval", type=int, default=500)
    parser.add_argument("--val-interval", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    if args.out == ZOO and (args.tag or args.adversarial_eps or CONFIGS[args.name].parent != ZOO):
        parser.error("a training that is no zoo model needs --out, outside the zoo")
    args.tag = args.tag or args.name
    return args


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    config = runner_config(args.name, args)
    runner = Runner.from_cfg(config)
    runner.model.to(memory_format=torch.channels_last)
    if args.start_from is not None:
        runner.register_hook(StartFrom(args.start_from))
    if args.adversarial_eps is not None:
        eps = args.adversarial_eps / 255
        train_on_aes(runner.model, eps=eps, steps=args.adversarial_steps)
    runner.train()
    args.out.mkdir(parents=True, exist_ok=True)
    weights = args.out / f"{args.tag}.safetensors"
    export(runner.model, weights)
    print(f"{weights}  sha256 {hashlib.sha256(weights.read_bytes()).hexdigest()}")
    if args.out == ZOO:
        register(args.name, weights)


if __name__ == "__main__":
    main()
