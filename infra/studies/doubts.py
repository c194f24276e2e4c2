"""Compute the table "what could be wrong with this" from the files of ``evidence.py``.

    python infra/studies/doubts.py          # print the table
    python infra/studies/doubts.py --fill   # and write it into tasks/studies/README.md

Each row asks what a verdict would be if a precaution were left out, or under another choice.
"""

import argparse
import re
import runpy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segtransfer.results import Results
from segtransfer.results.text import signed_number
from segtransfer.statistics import Design, Interval, Pair, Resampled, pairs_of
from segtransfer.statistics.design import factor_of
from segtransfer.statistics.resampled import RESAMPLES
from segtransfer.studies import STUDIES, BaseExperiment
from segtransfer.studies.base import SCORES
from segtransfer.studies.contrasts import gain
from segtransfer.studies.overfitting_curves import halves_of, only_images
from segtransfer.studies.study import plain, signed
from segtransfer.studies.verdicts import NEGLIGIBLE, Reading, Verdict, judge

ROOT = Path(__file__).resolve().parents[2]
EVIDENCE = runpy.run_path(str(Path(__file__).with_name("evidence.py")))
PAGE = ROOT / "tasks/studies/README.md"
MARKS = re.compile(r"<!-- doubts -->\n.*?<!-- end -->", flags=re.DOTALL)


@dataclass(frozen=True)
class Doubt:
    """A row of the table.

    Attributes:
        name: The doubt.
        number: A sentence with the numbers.
        verdict: The verdict with the precaution and without, or under another choice.
    """

    name: str
    number: str
    verdict: str


@dataclass(frozen=True)
class Judged:
    """A study over its file.

    Attributes:
        study: The study's name.
        results: The results.
        base: The base.
    """

    study: str
    results: Results
    base: BaseExperiment

    def sample(self) -> Resampled:
        """Return the resampled results."""
        return Resampled(self.results)

    def numbers(self, design: Design | None = None) -> Any:
        """Return the study's findings, with the clusters of a design in place of its own."""
        return STUDIES[self.study].findings(Resampled(self.results, design=design), self.base)

    def verdicts(self) -> list[Verdict]:
        """Return the study's verdicts."""
        return STUDIES[self.study].verdicts(self.numbers())


def read(folder: Path, study: str) -> Judged | None:
    """Return a study over its file, or None without a file."""
    path = folder / f"{study}.parquet"
    return Judged(study, *EVIDENCE["unpack"](path)) if path.exists() else None


def independent(results: Results) -> Design:
    """Return the design that takes every image for a cluster of its own."""
    return Design((factor_of(results.image_ids, RESAMPLES),))


def images_as_replicates(rivals: Judged) -> Doubt:
    """Take images of a schedule group for independent."""
    numbers = rivals.numbers()
    naive = rivals.numbers(independent(rivals.results))
    ours, theirs = (n.over_best["raw"] for n in (numbers, naive))
    share = (theirs.high - theirs.low) / (ours.high - ours.low)
    return Doubt(
        "pseudo-replication: images of a schedule group share their scales",
        f"with independent images the interval of DS-MI less its best rival is {share:.2f} times "
        f"as wide: {signed(theirs)} in place of {signed(ours)}",
        changed(rivals.verdicts(), STUDIES["rivals"].verdicts(naive), "A5"),
    )


def trainings_as_one(twins: Judged) -> Doubt:
    """Judge a cause by images alone."""
    numbers = twins.numbers()
    role = numbers.kinds[0].roles[0]
    test = role.test["raw"]
    reading = Reading("A4", "", equality=NEGLIGIBLE, effect=True)
    naive = judge(reading, role.difference, numbers.facts.scope)
    return Doubt(
        "pseudo-replication: trainings of a network differ",
        f"over images the twins differ by {signed(role.difference['raw'])} points; "
        f"{test.arrangements} arrangements of the trainings give p = {test.p:.2g}",
        changed(twins.verdicts(), [naive], "A4"),
    )


def energy(rivals: Judged) -> Doubt:
    """Compare raw AEs alone, or at equal energy alone."""
    numbers = rivals.numbers()
    looks, scope = len(numbers.others), numbers.facts.scope
    reading = Reading("A5", "", equality=NEGLIGIBLE)
    single = {
        s: judge(reading, {s: numbers.over_best[s]}, scope, looks=looks).standing for s in SCORES
    }
    both = judge(reading, numbers.over_best, scope, looks=looks).standing
    told = " and ".join(f"{score} alone {standing}" for score, standing in single.items())
    return Doubt(
        "energy: a larger perturbation transfers better",
        f"the RMS is {numbers.rms:.2f} levels under DS-MI and {numbers.baseline.rms:.2f} under "
        f"PGD; DS-MI less PGD is {signed(numbers.baseline.behind)}",
        f"A5 both scores {both}; {told}",
    )


def cost(rivals: Judged) -> Doubt:
    """Compare what attacks cost, and what a comparison at equal steps would give away."""
    steps = {a.name: a.steps for a in rivals.results.manifest.settings.attacks}
    spent = {name: rivals.results.cost(name)["forward_equivalents"] for name in steps}
    return Doubt(
        "cost: dynamic scaling costs more per step",
        f"all attacks cost {min(spent.values()):.1f} to {max(spent.values()):.1f} forward "
        f"equivalents per image; DS-MI has {steps['ds-mi']} steps for that, PGD {steps['pgd']}",
        "none: no comparison is at equal steps, except in `overfitting` and `scales`",
    )


