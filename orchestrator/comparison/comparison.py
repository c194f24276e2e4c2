"""Comparison of two runs, or of two attacks: paired differences per cell, and their verdict."""

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
from segtransfer.tasks.metrics import METRICS, of_margins
from segtransfer.tasks.schema import suggest

VERDICT_GROUPS = ("cross_backbone", "same_backbone", "")  # in the order of a verdict's clauses


@dataclass(frozen=True)
class Comparison(Tabled):
    """Run B minus run A, on the images, sources and targets of both.

    Attributes:
        a: Results of A, restricted to the images, sources and targets of both.
        b: Results of B, restricted likewise.
        attacks: Pairs of an attack of A and an attack of B. B's name identifies the pair.
        metric: A name of the registry of metrics.
        allow: The kinds of differences that were tolerated.
        frame: A row per cell, row, column and mean. Columns: attack_a, attack_b, kind (cell, row,
            column, mean), group, source, target, a, b, difference (percentage points), low and
            high (95 % interval), p, and beyond_noise (Holm's correction within the kind).
        notes: Sentences about data left out and about the limits of the intervals.
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
        """Hash of both runs, the attacks, the metric and the allowances, in whatever store."""
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
        """sha256 of the compared results. Equal digests give equal figures and MLflow runs."""
        return key_of({"comparison": self.identity, "a": self.a.digest, "b": self.b.digest})

    @property
    def metric_name(self) -> str:
        """The metric's name in text and figures."""
        metric = METRICS.find(self.metric)
        return metric.words or metric.label

    @property
    def negative_fools_more(self) -> bool:
        """Whether B fools more if the difference is below zero."""
        return METRICS.find(self.metric).lower_fools_more

    def rows(self, attack: str, kind: str) -> pd.DataFrame:
        """Return the frame's rows of a kind for the pair of B's attack ``attack``."""
        frame = self.frame
        return frame[(frame["attack_b"] == attack) & (frame["kind"] == kind)]

    def matrix(self, attack: str | None = None, value: str = "difference") -> pd.DataFrame:
        """Return a value of a pair of attacks per source and target.

        Args:
            attack: B's attack of the pair; None for the first pair.
            value: difference, a, b, low, high, p or beyond_noise.

        Returns:
            A frame with a row per source and a column per target, in percentage points, NaN if a
            result is missing. Attacks without a source have a single row.

        Raises:
            KeyError: No pair has this attack of B.
        """
        name = self.attacks[0][1] if attack is None else attack
        if name not in dict(self.attacks).values():
            raise KeyError(f"no attack '{name}'; {suggest(name, [b for _, b in self.attacks])}")
        cells = self.rows(name, "cell")
        table = cells.pivot(index="source", columns="target", values=value)
        return table.loc[cells["source"].unique(), cells["target"].unique()]

    def verdict(self, attack: str) -> str:
        """Return a sentence about the transfer of a pair of attacks, noise named as noise."""
        a = next(a for a, b in self.attacks if b == attack)
        who = f"{attack}, B against A" if a == attack else f"{attack} (B) against {a} (A)"
        means = self.rows(attack, "mean")
        clauses = [
            self._clause(means[means["group"] == group].iloc[0])
            for group in VERDICT_GROUPS
            if (means["group"] == group).any()
        ]
        if not clauses:
            clauses = ["A and B share no source and other target, so nothing is said of transfer"]
        return f"{who}: {'; '.join(clauses)}."

    def _clause(self, mean: pd.Series) -> str:
        group, name = mean["group"], self.metric_name
        where = f"to {TARGETS_OF[group]}" if group else "over all targets"
        if pd.isna(mean["difference"]):
            return f"{where} results are missing"
        number = f"{name} {signed_number(mean['difference'], 2)}"
        if pd.isna(mean["low"]):
            return f"{where} there is no interval, because nothing can be resampled ({number})"
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
    metric: str = "miou",
    find_logged: FindLogged | None = None,
) -> Comparison:
    """Compare two runs, or two attacks, by reference.

    Two runs are compared attack by attack, over the names of attacks in both.

    Args:
        a: A reference as ``references.find_run`` reads it.
        b: A reference likewise; the result is B minus A.
        store: Folder or URL of the store of named experiments and attacks.
        allow: Differences to tolerate, of ``shared.ALLOWABLE``.
        metric: A name of the registry of metrics.
        find_logged: Looks up an MLflow run by its id; None if references are no such ids.

    Raises:
        InputError: A reference is unknown, or the runs cannot be compared.
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
    metric: str = "miou",
) -> Comparison:
    """Compare pairs of an attack of A and an attack of B.

    Args:
        a: Results of A, subtracted from B's.
        b: Results of B.
        attacks: Names of attacks, A's and B's per pair.
        allow: Differences to tolerate, of ``shared.ALLOWABLE``.
        metric: A name of the registry of metrics.

    Raises:
        InputError: ``allow`` or ``metric`` is unknown, or the runs cannot be compared.
    """
    for name in allow:
        if name not in ALLOWABLE:
            raise InputError(f"'{name}' cannot be allowed: {suggest(name, ALLOWABLE)}")
    if metric not in METRICS:
        of_margins(metric)
    if metric == "ratio" and a.identity != b.identity:
        raise InputError(
            "cannot compare: a transfer ratio is relative to the strongest attack of its own run, "
            "so those of two runs have different denominators; compare the metric drop"
        )
    ours, theirs, notes = bring_together(a, b, attacks, allow)
    frame, limits = differences(ours, theirs, attacks, metric)
    return Comparison(
        a=ours,
        b=theirs,
        attacks=tuple(attacks),
        metric=metric,
        allow=tuple(allow),
        frame=frame,
        notes=(*notes, *limits, *_warnings(a, b, attacks)),
    )


def _warnings(a: Results, b: Results, attacks: Sequence[tuple[str, str]]) -> list[str]:
    """Return the warnings of both runs that concern the compared attacks, with their runs."""
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
                f"A ({a.label}) and B ({b.label}) have no attack of one name: A has "
                f"{', '.join(a.attacks)}, B has {', '.join(b.attacks)}; name one of each "
                "after a colon"
            )
        return [(name, name) for name in both]
    return [(_only(a, "A"), _only(b, "B"))]


def _only(run: Run, name: str) -> str:
    """Return the attack that a reference names, or the run's only attack."""
    if run.attack is None and len(run.attacks) > 1:
        raise InputError(
            f"the other side is one attack, so name one of {name} ({run.label}) too, after a "
            f"colon: {', '.join(run.attacks)}"
        )
    return run.attack or run.attacks[0]
