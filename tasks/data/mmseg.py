"""Data sets of mmseg configs; images and labels are loaded by mmseg's own rules."""

import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, palette_for, video_of
from segtransfer.tasks.data.spec import SPLITS, DataSpec
from segtransfer.tasks.labels import IGNORE_INDEX, class_indices, read_index_map
from segtransfer.tasks.models.mmseg_configs import find_config

# Deterministic resizes of a test pipeline, and beginnings of the names of steps without a resize.
RESIZES = ("Resize", "ResizeToMultiple", "ResizeShortestEdge")
UNRESIZED = ("Load", "Pack")
ONEDL_LINE = "Could not import OneDL"  # mmseg prints this line of level DEBUG on standard output


@dataclass(frozen=True)
class _Part:
    """A data set without wrappers: its infos by image and label, and its loading transforms."""

    infos: dict[tuple[str, str], dict[str, Any]]
    classes: tuple[str, ...]
    palette: Sequence[Sequence[int]]
    load_image: Any
    load_annotations: Any


def open_mmseg(spec: DataSpec) -> Dataset:
    """Open the data set of a config's ``<split>_dataloader``.

    The loading transforms of the config's pipeline read images and labels. The ignored value is
    the ``ignore_index`` of the config's metric.

    Raises:
        InputError: If the config, the loader or its files are missing, there are no labels, or the
            parts of the data set differ in classes or pipelines.
    """
    assert spec.mmseg is not None
    path = find_config(spec.mmseg)
    split = spec.split or "test"
    config = _read_config(path, split)
    described = _described(path, config, split)
    if spec.root is not None and len({part.get("data_root") for part in described}) > 1:
        raise InputError(
            f"config {path} joins data sets with different data_root; leave data.root out"
        )
    parts = [_build(path, part, spec.root) for part in described]
    classes = _classes(path, spec, parts)
    ignored = _ignore_index(path, config, split, described)
    of_item = {key: (part, info) for part in parts for key, info in part.infos.items()}
    if len(of_item) < sum(len(part.infos) for part in parts):
        raise InputError(
            f"config {path} joins data sets with common images; list each image in one of them"
        )

    def read_label(item: DataItem) -> np.ndarray:
        part, info = of_item[str(item.image), str(item.label)]
        return class_indices(
            _load_label(part, info, item.label),
            len(classes),
            f"label {item.label}",
            ignored=ignored,
        )

    def read_image(item: DataItem) -> np.ndarray:
        return _load_image(*of_item[str(item.image), str(item.label)], item.image)

    resize = _resizer(path, split, described) if spec.fit == "pipeline" else None
    return Dataset(
        name=path.stem,
        classes=classes,
        palette=palette_for(len(classes), parts[0].palette),
        items=_items(list(of_item)),
        read_label=read_label,
        read_image=read_image,
        resize=resize,
    )


def kinds_of_data(config: str, split: str | None = None) -> frozenset[str]:
    """Return the types of the data sets in a config's loader.

    Args:
        config: A config file, or the name of a config of mmseg.
        split: ``train``, ``val`` or ``test``; None for ``test``.

    Returns:
        Class names, for example ``CityscapesDataset``.

    Raises:
        InputError: If there is no such config, or its loader describes no data set.
    """
    path, split = find_config(config), split or "test"
    return frozenset(map(_type_name, _described(path, _read_config(path, split), split)))


def _classes(path: Path, spec: DataSpec, parts: Sequence[_Part]) -> tuple[str, ...]:
    first = parts[0].classes
    if any(part.classes != first for part in parts):
        raise InputError(
            f"config {path} joins data sets with different classes; give a config per data set"
        )
    if not (spec.classes or first):
        raise InputError(f"config {path} names no classes; give data.classes")
    return spec.classes or first


def _read_config(path: Path, split: str) -> Any:
    from mmengine.config import Config

    if split not in SPLITS:
        raise InputError(f"data.split is '{split}'; give {', '.join(SPLITS[:-1])} or {SPLITS[-1]}")
    try:
        return Config.fromfile(str(path))
    except Exception as error:  # a config is Python: anything can go wrong in it
        raise InputError(f"config {path} cannot be read: {_reason(error)}") from error


