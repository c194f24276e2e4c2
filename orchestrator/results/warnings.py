"""The warnings of an experiment: findings that limit the meaning of its numbers, a sentence each.

Warnings follow from stored counts and reports alone. A run, a resumed run and a reopened store
therefore give the same list, and every surface shows this list.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segtransfer.experiment.spec_warnings import listed
from segtransfer.experiment.task import CLEAN
from segtransfer.results.attack_warnings import sources_and_steps, unusual_attacks
from segtransfer.results.published import published_scores
from segtransfer.results.scored import Scored
from segtransfer.tasks import metrics
from segtransfer.tasks.attacks.loops.spec import minimises_norm
from segtransfer.tasks.image_metrics import OF_IMAGES
from segtransfer.tasks.labels import IGNORE_INDEX
from segtransfer.tasks.perturbation import levels
from segtransfer.tasks.randomness import schedule_group

MOST_IGNORED = 0.5  # share of the pixels
LEAST_SKILL = 0.05  # fraction of the range from chance mIoU to 100
SHOWN_AS_ZERO = 0.05  # percent; smaller values are printed as 0.0
MOST_ZEROS = 0.9  # mean share of zeros in a gradient
MOST_WITHOUT_GRADIENT = 0.1  # share of steps of an image with a gradient of zeros only
FAR_BELOW = 0.5  # share of eps


@dataclass(frozen=True)
class ResultWarning:
    """A finding that limits the meaning of an experiment's numbers.

    Attributes:
        kind: A key of ``WARNING_KINDS``.
        sentence: The sentence shown by every surface.
        attacks: The spec's attacks that the sentence is about; empty for all attacks.
    """

    kind: str
    sentence: str
    attacks: tuple[str, ...] = ()


def warnings_of(results: Scored) -> tuple[ResultWarning, ...]:
    """Return the warnings of an experiment, in the order of ``WARNING_KINDS``.

    Zero gradients and unchanged AEs are left out if nothing is labelled, because they follow.

    Args:
        results: The results.

    Returns:
        The warnings; empty for an experiment without results.
    """
    if not results.counts:
        return ()
    return tuple(
        ResultWarning(kind, sentence, attacks)
        for kind, find in WARNING_KINDS.items()
        for attacks, sentence in find(results)
    )


Found = Iterator[tuple[tuple[str, ...], str]]  # attacks of the spec, sentence


def _nothing_labelled(results: Scored) -> Found:
    if not _labelled(results).sum():
        yield (
            (),
            "No metric can be measured, because no image has a labelled pixel (every label has the "
            "ignored value).",
        )


def _unlabelled_classes(results: Scored) -> Found:
    labelled = _labelled(results).sum(0)
    absent = [name for name, count in zip(results.classes, labelled, strict=True) if not count]
    if not absent or not labelled.sum():
        return
    thing = "image" if results.headline == OF_IMAGES else "labelled pixel"
    subject = f"{len(absent)} of {len(labelled)} classes have no {thing}: {_quoted(absent)}"
    if len(absent) == 1:
        subject = f"Class '{absent[0]}' has no {thing}"
    if results.headline == OF_IMAGES:
        yield (), f"{subject}. No score covers a class without images."
        return
    index = results.classes.index(absent[0])
    yield (
        (),
        f"{subject}. The label value of '{absent[0]}' is {index}; pixels with the ignored value "
        f"({IGNORE_INDEX} unless the data sets another) do not count.",
    )


def _ignored_pixels(results: Scored) -> Found:
    labelled, pixels = _labelled(results), sum(results.pixels)
    if not results.pixels or not labelled.sum():
        return
    ignored = 1 - labelled.sum() / pixels
    if ignored > MOST_IGNORED:
        yield (
            (),
            f"Labels ignore {_percent(ignored)} of all pixels, so metrics cover only the other "
            f"{_percent(1 - ignored)}.",
        )


def _only_predicted_classes(results: Scored) -> Found:
    if results.headline == OF_IMAGES:  # an accuracy is no mean over classes
        return
    absent = _labelled(results).sum(0) == 0
    if absent.all():
        return
    for target in results.targets:
        predicted = np.zeros(len(absent), bool)
        for (_, _, scored_on), counts in results.counts.items():
            if scored_on == target:
                predicted |= counts[:, 2].any(0)
        if (predicted & absent).any():
            names = _quoted(np.array(results.classes)[predicted & absent])
            yield (
                (),
                f"Target {target} predicts {names} without any labelled pixel, which adds an IoU "
                "of 0 to its mIoU.",
            )


def _guesses(results: Scored) -> Found:
    labelled = _labelled(results).sum(0)
    whole = results.headline == OF_IMAGES
    chance = metrics.chance_accuracy(labelled) if whole else metrics.chance_miou(labelled)
    for target, value in results.clean().items():
        if value - chance <= LEAST_SKILL * (100 - chance):
            yield (
                (),
                f"Target {target} has a clean {results.quality} of {value:.1f} %, close to chance "
                f"level ({chance:.1f} %), so its drops mean little.",
            )


def _below_published(results: Scored) -> Found:
    for score in published_scores(results):
        if not score.reached:
            yield (
                (),
                f"Target {score.target} has a clean mIoU of {score.clean:.1f} ± {score.margin:.1f} "
                f"% on {len(results.image_ids)} images, but {score.published:.1f} % is published "
                "for its weights. Check the data's files, and data.fit (pipeline is the published "
                "protocol).",
            )


def _classes_at_zero(results: Scored) -> Found:
    labelled = _labelled(results).sum(0) > 0
    name = "accuracy" if results.headline == OF_IMAGES else "IoU"
    for target in results.targets:
        if (CLEAN, None, target) in results.counts:
            values = results.class_scores(CLEAN, None, target)
            zero = values[labelled & (values < SHOWN_AS_ZERO)].index
            if len(zero):
                yield (
                    (),
                    f"Target {target} has a clean {name} of 0 for {_quoted(zero)}, and no attack "
                    f"can lower an {name} of 0.",
                )


def _zero_gradients(results: Scored) -> Found:
    measured: list[tuple[str | None, str, str]] = []
    if not _labelled(results).any():
        return
    for attack, variants in _last_variants(results).items():
        for source, reports in _by_source(results, variants[0]).items():
            runs = [run["zero_gradients"] for r in reports for run in r.get("health", ())]
            shares = np.array([share for run in runs for step in run for share in step])
            if len(shares) and (
                shares.mean() >= MOST_ZEROS or (shares == 1).mean() >= MOST_WITHOUT_GRADIENT
            ):
                measured.append((source, attack, f"{_percent(shares.mean())} of values"))
    for source, attacks, shown in _per_source(measured):
        yield (
            attacks,
            f"The gradient on source {source} is zero at {shown}, so an unchanged prediction is no "
            "evidence of robustness.",
        )


def _unchanged_images(results: Scored) -> Found:
    if not _labelled(results).any():
        return
    measured = [
        (source, variant, f"{(linf == 0).sum()} of {len(linf)}")
        for _, variant, perturbations in _perturbations(results)
        for source, linf, _ in perturbations
        if (linf == 0).any()
    ]
    for source, variants, shown in _per_source(measured):
        attacks = tuple(results.variants[variant].attack for variant in variants)
        yield attacks, f"AEs{_made_on(source)} equal their clean images: {shown}."


def _per_source(
    measured: Sequence[tuple[str | None, str, str]],
) -> Iterator[tuple[str | None, tuple[str, ...], str]]:
    """Yield each source, its attacks, and the measured texts, each with the attacks that share it.

    Args:
        measured: Source, attack and text.
    """
    for source in dict.fromkeys(source for source, _, _ in measured):
        attacks: dict[str, list[str]] = {}
        for other, attack, text in measured:
            if other == source:
                attacks.setdefault(text, []).append(attack)
        shown = [f"{text} under {listed(names)}" for text, names in attacks.items()]
        yield source, tuple(name for names in attacks.values() for name in names), listed(shown)


def _small_perturbations(results: Scored) -> Found:
    for attack, variant, perturbations in _perturbations(results):
        spec = results.attack_spec(variant)
        if minimises_norm(spec.loop):
            continue
        name, bound = "L-infinity", float(levels(spec.eps))
        if spec.norm != "linf":
            name, bound = "RMS", 255 * spec.eps
        parts = []
        for source, linf, rms in perturbations:
            size = (linf if spec.norm == "linf" else rms)[linf > 0]
            if len(size) and size.mean() < FAR_BELOW * bound:
                parts.append(f"{size.mean():.1f}{_made_on(source)}")
        if parts:
            yield (
                (attack,),
                f"{name} of {variant} is far below its eps of {bound:g} levels: a mean of "
                f"{listed(parts)}.",
            )


def _random_models(results: Scored) -> Found:
    attacking = {
        source
        for reports in results.attack_reports.values()
        for source, report in reports
        if source is not None and is_random(report)
    }
    for model in results.manifest.models:
        if model in attacking | results.random_targets:
            yield (
                (),
                f"Model {model} is not deterministic: two forwards of one image differ. Its "
                "numbers are valid for these random draws and cannot be reproduced bit by bit.",
            )


def _one_schedule(results: Scored) -> Found:
    groups = results.manifest.settings.schedule_groups
    if len({schedule_group(image_id, groups) for image_id in results.image_ids}) == 1:
        yield (
            (),
            "One schedule group: no verdict on differences, because other draws of scales could "
            "explain them. Use more images or a larger schedule_groups.",
        )


WARNING_KINDS: Mapping[str, Callable[[Scored], Found]] = {
    "nothing labelled": _nothing_labelled,
    "unlabelled class": _unlabelled_classes,
    "ignored pixels": _ignored_pixels,
    "class only predicted": _only_predicted_classes,
    "clean mIoU near chance": _guesses,
    "not as published": _below_published,
    "class at 0": _classes_at_zero,
    "zero gradient": _zero_gradients,
    "unchanged image": _unchanged_images,
    "far below eps": _small_perturbations,
    "random model": _random_models,
    "one schedule group": _one_schedule,
    "unusual attack": unusual_attacks,
    "sources and steps": sources_and_steps,
}


def is_random(report: Mapping[str, Any]) -> bool:
    """Return whether a task's report records different answers to equal images.

    Args:
        report: A stored report; without the field ``deterministic`` the answer is False.
    """
    return report.get("deterministic", True) is False


def _labelled(results: Scored) -> np.ndarray:
    """Return the labelled pixels per image and class, int64 N x K; equal in all cells."""
    return next(iter(results.counts.values()))[:, 1]


def _last_variants(results: Scored) -> dict[str, list[str]]:
    """Return the variants of the last step by attack; early steps may have small perturbations."""
    steps: dict[str, list[int]] = {}
    for made in results.variants.values():
        steps.setdefault(made.attack, []).append(made.step)
    return {
        attack: [
            name
            for name, made in results.variants.items()
            if made.attack == attack and made.step == max(taken)
        ]
        for attack, taken in steps.items()
    }


def _by_source(results: Scored, variant: str) -> dict[str | None, list[Mapping[str, Any]]]:
    """Return the reports of a variant's attack tasks by source, of the results' sources only."""
    reports: dict[str | None, list[Mapping[str, Any]]] = {}
    for source, report in results.attack_reports.get(variant, ()):
        if source is None or source in results.sources:
            reports.setdefault(source, []).append(report)
    return reports


def _perturbations(
    results: Scored,
) -> Iterator[tuple[str, str, list[tuple[str | None, np.ndarray, np.ndarray]]]]:
    """Yield attack, variant, and per source the L-infinity and RMS per image, in 8-bit levels."""
    for attack, variants in _last_variants(results).items():
        for variant in variants:
            index, found = results.variants[variant].made, []
            for source, reports in _by_source(results, variant).items():
                parts = [report["perturbation"][index] for report in reports]
                linf, rms = (np.concatenate([p[name] for p in parts]) for name in ("linf", "rms"))
                found.append((source, linf, rms))
            yield attack, variant, found


def _made_on(source: str | None) -> str:
    return "" if source is None else f" made on {source}"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _quoted(names: Sequence[Any]) -> str:
    return listed([f"'{name}'" for name in names])
