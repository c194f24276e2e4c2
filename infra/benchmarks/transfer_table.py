"""Print the table of attacks at equal cost from a stored run of ``transfer_table.yaml``.

    python infra/benchmarks/transfer_table.py segtransfer-store

A line an attack, eps and score: mean mIoU under attack on targets of the same and of another
backbone and on the source itself, the perturbation's RMS in levels, the cost in forward
equivalents, and the paired difference to PGD and MI on targets of another backbone with its 95 %
interval.
"""

import sys

from orchestrator import open_results
from orchestrator.intervals import paired_difference
from orchestrator.results import Results

BASELINES = ("pgd", "mi")
MEANS = {"same_backbone": "same backbone", "cross_backbone": "other backbone", "diagonal": "itself"}
COLUMNS = ["attack", *MEANS.values(), "RMS", "cost", *(f"less {b.upper()}" for b in BASELINES)]


def lines(results: Results, eps: str, score: str) -> list[str]:
    """The rows of one eps and score, in the order of the experiment."""
    rows = []
    for name in results.attacks:
        made = results.made[name]
        preset, _, level = made["attack"].rpartition("-")
        if (level, made["score"]) == (eps, score):
            rows.append(_line(results, name, preset, eps, name.removeprefix(made["attack"])))
    return rows


def _line(results: Results, name: str, preset: str, eps: str, suffix: str) -> str:
    means = results.headlines(name)
    cells = [f"{means[g]:.1f}" for g in MEANS]
    statistics, cost = results.perturbation(name), results.cost(name)
    differences = [
        _difference(results, name, f"{baseline}-{eps}{suffix}") for baseline in BASELINES
    ]
    energy_and_cost = f"{statistics['rms']:.2f}", f"{cost['forward_equivalents']:.2f}"
    return _row(preset, *cells, *energy_and_cost, *differences)


def _row(*values: str) -> str:
    return f"| {' | '.join(values)} |"


def _difference(results: Results, name: str, baseline: str) -> str:
    if name == baseline:
        return "–"
    found = paired_difference(results, name, baseline, "cross_backbone")
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def main() -> None:
    results = next(r for r in reversed(open_results(sys.argv[1])) if r.name == "transfer-table")
    clean = ", ".join(f"{name} {value:.1f}" for name, value in results.clean().items())
    print(f"Clean mIoU on {len(results.image_ids)} images: {clean}.")
    for score in ("raw", "eps*sign"):
        for eps in ("2", "4", "8"):
            print(f"\neps {eps}/255, {score}\n\n{_row(*COLUMNS)}\n{'|---' * len(COLUMNS)}|")
            print("\n".join(lines(results, eps, score)))


if __name__ == "__main__":
    main()
