"""What two runs share, and what of their differences forbids to compare them."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from segtransfer.errors import InputError
from segtransfer.results import Results

ALLOWABLE = ("images", "targets", "eps", "numerics")


@dataclass(frozen=True)
class Objection:
    """A difference between two runs: of which kind, and a clause that says it."""

    kind: str
    clause: str


def bring_together(
    a: Results, b: Results, attacks: Sequence[tuple[str, str]], allow: Collection[str]
) -> tuple[Results, Results, list[str]]:
    """Two runs on the images, sources and targets that both have, in one order; and what of each
    was left out or differs, in sentences.

    Raises InputError where they differ in what ``allow`` does not name, or share nothing.
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
                f"cannot compare: {o.clause}; to compare all the same, allow it (--allow {o.kind})"
                for o in refused
            )
        )
    for what, found in (("image", ours), ("target", targets), ("source", sources)):
        if not len(found):
            raise InputError(f"cannot compare: A and B have no {what} in common")
    left_out = list(_of_models(a, b, "sources", sources))
    notes = [f"Note: {o.clause}." for o in (*objections, *left_out)]
    return (
        _restricted(a, ours, sources, targets),
        _restricted(b, theirs, sources, targets),
        notes,
    )


def _check_whole(name: str, run: Results) -> None:
    """Refuse a run of which the store has nothing, or not all clean images."""
    where = f"{run.name} ({name}) in {run.store.location}"
    if not run.confusions:
        raise InputError(f"{where} has no results yet; run it first")
    if any(len(counts) != len(run.image_ids) for counts in run.confusions.values()):
        raise InputError(f"images of {where} are missing or damaged; run it again")


def _check_classes(a: Results, b: Results) -> None:
    if a.classes != b.classes:
        pairs = zip(a.classes, b.classes, strict=False)
        differ = [f"{i}: '{m}' / '{t}'" for i, (m, t) in enumerate(pairs) if m != t][:4]
        raise InputError(
            f"cannot compare: A has {len(a.classes)} classes and B has {len(b.classes)}, and the "
            "lists differ" + (f" (A / B: {', '.join(differ)})" if differ else "")
        )
    maps = [run.content["spec"]["data"].get("label_map") for run in (a, b)]
    if maps[0] != maps[1]:
        raise InputError("cannot compare: A and B merge classes otherwise (data.label_map)")


def _same_images(a: Results, b: Results) -> tuple[np.ndarray, np.ndarray]:
    """Where the images that both have stand in A and in B, in A's order."""
    if a.content["shards"] == b.content["shards"]:
        everywhere = np.arange(len(a.image_ids))
        return everywhere, everywhere
    mine, theirs = _contents(a), _contents(b)
    both = [name for name in mine if mine[name] == theirs.get(name)]
    places = [{name: i for i, name in enumerate(run.image_ids)} for run in (a, b)]
    ours, others = (np.array([place[name] for name in both], int) for place in places)
    return ours, others


def _contents(run: Results) -> dict[str, str]:
    """sha256 of the pixels and labels of every image, by its id."""
    found = {}
    for shard_id in run.content["shards"]:
        shard = run.store.shard(shard_id)
        if shard is None:
            raise InputError(f"images of {run.name} in {run.store.location} are damaged; "
                             "run it again")  # fmt: skip
        for name, image, label in zip(shard.image_ids, shard.images, shard.labels, strict=True):
            digest = hashlib.sha256(repr(image.shape).encode())
            digest.update(image.tobytes() + label.tobytes())
            found[name] = digest.hexdigest()
    return found


def _of_images(a: Results, b: Results, both: np.ndarray) -> Iterator[Objection]:
    if len(both) == len(a.image_ids) == len(b.image_ids):
        return
    clause = f"A has {len(a.image_ids)} images and B has {len(b.image_ids)}, of which {len(both)} "
    clause += "are the same"
    altered = len({*a.image_ids} & {*b.image_ids}) - len(both)
    if altered:
        clause += f"; {altered} have the same name, but other pixels or labels"
    yield Objection("images", clause)


def _same_models(a: Results, b: Results, role: str) -> list[str]:
    """The sources, or targets, that both have: same name, weights, configuration and backbone."""
    return [name for name in a.content[role] if _is_same(a, b, role, name)]


def _is_same(a: Results, b: Results, role: str, name: str) -> bool:
    models = [run.content["models"][name] for run in (a, b) if name in run.content[role]]
    return len(models) == 2 and all(
        models[0][part] == models[1][part] for part in ("fingerprint", "networks")
    )


def _of_models(a: Results, b: Results, role: str, both: Sequence[str]) -> Iterator[Objection]:
    parts = []
    for name, run, other in (("A", a, b), ("B", b, a)):
        if only := [m for m in run.content[role] if m not in other.content[role]]:
            parts.append(f"only {name} has {', '.join(only)}")
    named_alike = {*a.content[role]} & {*b.content[role]}
    if other_models := sorted(named_alike - {*both}):
        parts.append(
            f"{', '.join(other_models)} of A and of B are different models (weights, "
            "configuration or backbone)"
        )
    if parts:
        yield Objection(role, f"{role} differ: {'; '.join(parts)}")


def _of_eps(a: Results, b: Results, attacks: Sequence[tuple[str, str]]) -> Iterator[Objection]:
    for name, other in attacks:
        bounds = [
            f"{spec['norm']} {255 * spec['eps']:g}/255"
            for spec in (a.attack_spec(name), b.attack_spec(other))
        ]
        if bounds[0] != bounds[1]:
            yield Objection(
                "eps", f"eps is {bounds[0]} in A's {name} and {bounds[1]} in B's {other}"
            )


def _of_numerics(a: Results, b: Results, attacks: Sequence[tuple[str, str]]) -> Iterator[Objection]:
    """What was asked for; and where that is the same, what machines made of it."""
    mine, theirs = (run.content["spec"]["numerics"] for run in (a, b))
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
        clause = f"numerics are {_shown(mine)}, and what that came to on the machines differs: "
        yield Objection("numerics", clause + "; ".join(differ))


def _computed_with(run: Results, attacks: Collection[str]) -> dict[str, set[str]]:
    """By source: the options that its attacks computed with; several where machines differed."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for attack in attacks:
        for source, report in run.attack_reports[attack]:
            if source is not None:
                found[source].add(_shown(report["numerics"]))
    return found


def _shown(numerics: dict[str, Any]) -> str:
    on = [
        name if value is True else f"{name} {value}"
        for name, value in numerics.items()
        if value and name != "equal_signs"
    ]
    return ", ".join(on) or "reference"


def _restricted(
    run: Results, images: np.ndarray, sources: Sequence[str], targets: Sequence[str]
) -> Results:
    kept = {cell for cell in run.confusions if cell[1] in (None, *sources) and cell[2] in targets}
    return replace(
        run,
        content={**run.content, "sources": [*sources], "targets": [*targets]},
        image_ids=tuple(run.image_ids[i] for i in images),
        sequences=tuple(run.sequences[i] for i in images),
        confusions={cell: run.confusions[cell][images] for cell in kept},
        fooled={cell: run.fooled[cell][images] for cell in kept if cell in run.fooled},
    )
