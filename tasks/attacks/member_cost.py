"""The cost and the number of an attack's steps on a source with several members."""

from segtransfer.tasks.attacks.resolve import later_step_cost, preparation_cost
from segtransfer.tasks.attacks.spec import AttackSpec


def step_cost_on(attack: AttackSpec, members: int) -> float:
    """Return the mean cost of a step on a source, in forwards of the whole source.

    Args:
        attack: The attack.
        members: The number of members of an ensemble, 1 for another source.

    Returns:
        More than 0; equal to ``attack.step_cost`` unless the gradient rule depends on members.
    """
    return attack.step_cost + later_step_cost(attack, members) - later_step_cost(attack)


def steps_on(attack: AttackSpec, members: int) -> int:
    """Return the expected number of steps per restart on a source.

    Args:
        attack: The attack.
        members: The number of members of an ensemble, 1 for another source.

    Returns:
        ``attack.steps_taken``; under a budget the number of steps nearest to it, at least 1.
    """
    cost = later_step_cost(attack, members)
    if attack.budget is None or not attack.steps or cost == later_step_cost(attack):
        return attack.steps_taken
    share = attack.budget.forward_equivalents / attack.restarts - (attack.restarts > 1)
    return max(1, round((share - preparation_cost(attack)) / cost))
