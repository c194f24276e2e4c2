"""Results: per-image confusion matrices from the store -> transfer matrices as DataFrames."""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import FORMAT
from segtransfer.experiment.task import CLEAN
from segtransfer.store import Store
from segtransfer.tasks import metrics
from segtransfer.tasks.data.base import sequence_of
from segtransfer.tasks.data.shards import Shard

Stopped = Literal["", "hours", "terminated"]
Cell = tuple[str, str | None, str]  # attack, source, target
METRICS = {
    "miou": metrics.miou,
    "aacc": metrics.accuracy,
    "macc": metrics.class_accuracy,
    "wrong": lambda matrix: 100 - metrics.accuracy(matrix),
}
DERIVED = ("drop", "ratio")  # of the mIoU here and elsewhere
ALL_METRICS = (*METRICS, "fooling", *DERIVED)


@dataclass(frozen=True)
class Results:
    """The results of one experiment, as far as they are stored.

    ``confusions[attack, source, target]`` is int64 N x K x K over ``image_ids``; an attack that
    needs no source has source None there and the same row for every source in matrices.
    ``fooled`` int64 N x 2: pixels that the attack turned wrong, and those that were right; it lacks
    a cell whose clean predictions are missing. ``stopped`` says what ended the run before its work
    was done: its hours were up, or it got SIGTERM.
    """

    identity: str
    store: Store
    content: Mapping[str, Any]
    image_ids: tuple[str, ...]
    sequences: tuple[str, ...]
    confusions: Mapping[Cell, np.ndarray]
    fooled: Mapping[Cell, np.ndarray]
    missing: frozenset[str]
    failures: Mapping[str, str] = field(default_factory=dict)
    computed: int = 0
    stopped: Stopped = ""

    @cached_property
    def digest(self) -> str:
        """sha256 of all that these results hold; equal digests draw and log alike."""
        digest = hashlib.sha256(self.identity.encode())
        for cell in sorted(self.confusions, key=str):
            digest.update(repr(cell).encode())
            digest.update(self.confusions[cell].tobytes())
        return digest.hexdigest()

    @property
    def name(self) -> str:
        return self.content["spec"]["name"]

    @property
    def attacks(self) -> list[str]:
        """What the attacks made, by name: an attack that keeps several iterates or scores of an
        image stands here once for each."""
        return list(self.made)

    @cached_property
    def made(self) -> Mapping[str, Mapping[str, Any]]:
        """By name: which attack made it, which of its images it is, the step, and the score."""
        return {made["name"]: made for made in self.content["attacks"]}

    @property
    def sources(self) -> list[str]:
        return list(self.content["sources"])

    @property
    def targets(self) -> list[str]:
        return list(self.content["targets"])

    @property
    def classes(self) -> list[str]:
        return list(self.content["classes"])

    def attack_spec(self, attack: str) -> dict[str, Any]:
        """The resolved spec of the attack that made these images."""
        name = self.made[attack]["attack"]
        return next(a for a in self.content["spec"]["attacks"] if a["name"] == name)

    def needs_source(self, attack: str) -> bool:
        """Whether the attack's rows differ: an attack of zero steps uses no model."""
        return self.attack_spec(attack)["steps"] > 0

    def coverage(self, attack: str) -> tuple[int, int]:
        """How many cells of an attack's matrix have all their images, and how many there are."""
        sources = self.sources if self.needs_source(attack) else [None]
        cells = [(attack, source, target) for source in sources for target in self.targets]
        return sum(cell in self.confusions for cell in cells), len(cells)

    def clean(self, metric: str = "miou") -> pd.Series:
        """A metric on the clean images, a value a target, in percent."""
        values = [self._value(CLEAN, None, target, metric) for target in self.targets]
        return pd.Series(values, index=self.targets, name=CLEAN)

    def matrix(self, attack: str, metric: str = "miou") -> pd.DataFrame:
        """A metric under attack in percent: sources down, targets across; NaN where missing.

        ``metric`` is miou, aacc, macc, wrong (share of pixels that are), fooling (share of pixels
        right on the clean image that are wrong on the AE), drop (clean mIoU less mIoU under attack)
        or ratio (the drop over that of the ``strongest`` attack on the target itself).
        """
        if attack not in self.attacks:
            raise KeyError(f"no attack '{attack}'; there are {', '.join(self.attacks)}")
        if metric == "drop":
            return self.clean() - self.matrix(attack)
        if metric == "ratio":
            return self._ratios(attack)
        sourced = self.needs_source(attack)
        rows = [
            [self._value(attack, s if sourced else None, t, metric) for t in self.targets]
            for s in self.sources
        ]
        frame = pd.DataFrame(rows, index=self.sources, columns=self.targets)
        return frame.rename_axis(index="source", columns="target")

    def strongest(self, attack: str, target: str) -> tuple[str, str] | None:
        """The white-box attack on a target that leaves it the least mIoU, of the norm and eps of
        ``attack``, and its source: what transfer ratios to this target are relative to. None where
        the experiment has none, or not all of its cells yet.
        """
        spec = self.attack_spec(attack)
        bound = spec["norm"], spec["eps"]
        found = []
        for name in self.attacks:
            other = self.attack_spec(name)
            if other["steps"] == 0 or (other["norm"], other["eps"]) != bound:
                continue
            for source in self.sources:
                if self.group(source, target) == "diagonal":
                    value = self._value(name, source, target, "miou")
                    found.append((value, name, source))
        if not found or any(np.isnan(value) for value, *_ in found):
            return None
        _, name, source = min(found)
        return name, source

    def class_iou(self, attack: str, source: str | None, target: str) -> pd.Series:
        """IoU of every class in percent; NaN for a class that does not occur."""
        key = (attack, source if attack != CLEAN and self.needs_source(attack) else None, target)
        return pd.Series(metrics.class_iou(self.confusions[key].sum(0)), index=self.classes)

    def headlines(self, attack: str, metric: str = "miou") -> dict[str, float]:
        """Means of a matrix over its diagonal, same-backbone and cross-backbone cells, apart.

        NaN where there is no such cell.
        """
        matrix = self.matrix(attack, metric)
        groups: dict[str, list[float]] = {g: [] for g in GROUPS}
        for source in self.sources:
            for target in self.targets:
                groups[self.group(source, target)].append(float(matrix.loc[source, target]))
        return {g: float(np.mean(values)) if values else np.nan for g, values in groups.items()}

    def group(self, source: str, target: str) -> str:
        """Which headline a cell belongs to; the means never mix them.

        A model's networks are pairs of fingerprint and backbone, one for each member.
        """
        models = self.content["models"]
        pairs = [(a, b) for a in models[source]["networks"] for b in models[target]["networks"]]
        # An ensemble knows each of its members from inside.
        if any(a[0] == b[0] for a, b in pairs):
            return "diagonal"
        return "same_backbone" if any(a[1] == b[1] for a, b in pairs) else "cross_backbone"

    def frame(self) -> pd.DataFrame:
        """One row a cell: attack, source, target, group, and every metric."""
        names = list(ALL_METRICS)
        rows = []
        for attack in self.attacks:
            values = {metric: self.matrix(attack, metric) for metric in names}
            for source in self.sources:
                for target in self.targets:
                    cell = {m: float(values[m].loc[source, target]) for m in names}
                    group = self.group(source, target)
                    rows.append(
                        {"attack": attack, "source": source, "target": target, "group": group}
                        | cell
                    )
        return pd.DataFrame(rows)

    @cached_property
    def attack_reports(self) -> Mapping[str, list[tuple[str | None, dict[str, Any]]]]:
        """The stored reports of every attack's tasks, with their source."""
        reports: dict[str, list[tuple[str | None, dict[str, Any]]]] = defaultdict(list)
        seen: set[tuple[str, str]] = set()
        for attack, source, _, _, _, key in self.content["cells"]:
            if key is not None and (attack, key) not in seen:
                seen.add((attack, key))
                if row := self.store.row(key):
                    reports[attack].append((source, row.report))
        return reports

    def perturbation(self, attack: str) -> pd.Series:
        """Mean statistics of the 8-bit perturbation over images and sources; linf the largest."""
        made = self.made[attack]["made"]
        reports = [report["perturbation"][made] for _, report in self.attack_reports[attack]]
        if not reports:
            return pd.Series(dtype=float)
        pooled = {k: np.concatenate([r[k] for r in reports]) for k in reports[0]}
        return pd.Series({k: v.max() if k == "linf" else v.mean() for k, v in pooled.items()})

    def cost(self, attack: str) -> pd.Series:
        """What all sources spent together: image forwards and backwards, pixels, model seconds;
        all of the run, however early the iterate.

        ``forward_equivalents`` is the mean of one image up to this iterate: pixels seen over those
        of one forward at its own size.
        """
        made = self.made[attack]["made"]
        reports = [report for _, report in self.attack_reports[attack] if report["cost"]]
        names = ["forwards", "backwards", "pixels", "seconds"]
        total = pd.DataFrame([report["cost"] for report in reports], columns=names).sum()
        equivalents = [report["cost"]["forward_equivalents"][made] for report in reports]
        images = [len(report["perturbation"][made]["rms"]) for report in reports]
        mean = np.average(equivalents, weights=images) if reports else 0.0
        return pd.concat([total, pd.Series({"forward_equivalents": mean})])

    def _value(self, attack: str, source: str | None, target: str, metric: str) -> float:
        key = attack, source, target
        if metric not in (*METRICS, "fooling"):
            raise KeyError(f"no metric '{metric}'; there are {', '.join(ALL_METRICS)}")
        if key not in self.confusions:
            return np.nan
        if metric == "fooling":
            if key not in self.fooled:
                return np.nan
            wrong, right = self.fooled[key].sum(0)
            return float(100 * wrong / max(right, 1))
        return float(METRICS[metric](self.confusions[key].sum(0)))

    def _ratios(self, attack: str) -> pd.DataFrame:
        """NaN where nothing was attacked with the target's own gradients, or that drops nothing."""
        drops = self.matrix(attack, "drop")
        most = []
        for target in self.targets:
            strongest = self.strongest(attack, target)
            value = self._value(*strongest, target, "miou") if strongest else np.nan
            most.append(self._value(CLEAN, None, target, "miou") - value)
        scale = pd.Series(most, index=self.targets)
        return 100 * drops / scale.where(scale != 0)


