"""Whatever the spec: the ball, the box, no NaN, and no word of the batch in the result."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segtransfer.tasks.attack import attack
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.spec import AttackSpec
from tests.tasks.attacks.specs import FEATURE_LOSSES, HEIGHT, WIDTH, attacks, distance, make
from tests.tasks.cases import annotations, as_tensors, ids, pictures, toy

STAGED = toy("staged")
FEW = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def inside_box_and_ball(made: np.ndarray, clean: np.ndarray, rule: AttackSpec) -> None:
    if rule.norm == "linf":
        assert (distance(made, clean) <= int(np.floor(rule.eps * 255 + 1e-6))).all()
    else:
        delta = made.astype(float) - clean
        assert np.sqrt((delta**2).mean((-3, -2, -1))).max() <= rule.eps * 255 + 1e-6


@FEW
@given(attacks(), st.integers(0, 3))
def test_the_box_and_the_ball_hold_in_eight_bit(fields: dict[str, Any], seed: int) -> None:
    rule = AttackSpec.model_validate(fields)
    clean = pictures(5, HEIGHT, WIDTH)[:2]
    result = make(STAGED, rule, chosen=[0, 1], micro_batch=2, seed=seed)
    assert result.images.dtype == np.uint8
    assert result.images.shape == (len(rule.variants), *clean.shape)
    inside_box_and_ball(result.images, clean, rule)
    for health in result.report["health"]:
        assert np.isfinite(health["losses"]).all()


@FEW
@given(attacks())
def test_the_float_iterates_are_finite_and_inside(fields: dict[str, Any]) -> None:
    rule = AttackSpec.model_validate(fields)
    images, labels = as_tensors(pictures(2, HEIGHT, WIDTH), annotations(2, HEIGHT, WIDTH, 3))
    kept = images.clone(), labels.clone()
    found, _ = loop.run(STAGED, rule, images, labels, ids(2), seed=0, group=0)
    assert len(found) == max(1, len(rule.steps_at))
    for x in found:
        assert not x.requires_grad
        assert x.isfinite().all()
        assert x.min() >= 0
        assert x.max() <= 1
        delta = x - images
        reached = delta.abs().max() if rule.norm == "linf" else loop.root_mean_square(delta).max()
        assert reached <= rule.eps + 1e-6
    assert torch.equal(images, kept[0])
    assert torch.equal(labels, kept[1])


@FEW
@given(attacks())
def test_the_micro_batch_changes_no_bit(fields: dict[str, Any]) -> None:
    rule = AttackSpec.model_validate(fields)
    together = make(STAGED, rule, micro_batch=3)
    for micro_batch in (1, 2):
        apart = make(STAGED, rule, micro_batch=micro_batch)
        assert np.array_equal(apart.images, together.images)


@FEW
@given(attacks())
def test_image_result_is_independent_of_its_batch(fields: dict[str, Any]) -> None:
    """All but admix and us-mm, which mix in other images of the shard, by their rule."""
    unmixed = [t for t in fields["transforms"] if not {"admix", "us-mm"} & set(t)]
    fields = fields | {"transforms": unmixed}
    if fields["start"] == "clean" and all("si" in t for t in fields["transforms"]):
        fields["restarts"] = 1
    rule = AttackSpec.model_validate(fields)
    together = make(STAGED, rule, chosen=[0, 1, 2], micro_batch=3).images
    assert np.array_equal(
        make(STAGED, rule, chosen=[1], micro_batch=1).images[:, 0], together[:, 1]
    )
    pair = make(STAGED, rule, chosen=[2, 0], micro_batch=2).images
    assert np.array_equal(pair, together[:, [2, 0]])


@FEW
@given(attacks(), st.sampled_from(["void", "flat"]))
def test_without_a_gradient_there_is_no_nan_and_no_change(fields: dict[str, Any], why: str) -> None:
    """Labels that are all 255, or a model that answers the same whatever it is shown."""
    if why == "void" and fields["loss"] in FEATURE_LOSSES:
        fields = fields | {"loss": "js", "layer": None}
    rule = AttackSpec.model_validate(fields)
    images, labels = pictures(2, HEIGHT, WIDTH), annotations(2, HEIGHT, WIDTH, 3)
    model = toy("staged")
    if why == "void":
        labels[:] = 255
    else:
        for parameter in model.parameters():
            parameter.zero_()
    result = attack(model, rule, images, labels, ids(2), seed=0, group=0, micro_batch=2)
    inside_box_and_ball(result.images, images, rule)
    for health in result.report["health"]:
        assert np.isfinite(health["losses"]).all()
        assert np.equal(health["zero_gradients"], 1).all()
    for variant, image in zip(rule.variants, result.images, strict=True):
        if rule.start == "clean":
            assert np.array_equal(image, images), variant


@FEW
@given(attacks())
def test_a_written_spec_reads_back_as_itself(fields: dict[str, Any]) -> None:
    rule = AttackSpec.model_validate(fields)
    again = AttackSpec.model_validate(rule.model_dump(mode="json"))
    assert again == rule
    assert again.identity() == rule.identity()


@pytest.mark.parametrize("extra", [{}, {"momentum": {}}, {"transforms": ["ds"]}], ids=str)
def test_an_image_without_labels_disturbs_no_other(extra: dict[str, Any]) -> None:
    images, labels = as_tensors(pictures(2, 12, 18), annotations(2, 12, 18, 3))
    labels[0] = 255
    for loss in ("cross-entropy", "masked-cross-entropy", "segpgd", "cospgd", "js", "mask-norm"):
        fields = {"name": "a", "steps": 3, "loss": loss, **extra}
        rule = AttackSpec.model_validate(fields)
        (both,), health = loop.run(STAGED, rule, images, labels, ids(2), seed=0, group=0)
        (alone,), _ = loop.run(STAGED, rule, images[1:], labels[1:], ids(2)[1:], seed=0, group=0)
        assert torch.equal(both[0], images[0])
        assert torch.equal(both[1], alone[0])
        assert [step[0] for step in health.zero_gradients] == [1, 1, 1]
        assert both.isfinite().all()
