"""Report of a search: tables on the terminal, and a folder of figures, tables and YAML."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from segtransfer.reporting.entries import IndexEntry, about, when, write_entry
from segtransfer.reporting.folder import REPORT_DPI
from segtransfer.reporting.places import reports_root
from segtransfer.reporting.search_figures import FIGURE_FILES
from segtransfer.reporting.search_progress import short, show
from segtransfer.reporting.terminal import print_warnings
from segtransfer.results import Results
from segtransfer.results.text import signed_interval
from segtransfer.searches import SearchResult
from segtransfer.searches.confirmation import (
    ConfirmedDifference,
    PairGroup,
    pairs_by_target,
    schedules,
    too_few_schedules,
    verdict,
)
from segtransfer.searches.optuna_study import Trial, front, importances, ranked, trials_frame
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.registry import EntrySpec
from segtransfer.tasks.schema import written
from segtransfer.tasks.yaml_files import dump

TRIALS_PRINTED = 5


def search_folder(result: SearchResult) -> Path:
    """Return the folder of a search's report, in a local store or else the working folder.

    Returns:
        ``<name>-<12 digits of the identity>`` below the reports of the store; it need not exist.
    """
    root = reports_root(result.context.store)
    return root / f"{result.context.search.name}-{result.context.identity[:12]}"


def print_search(result: SearchResult, console: Console) -> None:
    """Print the best trials, differences to the baselines, the verdict, and the best as YAML.

    Args:
        result: The search, confirmed or not.
        console: The terminal.
    """
    objectives = result.context.search.search.objectives
    best = ranked(result.trials)[:TRIALS_PRINTED]
    if len(objectives) > 1:
        best = front(result.trials, objectives)
    failed = sum(trial.state == "failed" for trial in result.trials)
    pruned = sum(trial.state == "pruned" for trial in result.trials)
    title = "The front" if len(objectives) > 1 else "The best"
    console.print(
        f"\n[bold]{title}[/bold] of {len(result.trials)} trials "
        f"({pruned} pruned, {failed} failed); "
        f"transfer is the mean drop in {result.context.quality} on other models, in points.",
        highlight=False,
    )
    console.print(_best(result, best))
    if result.comparisons:
        console.print("\n[bold]Confirmed[/bold] on images and models unknown to the search:")
        console.print(_confirmed(result))
        console.print(_differences(result))
        console.print(
            f"[bold]{escape(verdict(result.comparisons, result.context.quality))}[/bold]",
            highlight=False,
        )
        console.print(f"  {noise_note(result)}", style="dim", highlight=False)
        if few := too_few_schedules(result.results):
            console.print(f"[yellow]{few}[/yellow]", highlight=False)
    if result.against is not None:
        console.print(f"\n{result.against.sentence}", highlight=False)
    for line in _carry_over(result):
        console.print(line, highlight=False)
    print_warnings(result.results.warnings, console)
    explained = importances(result.study)
    if explained:
        parts = ", ".join(f"{short(name)} {100 * v:.0f} %" for name, v in explained.items())
        console.print(f"\nVariance of transfer per field (PED-ANOVA): {parts}", highlight=False)
    console.print("\nThe best settings, to paste into an experiment:\n", highlight=False)
    console.print(attacks_yaml(result.best), highlight=False, markup=False)


def _best(result: SearchResult, best: list[Trial]) -> Table:
    """Return a table with a column per trial and a row per field that some trial has."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("trial")
    for trial in best:
        table.add_column(str(trial.number), justify="right")
    for name in result.context.search.search.objectives:
        values = (t.score.objectives[name] for t in best if t.score)
        table.add_row(name, *(f"{value:.2f}" for value in values), style="bold")
    for path in result.context.space.fields:
        if any(path in trial.point for trial in best):
            cells = (show(t.point[path]) if path in t.point else "" for t in best)
            table.add_row(short(path), *cells)
    return table


