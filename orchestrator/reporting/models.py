"""The models that a spec can name, as terminal tables."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from segtransfer.errors import InputError
from segtransfer.tasks.models.mmseg_configs import all_published
from segtransfer.tasks.models.zoo import ZOO


def print_models(console: Console) -> None:
    """Print the models of the zoo."""
    table = Table("name", "backbone", "classes", "weights", "description")
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
