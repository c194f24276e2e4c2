"""The random numbers of one step of an attack: the same for every attack, batch and worker."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from segtransfer.tasks.randomness import generator_of, image_noise, uniform

GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class StepRandom:
    """Where numbers come from: shared ones from (seed, group, step), noise from (seed, image id).

    ``copy``, ``restart`` and ``member`` tell apart what one step draws more than once; all zero
    they change nothing, so attacks that draw once see the same numbers.
    """

    seed: int
    group: int
    step: int
    image_ids: Sequence[str]
    copy: int = 0
    restart: int = 0
    member: int = 0

    @property
    def _apart(self) -> tuple[int, ...]:
        apart = (self.copy, self.restart, self.member)
        return apart if any(apart) else ()

    def number(self, what: str) -> float:
        """A number in [0, 1) that all images of the group share at this step."""
        return uniform(what, self.seed, self.group, self.step, *self._apart)

    def low_discrepancy(self, what: str, copies: int) -> float:
        """The golden-ratio sequence of this group: its points fill [0, 1) evenly, step by step."""
        first = uniform(what, self.seed, self.group, "first", self.restart, self.member)
        return (first + (self.step * copies + self.copy) * GOLDEN_RATIO) % 1.0

    def generator(self, what: str, image_id: str) -> torch.Generator:
        """A generator for one image at this step."""
        return generator_of(what, self.seed, image_id, self.step, *self._apart)

    def start_noise(self, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """U(-1, 1) noise N x shape from (seed, image id): the start, whatever the step."""
        parts = ("restart", self.restart) if self.restart else ()
        return self._stack(
            [image_noise(self.seed, i, shape, *parts) for i in self.image_ids], device
        )

    def neighbour_noise(
        self, neighbour: int, shape: tuple[int, ...], device: torch.device
    ) -> torch.Tensor:
        """U(-1, 1) noise N x shape of one neighbour at this step."""
        parts = ("neighbour", neighbour, self.step, *self._apart)
        return self._stack(
            [image_noise(self.seed, i, shape, *parts) for i in self.image_ids], device
        )

    @staticmethod
    def _stack(noises: list[torch.Tensor], device: torch.device) -> torch.Tensor:
        return torch.stack(noises).to(device, non_blocking=True)
