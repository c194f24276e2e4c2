"""Warnings about a valid spec whose numbers probably mean little."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from segtransfer.experiment.spec import Experiment
from segtransfer.tasks.attacks.loops.spec import minimises_norm
from segtransfer.tasks.attacks.member_cost import steps_on
from segtransfer.tasks.attacks.spec import AttackSpec

LARGEST_USUAL_EPS = 0.5
MOST_NAMES = 5  # in an enumeration


def spec_warnings(experiment: Experiment) -> list[str]:
    """Return a sentence per field that is allowed but probably a mistake.

    Args:
        experiment: The spec.

    Returns:
        Sentences that name the attacks; empty for a usual spec.
    """
    members = {
        model.name: len(model.ensemble.members) if model.ensemble else 1
        for model in experiment.source_models
    }
    found: dict[str, list[int]] = {}
    for number, attack in enumerate(experiment.attacks):
        for problem in (
            *attack_problems(
                attack.eps, attack.steps, attack.step_size, attack.loop, own_sizes=attack.own_sizes
            ),
            *_source_problems(attack, members),
        ):
            found.setdefault(problem, []).append(number)
    return [f"{_named(experiment, numbers)}: {problem}" for problem, numbers in found.items()]


def _named(experiment: Experiment, numbers: list[int]) -> str:
    """Return attacks by number and name, or the names of several."""
    names = [f"'{experiment.attacks[number].name}'" for number in numbers]
    return f"attacks.{numbers[0]} {names[0]}" if len(names) == 1 else f"attacks {listed(names)}"


def _source_problems(attack: AttackSpec, members: Mapping[str, int]) -> Iterator[str]:
    """Yield a clause per doubtful match of an attack and the sources, with their members."""
    steps = {source: steps_on(attack, count) for source, count in members.items()}
    fixed = not attack.own_sizes and not minimises_norm(attack.loop)
    if attack.start == "clean" and fixed:
        yield from reach_problems(attack.eps, attack.step_size, steps)
    if not attack.steps:
        return
    if attack.budget is not None:
        yield from budget_problems(attack.budget.forward_equivalents, members)
    if attack.gradient is not None and attack.gradient.typed().for_ensembles:
        yield from member_problems(attack.gradient.kind, members)


def attack_problems(
    eps: float, steps: int, step_size: float, loop: Any = None, *, own_sizes: bool
) -> Iterator[str]:
    """Yield a clause per field of an attack that is allowed but probably a mistake.

    Args:
        eps: The bound, a fraction of the pixel range.
        steps: The number of steps.
        step_size: The length of a step, a fraction of the pixel range.
        loop: The loop in place of sign steps, or None. A loop that seeks the smallest norm may have
            any eps.
        own_sizes: Whether a loop or the members of the attack set the lengths of steps.

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
    elif steps and not step_size and not own_sizes:
        yield "step_size is 0, so no step changes an image"


def reach_problems(eps: float, step_size: float, steps: Mapping[str, int]) -> Iterator[str]:
    """Yield a clause if the steps from the clean image end before the bound.

    Args:
        eps: The bound, a fraction of the pixel range.
        step_size: The length of a step, a fraction of the pixel range.
        steps: The number of steps by source; 0 for no attack.

    Yields:
        A clause per number of steps, with its sources if numbers differ.
    """
    for count in sorted(set(steps.values())):
        if not 0 < count * step_size < eps * (1 - 1e-6):
            continue
        sources = [source for source, taken in steps.items() if taken == count]
        on = f" on {listed(sources)}" if len(sources) < len(steps) else ""
        yield (
            f"{count} step{'s' * (count > 1)} of {255 * step_size:.3g} levels{on} move a value by "
            f"at most {255 * count * step_size:.3g} of eps {255 * eps:.3g} levels; give more steps "
            "or budget, or a larger step_size"
        )


def budget_problems(budget: float, members: Mapping[str, int]) -> Iterator[str]:
    """Yield a clause if a budget buys sources unequal numbers of member forwards.

    Args:
        budget: Forward equivalents per image, each a forward of the whole source.
        members: The number of members by source, 1 for a single model.
    """
    if len(set(members.values())) > 1:
        costs = [f"{budget * count:g} on {source}" for source, count in members.items()]
        yield (
            f"a budget of {budget:g} is {listed(costs)} in forwards of single networks, because a "
            "forward of an ensemble runs every member; for equal cost, give ensembles a smaller "
            "budget in a spec of their own"
        )


def member_problems(rule: str, members: Mapping[str, int]) -> Iterator[str]:
    """Yield a clause if a gradient rule for ensembles runs on single models.

    Args:
        rule: The name of the gradient rule.
        members: The number of members by source, 1 for a single model.
    """
    single = [source for source, count in members.items() if count == 1]
    if single:
        yield (
            f"gradient '{rule}' is a rule for ensembles; on {listed(single)} it has the steps of "
            "a single member; name ensembles in sources"
        )


def listed(parts: Sequence[str]) -> str:
    """Return parts as an enumeration, cut after ``MOST_NAMES``."""
    if len(parts) > MOST_NAMES + 1:
        parts = [*parts[:MOST_NAMES], f"{len(parts) - MOST_NAMES} more"]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
