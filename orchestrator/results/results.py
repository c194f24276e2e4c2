"""The results of an experiment: transfer matrices, headline means, cost and perturbation."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from segtransfer.experiment.manifest import Manifest, ManifestAttack, ManifestModel, ManifestVariant
from segtransfer.experiment.task import CLEAN, Cell, MatrixIndex
from segtransfer.results.cells import cells_of
from segtransfer.results.reader import ExperimentReader
from segtransfer.results.warnings import ResultWarning, warnings_of
from segtransfer.shown import Drawn
from segtransfer.store import Store
from segtransfer.tasks import metrics

Stopped = Literal["", "hours", "terminated"]
# Metrics of one confusion matrix, in percent.
CONFUSION_METRICS = tuple(n for n, metric in metrics.METRICS.items() if metric.of_margins)
DERIVED = ("drop", "ratio")  # from the mIoU of several cells
ALL_METRICS = (*CONFUSION_METRICS, "fooling", *DERIVED)

# The relations of a source and a target over which headline means are taken, never across them.
PAIR_GROUPS = ("diagonal", "same_backbone", "cross_backbone")


@dataclass(frozen=True)
class Results(Drawn):
    """The stored results of one experiment; cells with a missing or damaged part are left out.

    An ``attack`` is named by its variant: an attack with several iterates or scorings has several.

    Attributes:
        identity: The experiment's identity.
        store: The store that holds the results.
        manifest: The experiment as the store describes it: spec, models, attacks, shards, cells.
        image_ids: The N images, in the order of the counts.
        sequences: The video of each image, or the image itself.
        counts: Per attack, source and target, int32 N x 3 x K: the right, labelled and predicted
            pixels of each class. Source is None for an attack without a source; its row is the
            same for every source.
        fooled: Per attack, source and target, int32 N x 2: the pixels that the attack turned
            wrong, and the pixels that are right on the clean image. Cells without clean
            predictions are left out.
        missing: The keys of the evaluations without a stored result.
        failures: The message of each failed task by key.
        pixels: The number of label pixels of each image, labelled or ignored.
        random_targets: The targets that answered one image differently twice.
        spans: Per attack, and of the clean images, the start of the first and the end of the last
            stored task, in seconds since 1970.
        computed: The number of tasks that this run computed.
        stopped: The reason why the run ended early: ``hours`` (its time limit), ``terminated``
            (SIGTERM), or empty.
    """

    identity: str
    store: Store
    manifest: Manifest
    image_ids: tuple[str, ...]
    sequences: tuple[str, ...]
    counts: Mapping[MatrixIndex, np.ndarray]
    fooled: Mapping[MatrixIndex, np.ndarray]
    missing: frozenset[str]
    pixels: tuple[int, ...] = ()
    random_targets: frozenset[str] = frozenset()
    spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)
    computed: int = 0
    stopped: Stopped = ""

    def __repr__(self) -> str:
        size = f"{len(self.sources)} x {len(self.targets)} models"
        images = f"{len(self.image_ids)} images of {self.manifest.dataset}"
        left = f"; {len(self.missing)} evaluations missing" if self.missing else ""
        return (
            f"<Results {self.name}-{self.identity[:8]}: {size}, {images}; "
            f"attacks {', '.join(self.attacks)}{left}>"
        )

    @cached_property
    def digest(self) -> str:
        """The sha256 of the identity, the counts, the attacks' reports and the warnings."""
        return _digest(self)

    @cached_property
    def warnings(self) -> tuple[ResultWarning, ...]:
        """Where the numbers mean little, the same in a run and in a reopened store."""
        return warnings_of(self)

    def reader(self, wanted: Callable[[Cell], bool] = lambda cell: True) -> ExperimentReader:
        """Return a reader of stored images, AEs, predictions and reports.

        Args:
            wanted: Whether to read a cell. Default: all cells.
        """
        return ExperimentReader(self.store, self.identity, self.manifest, wanted=wanted)

    @property
    def name(self) -> str:
        """The experiment's name."""
        return self.manifest.settings.name

    @property
    def attacks(self) -> list[str]:
        """The names of all variants of all attacks."""
        return list(self.variants)

    @cached_property
    def variants(self) -> Mapping[str, ManifestVariant]:
        """The variants of all attacks by name."""
        return {variant.name: variant for variant in self.manifest.variants}

    @property
    def sources(self) -> list[str]:
        """The names of the sources, the rows of matrices."""
        return list(self.manifest.sources)

    @property
    def targets(self) -> list[str]:
        """The names of the targets, the columns of matrices."""
        return list(self.manifest.targets)

    @property
    def classes(self) -> list[str]:
        """The names of the K classes."""
        return list(self.manifest.classes)

    def attack_spec(self, attack: str) -> ManifestAttack:
        """Return the resolved spec of the attack that a variant belongs to.

        Raises:
            KeyError: If there is no such variant.
        """
        return self.manifest.attacks[attack]

    def needs_source(self, attack: str) -> bool:
        """Return whether an attack uses a model; an attack of zero steps does not."""
        return self.attack_spec(attack).steps > 0

    def coverage(self, attack: str) -> tuple[int, int]:
        """Return the number of complete cells of an attack's matrix, and the number of cells."""
        sources = self.sources if self.needs_source(attack) else [None]
        cells = [(attack, source, target) for source in sources for target in self.targets]
        return sum(cell in self.counts for cell in cells), len(cells)

    def clean(self, metric: str = "miou") -> pd.Series:
        """Return a metric on the clean images per target, in percent.

        Args:
            metric: ``miou``, ``aacc``, ``macc`` or ``wrong``.
        """
        values = [self._percent((CLEAN, None, target), metric) for target in self.targets]
        return pd.Series(values, index=self.targets, name=CLEAN)

    def matrix(self, attack: str, metric: str = "miou") -> pd.DataFrame:
        """Return the transfer matrix of an attack, in percent.

        Args:
            attack: The name of an attack's variant.
            metric: ``miou``, ``aacc``, ``macc``, ``wrong`` (share of wrong pixels), ``fooling``
                (share of the pixels right on the clean image that are wrong on the AE), ``drop``
                (clean mIoU minus mIoU under attack), ``ratio`` (the drop over the drop of the
                ``strongest`` attack on the target itself), or another name of the registry.

        Returns:
            A frame of sources by targets, NaN for cells without a result.

        Raises:
            KeyError: If there is no such attack or metric.
        """
        if attack not in self.attacks:
            raise KeyError(f"no attack '{attack}'; there are {', '.join(self.attacks)}")
        if metric == "drop":
            return self.clean() - self.matrix(attack)
        if metric == "ratio":
            return self._ratios(attack)
        sourced = self.needs_source(attack)
        rows = [
            [self._percent((attack, s if sourced else None, t), metric) for t in self.targets]
            for s in self.sources
        ]
        frame = pd.DataFrame(rows, index=self.sources, columns=self.targets)
        return frame.rename_axis(index="source", columns="target")

    def strongest(self, attack: str, target: str) -> tuple[str, str] | None:
        """Return the white-box attack in the denominator of transfer ratios to a target.

        Args:
            attack: The variant whose norm and eps the white-box attack must share.
            target: The target.

        Returns:
            The variant that leaves the target the least mIoU, and its source. None if the
            experiment has no such attack, or if one of their cells is missing.
        """
        spec = self.attack_spec(attack)
        bound = spec.norm, spec.eps
        candidates = []
        for name in self.attacks:
            other = self.attack_spec(name)
            if other.steps == 0 or (other.norm, other.eps) != bound:
                continue
            for source in self.sources:
                if self.group(source, target) == "diagonal":
                    miou = self._percent((name, source, target), "miou")
                    candidates.append((miou, name, source))
        if not candidates or any(np.isnan(miou) for miou, *_ in candidates):
            return None
        _, name, source = min(candidates)
        return name, source

    def class_iou(self, attack: str, source: str | None, target: str) -> pd.Series:
        """Return the IoU of every class in a cell, in percent.

        Args:
            attack: The name of an attack's variant, or ``clean``.
            source: The source. It is ignored for an attack without a source.
            target: The target.

        Returns:
            A value per class, NaN for a class without pixels.

        Raises:
            KeyError: If the cell is missing.
        """
        cell = attack, source if attack != CLEAN and self.needs_source(attack) else None, target
        return pd.Series(metrics.class_iou_of(*self.counts[cell].sum(0)), index=self.classes)

    def headlines(self, attack: str, metric: str = "miou") -> dict[str, float]:
        """Return the mean of a matrix per pair group.

        Args:
            attack: The name of an attack's variant.
            metric: A metric of ``matrix``.

        Returns:
            The mean in percent by group, NaN for a group without pairs or with a missing cell.
        """
        matrix = self.matrix(attack, metric)
        groups: dict[str, list[float]] = {group: [] for group in PAIR_GROUPS}
        for source in self.sources:
            for target in self.targets:
                groups[self.group(source, target)].append(float(matrix.loc[source, target]))
        return {g: float(np.mean(values)) if values else np.nan for g, values in groups.items()}

    def group(self, source: str, target: str) -> str:
        """Return the pair group of a source and a target, by their names."""
        return pair_group(self.manifest.models[source], self.manifest.models[target])

    def frame(self) -> pd.DataFrame:
        """Return every metric of every matrix cell.

        Returns:
            A row per attack, source and target, with columns ``attack``, ``source``, ``target``,
            ``group`` and a column per metric in percent. ``attrs["warnings"]`` lists the sentences
            of ``warnings``.
        """
        metrics = {a: {m: self.matrix(a, m) for m in ALL_METRICS} for a in self.attacks}
        frame = cells_of(metrics, self.group)
        frame.attrs["warnings"] = [warning.sentence for warning in self.warnings]
        return frame

    @cached_property
    def attack_reports(self) -> Mapping[str, list[tuple[str | None, dict[str, Any]]]]:
        """Per variant's name: the source and the stored report of each of its attack tasks."""
        reports: dict[str, list[tuple[str | None, dict[str, Any]]]] = defaultdict(list)
        for attack, source, report in self.reader().attack_reports():
            reports[attack].append((source, report))
        return reports

    def perturbation(self, attack: str) -> pd.Series:
        """Return statistics of the 8-bit perturbation over all images and sources.

        Returns:
            The means of ``rms``, ``mean_abs`` and the others, and the maximum of ``linf``. The
            series is empty if no attack task is stored.
        """
        index = self.variants[attack].made
        reports = [report["perturbation"][index] for _, report in self.attack_reports[attack]]
        if not reports:
            return pd.Series(dtype=float)
        pooled = {k: np.concatenate([r[k] for r in reports]) for k in reports[0]}
        return pd.Series({k: v.max() if k == "linf" else v.mean() for k, v in pooled.items()})

    def cost(self, attack: str) -> pd.Series:
        """Return the cost of an attack over all sources and images.

        Returns:
            ``forwards`` and ``backwards`` in images, ``pixels``, and model ``seconds``, of the
            whole run also for an early iterate. ``forward_equivalents`` is the mean per image up
            to this iterate: pixels seen over the pixels of one forward at the image's own size.
        """
        index = self.variants[attack].made
        reports = [report for _, report in self.attack_reports[attack] if report["cost"]]
        names = ["forwards", "backwards", "pixels", "seconds"]
        total = pd.DataFrame([report["cost"] for report in reports], columns=names).sum()
        equivalents = [report["cost"]["forward_equivalents"][index] for report in reports]
        images = [len(report["perturbation"][index]["rms"]) for report in reports]
        mean = np.average(equivalents, weights=images) if reports else 0.0
        return pd.concat([total, pd.Series({"forward_equivalents": mean})])

    def _percent(self, cell: MatrixIndex, metric: str) -> float:
        """Return a metric of one cell that needs no other cell; NaN if it is missing."""
        if metric not in (*ALL_METRICS, "fooling") and not metrics.METRICS.is_foreign(metric):
            raise KeyError(f"no metric '{metric}'; there are {', '.join(ALL_METRICS)}")
        if cell not in self.counts:
            return np.nan
        if metric == "fooling":
            if cell not in self.fooled:
                return np.nan
            return float(metrics.fooling_of(*self.fooled[cell].sum(0)))
        return float(metrics.of_margins(metric)(*self.counts[cell].sum(0)))

    def _ratios(self, attack: str) -> pd.DataFrame:
        """Return the transfer ratios; NaN without a white-box attack, or if its drop is 0."""
        drops = self.matrix(attack, "drop")
        most = []
        for target in self.targets:
            strongest = self.strongest(attack, target)
            miou = self._percent((*strongest, target), "miou") if strongest else np.nan
            most.append(self._percent((CLEAN, None, target), "miou") - miou)
        scale = pd.Series(most, index=self.targets)
        return 100 * drops / scale.where(scale != 0)


def pair_group(source: ManifestModel, target: ManifestModel) -> str:
    """Return the pair group of a source and a target.

    Ensembles are compared by the fingerprint and backbone of every member.

    Returns:
        ``diagonal``, ``same_backbone`` or ``cross_backbone``.
    """
    pairs = [(a, b) for a in source.networks for b in target.networks]
    # An attack on an ensemble has the gradients of each of its members.
    if any(a[0] == b[0] for a, b in pairs):
        return "diagonal"
    return "same_backbone" if any(a[1] == b[1] for a, b in pairs) else "cross_backbone"


def _digest(results: Results) -> str:
    digest = hashlib.sha256(results.identity.encode())
    for cell in sorted(results.counts, key=str):
        digest.update(repr(cell).encode())
        digest.update(results.counts[cell].tobytes())
    for attack, reports in results.attack_reports.items():
        for source, report in reports:
            digest.update(repr((attack, source)).encode())
            digest.update(json.dumps(report, sort_keys=True).encode())
    for warning in results.warnings:
        digest.update(repr(warning).encode())
    return digest.hexdigest()
