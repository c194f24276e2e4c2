"""The begin of a run: an empty memory, and the prepared reference of a loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from segtransfer.errors import InputError
from segtransfer.tasks.attacks.context import AttackContext
from segtransfer.tasks.attacks.losses import Prepared, preparation_of
from segtransfer.tasks.attacks.preparation import Preparation
from segtransfer.tasks.attacks.resolve import first_attack
from segtransfer.tasks.attacks.step_random import StepRandom
from segtransfer.tasks.models.outputs import foreign_error


def begin_run(
    context: AttackContext,
    random: StepRandom,
    run_first: Callable[[AttackContext], Any],
) -> AttackContext:
    """Return the context of a run, with the prepared reference of the loss per member.

    Args:
        context: The images, the labels and the model.
        random: The random numbers of the run's first step.
        run_first: Runs the first attack, from its context, and returns its run with
            ``iterates``, each N x 3 x H x W.

    Returns:
        The context with empty memories, and with references if the loss has a preparation.

    Raises:
        InputError: If a user's ``prepare`` raises an error, or returns anything but a tensor.
    """
    spec = context.spec
    prepared = preparation_of(spec.loss, spec.loss_sha256)
    if prepared is None:
        return replace(context, memories={})
    first = first_attack(spec)
    attacked = context.clean
    if first is not None:
        attacked = run_first(replace(context, spec=first)).iterates[-1]
    references = {}
    for member, _ in context.model.members():
        preparation = Preparation(
            member, spec.layer, context.clean, context.labels, attacked, random
        )
        references[member] = _prepare(prepared, preparation, f"the preparation of '{spec.loss}'")
    return replace(context, memories={}, references=references)


def _prepare(prepared: Prepared, preparation: Preparation, who: str) -> torch.Tensor:
    """Return the reference without gradient."""
    try:
        reference = prepared.prepare(preparation)
    except Exception as error:  # foreign code may raise anything
        told = foreign_error(error, who)
        if told is error:
            raise
        raise told from error
    if not torch.is_tensor(reference):
        raise InputError(f"{who} returned {type(reference).__name__}; return a tensor")
    return reference.detach()
