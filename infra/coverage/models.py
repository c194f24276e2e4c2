"""Measure which models load and agree with their own library; write docs/reference/models.md.

    nice python infra/coverage/models.py                   # measure what is missing, write the page
    python infra/coverage/models.py mmseg:segformer        # measure some models again
    python infra/coverage/models.py --one mmseg:segformer  # in this process, print the result

Models: the first config by name of every family of mmseg's configs, and transformers' types for
semantic and universal segmentation, all with random weights. Each is measured in a process of its own, two at a
time, with a cap on memory. Results lie in --results as a JSON file per model, so a run that was
stopped is resumed by the same command. Rows of the page without a result there stay as they are.
"""

import argparse
import contextlib
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/reference/models.md"
RESULTS = ROOT / "build/coverage"
SMALL = {"square": (128, 128), "wide": (96, 192), "odd": (97, 131)}
LARGE = {"square": (512, 512), "wide": (384, 768), "odd": (389, 523)}
TITLES = {"mmseg:": "mmsegmentation", "transformers:": "transformers"}
SCALES = (0.75, 1.3)
TRANSFORMERS = "transformers:"
# Fields of semantic types whose default makes no head: BEiT's takes four stages, Sapiens2 has none.
HEADS: dict[str, dict[str, Any]] = {
    "beit": {"out_indices": [3, 5, 7, 11]},
    "sapiens2": {
        "head_config": {
            "upsample_out_channels": [256, 256],
            "upsample_kernel_sizes": [4, 4],
            "conv_out_channels": [256],
            "conv_kernel_sizes": [1],
        }
    },
}
# Universal types, with the fields that differ from the default config: EoMT's is its large one.
UNIVERSAL: dict[str, dict[str, Any]] = {
    "eomt": {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6},
    "mask2former": {},
    "maskformer": {},
    "oneformer": {},
}
MMSEG = "mmseg:"


def names() -> list[str]:
    """Return the name of every model to measure."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES as TYPES,
    )

    folders = [p for p in configs().iterdir() if p.is_dir() and p.name != "_base_"]
    families = sorted(p.name for p in folders if any(p.rglob("*.py")))
    return [MMSEG + name for name in families] + [
        TRANSFORMERS + name for name in (*TYPES, *UNIVERSAL)
    ]


def configs() -> Path:
    """Return the folder of the configs that the installed mmseg ships."""
    import mmseg

    return Path(mmseg.__file__).parent / ".mim/configs"


# Measured in a process of its own.


@dataclass(frozen=True)
class Own:
    """A model of random weights as its library has it.

    Attributes:
        spec: The saved model as our spec names it.
        predict: The library's own prediction, H x W, of an image 3 x H x W in [0, 1].
        crop: Height and width of the windows, or of the images that it was made for.
    """

    spec: dict[str, Any]
    predict: Callable[[Any], Any]
    crop: tuple[int, int]

    def sizes(self) -> list[dict[str, tuple[int, int]]]:
        """Return sizes to try: small, large, and of the crop, where networks allow no other."""
        height, width = self.crop
        exact = {
            "square": (height, width),
            "wide": (height, width + 64),
            "odd": (height + 1, width + 13),
        }
        return [SMALL, LARGE, exact]


def mmseg_model(family: str, folder: Path) -> Own:
    """Build a family's first config by mmseg itself, and save it."""
    import torch
    from mmengine.config import Config
    from mmseg.apis import init_model
    from mmseg.structures import SegDataSample

    path = min((configs() / family).rglob("*.py"), key=lambda path: path.name)
    config = Config.fromfile(str(path))
    network = init_model(config, None, device="cpu")
    meta = {"ori_shape": (128, 128), "img_shape": (128, 128), "padding_size": [0] * 4}
    calibrate(network, lambda images: network.encode_decode(images, [meta] * len(images)))
    torch.save({"state_dict": network.state_dict(), "meta": {}}, folder / "weights.pth")

    def predict(image: Any) -> Any:
        shape = tuple(image.shape[-2:])
        sample = SegDataSample(metainfo={"ori_shape": shape, "img_shape": shape})
        bgr = (image * 255).round().to(torch.uint8).flip(0)
        (result,) = network.test_step({"inputs": [bgr], "data_samples": [sample]})
        return result.pred_sem_seg.data[0]

    source = {"config": str(path), "checkpoint": str(folder / "weights.pth")}
    crop = tuple(config.model.test_cfg.get("crop_size") or config.get("crop_size") or (512, 512))
    return Own({"name": "m", "mmseg": source}, predict, crop)


