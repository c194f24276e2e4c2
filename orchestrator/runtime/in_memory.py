"""Attack and evaluation of arrays in this process, with the tasks of an experiment.

Nothing is planned or stored. A call on whole images, with the ids and the seed of an experiment,
makes the bits of the experiment under ``numerics: reference``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from torch import nn

from segtransfer.errors import InputError
from segtransfer.experiment.plan_checks import check_attack_files, check_class_indices
from segtransfer.experiment.runtime_spec import Runtime
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.task import Task
from segtransfer.runtime.perform import TaskInputs, perform
from segtransfer.tasks import metrics
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.data.base import Dataset
from segtransfer.tasks.data.shards import of_one_size, shard_of, twice
from segtransfer.tasks.float32 import kept_precision
from segtransfer.tasks.labels import IGNORE_INDEX, class_indices
from segtransfer.tasks.models import adapters
from segtransfer.tasks.models.base import Segmenter, freeze
from segtransfer.tasks.models.outputs import check_logits, foreign_error
from segtransfer.tasks.models.probe import learn_sizes
from segtransfer.tasks.models.spec import ModelSpec
from segtransfer.tasks.randomness import schedule_group
from segtransfer.tasks.schema import Frozen, Whole
from segtransfer.tasks.spec_errors import validated

Array = TypeVar("Array", np.ndarray, torch.Tensor)
GivenModel = Segmenter | Callable[[torch.Tensor], torch.Tensor]
WHO = "the model"
LEVEL_ERROR = 0.2  # levels between a float pixel and its level; half precision is off by 0.12
SHARDING = {
    name: Experiment.model_fields[name].default for name in ("schedule_groups", "shard_size")
}


@dataclass(frozen=True)
class Scores:
    """The scores of images in memory.

    Attributes:
        image_ids: An id per image.
        confusions: The confusion matrix of each image, int64 N x K x K; rows are labels.
        predictions: Class indices, uint8 N x h x w.
    """

    image_ids: tuple[str, ...]
    confusions: np.ndarray
    predictions: np.ndarray

    def __repr__(self) -> str:
        images, classes = self.confusions.shape[:2]
        whole = self.predictions.shape[1:] == (1, 1)  # of a classifier
        accuracy = f"accuracy {metrics.accuracy(self.confusion):.1f}"
        score = accuracy if whole else f"mIoU {self.miou:.1f}"
        return f"<Scores: {score} % on {images} images, {classes} classes>"

    @cached_property
    def confusion(self) -> np.ndarray:
        """Return the confusion matrix over all images, int64 K x K; rows are labels."""
        return self.confusions.sum(0)

    @property
    def miou(self) -> float:
        """Return the mean IoU over classes that occur, over all images together.

        Returns:
            Percent; NaN without labelled pixels.
        """
        return float(metrics.miou(self.confusion))

    @property
    def class_iou(self) -> np.ndarray:
        """Return the IoU of each class over all images together.

        Returns:
            Percent, K values; NaN for a class without pixels.
        """
        return metrics.class_iou(self.confusion)


def load_segmenter(spec: str | Mapping[str, Any], device: str) -> Segmenter:
    """Load a model from its spec, as an experiment writes it.

    Args:
        spec: The name of a model, or the fields of its spec; paths are relative to the working
            folder.
        device: "cpu" or "cuda".

    Returns:
        The model in evaluation mode, from RGB images in [0, 1] to logits.

    Raises:
        InputError: The spec is wrong, or files are missing or do not fit.
    """
    raw = dict(spec) if isinstance(spec, Mapping) else spec
    read = validated(ModelSpec, raw, "model", {"base": Path.cwd()})
    adapters.check(read)
    return adapters.load(read, device)


def read_attack(
    attack: str | Mapping[str, Any] | AttackSpec, fields: Mapping[str, Any]
) -> AttackSpec:
    """Read an attack: a preset's name, a mapping or a spec, with fields to replace its own.

    Args:
        attack: The attack; paths are relative to the working folder.
        fields: Fields of the attack by name.

    Raises:
        InputError: A field is wrong.
    """
    if isinstance(attack, AttackSpec):
        if not fields:
            return attack
        attack = attack.model_dump(mode="json", exclude_unset=True)
    raw = {"preset": attack} if isinstance(attack, str) else attack
    if not isinstance(raw, Mapping):
        raise InputError(
            f"attack is of type {type(raw).__name__}. Pass the name of a preset, a mapping of "
            "fields, or an attack spec."
        )
    return validated(AttackSpec, {**raw, **fields}, "attack", {"base": Path.cwd()})


def attack_images(
    model: GivenModel,
    images: Array,
    labels: Array,
    spec: AttackSpec,
    *,
    image_ids: Sequence[str] | None,
    seed: int,
    micro_batch: int,
) -> Array:
    """Return the AEs of images, uint8 N x 3 x H x W, of the images' kind and device.

    Args:
        model: A model from ``load_segmenter``, or a callable from images in [0, 1] to logits.
        images: N x 3 x H x W, RGB: uint8, or floats in [0, 1] on the 255 levels of 8-bit pixels.
        labels: Class indices, N x h x w; 255 has no class.
        spec: The attack, with one AE per image.
        image_ids: An id per image, for draws together with ``seed``; None numbers the images.
        seed: The seed of scales and noise.
        micro_batch: Images per forward.

    Raises:
        InputError: The images, the labels, the model or the attack are wrong.
    """
    if len(spec.variants) != 1:
        raise InputError(
            f"Attack '{spec.name}' keeps {len(spec.variants)} AEs per image, but attack() returns "
            "one. Remove steps_at and scores, or run an experiment."
        )
    validated(_CallFields, {"seed": seed, "micro_batch": micro_batch}, "attack()")
    pixels, ids = _pixels(images), _ids(image_ids, len(images))
    made = np.empty_like(pixels)
    with _segmenter(model, images, pixels) as segmenter:
        indices = _indices(labels, pixels, segmenter.num_classes)
        groups = [schedule_group(image_id, SHARDING["schedule_groups"]) for image_id in ids]
        for group in sorted(set(groups)):
            members = [n for n, mine in enumerate(groups) if mine == group]
            for part in of_one_size(members, lambda _: None, SHARDING["shard_size"]):
                inputs = TaskInputs(tuple(ids[n] for n in part), group, pixels[part], indices[part])
                _check_attack(spec, inputs, segmenter.num_classes)
                source = WHO if spec.steps else None
                task = Task("in memory", source, "in memory", 0.0, 0, attack=spec, seed=seed)
                made[part] = perform(segmenter, task, inputs, micro_batch).images[0]
    return _like(images, made)


def evaluate_images(
    model: GivenModel,
    images: Array,
    labels: Array,
    *,
    image_ids: Sequence[str] | None,
    micro_batch: int,
) -> Scores:
    """Score images against labels, in this thread and on one torch thread.

    Args:
        model: A model from ``load_segmenter``, or a callable from images in [0, 1] to logits.
        images: N x 3 x H x W, RGB: uint8, or floats in [0, 1] on the 255 levels of 8-bit pixels.
        labels: Class indices, N x h x w; 255 has no class.
        image_ids: An id per image; None numbers the images.
        micro_batch: Images per forward.

    Raises:
        InputError: The images, the labels or the model are wrong.
    """
    validated(_CallFields, {"micro_batch": micro_batch}, "evaluate()")
    pixels, ids = _pixels(images), _ids(image_ids, len(images))
    with _segmenter(model, images, pixels) as segmenter:
        classes = segmenter.num_classes
        inputs = TaskInputs(tuple(ids), 0, pixels, _indices(labels, pixels, classes))
        task = Task("in memory", WHO, "in memory", cost=0.0, nbytes=0, num_classes=classes)
        output = perform(segmenter, task, inputs, micro_batch)
    assert output.confusions is not None
    assert output.predictions is not None
    return Scores(tuple(ids), output.confusions, output.predictions)


class _Called(Segmenter):
    """A callable of the user. If it is a module, its parameters give the device."""

    def __init__(self, function: Any, classes: int, device: torch.device, whole: bool) -> None:
        super().__init__()
        self.function = function
        self.num_classes, self.classifier = classes, whole
        self.size_divisor = int(getattr(function, "size_divisor", 1))
        self._device = device

    @property
    def device(self) -> torch.device:
        """Device for images."""
        return self._device

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        return self.function(images)


class _CallFields(Frozen):
    """The fields of a call beside its arrays, within the limits of an experiment."""

    seed: Annotated[Whole, *Experiment.model_fields["seed"].metadata] = 0
    micro_batch: Annotated[Whole, *Runtime.model_fields["micro_batch"].metadata]


@contextmanager
def _segmenter(model: GivenModel, images: Any, pixels: np.ndarray) -> Iterator[Segmenter]:
    """Yield a model in evaluation mode on one torch thread, then restore all changes.

    Mode and gradients of the model are restored, and torch's number of threads and precision.
    """
    if not callable(model):
        raise InputError(
            f"model is of type {type(model).__name__}. Pass a callable from images to logits, or "
            "segtransfer.load_model(...)."
        )
    threads = torch.get_num_threads()
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    training = [(module, module.training) for module in modules]
    parameters = list(model.parameters()) if isinstance(model, nn.Module) else []
    needed = [(parameter, parameter.requires_grad) for parameter in parameters]
    device = parameters[0].device if parameters else getattr(images, "device", "cpu")
    device = torch.device("cpu" if isinstance(images, np.ndarray) and not parameters else device)
    try:
        torch.set_num_threads(1)
        with kept_precision(), torch.inference_mode(False), torch.enable_grad():
            if isinstance(model, Segmenter):
                yield model
            else:
                frozen = freeze(model) if isinstance(model, nn.Module) else model
                classes, whole = _classes_of(frozen, pixels, device)
                called = _Called(frozen, classes, device, whole)
                learn_sizes(called)
                yield called
    finally:
        torch.set_num_threads(threads)
        for module, was in training:
            module.training = was
        for parameter, was in needed:
            parameter.requires_grad_(was)


@torch.no_grad()
def _classes_of(
    function: Callable[..., Any], pixels: np.ndarray, device: torch.device
) -> tuple[int, bool]:
    """Return the number of classes in the logits of the first image, and whether they are N x K.

    Raises:
        InputError: The callable raises an error, or returns no logits.
    """
    image = torch.from_numpy(pixels[:1]).to(device).float() / 255
    try:
        output = function(image)
    except Exception as error:  # a user's callable may raise any error
        size = f"{pixels.shape[-2]} x {pixels.shape[-1]} (height x width)"
        told = foreign_error(error, f"{WHO}, on images of {size},")
        if told is error:
            raise
        raise told from error
    shape: tuple[int, ...] = tuple(getattr(output, "shape", ()))
    classifier = len(shape) == 2
    classes = int(shape[1]) if len(shape) in (2, 4) else 1
    if not classifier:
        check_logits(output, image, classes, WHO, (image.shape[-2], image.shape[-1]))
    if classes > IGNORE_INDEX:
        raise InputError(
            f"{WHO} returned logits of {classes} classes. At most {IGNORE_INDEX} classes are "
            "allowed, because class indices have 8 bits."
        )
    return classes, classifier


def _check_attack(spec: AttackSpec, inputs: TaskInputs, num_classes: int) -> None:
    """Check that target, region and files of an attack fit the images.

    Raises:
        InputError: A class index, region or file does not fit.
    """
    names = tuple(map(str, range(num_classes)))
    data = Dataset(WHO, names, (), (), read_label=lambda item: np.empty(0))
    check_class_indices(spec, data)
    shard = shard_of(
        inputs.image_ids, inputs.image_ids, inputs.images, inputs.labels, group=inputs.group
    )
    check_attack_files(spec, [shard.outline], num_classes)


def _ids(image_ids: Sequence[str] | None, count: int) -> list[str]:
    ids = [f"image-{n}" for n in range(count)] if image_ids is None else list(map(str, image_ids))
    if len(ids) != count:
        raise InputError(
            f"There are {count} images but {len(ids)} image_ids. Pass one id per image."
        )
    for n, image_id in enumerate(ids):
        if image_id in ids[:n]:
            raise InputError(twice("image_ids", image_id))
    return ids


def _pixels(images: Any) -> np.ndarray:
    """Return images as uint8 N x 3 x H x W.

    Raises:
        InputError: The images are of another shape, or no 8-bit pixels.
    """
    values = _numpy(images, "images")
    if values.ndim != 4 or values.shape[1] != 3 or not values.size:
        raise InputError(
            f"images have shape {list(values.shape)}. Pass RGB images of shape N x 3 x H x W (a "
            "single image as image[None])."
        )
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    if values.dtype.kind != "f":
        raise InputError(f"images are {values.dtype}. Pass uint8 in 0 to 255, or floats in [0, 1].")
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"images range from {low:.3g} to {high:.3g}. Pass floats in [0, 1] or uint8, and "
            "normalise inside the model."
        )
    levels = values.astype(np.float64) * 255
    if (off := np.abs(levels - levels.round()).max()) > LEVEL_ERROR:
        raise InputError(
            f"images are up to {off:.2f} levels off those of 8-bit pixels. Round them with "
            "(images * 255).round() / 255, because AEs are 8-bit images."
        )
    return np.ascontiguousarray(levels.round().astype(np.uint8))


def _indices(labels: Any, pixels: np.ndarray, num_classes: int) -> np.ndarray:
    """Return labels as class indices, uint8 N x h x w.

    Raises:
        InputError: The labels are of another shape, or hold a value that is no class.
    """
    values = _numpy(labels, "labels")
    if values.ndim != 3 or len(values) != len(pixels):
        raise InputError(
            f"labels have shape {list(values.shape)} for {len(pixels)} images. Pass class indices "
            "of shape N x h x w, with 255 for pixels without a class."
        )
    return np.ascontiguousarray(class_indices(values, num_classes, "labels"))


def _numpy(values: Any, name: str) -> np.ndarray:
    if torch.is_tensor(values):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if not isinstance(values, np.ndarray):
        raise InputError(
            f"{name} are of type {type(values).__name__}. Pass a torch tensor or an array."
        )
    return values


def _like(images: Array, made: np.ndarray) -> Array:
    if isinstance(images, np.ndarray):
        return made
    return torch.from_numpy(made).to(images.device)
