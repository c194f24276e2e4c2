"""The random numbers of a step: equal for every attack, batch and worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from segtransfer.tasks.randomness import generator_of, image_noise, uniform

GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class StepRandom:
    """The random numbers of a step: shared from (seed, group, step), per image from its id.

    ``copy``, ``restart`` and ``member`` separate draws within a step. Zeros change nothing, so all
    attacks with a single draw per step get the same numbers.

        ratio = 0.5 + context.random.number("my ratio")  # the same for all images of the group

    Attributes:
        seed: The seed of the experiment.
        group: The schedule group of the images.
        step: The number of the step, from 0.
        image_ids: An id per image of the batch.
        copy: The number of the transform's copy, from 0 to ``views_per_step`` - 1.
        restart: The number of the restart, from 0.
        member: The number of the ensemble's member, from 0; 0 unless members draw separately.
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
        """Return a uniform number for this step, shared by all images of the group.

        Args:
            what: The name of the draw; another name gives an independent number.

        Returns:
            A number in [0, 1), equal for equal name, seed, group, step, copy, restart and member.
        """
        return uniform(what, self.seed, self.group, self.step, *self._apart)

    def low_discrepancy(self, what: str, copies: int) -> float:
        """Return this step's point of a golden-ratio sequence, which fills [0, 1) evenly.

        Args:
            what: The name of the sequence; another name gives an independent start.
            copies: The number of draws per step; the point's index is step * copies + copy.

        Returns:
            A number in [0, 1), shared by all images of the group.
        """
        first = uniform(what, self.seed, self.group, "first", self.restart, self.member)
        return (first + (self.step * copies + self.copy) * GOLDEN_RATIO) % 1.0

    def generator(self, what: str, image_id: str) -> torch.Generator:
        """Return a generator for an image at this step.

        Args:
            what: The name of the generator; another name gives independent numbers.
            image_id: The id of the image.

        Returns:
            A seeded ``torch.Generator`` on the CPU.
        """
        return generator_of(what, self.seed, image_id, self.step, *self._apart)

    def start_noise(self, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
        """Return U(-1, 1) noise for the start, independent of the step.

        Args:
            shape: The shape of an image, (3, H, W).
            device: The device of the result.

        Returns:
            float32 N x 3 x H x W in [-1, 1), each image from (seed, image id, restart).
        """
        parts = ("restart", self.restart) if self.restart else ()
        return self._stack(
            [image_noise(self.seed, i, shape, *parts) for i in self.image_ids], device
        )

    def neighbour_noise(
        self, neighbour: int, shape: tuple[int, ...], device: torch.device
    ) -> torch.Tensor:
        """Return U(-1, 1) noise for a neighbour at this step.

        Args:
            neighbour: The number of the neighbour, from 0.
            shape: The shape of an image, (3, H, W).
            device: The device of the result.

        Returns:
            float32 N x 3 x H x W in [-1, 1), each image from (seed, image id, neighbour, step).
        """
        parts = ("neighbour", neighbour, self.step, *self._apart)
        return self._stack(
            [image_noise(self.seed, i, shape, *parts) for i in self.image_ids], device
        )

    @staticmethod
    def _stack(noises: list[torch.Tensor], device: torch.device) -> torch.Tensor:
        return torch.stack(noises).to(device, non_blocking=True)