def transformers_model(kind: str, folder: Path) -> Own:
    """Build a type's default config by transformers itself, and save it with its processor.

    The prediction goes through the processor, on images padded to whole patches, because patches
    that do not overlap leave out the rest. MobileViT's patches are those of a feature map.
    """
    import torch
    import torch.nn.functional as F
    import transformers

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.for_model(kind, **HEADS.get(kind, {}))
    config.num_labels = 19
    network = transformers.AutoModelForSemanticSegmentation.from_config(config).eval()
    enliven(network)
    calibrate(network, lambda images: network(pixel_values=images).logits)
    network.save_pretrained(folder)
    processor = processor_of(kind)
    processor.save_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    backbone = getattr(config, "backbone_config", None)

    def predict(image: Any) -> Any:
        height, width = image.shape[-2:]
        array = (image * 255).round().to(torch.uint8).numpy()
        inputs = processor(
            [array], do_resize=False, do_center_crop=False, do_pad=False, return_tensors="pt"
        )["pixel_values"]
        patch = getattr(config, "patch_size", None) or getattr(backbone, "patch_size", None) or 1
        divisor = 1 if kind.startswith("mobilevit") else int(patch)
        inputs = F.pad(inputs, (0, -width % divisor, 0, -height % divisor))
        logits = network(pixel_values=inputs).logits
        logits = F.interpolate(logits, inputs.shape[-2:], mode="bilinear", align_corners=False)
        return logits[0, :, :height, :width].argmax(0)

    side = getattr(config, "image_size", 512)
    crop = (side, side) if isinstance(side, int) else tuple(side)
    return Own({"name": "m", "huggingface": {"model": str(folder)}}, predict, crop)


def universal_model(kind: str, folder: Path) -> Own:
    """Build a universal type by transformers itself, and save it with its processor.

    The prediction is that of the processor's semantic post-processing, on images padded to whole
    patches and to the processor's divisor. EoMT's processor splits images.
    """
    import torch
    import torch.nn.functional as F
    import transformers

    sys.path.insert(0, str(ROOT))
    from tests.tasks.models.universals import part_queries, write_tokenizer

    transformers.logging.set_verbosity_error()
    config = transformers.AutoConfig.for_model(kind, **UNIVERSAL[kind])
    config.num_labels = 19
    network = transformers.AutoModelForUniversalSegmentation.from_config(config).eval()
    side = getattr(config, "image_size", 512)
    split = {"size": {"shortest_edge": side, "longest_edge": None}, "do_split_image": True}
    name = transformers.AutoConfig.for_model(kind).__class__.__name__.removesuffix("Config")
    images = getattr(transformers, f"{name}ImageProcessor")(**(split if kind == "eomt" else {}))
    processor, task = images, {}
    if kind == "oneformer":
        processor = transformers.OneFormerProcessor(images, write_tokenizer(folder))
        task = {"task_inputs": ["semantic"]}
    processor.save_pretrained(folder)
    options = {"do_resize": False, "return_tensors": "pt"}

    def outputs(image: Any) -> Any:
        array = (image * 255).round().to(torch.uint8).numpy()
        inputs = processor([array], **task, **options)
        height, width = inputs["pixel_values"].shape[-2:]
        divisor = 1 if kind == "eomt" else getattr(images, "size_divisor", 4)
        padding = (0, -width % divisor, 0, -height % divisor)
        inputs["pixel_values"] = F.pad(inputs["pixel_values"], padding)
        inputs.pop("pixel_mask", None)
        return network(**inputs), inputs["pixel_values"].shape[-2:]

    first = processor([(picture((side, side))[0] * 255).byte().numpy()], **task, **options)
    part_queries(network, first, 20)
    network.save_pretrained(folder)

    def predict(image: Any) -> Any:
        height, width = image.shape[-2:]
        answer, size = outputs(image)
        size = (height, width) if kind == "eomt" else tuple(size)
        (classes,) = images.post_process_semantic_segmentation(answer, target_sizes=[size])
        return classes[:height, :width]

    return Own({"name": "m", "huggingface": {"model": str(folder)}}, predict, (side, side))


