"""Matrices as text: Markdown for notes and files, one wording for headline means."""

import math
from typing import Any

from segtransfer.results import GROUPS, Results
from segtransfer.tasks.attacks.transforms import TRANSFORMS

HEADLINES = {
    "diagonal": "white-box (diagonal)",
    "same_backbone": "same backbone",
    "cross_backbone": "other backbone",
}
ANY_SOURCE = "any source"


def number(value: float) -> str:
    """A percentage with one decimal, or a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.1f}"


def cell(value: float, drop: float) -> str:
    """mIoU under attack with the drop beside it."""
    if math.isnan(value):
        return "–"
    return f"{value:.1f} ({'−' if drop >= 0 else '+'}{abs(drop):.1f})"


def rows(results: Results, attack: str) -> list[str]:
    """The sources whose rows differ: one stands for all where the attack uses no model."""
    return results.sources if results.needs_source(attack) else results.sources[:1]


def row_name(results: Results, attack: str, source: str) -> str:
    return source if results.needs_source(attack) else ANY_SOURCE


def headline_sentences(results: Results, attack: str) -> list[str]:
    """One phrase a headline mean; groups without a cell say so."""
    means, drops = results.headlines(attack), results.headlines(attack, "drop")
    if not results.needs_source(attack):
        values = results.matrix(attack).iloc[0]
        drop = results.matrix(attack, "drop").iloc[0]
        return [f"mean over targets {cell(float(values.mean()), float(drop.mean()))}"]
    return [
        f"{HEADLINES[g]} " + ("no such pair" if math.isnan(means[g]) else cell(means[g], drops[g]))
        for g in GROUPS
    ]


def settings(results: Results, attack: str) -> str:
    """What an attack is, in a line, and how much of its matrix there is where that is not all."""
    there, cells = results.coverage(attack)
    partial = f", PARTIAL: {there} of {cells} cells" if there < cells else ""
    return attack_in_words(results, attack) + partial


def attack_in_words(results: Results, attack: str) -> str:
    """What differs from the plainest attack."""
    spec, made = results.attack_spec(attack), results.made[attack]
    parts = [f"eps {spec['eps'] * 255:g}/255" + (" RMS (L2)" if spec["norm"] == "l2" else "")]
    if spec["files"]:
        parts.append("AEs from files")
    if spec["steps"]:
        count = f"{spec['steps']} steps"
        if spec["budget"]:
            count = f"{spec['budget']['forward_equivalents']:g} forward equivalents, about {count}"
        parts.append(f"{count} of {spec['step_size'] * 255:g}/255")
    parts += [describe_transform(transform) for transform in spec["transforms"]]
    if spec["label_version"] != "logits":
        parts.append("labels follow the image")
    if spec["loss"] != "cross-entropy":
        parts.append(f"loss {spec['loss']}" + (f" at {spec['layer']}" if spec["layer"] else ""))
    if spec["momentum"]:
        kind = "Nesterov momentum" if spec["momentum"]["nesterov"] else "momentum"
        parts.append(f"{kind} {spec['momentum']['mu']:g}")
    if spec["variance"]:
        parts.append(f"variance of {spec['variance']['neighbours']} neighbours")
    if spec["smoothing"]:
        parts.append(f"gradient smoothed over {spec['smoothing']['kernel']} pixels")
    if spec["target"]:
        parts.append("targeted")
    if spec["region"]:
        parts.append("on a region")
    if spec["start"] == "uniform" and not spec["files"]:
        parts.append("uniform start")
    if spec["restarts"] > 1:
        parts.append(f"best of {spec['restarts']} starts")
    if made["step"] != spec["steps"]:
        parts.append(f"kept at step {made['step']}")
    if made["score"] != "raw":
        parts.append(f"scored as {made['score']}")
    return ", ".join(parts)


def describe_transform(transform: dict[str, Any]) -> str:
    """A transform and the fields that are not its defaults."""
    kind = transform["kind"]
    default = TRANSFORMS[kind][0]().model_dump(mode="json")
    other = {k: v for k, v in transform.items() if v != default[k] and k not in ("low", "width")}
    extra = [f"{k.replace('_', ' ')} {v:g}" if isinstance(v, float) else f"{k} {v}"
             for k, v in other.items()]  # fmt: skip
    if kind == "ds":
        low, high = transform["low"], transform["low"] + transform["width"]
        return " ".join([f"dynamic scaling [{low:g}, {high:g}]", *extra])
    return " ".join([kind, *extra])


def markdown(results: Results, attacks: list[str]) -> str:
    """The matrices of some attacks as Markdown tables, each after what it says in short."""
    clean, lines = results.clean(), []
    for attack in attacks:
        values, drops = results.matrix(attack), results.matrix(attack, "drop")
        lines += [f"**{attack}**: {settings(results, attack)}", ""]
        lines += ["Means: " + "; ".join(headline_sentences(results, attack)) + ".", ""]
        lines.append("| source \\ target | " + " | ".join(results.targets) + " |")
        lines.append("|---" * (len(results.targets) + 1) + "|")
        lines.append("| clean | " + " | ".join(number(clean[t]) for t in results.targets) + " |")
        for source in rows(results, attack):
            shown = [cell(values.loc[source, t], drops.loc[source, t]) for t in results.targets]
            lines.append(f"| {row_name(results, attack, source)} | " + " | ".join(shown) + " |")
        lines.append("")
    images = f"{len(results.image_ids)} images of {results.content['dataset']}"
    lines.append(f"Dataset mIoU in % on {images}; in brackets the change from clean.")
    return "\n".join(lines) + "\n"
