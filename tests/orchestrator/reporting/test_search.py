"""What a search found, as a person sees it: tables, YAML to paste, figures."""

from dataclasses import replace
from io import StringIO

import pandas as pd
import pytest
import yaml
from PIL import Image
from rich.console import Console

from segtransfer.reporting.search import attacks_yaml, print_search, summary, write_search
from segtransfer.results.text import signed_interval, signed_number
from segtransfer.searches import SearchResult
from segtransfer.searches.against import AgainstRandom
from segtransfer.searches.confirmation import verdict
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.orchestrator.reporting.made_results import toy_result


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return toy_result(tmp_path_factory.mktemp("found"))


@pytest.fixture(scope="module")
def found_two(tmp_path_factory: pytest.TempPathFactory) -> SearchResult:
    return toy_result(tmp_path_factory.mktemp("found"), objectives=("transfer", "cost"))


def printed(found: SearchResult) -> str:
    console = Console(file=StringIO(), width=160)
    print_search(found, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_terminal_prints_best_trials_comparison_and_verdict(found: SearchResult) -> None:
    text = printed(found)
    assert "The best of 12 trials (1 pruned, 1 failed)" in text
    for part in ("best-1 − pgd", "best-2 − pgd", "eps*sign"):
        assert part in text
    assert text.count("searched, same backbone:") == text.count("held-out, other backbone:") == 2
    assert verdict(found.comparisons, "mIoU")[:60] in text
    assert "by Holm over all 8 differences" in text
    assert "6 images in 4 schedules" in text, "so many of the ten groups have an image"
    assert "images have 4 schedules, but a claim needs at least 10. Add" in text
    assert "images have 4 schedules" in summary(found)
    assert "corrected for 2 candidates" in text


def test_enough_schedules_give_no_warning(found: SearchResult) -> None:
    many = replace(found.results, image_ids=tuple(f"image-{n}" for n in range(60)))
    text = summary(replace(found, results=many))
    assert "60 images in 10 schedules" in text
    assert "a claim needs" not in text


def test_the_differences_are_those_of_the_matrices(found: SearchResult) -> None:
    first = found.comparisons[0]
    assert (first.attack, first.baseline, first.score) == ("best-1", "pgd", "raw")
    assert str(first.targets) == "searched, same backbone"
    ours, theirs = (found.results.matrix(name).loc["a", "b"] for name in ("best-1", "pgd"))
    assert first.difference.value == pytest.approx(ours - theirs)
    assert signed_number(first.difference.value, 2) in printed(found)


def test_printed_yaml_reads_as_same_attack(found: SearchResult) -> None:
    pasted = yaml.safe_load(attacks_yaml(found.best))["attacks"]
    assert [AttackSpec.model_validate(a).identity() for a in pasted] == [
        attack.identity() for attack in found.best
    ]


def test_yaml_of_attack_with_budget_has_no_steps() -> None:
    attack = AttackSpec.model_validate(
        {"preset": "ds-mi", "eps": "4/255", "budget": 12, "step_size": "eps/steps"}
    )
    (pasted,) = yaml.safe_load(attacks_yaml([attack]))["attacks"]
    assert "steps" not in pasted
    assert AttackSpec.model_validate(pasted).identity() == attack.identity()


def test_eps_and_step_size_are_written_as_fractions_of_255_or_as_given() -> None:
    attacks = [
        AttackSpec.model_validate({"preset": "pgd", "eps": eps, "step_size": step})
        for eps, step in (("8/255", "2/255"), (0.03, "eps/4"), (1, 0.2))
    ]
    text = attacks_yaml(attacks)
    for part in ("8/255, step_size: 2/255", "0.03, step_size: 0.0075", "1.0, step_size: 0.2"):
        assert f"eps: {part}," in text
    pasted = yaml.safe_load(attacks_yaml(attacks))["attacks"]
    read = [AttackSpec.model_validate({"name": "again", **raw}) for raw in pasted]
    assert [(a.eps, a.step_size) for a in read] == [(a.eps, a.step_size) for a in attacks]


def test_no_output_has_the_decimals_of_eps(found: SearchResult) -> None:
    decimals = str(found.best[0].eps)[:6]
    folder = write_search(found)
    texts = [printed(found), summary(found), (folder / "best.yaml").read_text()]
    assert not any(decimals in text for text in texts)


def test_comparison_with_random_search_is_in_every_output(found: SearchResult) -> None:
    compared = replace(found, against=AgainstRandom(50.0, 80.0, (40.0, 42.0, 41.0), (80.0,) * 3))
    for text in (printed(compared), summary(compared)):
        words = " ".join(text.split())
        assert "best transfer is 50.00 points, and 41.00 points for random" in words
        assert "beyond the noise of seeds" in words
    assert "random search" not in printed(found)


def test_the_tables_fit_a_terminal_of_eighty_columns(found: SearchResult) -> None:
    console = Console(file=StringIO(), width=80)
    print_search(found, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "…" not in text
    intervals = (c.difference for c in found.comparisons)
    assert all(signed_interval(d.value, d.low, d.high) in text for d in intervals)


def test_the_folder_has_figures_tables_and_yaml(found: SearchResult) -> None:
    folder = write_search(found)
    frame = pd.read_csv(folder / "trials.csv")
    assert frame["state"].tolist() == ["complete"] * 10 + ["pruned", "failed"]
    assert frame["reason"].iloc[-1] == "2 tasks failed: no memory"
    assert (folder / "best.yaml").read_text() == attacks_yaml(found.best)
    for name in ("importances.png", "slices.png"):
        assert min(Image.open(folder / name).size) > 150
    assert not (folder / "front.png").exists()


def test_two_objectives_give_front_in_text_and_figure(found_two: SearchResult) -> None:
    # Transfer and cost rise together: none of the trials beats another in both.
    assert "The front of 12 trials" in printed(found_two)
    assert Image.open(write_search(found_two) / "front.png").size[0] > 300


def test_the_summary_holds_every_comparison(found: SearchResult) -> None:
    text = summary(found)
    assert text.count("| best-") == len(found.comparisons) == 8
    assert "```yaml" in text
