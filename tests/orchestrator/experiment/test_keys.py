"""A task's key changes with all that changes its result, and with nothing else."""

import copy
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel

from segtransfer.experiment.keys import RUNTIME_ONLY, attack_key, evaluate_key, key_of
from segtransfer.experiment.plan import make_plan
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.spec import Experiment
from segtransfer.store import Store
from segtransfer.tasks.attacks.gradient_rules.base import GradientRule
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import TransformSpec
from segtransfer.tasks.data.spec import DataSpec
from segtransfer.tasks.models.files import sha256_of
from segtransfer.tasks.models.inference import Inference
from segtransfer.tasks.models.numerics import Numerics
from segtransfer.tasks.models.spec import (
    EnsembleSpec,
    HuggingfaceSource,
    ModelSpec,
    TorchSource,
)
from segtransfer.tasks.models.zoo import ZOO
from tests.conftest import ROOT
from tests.orchestrator.toy_experiments import CLASSES, toy, write_images
from tests.tasks.foreign import write_module
from tests.tasks.models.published import entry, write_metafile
from tests.tasks.models.segformers import write_segformer
from tests.toys import convolutional

Spec = dict[str, Any]
Change = Callable[[Spec, Path], None]
ZOO_MODEL, OTHER_ZOO_MODEL = sorted(ZOO)[:2]


KEYED_PARTS = """
from pathlib import Path

import numpy as np
import torch

from segtransfer.extend import AdapterSpec, DataItem, Dataset, ReaderSpec, Segmenter, palette_for


class Few(ReaderSpec):
    def open(self, split):
        items = tuple(DataItem(str(i), "s", Path("i"), Path("l")) for i in range(self.count))
        pixels = np.zeros((16, 16, 3), np.uint8)
        return Dataset("made", ("a", "b", "c"), palette_for(3, ()), items,
                       lambda item: pixels[..., 0], lambda item: pixels)

    count: int = 2


class More(Few):
    count: int = 3


class Net(Segmenter):
    num_classes = 3

    def logits(self, images):
        return images


class One(AdapterSpec):
    def load(self):
        return Net()


class Other(One):
    pass
"""


def base_spec(folder: Path) -> Spec:
    """An experiment in which every field matters, on five images of another aspect ratio."""
    return {
        "name": "base",
        "data": {
            "folder": str(folder / "data"),
            "split": "one",
            "classes": CLASSES,
            "images": 5,
            "size": [16, 16],
        },
        "models": [toy("a", seed=1), toy("b", seed=2)],
        "attacks": [{"preset": "ds-mi", "steps": 3}, {"preset": "noise"}],
        "schedule_groups": 2,
        "shard_size": 2,
        "runtime": {"store": str(folder / "store"), "executor": "inline"},
    }


def set_to(path: str, value: Any) -> Change:
    """A change of one field of the base experiment to another value."""

    def change(spec: Spec, folder: Path) -> None:
        *parts, last = path.split(".")
        node: Any = spec
        for part in parts:
            node = node[int(part)] if part.isdigit() else node.setdefault(part, {})
        node[last] = value(folder) if callable(value) else value

    return change


def other_folder(folder: Path) -> str:
    return str(write_images(folder / "other", seed=9, count=5, split="one"))


def set_threat(**fields: Any) -> Change:
    def change(spec: Spec, folder: Path) -> None:
        spec["threat"] = {"eps": "8/255", "budget": 3, **fields}
        spec["attacks"] = ["mi", "noise"]

    return change


def set_zoo(name: str) -> Change:
    def change(spec: Spec, folder: Path) -> None:
        spec["data"] = {"sample": "camvid", "images": 1, "size": [16, 16]}
        spec["models"] = [{"name": "a", "zoo": name}]

    return change


