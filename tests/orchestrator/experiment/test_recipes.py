"""Shipped recipes are found by name, and each can be read."""

import pytest

from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.recipes import recipe_names
from tests.orchestrator.experiment.specs import message


def test_missing_file_suggests_a_recipe() -> None:
    text = message("quickstrat")
    assert "'quickstrat' is neither a file nor a recipe" in text
    assert "did you mean 'quickstart'?" in text


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_shipped_recipe_is_valid(recipe: str) -> None:
    assert read_experiment(recipe).name == recipe


def test_there_is_a_recipe_to_start_with() -> None:
    assert "quickstart" in recipe_names()
