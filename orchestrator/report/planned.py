"""A plan as a terminal table: tasks, what is stored, cost."""

from rich.console import Console
from rich.table import Table

from orchestrator.plan import CLEAN, Plan, Task


def print_plan(plan: Plan, console: Console) -> None:
    """Tasks by attack: how many, how many are stored, and the cost of the rest."""
    images = sum(len(shard.images) for shard in plan.shards.values())
    console.print(
        f"{plan.experiment.name}: {len(plan.shards)} shards of {images} images of "
        f"{plan.dataset.name}, {len(plan.experiment.source_models)} sources, "
        f"{len(plan.experiment.target_models)} targets",
        highlight=False,
    )
    table = Table("", "tasks", "in the store", "to do", "image forwards", "images to store")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, tasks in _by_attack(plan).items():
        table.add_row(name, *_figures(plan, tasks))
    table.add_section()
    table.add_row("all", *_figures(plan, list(plan.tasks.values())), style="bold")
    console.print(table)
    console.print(
        "Image forwards at native size; a backward counts as 1.5, a scaled image by its area.",
        style="dim",
    )
    console.print(f"Store: {plan.experiment.runtime.store}", highlight=False)


def _by_attack(plan: Plan) -> dict[str, list[Task]]:
    """Tasks under the attack they belong to, made and scored; the clean scores first."""
    keys: dict[str, dict[str, None]] = {}
    for cell in plan.cells:
        group = keys.setdefault(cell.attack if cell.attack != CLEAN else "clean scores", {})
        if cell.attack_key:
            group[cell.attack_key] = None
        group[cell.key] = None
    return {name: [plan.tasks[key] for key in group] for name, group in keys.items()}


def _figures(plan: Plan, tasks: list[Task]) -> list[str]:
    todo = [task for task in tasks if task.key not in plan.stored]
    mebibytes = sum(task.nbytes for task in todo) / 2**20
    return [
        str(len(tasks)),
        str(len(tasks) - len(todo)),
        str(len(todo)),
        f"{sum(task.cost for task in todo):,.0f}",
        f"{mebibytes:,.1f} MiB",
    ]
