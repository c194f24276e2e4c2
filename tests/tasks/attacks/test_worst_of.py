"""The strongest of several attacks per image: by the source alone, at the members' cost."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.models.base import Segmenter
from tests.tasks.attacks.specs import HEIGHT, WIDTH, make
from tests.tasks.cases import annotations, ids, pictures, toy

STAGED = toy("staged")
COUNT = 5
MEMBERS = ["pgd", {"preset": "cospgd", "steps": 7}, {"preset": "js", "loop": "apgd", "steps": 9}]


def read(*members: Any, **fields: Any) -> AttackSpec:
    fields = {"name": "worst", "eps": "4/255", "worst_of": list(members or MEMBERS)} | fields
    return AttackSpec.model_validate(fields)


def images_of(spec: AttackSpec, model: Segmenter = STAGED, micro_batch: int = 5) -> np.ndarray:
    (made,) = make(model, spec, chosen=range(COUNT), micro_batch=micro_batch).images
    return made


def left(images: np.ndarray, spec: AttackSpec, model: Segmenter = STAGED) -> np.ndarray:
    """Labelled pixels of each stored image that are not fooled on the model."""
    labels = torch.tensor(annotations(COUNT, HEIGHT, WIDTH, 3)).long()
    with torch.no_grad():
        predicted = model(torch.tensor(images).float() / 255).argmax(1)
    if spec.target is not None and spec.target.every is not None:
        return ((predicted != spec.target.every) & (labels != 255)).sum((1, 2)).numpy()
    return ((predicted == labels) & (labels != 255)).sum((1, 2)).numpy()


@pytest.mark.parametrize(
    "fields", [{}, {"norm": "l2"}, {"target": {"every": 1}}, {"eps": "1/255"}], ids=str
)
def test_an_image_leaves_what_its_best_member_leaves(fields: dict[str, Any]) -> None:
    spec = read(**fields)
    made = images_of(spec)
    members = np.stack([images_of(member) for member in spec.worst_of])
    remaining = np.stack([left(images, spec) for images in members])
    assert np.array_equal(left(made, spec), remaining.min(0))
    first = remaining.argmin(0)  # the first of equals
    assert np.array_equal(made, members[first, np.arange(COUNT)])
    if fields == {"eps": "1/255"}:
        assert len(set(first)) > 1


def test_equal_members_leave_the_first() -> None:
    one, other = {"preset": "pgd", "steps": 1}, {"preset": "pgd", "steps": 1, "step_size": 0}
    labels = np.full((COUNT, HEIGHT, WIDTH), 255, np.uint8)  # nothing to fool: all are equal
    images = pictures(COUNT, HEIGHT, WIDTH)

    def made(spec: AttackSpec) -> np.ndarray:
        call = {"seed": 0, "group": 0, "micro_batch": 2}
        (adversarial,) = attack(STAGED, spec, images, labels, ids(COUNT), **call).images
        return adversarial

    for members in ([one, other], [other, one]):
        spec = read(*members)
        assert np.array_equal(made(spec), made(spec.worst_of[0]))


def test_the_choice_reads_no_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every forward of the task is one of the source's; a target in the same process has none."""
    target, asked = toy("staged", seed=9), []
    forward = Segmenter.forward

    def told(model: Segmenter, images: torch.Tensor) -> torch.Tensor:
        asked.append(model)
        return forward(model, images)

    monkeypatch.setattr(Segmenter, "forward", told)
    made = images_of(read())
    assert asked
    assert all(model is STAGED for model in asked)
    # On the target another member is the strongest of an image: the choice is the source's.
    members = [images_of(member) for member in read().worst_of]
    kept = left(made, read(), target)
    assert (kept > np.stack([left(m, read(), target) for m in members]).min(0)).any()


