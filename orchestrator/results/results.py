"""The results of an experiment: transfer matrices, headline means, cost and perturbation."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd

from segtransfer.experiment.manifest import Manifest, ManifestAttack, ManifestVariant
from segtransfer.experiment.task import CLEAN, Cell, MatrixIndex
from segtransfer.results.attack_statistics import add_looks, cost_of, perturbation_of, spectra_of
from segtransfer.results.cells import cells_of
from segtransfer.results.digest import digest_of
from segtransfer.results.measured import Measures, percent, ratios, strongest
from segtransfer.results.norms import norms_of
from segtransfer.results.pairs import PAIR_GROUPS, pair_group
from segtransfer.results.reader import ExperimentReader
from segtransfer.results.warnings import ResultWarning, warnings_of
from segtransfer.shown import Drawn
from segtransfer.store import Store

Stopped = Literal["", "hours", "terminated"]


@dataclass(frozen=True)
class Results(Measures, Drawn):
    """The stored results of an experiment, read from a store.

    An ``attack`` is the name of a variant, ``ATTACK[:STEP][:SCORE]``: an attack with several kept
    steps or scores has several. Cells with a missing or damaged part are NaN in matrices. K is the
    number of classes, N of images.

        results = segtransfer.run("quickstart")
        results.matrix("ds-mi")                  # mIoU in percent, sources x targets
        results.headlines("ds-mi", "drop")       # percentage points by pair group

    Attributes:
        identity: The experiment's identity, a sha256 in hexadecimal.
        store: The store that holds the results.
        manifest: The experiment as the store describes it: spec, models, attacks, shards, cells.
        image_ids: The ids of the N images, in the order of the counts.
        sequences: The video of each image, or the id of a single image.
        counts: Per attack, source and target, int32 N x 3 x K: right, labelled and predicted pixels
            of each class. Source is None for an attack without a model (a single cell)
            and for the attack ``clean``.
        fooled: Per attack, source and target, int32 N x 2: pixels right on the clean image and
            wrong on the AE, and pixels right on the clean image. Cells without clean predictions
            are left out.
        missing: The keys of the tasks whose results are missing or damaged.
        pixels: The number of label pixels of each image, ignored ones included; empty if unknown.
        random_targets: The targets with different answers to equal images.
        spans: Per attack, and for ``clean``, the start of the first and the end of the last stored
            task, in seconds since 1970.
        failures: The message of each failed task by key; empty for reopened results.
        computed: The number of tasks that this run computed; 0 for reopened results.
        stopped: Why the run ended early: ``hours`` (time limit), ``terminated`` (SIGTERM) or empty.
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
        """Return the sha256 of the identity, the counts, the attacks' reports and the warnings."""
        return digest_of(self.identity, self.counts, self.attack_reports, self.warnings)

    @cached_property
    def warnings(self) -> tuple[ResultWarning, ...]:
        """Return the warnings: findings on stored counts and reports that limit the numbers."""
        return warnings_of(self)

    def reader(self, wanted: Callable[[Cell], bool] = lambda cell: True) -> ExperimentReader:
        """Return a reader of stored images, AEs, predictions and reports.

        Args:
            wanted: Returns whether to read a cell. Default: all cells.

        Returns:
            A reader that has read nothing yet.
        """
        return ExperimentReader(self.store, self.identity, self.manifest, wanted=wanted)

    @property
    def name(self) -> str:
        """Return the experiment's name."""
        return self.manifest.settings.name

    @property
    def attacks(self) -> list[str]:
        """Return the names of all variants of all attacks, in the order of the spec."""
        return list(self.variants)

    @cached_property
    def variants(self) -> Mapping[str, ManifestVariant]:
        """Return the variants of all attacks by name."""
        return {variant.name: variant for variant in self.manifest.variants}

    @property
    def sources(self) -> list[str]:
        """Return the names of the sources, the rows of matrices."""
        return list(self.manifest.sources)

    @property
    def targets(self) -> list[str]:
        """Return the names of the targets, the columns of matrices."""
        return list(self.manifest.targets)

    def attack_spec(self, attack: str) -> ManifestAttack:
        """Return the resolved spec of a variant's attack; raise KeyError for an unknown variant."""
        return self.manifest.attacks[attack]

    def coverage(self, attack: str) -> tuple[int, int]:
        """Return the number of cells with a result in an attack's matrix, and of all its cells."""
        sources = self.sources if self.needs_source(attack) else [None]
        cells = [(attack, source, target) for source in sources for target in self.targets]
        return sum(cell in self.counts for cell in cells), len(cells)

    def clean(self, metric: str | None = None) -> pd.Series:
        """Return a metric on the clean images per target.

        Args:
            metric: ``miou``, ``aacc``, ``macc``, ``wrong``, or ``module:attribute`` of your own.
                Default: ``headline``.

        Returns:
            A float Series in percent, indexed by target, NaN for a target without a result.

        Raises:
            KeyError: If the metric is unknown.
            InputError: If the metric compares cells (``drop``, ``ratio``).
        """
        metric = metric or self.headline
        values = [percent(self, (CLEAN, None, target), metric) for target in self.targets]
        return pd.Series(values, index=self.targets, name=CLEAN)

    def matrix(self, attack: str, metric: str | None = None) -> pd.DataFrame:
        """Return the transfer matrix of an attack.

        Args:
            attack: The name of an attack's variant.
            metric: ``miou``, ``aacc``, ``macc``, ``wrong`` (share of wrong pixels), ``fooling``
                (share of the pixels right on the clean image that are wrong on the AE), ``drop``
                (clean value of ``headline`` minus the value under attack), ``ratio`` (the drop over
                the drop of the ``strongest`` white-box attack on the target), or another name of
                the registry. Default: ``headline``.

        Returns:
            A float frame with a row per source and a column per target, in percent, ``drop`` in
            percentage points. NaN for cells without a result. An attack without a model has equal
            rows.

        Raises:
            KeyError: If the attack or the metric is unknown.
        """
        if attack not in self.attacks:
            raise KeyError(f"no attack '{attack}'; there are {', '.join(self.attacks)}")
        metric = metric or self.headline
        if (attack, metric) not in self._matrices:
            self._matrices[attack, metric] = self._matrix(attack, metric)
        return self._matrices[attack, metric].copy()

    @cached_property
    def _matrices(self) -> dict[tuple[str, str], pd.DataFrame]:
        """Return the matrices computed so far, by attack and metric."""
        return {}

    def _matrix(self, attack: str, metric: str) -> pd.DataFrame:
        if metric == "drop":
            return self.clean() - self.matrix(attack)
        if metric == "ratio":
            return ratios(self, attack)
        sourced = self.needs_source(attack)
        rows = [
            [percent(self, (attack, s if sourced else None, t), metric) for t in self.targets]
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
            The variant with the lowest ``headline`` on the target, and its source. None if the
            experiment has no such attack, or if a candidate's cell has no result.
        """
        if (attack, target) not in self._strongest:
            self._strongest[attack, target] = strongest(self, attack, target)
        return self._strongest[attack, target]

    def headlines(self, attack: str, metric: str | None = None) -> dict[str, float]:
        """Return the mean of a matrix per pair group.

        Args:
            attack: The name of an attack's variant.
            metric: A metric of ``matrix``. Default: ``headline``.

        Returns:
            The mean by ``diagonal``, ``same_network``, ``same_backbone`` and ``cross_backbone``, in
            the matrix's unit; NaN for a group without pairs or with a cell without a result.

        Raises:
            KeyError: If the attack or the metric is unknown.
        """
        matrix = self.matrix(attack, metric)
        groups: dict[str, list[float]] = {group: [] for group in PAIR_GROUPS}
        for source, row in zip(self.sources, matrix.to_numpy().tolist(), strict=True):
            for target, value in zip(self.targets, row, strict=True):
                groups[self.group(source, target)].append(value)
        return {g: float(np.mean(values)) if values else np.nan for g, values in groups.items()}

    def group(self, source: str, target: str) -> str:
        """Return the pair group of two models by their names, one of ``PAIR_GROUPS``."""
        if (source, target) not in self._groups:
            models = self.manifest.models
            self._groups[source, target] = pair_group(models[source], models[target])
        return self._groups[source, target]

    @cached_property
    def _groups(self) -> dict[tuple[str, str], str]:
        """Return the groups found so far; every mean asks for the group of every cell."""
        return {}

    @cached_property
    def _strongest(self) -> dict[tuple[str, str], tuple[str, str] | None]:
        """Return the white-box attacks found so far, by attack and target."""
        return {}

    def frame(self) -> pd.DataFrame:
        """Return every metric of every matrix cell.

        Returns:
            A row per attack, source and target. Columns: ``attack``, ``source``, ``target``,
            ``group``, and a column per metric of ``metrics`` in percent (``drop`` in percentage
            points), NaN without a result. Then, over two images per shard: ``ssim``, and the share
            (percent) of the mean square in ``high_frequency``, 0.25 cycles per pixel and more.
            ``attrs["warnings"]`` lists the sentences of ``warnings``.
        """
        matrices = {a: {m: self.matrix(a, m) for m in self.metrics} for a in self.attacks}
        frame = cells_of(matrices, self.group)
        add_looks(frame, {a: (self.attack_reports[a], v.made) for a, v in self.variants.items()})
        frame.attrs["warnings"] = [warning.sentence for warning in self.warnings]
        return frame

    @cached_property
    def attack_reports(self) -> Mapping[str, list[tuple[str | None, dict[str, Any]]]]:
        """Return the source and the stored report of each attack task, by variant."""
        reports: dict[str, list[tuple[str | None, dict[str, Any]]]] = defaultdict(list)
        for attack, source, report in self.reader().attack_reports():
            reports[attack].append((source, report))
        return reports

    def perturbation(self, attack: str) -> pd.Series:
        """Return statistics of the 8-bit perturbation over all images and sources.

        Args:
            attack: The name of an attack's variant; KeyError if unknown.

        Returns:
            ``linf`` (maximum, in levels), and means of ``rms`` (levels), ``mean_abs`` (over eps),
            ``at_bound`` (fraction of values), ``psnr`` (dB) and ``ssim`` (two images per shard; NaN
            in results of earlier versions). Empty without a report.
        """
        return perturbation_of(self.attack_reports[attack], self.variants[attack].made)

    def spectra(self) -> pd.DataFrame:
        """Return the radial power spectrum of the perturbations of each attack.

        Returns:
            A row per variant and band, of two images per shard: ``attack``, ``low`` and ``high``
            (cycles per pixel), ``power`` (squared levels), ``share`` (percent), ``density`` (1 is
            white noise). No rows for older results.
        """
        return spectra_of({a: (self.attack_reports[a], v.made) for a, v in self.variants.items()})

    def norms(self, attack: str) -> pd.DataFrame:
        """Return the L-infinity norm at 99 % fooled pixels of the source.

        Args:
            attack: The name of an attack's variant; KeyError if unknown.

        Returns:
            A row per image, a column per source, in 8-bit levels: infinite below 99 %, NaN without
            labels or results, for a targeted attack and a source that is no target.
        """
        return norms_of(self, attack)

    def cost(self, attack: str) -> pd.Series:
        """Return the cost of an attack over all sources and images.

        Args:
            attack: The name of an attack's variant; KeyError if unknown.

        Returns:
            Of the whole run, also for an early step: ``forwards`` and ``backwards`` (in images),
            ``pixels``, and ``seconds`` inside models. Up to the variant's step: the mean
            ``forward_equivalents`` per image. Zeros without a stored report.
        """
        return cost_of(self.attack_reports[attack], self.variants[attack].made)
