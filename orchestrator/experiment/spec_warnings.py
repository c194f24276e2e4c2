"""Warnings about a valid spec whose numbers probably mean little."""

from collections.abc import Iterator

from segtransfer.experiment.spec import Experiment
from segtransfer.tasks.attacks.spec import AttackSpec

LARGEST_USUAL_EPS = 0.5


def spec_warnings(experiment: Experiment) -> list[str]:
    """Return a sentence per field that is allowed and probably not meant."""
    return [
        f"attacks.{number} '{attack.name}': {problem}"
        for number, attack in enumerate(experiment.attacks)
        for problem in _problems(attack)
    ]


def _problems(attack: AttackSpec) -> Iterator[str]:
    if attack.eps > LARGEST_USUAL_EPS:
        yield (
            f"eps {attack.eps:g} is {255 * attack.eps:.0f} of 255 levels, so nearly any image is "
            f"inside the bound; did you mean {attack.eps:g}/255?"
        )
    if attack.eps == 0:
        yield "eps is 0, so the adversarial examples equal the clean images"
    elif attack.steps and not attack.step_size:
        yield "step_size is 0, so no step changes an image"
