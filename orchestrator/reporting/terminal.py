"""Results, models and attack presets as terminal tables."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtransfer.errors import InputError
from segtransfer.results import Results
from segtransfer.results.text import number
from segtransfer.results.views import transfer_matrix
from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models.mmseg_configs import all_published
from segtransfer.tasks.models.zoo import ZOO


def print_results(results: Results, console: Console) -> None:
    """Print a table of dataset mIoU and drop per attack, with clean values, then the warnings."""
    console.print(
        f"\nDataset mIoU in % on {len(results.image_ids)} images of "
        f"{results.manifest.dataset}; in brackets the change from clean.",
        highlight=False,
    )
    for attack in results.attacks:
        matrix = transfer_matrix(results, attack)
        table = Table(min_width=60)
        table.add_column("source \\ target", overflow="fold")
        for target in matrix.targets:
            table.add_column(target, justify="right", overflow="fold")
        table.add_row("clean", *map(number, matrix.clean), style="green")
        table.add_section()
        for name, cells in matrix.rows:
            shown = (Text(cell.text, "dim" if cell.white_box else "bold") for cell in cells)
            table.add_row(name, *shown)
        console.print()
        console.print(Text.assemble((attack, "bold"), f"  {matrix.settings}"))
        console.print(table)
        console.print(_indented("  ·  ".join(matrix.headlines)))
        for line in _perturbation_and_cost(results, attack):
            console.print(_indented(line, "dim"))
    print_warnings(results, console)


def _indented(line: str, style: str = "") -> Text:
    """Return an indented line; rich's Padding would cut lines off that a file takes whole."""
    return Text(f"  {line}", style)


def print_warnings(results: Results, console: Console) -> None:
    """Print where the numbers mean little; nothing if there is no warning."""
    if results.warnings:
        console.print(Text("\nWarnings", style="bold yellow"))
        listed = Table.grid(padding=(0, 1))
        for warning in results.warnings:
            listed.add_row("  !", Text(warning.sentence))
        console.print(listed)


def _perturbation_and_cost(results: Results, attack: str) -> list[str]:
    statistics, cost = results.perturbation(attack), results.cost(attack)
    if statistics.empty:
        return ["no adversarial example is stored"]
    return [
        f"perturbation: L-inf {statistics['linf']:.0f}, RMS {statistics['rms']:.2f} levels, "
        f"{100 * statistics['at_bound']:.0f} % at the bound",
        f"cost: {cost['forward_equivalents']:.1f} forward equivalents an image; in all "
        f"{cost['forwards']:.0f} image forwards, {cost['backwards']:.0f} backwards, "
        f"{cost['seconds']:.0f} s in models",
    ]


def print_models(console: Console) -> None:
    """Print the models of the zoo."""
    table = Table("name", "backbone", "classes", "weights", "what it is")
    for model in ZOO.values():
        size = f"{model.weights.stat().st_size / 1e6:.1f} MB" if model.weights.exists() else "gone"
        table.add_row(model.name, model.backbone, str(len(model.classes)), size, model.description)
    console.print(table)
    console.print(
        "Your own: {name: mine, mmseg: {config: my_config.py, checkpoint: my.pth}}\n"
        f"Weights by name, for {len(all_published())} configs of mmsegmentation: "
        "{name: psp, mmseg: {config: NAME, weights: mmseg}}; 'segtransfer models pspnet' lists "
        "those with pspnet in their names",
        highlight=False,
    )


def print_published(console: Console, part: str) -> None:
    """Print mmsegmentation's configs with weights by name, and their published mIoU.

    Args:
        console: The terminal.
        part: A part of the configs' names.

    Raises:
        InputError: If no config with weights has this part.
    """
    found = [entry for entry in all_published() if part in entry.name]
    if not found:
        raise InputError(
            f"no config of mmsegmentation with published weights has '{part}' in its name; give "
            "another part of a name, such as pspnet or cityscapes"
        )
    console.print(
        "mIoU in %, in brackets with several scales and flips; {config: NAME, weights: mmseg}"
    )
    width = max(len(entry.name) for entry in found)
    for entry in found:
        for score in entry.scores:
            values = (score.miou, score.miou_ms_flip)
            one, many = ("–" if value is None else f"{value:.2f}" for value in values)
            line = f"{entry.name:{width}}  {one:>5} ({many:>5})  {score.dataset}"
            console.print(Text(line), soft_wrap=True)  # a name is copied whole


def print_attacks(console: Console) -> None:
    """Print the presets with their rule, image forwards per step, and source."""
    table = Table()
    table.add_column("preset", style="bold", no_wrap=True)
    table.add_column("rule", ratio=3)
    table.add_column("forwards\na step", justify="right")
    table.add_column("source", ratio=2)
    for name in PRESETS.names():
        try:
            preset, spec = PRESETS.find(name), AttackSpec.model_validate({"preset": name})
        except ValueError as error:  # the preset of an installed package is wrong
            table.add_row(name, Text(str(error)), "", PRESETS.installed()[name])
            continue
        cost = f"{spec.step_cost:.3g}" if spec.steps else "–"
        table.add_row(name, Text(preset.formula), cost, preset.source)
    console.print(table)
    console.print(
        "Defaults: eps 8/255 (L-infinity), 20 steps of a = eps/4 from the clean image; fgsm one of "
        "eps.\nUnits: eps and step_size are fractions of the pixel range [0, 1] (8/255 is 8 of 255 "
        "levels); r_t multiplies both sides of an image; kernels are in pixels."
        "\nIn a spec: {preset: ds, eps: 4/255, steps: 10}, or budget: {forward_equivalents: 20}",
        highlight=False,
    )
