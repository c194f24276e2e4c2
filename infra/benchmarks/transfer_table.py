"""Print the table of attacks at equal cost from a stored run of ``transfer_table.yaml``.

    python infra/benchmarks/transfer_table.py segtransfer-store transfer-table-4

A line an attack and score: mean mIoU under attack on targets of the same and of another
backbone and on the source itself, the perturbation's RMS in levels, the cost in forward
equivalents, and the paired difference to PGD and MI on targets of another backbone with its 95 %
interval.
"""

import sys

from segtransfer import open_results
from segtransfer.results import Results
from segtransfer.results.text import HEADLINES
from segtransfer.statistics import Resampled, pairs_of

BASELINES = ("pgd", "mi")
MEANS = ("same_backbone", "cross_backbone", "diagonal")
COLUMNS = [
    "attack",
    *(HEADLINES[group] for group in MEANS),
    "RMS",
    "cost",
    *(f"less {b.upper()}" for b in BASELINES),
]


def lines(results: Results, score: str) -> list[str]:
    """Return the rows of a score, in the order of the experiment."""
    sample = Resampled(results)
    names = [name for name in results.attacks if results.variants[name].score == score]
    return [_line(results, sample, name) for name in names]


def _line(results: Results, sample: Resampled, name: str) -> str:
    attack = results.variants[name].attack
    means = results.headlines(name)
    cells = [f"{means[g]:.1f}" for g in MEANS]
    statistics, cost = results.perturbation(name), results.cost(name)
    suffix = name.removeprefix(attack)
    differences = [_difference(sample, name, baseline + suffix) for baseline in BASELINES]
    energy_and_cost = f"{statistics['rms']:.2f}", f"{cost['forward_equivalents']:.2f}"
    return _row(attack, *cells, *energy_and_cost, *differences)


def _row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def _difference(sample: Resampled, name: str, baseline: str) -> str:
    if name == baseline:
        return "–"
    found = sample.difference(name, baseline, pairs_of(sample.results, "cross_backbone"))
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def main() -> None:
    store, wanted = sys.argv[1:]
    results = next(r for r in reversed(open_results(store)) if r.name == wanted)
    clean = ", ".join(f"{name} {value:.1f}" for name, value in results.clean().items())
    print(f"Clean mIoU on {len(results.image_ids)} images: {clean}.")
    eps = {255 * results.attack_spec(name).eps for name in results.attacks}
    for score in ("raw", "equal-rms"):
        levels = " and ".join(f"{level:g}" for level in sorted(eps))
        print(f"\neps {levels}/255, {score}\n\n{_row(*COLUMNS)}\n{'|---' * len(COLUMNS)}|")
        print("\n".join(lines(results, score)))


if __name__ == "__main__":
    main()