def _ignore_index(path: Path, config: Any, split: str, described: Sequence[dict[str, Any]]) -> int:
    """Return the ignored value of the config's metric.

    Without a metric, the data sets determine the value, otherwise the decode heads.

    Raises:
        InputError: If metric and data sets disagree.
    """
    names = (f"{split}_evaluator", "test_evaluator", "val_evaluator")
    metrics = _as_list(next((config[name] for name in names if config.get(name)), []))
    metrics = [inner for metric in metrics for inner in _as_list(metric.get("metrics", metric))]
    heads = _as_list((config.get("model") or {}).get("decode_head", []))
    by_metric = {metric.get("ignore_index", IGNORE_INDEX) for metric in metrics}
    by_data = {part["ignore_index"] for part in described if "ignore_index" in part}
    by_head = {head["ignore_index"] for head in heads if "ignore_index" in head}
    said = by_metric | by_data or by_head or {IGNORE_INDEX}
    if len(said) > 1 or not all(isinstance(value, int) for value in said):
        raise InputError(
            f"config {path}: ignore_index is {_listed(by_metric)} in metrics and "
            f"{_listed(by_data)} in data sets; set the same whole number in both"
        )
    return said.pop()


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _listed(values: set[Any]) -> str:
    return " and ".join(sorted(map(str, values))) or "not set"


def _described(path: Path, config: Any, split: str) -> list[dict[str, Any]]:
    """Return the descriptions of the data sets of a split's loader.

    Raises:
        InputError: If the loader is missing or describes no data set.
    """
    loader = config.get(f"{split}_dataloader")
    if loader is None:
        given = [name for name in SPLITS if config.get(f"{name}_dataloader") is not None]
        raise InputError(
            f"config {path} has no {split}_dataloader; set data.split to "
            f"{' or '.join(given) or 'the split of another config'}"
        )
    try:
        return list(_without_wrappers(path, loader["dataset"].to_dict()))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"config {path}: {split}_dataloader describes no data set ({_reason(error)}); give its "
            "dataset a type"
        ) from error