def enliven(network: Any) -> None:
    """Draw weights anew: transformers draws weights so small that signals fade out."""
    import torch

    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            torch.nn.init.kaiming_normal_(module.weight, generator=generator)


def processor_of(kind: str) -> Any:
    """Return the image processor of a type, SegFormer's if its own needs torchvision."""
    import transformers
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    known = IMAGE_PROCESSOR_MAPPING_NAMES.get(kind) or {}
    name = known.get("pil") or "SegformerImageProcessorPil"
    return getattr(transformers, name.removesuffix("Pil"))()


def calibrate(network: Any, forward: Callable[[Any], Any]) -> None:
    """Set statistics of batch norms and centre the logits, so that several classes are predicted.

    A network that refuses the images keeps what it has.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    images = torch.cat([picture((128, 128)), picture((128, 128)).flip(-1, 1)]) * 2 - 1
    with torch.no_grad(), contextlib.suppress(Exception):
        forward(images)
    network.eval()
    for norm in norms:
        norm.momentum = 0.1
        if norm.running_var is not None:
            norm.running_var.clamp_(min=1e-3)
    with torch.no_grad(), contextlib.suppress(Exception):
        logits = forward(images)
        for module in reversed(list(network.modules())):
            if getattr(module, "out_channels", None) == logits.shape[1]:
                module.bias -= logits.mean((0, 2, 3))
                break


def measure(name: str) -> dict[str, Any]:
    """Return the result of a model; ``why`` says, in the words of the error, what is impossible."""
    import torch

    from segtransfer.tasks.models import adapters
    from segtransfer.tasks.models.spec import ModelSpec

    torch.set_num_threads(1)
    torch.manual_seed(0)
    prepare = mmseg_model if name.startswith(MMSEG) else transformers_model
    if name.removeprefix(TRANSFORMERS) in UNIVERSAL:
        prepare = universal_model
    with tempfile.TemporaryDirectory() as folder:
        try:
            own = prepare(name.partition(":")[2], Path(folder))
        except Exception as error:
            return {"loads": False, "why": told(error)}
        try:
            spec = ModelSpec.model_validate(own.spec)
            adapters.describe(spec)
            adapters.check(spec)
            model = adapters.load(spec)
        except Exception as error:
            return {"loads": False, "why": told(error), "ours": True}
        result: dict[str, Any] = {"loads": True, "backbone": adapters.describe(spec).backbone}
        for sizes in own.sizes():
            result |= {"shapes": sizes, "sizes": compared(model, own, sizes)}
            if not any("library" in size for size in result["sizes"].values()):
                break
        if any("equal" in value for value in result["sizes"].values()):
            result |= differentiated(model, result)
            result["fast"] = fast(spec, model, result)
        return result


def told(error: BaseException) -> str:
    """Return the kind and the first line of an error."""
    import segtransfer.errors

    if isinstance(error, segtransfer.errors.InputError):
        return str(error).splitlines()[0]
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ModuleNotFoundError):
            error = cause
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {(str(error).strip() or '?').splitlines()[0]}"


def picture(size: tuple[int, int]) -> Any:
    """Return an image 1 x 3 x H x W, coarse and fine, of whole levels."""
    import torch

    from segtransfer.tasks.models.probe import probe

    rough = torch.nn.functional.interpolate(probe(1), size, mode="bilinear")
    return (rough * 255).round() / 255


def seeded(compute: Callable[[Any], Any], images: Any) -> Any:
    """Return a result under a fixed seed: SegNeXt draws numbers in each forward."""
    import torch

    torch.manual_seed(1)
    return compute(images)


def compared(model: Any, own: Own, shapes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    """Return, per size, the share of pixels predicted alike, or the exception that was raised."""
    import torch

    sizes: dict[str, Any] = {}
    for name, shape in shapes.items():
        image = picture(shape)
        with torch.no_grad():
            try:
                theirs = seeded(own.predict, image[0])
            except Exception as error:
                sizes[name] = {"library": told(error)}
                continue
            try:
                ours = seeded(model, image).argmax(1)[0]
            except Exception as error:
                sizes[name] = {"ours": told(error)}
                continue
        equal = (ours == theirs).float().mean().item()
        sizes[name] = {"equal": equal, "classes": len(theirs.unique())}
    return sizes


def differentiated(model: Any, result: dict[str, Any]) -> dict[str, Any]:
    """Return the share of non-zero gradients (nan if not finite), at native size and scaled."""
    import torch

    from segtransfer.tasks.attacks.transforms.views import resize, snap

    height, width = next(s for n, s in result["shapes"].items() if "equal" in result["sizes"][n])

    def share(scale: float) -> float | str:
        image = picture((height, width)).requires_grad_(True)
        try:
            if scale == 1:
                logits = seeded(model, image)
            else:
                limits = model.size_divisor, model.least_side
                view = resize(image, snap(height, width, (scale, scale), *limits))
                logits = view.logits(seeded(model, view.images))
            labels = torch.zeros(1, height, width, dtype=torch.long)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            gradient = model.gradient(loss, image)
        except Exception as error:
            return told(error)
        finite = bool(gradient.isfinite().all())
        return (gradient != 0).float().mean().item() if finite else float("nan")

    return {"gradient": share(1), "scaled": {str(scale): share(scale) for scale in SCALES}}


def fast(spec: Any, model: Any, result: dict[str, Any]) -> dict[str, Any] | str:
    """Return the options that ``fast`` enables, and the share of pixels predicted as without."""
    import torch

    from segtransfer.tasks.models import adapters
    from segtransfer.tasks.models.numerics import Numerics

    image = picture(next(s for n, s in result["shapes"].items() if "equal" in result["sizes"][n]))
    try:
        quick = adapters.load(spec, numerics=Numerics.model_validate("fast"))
        with torch.no_grad():
            ours = [seeded(m, image).argmax(1) for m in (quick, model)]
    except Exception as error:
        return told(error)
    on = [o for o in ("fold", "channels_last", "bf16") if getattr(quick.numerics, o)]
    return {"on": on, "equal": (ours[0] == ours[1]).float().mean().item()}


# The parent: processes, results, the page.


def run_all(wanted: list[str], results: Path, options: argparse.Namespace) -> None:
    """Measure models in processes of their own until all have a result or time is up."""
    ends = time.monotonic() + options.minutes * 60
    waiting, running = list(wanted), dict[str, tuple[subprocess.Popen[bytes], float]]()
    while (waiting or running) and time.monotonic() < ends:
        while waiting and len(running) < options.jobs:
            name = waiting.pop(0)
            command = [sys.executable, __file__, "--one", name, "--results", str(results)]
            command += ["--memory-gb", str(options.memory_gb)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            process = subprocess.Popen(
                command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            running[name] = (process, time.monotonic())
        time.sleep(0.2)
        for name, (process, began) in list(running.items()):
            late = time.monotonic() - began > options.model_minutes * 60
            if late:
                process.kill()
            if process.poll() is None and not late:
                continue
            process.wait()
            del running[name]
            if not file_of(results, name).exists():
                why = f"no result in {options.model_minutes} minutes" if late else "it was killed"
                write(results, name, {"loads": False, "why": f"{why} ({process.returncode})"})
            print(f"{name}: {time.monotonic() - began:.0f} s", flush=True)
    for process, _ in running.values():
        process.kill()


def file_of(results: Path, name: str) -> Path:
    """Return the result file of a model."""
    return results / f"{name.replace(':', '-')}.json"


def write(results: Path, name: str, result: dict[str, Any]) -> None:
    """Write the result of a model, whole or not at all."""
    results.mkdir(parents=True, exist_ok=True)
    partial = file_of(results, name).with_suffix(".partial")
    partial.write_text(json.dumps({"name": name, **result}, indent=1))
    partial.replace(file_of(results, name))


def agrees(row: list[str]) -> bool:
    """Tell whether a model loads, predicts as its library does, and has gradients."""
    loads, equal, gradient, _, _, why = row
    sizes = equal.partition(" (")[0].split(" / ")
    return (
        loads == "yes"
        and set(sizes) <= {"yes", "–"}
        and "yes" in sizes
        and "our forward raises" not in why
        and gradient not in ("–", "0%", "nan%")
    )


def kept(page: Path) -> dict[str, list[str]]:
    """Return the rows that a page has, by the names of models."""
    rows, library = {}, ""
    titles = {f"## {title}": library for library, title in TITLES.items()}
    for line in page.read_text().splitlines() if page.exists() else ():
        library = titles.get(line, library)
        if line.startswith("| ") and not line.startswith("| |"):
            name, *row = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            rows[library + name] = row
    return rows


def cells(result: dict[str, Any]) -> list[str]:
    """Return the cells of a model's row."""
    if not result["loads"]:
        return ["no", "", "", "", "", result["why"]]
    sizes, reasons, shown = result["sizes"], [], []
    for name, size in sizes.items():
        shown.append(f"{size['equal']:.1%}".replace("100.0%", "yes") if "equal" in size else "–")
        where = "the library's own forward" if "library" in size else "our forward"
        if "equal" not in size:
            reasons.append(f"{name}: {where} raises {next(iter(size.values()))}")
    side = result["shapes"]["square"][0]
    enlarged = f" ({side} px)" if side != SMALL["square"][0] else ""
    gradient = result.get("gradient", "–")
    if isinstance(gradient, str) and gradient != "–":
        reasons.append(f"gradient, within the cap on memory: {gradient}")
        gradient = "–"
    scaled = result.get("scaled", {}).values()
    reasons += [f"scaled: {value}" for value in scaled if isinstance(value, str)]
    well = [isinstance(value, float) and value > 0 for value in scaled]
    fast = result.get("fast", "–")
    if isinstance(fast, dict):
        fast = (" + ".join(fast["on"]) or "nothing") + f" ({fast['equal']:.1%} alike)"
    return [
        "yes",
        " / ".join(shown) + enlarged,
        f"{gradient:.0%}" if isinstance(gradient, float) else str(gradient),
        "yes" if well and all(well) else "–",
        str(fast),
        "; ".join(dict.fromkeys(reasons)),
    ]


