"""The forms of an iterate that are scored."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from segtransfer.tasks.schema import Text, suggest

SCORE_MARKS = {"raw": "", "eps*sign": ":sign", "equal-rms": ":rms", "smooth": ":smooth"}
AT = "equal-rms@"
AT_SCALE = rf"^{AT}[0-9]*\.?[0-9]+$"
SMALLEST, LARGEST = 0.25, 4.0  # of the scale of equal-rms@SCALE


def _read(score: str) -> str:
    """Return a form of scoring in its only spelling: ``equal-rms@0.50`` becomes ``equal-rms@0.5``.

    Args:
        score: The form. ``equal-rms@1`` becomes ``equal-rms``, which has the same images.

    Raises:
        PydanticCustomError: If the form is unknown, or the scale is no number from 0.25 to 4.
    """
    if score in SCORE_MARKS:
        return score
    if not score.startswith(AT):
        hint = suggest(score, [*SCORE_MARKS, f"{AT}SCALE"])
        raise PydanticCustomError(
            "score", "unknown form '{score}'; {hint}", {"score": score, "hint": hint}
        )
    scale = scale_of(score) if re.match(AT_SCALE, score) else 0.0
    if not SMALLEST <= scale <= LARGEST:
        raise PydanticCustomError(
            "score_scale",
            "'{score}' needs a scale from {low} to {high} after the @; write for example {at}0.5",
            {"score": score, "low": f"{SMALLEST:g}", "high": f"{LARGEST:g}", "at": AT},
        )
    return equal_rms_at(scale)


Scoring = Annotated[
    Text,
    AfterValidator(_read),
    WithJsonSchema(
        {"anyOf": [{"enum": list(SCORE_MARKS)}, {"type": "string", "pattern": AT_SCALE}]}
    ),
]


def misfit_of_scores(scores: Sequence[str], region: bool) -> str:
    """Return a sentence on forms that do not fit together or the attack; empty if all fit.

    Args:
        scores: The forms of an attack.
        region: Whether the attack is bounded to a region.
    """
    if len(set(scores)) < len(scores):
        return f"scores is {list(scores)}; give each form once"
    if region and "smooth" in scores:
        return "smooth would change pixels outside region; leave smooth or region out"
    return ""


def equal_rms_at(scale: float) -> str:
    """Return the form whose root mean square is equal after a resize.

    Args:
        scale: The scale of the resize, from 0.25 to 4.

    Returns:
        ``equal-rms@SCALE``; ``equal-rms`` for scale 1.
    """
    return "equal-rms" if scale == 1 else AT + repr(scale).removesuffix(".0")


def scale_of(score: str) -> float:
    """Return the scale at which a form measures the root mean square; 1 for native resolution.

    Args:
        score: A form of scoring, as a spec holds it.
    """
    return float(score.removeprefix(AT)) if score.startswith(AT) else 1.0


def mark_of(score: str) -> str:
    """Return the end of a variant's name, for example ``:rms@0.5``; empty for ``raw``.

    Args:
        score: A form of scoring, as a spec holds it.
    """
    return (
        SCORE_MARKS[score]
        if score in SCORE_MARKS
        else score.replace("equal-rms", SCORE_MARKS["equal-rms"])
    )