def set_mmseg_model(**changes: Any) -> Change:
    def change(spec: Spec, folder: Path) -> None:
        set_zoo(ZOO_MODEL)(spec, folder)
        zoo = ZOO[ZOO_MODEL]
        source = {"config": str(zoo.config), "checkpoint": str(zoo.weights)}
        source |= {k: v(folder) if callable(v) else v for k, v in changes.items()}
        spec["models"] = [{"name": "a", "mmseg": source}]

    return change


def set_mmseg_classifier(spec: Spec, folder: Path) -> None:
    """A classifier on the backbone of the zoo model's config, on crops."""
    from safetensors.torch import save_file

    from segtransfer.tasks.models.mmseg_build import build_backbone
    from segtransfer.tasks.models.mmseg_classifier import PooledNetwork
    from segtransfer.tasks.models.mmseg_description import read_config

    config = str(ZOO[ZOO_MODEL].config)
    network = PooledNetwork(build_backbone("a", read_config(config, None)), 256, 11)
    state = {k: v for k, v in network.state_dict().items() if v.is_floating_point()}
    save_file(state, folder / "classifier.safetensors")
    set_mmseg_model(checkpoint=str(folder / "classifier.safetensors"), classifier=True)(
        spec, folder
    )
    spec["data"]["crops"] = {"size": [16, 16]}


def set_pooled(**fields: Any) -> Change:
    """A toy that pools its logits, on crops, which have a class per pixel and per image."""

    def change(spec: Spec, folder: Path) -> None:
        weights = [[float(i == j) for j in range(3)] for i in range(len(CLASSES))]
        source = {"callable": "tests.toys:pooled", "arguments": {"weights": weights}, **fields}
        spec["models"] = [{"name": "a", "torch": source}]
        cropped()(spec, folder)

    return change


def cropped(**fields: Any) -> Change:
    return set_to("data.crops", {"size": [16, 16], "min_share": 0.1, **fields})


def widened_config(folder: Path) -> str:
    """The zoo model's config with another, equally fitting, value."""
    path = folder / "widened.py"
    text = f"_base_ = [{str(ZOO[ZOO_MODEL].config)!r}]\nmodel = dict(test_cfg=dict(mode='slide'))\n"
    path.write_text(text)
    return str(path)


def other_weights(folder: Path) -> str:
    from safetensors.torch import load_file, save_file

    state = load_file(ZOO[ZOO_MODEL].weights)
    name = next(n for n, v in state.items() if v.is_floating_point())
    state[name] = state[name] * 2
    save_file(state, folder / "other.safetensors")
    return str(folder / "other.safetensors")


def set_published(spec: Spec, folder: Path) -> None:
    """Weights by name, of another content than the checkpoint beside which they are compared."""
    set_zoo(ZOO_MODEL)(spec, folder)
    config, weights = widened_config(folder), Path(other_weights(folder))
    named = weights.rename(folder / f"net-{sha256_of(weights)[:8]}.safetensors")
    write_metafile(folder, entry(config, f"https://host.invalid/{named.name}"))
    spec["models"] = [{"name": "a", "mmseg": {"config": config, "weights": "mmseg"}}]


def set_mmseg_data(**changes: Any) -> Change:
    def change(spec: Spec, folder: Path) -> None:
        config = folder / "data.py"
        config.write_text(
            "test_dataloader = dict(dataset=dict(type='BaseSegDataset', "
            f"data_root={str(folder / 'data')!r}, img_suffix='.png', seg_map_suffix='.png', "
            "data_prefix=dict(img_path='images/one', seg_map_path='labels/one'), "
            f"metainfo=dict(classes={CLASSES!r}, palette=[[0, 0, 0]] * 3), "
            "pipeline=[dict(type='LoadAnnotations', imdecode_backend='pillow')]))\n"
        )
        spec["data"] = {"mmseg": str(config), "size": [16, 16]}
        spec["data"] |= {k: v(folder) if callable(v) else v for k, v in changes.items()}

    return change


