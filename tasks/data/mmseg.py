"""Data sets that an mmseg config describes; labels follow mmseg's own rules."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.tasks.data.base import DataItem, Dataset, palette_for
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.mmseg import find_config

SPLITS = ("train", "val", "test")


def open_mmseg(spec: DataSpec) -> Dataset:
    """Open the data set of a config's ``<split>_dataloader``, by default of ``test``.

    Labels go through mmseg's own ``LoadAnnotations`` (``reduce_zero_label``, ``label_map``).

    Raises:
        InputError: If the loader or its files are missing.
    """
    from mmengine.config import Config

    assert spec.mmseg is not None
    path = find_config(spec.mmseg)
    split = spec.split or "test"
    if split not in SPLITS:
        raise InputError(f"data.split is '{split}'; an mmseg config has {', '.join(SPLITS)}")
    loader = Config.fromfile(str(path)).get(f"{split}_dataloader")
    if loader is None:
        raise InputError(f"config {path} has no {split}_dataloader")
    config = loader["dataset"].to_dict()
    if spec.data_root is not None:
        config["data_root"] = spec.data_root
    dataset, load_annotations = _build(path, config)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    by_label = {Path(info["seg_map_path"]): info for info in infos}
    classes = spec.classes or tuple(dataset.metainfo["classes"])

    def read_label(item: DataItem) -> np.ndarray:
        try:
            return load_annotations(dict(by_label[item.label]))["gt_seg_map"]
        except Exception as error:  # mmcv's readers raise their own kinds
            raise InputError(f"label {item.label} cannot be read: {error}") from error

    return Dataset(
        name=path.stem,
        classes=classes,
        palette=palette_for(len(classes), dataset.metainfo.get("palette") or ()),
        items=_items(infos),
        read_label=read_label,
    )


def _build(path: Path, config: dict[str, Any]) -> tuple[Any, Any]:
    import mmseg.datasets  # noqa: F401
    from mmengine.registry import init_default_scope
    from mmseg.registry import DATASETS, TRANSFORMS

    init_default_scope("mmseg")
    annotations = [t for t in config.get("pipeline", []) if t["type"] == "LoadAnnotations"]
    config = {**config, "pipeline": [], "lazy_init": False, "test_mode": False}
    try:
        dataset = DATASETS.build(config)
    except Exception as error:
        raise InputError(
            f"config {path}: its data set could not be built ({type(error).__name__}: {error}); "
            "data_root sets where its files lie"
        ) from error
    return dataset, TRANSFORMS.build(annotations[0] if annotations else {"type": "LoadAnnotations"})


def _items(infos: Sequence[dict[str, Any]]) -> tuple[DataItem, ...]:
    """Return the items of mmseg's data infos.

    Cityscapes and most video sets keep the images of a sequence in one folder. If all images are in
    one folder, the folder tells nothing about sequences.
    """
    several = len({Path(info["img_path"]).parent for info in infos}) > 1
    items = []
    for info in infos:
        image = Path(info["img_path"])
        image_id = f"{image.parent.name}/{image.stem}"
        sequence = image.parent.name if several else image_id
        items.append(DataItem(image_id, sequence, image, Path(info["seg_map_path"])))
    return tuple(items)