def noise_note(result: SearchResult) -> str:
    """Return a sentence about the intervals: data, method and correction."""
    results, count = result.results, len(result.best)
    corrected = f", corrected for {count} candidates" if count > 1 else ""
    return (
        f"{len(results.image_ids)} images in {schedules(results)} schedules; paired 95 % "
        f"bootstrap intervals{corrected}; marked differences are beyond noise by Holm over all "
        f"{len(result.comparisons)} differences; eps*sign compares with every change pushed to eps."
    )


def attacks_yaml(best: list[AttackSpec]) -> str:
    """Return attacks as an experiment's YAML, without fields at their defaults.

    Args:
        best: The attacks.

    Returns:
        YAML with the key ``attacks``, to paste into an experiment.
    """
    return dump({"attacks": [_plain(attack) for attack in best]}, flow_lists=True)


def _plain(attack: AttackSpec) -> dict[str, Any]:
    content = attack.model_dump(mode="json", exclude_defaults=True)
    for field in ("eps", "step_size"):
        text = written(getattr(attack, field))
        content[field] = text if "/" in text else getattr(attack, field)
    transforms = [_named(transform) for transform in attack.transforms]
    content |= {"transforms": transforms} if transforms else {}
    content |= {"gradient": _named(attack.gradient)} if attack.gradient else {}
    for part in ("momentum", "variance", "smoothing"):
        if (spec := getattr(attack, part)) is not None:
            content[part] = spec.model_dump(mode="json")
    if attack.budget is not None:
        content.pop("steps", None)  # the budget determines the steps
    else:
        content["steps"] = attack.steps
    return content


def _named(part: EntrySpec) -> dict[str, Any]:
    """Return a part's name with its fields that differ from their defaults."""
    excluded = {"kind", "sha256"}
    return {part.kind: part.model_dump(mode="json", exclude_defaults=True, exclude=excluded)}


def _confirmed(result: SearchResult) -> Table:
    """Return a table: mIoU or accuracy per attack, kind of targets and score, RMS, and cost."""
    results = result.results
    scores = list(dict.fromkeys(made.score for made in results.variants.values()))
    table = Table(
        caption=f"mean {results.quality}, %; a lower {results.quality} is a stronger attack"
    )
    table.add_column("attack", style="bold")
    for score in scores:
        table.add_column(score, justify="right")
    table.add_column("RMS,\nlevels", justify="right")
    table.add_column("cost,\nforwards", justify="right")
    for where, pairs in pairs_by_target(result.context.search, results).items():
        table.add_section()
        table.add_row(f"{where}:")
        for attack in dict.fromkeys(made.attack for made in results.variants.values()):
            names = {m.score: n for n, m in results.variants.items() if m.attack == attack}
            means = [f"{_mean(results, names[score], pairs):.2f}" for score in scores]
            raw = names[scores[0]]
            rms, cost = results.perturbation(raw)["rms"], results.cost(raw)["forward_equivalents"]
            style = "green" if attack.startswith("best-") else ""
            table.add_row(attack, *means, f"{rms:.2f}", f"{cost:.1f}", style=style)
    return table


def _mean(results: Results, attack: str, pairs: list[tuple[str, str]]) -> float:
    matrix = results.matrix(attack)
    return float(np.mean([matrix.loc[source, target] for source, target in pairs]))