def set_segformer(**changes: Any) -> Change:
    """One transformers model of a folder, or of the fake hub where it has a revision."""

    def change(spec: Spec, folder: Path) -> None:
        source = {"model": segformer(folder), **changes}
        if "revision" in changes:
            write_segformer(folder / "hub" / changes["revision"], CLASSES, len(changes["revision"]))
            source["model"] = "someone/segformer"
        source = {k: v(folder) if callable(v) else v for k, v in source.items()}
        spec["models"] = [{"name": "a", "huggingface": source}]

    return change


def segformer(folder: Path, seed: int = 0) -> str:
    return str(write_segformer(folder / f"segformer-{seed}", CLASSES, seed))


def set_ensemble(*seeds: int, **fields: Any) -> Change:
    """One ensemble of toys, by their seeds."""
    members = [toy(f"m{seed}", seed=seed) for seed in seeds or (1, 2)]
    return set_to("models", [{"name": "e", "ensemble": members, **fields}])


def set_weights(seed: int = 7, told: bool = False) -> Change:
    """A toy whose weights are a file: those of another seed; ``told`` by its hash as well."""

    def change(spec: Spec, folder: Path) -> None:
        path = folder / "weights.pth"
        torch.save(convolutional(seed=seed).state_dict(), path)
        source = spec["models"][0]["torch"]
        source["weights"] = str(path)
        if told:
            source["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()

    return change


def with_weights(change: Change) -> Change:
    """A change on a toy with a file of weights, whose number of classes a plan does not know."""

    def changed(spec: Spec, folder: Path) -> None:
        del spec["models"][1:]
        set_weights()(spec, folder)
        change(spec, folder)

    return changed


def set_windows(**fields: Any) -> Change:
    return set_to(
        "models.0.inference", {"mode": "slide", "crop": [8, 8], "stride": [4, 4], **fields}
    )


def set_label_map(**label_map: str | None) -> Change:
    """One toy of four classes that are joined to those of the data."""
    mapped = {"asphalt": "road", "sky": "sky", "tree": "tree", "car": None, **label_map}
    model = toy("a", num_classes=4) | {"classes": list(mapped), "label_map": mapped}
    return set_to("models", [model])


def the_base(spec: Spec, folder: Path) -> None:
    """No change: the experiment that most fields are changed in."""


def attack(**fields: Any) -> Change:
    """The first attack with these fields; a callable one is given the folder."""

    def change(spec: Spec, folder: Path) -> None:
        given = {k: v(folder) if callable(v) else v for k, v in fields.items()}
        spec["attacks"] = [{"preset": "ds-mi", "steps": 3, **given}]

    return change


def transform(kind: str, **fields: Any) -> Change:
    return attack(transforms=[{kind: fields}])


def label_map(folder: Path, *, name: str = "map.png", value: int = 1) -> dict[str, str]:
    Image.new("L", (16, 16), value).save(folder / name)
    return {"label_map": str(folder / name)}


def region_mask(folder: Path, **which: Any) -> dict[str, str]:
    return {"mask": label_map(folder, **which)["label_map"]}


def made_elsewhere(folder: Path, *, name: str = "made", seed: int = 0) -> str:
    (folder / name).mkdir()
    generator = np.random.default_rng(seed)
    for number in range(5):
        pixels = generator.integers(0, 256, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(folder / name / f"image-{number}.png")
    return str(folder / name)


def files(**which: Any) -> Change:
    """An attack of AEs from files, and nothing else."""

    def change(spec: Spec, folder: Path) -> None:
        spec["attacks"] = [{"name": "theirs", "files": made_elsewhere(folder, **which)}]

    return change


def attack_alternatives() -> dict[str, tuple[Change, Change]]:
    """Every field below an attack -> two attacks that differ in it alone."""
    base = attack()
    to_one = attack(target={"every": 1})
    return {
        "name": (base, attack(name="renamed")),
        "norm": (base, attack(norm="l2")),
        "eps": (base, attack(eps="7/255")),
        "step_size": (base, attack(step_size="1/255")),
        "steps": (base, attack(steps=4)),
        "budget.forward_equivalents": (
            attack(steps=3, budget={"forward_equivalents": 3.2}),
            attack(steps=3, budget={"forward_equivalents": 3.3}),
        ),
        "start": (base, attack(start="uniform")),
        # Each field of each transform: tests/tasks/attacks/test_spec.py.
        "transforms": (base, transform("ds", low=0.6)),
        "label_version": (base, attack(label_version="labels")),
        "loss": (base, attack(loss="masked-cross-entropy")),
        # As stored where the module is not at hand; where it is, the hash is taken from its file.
        "loss_sha256": (
            attack(loss="not_here:margin", loss_sha256="a" * 64),
            attack(loss="not_here:margin", loss_sha256="b" * 64),
        ),
        "layer": (attack(loss="fspgd"), attack(loss="fspgd", layer="module")),
        # Each field of each gradient rule: tests/tasks/attacks/test_spec.py.
        "gradient": (base, attack(gradient="tests.tasks.attacks.own_rules:Around")),
        "momentum.mu": (base, attack(momentum={"mu": 0.5})),
        "momentum.nesterov": (base, attack(momentum={"nesterov": True})),
        "variance.neighbours": (attack(variance={}), attack(variance={"neighbours": 3})),
        "variance.bound": (attack(variance={}), attack(variance={"bound": 1})),
        "smoothing.kernel": (attack(smoothing="ti"), attack(smoothing={"kernel": 7})),
        "smoothing.sigmas": (attack(smoothing="ti"), attack(smoothing={"sigmas": 2})),
        "target.every": (to_one, attack(target={"every": 2})),
        "target.classes": (to_one, attack(target={"classes": {0: 1}})),
        "target.others": (
            attack(target={"classes": {0: 1}}),
            attack(target={"classes": {0: 1}, "others": "ignore"}),
        ),
        "target.label_map": (
            attack(target=label_map),
            attack(target=partial(label_map, name="moved.png")),
        ),
        "target.sha256": (
            attack(target=label_map),
            attack(target=partial(label_map, name="other.png", value=2)),
        ),
        "region.classes": (attack(region={"classes": [0]}), attack(region={"classes": [1]})),
        "region.box": (
            attack(region={"box": [0, 0, 1, 0.5]}),
            attack(region={"box": [0, 0, 1, 0.6]}),
        ),
        "region.mask": (
            attack(region=region_mask),
            attack(region=partial(region_mask, name="moved.png")),
        ),
        "region.sha256": (
            attack(region=region_mask),
            attack(region=partial(region_mask, name="other.png", value=2)),
        ),
        "restarts": (base, attack(restarts=2)),
        "steps_at": (base, attack(steps_at=[1, 3])),
        "scores": (base, attack(scores=["raw", "eps*sign"])),
        "equal_rms": (attack(scores=["equal-rms"]), attack(scores=["equal-rms"], equal_rms=0.5)),
        "files": (files(), files(name="moved")),
        "files_sha256": (files(), files(name="others", seed=1)),
        # Each field of each loop: tests/tasks/attacks/loops/test_spec.py.
        "loop.kind": (attack(**PLAIN, loop="apgd"), attack(**PLAIN, loop="padam", step_size=0)),
        "worst_of": (worst_of("pgd", "mi"), worst_of("pgd", "ni")),
    }


def worst_of(*members: str) -> Change:
    return set_to("attacks", [{"name": "worst", "worst_of": list(members)}])


PLAIN: Spec = {"transforms": [], "momentum": None}  # sign steps alone read these fields


def part_of_a_video(pattern: str) -> Change:
    def change(spec: Spec, folder: Path) -> None:
        spec["data"] |= {"images": None, "sequences": ["image"], "sequence": pattern}

    return change


def suffixed(**suffixes: str) -> Change:
    """Two images and two labels of one name, told apart by the ends of their names."""

    def change(spec: Spec, folder: Path) -> None:
        write_images(folder / "suffixed", count=2)
        for kind in ("images", "labels"):
            for i, end in enumerate("ab"):
                file = folder / "suffixed" / kind / f"image-{i}.png"
                file.replace(file.with_name(f"x_{end}.png"))
        fields = {"image_suffix": "_a", "label_suffix": "_a", **suffixes}
        spec["data"] = {"folder": str(folder / "suffixed"), "classes": CLASSES, **fields}

    return change


def whole_labels(ignore_index: int) -> Change:
    """Labels without 255."""

    def change(spec: Spec, folder: Path) -> None:
        for file in (write_images(folder / "whole", count=2) / "labels").iterdir():
            label = np.asarray(Image.open(file)) % 3
            Image.fromarray(label).save(file)
        fields = {"classes": CLASSES, "ignore_index": ignore_index}
        spec["data"] = {"folder": str(folder / "whole"), **fields}

    return change


def set_own(what: str, name: str) -> Change:
    """A reader or an adapter of the user's own."""

    def change(spec: Spec, folder: Path) -> None:
        if what == "data":
            spec["data"] = {"reader": f"keyed_parts:{name}"}
        else:
            spec["models"] = [{"name": "a", "adapter": f"keyed_parts:{name}"}]

    return change


def two_sequences(spec: Spec, folder: Path) -> None:
    spec["data"] |= {"images": None, "sequences": ["image-1", "image-2"]}


# Field -> two experiments that differ in it alone. Runtime-only fields stand here too: they must
# leave every key as it is.
ALTERNATIVES: dict[str, tuple[Change, Change]] = {
    "name": (the_base, set_to("name", "other")),
    "data.sample": (the_base, set_zoo(ZOO_MODEL)),
    "data.folder": (the_base, set_to("data.folder", other_folder)),
    "data.reader.kind": (set_own("data", "Few"), set_own("data", "More")),
    "data.mmseg": (the_base, set_mmseg_data()),
    "data.root": (set_mmseg_data(), set_mmseg_data(root=other_folder)),
    "data.split": (the_base, set_to("data.split", "two")),
    "data.classes": (
        with_weights(the_base),
        with_weights(set_to("data.classes", [*CLASSES, "car"])),
    ),
    "data.sequence": (part_of_a_video("^(image)-"), part_of_a_video("^(image)-[0-2]")),
    "data.sequences": (
        set_to("data.images", None),
        two_sequences,
    ),
    "data.images": (the_base, set_to("data.images", 3)),
    "data.size": (the_base, set_to("data.size", [16, 24])),
    "data.fit": (the_base, set_to("data.fit", "pad")),
    "data.label_map": (
        with_weights(the_base),
        with_weights(set_to("data.label_map", {"road": "ground", "sky": "ground", "tree": "tree"})),
    ),
    "data.crops.size": (cropped(), cropped(size=[16, 20])),
    "data.crops.per_image": (cropped(), cropped(per_image=2)),
    "data.crops.min_share": (cropped(), cropped(min_share=0.36)),
    "data.image_suffix": (suffixed(), suffixed(image_suffix="_b")),
    "data.label_suffix": (suffixed(), suffixed(label_suffix="_b")),
    "data.ignore_index": (whole_labels(255), whole_labels(0)),
    "data.values": (
        the_base,
        set_to("data.values", {"0": "sky", "1": "road", "2": "tree", "255": None}),
    ),
    "models.name": (the_base, set_to("models.0.name", "renamed")),
    "models.zoo": (set_zoo(ZOO_MODEL), set_zoo(OTHER_ZOO_MODEL)),
    "models.mmseg.config": (set_mmseg_model(), set_mmseg_model(config=widened_config)),
    "models.mmseg.checkpoint": (set_mmseg_model(), set_mmseg_model(checkpoint=other_weights)),
    "models.mmseg.sha256": (
        set_mmseg_model(),
        set_mmseg_model(sha256=ZOO[ZOO_MODEL].sha256),
    ),
    "models.mmseg.weights": (set_mmseg_model(config=widened_config), set_published),
    "models.mmseg.classifier": (set_mmseg_model(), set_mmseg_classifier),
    "models.mmseg.trust": (set_mmseg_model(), set_mmseg_model(trust=True)),
    "models.adapter.kind": (set_own("models", "One"), set_own("models", "Other")),
    "models.torch.callable": (
        the_base,
        set_to("models.0.torch.callable", "tests.toys:failing"),
    ),
    "models.torch.classifier": (set_pooled(), set_pooled(classifier=True)),
    "models.torch.arguments": (the_base, set_to("models.0.torch.arguments", {"seed": 7})),
    "models.torch.weights": (set_weights(), set_weights(seed=8)),
    "models.torch.sha256": (set_weights(), set_weights(told=True)),
    "models.huggingface.model": (
        set_segformer(),
        set_segformer(model=partial(segformer, seed=1)),
    ),
    "models.huggingface.revision": (
        set_segformer(revision="v1"),
        set_segformer(revision="later"),
    ),
    "models.huggingface.trust": (set_segformer(), set_segformer(trust=True)),
    "models.ensemble.members": (set_ensemble(1, 2), set_ensemble(1, 3)),
    "models.ensemble.weights": (set_ensemble(), set_ensemble(weights=[1, 2])),
    "models.ensemble.average": (set_ensemble(), set_ensemble(average="loss")),
    "models.ensemble.own_scales": (
        set_ensemble(average="loss"),
        set_ensemble(average="loss", own_scales=True),
    ),
    # A mode brings its windows with it or has none, so they differ too.
    "models.inference.mode": (set_windows(), set_to("models.0.inference", {"mode": "whole"})),
    "models.inference.crop": (set_windows(), set_windows(crop=[8, 12])),
    "models.inference.stride": (set_windows(), set_windows(stride=[4, 8])),
    "models.inference.scale": (
        set_to("models.0.inference", {"mode": "whole"}),
        set_to("models.0.inference", {"mode": "whole", "scale": 0.5}),
    ),
    "models.defences.kind": (
        set_to("models.0.defences", ["flip"]),
        set_to("models.0.defences", ["scales"]),
    ),
    "models.label_map": (set_label_map(), set_label_map(car="road")),
    "models.backbone": (the_base, set_to("models.0.backbone", "resnet")),
    "models.classes": (the_base, set_to("models.0.classes", CLASSES)),
    **{f"attacks.{field}": pair for field, pair in attack_alternatives().items()},
    # Attacks without a bound and a budget of their own have those of the threat model.
    "threat.norm": (set_threat(), set_threat(norm="l2")),
    "threat.eps": (set_threat(), set_threat(eps="4/255")),
    "threat.budget.forward_equivalents": (set_threat(), set_threat(budget=4)),
    "sources": (the_base, set_to("sources", ["a"])),
    "targets": (the_base, set_to("targets", ["b"])),
    "seed": (the_base, set_to("seed", 1)),
    "schedule_groups": (the_base, set_to("schedule_groups", 1)),
    "shard_size": (the_base, set_to("shard_size", 3)),
    "numerics.fold": (the_base, set_to("numerics.fold", True)),
    "numerics.channels_last": (the_base, set_to("numerics.channels_last", "auto")),
    "numerics.bf16": (set_to("numerics.bf16", "auto"), set_to("numerics.bf16", True)),
    "runtime.store": (the_base, set_to("runtime.store", "/tmp/elsewhere")),
    "runtime.executor": (the_base, set_to("runtime.executor", "ray")),
    "runtime.fleet.name": (
        the_base,
        set_to("runtime", {"executor": "ray", "fleet": {"name": "shared"}}),
    ),
    "runtime.fleet.slots": (the_base, set_to("runtime.fleet.slots", 3)),
    "runtime.fleet.slots_per_gpu": (the_base, set_to("runtime.fleet.slots_per_gpu", 2)),
    "runtime.fleet.gpus": (the_base, set_to("runtime.fleet.gpus", True)),
    "runtime.window": (the_base, set_to("runtime.window", 3)),
    "runtime.micro_batch": (the_base, set_to("runtime.micro_batch", 1)),
    "runtime.attempts": (the_base, set_to("runtime.attempts", 1)),
    "runtime.in_flight_mib": (the_base, set_to("runtime.in_flight_mib", 1)),
    "runtime.least_deadline": (the_base, set_to("runtime.least_deadline", 5.0)),
    "runtime.max_hours": (the_base, set_to("runtime.max_hours", 2.0)),
    "runtime.journal": (the_base, set_to("runtime.journal", "/tmp/journal.jsonl")),
    "runtime.log": (the_base, set_to("runtime.log", "/tmp/log.jsonl")),
    "runtime.tracking": (the_base, set_to("runtime.tracking", False)),
}


def fields_of(*models: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf field below the last of ``models``, by dotted path, with its annotation.

    The others are those it was reached through; a field that holds one of them again, as an
    ensemble holds models, is a leaf.
    """
    for name, field in models[-1].model_fields.items():
        nested = [spec for spec in specs_in(field.annotation) if spec not in models]
        if not nested:
            yield prefix + name, field.annotation
        for spec in nested:
            yield from fields_of(*models, spec, prefix=f"{prefix}{name}.")


def specs_in(annotation: Any) -> list[type[BaseModel]]:
    if annotation in (TransformSpec, GradientRule):  # an entry of a registry has fields of its own
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = [spec for part in get_args(annotation) for spec in specs_in(part)]
    return list(dict.fromkeys(found))


FIELDS = dict(fields_of(Experiment))
# A field with one allowed value cannot change; its second value will ask for an entry.
ONE_VALUE = {
    path
    for path, annotation in FIELDS.items()
    if get_origin(annotation) is Literal and len(get_args(annotation)) == 1
}


def is_runtime_only(path: str) -> bool:
    parts = path.split(".")
    return any(".".join(parts[:n]) in RUNTIME_ONLY for n in range(1, len(parts) + 1))


def task_keys(folder: Path, change: Change) -> set[str]:
    spec = base_spec(folder)
    change(spec, folder)
    return set(make_plan(read_experiment(spec), Store(str(folder / "none"))).tasks)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two splits of images; what is asked of the Hugging Face hub comes from ``hub/`` beside."""
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download",
        lambda name, *, revision, allow_patterns: str(tmp_path / "hub" / revision),
    )
    monkeypatch.setenv("SEGTRANSFER_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_module(tmp_path, "keyed_parts", KEYED_PARTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    write_images(tmp_path / "data", count=5, split="one")
    write_images(tmp_path / "data", count=5, split="two", seed=1)
    return tmp_path


def test_every_field_of_an_experiment_has_an_alternative_here() -> None:
    assert set(FIELDS) - ONE_VALUE == set(ALTERNATIVES)


def test_the_walk_reaches_every_nested_spec() -> None:
    for spec, prefix in (
        (DataSpec, "data."),
        (ModelSpec, "models."),
        (TorchSource, "models.torch."),
        (HuggingfaceSource, "models.huggingface."),
        (EnsembleSpec, "models.ensemble."),
        (Inference, "models.inference."),
        (AttackSpec, "attacks."),
        (Runtime, "runtime."),
    ):
        for name in spec.model_fields:
            assert any(f"{path}.".startswith(f"{prefix}{name}.") for path in FIELDS), name


@pytest.mark.parametrize("field", sorted(ALTERNATIVES))
def test_a_field_changes_the_keys_unless_it_is_runtime_only(field: str, folder: Path) -> None:
    one, other = (task_keys(folder, change) for change in ALTERNATIVES[field])
    if is_runtime_only(field):
        assert one == other
    else:
        assert one != other, f"{field} changes no key: two results would share one place"


@pytest.mark.parametrize("path", sorted(RUNTIME_ONLY))
def test_runtime_only_names_are_fields(path: str) -> None:
    assert any(field == path or field.startswith(f"{path}.") for field in FIELDS)


def test_numerics_are_part_of_every_key() -> None:
    """Those asked for: what a machine makes of ``auto`` is in the report, not in the key."""
    asked = [
        Numerics.model_validate(value).identity()
        for value in ("reference", "fast", {"fold": True}, {"fold": "auto"})
    ]
    attack = AttackSpec.model_validate("pgd")
    made = {attack_key(attack, "f", "s", seed=0, numerics=n) for n in asked}
    scored = {evaluate_key("f", "s", None, num_classes=3, numerics=n) for n in asked}
    assert len(made) == len(scored) == len(asked)


def test_numerics_in_every_notation_have_the_same_key(folder: Path) -> None:
    off = dict.fromkeys(Numerics.model_fields, False)
    auto = dict.fromkeys(Numerics.model_fields, "auto")
    for name, written_out in (("reference", off), ("fast", auto)):
        keys = [task_keys(folder, set_to("numerics", value)) for value in (name, written_out)]
        assert keys[0] == keys[1]
    assert task_keys(folder, the_base) == task_keys(folder, set_to("numerics", "reference"))


def test_all_fields_together_make_a_key() -> None:
    """Each argument of the two key functions matters, and the two kinds never meet."""
    pgd, mi = (AttackSpec.model_validate(name) for name in ("pgd", "mi"))
    keys = [
        attack_key(pgd, "f", "s", seed=0, numerics="reference"),
        attack_key(mi, "f", "s", seed=0, numerics="reference"),
        attack_key(pgd, "g", "s", seed=0, numerics="reference"),
        attack_key(pgd, None, "s", seed=0, numerics="reference"),
        attack_key(pgd, "f", "t", seed=0, numerics="reference"),
        attack_key(pgd, "f", "s", seed=1, numerics="reference"),
        evaluate_key("f", "s", None, num_classes=3, numerics="reference"),
        evaluate_key("f", "s", "k", num_classes=3, numerics="reference"),
        evaluate_key("g", "s", None, num_classes=3, numerics="reference"),
        evaluate_key("f", "t", None, num_classes=3, numerics="reference"),
        evaluate_key("f", "s", None, num_classes=4, numerics="reference"),
    ]
    assert len(set(keys)) == len(keys)


def test_a_key_does_not_depend_on_the_order_of_a_dict() -> None:
    assert key_of({"a": 1, "b": {"c": 2.5, "d": None}}) == key_of(
        {"b": {"d": None, "c": 2.5}, "a": 1}
    )


def test_a_key_of_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"eps": float("nan")})


def test_keys_in_another_process_and_dict_order_are_equal(folder: Path) -> None:
    spec = base_spec(folder)
    here = task_keys(folder, the_base)

    def reverse(node: Any) -> Any:
        if isinstance(node, dict):
            return {k: reverse(v) for k, v in reversed(node.items())}
        return [reverse(v) for v in node] if isinstance(node, list) else node

    program = (
        "import json, sys\n"
        "from segtransfer.experiment.plan import make_plan\n"
        "from segtransfer.experiment.reading import read_experiment\n"
        "from segtransfer.store import Store\n"
        "plan = make_plan(read_experiment(json.loads(sys.argv[1])), Store(sys.argv[2]))\n"
        "print(json.dumps(sorted(plan.tasks)))\n"
    )
    arguments = [json.dumps(reverse(copy.deepcopy(spec))), str(folder / "none")]
    output = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "12345"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert set(json.loads(output)) == here
