"""Restriction of two runs to common images and models, and objections to a comparison."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.tasks.schema import strength_text

ALLOWABLE = ("images", "targets", "eps", "numerics")


@dataclass(frozen=True)
class Objection:
    """A difference between two runs that a user must allow.

    Attributes:
        kind: A kind of ``ALLOWABLE``; ``sources`` for left-out sources, which are never refused.
        clause: The difference in words.
    """

    kind: str
    clause: str


def bring_together(
    a: Results, b: Results, attacks: Sequence[tuple[str, str]], allow: Collection[str]
) -> tuple[Results, Results, list[str]]:
    """Restrict two runs to their common images, sources and targets, in A's order.

    Args:
        a: Results of A.
        b: Results of B.
        attacks: Per pair the name of A's attack and of B's attack.
        allow: Kinds of differences to tolerate, of ``ALLOWABLE``.

    Returns:
        Both restricted runs, and a sentence per tolerated difference and per omission.

    Raises:
        InputError: If the runs differ in a kind outside ``allow``, have no common image, source or
            target, have other classes or label maps, or if a run has no results or misses images.
    """
    for name, run in (("A", a), ("B", b)):
        _check_whole(name, run)
    _check_classes(a, b)
    ours, theirs = _same_images(a, b)
    targets, sources = (_same_models(a, b, role) for role in ("targets", "sources"))
    objections = [
        *_of_images(a, b, ours),
        *_of_models(a, b, "targets", targets),
        *_of_eps(a, b, attacks),
        *_of_numerics(a, b, attacks),
    ]
    refused = [objection for objection in objections if objection.kind not in allow]
    if refused:
        raise InputError(
            "\n".join(
                f"cannot compare: {o.clause}. Add --allow {o.kind} to compare despite the "
                "difference."
                for o in refused
            )
        )
    for noun, common in (("image", ours), ("target", targets), ("source", sources)):
        if not len(common):
            raise InputError(f"cannot compare: A and B have no {noun} in common")
    left_out = list(_of_models(a, b, "sources", sources))
    notes = [f"Note: {o.clause}." for o in (*objections, *left_out)]
    return (
        _restricted(a, ours, sources, targets),
        _restricted(b, theirs, sources, targets),
        notes,
    )


def _check_whole(name: str, run: Results) -> None:
    """Refuse a run without results, or with missing images."""
    where = f"{run.name} ({name}) in {run.store.location}"
    if not run.counts:
        raise InputError(f"{where} has no results. Run the experiment first.")
    if any(len(counts) != len(run.image_ids) for counts in run.counts.values()):
        raise InputError(f"images of {where} are missing or damaged. Run the experiment again.")


def _check_classes(a: Results, b: Results) -> None:
    """Refuse runs with different classes or label maps."""
    if a.classes != b.classes:
        pairs = zip(a.classes, b.classes, strict=False)
        differ = [f"{i}: '{m}' / '{t}'" for i, (m, t) in enumerate(pairs) if m != t][:4]
        raise InputError(
            f"cannot compare: A has {len(a.classes)} classes and B has {len(b.classes)}, and the "
            "lists differ" + (f" (A / B: {', '.join(differ)})" if differ else "")
        )
    maps = [run.manifest.settings.data.label_map for run in (a, b)]
    if maps[0] != maps[1]:
        raise InputError("cannot compare: A and B have different label maps (data.label_map)")


def _same_images(a: Results, b: Results) -> tuple[np.ndarray, np.ndarray]:
    """Return indices into A's and into B's images of the common images, in A's order."""
    if a.manifest.shards == b.manifest.shards:
        everywhere = np.arange(len(a.image_ids))
        return everywhere, everywhere
    mine, theirs = _contents(a), _contents(b)
    both = [name for name in mine if mine[name] == theirs.get(name)]
    places = [{name: i for i, name in enumerate(run.image_ids)} for run in (a, b)]
    ours, others = (np.array([place[name] for name in both], int) for place in places)
    return ours, others


def _contents(run: Results) -> dict[str, str]:
    """Return the sha256 of pixels and labels per image id."""
    digests = {}
    for _, shard in run.reader().shards():
        if shard is None:
            raise InputError(
                f"images of {run.name} in {run.store.location} are missing or damaged. Run the "
                "experiment again."
            )
        for name, image, label in zip(shard.image_ids, shard.images, shard.labels, strict=True):
            digest = hashlib.sha256(repr(image.shape).encode())
            digest.update(image.tobytes() + label.tobytes())
            digests[name] = digest.hexdigest()
    return digests