# ruff: noqa: E501
INTRODUCTION = """# Models that were tried

Random weights, one CPU thread. For mmsegmentation: the first config by name of every family. For transformers: the
default config of every type for semantic and universal segmentation, of EoMT the small one, with a head for Sapiens2,
which has none by default.

- **as the library**: the share of pixels with the library's own prediction, for a square, a wide and an odd size
  ({square}, {wide}, {odd} pixels; the height of larger ones follows where a network refuses these).
- **gradient**: the share of input values whose gradient is not zero; all gradients are finite.
- **scaled**: dynamic scaling at .75 and 1.3 has finite gradients that are not zero.
- **fast**: the options that `numerics: fast` enables, and the share of pixels predicted as without.
- **why not**: the exception of the library's own forward or constructor, or our message.

{loaded}

Versions: {versions}.
Written by `python infra/coverage/models.py`.
"""

NOTES = {
    MMSEG: "",
    TRANSFORMERS: """
- Images are padded to whole patches, and for Mask2Former and MaskFormer to the `size_divisor` of their processor. At
  these multiples predictions equal the library's. At other sizes they are those of the padded image, cropped.
- EoMT's network takes squares of one size. The library resizes the shorter side to it and splits the longer one into
  windows. We resize nothing and split both sides alike, so predictions equal the library's if the shorter side has the
  window's length. Shorter sides are padded with black.
- Logits of Mask2Former, MaskFormer, OneFormer and EoMT are the class scores of the processor: per class, the sum over
  queries of the probability of the class times that of the mask.
""",
}


