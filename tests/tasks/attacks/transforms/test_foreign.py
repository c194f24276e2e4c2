"""Transforms of a user's own: typed, checked, part of the key, and searched like ours."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.forecast.cost_model import forwards
from segtransfer.results.text import describe_transform
from segtransfer.search_spaces.paths import attack, expand, is_path
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms import TRANSFORMS
from tests.tasks.attacks.specs import step_context
from tests.tasks.attacks.test_spec import STAGED, make
from tests.tasks.foreign import on_path, write_entry_points, write_module

DIM = """
from typing import Annotated, ClassVar

import torch
from pydantic import Field

from segtransfer.extend import Number, TransformSpec, View, Whole, resize


class Dim(TransformSpec):
    strength: Annotated[Number, Field(ge=0, le=1)] = 0.5
    count: Annotated[Whole, Field(ge=1)] = 1

    @property
    def views_per_step(self):
        return self.count

    def view(self, images, context):
        return View(images * (1 - self.strength * context.random.number("dim")))


class Half(TransformSpec):
    moves: ClassVar[bool] = True
    resizes: ClassVar[bool] = True
    relative_cost: ClassVar[float] = 0.25

    def view(self, images, context):
        height, width = images.shape[-2:]
        return resize(images, (height // 2, width // 2))


class Unfinished(TransformSpec):
    strength: Number = 0.5


class Wrong(TransformSpec):
    how: str = ""

    def view(self, images, context):
        return {
            "none": lambda: None,
            "raises": lambda: 1 / 0,
            "mask": lambda: View(images > 0.5),
            "batch": lambda: View(images[:1]),
            "detached": lambda: View(images.detach()),
            "size": lambda: View(images[..., ::2, ::2]),
        }[self.how]()


def bright(images, context):
    return View(images)
"""
DOT = "own_dims:Dim"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_module(tmp_path, "own_dims", DIM)
    write_entry_points(tmp_path, "own_package", transforms={"dim": DOT})
    with on_path(monkeypatch, tmp_path):
        yield tmp_path


def forget(folder: Path, text: str) -> None:
    """Give the module another text, as in a new process."""
    write_module(folder, "own_dims", text)
    TRANSFORMS._found.clear()


def read(*transforms: Any, **fields: Any) -> AttackSpec:
    content = {"preset": "pgd", "steps": 2, "transforms": transforms, **fields}
    return AttackSpec.model_validate(content)


@pytest.mark.parametrize("kind", [DOT, "dim"])
def test_the_short_and_the_full_form_are_one(kind: str) -> None:
    forms: list[Any] = [kind, {kind: None}, {kind: {}}, {"kind": kind}, {kind: {"strength": "1/2"}}]
    assert len({str(read(form).identity()) for form in forms}) == 1
    (transform,) = read(kind).model_dump(mode="json")["transforms"]
    assert len(transform.pop("sha256")) == 64
    assert transform == {"kind": kind, "strength": 0.5, "count": 1}


@pytest.mark.parametrize(
    ("transform", "place", "message"),
    [
        ({DOT: {"stren": 1}}, (DOT,), "unknown key 'stren': did you mean 'strength'"),
        ({DOT: {"strength": 2}}, (DOT, "strength"), "less than or equal to 1"),
        ({DOT: {"count": True}}, (DOT, "count"), "'True' is not a whole number"),
        ({DOT: 3}, (), "the fields of transform 'own_dims:Dim' are '3'"),
        ("own_dims:Dam", (), "transform own_dims:Dam cannot be imported: AttributeError"),
        ("no_dims:Dim", (), "transform no_dims:Dim cannot be imported: ModuleNotFoundError"),
        ("own_dims:bright", (), "transform own_dims:bright is no class with a method view"),
        ("own_dims:Unfinished", (), "own_dims:Unfinished is no class with a method view"),
        ("dims", (), "unknown transform 'dims': did you mean 'dim'"),
    ],
)
def test_a_wrong_field_is_refused_at_its_place(
    transform: Any, place: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        read(transform)
    (error,) = raised.value.errors()
    assert error["loc"] == ("transforms", 0, *place)
    assert message in error["msg"]


def test_fields_and_code_are_part_of_the_identity(folder: Path) -> None:
    first, other = read(DOT), read({DOT: {"strength": 0.25}})
    assert first.identity() != other.identity()
    write_module(folder, "own_dims", DIM + "\n")
    assert read(DOT).identity() != first.identity()


def test_transform_changes_images_and_identity_transform_does_not() -> None:
    images = [
        make(STAGED, read(*chain)).images for chain in ((), (DOT,), ({DOT: {"strength": 0}},))
    ]
    assert not np.array_equal(images[0], images[1])
    assert np.array_equal(images[0], images[2])


def test_a_chain_has_ours_and_theirs_in_any_order() -> None:
    spec = read({"si": {"copies": 2}}, {DOT: {"count": 3}}, "own_dims:Half")
    assert spec.step_cost == 6 * 0.25
    assert forwards(spec, (32, 48)) == (12, 3)
    assert make(STAGED, spec).images.shape[1] == 3


def test_mixing_transform_after_a_moving_transform_is_refused() -> None:
    with pytest.raises(
        ValidationError, match="transform admix mixes images, so it must come before"
    ):
        read("own_dims:Half", "admix")
    assert read(DOT, "admix").transforms[1].kind == "admix"


def test_a_stored_spec_is_read_and_sent_without_the_code(folder: Path) -> None:
    spec = AttackSpec.model_validate(
        {"preset": "pgd", "budget": {"forward_equivalents": 2}, "transforms": [DOT]}
    )
    stored, sent = spec.model_dump(mode="json"), pickle.dumps(spec)
    forget(folder, "raise ImportError('gone')\n")
    assert AttackSpec.model_validate(stored) == pickle.loads(sent) == spec
    with pytest.raises(InputError, match="transform own_dims:Dim cannot be imported"):
        spec.transforms[0].typed()


def test_other_code_than_planned_is_refused(folder: Path) -> None:
    spec = read(DOT)
    forget(folder, DIM + "\n")
    with pytest.raises(InputError, match=r"own_dims:Dim changed since the plan"):
        make(STAGED, spec)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("none", "returned NoneType; return a segtransfer.extend.View"),
        ("raises", "raised ZeroDivisionError: division by zero"),
        ("mask", "images .* of torch.bool; return a floating-point tensor"),
        ("batch", "returned images of shape"),
        ("detached", "without a gradient"),
        ("size", "View.logits maps to size"),
    ],
)
def test_a_wrong_view_is_refused_in_a_sentence(how: str, message: str) -> None:
    (transform,) = read({"own_dims:Wrong": {"how": how}}).transforms
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    with pytest.raises(InputError, match=f"^transform 'own_dims:Wrong' .*{message}"):
        transform.view(images, step_context(images.detach()))


def test_a_search_names_the_fields_of_a_transform() -> None:
    assert is_path(f"transforms.{DOT}.strength")
    assert is_path("transforms.dim")
    assert not is_path(f"transforms.{DOT}.stren")
    flat = expand({"preset": "pgd", "transforms": ["ds", DOT]}, "base")
    flat[f"transforms.{DOT}.strength"] = 0.25
    made = attack(flat, "made", "base").transforms
    assert [t.kind for t in made] == ["ds", DOT]
    assert made == read("ds", {DOT: {"strength": 0.25}}).transforms


def test_reports_name_the_transform_and_its_fields() -> None:
    (transform,) = read(DOT).model_dump(mode="json")["transforms"]
    assert describe_transform(transform) == "own_dims:Dim strength 0.5 count 1"
