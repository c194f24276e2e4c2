"""The leaderboard's recipes: every preset takes part, at the cost and on the images of the page."""

import re

import pytest
import yaml

from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.spec import Experiment
from segtransfer.experiment.threat import planned_cost, refusal
from segtransfer.searches.spec import read_search
from segtransfer.tasks.attacks.presets import PRESETS
from tests.conftest import ROOT

PAGE = (ROOT / "docs/how-to/leaderboard.md").read_text()
LATER = PAGE[PAGE.index("- `fia`") : PAGE.index("- Ranks come from")]  # presets outside stage 1


def stage(number: int) -> Experiment:
    return read_experiment(f"leaderboard-{number}")


def test_every_preset_with_steps_takes_part_in_the_first_stage() -> None:
    """A preset that ten forwards do not buy takes part with fewer copies, as PRESET-COPIES."""
    experiment = stage(1)
    assert experiment.threat is not None
    names = {attack.name for attack in experiment.attacks}
    for preset in PRESETS:
        if preset in names or PRESETS[preset].fields.get("steps") in (0, 1):
            continue
        assert refusal(preset, experiment.threat)
        fewer = any(re.fullmatch(f"{preset}-[a-z]+[0-9]+", name) for name in names)
        assert fewer or f"`{preset}`" in LATER, preset


@pytest.mark.parametrize(("number", "sources", "budget"), [(1, 2, 10), (2, 3, 40), (3, 2, 200)])
def test_stages_cost_what_the_page_says(number: int, sources: int, budget: int) -> None:
    experiment = stage(number)
    assert len(experiment.source_models) == sources
    images, attacks = experiment.data.images, [a for a in experiment.attacks if a.steps]
    assert images is not None
    told = re.search(rf"`leaderboard-{number}` .* \| ([0-9,]+) per attack \|$", PAGE, re.MULTILINE)
    assert told is not None
    spent = sum(map(planned_cost, attacks)) * sources * images / len(attacks)
    runs = 2 if number == 2 else 1  # the second stage runs at two eps
    assert runs * spent == pytest.approx(int(told[1].replace(",", "")), rel=0.1)
    assert spent == pytest.approx(budget * sources * images, rel=0.1)


def test_second_stage_has_images_that_the_first_did_not_see() -> None:
    assert (stage(1).data.split, stage(2).data.split) == ("val", "test")
    assert (stage(2).schedule_groups, stage(2).data.images) == (10, 48)


def test_spec_of_the_page_is_an_experiment() -> None:
    (block,) = re.findall(r"```yaml\n# ranked.yaml\n(.*?)```", PAGE, re.DOTALL)
    assert read_experiment(yaml.safe_load(block)).threat is not None


def test_search_for_the_best_transfer_confirms_against_ds_mi() -> None:
    search = read_search("best-transfer")
    assert "ds-mi" in search.confirm.baselines
    assert search.search.space == "composition"
