"""The Ray executor: one resident model an actor, images as object references."""

import logging
import math
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import ray
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from orchestrator.executors.base import (
    Event,
    Failed,
    Finished,
    Output,
    SlotDown,
    SlotUp,
    perform,
)
from orchestrator.plan import Task
from orchestrator.scheduler import Slot
from tasks.data.shards import Shard
from tasks.memory import keep_freed_memory
from tasks.models.numerics import REFERENCE, Numerics
from tasks.models.spec import ModelSpec

log = logging.getLogger(__name__)

RESTARTS = 3  # of one actor, by Ray, before its slot is given up
RESTART_PAUSE = 1.0  # seconds between asks whether a restarting actor is back


class ModelActor:
    """Holds one model for as long as it lives; every call is one task."""

    def __init__(self, spec: ModelSpec, micro_batch: int, numerics: Numerics) -> None:
        import torch

        torch.set_num_threads(1)
        keep_freed_memory()
        self._numerics = numerics
        self._spec = spec
        self._micro_batch = micro_batch
        self._device = "cuda" if ray.get_gpu_ids() and torch.cuda.is_available() else "cpu"
        self._model: Any = None

    def ready(self) -> str:
        """Load and warm the model; returns the fingerprint of what was loaded."""
        import torch

        from tasks import models

        if self._model is None:
            model = models.load(self._spec, self._device, self._numerics)
            images = torch.zeros(1, 3, 64, 64, device=self._device, requires_grad=True)
            model.gradient(model(images).sum(), images)
            self._model = model
        return models.describe(self._spec).fingerprint

    def attack(
        self, images: np.ndarray, labels: np.ndarray, task: Task, ids: tuple[str, ...], group: int
    ) -> tuple[np.ndarray, Output]:
        """AEs apart from the report, so that they can go on to targets as a reference."""
        output = perform(self._loaded(), task, ids, group, images, labels, self._micro_batch)
        return output.images, replace(output, images=None)

    def evaluate(
        self, images: np.ndarray, labels: np.ndarray, task: Task, ids: tuple[str, ...], group: int
    ) -> Output:
        return perform(self._loaded(), task, ids, group, images, labels, self._micro_batch)

    def _loaded(self) -> Any:
        """The model, loaded again where Ray restarted this actor."""
        if self._model is None:
            self.ready()
        return self._model


@dataclass
class _Host:
    """An actor and what is under way on it."""

    slot: Slot
    actor: Any
    fingerprint: str
    calls: dict[Any, tuple[Task, Any]] = field(default_factory=dict)  # wait ref -> task, AEs ref
    up: bool = False
    warmed: bool = False
    asking: Any = None  # ref of ready()
    ask_at: float = 0.0


