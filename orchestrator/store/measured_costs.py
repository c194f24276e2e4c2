"""Measured costs of models, as stored under ``calibration/``."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from segtransfer.experiment.keys import key_of
from segtransfer.experiment.task import FORWARD_AND_BACKWARD
from segtransfer.store.store import Store

COSTS_VERSION = 2  # of the stored files; raise when their meaning changes
COSTS_FOLDER = "calibration"

PaceKey = tuple[str, str, str]  # model key, kind of task, "cpu" or "cuda"


@dataclass(frozen=True)
class LinearCost:
    """Seconds of micro-batches, linear in their number and in the number of images.

    Attributes:
        call: Seconds per micro-batch.
        image: Seconds per image of the data's size; a scaled image costs in proportion to its area.
    """

    call: float
    image: float

    def seconds(self, calls: float, images: float) -> float:
        """Return the seconds of several micro-batches.

        Args:
            calls: The number of micro-batches.
            images: The number of images in all micro-batches together.
        """
        return self.call * calls + self.image * images


@dataclass(frozen=True)
class ModelRates:
    """Measured costs of a model on a device.

    Attributes:
        load: Seconds to load the model.
        forward: Seconds to score a micro-batch.
        step: Seconds of a PGD step on a micro-batch.
        scaled: Seconds of a step at the first use of an image size, which allocates memory and
            prepares kernels.
        finish: Seconds per image of an attack beside its steps.
        peak_bytes: The growth of device memory in bytes; None if unknown.
    """

    load: float
    forward: LinearCost
    step: LinearCost
    scaled: LinearCost
    finish: float
    peak_bytes: int | None = None


def write_rates(store: Store, subject: dict[str, Any], rates: ModelRates) -> None:
    """Store the rates measured for a subject, in place of earlier rates.

    Args:
        store: The store.
        subject: The identity of the measurement as JSON values: model, numerics, image size,
            micro-batch and device.
        rates: The measured rates.

    Raises:
        StoreError: The store cannot be written.
    """
    content = {"version": COSTS_VERSION, "of": subject, "rates": asdict(rates)}
    store.files.write(_path(subject), json.dumps(content, indent=1).encode())


def stored_rates(store: Store, subject: dict[str, Any]) -> ModelRates | None:
    """Return the rates stored for a subject.

    Args:
        store: The store.
        subject: The identity of the measurement, as in ``write_rates``.

    Returns:
        The rates, or None if missing, truncated or of another version.
    """
    return _parse(store.files.read(_path(subject)))


def peaks_on_gpus(
    store: Store, models: Iterable[str], size: tuple[int, int] | None, micro_batch: int
) -> tuple[int, ...]:
    """Return the peak GPU memory of models from measurements; no GPU is needed.

    Args:
        store: The store with the measurements.
        models: The ``model_key`` of each model.
        size: The height and width of the images in pixels; None for an unknown size.
        micro_batch: The micro-batch of the measurements.

    Returns:
        Bytes per model, unordered. Empty if a model is not measured, or the size is unknown.
    """
    if size is None:
        return ()
    peaks: dict[str, int] = {}
    for model, device, rates in _all_rates(store, size, micro_batch):
        if device == "cuda" and rates.peak_bytes is not None:
            peaks[model] = max(rates.peak_bytes, peaks.get(model, 0))
    wanted = set(models)
    return tuple(peaks[model] for model in wanted) if wanted <= peaks.keys() else ()


def measured_paces(store: Store, size: tuple[int, int], micro_batch: int) -> dict[PaceKey, float]:
    """Return the paces of models from measurements: seconds per unit of ``Task.cost``.

    Args:
        store: The store with the measurements.
        size: The height and width of the images in pixels.
        micro_batch: The micro-batch of the measurements.

    Returns:
        The pace of the slowest measurement, for micro-batches of one image, by ``model_key``, kind
        of task (``attack``, ``evaluate``) and type of device (``cpu``, ``cuda``).
    """
    paces: dict[PaceKey, float] = {}
    for model, device, rates in _all_rates(store, size, micro_batch):
        step = max(rates.step.seconds(1, 1), rates.scaled.seconds(1, 1)) + rates.finish
        for kind, pace in (
            ("evaluate", rates.forward.seconds(1, 1)),
            ("attack", step / FORWARD_AND_BACKWARD),
        ):
            key = model, kind, device
            paces[key] = max(pace, paces.get(key, 0.0))
    return paces


def _all_rates(
    store: Store, size: tuple[int, int], micro_batch: int
) -> Iterator[tuple[str, str, ModelRates]]:
    """Yield model key, "cpu" or "cuda", and rates of each measurement with this image size."""
    for path in store.files.names(COSTS_FOLDER):
        content = store.files.read(path)
        rates = _parse(content)
        if content is None or rates is None:
            continue
        subject = json.loads(content)["of"]
        if (subject["size"], subject["micro_batch"]) == (list(size), micro_batch):
            yield subject["model"], subject["type"], rates


def _path(subject: dict[str, Any]) -> str:
    return f"{COSTS_FOLDER}/{key_of(subject)}.json"


def _parse(content: bytes | None) -> ModelRates | None:
    """Return the rates in a file's content; None if missing, truncated or of another version."""
    try:
        stored = json.loads(content or b"{}")
        if stored["version"] != COSTS_VERSION:
            return None
        rates = stored["rates"]
        lines = {name: LinearCost(**rates[name]) for name in ("forward", "step", "scaled")}
        return ModelRates(**{**rates, **lines})
    except (ValueError, KeyError, TypeError):
        return None
