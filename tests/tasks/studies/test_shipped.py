"""The bases that ship, and the page that tells what the studies found."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from segtransfer.experiment.spec import Experiment
from segtransfer.studies import STUDIES, read_base, split_base
from segtransfer.tasks.models.zoo import ZOO
from tests.conftest import ROOT

FOLDER = ROOT / "tasks/studies"
PAGE = (FOLDER / "README.md").read_text()


def section(name: str) -> str:
    (found,) = re.findall(rf"^## `{name}`.*?(?=^## |\Z)", PAGE, flags=re.MULTILINE | re.DOTALL)
    return found


def commanded(name: str) -> Experiment:
    """What the first command of a section would carry out."""
    command, *_ = re.findall(
        r"^    (segtransfer study (?:.*\\\n)*.*)$", section(name), re.MULTILINE
    )
    program, verb, study, *given = shlex.split(command.replace("\\\n", ""))
    assert (program, verb, study) == ("segtransfer", "study", name)
    return STUDIES[study].experiment(read_base(*split_base(given)))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_base_names_models_that_ship(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    named = [*content["models"], *content["sources"], *content.get("targets", [])]
    named += [name for pair in content["study"]["twins"] for name in pair]
    assert set(named) <= set(ZOO)


@pytest.mark.parametrize("name", STUDIES)
def test_page_has_the_cost_of_every_study(name: str) -> None:
    experiment = commanded(name)
    (told,) = re.findall(r"^([\d,]+) attack steps", section(name), flags=re.MULTILINE)
    each = sum(attack.steps * attack.step_cost for attack in experiment.attacks)
    steps = each * len(experiment.source_models) * (experiment.data.images or 0)
    assert int(told.replace(",", "")) == round(steps, -2)
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| `{name}` | "))
    cells = [cell.strip() for cell in row.split("|")]
    assert (cells[2], cells[4]) == (str(experiment.data.images), told)


def test_figures_are_there_and_small() -> None:
    for figure in re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE):
        assert (FOLDER / figure).stat().st_size < 150_000, figure
