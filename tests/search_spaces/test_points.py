"""From a trial to a point, from a point to an attack, and from an attack back to its point."""

from typing import Any

import optuna
import pytest

from segtransfer.errors import InputError
from segtransfer.search_spaces import Space, attack_of, first_points, point_of, suggest_point
from segtransfer.search_spaces.space import Value
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.search_spaces.cases import PGD, Answers, space

optuna.logging.set_verbosity(optuna.logging.WARNING)

ON = {"switch": True}
DS = {"transforms.ds.low": {"float": [0.5, 0.95]}, "transforms.ds.width": {"float": [0.1, 1.5]}}
MI = {"momentum": ON, "momentum.mu": {"float": [0.5, 1.2]}}
LAWS = {
    "transforms.ds.law": {"choice": ["uniform", "discrete"]},
    "transforms.ds.levels": {"int": [3, 9], "when": {"transforms.ds.law": "discrete"}},
}


def made(fields: dict[str, Any], point: dict[str, Value], **base: Any) -> AttackSpec:
    return attack_of(space(fields), PGD | base, point, "x")


def spec(**fields: Any) -> AttackSpec:
    return AttackSpec.model_validate(PGD | {"name": "x"} | fields)


def kinds(attack: AttackSpec) -> list[str]:
    return [transform.kind for transform in attack.transforms]


# From a trial to a point


def test_a_field_is_asked_for_under_its_path_with_its_range() -> None:
    trial = Answers()
    fields = {
        "momentum.mu": {"float": [0.5, 1], "step": 0.25},
        "step_size": {"float": ["1/255", "8/255"], "log": True},
        "steps": {"int": [1, 100], "log": True},
        "smoothing.kernel": {"int": [3, 9], "step": 2},
        "transforms.ds": ON,
        "loss": {"choice": ["js", "cross-entropy"]},
    }
    point = suggest_point(space(fields), trial)
    assert list(point) == list(trial.asked) == list(fields)
    assert trial.asked == {
        "momentum.mu": ("float", 0.5, 1.0, 0.25, False),
        "step_size": ("float", 1 / 255, 8 / 255, None, True),
        "steps": ("int", 1, 100, 1, True),
        "smoothing.kernel": ("int", 3, 9, 2, False),
        "transforms.ds": ("categorical", False, True),
        "loss": ("categorical", "js", "cross-entropy"),
    }


def test_field_is_asked_for_only_if_its_conditions_hold() -> None:
    assert suggest_point(space(LAWS), Answers()) == {"transforms.ds.law": "uniform"}
    assert suggest_point(space(LAWS), Answers(transforms__ds__law="discrete")) == {
        "transforms.ds.law": "discrete",
        "transforms.ds.levels": 3,
    }


def test_conditions_chain_through_a_switched_part() -> None:
    fields = {"transforms.ds": ON, **LAWS}
    assert suggest_point(space(fields), Answers()) == {"transforms.ds": False}
    answers = Answers(transforms__ds=True, transforms__ds__law="discrete")
    assert list(suggest_point(space(fields), answers)) == list(fields)


def test_condition_with_several_values_holds_for_each() -> None:
    fields = {
        "steps": {"choice": [5, 10, 20]},
        "momentum": {"switch": True, "when": {"steps": [10, 20]}},
    }
    assert suggest_point(space(fields), Answers(steps=5)) == {"steps": 5}
    assert suggest_point(space(fields), Answers(steps=20)) == {"steps": 20, "momentum": False}


def test_a_fixed_trial_of_optuna_gives_its_values() -> None:
    params = {"transforms.ds.low": 0.75, "transforms.ds.width": 0.5, "momentum": False}
    assert suggest_point(space(DS | MI), optuna.trial.FixedTrial(params)) == params


# From a point to an attack


def test_a_points_values_are_set_in_the_base_attack() -> None:
    attack = made(DS | MI, {"transforms.ds.low": 0.6, "momentum": True, "momentum.mu": 0.9})
    assert attack == spec(transforms=[{"ds": {"low": 0.6}}], momentum={"mu": 0.9})


def test_a_part_that_is_switched_off_is_absent() -> None:
    assert made(MI, {"momentum": False}, preset="mi").momentum is None
    assert made({"transforms.ds": ON}, {"transforms.ds": False}, preset="ds").transforms == ()
    assert made({"smoothing": ON}, {"smoothing": False}, preset="ti").smoothing is None


def test_a_part_that_is_switched_on_has_the_base_attacks_fields_or_its_defaults() -> None:
    assert made({"variance": ON}, {"variance": True}) == spec(variance={})
    attack = made({"momentum": ON}, {"momentum": True}, momentum={"mu": 0.7})
    assert attack == spec(momentum={"mu": 0.7})


