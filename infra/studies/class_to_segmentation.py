"""Print how AEs made on classifiers and on segmentation models transfer to segmentation models.

    segtransfer run infra/studies/class-to-segmentation.yaml data.folder=PATH/TO/camvid
    python infra/studies/class_to_segmentation.py segtransfer-store

The table has the mean drop in mIoU on models of the source's backbone and of other backbones, and
the drop from segmentation models minus the drop from classifiers, with 95 % intervals. Every target
has the same weight.
"""

import sys

from segtransfer import open_results
from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.statistics.design import Pair
from segtransfer.statistics.resampled import Values
from segtransfer.studies.contrasts import combine, drops, mean
from segtransfer.studies.study import plain, signed

GROUPS = {"shared": "models of the same backbone", "other": "models of another backbone"}


def pairs(results: Results, target: str, group: str, *, classifiers: bool) -> list[Pair]:
    """Return the pairs of a target with the sources of a kind, of its backbone or of another."""
    models = results.manifest.models
    return [
        (source, target)
        for source in results.sources
        if source != target
        and source.startswith("class-") == classifiers
        and (models[source].backbone == models[target].backbone) == (group == "shared")
    ]


def mean_drop(sample: Resampled, attack: str, group: str, *, classifiers: bool) -> Values:
    """Return the mean over targets of each target's mean drop over its sources.

    Both kinds of source thus have the same weight per target, whatever their numbers.
    """
    results = sample.results
    of_targets = [pairs(results, t, group, classifiers=classifiers) for t in results.targets]
    return mean([drops(sample, attack, chosen) for chosen in of_targets])


def table(results: Results) -> list[str]:
    """Return the lines of a Markdown table, a row per attack and group of targets."""
    sample = Resampled(results)
    lines = [
        "| targets | attack | made on classifiers | made on segmentation models | difference |",
        "|---|---|---|---|---|",
    ]
    for group, words in GROUPS.items():
        for attack in filter(results.needs_source, results.attacks):
            ours, theirs = (mean_drop(sample, attack, group, classifiers=k) for k in (True, False))
            of_kinds = [plain(combine(sample.design, [(1, values)])) for values in (ours, theirs)]
            apart = signed(combine(sample.design, [(1, theirs), (-1, ours)]))
            lines.append(f"| {words} | `{attack}` | {of_kinds[0]} | {of_kinds[1]} | {apart} |")
    return lines


def main() -> None:
    found = [r for r in open_results(sys.argv[1]) if r.name == "class-to-segmentation"]
    print("\n".join(table(found[-1])))


if __name__ == "__main__":
    main()
