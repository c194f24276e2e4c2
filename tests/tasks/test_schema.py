from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from segtransfer.tasks.attacks.spec import AttackSpec
from segtransfer.tasks.attacks.transforms.scaling import DynamicScaling
from segtransfer.tasks.models.spec import MmsegSource
from segtransfer.tasks.schema import Frozen, Number, suggest


class Sample(Frozen):
    amount: Number = 0.0


def test_an_unknown_key_is_refused_with_the_name_that_was_meant() -> None:
    with pytest.raises(ValidationError, match="unknown key 'amuont': did you mean 'amount'"):
        Sample.model_validate({"amuont": 1})
    with pytest.raises(ValidationError, match=r"unknown key 'lo': .*low"):
        DynamicScaling.model_validate({"lo": 1})
    with pytest.raises(ValidationError, match="unknown key 'stepsize': did you mean 'step_size'"):
        AttackSpec.model_validate({"preset": "pgd", "stepsize": 0.1})


def test_a_key_like_no_other_is_answered_with_all_that_is_allowed() -> None:
    with pytest.raises(ValidationError, match=r"unknown key 'zzz': Allowed: amount"):
        Sample.model_validate({"zzz": 1})
    assert suggest("x", ()) == "Allowed: nothing"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("8/255", 8 / 255), (" 8 / 255 ", 8 / 255), ("0.03", 0.03), (0.03, 0.03), (1, 1.0)],
)
def test_numbers_may_be_written_as_fractions(written: Any, meant: float) -> None:
    assert Sample(amount=written).amount == meant


@pytest.mark.parametrize("written", ["eight", "8/0", "8/", "", "8//255"])
def test_what_is_no_number_is_refused_with_an_example(written: str) -> None:
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
