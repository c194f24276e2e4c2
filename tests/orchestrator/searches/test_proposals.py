"""Samplers and pruners by name: shipped, of Optuna, of the user; errors are a single line."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from segtransfer.errors import InputError
from segtransfer.searches.optuna_study import open_storage, open_study
from segtransfer.searches.proposals import Asha, make_pruner, make_sampler
from segtransfer.store import Store
from tests.orchestrator.searches.searches import grey_context, grey_search


def grid_of_mine(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.QMCSampler(seed=seed)


def strict(n_startup_trials: int = 5) -> optuna.pruners.BasePruner:
    return optuna.pruners.PercentilePruner(10.0, n_startup_trials=n_startup_trials)


def no_sampler(seed: int) -> int:
    return seed


HERE = __name__


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("tpe", "TPESampler"),
        ("random", "RandomSampler"),
        ("optuna.samplers:GPSampler", "GPSampler"),
        (f"{HERE}:grid_of_mine", "QMCSampler"),
    ],
)
def test_sampler_is_made_by_name_with_seed(name: str, kind: str) -> None:
    assert type(make_sampler(name, 3, 10)).__name__ == kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("asha", Asha),
        ("median", optuna.pruners.MedianPruner),
        ("none", optuna.pruners.NopPruner),
        ("optuna.pruners:HyperbandPruner", optuna.pruners.HyperbandPruner),
        (f"{HERE}:strict", optuna.pruners.PercentilePruner),
    ],
)
def test_pruner_is_made_by_name(name: str, kind: type) -> None:
    assert type(make_pruner(name)) is kind


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_every_seed_of_a_spec_makes_a_sampler(name: str) -> None:
    assert make_sampler(name, 2**63 - 1, 10)


def test_equal_seeds_draw_equal_points() -> None:
    def drawn(seed: int) -> list[float]:
        study = optuna.create_study(sampler=make_sampler("random", seed, 10))
        return [study.ask().suggest_float("x", 0, 1) for _ in range(3)]

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize(
    ("field", "name", "told"),
    [
        ("sampler", "tpee", "unknown sampler 'tpee'; did you mean 'tpe'? Allowed: random, tpe"),
        (
            "pruner",
            "medain",
            "did you mean 'median'? Allowed: asha, median, none; name your own as",
        ),
        ("sampler", "nowhere:mine", "sampler nowhere:mine cannot be imported: ModuleNotFound"),
        ("sampler", 3, "'3' is not a text"),
        ("pruner", f"{HERE}:HERE", f"pruner {HERE}:HERE is no function that returns"),
    ],
)
def test_wrong_name_is_refused_in_a_line(field: str, name: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        grey_search(tmp_path, search={field: name})
    assert f"field 'search.{field}'" in str(raised.value)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("field", "name", "told"),
    [
        ("sampler", f"{HERE}:no_sampler", "returned int, but must return an optuna BaseSampler"),
        ("pruner", f"{HERE}:grid_of_mine", "An entry is called with nothing; name a function"),
        ("sampler", "optuna.samplers:GridSampler", "GridSampler raised TypeError: "),
        ("pruner", "optuna.pruners:ThresholdPruner", "ThresholdPruner raised TypeError: "),
    ],
)
def test_entry_without_a_sampler_or_pruner_is_refused_before_a_trial(
    field: str, name: str, told: str, tmp_path: Path
) -> None:
    context, store = grey_context(tmp_path, search={field: name})
    with pytest.raises(InputError, match=f"^search.{field} {name}") as raised:
        open_study(context, open_storage(context, store), resume=False)
    assert told in str(raised.value)


def test_search_of_defaults_keeps_its_identity_and_others_have_their_own(tmp_path: Path) -> None:
    default = grey_context(tmp_path)[0].identity
    assert grey_context(tmp_path, search={"sampler": "tpe", "pruner": "asha"})[0].identity == (
        default
    )
    others = [
        grey_context(tmp_path, search=search)[0].identity
        for search in ({"sampler": "random"}, {"pruner": "median"})
    ]
    assert len({default, *others}) == 3


def test_study_has_the_sampler_and_pruner_of_its_search(tmp_path: Path) -> None:
    search = {"sampler": "random", "pruner": "median"}
    context = grey_context(tmp_path, search=search)[0]
    study = open_study(context, open_storage(context, Store(context.store)), resume=False)
    assert isinstance(study.sampler, optuna.samplers.RandomSampler)
    assert isinstance(study.pruner, optuna.pruners.MedianPruner)
