"""Gradient rules of a user, named in specs as ``tests.tasks.attacks.own_rules:NAME``."""

from typing import ClassVar

import torch

from segtransfer.extend import Gradient, GradientRule, Number, Whole, resize


class Around(GradientRule):
    """The mean gradient at points in x + U(-radius eps, radius eps)."""

    samples: Whole = 2
    radius: Number = 3.0

    @property
    def gradients_per_step(self):
        return self.samples

    def gradient(self, step):
        values, losses, ratios = 0, 0, []
        for sample in range(self.samples):
            noise = step.random.neighbour_noise(sample, tuple(step.x.shape[1:]), step.x.device)
            found = step.gradient_at(step.x + self.radius * step.eps * noise)
            values = values + found.values / self.samples
            losses = losses + found.losses / self.samples
            ratios += found.ratios
        return Gradient(values, losses, ratios)


class Same(GradientRule):
    """The loss's own gradient."""

    draws: ClassVar[bool] = False

    def gradient(self, step):
        return step.gradient_at(step.x)


class Halved(GradientRule):
    """The gradient through a view of half the size, made before all transforms."""

    draws: ClassVar[bool] = False
    views: ClassVar[bool] = True

    def gradient(self, step):
        height, width = step.x.shape[-2:]
        half = height // 2, width // 2
        return step.gradient_at(step.x, first=lambda images: resize(images, half))


class Slower(GradientRule):
    """The loss's own gradient, and a step that halves with every step."""

    draws: ClassVar[bool] = False

    def gradient(self, step):
        step.memory["factor"] = 0.5**step.number
        return step.gradient_at(step.x)

    def factor(self, direction, memory):
        return torch.full((1, 1, 1, 1), memory["factor"])


class Member(GradientRule):
    """The gradient of a single member of an ensemble."""

    draws: ClassVar[bool] = False
    number: Whole = 0

    def gradient(self, step):
        return step.gradient_at(step.x, members=[self.number])


class Wrong(GradientRule):
    """A rule with a fault of a kind."""

    how: str = ""

    def gradient(self, step):
        found = step.gradient_at(step.x)
        return {
            "none": lambda: None,
            "raises": lambda: 1 / 0,
            "values": lambda: Gradient(found.values[:1], found.losses, []),
            "whole numbers": lambda: Gradient(found.values.long(), found.losses, []),
            "losses": lambda: Gradient(found.values, found.losses.sum(), []),
        }.get(self.how, lambda: found)()

    def factor(self, direction, memory):
        return {
            "factor": lambda: torch.ones(2, 1, 1, 1, 1),
            "shape": lambda: torch.ones(5),
            "type": lambda: "much",
        }.get(self.how, lambda: None)()
