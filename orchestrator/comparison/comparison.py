"""Comparison of two runs, or of two attacks: paired differences per cell, and a verdict."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from segtransfer.comparison.differences import differences
from segtransfer.comparison.references import FindLogged, Run, find_run, load
from segtransfer.comparison.shared import ALLOWABLE, bring_together
from segtransfer.errors import InputError
from segtransfer.experiment.keys import key_of
from segtransfer.results import Results
from segtransfer.results.markdown import warning_sentences
from segtransfer.results.text import TARGETS_OF, signed_interval, signed_number
from segtransfer.shown import Tabled
from segtransfer.statistics import NO_VERDICT
from segtransfer.store import Store
from segtransfer.tasks.image_metrics import score_of
from segtransfer.tasks.metrics import METRICS, of_margins
from segtransfer.tasks.schema import suggest

# In the order of a verdict's clauses.
VERDICT_GROUPS = ("cross_backbone", "same_backbone", "same_network", "")


@dataclass(frozen=True)
class Comparison(Tabled):
    """Run B minus run A, on the images, sources and targets of both.

        comparison = segtransfer.compare("pgd", "ds-mi")
        comparison.matrix()                      # differences in percentage points
        print(comparison.verdict("ds-mi"))

    Attributes:
        a: Results of A, restricted to the common images, sources and targets, in A's order.
        b: Results of B, restricted likewise, in A's order.
        attacks: Pairs of an attack of A and an attack of B. B's name identifies the pair.
        metric: A name of the registry of metrics. Default: the headline metric of A.
        allow: The kinds of differences that were tolerated.
        frame: A row per cell, row, column and mean. Columns: attack_a, attack_b, kind (cell, row,
            column, mean), group (pair group), source, target, a, b (the metric's unit), difference
            (b minus a, percentage points), low and high (95 % interval of the difference), p
            (two-sided), and beyond_noise (Holm's correction within the kind). Numbers are NaN
            without a result. Target is empty in rows, source in columns, both in means.
        notes: Sentences about left-out data, the limits of the intervals, and warnings of A and B.
    """

    a: Results
    b: Results
    attacks: tuple[tuple[str, str], ...]
    metric: str
    allow: tuple[str, ...]
    frame: pd.DataFrame
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        verdicts = "\n".join(self.verdict(attack) for _, attack in self.attacks)
        return f"<Comparison {self.b.name} minus {self.a.name}, {self.metric_name}>\n{verdicts}"

    @cached_property
    def identity(self) -> str:
        """Return the hash of both runs, the attacks, the metric and the allowances.

        Runs count by their identity, not by their store.
        """
        return key_of(
            {
                "a": self.a.identity,
                "b": self.b.identity,
                "attacks": [list(pair) for pair in self.attacks],
                "metric": self.metric,
                **({"code": METRICS.code_hash(self.metric)} if self.metric not in METRICS else {}),
                "allow": sorted(self.allow),
            }
        )

    @cached_property
    def digest(self) -> str:
        """Return the sha256 of the compared results; equal digests give equal figures."""
        return key_of({"comparison": self.identity, "a": self.a.digest, "b": self.b.digest})

    @property
    def metric_name(self) -> str:
        """Return the metric's name in text and figures."""
        metric = score_of(self.metric, self.a.headline)
        return metric.words or metric.label

    @property
    def negative_fools_more(self) -> bool:
        """Return whether a difference below 0 means that B fools more."""
        return METRICS.find(self.metric).lower_fools_more

    def rows(self, attack: str, kind: str) -> pd.DataFrame:
        """Return the rows of ``frame`` of a kind and a pair of attacks.

        Args:
            attack: B's attack of the pair.
            kind: ``cell``, ``row``, ``column`` or ``mean``.

        Returns:
            The rows with the columns and the index of ``frame``; empty for an unknown attack or
            kind.
        """
        frame = self.frame
        return frame[(frame["attack_b"] == attack) & (frame["kind"] == kind)]

    def matrix(self, attack: str | None = None, value: str = "difference") -> pd.DataFrame:
        """Return a value of a pair of attacks per source and target.

        Args:
            attack: B's attack of the pair; None for the first pair.
            value: A numeric column of ``frame``: ``difference``, ``a``, ``b``, ``low``, ``high``,
                ``p`` or ``beyond_noise``.

        Returns:
            A frame with a row per source and a column per target, in percentage points (``a`` and
            ``b`` in the metric's unit), NaN without a result. A pair of attacks without sources has
            a single row, named with an empty string.

        Raises:
            KeyError: If no pair has this attack of B, or the column is unknown.
        """
        name = self.attacks[0][1] if attack is None else attack
        if name not in dict(self.attacks).values():
            raise KeyError(f"no attack '{name}'; {suggest(name, [b for _, b in self.attacks])}")
        cells = self.rows(name, "cell")
        table = cells.pivot(index="source", columns="target", values=value)
        return table.loc[cells["source"].unique(), cells["target"].unique()]

    def verdict(self, attack: str) -> str:
        """Return a sentence on the difference in transfer of a pair of attacks.

        A difference counts as an effect only if it is beyond noise after Holm's correction for the
        number of means.

        Args:
            attack: B's attack of the pair.

        Returns:
            A clause per transfer group, other backbones first, with the mean difference and its 95
            % interval in percentage points.

        Raises:
            KeyError: If no pair has this attack of B.
        """
        a = {theirs: ours for ours, theirs in self.attacks}[attack]
        who = f"{attack}, B against A" if a == attack else f"{attack} (B) against {a} (A)"
        means = self.rows(attack, "mean")
        clauses = [
            self._clause(means[means["group"] == group].iloc[0])
            for group in VERDICT_GROUPS
            if (means["group"] == group).any()
        ]
        if not clauses:
            clauses = ["transfer is not measured, because no common target differs from the source"]
        return f"{who}: {'; '.join(clauses)}."

    def _clause(self, mean: pd.Series) -> str:
        group, name = mean["group"], self.metric_name
        where = f"to {TARGETS_OF[group]}" if group else "over all targets"
        if pd.isna(mean["difference"]):
            return f"{where} results are missing"
        number = f"{name} {signed_number(mean['difference'], 2)}"
        if pd.isna(mean["low"]):
            return f"{where} there is no interval, because all images are one cluster ({number})"
        number = f"{name} {signed_interval(mean['difference'], mean['low'], mean['high'])}"
        if pd.isna(mean["p"]):
            return f"{where} {NO_VERDICT} ({number})"
        if not mean["beyond_noise"]:
            alone = mean["low"] > 0 or mean["high"] < 0
            corrected = ", corrected for the number of means" if alone else ""
            return f"{where} the difference is within noise{corrected} ({number})"
        more = (mean["difference"] < 0) == self.negative_fools_more
        verb = "transfers" if mean["group"] else "works"
        return f"{where} B {verb} {'better' if more else 'worse'} ({number})"


def compare(
    a: str | Path,
    b: str | Path,
    *,
    store: str | Path = "segtransfer-store",
    allow: Collection[str] = (),
    metric: str | None = None,
    find_logged: FindLogged | None = None,
) -> Comparison:
    """Compare two runs, or two attacks, by reference.

    Two runs are compared attack by attack, over the attack names that both have.

    Args:
        a: The baseline: a reference as for ``references.find_run``.
        b: A reference likewise; the result is B minus A.
        store: The folder or URL of the store of named experiments and attacks.
        allow: Kinds of differences to tolerate, of ``shared.ALLOWABLE``.
        metric: A name of the registry of metrics. Default: the headline metric of A.
        find_logged: Returns the origin of an MLflow run by its id; None to accept no such ids.

    Returns:
        The comparison, with 95 % intervals by cluster bootstrap over the common images.

    Raises:
        InputError: If a reference is unknown, or the runs cannot be compared.
    """
    where = Store(str(store))
    run_a, run_b = (find_run(str(reference), where, find_logged) for reference in (a, b))
    attacks = _pairs(run_a, run_b)
    results = load(run_a)
    other = results if run_b.is_of(run_a) else load(run_b)
    return compare_results(results, other, attacks, allow=allow, metric=metric)


def compare_results(
    a: Results,
    b: Results,
    attacks: Sequence[tuple[str, str]],
    *,
    allow: Collection[str] = (),
    metric: str | None = None,
) -> Comparison:
    """Compare pairs of an attack of A and an attack of B.

    Args:
        a: Results of A, the baseline.
        b: Results of B.
        attacks: Per pair the name of A's attack and of B's attack.
        allow: Kinds of differences to tolerate, of ``shared.ALLOWABLE``.
        metric: A name of the registry of metrics; ``ratio`` only within an experiment. Default: the
            headline metric of A.

    Returns:
        The comparison B minus A on the common images, sources and targets. Equal results give equal
        intervals, because the bootstrap has a fixed seed.

    Raises:
        InputError: If ``allow`` or ``metric`` is unknown, or the runs cannot be compared.
    """
    for name in allow:
        if name not in ALLOWABLE:
            raise InputError(f"--allow '{name}' is unknown; {suggest(name, ALLOWABLE)}")
    if a.headline != b.headline:
        raise InputError(
            f"cannot compare {a.name} ({a.quality}) and {b.name} ({b.quality}): the targets of one "
            "predict a class per image, of the other a class per pixel; compare runs of one kind"
        )
    metric = metric or a.headline
    score_of(metric, a.headline)
    if metric not in METRICS:
        of_margins(metric)
    if metric == "ratio" and a.identity != b.identity:
        raise InputError(
            "cannot compare the metric ratio of two runs: its denominator is the strongest attack "
            "of the same run, so the denominators differ. Compare the metric drop."
        )
    ours, theirs, notes = bring_together(a, b, attacks, allow)
    frame, limits = differences(ours, theirs, attacks, metric)
    every = (*notes, *limits, *_warnings(a, b, attacks))
    return Comparison(ours, theirs, tuple(attacks), metric, tuple(allow), frame, every)


def _warnings(a: Results, b: Results, attacks: Sequence[tuple[str, str]]) -> list[str]:
    """Return the warnings of both runs about the compared attacks, each with its runs."""
    found: dict[str, list[str]] = {}
    for side, (name, run) in enumerate((("A", a), ("B", b))):
        for sentence in warning_sentences(run, [pair[side] for pair in attacks]):
            found.setdefault(sentence, []).append(name)
    return [f"Warning ({' and '.join(runs)}): {sentence}" for sentence, runs in found.items()]


def _pairs(a: Run, b: Run) -> list[tuple[str, str]]:
    """Pair the attacks of A and B: by name, or the single attack that each side names."""
    if a.attack is None and b.attack is None:
        both = [name for name in a.attacks if name in b.attacks]
        if not both:
            raise InputError(
                f"A ({a.label}) and B ({b.label}) have no attack name in common: A has "
                f"{', '.join(a.attacks)}, B has {', '.join(b.attacks)}. Name an attack of each "
                "after a colon, as RUN:ATTACK."
            )
        return [(name, name) for name in both]
    return [(_only(a, "A"), _only(b, "B"))]


def _only(run: Run, name: str) -> str:
    """Return the attack that a reference names, or the run's only attack."""
    if run.attack is None and len(run.attacks) > 1:
        raise InputError(
            f"The other run is restricted to one attack, but {name} ({run.label}) has several. "
            f"Name an attack after a colon, as {run.label}:{run.attacks[0]}; attacks: "
            f"{', '.join(run.attacks)}."
        )
    return run.attack or run.attacks[0]