def _differences(result: SearchResult) -> Table:
    """Return a table of differences to each baseline, coloured if beyond noise."""
    scores = list(dict.fromkeys(c.score for c in result.comparisons))
    table = Table(
        caption=f"difference in mean {result.context.quality}, points; below 0 the search's attack "
        "is stronger",
        box=box.SIMPLE,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    table.add_column("against", style="bold", no_wrap=True)
    for score in scores:
        table.add_column(score, justify="right", no_wrap=True)
    rows: dict[tuple[PairGroup, str, str], dict[str, str]] = {}
    for c in result.comparisons:
        rows.setdefault((c.targets, c.attack, c.baseline), {})[c.score] = _difference(c)
    last = None
    for (where, attack, baseline), cells in rows.items():
        if where != last:
            table.add_section()
            table.add_row(f"{where}:")
        last = where
        table.add_row(f"{attack} − {baseline}", *(cells[score] for score in scores))
    return table


def _difference(comparison: ConfirmedDifference) -> str:
    d = comparison.difference
    text = escape(signed_interval(d.value, d.low, d.high))
    if comparison.wins:
        return f"[green]{text}[/green]"
    return f"[red]{text}[/red]" if comparison.loses else text


def _carry_over(result: SearchResult) -> Iterator[str]:
    """Yield sentences on the best settings' transfer to targets left out of the choice."""
    if result.carry_over:
        yield "\nTransfer of settings to a target left out of the choice, from the trials:"
    for item in result.carry_over:
        yield (
            f"  {item.left_out}: trial {item.chosen}, best on the others, drops it by "
            f"{item.drop:.1f} points, rank {item.rank} of {item.trials} (best {item.best:.1f}, "
            f"median {item.median:.1f})"
        )


def write_search(result: SearchResult) -> Path:
    """Write a search's report.

    Files: trials.csv (a row per trial), best.yaml (attacks for an experiment), summary.md, and the
    figures importances.png, slices.png, contour.png (the two most important fields) and front.png
    (several objectives).

    Returns:
        The folder.
    """
    folder = search_folder(result)
    folder.mkdir(parents=True, exist_ok=True)
    trials_frame(result.trials).to_csv(folder / "trials.csv", index=False, float_format="%.6g")
    (folder / "best.yaml").write_text(attacks_yaml(result.best), encoding="utf-8")
    (folder / "summary.md").write_text(summary(result), encoding="utf-8")
    for name, draw in FIGURE_FILES.items():
        figure = draw(result)
        if figure is not None:
            figure.savefig(folder / name, dpi=REPORT_DPI)
    write_entry(_entry(result), folder)
    return folder


def _entry(result: SearchResult) -> IndexEntry:
    """Return the search's entry in the index of the store."""
    numbers = {"trials": str(len(result.trials))}
    for trial in ranked(result.trials)[:1]:
        best = trial.score.objectives if trial.score else {}
        numbers |= {f"best {name}": f"{value:.3g}" for name, value in best.items()}
    return IndexEntry(
        kind="search",
        store=result.results.store.location,
        identity=result.context.identity,
        title=result.context.search.name,
        when=when(result.results),
        about=f"confirmed: {about(result.results)}" if result.results.counts else "",
        finding=verdict(result.comparisons, result.context.quality) if result.comparisons else "",
        numbers=numbers,
        files={"Summary": "summary.md", "Best as YAML": "best.yaml", "Trials": "trials.csv"},
    )


def summary(result: SearchResult) -> str:
    """Return verdict, differences and best settings as Markdown.

    Returns:
        Markdown; without a confirmation, the best settings alone.
    """
    lines = [f"# {result.context.search.name}", ""]
    if result.comparisons:
        notes = [
            verdict(result.comparisons, result.context.quality),
            too_few_schedules(result.results),
            noise_note(result),
        ]
        lines += [line for note in notes if note for line in (note, "")]
        difference = f"difference in {result.context.quality}, points"
        lines += [f"| against | targets | score | {difference} |", "|---|---|---|---|"]
        for c in result.comparisons:
            d = c.difference
            text = signed_interval(d.value, d.low, d.high)
            cell = f"**{text}**" if c.beyond_noise else text
            lines.append(f"| {c.attack} − {c.baseline} | {c.targets} | {c.score} | {cell} |")
    lines += ["", result.against.sentence] if result.against is not None else []
    lines += ["", "```yaml", attacks_yaml(result.best).strip(), "```", ""]
    lines += [line.strip() for line in _carry_over(result)]
    return "\n".join(lines) + "\n"
