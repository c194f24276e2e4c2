"""An override sets one field of a spec, or is explained."""

import pytest

from segtransfer.experiment.reading import read_experiment
from tests.orchestrator.experiment.specs import GOOD, good, message


def test_an_override_reaches_into_a_bare_preset_name() -> None:
    read = read_experiment(good(), ["attacks.0.eps=8/255", "attacks.0.name=strong"])
    assert (read.attacks[0].name, read.attacks[0].eps) == ("strong", 8 / 255)
    assert read.attacks[0].steps == 20


def test_an_override_with_a_star_reaches_every_item() -> None:
    read = read_experiment(good(), ["attacks.*.eps=8/255", "attacks.0.eps=2/255"])
    assert [attack.eps for attack in read.attacks] == [2 / 255, 8 / 255]


def test_an_override_renames_a_bare_zoo_model() -> None:
    read = read_experiment(good(), ["models.0.name=mine"])
    assert (read.models[0].name, read.models[0].zoo) == ("mine", "fcn-r18")


def test_an_override_reaches_into_a_bare_sample_name() -> None:
    assert read_experiment(good(), ["data.images=3"]).data.images == 3


def test_override_of_a_missing_section_creates_the_section() -> None:
    assert read_experiment(good(), ["runtime.fleet.slots=3"]).runtime.fleet.slots == 3
    read = read_experiment(good(attacks=["pgd"]), ["attacks.0.momentum.mu=0.5"])
    assert read.attacks[0].momentum is not None
    assert read.attacks[0].momentum.mu == 0.5


def test_overrides_leave_the_callers_dict_unchanged() -> None:
    source = good()
    read_experiment(source, ["attacks.1.steps=2", "models.0.name=x", "runtime.window=1"])
    assert source == GOOD


def test_a_read_experiment_may_be_overridden_again() -> None:
    read = read_experiment(good(), ["seed=4"])
    assert read_experiment(read) is read
    again = read_experiment(read, ["attacks.0.momentum.mu=0.5"])
    assert (again.seed, again.models) == (4, read.models)
    assert again.attacks[0].momentum is not None


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("attacks.7.eps=0.1", ["attacks.7.eps=0.1", "no item '7'", "0 to 1"]),
        ("attacks.x.eps=0.1", ["no item 'x'", "0 to 1"]),
        ("seed", ["'seed'", "field.path=value"]),
        ("=3", ["'=3'", "field.path=value"]),
        ("seed=[1", ["seed=[1", "no valid YAML"]),
        ("seed.deep=1", ["seed.deep", "is '7' and has no fields"]),
        ("sed=1", ["unknown key 'sed'", "did you mean 'seed'?"]),
    ],
)
def test_a_wrong_override_is_explained(override: str, parts: list[str]) -> None:
    text = message(good(seed=7), override)
    assert all(part in text for part in parts), text
