"""Tasks and cells, the content of a plan. Loads no torch, because the scheduler imports them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from segtransfer.tasks.attacks.spec import AttackSpec

CLEAN = "clean"  # the attack of cells that score the clean images
# Cost of a forward and a backward to the input, in forwards; used for scheduling only.
FORWARD_AND_BACKWARD = 2.5


@dataclass(frozen=True, slots=True)  # a run may have millions
class Task:
    """A call of a model: make the AEs of a shard, or score the images of a shard on a target.

    Attributes:
        key: The identity of the task.
        model: The ``model_key`` of the needed model, or None if any slot can run the task.
        shard_id: The shard.
        cost: The cost over all images, in forwards of one image at its native size.
        nbytes: The bytes of the task's AEs, which stay in memory until all are scored.
        depends_on: The key of the attack whose AEs an evaluation scores, or None for clean images.
        attack: The attack of an attack task, or None for an evaluation.
        seed: The seed of an attack task, 0 for an evaluation.
        num_classes: The number of classes of an evaluation, 0 for an attack.
        variant: The index of the scored variant among the attack's variants.
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
    variant: int = 0

    @property
    def kind(self) -> str:
        """Return ``attack`` or ``evaluate``."""
        return "attack" if self.attack is not None else "evaluate"


MatrixIndex = tuple[str, str | None, str]  # attack, source, target


@dataclass(frozen=True, slots=True)
class Cell:
    """The evaluation of one shard in a transfer matrix.

    Attributes:
        attack: The name of the attack's variant, or ``clean``.
        source: The name of the source, or None if the attack needs no source.
        target: The name of the target.
        shard_id: The shard.
        key: The key of the evaluation task.
        attack_key: The key of the attack task whose AEs are scored, or None for clean images.
    """

    attack: str
    source: str | None
    target: str
    shard_id: str
    key: str
    attack_key: str | None

    @property
    def index(self) -> MatrixIndex:
        """Return the place of the cell in the matrices: attack, source and target."""
        return self.attack, self.source, self.target
