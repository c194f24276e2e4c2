"""What tasks cost in seconds, where every model's rates are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.forecast.cost_model import Rates, forwards, in_seconds
from segtransfer.store import Store
from segtransfer.store.measured_costs import LinearCost, ModelRates
from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.models import adapters as models
from segtransfer.tasks.models.base import Segmenter
from tests.orchestrator.toy_experiments import toy_experiment

SIZE = (48, 64)


def plan_in(folder: Path, **changes: Any) -> Plan:
    experiment = toy_experiment(folder, **changes)
    return make_plan(experiment, Store(experiment.runtime.store))


def rates_of(plan: Plan, model: ModelRates) -> Rates:
    return Rates(dict.fromkeys(plan.models, model), 0.0, "device")


def spec(**fields: Any) -> AttackSpec:
    return AttackSpec.model_validate({"preset": "pgd", "steps": 10, **fields})


@pytest.mark.parametrize(
    ("fields", "calls", "areas"),
    [
        ({}, 10, 10),
        ({"restarts": 3, "start": "uniform"}, 30, 30),
        ({"preset": "mi"}, 10, 10),
        ({"steps_at": [1, 4]}, 4, 4),
        ({"transforms": ["ds"]}, 10, 10 * 13 / 12),
        ({"transforms": [{"ds": {"scales": 4}}]}, 40, 40 * 13 / 12),
        ({"transforms": [{"ds": {"low": 0.5, "width": 0}}]}, 10, 2.5),
        ({"transforms": ["rdi"]}, 10, 10),
        ({"transforms": [{"si": {"copies": 5}}, "ds"]}, 50, 50 * 13 / 12),
        ({"variance": {"neighbours": 4}}, 50, 50),
    ],
)
def test_an_attack_feeds_copies_at_their_mean_area(
    fields: dict[str, Any], calls: float, areas: float
) -> None:
    assert forwards(spec(**fields), SIZE) == pytest.approx((calls, areas))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"restarts": 2, "start": "uniform"},
        {"transforms": ["ds"]},
        {"preset": "ds-mi"},
        {"preset": "ds", "steps_at": [2, 4]},
        {"transforms": ["di"]},
        {"transforms": ["rdi"]},
        {"transforms": [{"ds": {"scales": 3, "anisotropy": 0.5}}]},
        {"transforms": [{"ds": {"prob": 0.5}}, {"si": {"copies": 2}}]},
        {"transforms": [{"ds": {"handling": "native"}}, "di"]},
    ],
)
def test_attack_with_known_draws_feeds_the_counted_pixels(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    plan = plan_in(tmp_path)
    model: Segmenter = models.load(next(iter(plan.models.values())))
    made, shard = spec(**fields), np.zeros((1, 3, *SIZE), np.uint8)
    labels = np.zeros((1, *SIZE), np.uint8)
    before = model.cost
    attack(model, made, shard, labels, ["x"], seed=7, group=3, micro_batch=1)
    seen = model.cost - before
    calls, areas = forwards(made, SIZE, StepRandom(7, 3, 0, ()))
    chosen = made.restarts if made.restarts > 1 else 0  # to tell which of them fools most
    assert seen.forwards == pytest.approx(calls + chosen)
    assert seen.pixels == pytest.approx((areas + chosen) * SIZE[0] * SIZE[1])


def test_a_task_costs_micro_batches_and_images(tmp_path: Path) -> None:
    attacks = [{"preset": "pgd", "steps": 3}, {"preset": "ds", "steps": 2}, "noise"]
    plan = plan_in(tmp_path, attacks=attacks, runtime={"micro_batch": 1}, schedule_groups=1)
    forward, step, scaled = LinearCost(0.1, 1.0), LinearCost(0.2, 2.0), LinearCost(0.4, 4.0)
    rates = rates_of(plan, ModelRates(1.0, forward, step, scaled, 0.5))
    ds = next(attack for attack in plan.experiment.attacks if attack.name == "ds")
    calls, areas = forwards(ds, (24, 32), StepRandom(plan.experiment.seed, 0, 0, ()))
    a_image = {
        "": 0.1 + 1.0,
        "pgd": 3 * (0.2 + 2.0) + 0.5,
        "ds": calls * 0.4 + areas * 4.0 + 0.5,
        "noise": 0.5,
    }
    for task in in_seconds(plan, rates).values():
        images = len(plan.shards[task.shard_id].image_ids)
        name = task.attack.name if task.attack else ""
        assert task.cost == pytest.approx(images * a_image[name])


def test_images_of_a_micro_batch_share_the_seconds_per_call(tmp_path: Path) -> None:
    plan = plan_in(tmp_path, attacks=["noise"], runtime={"micro_batch": 2}, shard_size=3)
    line = LinearCost(1.0, 0.0)
    rates = rates_of(plan, ModelRates(1.0, line, line, line, 0.0))
    for task in in_seconds(plan, rates).values():
        images = len(plan.shards[task.shard_id].image_ids)
        assert task.cost == (-(-images // 2) if task.attack is None else 0)


def test_many_schedule_groups_are_costed_by_the_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segtransfer.forecast.cost_model.EXACT_GROUPS", 0)
    plan = plan_in(tmp_path, attacks=[{"preset": "ds", "steps": 2}])
    line = LinearCost(0.0, 1.0)
    rates = rates_of(plan, ModelRates(1.0, line, line, line, 0.0))
    for task in in_seconds(plan, rates).values():
        images = len(plan.shards[task.shard_id].image_ids)
        assert task.cost == pytest.approx(images * (2 * 13 / 12 if task.attack else 1))
