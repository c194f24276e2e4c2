"""The record of an experiment's computation in its manifest, and the base of stored parts."""

from datetime import datetime
from functools import cached_property
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints

StoredText = Annotated[str, StringConstraints(min_length=1, max_length=400)]


class StoredPart(BaseModel):
    """A part of a manifest. Unknown fields, perhaps of a later version, are kept."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        allow_inf_nan=False,
        frozen=True,
        ignored_types=(cached_property,),
    )


def _check_moment(value: str) -> str:
    if datetime.fromisoformat(value).tzinfo is None:
        raise ValueError("a time has no time zone")
    return value


Moment = Annotated[str, AfterValidator(_check_moment)]  # in ISO 8601, with its zone


class RunRecord(StoredPart):
    """The computation of an experiment, which changes no result.

    Attributes:
        started: The start of the first run with a computed result, in ISO 8601.
        ended: The end of the last run with a computed result, in ISO 8601.
        user: The user of the last run.
        command: The command line of the last run, empty for Python code.
        executor: The executor of the last run.
    """

    started: Moment
    ended: Moment
    user: StoredText
    command: str
    executor: StoredText