@pytest.mark.parametrize("micro_batch", [1, 2, 5])
def test_an_image_does_not_depend_on_its_batch(micro_batch: int) -> None:
    assert np.array_equal(images_of(read(), micro_batch=micro_batch), images_of(read()))


@pytest.mark.parametrize(
    "spec",
    [
        read(),
        read("sea", {"preset": "vt", "variance": {"neighbours": 2}, "steps": 3}),
        read({"preset": "pgd", "start": "uniform", "restarts": 3, "steps": 4}, "apgd"),
        read("pgd", "segpgd", budget=21),
        AttackSpec.model_validate("sea"),
        AttackSpec.model_validate({"preset": "sea", "budget": 60}),
    ],
    ids=str,
)
def test_the_cost_is_that_of_members_and_scoring(spec: AttackSpec) -> None:
    (counted,) = make(STAGED, spec).report["cost"]["forward_equivalents"]
    assert counted == pytest.approx(spec.restarts * spec.steps_taken * spec.step_cost)
    if spec.budget is not None:
        assert counted == pytest.approx(spec.budget.forward_equivalents, rel=0.1)


def test_health_is_that_of_the_members_kept() -> None:
    spec = read()
    report = make(STAGED, spec, chosen=range(COUNT), micro_batch=5).report
    (health,) = report["health"]
    assert len(health["losses"]) == len(health["zero_gradients"]) == 7
    assert all(len(step) == COUNT for step in health["losses"])


def test_members_share_ball_region_target_and_budget() -> None:
    spec = read("pgd", "sea", eps="2/255", region={"classes": [1]}, target={"every": 2}, budget=90)
    for member in spec.worst_of:
        assert (member.eps, member.region, member.target) == (spec.eps, spec.region, spec.target)
        assert member.budget is not None
        assert member.budget.forward_equivalents == 44
    again = AttackSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.identity() == spec.identity()


def test_steps_are_those_of_each_member_without_its_own() -> None:
    spec = read("pgd", {"preset": "js", "steps": 7}, {"loss": "segpgd"}, steps=3)
    assert [member.steps for member in spec.worst_of] == [3, 7, 3]
    assert spec.steps == 13
    assert AttackSpec.model_validate({"preset": "sea", "steps": 300}).steps == 1200


def test_the_names_of_members_are_no_part_of_the_identity() -> None:
    named = read({"preset": "pgd", "name": "another"}, "cospgd")
    assert named.identity() == read("pgd", "cospgd").identity()
    assert named.identity() != read("cospgd", "pgd").identity()
    assert "worst_of" not in AttackSpec.model_validate("pgd").identity()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"worst_of": ["pdg"]}, "unknown preset 'pdg'; did you mean 'pgd'?"),
        ({"worst_of": "pgd"}, "valid tuple"),
        ({"worst_of": []}, "worst_of is empty; name attacks"),
        ({"worst_of": [{"preset": "pgd", "eps": "2/255"}]}, "worst_of.0 ('pgd') has another eps"),
        ({"worst_of": ["pgd", "noise"]}, "worst_of.1 ('noise') takes no step"),
        ({"worst_of": [{"preset": "pgd", "steps_at": [2]}]}, "gives steps_at or scores"),
        ({"worst_of": [{"preset": "pgd", "steps": 3}], "steps": 10}, "of worst_of take 3 steps"),
        ({"worst_of": ["pgd"], "step_size": "eps"}, "step_size belongs to the attacks"),
        ({"worst_of": ["pgd"], "loss": "js"}, "loss belongs to the attacks of worst_of"),
        ({"worst_of": ["pgd", "mi"], "budget": 2}, "scoring the 2 attacks of worst_of costs 2"),
        ({"preset": "mi", "worst_of": ["pgd"]}, "momentum belongs to the attacks of worst_of"),
    ],
)
def test_wrong_members_are_refused_with_a_sentence(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as error:
        AttackSpec.model_validate({"name": "worst", "eps": "4/255"} | fields)
    assert message in str(error.value)
