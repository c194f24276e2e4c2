"""Power analysis: the smallest detectable paired difference of an experiment."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import FORMAT, Manifest, ManifestVariant
from segtransfer.experiment.manifest_reading import read_manifest
from segtransfer.experiment.plan import Plan
from segtransfer.experiment.task import MatrixIndex
from segtransfer.results import PAIR_GROUPS, Results, pair_group
from segtransfer.results.reader import ExperimentReader
from segtransfer.statistics import Design, Resampled, pairs_of
from segtransfer.statistics.design import Factor, bootstrap_moments, factor_of
from segtransfer.store import Store
from segtransfer.tasks import metrics
from segtransfer.tasks.image_metrics import OF_IMAGES, OF_PIXELS, quality
from segtransfer.tasks.randomness import schedule_group

LEVEL, POWER = 0.05, 0.8  # two-sided
MOST_READ = 400  # evaluations of a stored run, to keep plans fast


@dataclass(frozen=True)
class Spread:
    """The standard deviations of a paired difference in data set mIoU, in percentage points.

    Attributes:
        image: The standard deviation of the contribution of an image.
        group: The standard deviation of the contribution of a schedule group's draws.
        source: The stored run of the estimate, in words; empty for assumed values.
    """

    image: float
    group: float
    source: str


# Measured by `python infra/benchmarks/planning.py --spread` on a cell of the transfer matrix:
# DS minus PGD (eps 4/255, 10 steps) from fcn-r18, scored on pspnet-r18, fcn-mnv2 and
# segformer-mit, 32 images of the sample in 8 groups. A mean over cells varies less.
ASSUMED_SPREAD = Spread(image=5.0, group=2.5, source="")
# Of classifiers nothing was measured. An image's paired difference is -100, 0 or 100 points: 50 if
# a quarter of the images change.
ASSUMED_ACCURACY = Spread(image=50.0, group=0.0, source="")


@dataclass(frozen=True)
class Power:
    """The smallest detectable paired difference, at power 80 % and two-sided level 5 %.

    Attributes:
        difference: The difference in percentage points of ``quality``; None if all images have the
            same schedule.
        images: The number of images.
        groups: The number of schedule groups.
        spread: The standard deviations behind the difference.
        quality: The headline metric in text, "mIoU" or "accuracy".
    """

    difference: float | None
    images: int
    groups: int
    spread: Spread
    quality: str = "mIoU"


def power_of(plan: Plan, store: Store) -> Power:
    """Return the power of a plan before it runs.

    Args:
        plan: The plan, with its images and schedule groups.
        store: The store in which to look for a run on the same data set.

    Returns:
        The smallest detectable difference, with spreads from the newest stored run on the data set
        that has two comparable attacks, else with an assumed spread.
    """
    sizes: Counter[int] = Counter()
    for shard in plan.shards.values():
        sizes[shard.group] += len(shard.image_ids)
    assumed = ASSUMED_ACCURACY if plan.headline == OF_IMAGES else ASSUMED_SPREAD
    spread = stored_spread(store, plan.dataset.name, plan.headline) or assumed
    difference = detectable(spread, list(sizes.values()))
    return Power(difference, sizes.total(), len(sizes), spread, quality(plan.headline))


def detectable(spread: Spread, sizes: Sequence[int]) -> float | None:
    """Return the smallest detectable difference, in percentage points.

    The difference is (t_0.975 + t_0.8) x SE with SE^2 = image^2 / N + group^2 sum(p^2), for N
    images and groups with shares p of the images. The degrees of freedom are those of a bootstrap
    of the groups.

    Args:
        spread: The standard deviations, in percentage points.
        sizes: The images of each schedule group, at least 1 each.

    Returns:
        The difference. None for fewer than two groups, because other draws of scales could explain
        any difference.
    """
    _, freedom = bootstrap_moments(sizes)
    if freedom < 1:
        return None
    error = (spread.image**2 / sum(sizes) + spread.group**2 * _concentration(sizes)) ** 0.5
    quantiles = stats.t.ppf([1 - LEVEL / 2, POWER], freedom)
    return float(quantiles.sum()) * error


def _concentration(sizes: Sequence[int]) -> float:
    """Return the sum of squared shares of the images: 1 / G for G groups of equal sizes."""
    return sum(size**2 for size in sizes) / sum(sizes) ** 2


def spread_of(difference: Callable[[Factor], np.ndarray], clusters: Sequence[int]) -> Spread:
    """Split the variance of a paired difference into shares of images and of schedule groups.

    The bootstrap of whole groups has both shares, the bootstrap of single images only the first.

    Args:
        difference: A function from a factor to the difference per resample, 1001 values, the first
            without resampling, in percentage points.
        clusters: The schedule group of each image.

    Returns:
        The standard deviations per image and per group, in percentage points, with an empty
        ``source``. ``group`` is 0 for a single group.
    """
    images, sizes = len(clusters), list(Counter(clusters).values())
    single = _variance(difference, factor_of(range(images), 1000))
    whole = _variance(difference, factor_of(clusters, 1000))
    between = max(0.0, whole - single) / _concentration(sizes) if len(sizes) > 1 else 0.0
    return Spread(float(np.sqrt(single * images)), float(np.sqrt(between)), "")


def _variance(difference: Callable[[Factor], np.ndarray], factor: Factor) -> float:
    """Return the variance of a difference, as of ``interval_of``; 0 for a single cluster."""
    shown = float(difference(factor)[1:].var())
    return shown / factor.captured if factor.captured else 0.0


def stored_spread(store: Store, dataset: str, headline: str = OF_PIXELS) -> Spread | None:
    """Return the spread in the newest stored run on a data set with two comparable attacks.

    Damaged experiments are skipped. At most ``MOST_READ`` evaluations of a run are read.

    Args:
        store: The store.
        dataset: The data set's name in manifests.
        headline: The headline metric of the run.

    Returns:
        The spread with its source, or None if the store has no such run.
    """
    for identity, content in reversed(list(store.descriptions().items())):
        if content.get("format") != FORMAT or content.get("dataset") != dataset:
            continue
        if content.get("headline", OF_PIXELS) != headline:
            continue
        try:
            manifest = read_manifest(content, identity, store.location)
        except InputError:  # a damaged experiment must not stop a plan
            continue
        results = _two_attacks(store, identity, manifest)
        if results is None:
            continue
        group = results.group(results.sources[0], results.targets[0])
        clusters = [
            schedule_group(image_id, manifest.settings.schedule_groups)
            for image_id in results.image_ids
        ]
        spread = spread_of(_difference(results, group), clusters)
        one, other = results.attacks
        cells = "cell" if len(results.targets) == 1 else "cells"
        source = f"{other} minus {one} in {results.name}, {len(results.targets)} {cells}"
        return replace(spread, source=source)
    return None


def _difference(results: Results, group: str) -> Callable[[Factor], np.ndarray]:
    one, other = results.attacks
    pairs = pairs_of(results, group)

    def difference(factor: Factor) -> np.ndarray:
        sample = Resampled(results, design=Design((factor,)))
        return sample.values(other, pairs)[0] - sample.values(one, pairs)[0]

    return difference


def _two_attacks(store: Store, identity: str, manifest: Manifest) -> Results | None:
    """Return a stored run reduced to two comparable attacks, a source and targets of a group.

    The group is the most distant from the source that the run has. None without such attacks, or if
    one of their evaluations is missing or has other images.
    """
    pair = _comparable_attacks(manifest)
    if pair is None:
        return None

    def group(source: str, target: str) -> str:
        return pair_group(manifest.models[source], manifest.models[target])

    pairs = [(source, target) for source in manifest.sources for target in manifest.targets]
    source, first = max(pairs, key=lambda models: PAIR_GROUPS.index(group(*models)))
    most = max(1, MOST_READ // (2 * max(1, len(manifest.shards))))
    furthest = [t for t in manifest.targets if group(source, t) == group(source, first)][:most]
    wanted = {(attack.name, source, target) for attack in pair for target in furthest}
    reader = ExperimentReader(store, identity, manifest, wanted=lambda cell: cell.index in wanted)
    counts: dict[MatrixIndex, list[np.ndarray]] = defaultdict(list)
    image_ids: dict[MatrixIndex, tuple[str, ...]] = defaultdict(tuple)
    for shard_id in manifest.shards:
        for scored in reader.scored(shard_id, None):  # images stay unread, to keep plans fast
            counts[scored.cell.index].append(metrics.class_counts(scored.evaluation.confusions))
            image_ids[scored.cell.index] += scored.evaluation.image_ids
    if reader.missing or len({*image_ids.values()}) != 1:
        return None
    return Results(
        identity,
        store,
        manifest.narrowed([source], furthest, pair),
        image_ids=next(iter(image_ids.values())),
        sequences=(),
        counts={index: np.concatenate(parts) for index, parts in counts.items()},
        fooled={},
        missing=frozenset(),
    )


def _comparable_attacks(
    manifest: Manifest,
) -> tuple[ManifestVariant, ManifestVariant] | None:
    """Return the first two variants of different attacks with equal eps and score, or None."""
    eps = {name: attack.eps for name, attack in manifest.attacks.items()}
    variants = [v for v in manifest.variants if manifest.attacks[v.name].steps]
    pairs = (
        (one, other)
        for one in variants
        for other in variants
        if other.attack != one.attack
        and (eps[other.name], other.score) == (eps[one.name], one.score)
    )
    return next(pairs, None)
