"""Forms of scoring: their spellings, names of variants, scales, and refusals."""

from typing import Any

import pytest
from pydantic import ValidationError

from segtransfer.tasks.attacks.scoring import equal_rms_at, mark_of, scale_of
from tests.tasks.cases import spec


@pytest.mark.parametrize(
    ("written", "form", "mark", "scale"),
    [
        ("raw", "raw", "", 1),
        ("eps*sign", "eps*sign", ":sign", 1),
        ("equal-rms", "equal-rms", ":rms", 1),
        ("smooth", "smooth", ":smooth", 1),
        ("equal-rms@1", "equal-rms", ":rms", 1),
        ("equal-rms@1.00", "equal-rms", ":rms", 1),
        ("equal-rms@0.50", "equal-rms@0.5", ":rms@0.5", 0.5),
        ("equal-rms@.5", "equal-rms@0.5", ":rms@0.5", 0.5),
        ("equal-rms@2", "equal-rms@2", ":rms@2", 2),
        ("equal-rms@0.25", "equal-rms@0.25", ":rms@0.25", 0.25),
        ("equal-rms@4", "equal-rms@4", ":rms@4", 4),
    ],
)
def test_form_has_a_single_spelling_a_mark_and_a_scale(
    written: str, form: str, mark: str, scale: float
) -> None:
    rule = spec(scores=[written])
    assert rule.scores == (form,)
    assert (mark_of(form), scale_of(form)) == (mark, scale)
    assert [variant.name for variant in rule.variants] == [f"pgd{mark}"]
    assert spec(scores=[form]).identity() == rule.identity()
    if "@" in form:
        assert equal_rms_at(scale) == form


@pytest.mark.parametrize("scale", ["0.2", "4.1", "0", "-1", "", "half", "nan", "inf", "1e0", "1/2"])
def test_scale_out_of_range_or_no_number_is_refused_in_a_sentence(scale: str) -> None:
    with pytest.raises(ValidationError) as refused:
        spec(scores=["raw", f"equal-rms@{scale}"])
    (error,) = refused.value.errors()
    assert error["loc"] == ("scores", 1)
    assert error["msg"] == (
        f"'equal-rms@{scale}' needs a scale from 0.25 to 4 after the @; write for example "
        "equal-rms@0.5"
    )


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"scores": ["smoth"]}, "unknown form 'smoth'; did you mean 'smooth'?"),
        ({"scores": ["eps*sign@2"]}, r"unknown form 'eps\*sign@2'"),
        ({"scores": ["equal-rms", "equal-rms@1"]}, "give each form once"),
        ({"scores": ["smooth"], "region": {"box": [0, 0, 1, 0.5]}}, "smooth would change pixels"),
    ],
)
def test_impossible_forms_are_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        spec(**fields)
