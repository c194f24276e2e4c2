"""Exact permutation test over trainings of networks, stratified by architecture.

A training is a sample of size one, however many images it is scored on. Within an architecture,
trainings with and without a property are exchangeable if the property has no effect.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, prod

import numpy as np

from segtransfer.errors import InputError

MOST_ARRANGEMENTS = 1_000_000
TIE = 1e-9  # of the largest |difference|; differences nearer to each other are equal

Arms = tuple[Sequence[float], Sequence[float]]  # a mean per training: without the property, with it


@dataclass(frozen=True)
class Permutation:
    """The outcome of a test over trainings.

    Attributes:
        difference: The mean with the property minus the mean without, as mean over architectures,
            in the unit of the means.
        p: The share of arrangements with a |difference| of at least the observed, in (0, 1].
        arrangements: The number of arrangements.
        trainings: The number of trainings of the smallest arm.
    """

    difference: float
    p: float
    arrangements: int
    trainings: int


def permutation_test(architectures: Mapping[str, Arms]) -> Permutation:
    """Compare trainings with and without a property, over all arrangements per architecture.

    Args:
        architectures: By architecture the training-level means without the property and with it.

    Returns:
        The two-sided test. With a training per arm and architecture, p is 2 / 2^A at best for A
        architectures.

    Raises:
        InputError: If there is no architecture, an arm has no training, a mean is not finite, or
            the arrangements are more than ``MOST_ARRANGEMENTS``.
    """
    _check(architectures)
    differences = np.zeros(1)
    for without, with_it in architectures.values():
        found = _differences(np.array([*without, *with_it], float), len(without))
        differences = (differences[:, None] + found).ravel()
    differences /= len(architectures)
    sizes = np.abs(differences)
    extreme = sizes >= sizes[0] - TIE * sizes.max()
    smallest = min(len(arm) for arms in architectures.values() for arm in arms)
    return Permutation(float(differences[0]), float(extreme.mean()), len(differences), smallest)


def _differences(means: np.ndarray, without: int) -> np.ndarray:
    """Return the difference of means for every choice of trainings without the property.

    The first choice is the observed arrangement.
    """
    chosen = np.array(list(combinations(range(len(means)), without)))
    first = means[chosen].sum(axis=1)
    return (means.sum() - first) / (len(means) - without) - first / without


def _check(architectures: Mapping[str, Arms]) -> None:
    if not architectures:
        raise InputError(
            "A test over trainings needs an architecture; name trainings of both arms."
        )
    for name, (without, with_it) in architectures.items():
        for words, arm in (("without", without), ("with", with_it)):
            if not len(arm):
                raise InputError(
                    f"Architecture {name} has no training {words} the property; add one, or leave "
                    "the architecture out."
                )
            if not np.isfinite(np.asarray(arm, float)).all():
                raise InputError(
                    f"A training of architecture {name} {words} the property has no finite mean; "
                    "leave it out."
                )
    count = prod(comb(len(a) + len(b), len(a)) for a, b in architectures.values())
    if count > MOST_ARRANGEMENTS:
        raise InputError(
            f"The trainings have {count} arrangements, more than {MOST_ARRANGEMENTS}; compare "
            "fewer trainings."
        )