def multiplicity(rivals: Judged, jitter: Judged) -> Doubt:
    """Judge the best of several without a correction."""
    parts, numbers = [], []
    for judged, claim in ((rivals, "A5"), (jitter, "A4")):
        found = judged.numbers()
        reading = Reading(claim, "", equality=NEGLIGIBLE, effect=claim == "A4")
        plainly, corrected = (
            judge(reading, found.over_best, found.facts.scope, looks=looks)
            for looks in (1, len(found.others))
        )
        parts.append(changed([corrected], [plainly], claim))
        p = max(interval.p for interval in found.over_best.values())
        numbers.append(f"{claim}: the larger p is {p:.2g}, among {len(found.others)} attacks")
    return Doubt(
        "multiplicity: the best of several is judged", "; ".join(numbers), "; ".join(parts)
    )


def selection(rivals: Judged) -> Doubt:
    """Choose the best rival on one half of the images and compare on the other."""
    sample, numbers = rivals.sample(), rivals.numbers()
    pairs = pairs_of(rivals.results, numbers.group)
    names = [other.name for other in numbers.others]
    (one, other), found = halves_of(sample), []
    for chosen_on, compared_on in ((one, other), (other, one)):
        drops = [chosen_on.values(name, pairs, "drop")[0][0] for name in names]
        best = names[int(np.argmax(drops))]
        found.append((best, gain(compared_on, numbers.attack, best, pairs)))
    same = numbers.over_best["raw"]
    told = " and ".join(f"{signed(interval)} against {best}" for best, interval in found)
    agree = {interval.value > 0 for _, interval in found} == {same.value > 0}
    return Doubt(
        "selection: the best rival is chosen on the images that judge",
        f"chosen on half of the images and compared on the others: {told}; on all images "
        f"{signed(same)}",
        "none: the sign agrees on both halves" if agree else "A5: the sign differs between halves",
    )


def thresholds(rivals: Judged) -> Doubt:
    """Read "easily" by other thresholds."""
    ratio = rivals.numbers().ratio
    (verdict,) = (v for v in rivals.verdicts() if v.claim == "A6")
    curve = verdict.reason.rpartition("by threshold: ")[2]
    return Doubt(
        'thresholds: "easily" has no number',
        f"the transfer ratio of DS-MI is {plain(ratio['raw'])} % (raw) and "
        f"{plain(ratio['equal-rms'])} % (equal-rms)",
        f"A6 {curve}",
    )


def data_set(rivals: Judged) -> Doubt:
    """Compare on each video alone."""
    numbers, parts, signs = rivals.numbers(), [], set()
    pairs, best = pairs_of(rivals.results, numbers.group), numbers.best("raw").name
    videos = np.array(rivals.results.sequences)
    for video in dict.fromkeys(videos):
        mask = videos == video
        found = gain(Resampled(only_images(rivals.results, mask)), numbers.attack, best, pairs)
        signs.add(found.value > 0)
        parts.append(f"{signed_number(found.value, 2)} on {mask.sum()} images of {video}")
    return Doubt(
        "data set: two videos of a single city",
        f"DS-MI less {best}: {', '.join(parts)}",
        f"A5: the sign {'agrees' if len(signs) == 1 else 'differs'}; other cities are not tested",
    )


def small_nets(rivals: Judged) -> Doubt:
    """Compare on each pair of networks alone."""
    numbers, sample = rivals.numbers(), rivals.sample()
    best = numbers.best("raw").name
    pairs = pairs_of(rivals.results, numbers.group)
    found = {pair: gain(sample, numbers.attack, best, [pair]) for pair in pairs}
    above = sum(interval.value > 0 for interval in found.values())
    low, high = (choose(found, key=lambda pair: found[pair].value) for choose in (min, max))
    return Doubt(
        "small networks: 2 to 4.5 million parameters, a single training each",
        f"DS-MI less {best} is above 0 on {above} of {len(pairs)} pairs, from "
        f"{told(low, found[low])} to {told(high, found[high])}",
        "A5: not tested on large networks, nor on networks that others trained",
    )


def told(pair: Pair, interval: Interval) -> str:
    """Return a difference with its source and target."""
    return f"{signed_number(interval.value, 2)} ({pair[0]} to {pair[1]})"


def changed(ours: Sequence[Verdict], naive: Sequence[Verdict], claim: str) -> str:
    """Return the standings of a claim with a precaution and without."""
    one, other = (next(v.standing for v in found if v.claim == claim) for found in (ours, naive))
    return f"{claim} {one}; without the precaution {other}"


ROWS: dict[Callable[..., Doubt], tuple[str, ...]] = {
    images_as_replicates: ("rivals",),
    trainings_as_one: ("twins",),
    energy: ("rivals",),
    cost: ("rivals",),
    multiplicity: ("rivals", "jitter"),
    selection: ("rivals",),
    thresholds: ("rivals",),
    data_set: ("rivals",),
    small_nets: ("rivals",),
}


def rows(folder: Path) -> Iterator[Doubt]:
    """Yield the rows whose files are in a folder."""
    for row, names in ROWS.items():
        studies = [read(folder, name) for name in names]
        if all(studies):
            yield row(*studies)


def table(doubts: Sequence[Doubt]) -> str:
    """Return the rows as a Markdown table."""
    lines = ["| doubt | number | verdict |", "|---|---|---|"]
    lines += [f"| {doubt.name} | {doubt.number} | {doubt.verdict} |" for doubt in doubts]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fill", action="store_true", help="write the table into the page")
    args = parser.parse_args()
    made = table(list(rows(EVIDENCE["FOLDER"])))
    print(made)
    if args.fill:
        page = PAGE.read_text()
        PAGE.write_text(MARKS.sub(lambda _: f"<!-- doubts -->\n{made}\n<!-- end -->", page))


if __name__ == "__main__":
    main()