class RayExecutor:
    """One actor a model and replica; the slots are theirs."""

    def __init__(self, *, replicas: int, micro_batch: int, numerics: Numerics = REFERENCE) -> None:
        self._replicas = replicas
        self._micro_batch = micro_batch
        self._numerics = numerics
        self._hosts: dict[str, _Host] = {}

    def ensure(self, models: Mapping[str, ModelSpec]) -> None:
        hosted = {host.fingerprint for host in self._all()}
        new = {f: spec for f, spec in models.items() if f not in hosted}
        resources = _share(len(new) * self._replicas) if new else {}
        for fingerprint, spec in new.items():
            for replica in range(self._replicas):
                name = f"{spec.name}-{fingerprint[:8]}-{replica}"
                actor: Any = (
                    ray.remote(ModelActor)
                    .options(name=name, max_restarts=RESTARTS, max_task_retries=0, **resources)
                    .remote(spec, self._micro_batch, self._numerics)
                )
                slot = Slot(name, frozenset({fingerprint}))
                host = _Host(slot, actor, fingerprint, asking=actor.ready.remote())
                self._hosts[name] = host

    def starting(self) -> bool:
        return any(not host.warmed for host in self._all())

    def put(self, array: np.ndarray) -> Any:
        return ray.put(array)

    def fetch(self, handle: Any) -> np.ndarray:
        return ray.get(handle)

    def start(self, task: Task, slot_id: str, shard: Shard, images: Any, labels: Any) -> None:
        host = self._hosts[slot_id]
        arguments = (images, labels, task, shard.image_ids, shard.group)
        if task.kind == "attack":
            made, report = host.actor.attack.options(num_returns=2).remote(*arguments)
            host.calls[report] = task, made
        else:
            host.calls[host.actor.evaluate.remote(*arguments)] = task, None

    def wait(self, timeout: float) -> list[Event]:
        self._ask_again()
        refs = [ref for host in self._all() for ref in host.calls]
        refs += [host.asking for host in self._all() if host.asking is not None]
        if not refs:
            time.sleep(timeout)
            return []
        ready, _ = ray.wait(refs, num_returns=1, timeout=timeout, fetch_local=False)
        if ready:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0, fetch_local=False)
        done = set(ready)
        events: list[Event] = []
        for host in self._all():
            if host.asking in done:
                events += self._answered(host)
            for ref in [ref for ref in host.calls if ref in done]:
                if ref in host.calls:
                    events += self._collect(host, ref)
        return events

    def close(self) -> None:
        for host in self._all():
            ray.kill(host.actor)
        self._hosts.clear()

    def _all(self) -> list[_Host]:
        """The hosts now: a client's ``ensure`` may add some while the loop's thread waits."""
        return list(self._hosts.values())

    def _ask_again(self) -> None:
        now = time.monotonic()
        for host in self._all():
            if not host.up and host.asking is None and now >= host.ask_at:
                host.asking = host.actor.ready.remote()

    def _answered(self, host: _Host) -> list[Event]:
        """What ready() said: up, gone for good, or still restarting."""
        asked, host.asking = host.asking, None
        try:
            fingerprint = ray.get(asked)
        except RayTaskError as error:
            return self._give_up(host, f"{host.slot.slot_id} could not load: {error.cause}")
        except ActorDiedError as error:
            return self._give_up(host, f"{host.slot.slot_id} died for good: {_first_line(error)}")
        except RayError:
            host.ask_at = time.monotonic() + RESTART_PAUSE
            return []
        if fingerprint != host.fingerprint:
            return self._give_up(host, f"{host.slot.slot_id} holds other weights than planned")
        host.up = host.warmed = True
        return [SlotUp(host.slot)]

    def _give_up(self, host: _Host, message: str) -> list[Event]:
        del self._hosts[host.slot.slot_id]
        return [SlotDown(host.slot, True, message)]

    def _collect(self, host: _Host, ref: Any) -> list[Event]:
        task, made = host.calls.pop(ref)
        try:
            output: Output = ray.get(ref)
            if made is not None:
                ray.get(made)  # AEs may be lost with their node after the call ended
        except RayTaskError as error:
            if isinstance(error.cause, RayError):
                return [Failed(task.key, "infrastructure", _first_line(error))]
            return [Failed(task.key, "task", "".join(traceback.format_exception(error)))]
        except RayActorError as error:
            return [Failed(task.key, "infrastructure", _first_line(error)), *self._down(host)]
        except RayError as error:
            return [Failed(task.key, "infrastructure", _first_line(error))]
        return [Finished(task.key, replace(output, images=made))]

    def _down(self, host: _Host) -> list[Event]:
        """An actor died: fail the rest of its calls, and wait for Ray to bring it back."""
        if not host.up:
            return []
        host.up = False
        host.ask_at = time.monotonic() + RESTART_PAUSE
        lost = [
            Failed(task.key, "infrastructure", f"{host.slot.slot_id} died")
            for task, _ in host.calls.values()
        ]
        host.calls.clear()
        return [*lost, SlotDown(host.slot, False, f"{host.slot.slot_id} died; it is restarting")]


def _share(actors: int) -> dict[str, float]:
    """Resources of one actor such that all of them start: a GPU where there are GPUs."""
    total, free = ray.cluster_resources(), ray.available_resources()
    gpus = int(total.get("GPU", 0))
    cores = free.get("CPU", 0.0) / actors
    share = {"num_cpus": min(1.0, math.floor(cores * 100) / 100)}  # 0 where all cores are taken
    if gpus:
        share["num_gpus"] = 1.0 if actors <= gpus else 1 / math.ceil(actors / gpus)
    return share


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
