"""Tasks and cells: what a plan consists of. Loads no torch, so that the scheduler can use it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segtransfer.tasks.attacks.spec import AttackSpec

CLEAN = "clean"
# Cost of a forward and a backward to the input, in forwards; used for scheduling only.
FORWARD_AND_BACKWARD = 2.5


@dataclass(frozen=True)
class Task:
    """One call: make a shard's AEs, or score a shard's images on a target.

    ``model`` is the ``model_key`` of what it needs, None where any slot will do; ``cost`` is in
    native image forwards; ``nbytes`` is what its images hold in memory until they are scored;
    ``made`` says which of the images that an attack made are scored.
    """

    key: str
    model: str | None
    shard_id: str
    cost: float
    nbytes: int
    depends_on: str | None = None
    attack: "AttackSpec | None" = None
    seed: int = 0
    num_classes: int = 0
    made: int = 0

    @property
    def kind(self) -> str:
        return "attack" if self.attack is not None else "evaluate"


@dataclass(frozen=True)
class Cell:
    """Where one evaluation stands in the results: ``attack`` is the name of what an attack made,
    ``source`` is None where none was needed."""

    attack: str
    source: str | None
    target: str
    shard_id: str
    key: str
    attack_key: str | None
