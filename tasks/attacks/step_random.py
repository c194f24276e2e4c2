"""The random numbers of one step of an attack: equal for every attack, batch and worker."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from segtransfer.tasks.randomness import generator_of, image_noise, uniform

GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class StepRandom:
    """A source of random numbers: shared from (seed, group, step), noise from (seed, image id).

    ``copy``, ``restart`` and ``member`` separate several draws of one step. While all are zero they
    change nothing, so attacks that draw once per step get the same numbers.

    Attributes:
        seed: The seed of the experiment.
        group: The schedule group of the images.
        step: The step, from 0.
        image_ids: An id per image of the batch.
        copy: The number of the transform's copy.
        restart: The number of the restart.
        member: The number of the ensemble's member.
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
        """Return a number in [0, 1) that all images of the group share at this step.

        Args:
            what: A name that separates this draw from other draws of the step.
        """
        return uniform(what, self.seed, self.group, self.step, *self._apart)

    def low_discrepancy(self, what: str, copies: int) -> float:
        """Return the next point of the group's golden-ratio sequence, which fills [0, 1) evenly.

        Args:
            what: A name that separates this sequence from others.
            copies: The number of draws per step.
        """
        first = uniform(what, self.seed, self.group, "first", self.restart, self.member)
        return (first + (self.step * copies + self.copy) * GOLDEN_RATIO) % 1.0

    def generator(self, what: str, image_id: str) -> torch.Generator:
        """Return a CPU generator for one image at this step.

        Args:
            what: A name that separates this generator from others of the step.
            image_id: The id of the image.
        """
        return generator_of(what, self.seed, image_id, self.step, *self._apart)

    def start_noise(self, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """Return U(-1, 1) noise for the start, independent of the step.

        Args:
            shape: The shape of one image, 3 x H x W.
            device: The device of the result.

        Returns:
            float32 N x 3 x H x W, each image from (seed, image id).
        """
        parts = ("restart", self.restart) if self.restart else ()
        return self._stack(
            [image_noise(self.seed, i, shape, *parts) for i in self.image_ids], device
        )

    def neighbour_noise(
        self, neighbour: int, shape: tuple[int, ...], device: torch.device
    ) -> torch.Tensor:
        """Return U(-1, 1) noise for one neighbour at this step.

        Args:
            neighbour: The number of the neighbour.
            shape: The shape of one image, 3 x H x W.
            device: The device of the result.

        Returns:
            float32 N x 3 x H x W, each image from (seed, image id, neighbour, step).
        """
        parts = ("neighbour", neighbour, self.step, *self._apart)
        return self._stack(
            [image_noise(self.seed, i, shape, *parts) for i in self.image_ids], device
        )

    @staticmethod
    def _stack(noises: list[torch.Tensor], device: torch.device) -> torch.Tensor:
        return torch.stack(noises).to(device, non_blocking=True)
