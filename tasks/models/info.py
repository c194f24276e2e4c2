"""The description of a model, for plans, keys and reports; torch is not imported."""

from dataclasses import dataclass

from segtransfer.tasks.data.names import composed


@dataclass(frozen=True)
class ModelInfo:
    """The description of a model, available without loading the model.

    Attributes:
        name: The name in results.
        fingerprint: The sha256 of weights, config and adapter version, part of every key.
        backbone: The family of the backbone, by which results group models.
        num_classes: K, None if unknown.
        classes: The class names by index, None if unknown; stored in Unicode's composed normal
            form.
        members: Fingerprint and backbone of each member of an ensemble; empty for other models.
        head: The kind of the head, None if unknown.
        undefended: The fingerprint of each network without defences; empty if none has a defence.
        classifier: Whether the model predicts a class per image in place of a class per pixel.
    """

    name: str
    fingerprint: str
    backbone: str
    num_classes: int | None
    classes: tuple[str, ...] | None
    members: tuple[tuple[str, str], ...] = ()
    head: str | None = None
    undefended: tuple[str, ...] = ()
    classifier: bool = False

    def __post_init__(self) -> None:
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(map(composed, self.classes)))

    @property
    def networks(self) -> tuple[tuple[str, str], ...]:
        """Return the networks inside the model.

        Returns:
            Pairs of fingerprint and backbone: the members', or the model's own.
        """
        return self.members or ((self.fingerprint, self.backbone),)
