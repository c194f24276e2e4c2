"""What a plan's tasks take in seconds, from what its models take a micro-batch and an image."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from segtransfer.experiment.plan import FORWARD_AND_BACKWARD, Plan
from segtransfer.experiment.task import Task
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import copies, relative_cost, views
from segtransfer.tasks.attacks.transforms.views import TransformContext

RESCALING = frozenset({"ds", "di"})  # transforms that may change the size of what goes in
EXACT_GROUPS = 64  # with more of them what is drawn comes near its mean

# Assumed where nothing was measured or given: a half-width ResNet-18 takes 0.45 s a megapixel on
# one thread of the CPU here, a ResNet-50 ten times that; a data-centre GPU is some 20 times faster.
FORWARD_SECONDS_PER_PIXEL = {"cpu": 1e-6, "cuda": 5e-8}
STARTUP_SECONDS = 12.0  # a worker that imports mmseg, as measured here
SWITCH_SECONDS = 2.0
# Rounding, checks and statistics of an image that no step accounts for.
FINISH_SECONDS_PER_PIXEL = 2e-7


@dataclass(frozen=True)
class LinearCost:
    """Seconds of one micro-batch: ``call`` whatever is in it, and ``image`` for each image of the
    data's size, for a scaled one by its area."""

    call: float
    image: float

    def seconds(self, calls: float, images: float) -> float:
        return self.call * calls + self.image * images


@dataclass(frozen=True)
class ModelRates:
    """What one model takes on one device, in seconds.

    ``load`` it; then a micro-batch each: ``forward`` to score it, ``step`` for one step of PGD,
    ``scaled`` for one at a size that was not fed before, which finds no memory and no kernel ready;
    and an image: ``finish`` for what an attack does beside its steps. ``peak_bytes`` is what memory
    grew by, None where that is not known.
    """

    load: float
    forward: LinearCost
    step: LinearCost
    scaled: LinearCost
    finish: float
    peak_bytes: int | None = None


@dataclass(frozen=True)
class GivenRates:
    """Rates given by hand, in seconds; they win over measured ones."""

    forward: float | None = None
    startup: float | None = None
    switch: float | None = None


NOTHING_GIVEN = GivenRates()


@dataclass(frozen=True)
class Rates:
    """What every model of a plan takes, by model key; ``startup`` is a worker's, without a model.

    ``measured`` names the models whose rates were measured, ``given`` those fields given by hand;
    what is neither is assumed.
    """

    models: Mapping[str, ModelRates]
    startup: float
    device: str
    measured: frozenset[str] = frozenset()
    given: GivenRates = NOTHING_GIVEN


def assumed(pixels: int, device: str) -> ModelRates:
    """Rates of a model that nobody measured, for images of so many pixels on "cpu" or "cuda"."""
    rates = ModelRates(
        load=SWITCH_SECONDS,
        forward=LinearCost(0.0, 0.0),
        step=LinearCost(0.0, 0.0),
        scaled=LinearCost(0.0, 0.0),
        finish=pixels * FINISH_SECONDS_PER_PIXEL,
    )
    return with_forward(rates, pixels * FORWARD_SECONDS_PER_PIXEL[device])


def with_forward(rates: ModelRates, forward: float) -> ModelRates:
    """The rates, with so many seconds an image's forward, and steps that follow from it."""
    step = LinearCost(0.0, forward * FORWARD_AND_BACKWARD)
    return replace(rates, forward=LinearCost(0.0, forward), step=step, scaled=step)


def in_seconds(plan: Plan, rates: Rates) -> dict[str, Task]:
    """The plan's tasks with their costs in seconds."""
    asked: dict[tuple[str, int], tuple[float, float]] = {}
    exact = len({shard.group for shard in plan.shards.values()}) <= EXACT_GROUPS
    finish = max((model.finish for model in rates.models.values()), default=0.0)
    costed = {}
    for key, task in plan.tasks.items():
        shard = plan.shards[task.shard_id]
        images = len(shard.image_ids)
        batches = math.ceil(images / plan.experiment.runtime.micro_batch)
        model = rates.models[task.model] if task.model is not None else None
        if task.attack is None:
            assert model is not None
            seconds = model.forward.seconds(batches, images)
        elif model is None:
            seconds = images * finish
        else:
            name = task.attack.name, shard.group if exact else -1
            if name not in asked:
                draws = StepRandom(task.seed, shard.group, 0, ())
                asked[name] = forwards(task.attack, image_size(plan), draws if exact else None)
            line = model.scaled if _ever_new(task.attack) else model.step
            calls, areas = asked[name]
            seconds = line.seconds(batches * calls, images * areas) + images * model.finish
        costed[key] = replace(task, cost=seconds)
    return costed


def forwards(
    attack: AttackSpec, size: tuple[int, int], draws: StepRandom | None = None
) -> tuple[float, float]:
    """How often an attack feeds a micro-batch, and the sum of what it feeds of each image, in
    areas of the image's ``size``; under certain ``draws``, or on average."""
    transforms = attack.transforms
    steps = attack.restarts * attack.steps_taken
    calls = steps * attack.step_cost * copies(transforms) / relative_cost(transforms)
    areas = steps * attack.step_cost
    resizes = [transform for transform in transforms if transform.kind in RESCALING]
    if draws is None or not resizes:
        return calls, areas
    # The sizes alone: on the meta device nothing is computed.
    blank, shown = torch.empty(1, 1, *size, device="meta"), 0
    for restart in range(attack.restarts):
        for step in range(attack.steps_taken):
            scene = TransformContext(1, replace(draws, step=step, restart=restart), blank, ())
            shown += sum(view.images.numel() for view in views(blank, resizes, scene))
    return calls, areas * shown / (steps * blank.numel() * relative_cost(resizes))


def _ever_new(attack: AttackSpec) -> bool:
    """Whether a model is fed sizes that it seldom saw before: DI feeds two of them in all."""
    return any(t.kind == "ds" and t.handling == "whole" for t in attack.transforms)


def image_size(plan: Plan) -> tuple[int, int]:
    height, width = next(iter(plan.shards.values())).images.shape[2:]
    return height, width
