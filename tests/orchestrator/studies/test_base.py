"""The base: an experiment, facts from its attacks, and equal keys of equal work."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from segtransfer.errors import InputError
from segtransfer.experiment.reading import read_experiment
from segtransfer.experiment.recipes import STUDY_BASES
from segtransfer.studies import STUDIES, read_base, split_base
from tests.conftest import ROOT
from tests.orchestrator.studies.made_up import base_of, classifiers_base, pooled

OF_CLASSIFIERS = {"overfitting", "scales"}
TABLE = ROOT / "infra/benchmarks/transfer_table.yaml"


def test_first_iterative_attack_gives_eps_steps_and_cost() -> None:
    noise = {"preset": "noise", "eps": "2/255"}
    by_steps = base_of(attacks=[noise, {"preset": "ds", "eps": "4/255", "steps": 12}])
    assert (by_steps.eps, by_steps.steps) == (4 / 255, 12)
    assert by_steps.cost == pytest.approx(13)  # E[r^2] of the default range is 13/12
    budget = {"forward_equivalents": 7}
    assert base_of(attacks=[{"preset": "pgd", "budget": budget}]).cost == 7
    assert base_of(attacks=[{"preset": "pgd", "steps": 9, "steps_at": [2, 5]}]).cost == 5
    default = read_base({"data": "camvid", "models": ["fcn-r18"]})
    assert (default.eps, default.steps, default.cost) == (8 / 255, 20, 20)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attacks": ["noise"]}, "no attack has steps"),
        ({"attacks": [{"preset": "pgd", "norm": "l2"}]}, "attack 'pgd' has norm l2"),
        ({"study": {"twins": [["fcn-r18", "fcn-r81"]]}}, "study.twins names 'fcn-r81', which is"),
        ({"study": {"stride_twins": [["a", "fcn-r18"]]}}, "study.stride_twins names 'a'"),
        ({"study": {"heads": {"b": "FCNHead"}}}, "study.heads names 'b'"),
        ({"study": {"twin": []}}, "did you mean 'twins'"),
        ({"attacks": [{"preset": "pgd", "epz": 1}]}, "did you mean 'eps'"),
    ],
)
def test_wrong_base_is_refused_with_a_message(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        base_of(**changes)


@pytest.mark.parametrize(
    ("given", "source", "overrides"),
    [
        ([], "zoo", []),
        (["seed=1"], "zoo", ["seed=1"]),
        (["mine.yaml", "seed=1"], "mine.yaml", ["seed=1"]),
        (["camvid"], "camvid", []),
    ],
)
def test_base_precedes_the_overrides(given: list[str], source: str, overrides: list[str]) -> None:
    assert split_base(given) == (source, overrides)


@pytest.mark.parametrize("name", STUDIES)
def test_study_replaces_only_attacks_and_models_of_the_base(name: str) -> None:
    base = base_of(seed=7, shard_size=3, numerics="fast", data={"sample": "camvid", "images": 9})
    made = STUDIES[name].experiment(base)
    for field in ("data", "seed", "schedule_groups", "shard_size", "numerics", "runtime"):
        assert getattr(made, field) == getattr(base, field)
    assert made.name == f"experiment-{name}"


def test_attacks_of_the_transfer_table_have_the_same_keys_in_studies() -> None:
    """At its eps and budget: its data, models, seed and numerics, and attacks that are equal."""
    folder = ["data.folder=/somewhere"]
    table = read_experiment(TABLE, folder)
    setting = ["data.images=100", "attacks=[{preset: pgd, eps: 4/255, budget: 10}]"]
    base = read_base("camvid", [*folder, *setting])
    for field in ("data", "models", "seed", "schedule_groups", "shard_size", "numerics"):
        assert getattr(base, field) == getattr(table, field)
    stored = {attack.name: attack.identity() for attack in table.attacks}

    def made(study: str) -> dict[str, Any]:
        return {a.name: a.identity() for a in STUDIES[study].experiment(base).attacks}

    for study in ("heads", "twins", "object-size", "ablation"):
        assert {name: made(study)[name] for name in ("pgd", "ds")} == {
            name: stored[name] for name in ("pgd", "ds")
        }
    at_four = {name: made("eps")[f"{name}-4"] for name in ("noise", "pgd", "ds-mi")}
    assert at_four == {name: stored[name] for name in at_four}
    assert made("ablation")["with-mi"] == stored["ds-mi"]


def test_shipped_bases_contain_only_data() -> None:
    for path in STUDY_BASES.glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["name"] == path.stem


@pytest.mark.parametrize(
    "model",
    [pooled("crops"), {"name": "crops", "ensemble": [pooled("a"), pooled("b")]}],
    ids=["torch", "ensemble"],
)
def test_classifier_beside_a_segmentation_model_is_refused_in_a_sentence(
    model: dict[str, Any],
) -> None:
    base = base_of(models=["fcn-r18", model], sources=["fcn-r18"], study={})
    for study in STUDIES.values():
        if study.name == "twins":  # refused before, without twins
            continue
        told = r"model 'crops' is a classifier\. Name segmentation"
        if study.name in OF_CLASSIFIERS:
            told = "model 'crops' is a classifier and model 'fcn-r18' a segmentation model"
        with pytest.raises(InputError, match=f"^Study {study.name} .*{told}"):
            study.experiment(base)


def test_two_studies_run_on_classifiers_alone() -> None:
    base = classifiers_base()
    for study in STUDIES.values():
        if study.name in OF_CLASSIFIERS:
            assert {m.name for m in study.experiment(base).source_models} == {
                model.name for model in base.models
            }
        elif study.name != "twins":
            with pytest.raises(InputError, match="model 'one-r18' is a classifier"):
                study.experiment(base)


def test_base_of_three_classifiers_has_crops_of_a_class_and_tests_overfitting() -> None:
    base = read_base(ROOT / "infra/studies/classifiers.yaml", ["data.folder=/somewhere"])
    assert base.data.crops is not None
    assert (base.eps, base.steps, len(base.models)) == (8 / 255, 100, 3)
    for model in base.models:
        assert model.mmseg is not None
        assert model.mmseg.classifier
        assert Path(model.mmseg.config).is_file()
        assert Path(str(model.mmseg.checkpoint)).parent == ROOT / "infra/studies/trained"


def test_experiment_from_classes_to_segmentation_shares_data_and_classifiers_of_the_base() -> None:
    folder = ["data.folder=/somewhere"]
    base = read_base(ROOT / "infra/studies/classifiers.yaml", folder)
    made = read_experiment(ROOT / "infra/studies/class-to-segmentation.yaml", folder)
    assert made.data == base.data
    assert made.models[: len(base.models)] == base.models
    assert {*made.target_models} == {*made.models[len(base.models) :]}
