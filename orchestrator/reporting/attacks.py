"""Attack presets as terminal tables, and one preset whole."""

import json
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.presets import PRESETS, Preset
from segtransfer.tasks.attacks.resolve import preparation_cost
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.schema import strength_text, suggest
from segtransfer.tasks.spec_errors import validated

IN_SCHEDULE = ("steps", "step_size", "start", "momentum")  # told there, and not as fields


def print_attacks(console: Console, part: str = "") -> None:
    """Print the presets with their rule, image forwards per step, and source.

    Args:
        console: The terminal.
        part: A part of the name, rule or source of the presets to print, in any case; empty prints
            all presets.

    Raises:
        InputError: If no preset has this part.
    """
    table = Table()
    table.add_column("preset", style="bold", no_wrap=True)
    table.add_column("rule", ratio=3)
    table.add_column("forwards\nper step", justify="right")
    table.add_column("source", ratio=2)
    for name in PRESETS.names():
        row = _row(name)
        if part.lower() in " ".join(row).lower():
            table.add_row(*map(Text, row))
    if not table.row_count:
        raise InputError(
            f"no preset has '{part}' in its name, rule or source; {suggest(part, PRESETS.names())}"
        )
    console.print(table)
    console.print(
        "Defaults: eps 8/255 (L-infinity), and a schedule of ours, 20 steps of a = eps/4 from the "
        "clean image (fgsm: one of eps). schedule: paper has the steps of the source.\nUnits: eps "
        "and step_size are fractions of the pixel range [0, 1] (8/255 is 8 of 255 levels); r_t "
        "multiplies both sides of an image; kernels are in pixels.\nIn a spec: {preset: ds, eps: "
        "4/255, steps: 10}, or budget: {forward_equivalents: 20}\nsegtransfer attacks ds-mi prints "
        "a preset whole.",
        highlight=False,
    )


def _row(name: str) -> list[str]:
    """Return the cells of a preset: name, rule, cost, source; for a wrong one its error."""
    try:
        preset, spec = PRESETS.find(name), AttackSpec.model_validate({"preset": name})
    except ValueError as error:  # the preset of an installed package is wrong
        return [name, str(error), "", PRESETS.installed()[name]]
    return [name, preset.formula, f"{spec.step_cost:.3g}" if spec.steps else "–", preset.source]


def print_attack(console: Console, name: str) -> None:
    """Print a preset whole: rule, source, fields, both schedules, cost and labels.

    Args:
        console: The terminal.
        name: The name of a preset, shipped or ``module:attribute``.

    Raises:
        InputError: If the preset is unknown or wrong.
    """
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for head, text in preset_facts(name):
        table.add_row(head, Text(text))
    console.print(Text(name, style="bold"))
    console.print(table)


def preset_facts(name: str) -> Iterator[tuple[str, str]]:
    """Yield what a person has to know about a preset, as pairs of a heading and a text.

    Args:
        name: The name of a preset, shipped or ``module:attribute``.

    Yields:
        The rule, source, fields, schedules, cost, labels, and an example of a spec.

    Raises:
        InputError: If the preset is unknown or wrong.
    """
    preset = PRESETS.find(name)
    ours = _read(name, "ours")
    yield "rule", preset.formula
    yield "source", preset.source
    own = {k: v for k, v in preset.fields.items() if k not in IN_SCHEDULE}
    yield "fields", in_yaml(own) if own else "none beside the schedule"
    yield "schedule: ours", _schedule(ours, preset.fields)
    yield "schedule: paper", paper_schedule(name, preset)
    yield "cost", _cost(ours)
    yield "labels", labels_text(ours)
    yield "in a spec", f"{{preset: {json.dumps(name) if ':' in name else name}, eps: 4/255}}"


def _read(name: str, schedule: str) -> AttackSpec:
    """Return the attack of a preset; raise InputError if its fields are wrong."""
    raw = {"preset": name, "schedule": schedule}
    return validated(AttackSpec, raw, f"preset {name}, schedule {schedule}")


def in_yaml(fields: dict[str, Any]) -> str:
    """Return fields as YAML in one line.

    Args:
        fields: JSON values by name.
    """
    return json.dumps(fields).replace('"', "")


def paper_schedule(name: str, preset: Preset) -> str:
    """Return the schedule of a preset's source as a text.

    Args:
        name: The name of the preset.
        preset: The preset.

    Returns:
        Steps, step size, start and momentum, with the conditions of the source; "as ours" if both
        schedules are the same, "not known" without one.
    """
    if preset.paper is None:
        return "not known"
    if not preset.paper:
        return "as ours"
    spec = _read(name, "paper")
    text = _schedule(spec, {**preset.fields, **preset.paper})
    return f"{text} (in the source: {preset.in_paper})" if preset.in_paper else text


def _schedule(spec: AttackSpec, fields: dict[str, Any]) -> str:
    """Return steps, step size, start and momentum of an attack as a text."""
    starts = {member.start for member in spec.worst_of} or {spec.start}
    start = "the clean image" if starts == {"clean"} else "a uniform draw"
    if spec.steps == 0:
        return f"no step; {start}"
    members = len(spec.worst_of)
    count = f"{members} attacks of {spec.steps // members}" if members else f"{spec.steps}"
    written = fields.get("step_size", "2/255")
    size = written if isinstance(written, str) else strength_text(written)
    size = size.replace("steps", str(spec.steps))
    size = "a length set by the loop" if spec.own_sizes else size
    parts = [f"{count} step{'s' * (spec.steps > 1)} of {size} from {start}"]
    if spec.momentum is not None:
        look = ", looking ahead" if spec.momentum.nesterov else ""
        parts.append(f"momentum {spec.momentum.mu:g}{look}")
    return "; ".join(parts)


def _cost(spec: AttackSpec) -> str:
    """Return the cost of an attack as a text."""
    if not spec.steps:
        return "none"
    total = spec.steps * spec.step_cost
    before = preparation_cost(spec)
    first = f", {before:.3g} of them before the first step" if before else ""
    plural = "" if spec.step_cost == 1 else "s"
    return f"{spec.step_cost:.3g} forward{plural} per step, {total:.3g} per image{first}"


def labels_text(spec: AttackSpec) -> str:
    """Return how the labels follow the images that the source sees, as a text.

    Args:
        spec: The attack.

    Returns:
        A clause; it follows from the traits of the transforms, of the gradient rule and the loss.
    """
    if spec.worst_of:
        return "; ".join(dict.fromkeys(labels_text(member) for member in spec.worst_of))
    if not spec.steps:
        return "not read"
    moves = [t.kind for t in spec.transforms if t.typed().moves]
    if spec.gradient is not None and spec.gradient.typed().views:
        moves.append(spec.gradient.kind)
    if moves:
        return f"follow the content, moved by {' and '.join(moves)}"
    if spec.reads_features:
        return "not read by the steps, whose loss reads features"
    if any(t.typed().mixes for t in spec.transforms):
        return "those of the image itself, not of the images mixed in"
    return "the image's own, in place"