def test_searched_part_without_a_switch_is_always_on() -> None:
    assert kinds(made(LAWS, {"transforms.ds.law": "uniform"})) == ["ds"]
    kernel = {"int": [3, 9], "step": 2, "when": {"momentum": True}}
    fields = {"momentum": ON, "smoothing.kernel": kernel}
    assert made(fields, {"momentum": False}) == spec(smoothing="ti")


def test_a_field_that_is_not_asked_for_stays_as_in_the_base_attack() -> None:
    attack = made(LAWS, {"transforms.ds.law": "uniform"}, transforms=[{"ds": {"levels": 7}}])
    assert attack == spec(transforms=[{"ds": {"levels": 7}}])


def test_transforms_come_in_the_base_attacks_order_then_in_the_spaces() -> None:
    fields = dict.fromkeys(("transforms.si", "transforms.ds", "transforms.di"), ON)
    point: dict[str, Value] = dict.fromkeys(fields, True)
    assert kinds(made(fields, point)) == ["si", "ds", "di"]
    assert kinds(made(fields, point, transforms=["rdi", "di"])) == ["rdi", "di", "si", "ds"]
    assert kinds(made(fields, {**point, "transforms.di": False}, transforms=["di", "rdi"])) == [
        "rdi",
        "si",
        "ds",
    ]


def test_steps_and_step_size_follow_from_the_attack_as_proposed() -> None:
    fields = {"step_size": {"choice": ["eps/steps", "1/255"]}, "steps": {"int": [1, 100]}}
    assert made(fields, {"step_size": "eps/steps", "steps": 10}).step_size == 4 / 255 / 10
    scales = {"transforms.ds.scales": {"int": [1, 5]}}
    for count in (1, 2, 5):
        attack = made(scales, {"transforms.ds.scales": count}, budget=20)
        assert attack == spec(budget=20, transforms=[{"ds": {"scales": count}}])
        assert attack.steps == round(20 / (count * 13 / 12))
        assert attack.step_size == 4 / 255 / min(4, attack.steps)


def test_base_attack_by_name_is_unchanged() -> None:
    assert attack_of(space(DS), "mi", {"transforms.ds.low": 0.6}, "x").momentum is not None
    base = {**PGD, "transforms": [{"ds": {"low": 0.5}}]}
    attack_of(space(DS), base, {"transforms.ds.low": 0.6}, "x")
    assert base == {**PGD, "transforms": [{"ds": {"low": 0.5}}]}


def test_a_wrong_point_is_a_sentence() -> None:
    with pytest.raises(InputError, match=r"'momentum.nu', no field of the space.*'momentum.mu'\?"):
        made(MI, {"momentum": True, "momentum.nu": 1})
    with pytest.raises(InputError, match=r"'momentum.mu', a field only if momentum is tru"):
        made(MI, {"momentum": False, "momentum.mu": 1})
    with pytest.raises(InputError, match=r"proposal momentum=true, momentum.mu=7: field 'momentum"):
        made(MI, {"momentum": True, "momentum.mu": 7})


# From an attack to its point


@pytest.mark.parametrize(
    "point",
    [
        {"transforms.ds.low": 0.6, "transforms.ds.width": 0.3, "momentum": False},
        {
            "transforms.ds.low": 0.5,
            "transforms.ds.width": 1.5,
            "momentum": True,
            "momentum.mu": 0.75,
        },
    ],
)
def test_a_point_is_found_again_in_its_attack(point: dict[str, Value]) -> None:
    one = space(DS | MI)
    assert point_of(one, PGD, attack_of(one, PGD, point, "x")) == point


def test_choices_are_matched_by_meaning() -> None:
    one = space({"step_size": {"choice": [0.01, "2/255", "eps/4"]}})
    assert point_of(one, PGD, spec(step_size="2/255")) == {"step_size": "2/255"}
    assert point_of(one, PGD, spec(step_size="eps/2")) == {"step_size": "2/255"}
    assert point_of(one, PGD, spec(step_size=1 / 255)) == {"step_size": "eps/4"}


def test_a_number_on_the_grid_is_found_in_optunas_terms() -> None:
    one = space({"momentum.mu": {"float": [0.5, 1.1], "step": 0.1}, "steps": {"int": [10, 30]}})
    point = point_of(one, PGD, spec(momentum={"mu": 0.7}))
    assert point == {"momentum.mu": pytest.approx(0.7), "steps": 20}
    assert [type(value) for value in point.values()] == [float, int]


# The points that are proposed first


@pytest.mark.parametrize("budget", [None, 10])
@pytest.mark.parametrize("preset", ["pgd", "mi", "ds", "ds-mi"])
def test_an_enqueued_preset_gives_back_the_presets_attack(preset: str, budget: int | None) -> None:
    base = PGD | ({} if budget is None else {"budget": budget})
    fields = {"transforms.ds": ON, **DS, **MI, "step_size": {"choice": ["eps/steps", "1/255"]}}
    one = space(fields, preset)
    study = optuna.create_study()
    (point,) = first_points(one, base)
    study.enqueue_trial(point)
    proposed = suggest_point(one, study.ask())
    assert proposed == point
    wanted = AttackSpec.model_validate({**base, "preset": preset})
    assert attack_of(one, base, proposed, "x").identity() == wanted.identity()


