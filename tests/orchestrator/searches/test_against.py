"""A search against random searches: equal cost, an interval over seeds, refusals."""

import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segtransfer.errors import InputError
from segtransfer.searches import run_search
from segtransfer.searches.against import (
    SEEDS,
    AgainstRandom,
    against_random,
    check_against,
    random_contexts,
)
from segtransfer.searches.context import SearchContext, propose
from segtransfer.searches.optuna_study import Trial
from tests.orchestrator.searches.searches import (
    STEP_SIZE,
    RecordingListener,
    grey_context,
    grey_search,
    keys_of,
    made_trial,
    space,
    step,
)


def trials(*transfers: float, cost: float = 2.0) -> list[Trial]:
    return [made_trial(number, transfer, cost) for number, transfer in enumerate(transfers)]


def test_trials_of_random_search_count_up_to_the_cost_of_the_search() -> None:
    found = against_random(trials(40, 50), [trials(20, 30, 90), trials(60, cost=4.0), trials(10)])
    assert found is not None
    assert (found.best, found.cost) == (50, 16)
    assert found.random == (30, 60, 10), "a third trial would have cost more"
    assert found.costs == (16, 16, 8)


def test_pruned_trials_cost_and_are_no_best() -> None:
    pruned = made_trial(2, 90.0, state="pruned")
    found = against_random([*trials(40), pruned], [[pruned, *trials(20)], [pruned, *trials(30)]])
    assert found is not None
    assert (found.best, found.cost, found.random) == (40, 16, (20, 30))


def test_single_random_search_gives_no_interval() -> None:
    assert against_random(trials(40), [trials(20)]) is None
    assert against_random(trials(40), [trials(20), [made_trial(0, 1.0, state="failed")]]) is None


def test_interval_covers_another_random_search_in_95_of_100() -> None:
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(2000):
        *seeds, one_more = generator.normal(30, 3, SEEDS + 1)
        low, high = AgainstRandom(0.0, 1.0, tuple(seeds), (1.0,)).expected
        inside += low <= one_more <= high
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("best", "claim"),
    [
        (60.0, "better than random search, beyond the noise"),
        (41.0, "is within the noise"),
        (20.0, "worse than random search, beyond the noise"),
    ],
)
def test_sentence_claims_nothing_within_the_interval(best: float, claim: str) -> None:
    assert claim in AgainstRandom(best, 9.0, (40.0, 42.0, 41.0), (9.0, 9.0, 8.0)).sentence


@pytest.fixture
def context(tmp_path: Path) -> SearchContext:
    return grey_context(tmp_path)[0]


def test_random_searches_differ_in_sampler_and_seed_and_share_all_keys(
    context: SearchContext,
) -> None:
    others = random_contexts(context)
    assert len({context.identity, *(other.identity for other in others)}) == SEEDS + 1
    assert {other.search.search.sampler for other in others} == {"random"}
    assert len({other.search.seed for other in (context, *others)}) == SEEDS + 1
    made = [keys_of(c, propose(c, step(16), 0), 4) for c in (context, *others)]
    assert all(keys == made[0] for keys in made)
    more = context.search.search.model_copy(update={"trials": 99})
    longer = replace(context, search=context.search.model_copy(update={"search": more}))
    assert [c.identity for c in random_contexts(longer)] == [c.identity for c in others]


def test_random_search_against_random_is_refused(context: SearchContext, tmp_path: Path) -> None:
    check_against(None, context)
    check_against("random", context)
    with pytest.raises(InputError, match="Unknown value 'grid' of --against"):
        check_against("grid", context)
    random = grey_context(tmp_path, search={"sampler": "random"})[0]
    with pytest.raises(InputError, match=r"search.sampler is random. Remove --against"):
        check_against("random", random)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_search_against_random_runs_each_seed_and_is_read_again(tmp_path: Path) -> None:
    signal.alarm(900)
    first = space(STEP_SIZE, step(16))  # the optimum, which no random search can exceed
    search = grey_search(tmp_path, search={"space": first, "trials": 3, "rungs": [1]})
    compared = list[str]()

    class Listening(RecordingListener):
        def comparing(self, context: SearchContext) -> None:
            compared.append(context.search.name)

    found = run_search(search, Listening(), against="random")
    assert compared == [f"search-random-{number}" for number in range(1, SEEDS + 1)]
    assert found.against is not None
    assert found.against.random == (found.against.best,) * SEEDS, "all start with the optimum"
    assert "within the noise" in found.against.sentence
    assert len(found.trials) == 3
    again = run_search(search, Listening(), against="random")
    assert again.against == found.against
    assert len(compared) == SEEDS, "no search runs again"
    assert run_search(search, Listening()).against is None
