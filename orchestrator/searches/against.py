"""Comparison of a search with random searches of the same space, at no more cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.stats import t as student

from segtransfer.errors import InputError
from segtransfer.experiment.keys import key_of
from segtransfer.searches.context import SearchContext
from segtransfer.searches.optuna_study import Trial

RANDOM = "random"
SEEDS = 5


@dataclass(frozen=True)
class AgainstRandom:
    """Best transfer of a search, beside the best of each random search within the same cost.

    Transfer is in points, over the images of the search. Cost is in image steps: forward
    equivalents of all trials, pruned ones too, for one source. ``random`` and ``costs`` have a
    value per random search.
    """

    best: float
    cost: float
    random: tuple[float, ...]
    costs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean best transfer of random search."""
        return float(np.mean(self.random))

    @cached_property
    def expected(self) -> tuple[float, float]:
        """Return the 95 % prediction interval of the best transfer of one more random search.

        By Student's t over the seeds. The seed of the search itself is one draw, too: the interval
        of the mean alone would leave that out.
        """
        count = len(self.random)
        spread = float(np.std(self.random, ddof=1)) * np.sqrt(1 + 1 / count)
        half = float(student.ppf(0.975, count - 1)) * spread
        return self.mean - half, self.mean + half

    @property
    def sentence(self) -> str:
        """Return whether the search is better than random search beyond the noise of seeds."""
        low, high = self.expected
        if self.best > high:
            claim = "The search is better, beyond the noise of seeds."
        elif self.best < low:
            claim = "The search is worse, beyond the noise of seeds."
        else:
            claim = "The difference is within the noise of seeds."
        return (
            "Against random search of as many trials, at no more cost: the best transfer is "
            f"{self.best:.2f} points, that of random search {self.mean:.2f} on average of "
            f"{len(self.random)} seeds; one more random search would reach {low:.2f} to "
            f"{high:.2f} (95 %). {claim} Cost: {self.cost:.0f} image steps, and "
            f"{np.mean(self.costs):.0f} on average."
        )


def check_against(against: str | None, context: SearchContext) -> None:
    """Refuse a comparison that means nothing.

    Raises:
        InputError: ``against`` is no known search, or the search is itself random.
    """
    if against not in (None, RANDOM):
        raise InputError(f"--against {against} is unknown; allowed: {RANDOM}")
    if against and context.search.search.sampler == RANDOM:
        raise InputError(
            "--against random compares with random searches, and search.sampler is random; leave "
            "--against out, or set search.sampler=tpe"
        )


def random_contexts(context: SearchContext) -> list[SearchContext]:
    """Return the contexts of random searches: the same but for the sampler and its seed.

    Their attacks draw scales and noise by the search's own seed, so equal proposals have equal
    keys and are computed once.
    """
    settings = context.search.search.model_copy(update={"sampler": RANDOM})
    return [
        replace(
            context,
            identity=key_of({"search": context.identity, "random": number}),
            search=context.search.model_copy(
                update={
                    "name": f"{context.search.name}-random-{number}",
                    "search": settings,
                    "seed": context.search.seed + number,
                }
            ),
        )
        for number in range(1, SEEDS + 1)
    ]


def against_random(
    trials: Sequence[Trial], others: Sequence[Sequence[Trial]]
) -> AgainstRandom | None:
    """Compare the trials of a search with those of random searches.

    Trials of a random search count in their order, until they have cost as much as the search.

    Returns:
        The comparison, or None if fewer than two random searches have a complete trial.
    """
    cost = _cost(trials)
    within = [_within(other, cost) for other in others]
    found = [(best, _cost(some)) for some in within if (best := _best(some)) is not None]
    best = _best(trials)
    if best is None or len(found) < 2:
        return None
    random, costs = zip(*found, strict=True)
    return AgainstRandom(best, cost, random, costs)


def _within(trials: Sequence[Trial], cost: float) -> list[Trial]:
    return [trial for n, trial in enumerate(trials, 1) if _cost(trials[:n]) <= cost * (1 + 1e-9)]


def _cost(trials: Sequence[Trial]) -> float:
    scores = [trial.score for trial in trials if trial.score is not None]
    return sum(score.images * score.forward_equivalents for score in scores)


def _best(trials: Sequence[Trial]) -> float | None:
    whole = [trial.score for trial in trials if trial.state == "complete" and trial.score]
    return max((score.objectives["transfer"] for score in whole), default=None)