def write_page(results: Path, page: Path) -> dict[str, int]:
    """Write the page from all results; return the numbers of models that agree, by library."""
    rows = kept(page)
    for name in names():
        if file_of(results, name).exists():
            told = cells(json.loads(file_of(results, name).read_text()))
            rows[name] = [
                cell.replace("|", "\\|").replace(str(configs()), "…").strip() for cell in told
            ]
    rows = {name: rows[name] for name in names() if name in rows}
    counts = {
        library: sum(agrees(row) for name, row in rows.items() if name.startswith(library))
        for library in TITLES
    }
    tried = {k: sum(name.startswith(k) for name in rows) for k in counts}
    loaded = "\n".join(
        f"- {counts[k]} of {tried[k]} {what} load, predict as the library does, and have gradients."
        for k, what in (
            (MMSEG, "families of mmsegmentation"),
            (TRANSFORMERS, "types of transformers"),
        )
    )
    packages = ("onedl-mmsegmentation", "onedl-mmcv", "transformers", "torch")
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    shapes = {name: f"{height} x {width}" for name, (height, width) in SMALL.items()}
    text = INTRODUCTION.format(**shapes, loaded=loaded, versions=versions)
    for library, title in TITLES.items():
        text += (
            f"\n## {title}\n{NOTES[library]}\n"
            "| | loads | as the library | gradient | scaled | fast | why not |\n"
        )
        text += "|---|---|---|---|---|---|---|\n"
        for name, row in rows.items():
            if name.startswith(library):
                text += f"| {name.removeprefix(library)} | " + " | ".join(row) + " |\n"
    page.write_text(text)
    return counts


