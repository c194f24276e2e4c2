"""Print how AEs made on classifiers and on segmentation models transfer to segmentation models.

    segtransfer run infra/studies/class-to-segmentation.yaml data.folder=PATH/TO/camvid
    python infra/studies/class_to_segmentation.py segtransfer-store

The table has the mean drop in mIoU on models of the source's backbone and of other backbones, and
the drop from segmentation models minus the drop from classifiers, with 95 % intervals.
"""

import sys

from segtransfer import open_results
from segtransfer.results import Results
from segtransfer.statistics import Resampled
from segtransfer.studies.contrasts import combine, drops
from segtransfer.studies.study import plain, signed

GROUPS = {"shared": "models of the same backbone", "other": "models of another backbone"}


def pairs(results: Results, group: str, *, classifiers: bool) -> list[tuple[str, str]]:
    """Return the pairs of a kind of source with other models of its backbone, or of another."""
    models = results.manifest.models
    return [
        (source, target)
        for source in results.sources
        for target in results.targets
        if source != target
        and source.startswith("class-") == classifiers
        and (models[source].backbone == models[target].backbone) == (group == "shared")
    ]


def table(results: Results) -> list[str]:
    """Return the lines of a Markdown table, a row per attack and group of targets."""
    sample = Resampled(results)
    lines = [
        "| targets | attack | made on classifiers | made on segmentation models | difference |",
        "|---|---|---|---|---|",
    ]
    for group, words in GROUPS.items():
        for attack in results.attacks:
            if not results.needs_source(attack):
                continue
            low, high = (
                drops(sample, attack, pairs(results, group, classifiers=kind))
                for kind in (True, False)
            )
            of_kinds = [plain(combine(sample.design, [(1, values)])) for values in (low, high)]
            apart = signed(combine(sample.design, [(1, high), (-1, low)]))
            lines.append(f"| {words} | `{attack}` | {of_kinds[0]} | {of_kinds[1]} | {apart} |")
    return lines


def main() -> None:
    found = [r for r in open_results(sys.argv[1]) if r.name == "class-to-segmentation"]
    print("\n".join(table(found[-1])))


if __name__ == "__main__":
    main()
