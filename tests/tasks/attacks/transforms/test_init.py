"""Chains: reading, counting, order, and which draws their links see."""

import pytest
import torch
from pydantic import ValidationError

from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import TRANSFORMS, Transform, copies, relative_cost, views
from tests.tasks.attacks.specs import step_context
from tests.tasks.cases import spec


def chain(*transforms: object) -> tuple[Transform, ...]:
    return AttackSpec.model_validate({"name": "a", "transforms": transforms}).transforms


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_the_short_and_the_full_form_are_one(kind: str) -> None:
    forms: list[object] = [kind, {kind: None}, {kind: {}}, {"kind": kind}]
    assert len({chain(form) for form in forms}) == 1
    assert chain(kind)[0].kind == kind
    assert type(chain(kind)[0]).__doc__


def test_an_unknown_transform_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ValidationError, match="unknown transform 'dss': did you mean"):
        spec(transforms=["dss"])
    with pytest.raises(
        ValidationError, match="a mapping of a single name to fields, and this mapping has 2 names"
    ):
        spec(transforms=[{"low": 1, "width": 2}])


@pytest.mark.parametrize("wrong", [{"ds": 0.5}, {"ds": "low"}, {"si": [3]}], ids=str)
def test_fields_that_are_no_mapping_are_refused_with_a_sentence(wrong: object) -> None:
    with pytest.raises(ValidationError):
        spec(transforms=[wrong])


def test_copies_and_costs_multiply() -> None:
    both = chain({"ds": {"scales": 3}}, {"si": {"copies": 2}})
    assert copies(both) == 6
    assert relative_cost(both) == pytest.approx(6 * 13 / 12)
    assert (copies(()), relative_cost(())) == (1, 1)


def test_every_copy_of_one_link_meets_every_copy_of_the_next() -> None:
    images = torch.rand(1, 3, 20, 30)
    seen = list(
        views(
            images,
            chain({"ds": {"scales": 2}}, {"si": {"copies": 3}}),
            step_context(images),
        )
    )
    assert len(seen) == 6
    sizes = [view.images.shape for view in seen]
    assert len(set(sizes)) == 2
    assert sizes[:3] == [sizes[0]] * 3
    assert torch.allclose(seen[2].images * 4, seen[0].images)


def test_the_order_of_the_spec_is_the_order_of_the_links() -> None:
    images = torch.rand(1, 3, 20, 30)
    zoom = {"ds": {"low": 2, "width": 0}}
    pad = {"di": {"low": 1, "high": 1.5, "probability": 1}}
    (first,) = views(images, chain(zoom, pad), step_context(images))
    (second,) = views(images, chain(pad, zoom), step_context(images))
    assert first.images.shape == second.images.shape == (1, 3, 60, 90)
    assert not torch.equal(first.images, second.images)


def test_a_link_draws_the_same_whatever_stands_beside_it() -> None:
    images = torch.rand(1, 3, 20, 30)
    (alone,) = views(images, chain("ds"), step_context(images, step=3))
    seen = list(views(images, chain({"si": {"copies": 2}}, "ds"), step_context(images, step=3)))
    assert [view.ratio for view in seen] == [alone.ratio] * 2


def test_the_first_copy_of_several_scales_is_that_of_one() -> None:
    images = torch.rand(1, 3, 20, 30)
    (one,) = views(images, chain("ds"), step_context(images))
    three = list(views(images, chain({"ds": {"scales": 3}}), step_context(images)))
    assert torch.equal(three[0].images, one.images)
    assert len({view.ratio for view in three}) == 3
