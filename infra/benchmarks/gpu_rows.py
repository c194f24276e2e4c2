"""Rows of the GPU benchmark: figures with units, an outcome, the settings and the time budget."""

import time
from dataclasses import asdict, dataclass
from typing import Any

HOLDS, FAILS, MEASURED, NEEDS_CUDA, LEFT_OUT = (
    "holds",
    "fails",
    "measured",
    "needs CUDA",
    "left out",
)


@dataclass(frozen=True)
class Figure:
    """A number with its name and unit."""

    name: str
    value: float
    unit: str

    def __str__(self) -> str:
        return f"{self.name} {self.value:.5g} {self.unit}"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        case: What was computed.
        outcome: One of the outcomes above.
        figures: The numbers.
        note: The bound of a check, the options of ``fast``, or a reason.
    """

    case: str
    outcome: str
    figures: tuple[Figure, ...] = ()
    note: str = ""

    def record(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def read(record: dict[str, Any]) -> "Row":
        figures = tuple(Figure(**figure) for figure in record["figures"])
        return Row(record["case"], record["outcome"], figures, record["note"])


@dataclass(frozen=True)
class Settings:
    """Sizes of the measurements.

    Attributes:
        images: Zoo models: the number of sample images per call.
        size: Zoo models: height and width of images, in pixels.
        steps: Zoo models: steps of an attack.
        small: The zoo models whose steps are timed.
        large: The networks of random weights whose steps are timed.
        large_size: Their height and width of the image, in pixels; a call has a single image.
        large_steps: Their steps of an attack.
        rounds: Timed rounds; medians are over rounds.
    """

    images: int
    size: tuple[int, int]
    steps: int
    small: tuple[str, ...]
    large: tuple[str, ...]
    large_size: tuple[int, int]
    large_steps: int
    rounds: int = 5


SMALL = ("fcn-r18", "fcn-mnv2")
LARGE = ("pspnet-r50", "deeplabv3-r50", "pspnet-r101", "deeplabv3-r101")
SETTINGS = {
    "cuda": Settings(8, (240, 320), 10, SMALL, LARGE, (512, 1024), 5),
    "cpu": Settings(2, (96, 128), 3, SMALL, ("pspnet-r50",), (64, 128), 2),
}


class OverBudgetError(Exception):
    """The time left does not suffice for a measurement."""


class Budget:
    """The time of the whole command, its imports included."""

    def __init__(self, minutes: float) -> None:
        self.end = time.monotonic() - time.process_time() + 60 * minutes

    def left(self) -> float:
        """Return the seconds left; negative if the time is spent."""
        return self.end - time.monotonic()

    def need(self, seconds: float) -> None:
        """Raise OverBudgetError if fewer seconds are left."""
        if seconds > self.left():
            raise OverBudgetError(
                f"needs about {seconds:.0f} s, {max(self.left(), 0):.0f} s are left"
            )
