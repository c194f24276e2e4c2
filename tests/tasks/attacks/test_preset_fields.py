"""The schedules of presets: ours, and the one of the preset's source."""

from typing import Any

import pytest
from pydantic import ValidationError

from segtransfer.tasks.attacks.presets import PRESETS
from segtransfer.tasks.attacks.spec import AttackSpec

EPS = 8 / 255
# As read in the papers or in their authors' code: steps, step size, start, momentum.
SOURCES: dict[str, tuple[int, float, str, float | None]] = {
    "fgsm": (1, EPS, "clean", None),
    "pgd": (10, EPS / 4, "uniform", None),
    "mi": (10, EPS / 10, "clean", 1.0),
    "di": (20, 1 / 255, "clean", None),
    "si": (10, EPS / 10, "clean", 1.0),
    "ssa": (10, EPS / 10, "clean", None),
    "segpgd": (20, 0.01, "uniform", None),
    "cospgd": (20, 0.01, "uniform", None),
    "masked-ce": (300, 0.0, "uniform", None),
    "uncertainty": (10, 1 / 255, "clean", None),
    "rp-region": (3, EPS / 3, "uniform", None),
    "rap": (400, 2 / 255, "clean", None),
    "mef": (20, EPS / 10, "clean", 0.5),
    "sgm": (10, 2 / 255, "clean", None),
    "cwa": (10, EPS / 5, "clean", 1.0),
    "adaea": (10, EPS / 10, "clean", 0.9),
    "apgd": (100, 0.0, "uniform", None),
    "padam-ce": (200, 2 / 255, "uniform", None),
    "alma-prox": (500, 0.001, "clean", None),
}
KNOWN = [name for name, preset in PRESETS.items() if preset.paper is not None]


def read(preset: str, **fields: Any) -> AttackSpec:
    return AttackSpec.model_validate({"preset": preset, **fields})


@pytest.mark.parametrize("name", SOURCES)
def test_schedule_paper_is_the_sources(name: str) -> None:
    attack = read(name, schedule="paper")
    steps, size, start, mu = SOURCES[name]
    assert (attack.steps, attack.start) == (steps, start)
    assert attack.step_size == pytest.approx(size)
    assert (attack.momentum.mu if attack.momentum else None) == mu


@pytest.mark.parametrize("name", KNOWN)
def test_schedule_changes_nothing_but_the_schedule(name: str) -> None:
    loops = {"loop"} if PRESETS[name].source.endswith("(SEA)") else set()
    free = {"steps", "step_size", "start", "momentum", "worst_of"} | loops
    ours, paper = read(name), read(name, schedule="paper")
    assert ours.model_dump(exclude=free) == paper.model_dump(exclude=free)
    assert read(name, schedule="ours") == ours


def test_every_preset_of_a_source_but_one_has_its_schedule() -> None:
    assert {name for name in PRESETS if PRESETS[name].paper is None} == {"ds"}
    without = {name for name in KNOWN if not PRESETS[name].paper}
    ours = {name for name in PRESETS if PRESETS[name].source.startswith(("ours", "control"))}
    assert without == ours | {"fgsm", "dag"}


def test_members_of_sea_take_300_steps_each() -> None:
    attack = read("sea", schedule="paper")
    assert [(m.steps, m.start) for m in attack.worst_of] == [(300, "uniform")] * 4


def test_fields_beside_the_preset_win_over_the_schedule() -> None:
    given = read("mi", schedule="paper", steps=40, momentum=None, start="uniform")
    assert (given.steps, given.momentum, given.start) == (40, None, "uniform")
    assert given.step_size == pytest.approx(EPS / 40)  # eps/steps, with the steps given
    assert read("mi", schedule="paper", step_size="eps/2").step_size == pytest.approx(EPS / 2)
    assert [m.steps for m in read("sea", schedule="paper", steps=7).worst_of] == [7] * 4


def test_a_budget_replaces_the_steps_and_keeps_the_step_size_of_the_source() -> None:
    attack = read("cwa", schedule="paper", budget=12)
    assert attack.steps == 6
    assert attack.step_size == pytest.approx(EPS / 5)
    assert read("sea", schedule="paper", budget=240) == read("sea", budget=240)


def test_eps_is_not_the_schedules() -> None:
    attack = read("mi", schedule="paper", eps="4/255")
    assert (attack.eps, attack.step_size) == (4 / 255, pytest.approx(0.4 / 255))


def test_results_are_stored_under_the_fields_and_not_under_the_schedule() -> None:
    written = read("pgd", steps=10, start="uniform")
    assert read("pgd", schedule="paper").identity() == written.identity()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ({"preset": "mi", "schedule": "papers"}, "schedule is 'papers'; write ours or paper"),
        ({"preset": "mi", "schedule": None}, "schedule is None; write ours or paper"),
        ({"preset": "mi", "schedule": ["paper"]}, "schedule is ['paper']; write ours or paper"),
        ({"name": "own", "schedule": "paper"}, "only presets have schedules; name a preset"),
        ({"preset": "ds", "schedule": "paper"}, "preset 'ds' has no known schedule of its source"),
    ],
)
def test_wrong_schedules_are_refused_in_a_sentence(raw: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as error:
        AttackSpec.model_validate(raw)
    assert told in error.value.errors()[0]["msg"]