def main() -> None:
    """Measure and write the page, or measure one model in this process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", help="Models to measure again; default: all missing.")
    parser.add_argument("--one", help="Measure this model in this process and print the result.")
    parser.add_argument("--results", type=Path, default=RESULTS, help="Folder of results.")
    parser.add_argument("--page", type=Path, default=PAGE, help="File of the table.")
    parser.add_argument("--jobs", type=int, default=2, help="Processes at a time.")
    parser.add_argument("--memory-gb", type=float, default=6, help="Memory cap of a process, GB.")
    parser.add_argument("--minutes", type=float, default=60, help="Stop after this many minutes.")
    parser.add_argument("--model-minutes", type=float, default=8, help="Minutes a model may take.")
    options = parser.parse_args()
    if options.one:
        limit = int(options.memory_gb * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            result = measure(options.one)
        except Exception:
            result = {"loads": False, "why": traceback.format_exc().splitlines()[-1], "ours": True}
        write(options.results, options.one, result)
        print(json.dumps(result, indent=1))
        return
    for name in options.models:
        file_of(options.results, name).unlink(missing_ok=True)
    wanted = [n for n in options.models or names() if not file_of(options.results, n).exists()]
    run_all(wanted, options.results, options)
    print(json.dumps(write_page(options.results, options.page)))


if __name__ == "__main__":
    main()
