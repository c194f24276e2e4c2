"""Comparison of a search with random searches of the same space, at no larger cost."""

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
    """The best transfer of a search, beside the best of each random search at no larger cost.

    Transfer is the mean drop in mIoU over all pairs, in percentage points, on the images of the
    search. Cost is in image steps: forward equivalents times images, summed over all trials, pruned
    ones included, for a single source.

    Attributes:
        best: The best transfer of the search.
        cost: The cost of the search.
        random: The best transfer per random search, at least two.
        costs: The cost per random search, counted up to ``cost``.
    """

    best: float
    cost: float
    random: tuple[float, ...]
    costs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean of the best transfers of random search, in percentage points."""
        return float(np.mean(self.random))

    @cached_property
    def expected(self) -> tuple[float, float]:
        """Return the 95 % prediction interval of the best transfer of another random search.

        The interval follows from Student's t over the seeds. It covers a single draw, because the
        search itself has a single seed.

        Returns:
            The lower and the upper bound in percentage points.
        """
        count = len(self.random)
        spread = float(np.std(self.random, ddof=1)) * np.sqrt(1 + 1 / count)
        half = float(student.ppf(0.975, count - 1)) * spread
        return self.mean - half, self.mean + half

    @property
    def sentence(self) -> str:
        """Return a paragraph: both transfers, the prediction interval, a verdict and both costs."""
        low, high = self.expected
        if self.best > high:
            claim = "The search is better than random search, beyond the noise of seeds."
        elif self.best < low:
            claim = "The search is worse than random search, beyond the noise of seeds."
        else:
            claim = "The difference is within the noise of seeds."
        return (
            "Against random search with as many trials and no larger cost: the best transfer is "
            f"{self.best:.2f} points, and {self.mean:.2f} points for random search (mean of "
            f"{len(self.random)} seeds; 95 % prediction interval of another seed {low:.2f} to "
            f"{high:.2f}). {claim} Cost: {self.cost:.0f} image steps; random search "
            f"{np.mean(self.costs):.0f} on average."
        )


def check_against(against: str | None, context: SearchContext) -> None:
    """Refuse a comparison of a random search with random searches.

    Args:
        against: The value of ``--against``; None without a comparison.
        context: The context of the search.

    Raises:
        InputError: If ``against`` is unknown, or the search's own sampler is random.
    """
    if against not in (None, RANDOM):
        raise InputError(f"Unknown value '{against}' of --against. Allowed: {RANDOM}.")
    if against and context.search.search.sampler == RANDOM:
        raise InputError(
            "--against random needs another sampler, but search.sampler is random. Remove "
            "--against, or set search.sampler=tpe."
        )


def random_contexts(context: SearchContext) -> list[SearchContext]:
    """Return the contexts of ``SEEDS`` random searches, which differ in sampler and seed.

    Their attacks draw scales and noise by the search's own seed, so equal proposals have equal keys
    and are computed once.

    Args:
        context: The context of the search.

    Returns:
        Contexts with identities and names of their own.
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
    """Compare the trials of a search with the trials of random searches.

    Trials of a random search count in order, until their cost reaches the cost of the search.

    Args:
        trials: The trials of the search.
        others: The trials of each random search.

    Returns:
        The comparison, or None if the search has no complete trial, or fewer than two random
        searches have.
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
