"""Equal histories give equal decisions, in any process."""

import os
import subprocess
import sys

from segtransfer.runtime.scheduler import Host, Scheduler, Slot
from tests.orchestrator.runtime.scheduler.toys import attack, by_key, score

ELSEWHERE = f"from {__name__} import history; print(history())"


def history() -> str:
    """A busy history, in one string: few slots, many models, clients, failures, losses."""
    s = Scheduler(window=2, attempts=3, in_flight_bytes=60, switch_cost=3.0)
    for i in range(4):
        s.add_slot(Slot(f"slot{i}", f"device{i % 2}", width=1 + i % 2))
    work = []
    for source in range(3):
        for i in range(4):
            work.append(attack(f"make{source}{i}", f"m{source}", cost=7 + i))
            work += [score(f"e{source}{i}{t}", f"m{t}", f"make{source}{i}") for t in range(6)]
    s.submit("one", by_key(*work), {"make00", "make01", "e003"})
    s.submit("two", by_key(*work[: len(work) // 2], attack("noise", None)), frozenset())
    told = []
    calls: list[tuple[str, str]] = []
    for step in range(400):
        for decision in s.decide(step):
            told.append(str(decision))
            if isinstance(decision, Host):
                s.hosted(decision.slot_id, decision.model)
            else:
                calls.append((decision.task.key, decision.slot_id))
        if step == 150:
            told += s.cancel("two")
        if step % 40 == 39:
            lost = f"slot{step // 40 % 4}"
            calls = [call for call in calls if call[1] != lost]
            s.remove_slot(lost)
            s.add_slot(Slot(lost, "device0", 1))
        if calls and step % 7 == 6:
            told += s.failed(calls.pop(0)[0], retry=True, now=step)
        elif calls:
            s.done(calls.pop(0)[0])
    assert len(told) > 100
    return "\n".join(told)


def test_decisions_do_not_depend_on_the_order_of_sets_and_hashes() -> None:
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", ELSEWHERE], env=env, capture_output=True, text=True, check=True
    )
    assert elsewhere.stdout.strip() == history().strip()
