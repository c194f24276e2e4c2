"""Warnings about a valid spec whose numbers probably mean little."""

from collections.abc import Iterator
from typing import Any

from segtransfer.experiment.spec import Experiment
from segtransfer.tasks.attacks.loops.spec import minimises_norm

LARGEST_USUAL_EPS = 0.5


def spec_warnings(experiment: Experiment) -> list[str]:
    """Return a sentence per field that is allowed but probably a mistake.

    Args:
        experiment: The spec.

    Returns:
        Sentences that name the attack by number and name; empty for a usual spec.
    """
    return [
        f"attacks.{number} '{attack.name}': {problem}"
        for number, attack in enumerate(experiment.attacks)
        for problem in attack_problems(attack.eps, attack.steps, attack.step_size, attack.loop)
    ]


def attack_problems(eps: float, steps: int, step_size: float, loop: Any = None) -> Iterator[str]:
    """Yield a clause per field of an attack that is allowed but probably a mistake.

    Args:
        eps: The bound, a fraction of the pixel range.
        steps: The number of steps.
        step_size: The length of a step, a fraction of the pixel range.
        loop: The loop in place of sign steps, or None. A loop may set its own step sizes, and one
            that seeks the smallest norm may have any eps.

    Yields:
        A clause for eps above 0.5, for eps 0, and for steps of size 0.
    """
    if eps > LARGEST_USUAL_EPS and not minimises_norm(loop):
        yield (
            f"eps {eps:g} is {255 * eps:.0f} of 255 levels, so nearly any image is "
            f"inside the bound; did you mean {eps:g}/255?"
        )
    if eps == 0:
        yield "eps is 0, so the adversarial examples equal the clean images"
    elif steps and not step_size and loop is None:
        yield "step_size is 0, so no step changes an image"
