"""Carrying out an experiment and driving several clients, inline."""

from pathlib import Path
from typing import Any

import pytest

from segtransfer.experiment.plan import Plan, make_plan
from segtransfer.results import load_results
from segtransfer.runtime.drive import served_models
from segtransfer.runtime.driver import Driver
from segtransfer.runtime.executors.inline.executor import InlineExecutor
from segtransfer.runtime.runner import carry_out
from segtransfer.runtime.sessions import Notice, Submission, UnknownClientError
from segtransfer.store import Store
from tests.orchestrator.runtime.executors.test_contract import Log
from tests.orchestrator.toy_experiments import (
    assert_same_bits,
    run_toy,
    toy,
    toy_experiment,
    unloadable,
)


class InlineDriver:
    """A driver in this process, and the plans that clients submit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        experiment = toy_experiment(folder)
        self.store = Store(experiment.runtime.store)
        self.driver = Driver(InlineExecutor(micro_batch=4), self.store, experiment.runtime)
        self.clients: list[str] = []

    def submit(self, **changes: Any) -> tuple[str, Plan]:
        plan = make_plan(toy_experiment(self.folder, **changes), self.store, self.store.put_shard)
        client = self.driver.submit(Submission(plan.tasks, served_models(plan), plan.stored))
        self.clients.append(client)
        return client, plan

    def run(self, *clients: str) -> None:
        while not all(self.kinds(client, "finished") for client in clients):
            self.driver.step(0.1)

    def kinds(self, client: str, kind: str) -> list[Notice]:
        return [n for n in self.driver.events(client, 0) if n.kind == kind]

    def done(self, client: str) -> list[str]:
        return [notice.key for notice in self.kinds(client, "done")]


@pytest.fixture
def inline(tmp_path: Path) -> InlineDriver:
    return InlineDriver(tmp_path)


def test_two_clients_with_equal_tasks_are_both_notified_of_one_computation(
    inline: InlineDriver,
) -> None:
    one, plan = inline.submit()
    two, _ = inline.submit()
    inline.run(one, two)
    assert sorted(inline.done(one)) == sorted(inline.done(two)) == sorted(plan.tasks)
    assert len(inline.kinds(one, "finished")) == len(inline.kinds(two, "finished")) == 1
    hosted = inline.driver.executor._models.values()  # type: ignore[attr-defined]
    forwards = [model.cost.forwards for model in hosted]
    # 6 images: clean, noise, and two sources' pgd and ds-mi scored; two attacks of 3 steps made.
    # The first image of each of the 3 shards is answered twice: a model may be random.
    assert forwards == [6 * (1 + 1 + 4) + 6 * 2 * 3 + 3] * 2


def test_a_client_whose_tasks_are_stored_is_notified_at_once(inline: InlineDriver) -> None:
    first, _ = inline.submit()
    inline.run(first)
    again, plan = inline.submit()
    assert plan.missing == []
    assert [n.kind for n in inline.driver.events(again, 0)] == ["finished"]


def test_cancelled_client_drops_only_its_own_tasks(inline: InlineDriver) -> None:
    one, wide = inline.submit()
    two, narrow = inline.submit(attacks=["noise"])
    inline.driver.cancel(one)
    inline.run(two)
    assert sorted(inline.done(two)) == sorted(narrow.tasks)
    assert inline.store.keys() == narrow.tasks.keys()
    with pytest.raises(UnknownClientError):
        inline.driver.events(one, 0)
    back, _ = inline.submit()
    inline.run(back)
    assert inline.store.keys() == wide.tasks.keys() | narrow.tasks.keys()


def test_scored_aes_leave_the_input_cache(inline: InlineDriver) -> None:
    client, _ = inline.submit()
    inline.run(client)
    assert inline.driver._cache._images == {}
    cancelled, _ = inline.submit(seed=3)
    while not inline.driver._cache._images:
        inline.driver.step(0.1)
    inline.driver.cancel(cancelled)
    other, _ = inline.submit(attacks=["noise"], seed=4)
    inline.run(other)
    assert inline.driver._cache._images == {}


def test_unloadable_model_fails_a_later_client_as_well(inline: InlineDriver) -> None:
    broken = unloadable("broken", inline.folder)
    for _ in range(2):
        client, plan = inline.submit(models=[toy("a", seed=1), broken], attacks=["noise"])
        inline.run(client)
        failed = {notice.key for notice in inline.kinds(client, "failed")}
        fingerprint = plan.infos["broken"].fingerprint
        assert failed == {k for k, t in plan.tasks.items() if t.model == fingerprint}
        assert len(inline.kinds(client, "finished")) == 1


def test_results_can_be_read_from_the_store_alone(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    for path in sorted((tmp_path / "data").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    again = load_results(Store(results.store.location), results.identity)
    assert_same_bits(again, results)
    assert again.matrix("pgd", "fooling").equals(results.matrix("pgd", "fooling"))
    assert again.image_ids == results.image_ids


def test_a_moved_store_is_the_same_store(tmp_path: Path) -> None:
    results = run_toy(tmp_path)
    before = results.frame()
    Path(results.store.location).rename(tmp_path / "moved")
    again = run_toy(tmp_path, runtime={"store": str(tmp_path / "moved")})
    assert again.computed == 0
    assert again.frame().equals(before)


def test_shards_of_any_size_give_an_image_the_same_result(tmp_path: Path) -> None:
    """Scales are drawn by schedule group and noise by image: not by the call they share."""
    twos, ones = (run_toy(tmp_path, shard_size=size) for size in (2, 1))
    assert ones.image_ids == twos.image_ids
    for cell, confusions in twos.counts.items():
        assert (ones.counts[cell] == confusions).all(), cell


def test_a_listener_receives_the_plan_before_anything_is_computed(tmp_path: Path) -> None:
    class Witness(Log):
        def planned(self, plan: Plan) -> None:
            assert Store(plan.experiment.runtime.store).keys() == set()
            super().planned(plan)

    log = Witness()
    carry_out(toy_experiment(tmp_path), log)
    assert len(log.plans) == 1
    assert sum(notice.cost for notice in log.notices) == pytest.approx(
        sum(task.cost for task in log.plans[0].tasks.values())
    )


def test_unwritable_store_stops_the_run(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the store should be")
    with pytest.raises(OSError, match="store"):
        run_toy(tmp_path)
