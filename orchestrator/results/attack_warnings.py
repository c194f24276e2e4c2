"""Warnings about attacks and their sources, in the sentences of a spec's warnings."""

from collections.abc import Iterator

from segtransfer.experiment.spec_warnings import (
    attack_problems,
    budget_problems,
    listed,
    member_problems,
    reach_problems,
)
from segtransfer.results.scored import Scored
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS


def unusual_attacks(results: Scored) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield an attack and a sentence per allowed field that is probably a mistake.

    Args:
        results: The results.
    """
    for spec in results.manifest.settings.attacks:
        sizes, own = (spec.eps, spec.steps, spec.step_size), bool(spec.loop or spec.worst_of)
        for problem in attack_problems(*sizes, spec.loop, own_sizes=own):
            yield (spec.name,), f"Attack {spec.name}: {problem}."


def sources_and_steps(results: Scored) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield attacks and a sentence per doubtful match of attacks and their sources.

    Args:
        results: The results, with the steps taken on each source.
    """
    found: dict[str, list[str]] = {}
    members = {name: len(results.manifest.models[name].networks) for name in results.sources}
    for spec in results.manifest.settings.attacks:
        problems: list[str] = []
        if spec.start == "clean" and not (spec.loop or spec.worst_of):
            problems += reach_problems(spec.eps, spec.step_size, _steps_taken(results, spec.name))
        if spec.budget is not None:
            problems += budget_problems(spec.budget.forward_equivalents, members)
        kind = str((spec.gradient or {}).get("kind"))
        if kind in GRADIENTS and GRADIENTS[kind].for_ensembles:
            problems += member_problems(kind, members)
        for problem in problems:
            found.setdefault(problem, []).append(spec.name)
    for problem, names in found.items():
        yield tuple(names), f"Attack{'s' * (len(names) > 1)} {listed(names)}: {problem}."


def _steps_taken(results: Scored, attack: str) -> dict[str, int]:
    """Return the number of steps of an attack by source, as reports record it."""
    steps: dict[str, int] = {}
    for variant, made in results.variants.items():
        for source, report in results.attack_reports.get(variant, ()):
            if made.attack == attack and source in results.sources:
                for run in report.get("health", ()):
                    steps[source] = max(steps.get(source, 0), len(run["zero_gradients"]))
    return steps
