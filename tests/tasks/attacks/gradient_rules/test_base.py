"""Gradient rules of a user: typed, checked, part of the key, counted, and run like ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from segtransfer.errors import InputError
from segtransfer.experiment.manifest import ManifestAttack
from segtransfer.forecast.cost_model import forwards
from segtransfer.reporting.search import attacks_yaml
from segtransfer.results.text import describe_part
from segtransfer.search_spaces.paths import attack, expand
from segtransfer.tasks.attacks import loop
from segtransfer.tasks.attacks.gradient_rules.base import GRADIENTS
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.spec_errors import validated
from tests.tasks.attacks.specs import make, tensors
from tests.tasks.cases import ids, toy
from tests.tasks.foreign import on_path, write_entry_points

OWN = "tests.tasks.attacks.own_rules:"
STAGED = toy("staged")


def read(rule: Any, **fields: Any) -> AttackSpec:
    return AttackSpec.model_validate({"preset": "mi", "steps": 3, "gradient": rule, **fields})


def images_of(spec: AttackSpec) -> np.ndarray:
    return make(STAGED, spec).images


def test_the_short_and_the_full_form_are_one() -> None:
    kind = f"{OWN}Around"
    forms: list[Any] = [kind, {kind: None}, {kind: {}}, {"kind": kind}, {kind: {"radius": "6/2"}}]
    assert len({str(read(form).identity()) for form in forms}) == 1
    content = read(kind).model_dump(mode="json")["gradient"]
    assert len(content.pop("sha256")) == 64
    assert content == {"kind": kind, "samples": 2, "radius": 3.0}


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({f"{OWN}Around": {"sample": 1}}, "unknown key 'sample'; did you mean 'samples'"),
        ({f"{OWN}Around": 3}, "the fields of gradient '.*Around' are '3'"),
        ("own", "unknown gradient 'own'"),
        (f"{OWN}Arround", "cannot be imported: AttributeError"),
        (f"{OWN}torch", "is no class with a method gradient"),
    ],
)
def test_a_wrong_rule_is_refused_in_a_sentence(rule: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        validated(AttackSpec, {"preset": "pgd", "gradient": rule}, "mine.yaml")


def test_a_rule_of_an_installed_package_has_a_plain_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_entry_points(tmp_path, "own_package", gradients={"around": f"{OWN}Around"})
    with on_path(monkeypatch, tmp_path):
        assert np.array_equal(images_of(read("around")), images_of(read(f"{OWN}Around")))


def test_the_rule_of_the_loss_itself_changes_no_bit() -> None:
    assert np.array_equal(images_of(read(f"{OWN}Same")), images_of(read(None)))
    assert not np.array_equal(images_of(read(f"{OWN}Around")), images_of(read(None)))


def test_a_view_before_the_transforms_equals_the_transform_of_that_view() -> None:
    half = {"low": 0.5, "width": 0}
    for chain in ([], ["si"]):
        ours = images_of(read(f"{OWN}Halved", transforms=chain))
        assert np.array_equal(ours, images_of(read(None, transforms=[{"ds": half}, *chain])))


def test_a_factor_scales_the_step() -> None:
    spec = read(f"{OWN}Slower", eps=0.2, step_size=0.02, momentum=None)
    images, labels = tensors(2)
    (found,), _ = loop.run(STAGED, spec, images, labels, ids(2), seed=0, group=0)
    moved = ((found - images).abs() / 0.02).amax((1, 2, 3))
    assert moved.tolist() == pytest.approx([1.75, 1.75], abs=1e-4)


def test_the_cost_of_a_step_is_the_number_of_gradients() -> None:
    spec = read({f"{OWN}Around": {"samples": 3}}, transforms=[{"si": {"copies": 2}}], steps=2)
    assert spec.step_cost == 6
    assert forwards(spec, (32, 48)) == (12, 12)
    images, labels = tensors(2)
    _, health = loop.run(STAGED, spec, images, labels, ids(2), seed=0, group=0)
    assert health.pixels == [2 * 6 * 2 * images[0, 0].numel()]
    budgeted = AttackSpec.model_validate(
        {"preset": "mi", "gradient": f"{OWN}Around", "budget": {"forward_equivalents": 10}}
    )
    assert budgeted.steps == 5


def test_variance_beside_a_rule_is_refused() -> None:
    with pytest.raises(ValidationError, match="variance tunes the gradient of the loss"):
        read(f"{OWN}Same", variance={})


def test_restarts_need_draws_of_some_part() -> None:
    assert read(f"{OWN}Around", restarts=2).restarts == 2
    with pytest.raises(ValidationError, match="all runs would be equal"):
        read(f"{OWN}Same", restarts=2)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("none", "returned NoneType; return a segtransfer.extend.Gradient"),
        ("raises", "raised ZeroDivisionError"),
        ("values", r"returned values \[1, 3, 12, 16\]"),
        ("whole numbers", "returned values .* of torch.int64"),
        ("losses", r"returned losses \[\] of"),
        ("factor", r"returned a factor of shape \[2, 1, 1, 1, 1\]"),
        ("shape", "raised RuntimeError: The size of tensor"),
        ("type", "raised TypeError"),
    ],
)
def test_a_wrong_gradient_or_factor_is_refused_in_a_sentence(how: str, message: str) -> None:
    with pytest.raises(InputError, match=f"gradient '{OWN}Wrong' {message}"):
        make(STAGED, read({f"{OWN}Wrong": {"how": how}}))


def test_a_stored_spec_and_a_manifest_are_read_without_the_code() -> None:
    spec = read(f"{OWN}Around", budget={"forward_equivalents": 6})
    stored = spec.model_dump(mode="json")
    stored["gradient"] |= {"kind": "gone:Around"}
    again = AttackSpec.model_validate(stored)
    assert again.gradient
    with pytest.raises(InputError, match="gone:Around cannot be imported"):
        again.gradient.typed()
    assert ManifestAttack.model_validate(stored).gradient == stored["gradient"]
    for part in ({"kind": "gone"}, {}):
        with pytest.raises(ValidationError, match=r"gradient .* is unknown"):
            ManifestAttack.model_validate({**stored, "gradient": part})
    del stored["gradient"]  # as older versions stored it
    assert ManifestAttack.model_validate(stored).gradient is None


def test_reports_and_searches_name_the_rule_and_its_fields() -> None:
    spec = read({f"{OWN}Around": {"samples": 4}})
    assert spec.gradient is not None
    told = describe_part(spec.gradient.model_dump(mode="json"), GRADIENTS)
    assert told == f"{OWN}Around samples 4 radius 3"
    assert f"{OWN}Around" in attacks_yaml([spec])
    flat = expand({"preset": "mi", "gradient": f"{OWN}Around"}, "base")
    assert attack(flat, "made", "base").gradient == read(f"{OWN}Around").gradient