def test_step_size_of_a_preset_matches_the_equal_choice() -> None:
    fields = {"step_size": {"choice": ["1/255", "2/255", "eps/steps"]}}
    one = space(fields, "pgd")
    assert first_points(one, PGD) == [{"step_size": "1/255"}]
    assert first_points(one, PGD | {"eps": "8/255"}) == [{"step_size": "2/255"}]
    assert first_points(one, PGD | {"eps": "16/255", "budget": 4}) == [{"step_size": "eps/steps"}]


def test_own_fields_of_the_base_attack_are_kept_unless_searched() -> None:
    base = PGD | {"steps": 7, "loss": "segpgd", "transforms": ["di", {"ds": {"grid": 0.25}}]}
    one = space(DS, "ds")
    (point,) = first_points(one, base)
    attack = attack_of(one, base, point, "x")
    assert (attack.steps, attack.loss, kinds(attack)) == (7, "segpgd", ["di", "ds"])
    assert attack.transforms[1].model_dump()["grid"] == 0.25


def test_searched_fields_come_from_the_preset() -> None:
    base = PGD | {"momentum": {"mu": 0.6}}
    assert first_points(space(MI, "pgd", "mi"), base) == [
        {"momentum": False},
        {"momentum": True, "momentum.mu": 1.0},
    ]


def test_a_point_is_the_base_attack_with_these_fields_and_fractions_are_read() -> None:
    fields = {**DS, **MI, "step_size": {"float": ["1/255", "4/255"]}}
    point = {"transforms.ds.low": "3/4", "step_size": "2/255"}
    assert first_points(space(fields, point), PGD | {"preset": "mi"}) == [
        {
            "transforms.ds.low": 0.75,
            "transforms.ds.width": 1.0,
            "momentum": True,
            "momentum.mu": 1.0,
            "step_size": 2 / 255,
        }
    ]


def test_naming_a_field_of_a_part_switches_the_part_on() -> None:
    assert first_points(space(MI, {"momentum.mu": 0.8}), PGD) == [
        {"momentum": True, "momentum.mu": 0.8}
    ]


def test_equal_points_are_proposed_once() -> None:
    assert len(first_points(space(MI, "mi", {"momentum.mu": 1.0}, "pgd"), PGD)) == 2


CANNOT: dict[str, tuple[Space, list[str]]] = {
    "another loss": (space(MI, "segpgd"), ["preset 'segpgd'", "loss is 'segpgd'", "cross-entropy"]),
    "another transform": (
        space(MI, "pgd", "di"),
        ["first.1", "transforms.di is on", "and off in every attack"],
    ),
    "a part that is always there": (
        space(DS, "pgd"),
        ["transforms.ds is off", "on in every attack"],
    ),
    "below the range": (
        space({"transforms.ds.low": {"float": [0.6, 0.9]}}, "ds"),
        ["transforms.ds.low is 0.5", "0.6 to 0.9"],
    ),
    "no such choice": (
        space({"step_size": {"choice": ["eps/2", 0.01]}}, "pgd"),
        ["step_size is 0.00392157", "eps/2, 0.01"],
    ),
    "between the steps": (
        space({"steps": {"int": [1, 31], "step": 3}}, "pgd"),
        ["steps is '20'", "1 to 31 in steps of 3"],
    ),
    "more steps": (
        space(MI, "fgsm"),
        ["steps is '1', and '20' in every attack of the space", "step_size"],
    ),
    "a point beyond the range": (
        space(MI, {"momentum.mu": 1.5}),
        ["first.0", "momentum.mu is 1.5", "0.5 to 1.2"],
    ),
    "a point that the attack refuses": (
        space(MI, {"momentum.mu": 5}),
        ["first.0", "momentum.mu", "give 2 or less", "value: 5"],
    ),
    "a point off and on": (
        space(MI, {"momentum": False, "momentum.mu": 0.8}),
        ["the point names 'momentum.mu'", "a field only if momentum is true"],
    ),
    "a point whose condition does not hold": (
        space(LAWS, {"transforms.ds.levels": 4}),
        ["the point names 'transforms.ds.levels'", "only if transforms.ds.law is discrete"],
    ),
}


@pytest.mark.parametrize("case", CANNOT)
def test_point_outside_the_space_is_named(case: str) -> None:
    one, parts = CANNOT[case]
    with pytest.raises(InputError) as caught:
        first_points(one, PGD)
    assert all(part in str(caught.value) for part in ["space 'mine': first.", *parts]), caught.value


def test_a_preset_without_steps_for_a_budget_is_named() -> None:
    with pytest.raises(InputError, match=r"first.0, preset 'fgsm': .*leave the budget out"):
        first_points(space(MI, "fgsm"), PGD | {"budget": 10})
