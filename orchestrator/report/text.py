"""Matrices as text: Markdown for notes and files, one wording for headline means."""

import math

from orchestrator.results import GROUPS, Results

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
    """What an attack is, in a line."""
    spec = results.attack_spec(attack)
    parts = [f"eps {spec['eps'] * 255:g}/255"]
    if spec["steps"]:
        parts.append(f"{spec['steps']} steps of {spec['step_size'] * 255:g}/255")
    for transform in spec["transforms"]:
        low, high = transform["low"], transform["low"] + transform["width"]
        parts.append(f"dynamic scaling U({low:g}, {high:g}), {transform['label_version']}")
    if spec["momentum"]:
        parts.append(f"momentum {spec['momentum']['mu']:g}")
    if spec["start"] == "uniform":
        parts.append("uniform start")
    return ", ".join(parts)


def markdown(results: Results, attacks: list[str]) -> str:
    """The matrices of some attacks as Markdown tables."""
    count = len(results.image_ids)
    lines = [f"Dataset mIoU in % on {count} images of {results.content['dataset']}; in brackets "]
    lines[0] += "the change from clean."
    clean = results.clean()
    for attack in attacks:
        values, drops = results.matrix(attack), results.matrix(attack, "drop")
        lines += ["", f"**{attack}**: {settings(results, attack)}", ""]
        lines.append("| source \\ target | " + " | ".join(results.targets) + " |")
        lines.append("|---" * (len(results.targets) + 1) + "|")
        lines.append("| clean | " + " | ".join(number(clean[t]) for t in results.targets) + " |")
        for source in rows(results, attack):
            shown = [cell(values.loc[source, t], drops.loc[source, t]) for t in results.targets]
            lines.append(f"| {row_name(results, attack, source)} | " + " | ".join(shown) + " |")
        lines += ["", "Means: " + "; ".join(headline_sentences(results, attack)) + "."]
    return "\n".join(lines) + "\n"