def _of_images(a: Results, b: Results, both: np.ndarray) -> Iterator[Objection]:
    """Yield an objection if the runs do not have the same images."""
    if len(both) == len(a.image_ids) == len(b.image_ids):
        return
    clause = f"A has {len(a.image_ids)} images and B has {len(b.image_ids)}; {len(both)} are common"
    altered = len({*a.image_ids} & {*b.image_ids}) - len(both)
    if altered:
        clause += f"; {altered} have a common name, but other pixels or labels"
    yield Objection("images", clause)


def _same_models(a: Results, b: Results, role: str) -> list[str]:
    """Return the common sources or targets: same name, weights, configuration and backbone."""
    return [name for name in getattr(a, role) if _is_same(a, b, role, name)]


def _is_same(a: Results, b: Results, role: str, name: str) -> bool:
    models = [run.manifest.models[name] for run in (a, b) if name in getattr(run, role)]
    parts = [(model.fingerprint, model.networks) for model in models]
    return len(parts) == 2 and parts[0] == parts[1]


def _of_models(a: Results, b: Results, role: str, both: Sequence[str]) -> Iterator[Objection]:
    """Yield an objection if the sources or targets differ in name, weights or backbone."""
    parts = []
    for name, run, other in (("A", a, b), ("B", b, a)):
        if only := [m for m in getattr(run, role) if m not in getattr(other, role)]:
            parts.append(f"only {name} has {', '.join(only)}")
    named_alike = {*getattr(a, role)} & {*getattr(b, role)}
    if other_models := sorted(named_alike - {*both}):
        parts.append(
            f"{', '.join(other_models)} of A and of B are different models (weights, "
            "configuration or backbone)"
        )
    if parts:
        yield Objection(role, f"{role} differ: {'; '.join(parts)}")


def _of_eps(a: Results, b: Results, attacks: Sequence[tuple[str, str]]) -> Iterator[Objection]:
    """Yield an objection per pair of attacks with different norm or eps."""
    for name, other in attacks:
        bounds = [
            f"{spec.norm} {strength_text(spec.eps)}"
            for spec in (a.attack_spec(name), b.attack_spec(other))
        ]
        if bounds[0] != bounds[1]:
            yield Objection(
                "eps", f"eps is {bounds[0]} in A's {name} and {bounds[1]} in B's {other}"
            )


def _of_numerics(a: Results, b: Results, attacks: Sequence[tuple[str, str]]) -> Iterator[Objection]:
    """Yield an objection if the requested numerics differ, or else the options in effect."""
    mine, theirs = (run.manifest.spec["numerics"] for run in (a, b))
    if mine != theirs:
        yield Objection("numerics", f"numerics are {_shown(mine)} in A and {_shown(theirs)} in B")
        return
    ours, others = (
        _computed_with(run, {pair[side] for pair in attacks}) for side, run in enumerate((a, b))
    )
    differ = [
        f"{source} with {' or '.join(sorted(ours[source]))} in A and "
        f"{' or '.join(sorted(others[source]))} in B"
        for source in a.sources
        if source in ours and source in others and ours[source] != others[source]
    ]
    if differ:
        clause = f"numerics are {_shown(mine)}, but the machines enabled different options: "
        yield Objection("numerics", clause + "; ".join(differ))


def _computed_with(run: Results, attacks: Collection[str]) -> dict[str, set[str]]:
    """Return the numerics in effect per source; several if machines enabled different options."""
    options: defaultdict[str, set[str]] = defaultdict(set)
    for attack in attacks:
        for source, report in run.attack_reports[attack]:
            if source is not None:
                options[source].add(_shown(report["numerics"]))
    return options


def _shown(numerics: dict[str, Any]) -> str:
    """Return the enabled options, comma-separated, or ``reference`` if there are none."""
    on = [
        name if value is True else f"{name} {value}"
        for name, value in numerics.items()
        if value and name not in ("equal_signs", "left_off")
    ]
    return ", ".join(on) or "reference"


def _restricted(
    run: Results, images: np.ndarray, sources: Sequence[str], targets: Sequence[str]
) -> Results:
    """Return results of some images (indices), sources and targets only."""
    kept = {cell for cell in run.counts if cell[1] in (None, *sources) and cell[2] in targets}
    return replace(
        run,
        manifest=run.manifest.narrowed(sources, targets),
        image_ids=tuple(run.image_ids[i] for i in images),
        sequences=tuple(run.sequences[i] for i in images),
        counts={cell: run.counts[cell][images] for cell in kept},
        pixels=tuple(run.pixels[i] for i in images) if run.pixels else (),
        fooled={cell: run.fooled[cell][images] for cell in kept if cell in run.fooled},
    )
