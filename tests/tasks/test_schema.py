import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from segtransfer.tasks.attacks.components import Momentum
from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.models.numerics import Numerics, Option
from segtransfer.tasks.models.spec import MmsegSource
from segtransfer.tasks.schema import Frozen, Number, added_later, strength_text, suggest


class Sample(Frozen):
    amount: Number = 0.0


def test_an_unknown_key_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(ValidationError, match="unknown key 'amuont': did you mean 'amount'"):
        Sample.model_validate({"amuont": 1})
    with pytest.raises(ValidationError, match=r"unknown key 'lo': .*low"):
        DynamicScaling.model_validate({"lo": 1})
    with pytest.raises(ValidationError, match="unknown key 'stepsize': did you mean 'step_size'"):
        AttackSpec.model_validate({"preset": "pgd", "stepsize": 0.1})


def test_key_without_a_close_name_is_refused_with_all_names() -> None:
    with pytest.raises(ValidationError, match=r"unknown key 'zzz': Allowed: amount"):
        Sample.model_validate({"zzz": 1})
    assert suggest("x", ()) == "Allowed: nothing"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("0.03", 0.03), (0.03, 0.03), (1, 1.0)],
)
def test_numbers_may_be_written_as_fractions(written: Any, meant: float) -> None:
    assert Sample(amount=written).amount == meant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8 / 255, "8/255"),
        (0.03, "0.03"),
        (0.1, "0.1"),
        (0.5 / 255, "0.5/255"),
        (0.3 / 7, "10.9286/255"),
    ],
)
def test_a_strength_is_shown_as_it_was_given_if_that_is_short(value: float, text: str) -> None:
    assert strength_text(value) == text


@pytest.mark.parametrize("written", ["eight", "8/0", "8/", "", "8//255"])
def test_value_without_a_number_is_refused_with_an_example(written: str) -> None:
    with pytest.raises(ValidationError, match=r"is not a number; write 0\.03 or 8/255"):
        Sample.model_validate({"amount": written})


def test_a_spec_does_not_change_once_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Sample().amount = 1  # type: ignore[misc]


def test_relative_paths_start_at_the_spec_files_folder_and_urls_stay(tmp_path: Path) -> None:
    def read(path: str) -> str:
        data = {"config": "c.py", "checkpoint": path}
        return MmsegSource.model_validate(data, context={"base": tmp_path}).checkpoint

    assert read("weights/a.pth") == str(tmp_path / "weights/a.pth")
    assert read("../a.pth") == str(tmp_path.parent / "a.pth")
    assert read("/elsewhere/a.pth") == "/elsewhere/a.pth"
    assert read("https://example.org/a.pth") == "https://example.org/a.pth"


class Part(Frozen):
    width: float = 1.0
    sharpness: float = added_later(0.5)


class Whole(Frozen):
    """A spec of which ``law``, and ``sharpness`` of its parts, were added later."""

    part: Part = Part()
    parts: tuple[Part, ...] = ()
    named: dict[int, Part] = Field(default={})
    label: str = ""
    law: Annotated[str, Field(min_length=1)] = added_later("uniform")


BEFORE = {"part": {"width": 1.0}, "parts": [], "named": {}, "label": ""}


@pytest.mark.parametrize(
    ("fields", "identity"),
    [
        ({}, BEFORE),
        ({"law": "uniform"}, BEFORE),
        ({"law": "log"}, BEFORE | {"law": "log"}),
        ({"part": {"sharpness": 0.5}}, BEFORE),
        ({"part": {"sharpness": 1}}, BEFORE | {"part": {"width": 1.0, "sharpness": 1.0}}),
        (
            {"parts": [{"width": 2}, {"sharpness": 0}]},
            BEFORE | {"parts": [{"width": 2.0}, {"width": 1.0, "sharpness": 0.0}]},
        ),
        (
            {"named": {7: {}, 8: {"sharpness": 0}}},
            BEFORE | {"named": {"7": {"width": 1.0}, "8": {"width": 1.0, "sharpness": 0.0}}},
        ),
    ],
    ids=str,
)
def test_a_field_added_later_enters_the_identity_only_with_another_value(
    fields: dict[str, Any], identity: dict[str, Any]
) -> None:
    assert json.loads(json.dumps(Whole.model_validate(fields).identity_fields())) == identity


def test_excluded_fields_do_not_enter_the_identity() -> None:
    assert Whole().identity_fields(exclude={"label", "part"}) == {"parts": [], "named": {}}


def test_a_field_added_later_is_validated_and_stored_like_any_other() -> None:
    assert Whole().model_dump()["law"] == "uniform"
    assert Whole.model_fields["law"].default == "uniform"
    with pytest.raises(ValidationError, match="at least 1 character"):
        Whole.model_validate({"law": ""})


def test_an_attack_keeps_its_key_when_a_field_is_added_later() -> None:
    class LaterAttack(AttackSpec):
        clipping: float = added_later(1.0)
        momentum: LaterMomentum | None = None

    fields = {"preset": "mi"}
    before, later = (kind.model_validate(fields) for kind in (AttackSpec, LaterAttack))
    assert later.identity() == before.identity()
    for changed in ({"clipping": 0.5}, {"momentum": {"decay": 0.5}}):
        other = LaterAttack.model_validate(fields | changed)
        assert other.identity() != before.identity()


class LaterMomentum(Momentum):
    decay: float = added_later(0.0)


def test_numerics_keep_their_identity_when_an_option_is_added_later() -> None:
    class LaterNumerics(Numerics):
        compile: Option = added_later(False)

    before, later = (kind.model_validate({"bf16": True}) for kind in (Numerics, LaterNumerics))
    assert later.identity() == before.identity()
    assert LaterNumerics(bf16=True, compile=True).identity() != before.identity()
