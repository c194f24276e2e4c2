"""Schedules of disturbances: their kinds, and the number of results after which each comes."""

import random
import signal
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

DisturbanceKind = Literal[
    "worker", "attack", "node", "raylet", "client", "terminate", "driver", "write"
]
KINDS: tuple[DisturbanceKind, ...] = get_args(DisturbanceKind)

FIRST_DEATH = 1000  # the seed of the first schedule that was not drawn
LATEST = 40  # rows of a run that has 45 at least
# What is written by whom, and how far the writer came when it died. Where a blob is whole and its
# row is not there, the death lay between the two.
WRITES = {
    "driver": ["blobs", "rows", "failures"],
    "client": ["shards", "experiments"],
}
MOMENTS = ["before", "during", "after"]
TERMINATED = 128 + signal.SIGTERM  # the exit status of a client that SIGTERM has stopped


@dataclass(frozen=True)
class Disturbance:
    """``kind``: kill -9 of a worker, of one inside an ``attack``, of the client, of the driver, of
    the ``raylet`` of a node alone; SIGTERM to the client (``terminate``); a ``node`` that is lost
    as a whole; a death at the next ``write`` of a kind. Another node joins for one that is lost.

    It comes once ``after`` tasks of the run have a row, and ``pause`` seconds later.
    """

    kind: DisturbanceKind
    after: int
    pause: float
    write: str = ""
    moment: str = ""


@dataclass(frozen=True)
class Schedule:
    """A run on the shared ``fleet``, or with a driver of its own, and what happens to it."""

    seed: int
    fleet: bool
    disturbances: tuple[Disturbance, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read(content: dict[str, Any]) -> Schedule:
    """The inverse of ``as_dict``."""
    disturbances = tuple(Disturbance(**each) for each in content["disturbances"])
    return Schedule(content["seed"], content["fleet"], disturbances)


def deaths_at_writes() -> list[Schedule]:
    """A death at each write and moment, as all that happens."""
    found = []
    for writer, kinds in WRITES.items():
        for write in kinds:
            for moment in MOMENTS:
                # Whoever writes these has written some before; failures are few.
                after = 10 if write in ("blobs", "rows") else 0
                death = Disturbance("write", after, 0.0, write, moment)
                found.append(Schedule(FIRST_DEATH + len(found), writer == "driver", (death,)))
    return found


def schedule(seed: int) -> Schedule:
    """One to four disturbances at random moments."""
    generator = random.Random(seed)
    fleet = generator.random() < 0.7
    count = generator.randint(1, 4)
    found = []
    for kind in generator.sample(KINDS, count):
        after, pause = generator.randrange(LATEST), round(generator.random() * 0.5, 2)
        write = moment = ""
        if kind == "write":
            write = generator.choice([w for kinds in WRITES.values() for w in kinds])
            moment = generator.choice(MOMENTS)
            if write in WRITES["client"]:
                # Written before anything else, and where there is no such shard yet.
                fleet, after, pause = False, 0, 0.0
        found.append(Disturbance(kind, after, pause, write, moment))
    return Schedule(seed, fleet, tuple(sorted(found, key=lambda d: (d.after, d.pause))))