GROUPS = ("diagonal", "same_backbone", "cross_backbone")


def load_results(store: Store, identity: str) -> Results:
    """Assemble an experiment's results; cells with a missing or damaged part stay out."""
    experiments = store.experiments()
    if identity not in experiments:
        raise InputError(f"store {store.location} holds no experiment {identity}")
    return results_of(store, identity, experiments[identity])


def results_of(store: Store, identity: str, content: Mapping[str, Any]) -> Results:
    """The results that ``content`` describes, as an experiment keeps it in the store."""
    if content.get("format") != FORMAT:
        raise InputError(
            f"experiment {content.get('spec', {}).get('name', identity)} in {store.location} was "
            "written by another version of segtransfer; run it again, into this store or a new one"
        )
    shards = {shard_id: store.shard(shard_id) for shard_id in content["shards"]}
    grouped: dict[tuple[str, str | None, str], list[tuple[str, str]]] = defaultdict(list)
    for attack, source, target, shard_id, key, _ in content["cells"]:
        grouped[attack, source, target].append((shard_id, key))
    missing: set[str] = set()
    confusions: dict[Cell, np.ndarray] = {}
    fooled: dict[Cell, np.ndarray] = {}
    predictions: dict[tuple[str, str], np.ndarray] = {}  # clean ones, by target and shard
    for cell, parts in grouped.items():
        attack, _, target = cell
        found = [(shard_id, key, store.evaluation(key)) for shard_id, key in parts]
        missing |= {key for _, key, evaluation in found if evaluation is None}
        complete = [(s, e) for s, _, e in found if e is not None]
        if len(complete) < len(found):
            continue
        confusions[cell] = np.concatenate([e.confusions for _, e in complete])
        if attack == CLEAN:
            predictions |= {(target, s): e.predictions for s, e in complete}
        counts = [
            _fooled(e.predictions, predictions.get((target, s)), shards[s]) for s, e in complete
        ]
        known = [count for count in counts if count is not None]
        if len(known) == len(counts):
            fooled[cell] = np.concatenate(known)
    stored = [shard for shard in shards.values() if shard is not None]
    images = tuple(i for shard in stored for i in shard.image_ids)
    return Results(
        identity=identity,
        store=store,
        content=content,
        image_ids=images,
        sequences=_sequences(content, images, stored),
        confusions=confusions,
        fooled=fooled,
        missing=frozenset(missing),
    )


def _sequences(
    content: Mapping[str, Any], images: Sequence[str], stored: Sequence[Shard]
) -> tuple[str, ...]:
    """The videos that images are from: as the experiment says, since an older one with the same
    shards may not have known them."""
    if pattern := content["spec"]["data"].get("sequence"):
        return tuple(sequence_of(image, pattern) for image in images)
    return tuple(sequence for shard in stored for sequence in shard.sequences)


def _fooled(
    adversarial: np.ndarray, clean: np.ndarray | None, shard: Shard | None
) -> np.ndarray | None:
    """The counts of one shard; None where its labels or its clean predictions are missing."""
    if clean is None or shard is None:
        return None
    return metrics.fooled(adversarial, clean, shard.labels)
