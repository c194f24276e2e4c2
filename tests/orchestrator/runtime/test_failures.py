"""The failure table: complete, frozen, and the causes of errors."""

from dataclasses import asdict
from typing import get_args

import pytest

from segtransfer.runtime.executors.base import FailureKind, LostError
from segtransfer.runtime.failures import FAILURES, FailureAction, FailureCause, cause_of


def test_every_cause_has_an_action() -> None:
    causes = [cause for kinds in get_args(FailureCause) for cause in get_args(kinds) or [kinds]]
    assert set(get_args(FailureKind)) < set(causes)
    assert FAILURES.keys() == set(causes)


def test_only_the_tasks_own_error_and_a_missing_shard_end_a_task_at_once() -> None:
    ended = {cause for cause, action in FAILURES.items() if not any(asdict(action).values())}
    assert ended == {"task", "missing shard"}


def test_the_table_is_frozen() -> None:
    with pytest.raises(TypeError):
        FAILURES["task"] = FailureAction(retry=True)  # type: ignore[index]


@pytest.mark.parametrize("remote", [True, False])
def test_lost_images_are_retried_on_any_store(remote: bool) -> None:
    assert cause_of(LostError("gone"), remote=remote) == "lost output"


def test_failed_store_ends_the_driver_only_on_a_disk() -> None:
    remote, local = (cause_of(OSError("503"), remote=remote) for remote in (True, False))
    assert FAILURES[remote] == FailureAction(retry=True)
    assert FAILURES[local] == FailureAction(stop_driver=True)
