"""Costs of a plan's tasks in seconds, from the rates of its models."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from segtransfer.experiment.plan import Plan
from segtransfer.experiment.task import FORWARD_AND_BACKWARD, Task
from segtransfer.store.measured_costs import LinearCost, ModelRates
from segtransfer.tasks.attacks.member_cost import step_cost_on, steps_on
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.attacks.transforms import copies, relative_cost, views
from segtransfer.tasks.attacks.transforms.views import TransformContext

EXACT_GROUPS = 64  # with more schedule groups the mean size is used, not the drawn sizes
MOST_COMPUTED = 20_000_000  # pixels of an attack's resizes, at most some tens of milliseconds

# Assumed if neither measured nor given. A half-width ResNet-18 took 0.45 s per megapixel on one
# thread of a CPU, a ResNet-50 ten times as long. A data-centre GPU is about 20 times faster.
FORWARD_SECONDS_PER_PIXEL = {"cpu": 1e-6, "cuda": 5e-8}
STARTUP_SECONDS = 12.0  # measured for a worker that imports mmseg
SWITCH_SECONDS = 2.0
# Rounding, checks and statistics of an image, which belong to no step.
FINISH_SECONDS_PER_PIXEL = 2e-7


@dataclass(frozen=True)
class GivenRates:
    """Rates given by hand, which replace measured rates.

    Attributes:
        forward: Seconds per image forward, for every model.
        startup: Seconds to start a worker.
        switch: Seconds to load a model.
    """

    forward: float | None = None
    startup: float | None = None
    switch: float | None = None


NOTHING_GIVEN = GivenRates()


@dataclass(frozen=True)
class Rates:
    """Rates of all models of a plan.

    Attributes:
        models: Rates by model key.
        startup: Seconds to start a worker, without a model.
        device: Name of this machine's device.
        measured: Keys of the models with measured rates.
        given: Rates given by hand. Rates neither measured nor given are assumed.
    """

    models: Mapping[str, ModelRates]
    startup: float
    device: str
    measured: frozenset[str] = frozenset()
    given: GivenRates = NOTHING_GIVEN


def assumed_rates(pixels: int, device: str) -> ModelRates:
    """Return the rates of a model that was never measured.

    Args:
        pixels: Pixels per image.
        device: "cpu" or "cuda".
    """
    rates = ModelRates(
        load=SWITCH_SECONDS,
        forward=LinearCost(0.0, 0.0),
        step=LinearCost(0.0, 0.0),
        scaled=LinearCost(0.0, 0.0),
        finish=pixels * FINISH_SECONDS_PER_PIXEL,
    )
    return with_forward(rates, pixels * FORWARD_SECONDS_PER_PIXEL[device])


def with_forward(rates: ModelRates, forward: float) -> ModelRates:
    """Return the rates with other seconds per image forward, and with steps in proportion.

    Args:
        rates: The rates of a model.
        forward: Seconds per image forward. A step takes ``FORWARD_AND_BACKWARD`` (2.5) times as
            long.
    """
    step = LinearCost(0.0, forward * FORWARD_AND_BACKWARD)
    return replace(rates, forward=LinearCost(0.0, forward), step=step, scaled=step)


def in_seconds(plan: Plan, rates: Rates) -> dict[str, Task]:
    """Return the plan's tasks with their costs in seconds rather than image forwards.

    Args:
        plan: The plan.
        rates: The rates of all its models, for the plan's largest images.

    Returns:
        All tasks by key, stored tasks included.
    """
    passes: dict[tuple[str, int, int], tuple[float, float]] = {}
    exact = len({shard.group for shard in plan.shards.values()}) <= EXACT_GROUPS
    finish = max((model.finish for model in rates.models.values()), default=0.0)
    costed, largest = {}, plan.largest_size
    for key, task in plan.tasks.items():
        shard = plan.shards[task.shard_id]
        batches = math.ceil(len(shard.image_ids) / plan.experiment.runtime.micro_batch)
        # Rates hold for the largest images. Smaller images cost in proportion to their area.
        images = len(shard.image_ids) * math.prod(shard.size) / math.prod(largest)
        model = rates.models[task.model] if task.model is not None else None
        if task.attack is None:
            assert model is not None
            seconds = model.forward.seconds(batches, images)
        elif model is None:
            seconds = images * finish
        else:
            members = _members(plan, task)
            name = task.attack.name, members, shard.group if exact else -1
            if name not in passes:
                random = StepRandom(task.seed, shard.group, 0, ()) if exact else None
                passes[name] = forwards(task.attack, largest, random, members)
            line = model.scaled if _always_new_sizes(task.attack) else model.step
            calls, areas = passes[name]
            seconds = line.seconds(batches * calls, images * areas) + images * model.finish
        costed[key] = replace(task, cost=seconds)
    return costed


def _members(plan: Plan, task: Task) -> int:
    """Return the number of members of the source of an attack task, 1 for no ensemble."""
    ensemble = plan.models[task.model].ensemble if task.model is not None else None
    return len(ensemble.members) if ensemble else 1


def forwards(
    attack: AttackSpec,
    size: tuple[int, int],
    random: StepRandom | None = None,
    members: int = 1,
) -> tuple[float, float]:
    """Return how often an attack feeds a micro-batch, and how much of each image in all.

    Args:
        attack: The attack.
        size: Height and width of an image.
        random: The random numbers of the attack's steps; without them the result is the mean.
        members: The number of members of the source, 1 for no ensemble.

    Returns:
        The number of forwards per micro-batch, and the sum of the fed areas per image in units of
        the image's area.
    """
    transforms = attack.transforms
    taken, cost = steps_on(attack, members), step_cost_on(attack, members)
    steps = attack.restarts * taken
    calls = steps * cost * copies(transforms) / relative_cost(transforms)
    areas = steps * cost
    resizes = [transform for transform in transforms if transform.typed().resizes]
    if random is None or not resizes:
        return calls, areas
    # Only sizes matter. The meta device computes nothing, but its first resize imports for seconds.
    device = "cpu" if steps * math.prod(size) <= MOST_COMPUTED else "meta"
    blank, pixels = torch.zeros(1, 1, *size, device=device), 0
    for restart in range(attack.restarts):
        for step in range(taken):
            context = TransformContext(1, replace(random, step=step, restart=restart), blank, ())
            pixels += sum(view.images.numel() for view in views(blank, resizes, context))
    return calls, areas * pixels / (steps * blank.numel() * relative_cost(resizes))


def _always_new_sizes(attack: AttackSpec) -> bool:
    """Return whether most steps feed a size that was not fed before; DI feeds two sizes in all."""
    if attack.worst_of:
        return any(map(_always_new_sizes, attack.worst_of))
    return any(transform.always_new_sizes for transform in attack.transforms)
