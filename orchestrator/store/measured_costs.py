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
    """Seconds per micro-batch: ``call`` per micro-batch, and ``image`` per image in the batch.

    ``image`` is for an image of the data's size; a scaled image costs in proportion to its area.
    """

    call: float
    image: float

    def seconds(self, calls: float, images: float) -> float:
        """Return the seconds of ``calls`` micro-batches that hold ``images`` images in all."""
        return self.call * calls + self.image * images


@dataclass(frozen=True)
class ModelRates:
    """Costs of one model on one device, in seconds.

    Attributes:
        load: To load the model.
        forward: To score a micro-batch.
        step: One step of PGD on a micro-batch.
        scaled: One step at an image size not fed before, for which neither memory nor kernels are
            ready.
        finish: The work of an attack beside its steps, per image.
        peak_bytes: Growth of memory; None if unknown.
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
        subject: Identity of the measurement: model, numerics, image size, micro-batch and device.
        rates: The measured rates.
    """
    content = {"version": COSTS_VERSION, "of": subject, "rates": asdict(rates)}
    store.files.write(_path(subject), json.dumps(content, indent=1).encode())


def stored_rates(store: Store, subject: dict[str, Any]) -> ModelRates | None:
    """Return the rates stored for a subject; None if missing, torn or of another version."""
    return _parse(store.files.read(_path(subject)))


def peaks_on_gpus(
    store: Store, models: Iterable[str], size: tuple[int, int] | None, micro_batch: int
) -> tuple[int, ...]:
    """Return the peak GPU memory of each model, in bytes; empty unless all were measured.

    No GPU is needed here, because a driver may run on a machine without one.

    Args:
        store: The store with the measurements.
        models: Keys of the models.
        size: The height and width of the images; without them the result is empty.
        micro_batch: Micro-batch of the measurements.
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
    """Return seconds per unit of a task's cost, by model key, kind of task and type of device.

    The pace is the slowest of all measurements for images of this height and width, one image
    per micro-batch.
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
    """Return the rates in a file's content; None if missing, torn or of another version."""
    try:
        stored = json.loads(content or b"{}")
        if stored["version"] != COSTS_VERSION:
            return None
        rates = stored["rates"]
        lines = {name: LinearCost(**rates[name]) for name in ("forward", "step", "scaled")}
        return ModelRates(**{**rates, **lines})
    except (ValueError, KeyError, TypeError):
        return None
