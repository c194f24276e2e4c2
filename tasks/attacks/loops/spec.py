"""The base of loops: a typed spec with a run, its traits and costs, and the registry."""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny, ValidationInfo, WithJsonSchema
from pydantic_core import PydanticCustomError

from segtransfer.tasks.attacks.loops.attempt import Attempt
from segtransfer.tasks.attacks.losses import preparation_of
from segtransfer.tasks.json_schema import NAMED_ENTRY
from segtransfer.tasks.registry import EntrySpec, ForeignSpec, Registry, is_spec_of, read_entry
from segtransfer.tasks.schema import suggest

# Fields of an attack that a loop reads only if its trait `reads` says so, with the value that
# leaves the field out. Sign steps read all of them.
OPTIONAL_FIELDS: Mapping[str, Any] = {
    "step_size": 0.0,
    "start": "clean",
    "transforms": (),
    "loss": "cross-entropy",
    "gradient": None,
    "momentum": None,
    "variance": None,
    "smoothing": None,
    "target": None,
    "region": None,
    "steps_at": (),
}


class LoopSpec(EntrySpec):
    """The base of loops: the iterations between start and result, in place of sign steps.

    ``steps`` of the attack is the number of iterations. Every loop reads eps, norm, restarts,
    ``label_version`` and ``layer``. The module of a loop is in the package ``loops``; the registry
    imports it at the first use, so a module of a loop may import the attack's context and
    gradients.

    Attributes:
        kind: The name of the loop.
        reads: Trait: the names in ``OPTIONAL_FIELDS`` read by the loop. An attack with any other of
            these fields is refused. Default none.
        norms: Trait: the norms of the bound kept by the loop. Default ``linf`` alone.
    """

    reads: ClassVar[frozenset[str]] = frozenset()
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    minimises_norm: ClassVar[bool] = False

    @property
    def needs_labels(self) -> bool:
        """Tell whether the loop reads logits and labels.

        Returns:
            By default False; True refuses a loss of features.
        """
        return False

    @property
    def gradients_per_step(self) -> float:
        """Return the mean number of gradients per iteration.

        Returns:
            By default 1. A gradient costs a forward and a backward per copy of the transforms.
        """
        return 1.0

    @property
    def extra_gradients(self) -> float:
        """Return the number of gradients per run beyond its iterations.

        Returns:
            By default 0.
        """
        return 0.0

    @property
    def extra_forwards(self) -> float:
        """Return the number of forwards per run beyond its gradients.

        Returns:
            By default 0, at native size. A forward per iteration counts in ``gradients_per_step``.
        """
        return 0.0

    def extra_cost(self, gradient: float) -> float:
        """Return the cost of a run beyond its iterations, in forwards at native size.

        Args:
            gradient: The cost of a gradient.

        Returns:
            0 or more.
        """
        return gradient * self.extra_gradients + self.extra_forwards

    def step_cost(self, gradient: float, steps: int) -> float:
        """Return the mean cost of an iteration, in forwards at native size.

        The costs beyond iterations are spread over all of them.

        Args:
            gradient: The cost of a gradient.
            steps: The number of iterations, 1 or more.

        Returns:
            More than 0.
        """
        return gradient * self.gradients_per_step + self.extra_cost(gradient) / steps

    def check(self, attack: Any) -> None:
        """Refuse an attack whose fields do not fit this loop.

        Args:
            attack: The attack, an ``AttackSpec`` with this loop.

        Raises:
            PydanticCustomError: If the attack has a field unread by the loop, another norm, a
                loss with a preparation, or a loss of features although the loop reads labels.
        """
        for name, absent in OPTIONAL_FIELDS.items():
            if name not in self.reads and getattr(attack, name) != absent:
                raise PydanticCustomError(
                    "loop",
                    "loop {kind} does not read {name}; leave {name} out, or leave loop out",
                    {"kind": self.kind, "name": name},
                )
        if attack.norm not in self.norms:
            raise PydanticCustomError(
                "loop",
                "loop {kind} keeps the norm {norms}, and norm is {norm}; leave norm out",
                {"kind": self.kind, "norms": " or ".join(self.norms), "norm": attack.norm},
            )
        if preparation_of(attack.loss, attack.loss_sha256) is not None:
            raise PydanticCustomError(
                "loop",
                "loop {kind} runs no preparation of a loss, and loss '{loss}' has one; give "
                "another loss, or leave loop out",
                {"kind": self.kind, "loss": attack.loss},
            )
        if self.needs_labels and attack.reads_features:
            raise PydanticCustomError(
                "loop",
                "loop {kind} counts fooled pixels, and loss '{loss}' reads no labels; give a loss "
                "of logits",
                {"kind": self.kind, "loss": attack.loss},
            )

    @abstractmethod
    def run(self, context: Any, restart: int, poll: Callable[[], None]) -> Attempt:
        """Run all iterations from the start of a restart.

        Args:
            context: The ``AttackContext``: source, spec, clean images, labels and bounds.
            restart: The number of the restart, from 0, which separates random numbers.
            poll: Called before every iteration; an exception stops the run.

        Returns:
            The attempt, with an iterate per entry of ``steps_at``, or the result alone.
        """


LOOPS: Registry[type[LoopSpec]] = Registry(
    "loops",
    ("segtransfer.tasks.attacks.loops",),
    is_spec_of(LoopSpec),
    "class with a method run, derived from LoopSpec",
)


def _kind_of(value: Any) -> Any:
    """Return the kind of a raw loop: a name, the one key of a mapping, or the field of a spec."""
    if isinstance(value, dict):
        return value["kind"] if "kind" in value else next(iter(value), None)
    return value.kind if isinstance(value, LoopSpec) else value


def minimises_norm(loop: Any) -> bool:
    """Tell whether a loop seeks the smallest norm, so that ``eps`` is the largest norm allowed.

    Args:
        loop: The loop of an attack, read or as JSON values; None for sign steps.

    Returns:
        The trait of the loop; False for a stored loop without its code.
    """
    kind = _kind_of(loop)
    return isinstance(kind, str) and kind in LOOPS and LOOPS[kind].minimises_norm


def _read(value: Any, info: ValidationInfo) -> Any:
    """Read ``apgd``, ``{apgd: {keep: fooled}}`` and ``{kind: apgd, keep: fooled}``."""
    kind = _kind_of(value)
    if isinstance(kind, str) and kind not in LOOPS:
        raise PydanticCustomError(
            "entry",
            "unknown loop '{kind}'; {hint}; leave loop out for sign steps",
            {"kind": kind, "hint": suggest(kind, LOOPS)},
        )
    return read_entry(LOOPS, ForeignSpec, value, info.context)


Loop = Annotated[SerializeAsAny[LoopSpec], BeforeValidator(_read), WithJsonSchema(NAMED_ENTRY)]


def with_preset(data: dict[str, Any], preset: dict[str, Any]) -> dict[str, Any]:
    """Merge the fields of a preset with the fields given.

    Args:
        data: The fields that a person gave.
        preset: The fields of the preset; empty without a preset.

    Returns:
        All fields. Steps and step size of the preset are left out of an attack with ``worst_of``.
        ``step_size`` is 0 if the loop sets its own step sizes and no person gave one.
    """
    fields = {**preset, **data}
    if fields.get("worst_of"):
        return {k: v for k, v in fields.items() if k in data or k not in ("steps", "step_size")}
    kind = _kind_of(fields.get("loop"))
    if isinstance(kind, str) and kind in LOOPS and "step_size" not in LOOPS[kind].reads:
        fields["step_size"] = data.get("step_size", 0.0)
    return fields
