"""The parts of a stored attack: budget, momentum, variance, smoothing."""

from functools import cached_property
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, le=2**31)]


class StoredPart(BaseModel):
    """A part of a manifest. Unknown fields, perhaps of a later version, are kept."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        allow_inf_nan=False,
        frozen=True,
        ignored_types=(cached_property,),
    )


class StoredBudget(StoredPart):
    """The stored budget of an attack, in forward equivalents."""

    forward_equivalents: float


class StoredMomentum(StoredPart):
    """The stored momentum of an attack."""

    mu: float
    nesterov: bool


class StoredVariance(StoredPart):
    """The stored variance tuning of an attack."""

    neighbours: Count


class StoredSmoothing(StoredPart):
    """The stored smoothing of an attack."""

    kernel: Count