def _without_wrappers(path: Path, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the data sets inside ``ConcatDataset`` and ``RepeatDataset``.

    Repeated images count once, because a repetition of all images changes no mIoU.
    """
    kind = _type_name(config)
    if kind == "ConcatDataset":
        for part in config["datasets"]:
            yield from _without_wrappers(path, part)
    elif kind == "RepeatDataset":
        yield from _without_wrappers(path, config["dataset"])
    elif "dataset" in config:
        raise InputError(
            f"config {path} wraps its data set in {kind}, which is not supported; give a config of "
            f"the {_type_name(config['dataset'])} inside it"
        )
    else:
        yield config


def _type_name(config: dict[str, Any]) -> str:
    kind = config["type"]
    return (kind if isinstance(kind, str) else kind.__name__).split(".")[-1]


def _build(path: Path, config: dict[str, Any], root: str | None) -> _Part:
    _import_datasets()
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS, TRANSFORMS

    init_default_scope("mmseg")
    given = {} if root is None else {"data_root": root}
    bare = {**config, **given, "pipeline": [], "lazy_init": False, "test_mode": False}
    try:
        dataset = DATASETS.build(bare)
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        loaders = [
            TRANSFORMS.build(_loading_step(config, kind, default))
            for kind, default in (("Image", "LoadImageFromFile"), ("Annotation", "LoadAnnotations"))
        ]
    except Exception as error:
        hint = "; set data.root to the folder of its files"
        raise InputError(
            f"config {path}: its data set cannot be built ({type(error).__name__}: {error})"
            + (hint if isinstance(error, OSError | AssertionError) else "")
        ) from error
    for info in infos:
        if not info.get("seg_map_path"):
            raise InputError(
                f"config {path}: its data set has no labels (no seg_map_path for image "
                f"{info['img_path']}); set data.split to a split with labels"
            )
    return _Part(
        infos={(str(Path(i["img_path"])), str(Path(i["seg_map_path"]))): i for i in infos},
        classes=tuple(dataset.metainfo.get("classes") or ()),
        palette=dataset.metainfo.get("palette") or (),
        load_image=loaders[0],
        load_annotations=loaders[1],
    )


def _import_datasets() -> None:
    """Import mmseg's data sets without the line on an optional package; print any other line."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        import mmseg.datasets  # noqa: F401
    others = [s for s in printed.getvalue().splitlines(keepends=True) if s.strip() != ONEDL_LINE]
    sys.stdout.write("".join(others))


def _loading_step(config: dict[str, Any], kind: str, default: str) -> dict[str, Any]:
    """Return the first step for loading images, or annotations, in a data set's pipeline."""
    for step in config.get("pipeline", []):
        name = _type_name(step)
        if name.startswith("Load") and kind in name:
            return step
    return {"type": default}


def _resizer(
    path: Path, split: str, described: Sequence[dict[str, Any]]
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the resize of a pipeline's images, from and to uint8 H x W x 3.

    Raises:
        InputError: If the pipeline has steps other than deterministic resizes, or the data sets
            have different pipelines.
    """
    from mmseg.registry import TRANSFORMS

    of_each = [
        [step for step in part.get("pipeline") or [] if not _type_name(step).startswith(UNRESIZED)]
        for part in described
    ]
    steps = of_each[0]
    strange = [_type_name(step) for step in steps if _type_name(step) not in RESIZES]
    if strange or any(other != steps for other in of_each):
        wrong = f"steps {', '.join(strange)}" if strange else "different steps by data set"
        raise InputError(
            f"config {path}: the pipeline of {split}_dataloader has {wrong}, and fit: pipeline "
            f"allows {', '.join(RESIZES)}; set fit: native, or give a size"
        )
    refused = f"config {path}: the resize of {split}_dataloader's pipeline fails"
    try:
        transforms = [TRANSFORMS.build(step) for step in steps]
    except Exception as error:  # mmcv's transforms raise their own kinds
        raise InputError(f"{refused}: {_reason(error)}; steps {steps}") from error

    def resize(image: np.ndarray) -> np.ndarray:
        results = {"img": image, "img_shape": image.shape[:2], "ori_shape": image.shape[:2]}
        try:
            for transform in transforms:
                results = transform(results)
        except Exception as error:
            size = f"{image.shape[0]} x {image.shape[1]} (height x width)"
            raise InputError(f"{refused} on {size}: {_reason(error)}; steps {steps}") from error
        return np.ascontiguousarray(results["img"])

    return resize


def _load_label(part: _Part, info: dict[str, Any], path: Path) -> np.ndarray:
    """Return a label as mmseg loads it, H x W.

    Raises:
        InputError: If the label cannot be read, or mmseg's cast to uint8 would change a value.
    """
    if type(part.load_annotations).__name__ == "LoadAnnotations" and path.is_file():
        stored = read_index_map(path)
        lost = stored[(stored < 0) | (stored > IGNORE_INDEX)]
        if lost.size:
            raise InputError(
                f"label {path} has values {np.unique(lost)[:8].tolist()}, and mmseg reads 0 to "
                "255; save class indices in this range"
            )
    try:
        return part.load_annotations(dict(info))["gt_seg_map"]
    except Exception as error:  # mmcv's readers raise their own kinds
        raise InputError(f"label {path} cannot be read: {_reason(error)}") from error


def _load_image(part: _Part, info: dict[str, Any], path: Path) -> np.ndarray:
    """Return an image as mmseg loads it, as RGB.

    Raises:
        InputError: If the image cannot be read, or is not of three channels of 0 to 255.
    """
    _refuse_torn(path)
    try:
        image = np.asarray(part.load_image(dict(info))["img"])
    except Exception as error:  # mmcv's readers raise their own kinds
        raise InputError(f"image {path} cannot be read: {_reason(error)}") from error
    levels = image.astype(np.uint8)
    if image.ndim != 3 or image.shape[2] != 3 or not np.array_equal(levels, image):
        raise InputError(
            f"the config loads image {path} as {image.dtype} of shape {image.shape}; change its "
            "loading step to return whole numbers from 0 to 255, height x width x 3"
        )
    return levels[..., ::-1]


def _refuse_torn(path: Path) -> None:
    """Refuse a truncated image, because OpenCV fills the rest with grey."""
    try:
        file = Image.open(path)
    except Exception:  # mmcv reads more formats and sizes than Pillow
        return
    with file:
        try:
            file.load()
        except OSError as error:
            raise InputError(f"image {path} cannot be read: {error}") from error


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _items(keys: Sequence[tuple[str, str]]) -> tuple[DataItem, ...]:
    """Return the items of images and labels.

    An id contains the image's folder, and further folders if ids would be equal otherwise.
    """
    images = [Path(image) for image, _ in keys]
    longest = max((len(image.parts) for image in images), default=1)
    depth = next((n for n in range(1, longest) if _distinct(images, n)), 1)
    several = len({image.parent for image in images}) > 1
    items = []
    for image, (_, label) in zip(images, keys, strict=True):
        image_id = _image_id(image, depth)
        items.append(DataItem(image_id, video_of(image_id, several), image, Path(label)))
    return tuple(items)


def _distinct(images: Sequence[Path], depth: int) -> bool:
    return len({_image_id(image, depth) for image in images}) == len(images)


def _image_id(image: Path, depth: int) -> str:
    """Return an image's stem with this number of folders before."""
    return "/".join([*image.parent.parts[-depth:], image.stem])
